"""The held-out measure: predictors with known figures, chunks against a plain twin, no side effects."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from bitnet_sweep.config import ModelConfig, Precision, Weights
from bitnet_sweep.measure import losses, per_token
from bitnet_sweep.measure.losses import HeldOut, unigram_loss
from bitnet_sweep.measure.per_token import tiled_token_statistics, token_statistics
from bitnet_sweep.model import head
from bitnet_sweep.model.head import logit_tiles
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.records import FIELDS, clean

VOCAB = 8
Windows = list[tuple[NDArray[np.int64], NDArray[np.int64]]]


def model_of(vocab_size: int = VOCAB, seed: int = 0) -> Transformer:
    return Transformer(ModelConfig(hidden=8, num_layers=1, num_heads=2), vocab_size, seed)


def windows_of(
    *, vocab_size: int = VOCAB, count: int = 3, batch: int = 2, length: int = 5, seed: int = 0
) -> Windows:
    ids = np.random.default_rng(seed).integers(0, vocab_size, (count, batch, length + 1))
    return [(block[:, :-1], block[:, 1:]) for block in ids]


def held_out(windows: Windows, counts: NDArray[np.int64], vocab_size: int) -> HeldOut:
    """Of a training split in which nothing follows anything."""
    return HeldOut(windows, counts, vocab_size, np.zeros(1, dtype=np.uint16))


def counting_windows() -> Windows:
    """Each id is followed by the next one, 7 by 0."""
    x_BT = np.arange(32, dtype=np.int64).reshape(4, 8) % VOCAB
    return [(x_BT, (x_BT + 1) % VOCAB)]


def successor_model(confidence: float) -> Transformer:
    """Predicts that x is followed by x + 1: blocks that add nothing, one-hot embeddings, a shifted head."""
    model = model_of()
    assert model.head is not None
    with torch.no_grad():
        for layer in model.bitlinears().values():
            layer.weight.zero_()
        model.embedding.copy_(torch.eye(VOCAB))
        model.head.copy_(confidence * torch.eye(VOCAB).roll(1, dims=0))
    return model


def test_uniform_predictor() -> None:
    model = model_of()
    assert model.head is not None
    with torch.no_grad():
        model.head.zero_()
    counts = np.zeros(VOCAB, dtype=np.int64)
    got = held_out(counting_windows(), counts, VOCAB).measure(model)
    ln8 = math.log(8)
    assert got == {
        "val/loss": pytest.approx(ln8, abs=1e-6),
        "val/accuracy": 0.125,  # it always says 0, as 4 of 32 targets are
        "ref/ln_vocab": ln8,
        "ref/unigram_loss": pytest.approx(ln8),  # no counts: each id 1 of 8
        "ref/bigram_loss": pytest.approx(ln8),  # and nothing follows anything
        "val/loss_tempered": None,  # one forward pass has no two halves
        "blocks/loss_without": pytest.approx(ln8, abs=1e-6),
        "probe/context_gain": 0.0,
        "val/minus_ln_vocab": pytest.approx(0.0, abs=1e-6),
        "val/minus_unigram": pytest.approx(0.0, abs=1e-6),
        "probe/entropy": pytest.approx(ln8, abs=1e-6),
        "probe/argmax_tokens": 1,
        "probe/human_tokens": 8,
        "probe/logit_std": 0.0,
    }
    assert set(got) <= set(FIELDS)


def test_one_hot_predictor() -> None:
    got = held_out(counting_windows(), np.ones(VOCAB, dtype=np.int64), VOCAB).measure(successor_model(1e4))
    assert got["val/loss"] == 0.0
    assert got["val/accuracy"] == 1.0
    assert got["probe/entropy"] == 0.0
    assert got["probe/argmax_tokens"] == 8
    assert got["val/minus_ln_vocab"] == -math.log(8)
    # the norm turns a one-hot vector of 8 into sqrt(8), so the logits are c, 0, 0, 0, 0, 0, 0, 0
    c = 1e4 * math.sqrt(8)
    assert got["probe/logit_std"] == pytest.approx(c * math.sqrt(7) / 8, rel=1e-3)


def test_confident_and_wrong() -> None:
    x_BT = np.zeros((1, 4), dtype=np.int64)  # the model says 1, the text says 0
    got = held_out([(x_BT, x_BT)], np.ones(VOCAB, dtype=np.int64), VOCAB).measure(successor_model(10.0))
    assert got["val/loss"] == pytest.approx(10 * math.sqrt(8), rel=1e-3)
    assert got["val/accuracy"] == 0.0
    assert (got["probe/argmax_tokens"], got["probe/human_tokens"]) == (1, 1)


@pytest.mark.parametrize(
    ("ids", "counts", "expected"),
    [
        pytest.param([0, 1], [2, 0], math.log(4) - math.log(3) / 2, id="3/4 and 1/4"),
        pytest.param([0], [0, 0, 0], math.log(3), id="no counts: uniform"),
        pytest.param([[1, 1], [1, 1]], [9, 0], math.log(11), id="never seen: 1/11"),
    ],
)
def test_unigram_loss(ids: list[int], counts: list[int], expected: float) -> None:
    assert unigram_loss(np.array(ids), np.array(counts)) == pytest.approx(expected, rel=1e-12)


def test_token_statistics_by_hand() -> None:
    # probabilities 1/2, 1/4, 1/4
    logits = torch.tensor([[math.log(2), 0.0, 0.0], [5 + math.log(2), 5.0, 5.0]])
    got = token_statistics(logits, torch.tensor([0, 2]))
    assert got.nll.tolist() == pytest.approx([math.log(2), math.log(4)])
    assert got.entropy.tolist() == pytest.approx([1.5 * math.log(2)] * 2, rel=1e-6)
    assert got.logit_std.tolist() == pytest.approx([math.log(2) * math.sqrt(2) / 3] * 2, rel=1e-6)
    assert got.argmax.tolist() == [0, 0]


@pytest.mark.parametrize("offset", [0.0, 300.0], ids=["around 0", "around 300"])
def test_token_statistics_equal_a_plain_twin(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(50, 31, generator=generator) + offset
    y = torch.randint(31, (50,), generator=generator)
    log_probs = F.log_softmax(logits.double(), dim=-1)
    twin_argmax, twin_std = logits.argmax(-1), logits.double().std(-1, correction=0)
    got = token_statistics(logits.clone(), y)
    torch.testing.assert_close(got.nll.double(), -log_probs[range(50), y], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        got.entropy.double(), -(log_probs.exp() * log_probs).sum(-1), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(got.logit_std.double(), twin_std, rtol=1e-5, atol=1e-5)
    assert torch.equal(got.argmax, twin_argmax)


@pytest.mark.parametrize("size", [0.0, 1e-3, 1.0, 300.0, 1e4], ids="logits of {}".format)
@pytest.mark.parametrize("tile", [200, 101, 32, 1], ids="tile {}".format)
def test_tiled_statistics_equal_those_of_the_same_logits(
    tile: int, size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "TILE", tile)
    monkeypatch.setattr(per_token, "CACHED_TOKENS", 7)
    generator = torch.Generator().manual_seed(0)
    x_CD, w_VD = size * torch.randn(20, 8, generator=generator), torch.randn(101, 8, generator=generator)
    y_C = torch.randint(101, (20,), generator=generator)
    logits_CV = torch.cat([part.logits for part in logit_tiles(x_CD, w_VD)], dim=1).float()
    got, expected = tiled_token_statistics(x_CD, w_VD, y_C), token_statistics(logits_CV, y_C)
    assert torch.equal(got.argmax, expected.argmax)
    assert torch.equal(got.highest, expected.highest)
    for name in ("nll", "entropy", "logit_std"):
        torch.testing.assert_close(
            getattr(got, name), getattr(expected, name), rtol=1e-5, atol=2e-6 * (1 + size)
        )
    assert bool((got.nll >= 0).all())


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_mixed_measures_what_it_trains_on(tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The held-out loss is the objective on the same tokens, whatever the tiles and chunks."""
    model = Transformer(ModelConfig(8, 2, 2, tied=tied), 101, 1, Precision.mixed)
    windows = windows_of(vocab_size=101, count=1, batch=3, length=7)
    x_BT, y_BT = (torch.tensor(part) for part in windows[0])
    objective = model.objective(x_BT, y_BT).item()
    monkeypatch.setattr(head, "TILE", 32)
    monkeypatch.setattr(losses, "TILE", 32)
    monkeypatch.setattr(losses, "LOGITS_BYTES", 4 * 32 * 5)  # five tokens a chunk
    got = held_out(windows, np.ones(101, dtype=np.int64), 101).measure(model)
    assert got["val/loss"] == pytest.approx(objective, rel=1e-4)
    fp32 = Transformer(model.config, 101, 1)
    for name, value in held_out(windows, np.ones(101, dtype=np.int64), 101).measure(fp32).items():
        if name in ("val/loss", "probe/entropy", "probe/logit_std"):
            assert got[name] == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("weights", list(Weights))
