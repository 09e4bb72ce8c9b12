"""Other published ways of rounding weights, arms of one table beside the default.

Each equals its source forward and in its gradient; ``tests/model/test_zoo.py`` writes the sources plainly.
Where a source takes a group of weights, here it is the matrix or the row, as the class says.

Shapes: I inputs, O outputs.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bitnet_sweep.built_in import TequilaOptions
from bitnet_sweep.model.quantisers import CLAMP_MIN, AbsMean, OneScale, Quantiser, straight_through

STEP_MIN = 1e-5
"""Smallest learned step that is divided by (published: ParetoQ's code)."""


class AbsMedian(OneScale):
    """Ternary by the median of |w| where the default has the mean.

    Source: BitNet b1.58 Reloaded (Nielsen and Schneider-Kamp 2024, arXiv 2407.09527), section 3. Of an even
    number of weights the lower of the two in the middle is taken, as torch does.
    """

    def codes_and_scale(self, w_OI: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`OneScale.codes_and_scale`."""
        median = w_OI.abs().median().clamp(min=CLAMP_MIN)
        return (w_OI / median).round_().clamp_(-1, 1), median


class Binary(OneScale):
    """The sign of w minus its mean, times the mean of |w|; what equals the mean is -1.

    Source: BitNet (Wang et al. 2023, arXiv 2310.11453), equations 1 to 3 and the scale of equation 11.
    """

    def codes_and_scale(self, w_OI: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`OneScale.codes_and_scale`."""
        return torch.where(w_OI > w_OI.mean(), 1.0, -1.0).to(w_OI.dtype), w_OI.abs().mean()


class AbsMeanChannel(Quantiser):
    """The default with one absmean for each row instead of one for the matrix.

    Source: equations 1 to 3 of BitNet b1.58 (Ma et al. 2024, arXiv 2402.17764), row by row.
    """

    def forward(self, w_OI: Tensor) -> Tensor:
        """See :meth:`Quantiser.forward`."""
        with torch.no_grad():
            quantised_OI = self.codes(w_OI) * _row_means(w_OI)
        return straight_through(w_OI, quantised_OI)

    def codes(self, w_OI: Tensor) -> Tensor:
        """See :meth:`Quantiser.codes`."""
        return (w_OI / _row_means(w_OI)).round_().clamp_(-1, 1)


def _row_means(w_OI: Tensor) -> Tensor:
    return w_OI.abs().mean(dim=1, keepdim=True).clamp(min=CLAMP_MIN)


class Tequila(AbsMean):
    """The default, whose weights that round to 0 act on as a bias: each output gets lambda times their sum.

    So such a weight has the gradient of its input plus lambda times that of its output. Source: Tequila
    (Huang et al. 2025, arXiv 2509.23809) and its code, ``ultraquantv2``; there a group of 128 weights has an
    absmean, here the matrix has one.
    """

    def __init__(self, rows: int, columns: int, options: TequilaOptions) -> None:
        super().__init__(rows, columns)
        self.reactivation = options.reactivation

    def bias(self, w_OI: Tensor) -> Tensor:
        """See :meth:`Quantiser.bias`."""
        with torch.no_grad():
            is_dead_OI = self.codes_and_scale(w_OI)[0] == 0
        return (w_OI * is_dead_OI).sum(dim=1) * self.reactivation


class LearnedStep(Quantiser):
    """Evenly spaced values of each row, whose distance is learned.

    The gradient of the step is divided by the root of the number of weights times the highest value. Source:
    LSQ (Esser et al. 2020, arXiv 1902.08153), equations 1 to 3 and section 2.2, as ParetoQ (Liu et al. 2025,
    arXiv 2502.02631) and its code have it: each row has a step, which begins at the row's largest weight over
    the highest value.
    """

    lowest: ClassVar[float]
    """The least weight in steps; below it and above ``highest`` a weight has no gradient."""
    highest: ClassVar[float]
    largest: ClassVar[float]
    """A row's largest weight in initial steps; the gradient of the step is scaled by it, too."""

    def __init__(self, rows: int, columns: int, options: Any = None) -> None:
        super().__init__(rows, columns)
        self.step = nn.Parameter(torch.empty(rows))

    def initialise(self, w_OI: Tensor) -> None:
        """See :meth:`Quantiser.initialise`."""
        self.step.copy_(w_OI.abs().amax(dim=1) / self.largest)

    def rounded(self, in_steps_OI: Tensor) -> Tensor:
        """Weights in steps (O, I) as the values that there are."""
        return in_steps_OI.round().clamp(self.lowest, self.highest)

    def forward(self, w_OI: Tensor) -> Tensor:
        """See :meth:`Quantiser.forward`."""
        result: Tensor = _LearnedStep.apply(w_OI, self.step, self)  # type: ignore[no-untyped-call]  # torch's own
        return result

    def codes(self, w_OI: Tensor) -> Tensor:
        """See :meth:`Quantiser.codes`."""
        return self.rounded(w_OI / _divisor(self.step))


class Lsq3(LearnedStep):
    """Three bits: -4 to 3 steps."""

    lowest, highest, largest = -4.0, 3.0, 3.0


class Lsq4(LearnedStep):
    """Four bits: -8 to 7 steps."""

    lowest, highest, largest = -8.0, 7.0, 7.0


class Seq2(LearnedStep):
    """Two bits: -3/4, -1/4, 1/4 and 3/4 of a learned range, so that none is 0 and both signs are alike.

    ParetoQ's stretched elastic quantiser; its codes are -3, -1, 1 and 3.
    """

    lowest, highest, largest = -0.99, 0.99, 1.0  # of the range; published, so that 1 rounds to 3/4

    def rounded(self, in_steps_OI: Tensor) -> Tensor:
        """See :meth:`LearnedStep.rounded`."""
        return (in_steps_OI.clamp(self.lowest, self.highest).mul_(2).sub_(0.5).round_().add_(0.5)).div_(2)

    def codes(self, w_OI: Tensor) -> Tensor:
        """See :meth:`Quantiser.codes`."""
        return 4 * super().codes(w_OI)


def _divisor(step_O: Tensor) -> Tensor:
    return step_O.clamp(min=STEP_MIN)[:, None]


class _LearnedStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w_OI: Tensor, step_O: Tensor, kind: LearnedStep) -> Tensor:
        ctx.save_for_backward(w_OI, step_O)
        ctx.kind = kind
        step_O1 = _divisor(step_O)
        return kind.rounded(w_OI / step_O1).mul_(step_O1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_OI: Tensor) -> tuple[Tensor, Tensor, None]:
        w_OI, step_O = ctx.saved_tensors
        kind = ctx.kind
        in_steps_OI = w_OI / _divisor(step_O)
        is_inside_OI = (in_steps_OI >= kind.lowest) & (in_steps_OI <= kind.highest)
        to_step_OI = kind.rounded(in_steps_OI) - in_steps_OI * is_inside_OI
        to_step_O = (to_step_OI * gradient_OI).sum(dim=1) / math.sqrt(w_OI.numel() * kind.largest)
        return gradient_OI * is_inside_OI, to_step_O, None
