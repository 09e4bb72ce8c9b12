"""Each quantiser against its source, written plainly: forward and in its gradient to 1e-6."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bitnet_sweep.built_in import TequilaOptions
from bitnet_sweep.config import Activations, ConfigError, ModelConfig, Precision, Weights
from bitnet_sweep.counts import predicted_counts, quantiser_of
from bitnet_sweep.measure.codes import CodeWatch
from bitnet_sweep.model.bitlinear import BitLinear
from bitnet_sweep.model.hadamard import hadamard
from bitnet_sweep.model.mixed import MixedBitLinear
from bitnet_sweep.model.products import Products
from bitnet_sweep.model.quantisers import (
    AbsMean,
    Quantiser,
    activation_quant,
    activation_straight_through,
    int4_activation_quant,
    multiplies_codes,
)
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.model.zoo import LearnedStep, Tequila
from bitnet_sweep.parts import names
from bitnet_sweep.train.optimizer.interface import part_of

ROWS, COLUMNS, TOKENS = 6, 11, 5
QUANTISERS = ["absmean", "absmedian", "absmean_channel", "binary", "seq2", "lsq3", "lsq4", "tequila"]
ONE_SCALE = ["absmean", "absmedian", "binary", "tequila"]


def latent(seed: int = 0, spread: float = 0.2) -> Tensor:
    """Latent weights of rows of different sizes and a mean that is not 0."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.linspace(0.5, 2.0, ROWS)[:, None]
    return spread * rows * torch.randn(ROWS, COLUMNS, generator=generator) + 0.03


def inputs(seed: int = 1) -> Tensor:
    return torch.randn(TOKENS, COLUMNS, generator=torch.Generator().manual_seed(seed))


def made(name: str, w_OI: Tensor) -> Quantiser:
    quantiser: Quantiser = quantiser_of(ModelConfig(quantiser=name), *w_OI.shape)
    with torch.no_grad():
        quantiser.initialise(w_OI)
    return quantiser


def test_all_of_them_are_here() -> None:
    assert names("quantiser")[: len(QUANTISERS)] == QUANTISERS


# The sources. Each takes inputs, latent weights and steps, and gives the outputs; a straight-through gradient
# is written as the papers' code has it: w + (q - w).detach().


def passed(w: Tensor, q: Tensor) -> Tensor:
    return w + (q - w).detach()


def absmean(x: Tensor, w: Tensor, step: Tensor) -> Tensor:
    """BitNet b1.58 (arXiv 2402.17764), equations 1 to 3."""
    gamma = w.abs().mean()
    return x @ passed(w, (w / gamma).round().clamp(-1, 1) * gamma).T


