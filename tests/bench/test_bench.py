"""The plain loop is the same model, and the programs give what they promise."""

import json
import sys

import pytest
import torch

from bench import budget, step, threads
from bench.arms import Setting
from bench.large import LAYERS
from bench.plain import PlainLoop, PlainModel, copy_weights
from bench.tables import table
from bitnet_sweep.config import ModelConfig
from bitnet_sweep.model import mixed
from bitnet_sweep.model.products import cpu_class
from bitnet_sweep.model.transformer import Transformer

TINY = Setting(hidden=8, batch=2, length=5, vocab_size=50)


def test_the_plain_model_is_this_model():
    """With the same weights it has the same logits and parameters, so the comparison is fair."""
    ours, plain = Transformer(ModelConfig(hidden=8), 50, seed=0), PlainModel(8, 50)
    copy_weights(ours, plain)
    ids = torch.randint(50, (2, 5), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plain(ids), ours(ids), rtol=1e-4, atol=1e-4)


def test_made_up_stores_name_the_layers_of_the_model():
    assert list(Transformer(ModelConfig(hidden=8), 50, seed=0).bitlinears()) == LAYERS


@pytest.mark.slow
def test_the_plain_loop_learns():
    torch.manual_seed(0)
    loop = PlainLoop(PlainModel(8, 50))
    ids = torch.arange(12).reshape(2, 6)
    losses = [loop.step(ids[:, :-1], ids[:, 1:]) for _ in range(30)]
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("anew", "name"), [([], "step_2x5"), (["--anew"], "step_2x5_anew")])
def test_table_of_a_tiny_setting(tmp_path, monkeypatch, capsys, anew, name):
    monkeypatch.setitem(sys.modules, "bitlinear", None)  # as if it were not installed
    arguments = ["--hidden", "8", "--batch", "2x5", "--vocab-size", "50", "--rounds", "3"]
    arguments += ["--peers", "bitlinear", "--out", str(tmp_path), *anew]
    monkeypatch.setattr(sys, "argv", ["step", *arguments])
    step.main()
    name = f"{name}_{cpu_class().name}"
    document = json.loads((tmp_path / f"{name}.json").read_text())
    rows = {row["arm"]: row for row in document["rows"]}
    assert list(rows) == ["floor", "mixed", "fp32", "plain"]
    assert rows["plain"]["speed_up"] == rows["floor"]["floor_share"] == rows["mixed"]["mixed_faster"] == 1.0
    assert all(row["ms"] > 0 and row["peak_mb"] > row["base_mb"] > 50 for row in rows.values())
    assert len({row["parameters"] for row in rows.values()}) == 1
    assert {"cpu", "commit", "torch", "float32 product, GFLOP/s"} <= set(document["machine"])
    assert document["machine"]["cpu_class"] in name
    page, printed = (tmp_path / f"{name}.md").read_text(), capsys.readouterr().out
    assert table(document["rows"], step.COLUMNS) in page
    assert table(document["rows"], step.COLUMNS) in printed
    assert "`bitlinear` is left out: the package is not installed" in page
    assert "bitlinear is left out: the package is not installed" in printed
    picture = (tmp_path / f"{name}.svg").read_text()
    assert all(picture.count(f">{arm} ") == 1 for arm in rows)


@pytest.mark.slow
def test_jobs_side_by_side(tmp_path, monkeypatch, capsys):
    arguments = ["--jobs", "2", "--hidden", "8", "--batch", "2x5", "--vocab-size", "50", "--steps", "2"]
    monkeypatch.setattr(sys, "argv", ["threads", *arguments, "--rounds", "3", "--out", str(tmp_path)])
    threads.main()
    document = json.loads((tmp_path / "threads.json").read_text())
    side, one = document["rows"]
    assert (side["way"], one["way"]) == ("2 jobs of 1 thread", "1 job of 2 threads")
    assert one["of_one_job"] == 1.0
    assert side["steps_per_s"] > 0
    assert side["peak_mb"] > 1.5 * one["peak_mb"]
    assert table(document["rows"], threads.COLUMNS) in (tmp_path / "threads.md").read_text()
    assert table(document["rows"], threads.COLUMNS) in capsys.readouterr().out


@pytest.mark.slow
def test_budget_of_a_tiny_setting(monkeypatch):
    for name in ("ternary_weights", "activation_quant"):
        monkeypatch.setattr(mixed, name, getattr(mixed, name))  # put back at the end
    parts = budget.budget(TINY, steps=2)
    labels = [label for label, _ in parts[:-1]]
    optional = {"ternary products, forward"}  # where they are float32, the profiler does not tell them apart
    assert set(budget.PARTS.values()) - optional <= set(labels) <= set(budget.PARTS.values())
    assert all(ms > 0 for _, ms in parts)
