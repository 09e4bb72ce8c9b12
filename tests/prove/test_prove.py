"""``bitnet-sweep prove``: equal where training is sound, and the usual faults found where planted."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save_file

from bitnet_sweep.config import ConfigError, Knot, RunConfig, Stage
from bitnet_sweep.files import write_text
from bitnet_sweep.prove.shorten import deaths, shortened
from bitnet_sweep.prove.trainings import lend
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import Folder
from bitnet_sweep.store.compare import compare
from tests.front.conftest import VERB, settings, verb
from tests.repetition import repeated
from tests.sweep.command import wait_for

STEPS = "--steps=16"
ROOT = Path(__file__).parent.parent.parent

PLANT = """
from bitnet_sweep.train import loop
import torch
one_step = loop.one_step
{fault}
"""
"""Read as ``sitecustomize`` by each process that trains."""

FAULTS = {
    "global generator": """
torch.manual_seed(0)
def planted(config, state, *others):
    found = one_step(config, state, *others)
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.add_(1e-3 * torch.randn(parameter.shape))
    return found
loop.one_step = planted
""",
    "order of the data": """
from bitnet_sweep.data import Batches
batch_at, reads = Batches.batch_at, iter(range(1, 1000))
Batches.batch_at = lambda self, step: batch_at(self, next(reads))
""",
    "buffer": """
def planted(config, state, *others):
    loss, norm = one_step(config, state, *others)
    model = state.model
    if not hasattr(model, "mean_loss"):
        model.register_buffer("mean_loss", torch.zeros(()))
    model.mean_loss.mul_(0.9).add_(0.1 * loss)
    with torch.no_grad():
        next(model.parameters()).mul_(1 - 0.01 * model.mean_loss)
    return loss, norm
loop.one_step = planted
""",
    "scheduler": """
optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
def planted(config, state, batches, step, learning_rate, weight_decay):
    scheduler.step()
    rate = learning_rate * scheduler.get_last_lr()[0]
    return one_step(config, state, batches, step, rate, weight_decay)
loop.one_step = planted
""",
}
NO_SEED = """
import random
def planted(config, state, *others):
    found = one_step(config, state, *others)
    with torch.no_grad():
        next(state.model.parameters()).add_(random.random())
    return found