def absmedian(x: Tensor, w: Tensor, step: Tensor) -> Tensor:
    """BitNet b1.58 Reloaded (arXiv 2407.09527), section 3; the lower median."""
    gamma = w.abs().flatten().sort().values[(w.numel() - 1) // 2]
    return x @ passed(w, (w / gamma).round().clamp(-1, 1) * gamma).T


def absmean_channel(x: Tensor, w: Tensor, step: Tensor) -> Tensor:
    """BitNet b1.58, row by row."""
    rows = []
    for row in w:
        gamma = row.abs().mean()
        rows.append(passed(row, (row / gamma).round().clamp(-1, 1) * gamma))
    return x @ torch.stack(rows).T


def binary(x: Tensor, w: Tensor, step: Tensor) -> Tensor:
    """BitNet (arXiv 2310.11453), equations 1 to 3 and beta of equation 11."""
    alpha, beta = w.sum() / w.numel(), w.abs().sum() / w.numel()
    signs = torch.tensor([[1.0 if value > alpha else -1.0 for value in row] for row in w])
    return x @ passed(w, signs * beta).T


def tequila(x: Tensor, w: Tensor, step: Tensor) -> Tensor:
    """Tequila (arXiv 2509.23809): Y = X Q(W) + sum of lambda w_i over the dead zone, whose borders are half
    the absmean away from 0; its code adds the second term as a product with ones."""
    half = w.abs().mean() / 2
    dead = (w.abs() < half).float()
    return absmean(x, w, step) + torch.ones_like(x) @ (1e-3 * w * dead).T


def lsq(x: Tensor, w: Tensor, step: Tensor, bits: int) -> Tensor:
    """LSQ (arXiv 1902.08153), equations 1 to 3 and section 2.2; in ParetoQ (arXiv 2502.02631) by rows.

    With g = 1 / sqrt(N Qp): the step's value is s, its gradient g times what autograd finds for s.
    """
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    g = 1 / math.sqrt(w.numel() * highest)
    s = (step + (g - 1) * (step - step.detach()))[:, None]
    v = (w / s).clamp(lowest, highest)
    return x @ ((v + (v.round() - v).detach()) * s).T


def seq2(x: Tensor, w: Tensor, step: Tensor) -> Tensor:
    """ParetoQ (arXiv 2502.02631), equation 4 with k = 4, and the 0.99 at which its code clips."""
    g = 1 / math.sqrt(w.numel())
    s = (step + (g - 1) * (step - step.detach()))[:, None]
    v = w / s
    q = ((v.clamp(-0.99, 0.99) * 4 / 2 - 0.5).round() + 0.5) / 4 * 2
    inside = v.detach().abs() <= 0.99
    return x @ (torch.where(inside, v + (q - v).detach(), q.detach()) * s).T


SOURCES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "absmean": absmean,
    "absmedian": absmedian,
    "absmean_channel": absmean_channel,
    "binary": binary,
    "seq2": seq2,
    "lsq3": lambda x, w, step: lsq(x, w, step, 3),
    "lsq4": lambda x, w, step: lsq(x, w, step, 4),
    "tequila": tequila,
}


def initial_step(name: str, w: Tensor) -> Tensor:
    """As ParetoQ's train.py begins: the largest weight of a row over the highest code; of seq2 itself."""
    over = {"lsq3": 3, "lsq4": 7}.get(name, 1)
    return torch.tensor([max(abs(float(value)) for value in row) / over for row in w])


def layer_of(name: str, w: Tensor, kind: type[BitLinear] = BitLinear) -> BitLinear:
    layer = kind(COLUMNS, ROWS, Weights.ternary, Activations.full, quantiser=made(name, w))
    with torch.no_grad():
        layer.weight.copy_(w)
    return layer


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("smaller", [1.0, 0.4], ids=["as it begins", "with a small step, so that some clip"])
@pytest.mark.parametrize("name", QUANTISERS)
def test_it_equals_its_source(name: str, smaller: float, seed: int) -> None:
    w, x = latent(seed).double(), inputs(seed).double()  # float32's own sums differ by more, by class of CPU
    layer = layer_of(name, w).double()
    step = initial_step(name, w).double()
    if isinstance(layer.quantiser, LearnedStep):
        assert torch.equal(layer.quantiser.step, step)
        with torch.no_grad():
            layer.quantiser.step.mul_(smaller)
    step = (step * smaller).requires_grad_()
    w.requires_grad_()
    expected, got = SOURCES[name](x, w, step), layer.linear(x)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    to_output = torch.randn(expected.shape, generator=torch.Generator().manual_seed(9))
    (expected * to_output).sum().backward()
    (got * to_output).sum().backward()
    torch.testing.assert_close(layer.weight.grad, w.grad, rtol=1e-6, atol=1e-6)
    if isinstance(layer.quantiser, LearnedStep):
        torch.testing.assert_close(layer.quantiser.step.grad, step.grad, rtol=1e-6, atol=1e-6)
        assert step.grad is not None
        assert step.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("name", "weights", "codes", "scale"),
    [
        ("absmedian", [[1.0, -2.0, 3.0, -0.4, 8.0]], [[0, -1, 1, 0, 1]], 2.0),
        ("binary", [[3.0, -1.0, 1.0, 1.0]], [[1, -1, -1, -1]], 1.5),  # the mean is 1
        (
            "absmean_channel",
            [[2.0, -2.0, 0.0, 4.0], [20.0, -20.0, 0.0, 4.0]],
            [[1, -1, 0, 1], [1, -1, 0, 0]],
            None,
        ),
        ("lsq3", [[3.0, -0.6, 0.4, -2.0]], [[3, -1, 0, -2]], 1.0),
        ("lsq4", [[7.0, -7.0, 0.4, 2.6]], [[7, -7, 0, 3]], 1.0),
        ("seq2", [[4.0, -4.0, 0.1, -0.1]], [[3, -3, 1, -1]], 1.0),  # a range of 4: codes times 4 / 4
    ],
)
def test_codes_by_hand(
    name: str, weights: list[list[float]], codes: list[list[int]], scale: float | None
) -> None:
    w = torch.tensor(weights)
    quantiser = made(name, w)
    assert quantiser.codes(w).tolist() == codes
    if scale is not None:
        assert torch.equal(quantiser(w), scale * torch.tensor(codes))


