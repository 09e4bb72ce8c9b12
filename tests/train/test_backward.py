"""The gradient of a batch in parts against that of the whole batch."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from bitnet_sweep.config import IGNORED, LossConfig, ModelConfig, Precision
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.train.backward import backward

B, T, V = 4, 6, 40
LOSSES = {"plain": LossConfig(), "smoothed": LossConfig(label_smoothing=0.2, z_loss=0.1)}


def make(precision: Precision, tied: bool = False) -> Transformer:
    return Transformer(ModelConfig(8, 2, 2, tied=tied), V, 0, precision)


def batch() -> tuple[Tensor, Tensor]:
    ids = torch.randint(V, (B, T + 1), generator=torch.Generator().manual_seed(0))
    return ids[:, :-1], ids[:, 1:]


def gradients(model: Transformer) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def apart(got: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference of a parameter, as a share of its gradient."""
    assert got.keys() == expected.keys()
    return max(float((got[n] - e).norm() / e.norm()) for n, e in expected.items())


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("micro_batches", [2, 4])
@pytest.mark.parametrize("precision", list(Precision))
def test_parts_add_up_to_the_whole(precision, micro_batches, tied, loss):
    """At mixed each part's products are rounded for themselves."""
    model = make(precision, tied)
    whole = backward(model, *batch(), loss)
    expected = gradients(model)
    model.clear_gradients()
    assert backward(model, *batch(), loss, micro_batches) == pytest.approx(whole, rel=1e-6)
    assert apart(gradients(model), expected) < (1e-5 if precision is Precision.fp32 else 2e-2)


@pytest.mark.parametrize("precision", list(Precision))
def test_one_part_is_the_whole_bit_for_bit(precision):
    one, other = make(precision), make(precision)
    loss = backward(one, *batch(), LossConfig(), 1)
    objective = other.objective(*batch())
    torch.autograd.backward(objective)
    assert loss == objective.item()
    assert all(torch.equal(gradient, gradients(other)[name]) for name, gradient in gradients(one).items())


def ignoring(keep: list[list[int]]) -> tuple[Tensor, Tensor]:
    """A batch whose rows have only these targets."""
    x_BT, y_BT = batch()
    kept_BT = torch.full_like(y_BT, IGNORED)
    for row, places in enumerate(keep):
        kept_BT[row, places] = y_BT[row, places]
    return x_BT, kept_BT


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize(
    "keep", [[[0, 1, 2, 3, 4, 5], [1], [2, 3], []], [[], [], [1], [0, 5]]], ids=["uneven", "an empty part"]
)
def test_every_target_weighs_the_same_whatever_its_part(keep, loss):
    """The objective is the mean over all targets: by hand, and as the whole batch has it."""
    model, (x_BT, y_BT) = make(Precision.fp32), ignoring(keep)
    whole = backward(model, x_BT, y_BT, loss)
    expected = gradients(model)
    model.clear_gradients()
    assert backward(model, x_BT, y_BT, loss, 2) == pytest.approx(whole, rel=1e-6)
    assert apart(gradients(model), expected) < 1e-5
    if loss == LossConfig():
        nll_BT = F.cross_entropy(model(x_BT).transpose(1, 2), y_BT, reduction="none", ignore_index=IGNORED)
        assert whole == pytest.approx(nll_BT.sum().item() / sum(map(len, keep)), rel=1e-6)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_a_batch_without_targets_has_no_objective(micro_batches):
    model = make(Precision.fp32)
    assert math.isnan(backward(model, *ignoring([[]] * B), LossConfig(), micro_batches))
    assert model.gradients() == []


@pytest.mark.parametrize("precision", list(Precision))
def test_an_objective_that_is_not_finite_leaves_no_gradient(precision):
    """The first part is sound, the second is not."""
    model, (x_BT, y_BT) = make(precision), batch()
    x_BT, y_BT = x_BT.clone(), y_BT.clone()
    x_BT[:2], x_BT[2:] = 1, 2
    with torch.no_grad():
        model.embedding[2, 0] = torch.nan
    assert not math.isfinite(backward(model, x_BT, y_BT, LossConfig(), 2))
    assert not any(gradient.any() for gradient in model.gradients())


class Largest(TorchDispatchMode):
    """The largest result of any operation."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numel = max(self.numel, result.numel())
        return result


@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_the_largest_array_is_that_of_a_part(micro_batches):
    with Largest() as largest:
        backward(make(Precision.fp32), *batch(), LossConfig(), micro_batches)
    assert largest.numel == max(B * T * V // micro_batches, V * 8)
