"""The embedding's gradient by rows against autograd's over the whole vocabulary."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bitnet_sweep.config import ModelConfig, Precision
from bitnet_sweep.model.rows import RowGradient, embedding
from bitnet_sweep.model.transformer import Transformer

V, D = 11, 4
BATCHES = [
    torch.tensor([[0, 3, 3], [10, 3, 0]]),
    torch.tensor([[5, 5, 5], [5, 5, 5]]),
    torch.tensor([[7, 0]]),
]


def test_equals_the_dense_gradient_batch_after_batch():
    """To the last bit; rows of an earlier batch are zero again, and the array stays where it is."""
    matrix = nn.Parameter(torch.randn(V, D, generator=torch.Generator().manual_seed(0)))
    gradient, kept = RowGradient(matrix), None
    assert gradient.rows() is None
    for x_BT in BATCHES:
        upstream = torch.randn(*x_BT.shape, D, generator=torch.Generator().manual_seed(1))
        reference = matrix.detach().clone().requires_grad_()
        torch.autograd.backward(F.embedding(x_BT, reference), upstream)
        y_BTD = embedding(x_BT, matrix, gradient)
        torch.autograd.backward(y_BTD, upstream)
        rows_RD = gradient.rows()
        assert torch.equal(y_BTD, F.embedding(x_BT, matrix))
        assert reference.grad is not None
        assert matrix.grad is not None
        assert rows_RD is not None
        assert torch.equal(matrix.grad, reference.grad)
        assert torch.equal(rows_RD, reference.grad[x_BT.unique()])
        assert kept is None or matrix.grad.data_ptr() == kept
        kept = matrix.grad.data_ptr()
        gradient.clear()
        assert not matrix.grad.any()


def test_backward_passes_add_up_until_they_are_cleared():
    """As autograd's do, to the last bit; the rows are those of all of them."""
    matrix = nn.Parameter(torch.randn(V, D, generator=torch.Generator().manual_seed(0)))
    reference, gradient = matrix.detach().clone().requires_grad_(), RowGradient(matrix)
    for x_BT in (BATCHES[0], BATCHES[2]):
        upstream = torch.randn(*x_BT.shape, D, generator=torch.Generator().manual_seed(1))
        torch.autograd.backward(F.embedding(x_BT, reference), upstream)
        torch.autograd.backward(embedding(x_BT, matrix, gradient), upstream)
    rows_RD = gradient.rows()
    assert reference.grad is not None
    assert matrix.grad is not None
    assert rows_RD is not None
    assert torch.equal(matrix.grad, reference.grad)
    assert torch.equal(rows_RD, reference.grad[[0, 3, 7, 10]])
    gradient.clear()
    assert not matrix.grad.any()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("precision", list(Precision))
def test_a_models_gradients_have_the_norm_of_all_its_gradients(precision, tied):
    model = Transformer(ModelConfig(8, 2, 2, tied=tied), V, 0, precision)
    assert model.gradients() == []
    for x_BT in BATCHES:
        torch.autograd.backward(model.objective(x_BT, x_BT))
        everything = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        torch.testing.assert_close(nn.utils.get_total_norm(model.gradients()), everything)
        model.clear_gradients()
        assert not any(gradient.any() for gradient in model.gradients())