def test_of_an_lsq_that_began_with_its_largest_weight_the_lowest_code_is_free() -> None:
    """-8 comes once a step has become smaller; 7 is never passed."""
    w = torch.tensor([[7.0, -7.0, 0.4, 2.6]])
    quantiser = made("lsq4", w)
    assert isinstance(quantiser, LearnedStep)
    with torch.no_grad():
        quantiser.step.mul_(0.5)
    assert quantiser.codes(w).tolist() == [[7, -8, 1, 5]]


@pytest.mark.parametrize("name", QUANTISERS)
def test_a_dead_matrix_stays_finite(name: str) -> None:
    w = torch.zeros(ROWS, COLUMNS)
    layer = layer_of(name, w)
    layer.linear(inputs()).sum().backward()
    assert layer.linear(inputs()).isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters() if p.grad is not None)


@pytest.mark.parametrize("activations", [Activations.int8, Activations.int4])
@pytest.mark.parametrize("name", QUANTISERS)
def test_mixed_equals_the_reference(name: str, activations: Activations, each_class: Products) -> None:
    """Forward within the rounding of float32; backward within that of the operands of the class."""
    w, x = latent(), inputs()
    outputs, gradients = [], []
    for kind in (BitLinear, MixedBitLinear):
        layer = layer_of(name, w, kind)
        layer.activations = activations
        own = x.clone().requires_grad_()
        y = layer.linear(own)
        y.square().sum().backward()
        outputs.append(y)
        gradients.append([own.grad, *(p.grad for p in (layer.weight, *layer.quantiser.parameters()))])
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-5)
    near = 1e-4 if each_class.operands is torch.float32 else 3e-2
    for mixed, reference in zip(gradients[1], gradients[0], strict=True):
        assert mixed is not None
        assert reference is not None
        assert (mixed - reference).norm() <= near * reference.norm()


@pytest.mark.parametrize("name", QUANTISERS)
def test_mixed_has_the_codes_of_the_reference(name: str) -> None:
    w = latent()
    codes = layer_of(name, w).codes()
    assert codes.dtype is torch.int8
    assert torch.equal(layer_of(name, w, MixedBitLinear).codes(), codes)


@pytest.mark.parametrize("name", QUANTISERS)
def test_which_codes_are_multiplied(name: str) -> None:
    assert multiplies_codes(made(name, latent())) is (name in ONE_SCALE)


class CutOff(AbsMean):
    """Rounds as the default, with a gradient of its own."""

    def forward(self, w_OI: Tensor) -> Tensor:
        near_OI = w_OI * (w_OI.abs() < 0.1)
        return super().forward(w_OI).detach() + (near_OI - near_OI.detach())


class Shifted(AbsMean):
    """Other codes than those of the class that it derives from."""

    def codes_and_scale(self, w_OI: Tensor) -> tuple[Tensor, Tensor]:
        codes_OI, absmean = super().codes_and_scale(w_OI)
        return codes_OI.roll(1, 0), absmean