loop.one_step = planted
"""


@pytest.fixture(scope="module")
def words(corpus_file, tmp_path_factory):
    """Overrides of a tiny run; its store does not exist."""
    store = tmp_path_factory.mktemp("prove") / "runs"
    return [f"{key}={value}" for key, value in settings(corpus_file, store).items()]


def planted(folder, fault):
    """The environment of a command whose processes have a fault."""
    (folder / "sitecustomize.py").write_text(PLANT.format(fault=fault))
    paths = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.mark.slow
@pytest.mark.system
def test_a_sound_training_is_proved(words, tmp_path):
    status, out, err = verb(tmp_path, "prove", *words, STEPS)
    assert (status, err) == (0, ""), out
    lines = re.sub(r"\(\d+ s\)", "()", out).splitlines()
    assert lines[0] == "16 steps in stages of 8 + 8, trained in 4 ways by 7 processes"
    assert lines[1] == "straight (): trained"
    same = r"equal bit for bit \(\d\d tensors, 16 records, 16 rows of the training log\)"
    for line, name in zip(
        lines[2:5],
        ["straight again", "forked behind 8", "killed at 5 and 13, and resumed"],
        strict=True,
    ):
        assert re.fullmatch(rf"{name} \(\): {same}", line)
    assert lines[5:] == ["Proved: it repeats, forks and resumes."]
    assert list(tmp_path.iterdir()) == [], "nothing is left"


@pytest.mark.system  # seven processes each, which import torch
@pytest.mark.parametrize("fault", repeated(FAULTS, list(FAULTS)[::3]))
def test_a_planted_fault_is_found(words, tmp_path, fault):
    """Each repeats itself, and shows where a process goes on from a checkpoint."""
    status, out, err = verb(tmp_path, "prove", *words, STEPS, env=planted(tmp_path, FAULTS[fault]))
    assert (status, err) == (1, ""), out
    parts = re.split(r"\n(?=\w)", out)
    assert "straight again" in parts[2]
    assert "equal bit for bit" in parts[2]
    for part, name, possible in (
        (parts[3], "forked behind 8", range(9, 11)),
        (parts[4], "killed at 5 and 13", range(3, 7)),  # from the checkpoint at step 2 or 4
    ):
        assert part.startswith(name)
        assert "DIFFERS from the straight training" in part
        step = re.search(r"training log: from step (\d+) on, log/train_loss is \S+ straight, \S+ here", part)
        assert step, part
        assert int(step[1]) in possible
        assert re.search(r"records: from step \d+ on, ", part)
        assert re.search(r"weights: [\w.]+\[[\d, ]+\] is \S+ straight, \S+ here; \d+ of \d+ tensors", part)
        assert "- numbers drawn from a global generator" in part
    assert parts[5].startswith("Not proved")


@pytest.mark.system
def test_a_training_that_does_not_repeat_itself_is_told(words, tmp_path):
    status, out, _ = verb(tmp_path, "prove", *words, STEPS, env=planted(tmp_path, NO_SEED))
    assert status == 1
    again = next(part for part in re.split(r"\n(?=\w)", out) if part.startswith("straight again"))
    assert "DIFFERS" in again
    assert "- numbers drawn from a generator without a seed" in again


@pytest.mark.slow
@pytest.mark.system
def test_a_training_that_fails_is_one_line_and_1(words, tmp_path):
    fault = "def planted(*_):\n    raise RuntimeError('out of luck')\nloop.one_step = planted\n"
    status, out, err = verb(tmp_path, "prove", *words, STEPS, env=planted(tmp_path, fault))
    assert status == 1
    assert err == "bitnet_sweep: straight: training failed: RuntimeError: out of luck\n"
    assert "Proved" not in out


@pytest.mark.slow
@pytest.mark.system
def test_asked_to_stop_it_leaves_no_process_and_no_file(words, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", VERB, "prove", *words, STEPS]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: any(tmp_path.glob("*/1/runs/*/records.jsonl")))
        process.terminate()
        assert "Proved" not in process.communicate()[0]
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])
    ]


def test_token_files_are_lent_and_stay_as_they_are(tmp_path):
    theirs, ours = tmp_path / "tokens", tmp_path / "ours"
    ours.mkdir()
    lend(theirs, ours)
    assert list(ours.iterdir()) == [], "a store without any"
    (theirs / ".ab.building").mkdir(parents=True)
    for name in ("ab.train.bin", "ab.json", "ab.lock"):
        (theirs / name).write_text("x")
    lend(theirs, ours)
    assert sorted(path.name for path in ours.iterdir()) == ["ab.json", "ab.train.bin"]
    write_text(ours / "ab.json", "y")
    assert (theirs / "ab.json").read_text() == "x", "what is made anew takes the link's place"


STAGES = [
    Stage(100, 0.1, [Knot(0, 0.0), Knot(10, 1.0), Knot(100, 0.5)]),
    Stage(60, 0.05, [Knot(0, 0.5), Knot(60, 0.2)]),
    Stage(40, 0.0, [Knot(0, 0.2), Knot(1, 0.1), Knot(40, 0.0)]),
]


class TestShortened:
    def test_the_schedule_keeps_its_proportions(self):
        short = shortened(resolve(RunConfig(steps=1000, boundary=0.3, lr_boundary=0.6, warmup_steps=100)), 40)
        assert [stage.steps for stage in short.stages] == [12, 12, 16]
        assert (short.warmup_steps, short.probe_every_steps, short.log_every_steps) == (4, 4, 1)
        assert short.checkpoint_every_steps == 3
        assert deaths(short) == [(0, 8), (12, 20), (24, 34)]

    def test_stages_by_hand_do_too(self):
        config = resolve(RunConfig(steps=200, stages=STAGES, wd1=0.1, wd2=0.0, lr=1.0))
        short = shortened(config, 20)
        assert [(stage.steps, stage.weight_decay) for stage in short.stages] == [
            (10, 0.1),
            (6, 0.05),
            (4, 0.0),
        ]
        assert [(knot.step, knot.lr) for knot in short.stages[0].lr] == [(0, 0.0), (1, 1.0), (10, 0.5)]
        assert [knot.step for knot in short.stages[2].lr] == [0, 4]

    def test_curves_by_hand_stay_curves(self):
        curve = [Knot(0, 1.0, 0.0), Knot(100, 0.5, 0.5)]
        stages = [Stage(100, 0.1, curve, 0.0, 1.0), Stage(100, 0.0, [Knot(0, 0.5), Knot(100, 0.0)])]
        short = shortened(resolve(RunConfig(steps=200, stages=stages, wd1=0.1, wd2=0.0, lr=1.0)), 20)
        assert short.stages[0] == Stage(10, 0.1, [Knot(0, 1.0, 0.0), Knot(10, 0.5, 0.5)], 0.0, 1.0)

    def test_a_shorter_run_is_left_as_it_is(self):
        assert shortened(resolve(RunConfig(steps=20)), 40).steps == 20

    @pytest.mark.parametrize("steps", [2, 3])
    def test_a_stage_of_one_step_is_refused(self, steps):
        with pytest.raises(ConfigError, match=f"--steps={steps}: leaves a stage of 1 step; each needs 2"):
            shortened(resolve(RunConfig()), steps)

    @pytest.mark.parametrize("steps", range(4, 60))
    def test_each_death_lies_behind_a_checkpoint_of_its_stage(self, steps):
        config = shortened(resolve(RunConfig(boundary=0.5)), steps)
        every, ends = config.checkpoint_every_steps, [config.stages[0].steps, steps]
        assert every
        for (start, death), end in zip(deaths(config), ends, strict=True):
            assert start < (death - 1) // every * every < death <= end


WEIGHTS = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(1.0),
    "c": torch.ones(2, dtype=torch.bfloat16),
}
RECORDS = [{"step": step, "val/loss": 5.0 - step, "perf/step_ms": step} for step in (1, 2, 3)]
CHANGED, SIGNED = WEIGHTS["a.weight"].clone(), WEIGHTS["a.weight"].clone()
CHANGED[1, 1:] += 0.5
SIGNED[0, 0] = -0.0


class TestCompare:
    """The first place that differs, in each file."""

    def folder(self, path, weights=None, records=None, log=None):
        path.mkdir()
        save_file(WEIGHTS | (weights or {}), path / "final.safetensors")
        for name, rows in (("records", records or RECORDS), ("log", log or RECORDS)):
            (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Folder(path)

    def compared(self, tmp_path, **changes):
        return compare(self.folder(tmp_path / "a"), self.folder(tmp_path / "b", **changes))

    def test_equal(self, tmp_path):
        timed = [row | {"perf/step_ms": 7} for row in RECORDS]
        found = self.compared(tmp_path, records=timed)
        assert found.is_equal
        assert str(found) == "3 tensors, 3 records, 3 rows of the training log"

    @pytest.mark.parametrize(
        ("weights", "told"),
        [
            ({"a.weight": CHANGED}, "a.weight[1, 1] is 4.0 straight, 4.5 here; 1 of 3 tensors"),
            ({"a.weight": SIGNED}, "a.weight[0, 0] is 0.0 straight, -0.0 here; 1 of 3 tensors"),
            ({"b": torch.tensor(1.0 + 2**-23)}, "b is 1.0 straight, 1.0000001192092896 here; 1 of 3 tensors"),
            ({"c": torch.tensor([1.0, 2.0], dtype=torch.bfloat16)}, "c[1] is 1.0 straight, 2.0 here"),
            ({"b": torch.ones(2)}, "b is float32[] straight, float32[2] here"),
            ({"b": torch.tensor(1.0, dtype=torch.float64)}, "b is float32[] straight, float64[] here"),
            ({"d": torch.ones(1)}, "d is too much here"),
        ],
    )
    def test_weights(self, tmp_path, weights, told):
        (line,) = self.compared(tmp_path, weights=weights).differences
        assert line.startswith(f"weights: {told}")

    def test_nan_is_nan(self, tmp_path):
        nan = {"b": torch.tensor(float("nan"))}
        assert compare(self.folder(tmp_path / "a", nan), self.folder(tmp_path / "b", nan)).is_equal

    @pytest.mark.parametrize(
        ("records", "told"),
        [
            (RECORDS[:2], "records: step 3 is missing here"),
            ([*RECORDS, {"step": 4}], "records: step 4 is too much here"),
            ([*RECORDS, RECORDS[2]], "records: 3 rows straight, 4 here"),
            (
                [RECORDS[0], RECORDS[1] | {"val/loss": 3.5}, RECORDS[2] | {"val/loss": None}],
                "records: from step 2 on, val/loss is 3.0 straight, 3.5 here; 2 of 3 rows",
            ),
            (
                [*RECORDS[:2], RECORDS[2] | {"val/loss": -0.0, "x": 1}],
                "records: from step 3 on, val/loss is 2.0 straight, -0.0 here and 1 more fields; 1 of 3 rows",
            ),
        ],
    )
    def test_records(self, tmp_path, records, told):
        assert self.compared(tmp_path, records=records).differences == [told]

    def test_the_fields_of_the_first_row_that_differs(self, tmp_path):
        log = [RECORDS[0], *(row | {"log/lr": 0.1} for row in RECORDS[1:])]
        assert self.compared(tmp_path, log=log).fields == {"log/lr"}
