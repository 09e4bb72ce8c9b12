"""The measures that say what a held-out loss means, each against a plain reference or a number by hand."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bitnet_sweep.config import ModelConfig, Precision, Weights
from bitnet_sweep.measure import bigram, losses, tempered
from bitnet_sweep.measure.bigram import DISCOUNT, bigram_loss
from bitnet_sweep.measure.losses import HeldOut
from bitnet_sweep.measure.per_token import tiled_token_statistics, token_statistics
from bitnet_sweep.model import head
from bitnet_sweep.model.transformer import Transformer

VOCAB = 101
Windows = list[tuple[NDArray[np.int64], NDArray[np.int64]]]
BOTH = pytest.mark.parametrize("precision", list(Precision), ids=str)


def model_of(precision: Precision = Precision.fp32, weights: Weights = Weights.ternary) -> Transformer:
    return Transformer(ModelConfig(16, 2, 2, weights=weights), VOCAB, 1, precision)


def windows_of(*shapes: tuple[int, int], vocab_size: int = VOCAB) -> Windows:
    """Skewed ids: the low ones are frequent, as in text."""
    chance = np.random.default_rng(0)
    drawn = [(vocab_size * chance.random((b, t + 1)) ** 2).astype(np.int64) for b, t in shapes]
    return [(ids[:, :-1], ids[:, 1:]) for ids in drawn]


def held_out(windows: Windows, train: NDArray[np.uint16] | None = None) -> HeldOut:
    train = np.zeros(1, np.uint16) if train is None else train
    return HeldOut(windows, np.bincount(train, minlength=VOCAB), VOCAB, train)


def logits_of(model: Transformer, x_BT: NDArray[np.int64]) -> Tensor:
    """As the precision path has them, but whole."""
    with torch.no_grad():
        x_ND, w_VD = model.head_operands(model.hidden_states(torch.tensor(x_BT)))
        if model.precision is Precision.mixed:
            tiles = head.logit_tiles(x_ND.flatten(0, 1), w_VD)
            return torch.cat([tile.logits.float() for tile in tiles], -1).view(*x_BT.shape, -1)
        return F.linear(x_ND, w_VD)


def plain_bigram(x: list[int], y: list[int], train: list[int], vocab_size: int) -> float:
    """The definition, word for word."""
    pairs, unigrams = Counter(pairwise(train)), Counter(train)
    total = 0.0
    for a, b in zip(x, y, strict=True):
        back_off = (unigrams[b] + 1) / (len(train) + vocab_size)
        followed = sum(count for (first, _), count in pairs.items() if first == a)
        followers = sum(first == a for first, _ in pairs)
        p = back_off
        if followed:
            p = max(pairs[a, b] - DISCOUNT, 0) / followed + DISCOUNT * followers / followed * back_off
        total -= math.log(p)
    return total / len(x)


def test_bigram_by_hand() -> None:
    """Counts a b 3, a c 1; p(b) is 3 + 1 of 8 + 3, so p(b|a) is 2.25 / 4 + 0.75 * 2 / 4 * 4 / 11."""
    train = np.array([0, 1, 0, 1, 0, 2, 0, 1], np.uint16)
    got = bigram_loss(np.array([0]), np.array([1]), train, np.bincount(train, minlength=3))
    assert got == pytest.approx(-math.log(2.25 / 4 + 0.375 * 4 / 11))
    never_followed = np.array([1, 0, 1, 2], np.uint16)
    got = bigram_loss(np.array([2]), np.array([1]), never_followed, np.bincount(never_followed, minlength=3))
    assert got == pytest.approx(-math.log(3 / 7))


@pytest.mark.parametrize("table_rows", [1, 3, 1000], ids="{} contexts a pass".format)
@pytest.mark.parametrize("piece", [1, 7, 1 << 20], ids="{} tokens at once".format)
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_bigram_equals_its_definition(
    piece: int, table_rows: int, dtype: type[np.unsignedinteger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigram, "_TOKENS_AT_ONCE", piece)
    monkeypatch.setattr(bigram, "TABLE_BYTES", table_rows * 17)
    chance = np.random.default_rng(1)
    train: NDArray[np.unsignedinteger] = (17 * chance.random(300) ** 3).astype(dtype)
    x, y = chance.integers(0, 17, (2, 5, 20))
    expected = plain_bigram(x.ravel().tolist(), y.ravel().tolist(), train.tolist(), 17)
    assert bigram_loss(x, y, train, np.bincount(train, minlength=17)) == pytest.approx(expected, rel=1e-12)


def test_bigram_probabilities_add_up_to_one() -> None:
    train = (17 * np.random.default_rng(2).random(300) ** 3).astype(np.uint16)
    counts = np.bincount(train, minlength=17)
    for x in range(17):
        p = [math.exp(-bigram_loss(np.array([x]), np.array([y]), train, counts)) for y in range(17)]
        assert sum(p) == pytest.approx(1)


@BOTH
def test_without_the_blocks(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of the same embedding, final norm and head, and no blocks."""
    monkeypatch.setattr(losses, "LOGITS_BYTES", 4 * 32 * 5)
    monkeypatch.setattr(losses, "TILE", 32)
    monkeypatch.setattr(head, "TILE", 32)
    model, windows = model_of(precision), windows_of((3, 7), (3, 7), (1, 5))
    got = held_out(windows).measure(model)
    model.blocks = torch.nn.ModuleList()
    nll = [
        F.cross_entropy(logits_of(model, x).flatten(0, 1), torch.tensor(y).flatten(), reduction="none")
        for x, y in windows
    ]
    assert got["blocks/loss_without"] == pytest.approx(torch.cat(nll).mean().item(), rel=1e-5)
    assert got["blocks/loss_without"] != pytest.approx(got["val/loss"], rel=1e-5)


