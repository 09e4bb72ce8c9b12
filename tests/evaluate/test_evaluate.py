"""``bitnet-sweep evaluate`` with the real harness, on a real, tiny training."""

import hashlib
import importlib.util
import json
import math
from importlib import metadata
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import bitnet_sweep as bs
from bitnet_sweep.store import Store
from tests.front.conftest import settings, verb

NEEDED = ("lm_eval", "transformers", "accelerate")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.slow  # it trains, and starts processes
needs_extra = pytest.mark.skipif(bool(MISSING), reason="the extra evaluate is not installed (lm-eval)")

LONG_SECONDS = 800
"""Only what hangs is ended by it: importing the harness takes ten seconds, and so do two more programs."""

QUESTIONS: list[dict[str, Any]] = [
    {"text": "the abc", "choices": ["def", "gh", "ij k"], "answer": 0},
    {"text": "on the", "choices": ["lm", "nop.", "abc"], "answer": 1},
    {"text": "a b", "choices": ["c", "d", "e"], "answer": 2},
    {"text": "jkl mno", "choices": ["p abc", "a", "bcd"], "answer": 0},
]
TEXTS = ["abc def ghi jkl. mno abc", "Ein kurzer Satz.", "pon mlk"]


def task(name: str, data: str, output_type: str, metrics: list[str], **more: object) -> dict[str, Any]:
    """A task on a file of documents."""
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": data}},
        "test_split": "test",
        "output_type": output_type,
        "doc_to_text": "{{text}}",
        "metric_list": [{"metric": metric} for metric in metrics],
        "metadata": {"version": 1.0},
        **more,
    }


QUIZ = task(
    "quiz",
    "quiz.jsonl",
    "multiple_choice",
    ["acc"],
    doc_to_choice="{{choices}}",
    doc_to_target="answer",
)
PERPLEXITY = task(
    "texts",
    "texts.jsonl",
    "loglikelihood_rolling",
    ["word_perplexity", "bits_per_byte"],
    doc_to_text="",
    doc_to_target="{{text}}",
)
LAST = task(
    "last",
    "quiz.jsonl",
    "loglikelihood",
    ["perplexity", "acc"],
    doc_to_target=" {{choices[answer]}}",
)


@pytest.fixture(scope="module")
def trained(corpus_file, tmp_path_factory):
    """A folder with a store of two runs, and two task files."""
    folder = tmp_path_factory.mktemp("evaluated")
    own = settings(corpus_file, folder / "runs") | {"sequence_length": 32, "steps": 60}
    run_ids = bs.sweep({"wd2": [0.0, 0.05]}, **own).run_ids
    lines = {"quiz.jsonl": QUESTIONS, "texts.jsonl": [{"text": text} for text in TEXTS]}
    for name, rows in lines.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "quiz.json").write_text(json.dumps([QUIZ, LAST]))
    (folder / "texts.json").write_text(json.dumps(PERPLEXITY))
    return folder, run_ids


@pytest.fixture(scope="module")
def evaluated(trained):
    """What the verb says of both task files for the first run."""
    folder, run_ids = trained
    words = ("--tasks=quiz.json", "--tasks", "texts.json")
    return verb(folder, "evaluate", run_ids[0], *words, timeout=LONG_SECONDS)


def log_likelihood(run, context, continuation):
    """By our own model: what the harness adds up, and whether each token is the likeliest."""
    start, ids = (run.tokenizer.encode(text).ids for text in (context, context + continuation))
    with torch.no_grad():
        row = torch.tensor([ids])
        logits_TV = run.model.logits(run.model.hidden_states(row))[0].float()
    own = range(len(start), len(ids))
    found = [F.log_softmax(logits_TV[i - 1], dim=-1)[ids[i]].item() for i in own]
    return sum(found), all(logits_TV[i - 1].argmax().item() == ids[i] for i in own)


@pytest.mark.system
@needs_extra
def test_what_the_harness_says_is_what_our_model_says(trained, evaluated):
    folder, run_ids = trained
    assert evaluated[0] == 0, evaluated[2]
    records = [json.loads(path.read_text()) for path in Store(folder / "runs").evaluations(run_ids[0])]
    quiz, texts = (record["results"] for record in records)
    run = bs.open_run(folder / "runs", run_ids[0])
    choices = [
        [log_likelihood(run, row["text"], f" {choice}")[0] for choice in row["choices"]] for row in QUESTIONS
    ]
    right = [row.index(max(row)) == asked["answer"] for row, asked in zip(choices, QUESTIONS, strict=True)]
    assert quiz["quiz"]["acc"]["value"] == pytest.approx(sum(right) / len(right))
    last = [log_likelihood(run, row["text"], f" {row['choices'][row['answer']]}") for row in QUESTIONS]
    mean = sum(total for total, _ in last) / len(last)
    # the recorded weights are the same, the products at precision=mixed nearly so
    assert math.log(quiz["last"]["perplexity"]["value"]) == pytest.approx(-mean, abs=0.02 * abs(mean))
    assert quiz["last"]["acc"]["value"] == sum(greedy for _, greedy in last) / len(last)
    totals = [log_likelihood(run, "<|endoftext|>", text)[0] for text in TEXTS]
    num_bytes = sum(len(text.encode()) for text in TEXTS)
    bits = -sum(totals) / num_bytes / math.log(2)
    assert texts["texts"]["bits_per_byte"]["value"] == pytest.approx(bits, rel=0.02)