@pytest.mark.parametrize("kind", [CutOff, Shifted])
def test_what_a_subclass_changes_holds_at_mixed_too(kind: type[AbsMean], each_class: Products) -> None:
    w, x = latent(), inputs()
    found = []
    for layer_kind in (BitLinear, MixedBitLinear):
        own = kind(ROWS, COLUMNS)
        layer = layer_kind(COLUMNS, ROWS, Weights.ternary, Activations.int8, quantiser=own)
        with torch.no_grad():
            layer.weight.copy_(w)
        y = layer.linear(x)
        y.square().sum().backward()
        assert layer.weight.grad is not None
        found.append((y.detach(), layer.weight.grad, layer.codes()))
    (y, gradient, codes), (mixed_y, mixed_gradient, mixed_codes) = found
    torch.testing.assert_close(mixed_y, y, rtol=1e-5, atol=1e-5)
    assert torch.equal(mixed_codes, codes)
    assert (mixed_gradient - gradient).norm() <= 3e-2 * gradient.norm()
    assert multiplies_codes(kind(ROWS, COLUMNS)) is (kind is Shifted)


def test_a_one_scale_that_learns_is_refused() -> None:
    with pytest.raises(TypeError, match=r"AbsMean\.step: a OneScale learns nothing; derive from Quantiser"):
        AbsMean(2, 2).step = torch.nn.Parameter(torch.ones(2))


@pytest.mark.parametrize("name", QUANTISERS)
def test_counts_and_initial_weights_and_parts(name: str) -> None:
    """Latent weights do not depend on the quantiser; what it learns is counted and decays as gains do."""
    config = ModelConfig(16, 2, 2, quantiser=name)
    model, plain = Transformer(config, 50, seed=3), Transformer(ModelConfig(16, 2, 2), 50, seed=3)
    own = dict(model.named_parameters())
    assert predicted_counts(config, 50).total == sum(p.numel() for p in own.values())
    learned = (
        [f"{layer}.quantiser.step" for layer in model.bitlinears()] if name[:3] in ("seq", "lsq") else []
    )
    assert sorted(own) == sorted([*dict(plain.named_parameters()), *learned])
    assert all(torch.equal(own[key], value) for key, value in plain.named_parameters())
    assert all(part_of(key, own[key]) == "gains" and own[key].min() > 0 for key in learned)


@pytest.mark.parametrize("name", QUANTISERS)
def test_the_codes_are_watched(name: str) -> None:
    """Shares and flips are those of the quantiser's own codes."""
    layer = layer_of(name, latent())
    watch = CodeWatch({"a": layer})
    before = layer.codes()
    with torch.no_grad():
        layer.weight.add_(0.1)
    after = layer.codes()
    watch.after_step(1, 1)
    told = watch.measures(1)
    assert told["ternary/zero_frac"] == pytest.approx(float((after == 0).float().mean()))
    assert told["ternary/minus_frac"] == pytest.approx(float((after < 0).float().mean()))
    assert told["ternary/flip_rate"] == pytest.approx(float((after != before).float().mean()))
    assert (told["ternary/clamped_layers"] == 0) is (name in ("absmean", "tequila"))
    assert (told["ternary/zero_frac"] == 0) is (name in ("binary", "seq2"))


def test_codes_of_a_step_that_is_not_finite_are_not_counted() -> None:
    layer = layer_of("lsq4", latent())
    watch = CodeWatch({"a": layer})
    assert isinstance(layer.quantiser, LearnedStep)
    with torch.no_grad():
        layer.quantiser.step.fill_(math.nan)
    watch.after_step(1, 1)
    assert watch.measures(1)["ternary/zero_frac"] is None


@pytest.mark.parametrize("reactivation", [0.0, 0.1])
def test_tequila_by_hand(reactivation: float) -> None:
    """The absmean is 2: 0.5 and -0.75 are dead, and their sum, -0.25, is added for each unit of lambda."""
    w = torch.tensor([[4.0, 0.5, -0.75, -2.75]])
    layer = BitLinear(4, 1, Weights.ternary, Activations.full)
    layer.quantiser = Tequila(1, 4, TequilaOptions(reactivation))
    with torch.no_grad():
        layer.weight.copy_(w)
    y = layer.linear(torch.tensor([[1.0, 10.0, 100.0, 1000.0]]))
    assert y.item() == pytest.approx(2 * (1 - 1000) - 0.25 * reactivation)
    y.backward()
    expected = [1.0, 10.0 + reactivation, 100.0 + reactivation, 1000.0]
    assert layer.weight.grad is not None
    assert layer.weight.grad[0].tolist() == pytest.approx(expected)