@BOTH
def test_dead_blocks_cost_nothing_to_bypass(precision: Precision) -> None:
    model = model_of(precision)
    with torch.no_grad():
        for layer in model.bitlinears().values():
            layer.weight.zero_()
    got = held_out(windows_of((3, 7), (3, 7))).measure(model)
    assert got["blocks/loss_without"] == pytest.approx(got["val/loss"], abs=1e-5)


@BOTH
def test_context_gain_by_definition(precision: Precision) -> None:
    """Of n windows that reach a place, the one n // 2 further on lends its context."""
    model, windows = model_of(precision), windows_of((3, 7), (2, 7), (1, 4))
    rows = [
        (logits_of(model, x[None])[0], y) for x_BT, y_BT in windows for x, y in zip(x_BT, y_BT, strict=True)
    ]
    log_p = [logits.double().log_softmax(-1) for logits, _ in rows]
    differences = []
    for place in range(7):
        here = [i for i, (_, y) in enumerate(rows) if len(y) > place]
        for k, i in enumerate(here):
            lent = int(rows[here[(k + len(here) // 2) % len(here)]][1][place])
            differences.append((log_p[i][place, rows[i][1][place]] - log_p[i][place, lent]).item())
    got = held_out(windows).measure(model)["probe/context_gain"]
    assert got == pytest.approx(np.mean(differences), abs=1e-4)


@BOTH
def test_what_does_not_look_at_the_context_gains_nothing_from_it(precision: Precision) -> None:
    model = model_of(precision)
    with torch.no_grad():
        for layer in model.bitlinears().values():
            layer.weight.zero_()
        model.embedding.copy_(torch.randn(16).expand_as(model.embedding))
    got = held_out(windows_of((3, 7), (2, 7), (1, 4))).measure(model)["probe/context_gain"]
    assert got == pytest.approx(0, abs=1e-7)


def test_one_window_has_no_other() -> None:
    got = held_out(windows_of((1, 7))).measure(model_of())
    assert (got["probe/context_gain"], got["val/loss_tempered"]) == (None, None)


def test_where_only_some_places_have_another_window_those_count() -> None:
    model, windows = model_of(), windows_of((1, 6), (1, 3))
    (long, y_long), (short, y_short) = (((logits_of(model, x)[0]).log_softmax(-1), y[0]) for x, y in windows)
    own = [long[t, y_long[t]] + short[t, y_short[t]] for t in range(3)]
    lent = [long[t, y_short[t]] + short[t, y_long[t]] for t in range(3)]
    expected = (torch.stack(own) - torch.stack(lent)).sum().item() / 6
    assert held_out(windows).measure(model)["probe/context_gain"] == pytest.approx(expected, abs=1e-5)


def trained(precision: Precision, windows: Windows) -> Transformer:
    """Knows something of the windows, so that a best tau exists."""
    model = model_of(precision)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        for x_BT, y_BT in windows:
            torch.autograd.backward(model.objective(torch.tensor(x_BT), torch.tensor(y_BT)))
            optimizer.step()
            model.clear_gradients()
    return model


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-4, 0.03, 1.0, 30.0, 3000.0], ids="logits times {}".format)
@BOTH
@pytest.mark.few(3)
def test_the_best_temperature_by_search(
    precision: Precision, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fitted on every second forward pass, scored on the others; the plain way tries 2,000 values."""
    monkeypatch.setattr(tempered, "SAMPLE_TOKENS", 16)
    monkeypatch.setattr(head, "TILE", 32)
    windows = windows_of((4, 8), (4, 8), (4, 8), (4, 8), (1, 3))
    model = trained(precision, windows[:2])
    assert model.head is not None
    with torch.no_grad():
        model.head.mul_(scale)
    got = held_out(windows).measure(model)["val/loss_tempered"]

    halves = []
    for some in (windows[::2], windows[1::2]):
        logits_ND = torch.cat([logits_of(model, x).double().flatten(0, 1) for x, _ in some])
        halves.append((logits_ND, torch.cat([torch.tensor(y).flatten() for _, y in some])))

    def loss(b: float, half: int) -> float:
        return F.cross_entropy(b * halves[half][0], halves[half][1]).item()

    best = min((np.geomspace(1e-3, 10, 2000) / scale).tolist(), key=lambda b: loss(b, 0))
    assert isinstance(got, float)
    assert got == pytest.approx(loss(best, 1), abs=3e-3)


@BOTH
@pytest.mark.slow
def test_tempering_undoes_what_shrinks_the_head(precision: Precision) -> None:
    windows = windows_of((16, 8), (16, 8))
    model = trained(precision, windows)
    first = held_out(windows).measure(model)
    assert model.head is not None
    with torch.no_grad():
        model.head.mul_(2**-10)
    shrunk = held_out(windows).measure(model)
    assert shrunk["val/loss"] == pytest.approx(math.log(VOCAB), abs=0.1)
    assert isinstance(first["val/loss"], float)
    assert first["val/loss"] < 3
    assert shrunk["val/loss_tempered"] == pytest.approx(first["val/loss_tempered"], abs=1e-3)


def test_a_model_that_is_worse_than_uniform_is_tempered_to_uniform() -> None:
    z = torch.tensor([[5.0, 0.0, 0.0], [7.0, 1.0, 1.0]])
    assert tempered.first_guess(z, torch.tensor([1, 2])) == 0.0


def test_a_model_that_is_always_right_wants_no_limit() -> None:
    z = torch.tensor([[5.0, 0.0, 0.0]])
    b = tempered.first_guess(z.clone(), torch.tensor([0]))
    assert F.cross_entropy(b * z, torch.tensor([0])).item() < 1e-3


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_logit_that_is_not_finite_has_no_temperature(value: float) -> None:
    assert math.isnan(tempered.first_guess(torch.tensor([[5.0, value, 0.0]]), torch.tensor([0])))


@pytest.mark.parametrize("b", [0.0, 1e-3, 1.0, 50.0], ids="b {}".format)
@pytest.mark.parametrize("tile", [200, 32, 1], ids="tile {}".format)
def test_slopes_and_curvatures_are_derivatives(tile: int, b: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "TILE", tile)
    generator = torch.Generator().manual_seed(0)
    x_CD, w_VD = torch.randn(20, 8, generator=generator), torch.randn(VOCAB, 8, generator=generator)
    y_C, other_C = torch.randint(VOCAB, (2, 20), generator=generator)
    logits_CV = torch.cat([t.logits.float() for t in head.logit_tiles(x_CD, w_VD)], -1)
    at = torch.full((20,), b, dtype=torch.float64, requires_grad=True)
    nll = F.cross_entropy(at[:, None] * logits_CV.double(), y_C, reduction="none")
    (slope,) = torch.autograd.grad(nll.sum(), at, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), at)
    for got in (
        token_statistics(logits_CV.clone(), y_C, other_C, b),
        tiled_token_statistics(x_CD, w_VD, y_C, other_C, b),
    ):
        torch.testing.assert_close(got.tempered.nll.double(), nll.detach(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(got.tempered.slope.double(), slope.detach(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(got.tempered.curvature.double(), curvature, rtol=1e-3, atol=1e-3)
        other = F.cross_entropy(logits_CV, other_C, reduction="none")
        torch.testing.assert_close(got.other_nll, other, rtol=1e-4, atol=1e-4)
