# The environment is .venv at the root; every target that needs it makes it first.
PYTHON ?= python3
PYTHON_VERSION ?= 3.13
STORE ?= runs
OUT ?= report
BIN := .venv/bin
# Arguments for installing torch alone, for example: make setup TORCH='--index-url https://download.pytorch.org/whl/cpu'
TORCH ?=
# pip compiles on one core, this on all; what packages carry for other Pythons does not compile
COMPILE := $(BIN)/python -m compileall -q -j 0 .venv/lib > /dev/null 2>&1 || true

# Where it is set, each of the tests' many processes compiles every module again
export PYTHONDONTWRITEBYTECODE :=

# Tests run side by side; torch's threads, which wait by spinning, would take a quarter of the processors from them
test test-system test-every check: export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help

GPU_OUT ?= experiments/bench/gpu
# Each makes a cluster of this machine, so that nothing may run beside them
CLUSTERS := tests/system/test_ray.py tests/system/test_slurm.py

# Where make test-gpu runs: on cpu the same programs show that they run, at any size (GPU_CHOICES, GPU_STEP)
DEVICE ?= cuda
GPU_TESTS_SECONDS ?= 200
GPU_CHOICES ?= --hidden 256 1024 --batch 32x256 4x32 64x1024
GPU_STEP ?= --hidden 256 1024 512 768 --batch 4x32 32x256 64x1024 --rounds 5

.PHONY: help setup demo docs test test-gpu test-system test-every test-python test-lowest check format report sync dashboard bench bench-step bench-engine bench-large bench-simulate profile

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

.venv/.run: pyproject.toml constraints.txt bitnet_sweep/__init__.py
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt $(TORCH) torch==2.13.0
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[gpt2,dashboard]'
	@$(COMPILE)
	@touch $@

.venv/.dev: .venv/.run
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[gpt2,dashboard,dev]'
	@$(COMPILE)
	@touch $@

.venv/.system: .venv/.dev
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[gpt2,dashboard,dev,ray,slurm,browser,bench,export,evaluate]'
	@$(COMPILE)
	@touch $@

.venv/.bench: .venv/.dev
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[gpt2,dashboard,dev,bench]'
	@$(COMPILE)
	@touch $@

.venv/.docs: .venv/.run
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[gpt2,dashboard,docs]'
	@$(COMPILE)
	@touch $@

setup: .venv/.dev  ## Install everything into .venv (torch first, so that nothing else chooses its build)

demo: .venv/.run  ## Train a small sweep on the embedded text and read its report
	$(BIN)/python -m bitnet_sweep -m model.hidden=128,256 wd2=0.0,0.05 steps=1500 tokenizer.vocab_size=2048 \
		store=demo/runs sweep.name=demo
	$(BIN)/python -m bitnet_sweep.report demo/runs --sweep demo --out demo/report --check
	$(BIN)/python experiments/check_demo.py demo/report

docs: .venv/.docs  ## Build the site into site/; its sentences, spelling and links are checked
	$(BIN)/python -m docs.tools.words
	$(BIN)/codespell README.md CONTRIBUTING.md docs mkdocs.yml
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

test: .venv/.dev  ## Install and run every test that needs neither root nor a browser
	$(BIN)/python -m pytest -n 4 --dist worksteal -m 'not system'

test-system: .venv/.system  ## As root: install Ray, SLURM and Chromium and run the tests on them, and those that take minutes
	command -v slurmd > /dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -qq --no-install-recommends slurmctld slurmd slurm-client slurm-wlm-basic-plugins; }
	command -v chromium > /dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -qq --no-install-recommends chromium; }
	$(BIN)/python -m pytest -n 4 --dist worksteal -m 'system and not every' $(CLUSTERS:%=--ignore=%)
	$(BIN)/python -m pytest -m 'system and not every' $(CLUSTERS)

test-every: .venv/.system  ## The members of each kind that make test and make test-system leave out
	$(BIN)/python -m pytest -n 4 --dist worksteal -m every $(CLUSTERS:%=--ignore=%)
	$(BIN)/python -m pytest -m every $(CLUSTERS)

test-python:  ## As root: the tests on PYTHON_VERSION (3.13) in a Debian root; quicker with SELECT='not slow and not system'
	tests/pythons/run.sh $(PYTHON_VERSION)

test-lowest:  ## The quick tests with the lowest versions that pyproject.toml allows
	SELECT='$(or $(SELECT),not slow and not system)' tests/pythons/run.sh lowest

# Each part has its time, so that all of it ends within 8 minutes; a part that fails stops no other
test-gpu: SHELL := /bin/bash -o pipefail
test-gpu: .venv/.dev  ## On one GPU, under 8 minutes: its tests, then what `mixed` should choose and a step's time, into GPU_OUT
	mkdir -p $(GPU_OUT); failed=0; \
	timeout $(GPU_TESTS_SECONDS) $(BIN)/python -m pytest tests/gpu -m gpu --device $(DEVICE) 2>&1 | tee $(GPU_OUT)/tests.txt || failed=1; \
	timeout 100 $(BIN)/python -m bench.gpu --device $(DEVICE) $(GPU_CHOICES) --seconds 50 --out $(GPU_OUT) || failed=1; \
	timeout 175 $(BIN)/python -m bench.step --device $(DEVICE) $(GPU_STEP) --seconds 110 --out $(GPU_OUT) || failed=1; \
	exit $$failed

check: .venv/.dev  ## Format, lint, types, import direction, quick tests (under 90 s)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow and not system'

format: .venv/.dev  ## Rewrite the code as `make check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

report: .venv/.run  ## Tables, figures and page from STORE (runs) into OUT (report)
	$(BIN)/python -m bitnet_sweep.report $(STORE) --out $(OUT)

sync: .venv/.run  ## Upload the offline W&B runs of STORE
	$(BIN)/python -m bitnet_sweep.track.sync $(STORE)

dashboard: .venv/.run  ## Save a workspace and a report of STORE in W&B (PROJECT=entity/project, with an API key)
	$(BIN)/python -m bitnet_sweep.dashboard $(or $(PROJECT),$(error say which: make dashboard PROJECT=entity/project)) $(STORE)

bench: bench-step bench-engine bench-large bench-simulate  ## Every benchmark, one after the other; results go to experiments/bench (hours)

bench-step: .venv/.bench  ## Time a training step beside a plain loop and two libraries, then jobs side by side
	$(BIN)/python -m bench.step --batch 4x32 --out experiments/bench
	$(BIN)/python -m bench.step --batch 4x32 --hidden 1024 --anew --peers --out experiments/bench
	$(BIN)/python -m bench.step --batch 8x256 --hidden 256 512 768 --out experiments/bench
	$(BIN)/python -m bench.step --batch 8x256 --hidden 1024 --anew --out experiments/bench
	$(BIN)/python -m bench.threads --out experiments/bench

bench-engine: .venv/.run  ## Time an 8-run sweep against 8 plain processes (about 25 minutes)
	$(BIN)/python bench/engine.py

bench-large: .venv/.run  ## Time plan, skip, frame and report on 10,000 finished runs (about 3 minutes)
	$(BIN)/python -m bench.large --out experiments/bench

bench-simulate: .venv/.run  ## Simulate 100,000 runs on 1,000 workers with the real planner (minutes, 2 GB)
	$(BIN)/python bench/simulate.py

profile: .venv/.dev  ## Where the time of a step goes, by part
	$(BIN)/python -m bench.budget