def test_tequila_refuses_less_than_nothing() -> None:
    config = ModelConfig(quantiser="tequila", quantiser_options={"reactivation": -1})
    with pytest.raises(ConfigError, match="quantiser tequila refuses it: reactivation must be 0 or more"):
        quantiser_of(config, 2, 2)


class TestInt4:
    """BitNet a4.8 (arXiv 2411.04965), the 4-bit quantiser of its section 2; BitNet v2 has the same."""

    def test_by_hand(self) -> None:
        """The mean of |x| is 1, so the codes are those of x times the root of 7, 2.6458."""
        codes, scale = int4_activation_quant(torch.tensor([[0.2, -0.6, 0.1, 3.1]]))
        assert codes.tolist() == [[1, -2, 0, 7]]
        assert scale.item() == pytest.approx(7**0.5)

    def test_it_equals_the_source(self) -> None:
        x = torch.randn(7, 12, generator=torch.Generator().manual_seed(2))
        beta = x.abs().mean(dim=-1, keepdim=True)
        expected = beta / math.sqrt(7) * (math.sqrt(7) / beta * x).round().clamp(-8, 7)
        got = activation_straight_through(x.requires_grad_(), kind=Activations.int4)
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
        got.sum().backward()
        assert torch.equal(x.grad, torch.ones_like(x)) if x.grad is not None else False

    def test_a_token_of_zeros_stays_zero(self) -> None:
        codes, scale = int4_activation_quant(torch.zeros(1, 4))
        assert codes.tolist() == [[0, 0, 0, 0]]
        assert scale.isfinite().all()


def sylvester(size: int) -> Tensor:
    """The Hadamard matrix by its definition: (-1) to the number of bits that row and column share."""
    return torch.tensor([[(-1.0) ** (i & j).bit_count() for j in range(size)] for i in range(size)])


class TestHadamard:
    """BitNet v2 (arXiv 2504.18415), section 2.2."""

    @pytest.mark.parametrize(("width", "block"), [(1, 1), (2, 2), (8, 8), (16, 16), (12, 4), (24, 8), (7, 1)])
    def test_it_equals_the_source(self, width: int, block: int) -> None:
        x = torch.randn(3, 2, width, generator=torch.Generator().manual_seed(width)).requires_grad_()
        parts = [part @ sylvester(block) / math.sqrt(block) for part in x.split(block, dim=-1)]
        got = hadamard(x)
        torch.testing.assert_close(got, torch.cat(parts, dim=-1), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(hadamard(got), x, rtol=1e-6, atol=1e-6)
        to_output = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        (got * to_output).sum().backward()
        torch.testing.assert_close(x.grad, hadamard(to_output), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("precision", Precision)
    def test_it_stands_between_norm_and_rounding_where_a_sublayer_ends(self, precision: Precision) -> None:
        model = Transformer(ModelConfig(16, 1, 2, hadamard=True), 50, seed=0, precision=precision)
        x = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
        for name, layer in model.bitlinears().items():
            is_last = name.endswith(("out", "down"))
            x_I = x.repeat(1, layer.weight.shape[1] // 16)
            normed = F.rms_norm(x_I, x_I.shape[-1:], eps=1e-5)
            normed = hadamard(normed) if is_last else normed
            torch.testing.assert_close(layer(x_I), layer.linear(normed), rtol=1e-4, atol=1e-4)
        assert [layer.turned for layer in model.bitlinears().values()] == [False, True, False, True]

    def test_it_takes_the_outlier_away(self) -> None:
        """One value of 8 among 64 becomes 64 of 1, so no code is wasted."""
        x = torch.zeros(64)
        x[5] = 8.0
        assert torch.equal(hadamard(x).abs(), torch.ones(64))
        assert activation_quant(hadamard(x))[0].abs().min() == 127

    def test_an_odd_width_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"model\.hadamard=True: needs an even model\.ffn, not 33"):
            ModelConfig(16, 1, 2, ffn=33, hadamard=True)