@pytest.mark.system
@needs_extra
def test_the_record(trained, evaluated):
    folder, run_ids = trained
    store = Store(folder / "runs")
    first, second = store.evaluations(run_ids[0])
    assert (first.name[:5], second.name[:6]) == ("quiz.", "texts.")
    record = json.loads(first.read_text())
    assert record["tasks_file"] == "quiz.json"
    assert record["sha256"] == hashlib.sha256((folder / "quiz.json").read_bytes()).hexdigest()
    assert record["data"] == {"quiz.jsonl": hashlib.sha256((folder / "quiz.jsonl").read_bytes()).hexdigest()}
    assert record["samples"] == {"quiz": 4, "last": 4}
    assert record["task_versions"] == {"quiz": 1.0, "last": 1.0}
    assert record["versions"]["lm_eval"] == metadata.version("lm_eval")
    assert record["max_length"] == 32
    assert record["online"] is False
    assert "4,096 held-out tokens" in record["check"]
    assert not (store.root / "runs" / run_ids[0] / "evaluations").exists()
    for line in (
        f"kept in runs/evaluations/{run_ids[0]}/{first.name}",
        "quiz: acc ",
        ", n=4",
        "texts: bits_",
    ):
        assert line in evaluated[1]
    status, out, _ = verb(folder, "show", run_ids[0])
    assert status == 0
    assert "\nevaluated\n  quiz (" in out
    assert "texts: bits_per_byte" in out
    assert f"bitnet-sweep evaluate {run_ids[0]} --tasks FILE.json" in out


@pytest.mark.system
@needs_extra
def test_the_leaderboard_has_columns_for_it(trained, evaluated):
    folder, run_ids = trained
    frame = bs.report(folder / "runs").leaderboard.frame
    rows = frame.set_index("run_ids")
    record = json.loads(Store(folder / "runs").evaluations(run_ids[0])[0].read_text())
    acc = record["results"]["quiz"]["acc"]["value"]
    assert float(rows["quiz/quiz/acc"][run_ids[0]]) == pytest.approx(acc)
    assert [str(rows["quiz/quiz/acc_n"][run_id]) for run_id in run_ids] == ["1", "0"]


@pytest.mark.system
@needs_extra
def test_a_long_text_is_told(trained, tmp_path):
    folder, run_ids = trained
    (folder / "long.jsonl").write_text(json.dumps(QUESTIONS[0] | {"text": "abc def " * 60}) + "\n")
    long = LAST | {"dataset_kwargs": {"data_files": {"test": "long.jsonl"}}}
    (folder / "long.json").write_text(json.dumps(long))
    status, out, err = verb(
        folder, "evaluate", run_ids[1], "--tasks=long.json", "--no-check", timeout=LONG_SECONDS
    )
    assert status == 0, err
    (path,) = Store(folder / "runs").evaluations(run_ids[1])
    record = json.loads(path.read_text())
    assert record["check"] is None
    assert any("exceeds model's maximum length (32)" in text for text in record["warnings"])
    assert "the harness warns: Combined length of context" in out


@pytest.mark.system
@needs_extra
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"no_such_key": 1}, "the harness refuses it: TypeError"),
        ({"test_split": "train"}, "the harness refuses it: KeyError"),
        ({"output_type": "nonsense"}, "the harness refuses it: "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_the_harness_refuses_is_one_line_and_2(trained, change, told):
    folder, run_ids = trained
    (folder / "bad.json").write_text(json.dumps(QUIZ | change))
    status, out, err = verb(
        folder, "evaluate", run_ids[1], "--tasks=bad.json", "--no-check", timeout=LONG_SECONDS
    )
    assert (status, out, len(err.splitlines())) == (2, "", 1), err
    assert err.startswith(f"bitnet_sweep: --tasks=bad.json: {told}")
    assert not [p for p in Store(folder / "runs").evaluations(run_ids[1]) if p.name.startswith("bad")]


@pytest.mark.skipif(not MISSING, reason="the extra evaluate is installed")
def test_without_the_extra_it_is_one_line_and_2(trained):
    folder, run_ids = trained
    status, out, err = verb(folder, "evaluate", run_ids[0], "--tasks=quiz.json")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "needs lm-eval" in err
    assert "pip install 'bitnet-sweep[evaluate]'" in err
    assert not (folder / "runs" / "evaluations").exists()
