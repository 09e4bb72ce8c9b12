"""The plain loop is the same model, and the programs give what they promise."""

import json
import sys

import pytest
import torch

from bench import budget, step
from bench.arms import Setting
from bench.plain import PlainLoop, PlainModel
from bitnet_sweep.config import ModelConfig
from bitnet_sweep.model import mixed
from bitnet_sweep.model.transformer import Transformer

TINY = Setting(hidden=8, batch=2, length=5, vocab_size=50)


def test_the_plain_model_is_this_model():
    """With the same weights it has the same logits and parameters, so the comparison is fair."""
    ours, plain = Transformer(ModelConfig(hidden=8), 50, seed=0), PlainModel(8, 50)
    theirs = dict(plain.named_parameters())
    renamed = {
        "embedding": "embedding.weight",
        "head": "head.weight",
        "final_norm.weight": "norm.weight",
    }
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            short = name.replace("attention.", "").replace("feed_forward.", "")
            theirs.pop(renamed.get(name, short)).copy_(parameter)
    assert not theirs
    ids = torch.randint(50, (2, 5), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plain(ids), ours(ids), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_plain_loop_learns():
    loop = PlainLoop(8, 50)
    ids = torch.arange(12).reshape(2, 6)
    losses = [loop.step(ids[:, :-1], ids[:, 1:]) for _ in range(30)]
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.slow
def test_table_of_a_tiny_setting(tmp_path, monkeypatch, capsys):
    arguments = ["--hidden", "8", "--batch", "2x5", "--vocab-size", "50", "--rounds", "3", "--out"]
    monkeypatch.setattr(sys, "argv", ["step", *arguments, str(tmp_path)])
    step.main()
    document = json.loads((tmp_path / "step.json").read_text())
    rows = {row["arm"]: row for row in document["rows"]}
    assert list(rows) == list(step.ARMS)
    assert rows["plain"]["speed_up"] == rows["floor"]["floor_share"] == 1.0
    assert all(row["ms"] > 0 and row["peak_mb"] > 50 for row in rows.values())
    assert {"cpu", "commit", "torch"} <= set(document["machine"])
    assert step.table(document["rows"]) in (tmp_path / "step.md").read_text()
    assert step.table(document["rows"]) in capsys.readouterr().out


@pytest.mark.slow
def test_budget_of_a_tiny_setting(monkeypatch):
    for name in ("ternary_weights", "activation_quant"):
        monkeypatch.setattr(mixed, name, getattr(mixed, name))  # put back at the end
    parts = budget.budget(TINY, steps=2)
    assert [label for label, _ in parts[:-1]] == list(budget.PARTS.values())
    assert all(ms > 0 for _, ms in parts)
