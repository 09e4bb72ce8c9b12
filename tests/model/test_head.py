"""The tiled head against the plain objective, for every number of tiles and chunks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from bitnet_sweep.model import head
from bitnet_sweep.model.head import logit_tiles, tiled_cross_entropy
from bitnet_sweep.model.products import Products, products_on

pytestmark = pytest.mark.usefixtures("each_class")

N, D, V = 13, 8, 101


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ids(seed: int = 0) -> Tensor:
    y_N = torch.randint(V, (N,), generator=torch.Generator().manual_seed(seed))
    y_N[:3] = torch.tensor([0, V - 1, 7])
    y_N[3] = 7  # an id that occurs twice
    return y_N


def plain(x_ND: Tensor, w_VD: Tensor, y_N: Tensor, label_smoothing: float, z_loss: float) -> Tensor:
    """The objective of the reference, over logits rounded as the tiles round them."""
    operands = products_on(x_ND.device).operands
    logits_NV = x_ND.to(operands).float() @ w_VD.to(operands).float().T
    rounded_NV = logits_NV + (logits_NV.to(operands).float() - logits_NV).detach()
    loss = F.cross_entropy(rounded_NV, y_N, label_smoothing=label_smoothing)
    return loss + z_loss * rounded_NV.logsumexp(-1).square().mean()


@pytest.mark.parametrize("tile", [V + 1, V, 100, 32, 1], ids="tile {}".format)
@pytest.mark.parametrize("tokens", [N, 5, 1], ids="{} tokens a chunk".format)
@pytest.mark.parametrize(
    ("smoothing", "z_loss"), [(0.0, 0.0), (0.2, 0.0), (0.0, 1e-2), (0.1, 1e-3)], ids=["plain", "s", "z", "sz"]
)
@pytest.mark.few(60)
def test_equals_the_plain_objective(
    tile: int,
    tokens: int,
    smoothing: float,
    z_loss: float,
    each_class: Products,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head, "TILE", tile)
    monkeypatch.setattr(head, "PROBABILITY_BYTES", each_class.operands.itemsize * V * tokens)
    results = []
    for objective in (plain, tiled_cross_entropy):
        x_ND, w_VD = (3 * draw(N, D)).requires_grad_(), draw(V, D, seed=1).requires_grad_()
        loss = objective(x_ND, w_VD, ids(), smoothing, z_loss)
        torch.autograd.backward(loss * 2.5)
        results.append((loss.detach(), x_ND.grad, w_VD.grad))
    (loss, *gradients), (tiled_loss, *tiled_gradients) = results
    torch.testing.assert_close(tiled_loss, loss, rtol=1e-5, atol=1e-5)
    for expected, got in zip(gradients, tiled_gradients, strict=True):
        assert expected is not None
        assert got is not None
        assert got.dtype == torch.float32
        assert (got - expected).norm() <= 2**-7 * expected.norm()


@pytest.mark.parametrize("size", [0.0, 1e-6, 50.0, 1e4], ids="logits of {}".format)
def test_any_size_of_logits(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uniform, and so sure that all but one probability is 0; the loss is never negative."""
    monkeypatch.setattr(head, "TILE", 32)
    x_ND, w_VD = size * draw(N, D), draw(V, D, seed=1).requires_grad_()
    loss = tiled_cross_entropy(x_ND.requires_grad_(), w_VD, ids())
    torch.testing.assert_close(loss, plain(x_ND, w_VD, ids(), 0.0, 0.0), rtol=1e-5, atol=1e-5)
    operands = products_on(x_ND.device).operands
    sure = tiled_cross_entropy(x_ND, w_VD, (x_ND.to(operands) @ w_VD.to(operands).T).argmax(-1))
    assert 0.0 <= sure.item() <= loss.item()
    torch.autograd.backward(loss)
    assert w_VD.grad is not None
    assert bool(w_VD.grad.isfinite().all())


def test_by_hand() -> None:
    """Zero logits: ln V; the gradient to the logits is 1/V everywhere and 1/V - 1 at the target."""
    w_VD = torch.zeros(4, 2, requires_grad=True)
    loss = tiled_cross_entropy(torch.tensor([[1.0, 2.0]]), w_VD, torch.tensor([3]))
    torch.testing.assert_close(loss, torch.tensor(4.0).log())
    torch.autograd.backward(loss)
    assert w_VD.grad is not None
    assert w_VD.grad.tolist() == [[0.25, 0.5], [0.25, 0.5], [0.25, 0.5], [-0.75, -1.5]]


def test_one_operand_may_need_no_gradient() -> None:
    x_ND, w_VD = draw(N, D).requires_grad_(), draw(V, D, seed=1)
    torch.autograd.backward(tiled_cross_entropy(x_ND, w_VD, ids()))
    assert x_ND.grad is not None
    with torch.no_grad():
        assert not tiled_cross_entropy(x_ND, w_VD, ids()).requires_grad


def test_logits_that_are_not_finite_give_a_loss_that_is_not() -> None:
    x_ND = draw(N, D)
    x_ND[2, 1] = float("nan")
    assert bool(tiled_cross_entropy(x_ND, draw(V, D, seed=1), ids()).isnan())


def test_tiles_side_by_side_are_the_logits(each_class: Products, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "TILE", 32)
    tiles = list(logit_tiles(draw(N, D), draw(V, D, seed=1)))
    assert [tile.start for tile in tiles] == [0, 32, 64, 96]
    got_NV = torch.cat([tile.logits for tile in tiles], dim=1)
    operands = each_class.operands
    expected_NV = draw(N, D).to(operands).float() @ draw(V, D, seed=1).to(operands).float().T
    torch.testing.assert_close(got_NV.float(), expected_NV, rtol=torch.finfo(operands).eps, atol=1e-5)


class Largest(TorchDispatchMode):
    """The largest float32 result of any operation."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype == torch.float32:
            self.numel = max(self.numel, result.numel())
        return result


def test_no_float32_array_of_tokens_times_vocabulary_is_written() -> None:
    tokens, hidden, vocab = 256, 4, 20_000
    x_ND, w_VD = draw(tokens, hidden).requires_grad_(), draw(vocab, hidden, seed=1).requires_grad_()
    with Largest() as largest:
        loss = tiled_cross_entropy(x_ND, w_VD, torch.arange(tokens))
        torch.autograd.backward(loss)
    assert largest.numel == tokens * head.TILE < tokens * vocab / 4
    with Largest() as largest:
        torch.autograd.backward(plain(x_ND, w_VD, torch.arange(tokens), 0.0, 0.0))
    assert largest.numel == tokens * vocab, "the twin shows that the measure sees such an array"
