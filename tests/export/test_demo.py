"""The demo's best run goes to ``transformers`` and writes the same text there, by what a user types."""

import csv
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import bitnet_sweep as bs
from tests.front.conftest import verb
from tests.sweep.command import run

HAS_EXTRA = all(importlib.util.find_spec(name) for name in ("transformers", "accelerate"))
pytestmark = [
    pytest.mark.system,  # which alone has the extra
    pytest.mark.skipif(not HAS_EXTRA, reason="transformers and accelerate are not installed"),
]

MAKEFILE = Path(__file__).parents[2] / "Makefile"
SHORT = {"model.hidden": "32,64", "steps": "150"}
"""In place of the demo's own, with which it trains for minutes."""
PROMPTS = ("The ", "Population: ", "The economy of the country", "(2023 est.)")
TOKENS = 40
LONG_SECONDS = 800
"""Only what hangs is ended by it."""
TIE = 0.01
"""Nats: an activation that lies between two codes may be rounded otherwise, and moves a logit by so much."""

GREEDY = f"""
import json, sys
import torch
import torch._dynamo
from transformers import AutoModelForCausalLM, AutoTokenizer
torch._dynamo.config.disable = True
model, tokenizer = (kind.from_pretrained(sys.argv[1]) for kind in (AutoModelForCausalLM, AutoTokenizer))
answers = []
for prompt in sys.argv[2:]:
    start = tokenizer(prompt, return_tensors="pt").input_ids
    card = model.generate(start)[0].tolist()  # as the model card says: to the end of a training row
    ids = start[0].tolist()
    for _ in range({TOKENS}):  # beyond a row: the last tokens that fit into one, as here
        row = torch.tensor([ids[-model.config.max_position_embeddings:]])
        ids.append(model(row, use_cache=False).logits[0, -1].argmax().item())
    made = ids[start.shape[1]:]
    answers.append(dict(card=card, ids=ids, made=made, text=tokenizer.decode(made)))
json.dump(answers, sys.stdout)
"""


def demo(store):
    """The demo's words, short."""
    (words,) = re.findall(r"^\t\$\(BIN\)/python -m bitnet_sweep (.*demo)$", joined(), re.MULTILINE)
    pairs = [word.partition("=") for word in words.split()]
    own = SHORT | {"store": str(store)}
    assert own.keys() <= {key for key, _, _ in pairs}
    return [f"{key}={own.get(key, value)}" if equals else key for key, equals, value in pairs]


def joined():
    return re.sub(r"\s*\\\n\s*", " ", MAKEFILE.read_text())


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    """A folder with the demo's store, and the first run of its leaderboard."""
    folder = tmp_path_factory.mktemp("demo")
    status, _, err = run(folder, *demo(folder / "runs"))
    assert status == 0, err
    status, _, err = verb(folder, "report", "--sweep=demo", "--out=report", "--check")
    assert status == 0, err
    with (folder / "report" / "tables" / "leaderboard.csv").open() as file:
        (run_id,) = next(row["run_ids"].split() for row in csv.DictReader(file) if row["rank"] == "1")
    return folder, run_id


def behind(opened, answer):
    """How far the logit of each token of an answer lies behind the largest one here, in nats."""
    made = len(answer["made"])
    rows = [answer["ids"][: i - made][-opened.config.row_targets :] for i in range(made)]
    with torch.no_grad():
        logits = [opened.model.logits(opened.model.hidden_states(torch.tensor([row]))[0, -1]) for row in rows]
    return [(each.max() - each[token]).item() for each, token in zip(logits, answer["made"], strict=True)]


@pytest.mark.every  # tests/export/test_verb.py compares the texts of smaller runs
def test_the_best_run_writes_the_same_text_in_transformers(best):
    """40 most likely tokens; two programs may part only where this one has two as likely, to a rounding."""
    folder, run_id = best
    status, out, err = verb(folder, "show", run_id)
    assert status == 0, err
    assert f"bitnet-sweep export {run_id} --to hf" in out
    status, out, err = verb(folder, "export", run_id, "--to=hf", "best", "--check", timeout=LONG_SECONDS)
    assert status == 0, err
    assert "check  4,096 held-out tokens" in out
    words = [sys.executable, "-c", GREEDY, str(folder / "best"), *PROMPTS]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    opened = bs.open_run(folder / "runs", run_id)
    for prompt, answer in zip(PROMPTS, json.loads(done.stdout), strict=True):
        assert len(answer["made"]) == TOKENS
        assert answer["card"] == answer["ids"][: len(answer["card"])]
        assert len(answer["card"]) == opened.config.row_targets or answer["card"][-1] == 0
        gaps = behind(opened, answer)
        assert max(gaps) <= TIE
        if not any(gaps):
            assert answer["text"] == opened.generate(prompt, TOKENS)
    told = verb(folder, "generate", run_id, "--prompt", PROMPTS[0], "--only")
    assert told == (0, opened.generate(PROMPTS[0], TOKENS) + "\n", "")


def test_the_same_text_is_told_from_another(best, tmp_path):
    """The comparison above is one: for the text of the sweep's worst run it fails."""
    folder, run_id = best
    opened = bs.open_run(folder / "runs", run_id)
    (other,) = [each for each in (folder / "runs" / "runs").iterdir() if each.name != run_id][-1:]
    made = bs.open_run(folder / "runs", other.name).generate(PROMPTS[0], TOKENS)
    start = opened.tokenizer.encode(PROMPTS[0]).ids
    ids = opened.tokenizer.encode(made).ids
    assert max(behind(opened, {"ids": start + ids, "made": ids})) > TIE
