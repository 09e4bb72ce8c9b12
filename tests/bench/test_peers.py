"""The peers train, and are the plain model but for what ``bench.peers.PEERS`` says (extra: bench)."""

import json
import math
import socket
import sys
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from bench import step
from bench.arms import ARMS, Arm, Setting
from bench.peers import PEERS, missing
from bench.plain import PlainLoop, PlainModel
from bitnet_sweep.runtime import cpu_class

HIDDEN, VOCAB = 32, 300
FEWER = {"transformers": 8 * HIDDEN, "bitlinear": 20 * HIDDEN}
"""Parameters fewer than the plain model's, by the difference in norms."""


def refuse(*_):
    raise AssertionError("a connection was tried")


@pytest.fixture(params=list(PEERS))
def name(request, monkeypatch):
    pytest.importorskip(request.param, reason="the extra bench is not installed", exc_type=ImportError)
    assert missing(request.param) is None
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs are not ours to mend
        yield request.param


@pytest.fixture
def model(name):
    torch.manual_seed(0)
    return PEERS[name].build(HIDDEN, VOCAB)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.system
@pytest.mark.every
def test_a_peer_learns_with_every_parameter(name, model):
    loop = PlainLoop(model)
    ids = torch.randint(VOCAB, (4, 9), generator=torch.Generator().manual_seed(0))
    before = {key: value.clone() for key, value in model.named_parameters()}
    losses = [loop.step(ids[:, :-1], ids[:, 1:]) for _ in range(12)]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0] - 0.3
    still = [key for key, value in model.named_parameters() if torch.equal(value, before[key])]
    assert not still
    assert {value.dtype for value in model.parameters()} == {torch.float32}


@pytest.mark.system
def test_its_parameters_are_those_stated(name, model):
    assert count(model) == count(PlainModel(HIDDEN, VOCAB)) - FEWER[name]
    assert f"{FEWER[name] // HIDDEN}h parameters fewer" in PEERS[name].differs


@pytest.mark.system
def test_its_blocks_are_ternary_and_its_head_is_not(name, model):
    linear: dict[str, Any] = {
        key: module for key, module in model.named_modules() if isinstance(module, nn.Linear)
    }
    (head,) = (key for key, module in linear.items() if module.out_features == VOCAB)
    assert type(linear.pop(head)) is nn.Linear
    assert len(linear) == {"transformers": 4 * 7, "bitlinear": 4 * 4}[name]
    assert {type(module).__module__.split(".")[0] for module in linear.values()} == {name}
    for module in linear.values():
        if name == "transformers":
            assert module.online_quant
            continue
        assert (module.weight_range, module.activation_range) == ((-1, 1), (-128, 127))
        assert type(module.weight_measure).__name__ == "AbsMean"


@pytest.mark.system
@pytest.mark.parametrize("name", ["transformers"], indirect=True)
def test_transformers_differs_in_nothing_else(model):
    """With equal weights and scales, and norms that change nothing, the logits are the plain model's."""
    torch.manual_seed(0)
    plain = PlainModel(HIDDEN, VOCAB)
    blocks: Any = plain.blocks
    theirs = model.model
    with torch.no_grad():
        theirs.model.embed_tokens.weight.copy_(plain.embedding.weight)
        theirs.lm_head.weight.copy_(plain.head.weight)
        for ours, layer in zip(blocks, theirs.model.layers, strict=True):
            attention, mlp = layer.self_attn, layer.mlp
            for fused, parts in [
                (ours.qkv, [attention.q_proj, attention.k_proj, attention.v_proj]),
                (ours.gate_up, [mlp.gate_proj, mlp.up_proj]),
            ]:
                for rows, part in zip(fused.weight.chunk(len(parts)), parts, strict=True):
                    rows /= rows.abs().mean()  # the plain model has one scale for all of them
                    part.weight.copy_(rows)
            attention.o_proj.weight.copy_(ours.out.weight)
            mlp.down_proj.weight.copy_(ours.down.weight)
    ids = torch.randint(VOCAB, (2, 16), generator=torch.Generator().manual_seed(0))
    expected = plain(
        ids
    )  # a norm less moves an input by its eps, and now and then one over a rounding's edge
    assert (model(ids) - expected).norm() < 0.01 * expected.norm()


@pytest.mark.system
@pytest.mark.every
def test_the_table_has_their_rows_and_the_picture_their_lines(tmp_path, monkeypatch):
    for name in PEERS:
        pytest.importorskip(name, reason="the extra bench is not installed", exc_type=ImportError)
    arguments = ["--hidden", str(HIDDEN), "--batch", "2x5", "--vocab-size", str(VOCAB), "--rounds", "2"]
    monkeypatch.setattr(sys, "argv", ["step", *arguments, "--out", str(tmp_path)])
    step.main()
    file = f"step_2x5_{cpu_class().name}"
    rows = {row["arm"]: row for row in json.loads((tmp_path / f"{file}.json").read_text())["rows"]}
    assert list(rows) == [arm for arm in ARMS if arm != "plain_compiled"]
    for name in PEERS:
        assert rows[name]["parameters"] == count(PlainModel(HIDDEN, VOCAB)) - FEWER[name]
        assert rows[name]["ms"] > 0
        assert rows[name]["mixed_faster"] > 0
        assert ARMS[name] in (tmp_path / f"{file}.md").read_text()
        assert f">{name} {rows[name]['ms']:,.0f}<" in (tmp_path / f"{file}.svg").read_text()


def test_a_peer_that_is_absent_is_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitlinear", None)
    reason = missing("bitlinear")
    assert reason is not None
    assert "[bench]" in reason


@pytest.mark.slow
def test_a_process_counts_its_own_memory_alone():
    """What its parent holds is not in it."""
    setting = Setting(hidden=8, batch=2, length=5, vocab_size=50)
    held = torch.ones(150_000_000)  # 600 MB
    arm = Arm("plain", setting)
    arm.run(1)
    facts = arm.close()
    assert held.numel() * 4 / 1e6 > facts.peak_mb >= facts.base_mb > 100
    assert facts.parameters == count(PlainModel(8, 50))