def test_chunks_equal_one_plain_pass(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    vocab = 101
    model = Transformer(ModelConfig(8, 2, 2, weights=weights), vocab, seed=1)
    shapes = [(3, 7), (3, 7), (1, 5)]  # as the data room gives them: a shorter one at the end
    windows = [windows_of(vocab_size=vocab, count=1, batch=b, length=t, seed=t)[0] for b, t in shapes]
    monkeypatch.setattr(losses, "LOGITS_BYTES", 4 * vocab * 4)  # four tokens a chunk
    got = held_out(windows, np.ones(vocab, dtype=np.int64), vocab).measure(model)
    logits = torch.cat([model(torch.tensor(x)).detach().double().flatten(0, 1) for x, _ in windows])
    y = torch.cat([torch.tensor(y).flatten() for _, y in windows])
    log_probs = logits.log_softmax(-1)
    assert got["val/loss"] == pytest.approx(F.nll_loss(log_probs, y).item(), rel=1e-5)
    assert got["probe/entropy"] == pytest.approx(
        -(log_probs.exp() * log_probs).sum(-1).mean().item(), rel=1e-5
    )
    assert got["probe/logit_std"] == pytest.approx(logits.std(-1, correction=0).mean().item(), rel=1e-5)
    assert got["probe/argmax_tokens"] == len(set(logits.argmax(-1).tolist()))
    assert got["val/accuracy"] == (logits.argmax(-1) == y).double().mean().item()


def test_logits_stay_within_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = model_of(50257), []
    plain = model.logits

    def counted(x: torch.Tensor) -> torch.Tensor:
        logits = plain(x)
        sizes.append(logits.numel() * logits.element_size())
        assert not logits.requires_grad  # a graph would keep the chunks alive
        return logits

    monkeypatch.setattr(model, "logits", counted)
    windows = windows_of(vocab_size=50257, count=10, batch=4, length=16)
    held_out(windows, np.zeros(50257, dtype=np.int64), 50257).measure(model)
    assert max(sizes) <= 64e6
    distinct = len(np.unique(np.concatenate([x_BT for x_BT, _ in windows])))
    assert sum(sizes) == (640 + 128 + distinct) * 50257 * 4  # the tokens, a sample, and without the blocks


@pytest.mark.parametrize("precision", list(Precision))
def test_reads_only_and_repeats_itself(precision: Precision) -> None:
    model = Transformer(ModelConfig(hidden=8, num_layers=1, num_heads=2), VOCAB, 2, precision)
    heldout = held_out(windows_of(), np.ones(VOCAB, dtype=np.int64), VOCAB)
    weights = {name: w.clone() for name, w in model.state_dict().items()}
    for training in (True, False):
        model.train(training)
        rng = torch.get_rng_state()
        first, second = heldout.measure(model), heldout.measure(model)
        assert first == second
        assert torch.equal(torch.get_rng_state(), rng)
        assert model.training is training
    assert all(torch.equal(w, weights[name]) for name, w in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("precision", list(Precision))
def test_a_model_that_is_not_finite_predicts_nothing(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss is not finite, and its argmax, which would be 0 everywhere, is not counted."""
    monkeypatch.setattr(head, "TILE", 3)
    model = Transformer(ModelConfig(hidden=8, num_layers=1, num_heads=2), VOCAB, 0, precision)
    with torch.no_grad():
        model.final_norm.weight.fill_(math.nan)
    got = clean(held_out(windows_of(), np.ones(VOCAB, dtype=np.int64), VOCAB).measure(model))
    assert {name for name, value in got.items() if value is not None} == {
        "ref/ln_vocab",
        "ref/unigram_loss",
        "ref/bigram_loss",
        "probe/human_tokens",
    }


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("column", [0, 7])
def test_one_logit_that_is_not_finite_is_found(
    column: int, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "TILE", 3)
    x_CD, w_VD = torch.ones(1, 8), torch.ones(8, 8)
    w_VD[column, 2] = value
    y_C = torch.tensor([1])
    for got in (token_statistics(x_CD @ w_VD.T, y_C), tiled_token_statistics(x_CD, w_VD, y_C)):
        assert not got.highest.isfinite().any()


@pytest.mark.parametrize(
    ("windows", "counts"),
    [
        pytest.param([], np.ones(VOCAB), id="no windows"),
        pytest.param(windows_of(), np.ones(VOCAB + 1), id="counts of another vocabulary"),
        pytest.param(windows_of(vocab_size=50), np.ones(VOCAB), id="an id beyond the vocabulary"),
    ],
)
def test_bad_input(windows: Windows, counts: NDArray[np.int64]) -> None:
    with pytest.raises(ValueError, match=r"windows|vocabulary"):
        held_out(windows, counts, VOCAB)
