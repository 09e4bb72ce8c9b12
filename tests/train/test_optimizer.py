"""Coupled and decoupled decay, told apart by numbers worked out by hand."""

import math

import pytest
import torch
from torch import nn

from bitnet_sweep.config import (
    ConfigError,
    Decay,
    ModelConfig,
    OptimizerConfig,
    OptimizerName,
    Precision,
    RunConfig,
)
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.train.optimizer import (
    Adam,
    Optimizer,
    clip_gradients,
    clip_in_step,
    make_optimizer,
    update,
)


class Two(nn.Module):
    """One matrix and one gain."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.full((1, 1), 2.0))
        self.gain = nn.Parameter(torch.full((1,), 2.0))


def _one_step(config, gradient, *, lr=0.1, decay=0.5):
    model = Two()
    optimizer = Adam(model, config)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    optimizer.step(lr, decay)
    return model.matrix.item(), model.gain.item()


# Adam's first step is lr times the sign of the gradient, whatever its size (eps apart).
@pytest.mark.parametrize(
    ("config", "gradient", "matrix", "gain"),
    [
        # coupled: the gradient becomes -0.5 + 0.5 * 2 = +0.5, so the weight falls although the loss pulls up
        (OptimizerConfig(), -0.5, 1.9, 1.9),
        (OptimizerConfig(decay=Decay.matrices), -0.5, 1.9, 2.1),
        # decoupled: 2 * (1 - 0.1 * 0.5) = 1.9, then +0.1
        (OptimizerConfig(name=OptimizerName.adamw), -0.5, 2.0, 2.0),
        (OptimizerConfig(name=OptimizerName.adamw, decay=Decay.matrices), -0.5, 2.0, 2.1),
        # a dead gradient: coupled walks to zero by lr, decoupled shrinks by lr * decay
        (OptimizerConfig(), 0.0, 1.9, 1.9),
        (OptimizerConfig(name=OptimizerName.adamw), 0.0, 1.9, 1.9),
    ],
    ids=[
        "coupled",
        "coupled, matrices",
        "decoupled",
        "decoupled, matrices",
        "coupled, dead",
        "decoupled, dead",
    ],
)
def test_first_step(config, gradient, matrix, gain):
    assert _one_step(config, gradient) == pytest.approx((matrix, gain), abs=1e-6)


DECAYING = {
    Decay.all: {"embedding", "head", "matrix", "gain"},
    Decay.matrices: {"embedding", "head", "matrix"},
    Decay.embedding: {"embedding"},
    Decay.head: {"head"},
    Decay.bitlinears: {"matrix"},
    Decay.gains: {"gain"},
    Decay.all_but_embedding: {"head", "matrix", "gain"},
    Decay.all_but_head: {"embedding", "matrix", "gain"},
    Decay.all_but_bitlinears: {"embedding", "head", "gain"},
}


class Four(nn.Module):
    """One weight of each part."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Parameter(torch.full((1, 1), 2.0))
        self.matrix = nn.Parameter(torch.full((1, 1), 2.0))
        self.gain = nn.Parameter(torch.full((1,), 2.0))
        self.head = nn.Parameter(torch.full((1, 1), 2.0))


@pytest.mark.parametrize("decay", list(Decay))
def test_which_parts_decay(decay):
    """On dead gradients what decays walks by lr, 2.0 to 1.9, and the rest stays where it is."""
    model = Four()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    Adam(model, OptimizerConfig(decay=decay)).step(0.1, 0.5)
    after = {name: parameter.item() for name, parameter in model.named_parameters()}
    assert after == pytest.approx({name: 1.9 if name in DECAYING[decay] else 2.0 for name in after})


def _torch_groups(model, decay, weight_decay):
    """Parameters as ``torch.optim`` takes them, sorted by the model's own names."""
    decaying: list[torch.Tensor] = []
    spared: list[torch.Tensor] = []
    for name, parameter in model.named_parameters():
        kind = name if name in ("embedding", "head") else "gain" if "norm" in name else "matrix"
        (decaying if kind in DECAYING[decay] else spared).append(parameter)
    return [{"params": decaying, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("decay", list(Decay))
@pytest.mark.parametrize("name", list(OptimizerName))
def test_a_transformer_trains_as_under_torchs_parameter_groups(name, decay, tied):
    config = ModelConfig(hidden=8, num_layers=1, num_heads=2, tied=tied)
    ours, theirs = Transformer(config, 20, 0), Transformer(config, 20, 0)
    kind = torch.optim.Adam if name is OptimizerName.adam_l2 else torch.optim.AdamW
    reference = kind(_torch_groups(theirs, decay, 0.5), lr=0.01, betas=(0.9, 0.95))
    optimizer = make_optimizer(ours, OptimizerConfig(name=name, decay=decay))
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        optimizer.step(0.01, 0.5)
        reference.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [Decay.head, Decay.all_but_head])
def test_a_tied_model_has_no_head_to_choose(decay):
    with pytest.raises(ConfigError, match=f"^optimizer.decay={decay.name}: needs model.tied=false"):
        RunConfig(model=ModelConfig(tied=True), optimizer=OptimizerConfig(decay=decay))


def test_coupled_decay_does_not_care_for_its_strength():
    """On a dead gradient the walk is lr a step for any decay: what the collapse is made of."""
    assert _one_step(OptimizerConfig(), 0.0, decay=1e-3) == pytest.approx((1.9, 1.9), abs=1e-5)
    adamw = OptimizerConfig(name=OptimizerName.adamw)
    assert _one_step(adamw, 0.0, decay=1e-3) == pytest.approx((2.0 - 2e-4, 2.0 - 2e-4), abs=1e-6)


@pytest.mark.parametrize(
    ("clip", "after"),
    [(None, (3.0, 4.0)), (10.0, (3.0, 4.0)), (1.0, (0.6, 0.8))],
    ids=["off", "above", "below"],
)
def test_clipping(clip, after):
    model = Two()
    model.matrix.grad, model.gain.grad = torch.full((1, 1), 3.0), torch.full((1,), 4.0)
    assert clip_gradients(model, clip) == 5.0
    assert (model.matrix.grad.item(), model.gain.grad.item()) == pytest.approx(after, abs=1e-5)


def test_two_coupled_steps_equal_the_formula():
    """Bias correction, both moments and the decay in the gradient, with plain arithmetic beside it."""
    model = Two()
    optimizer = Adam(model, OptimizerConfig(beta1=0.9, beta2=0.95, eps=1e-8))
    w = m = v = 0.0
    w = 2.0
    for t, gradient in enumerate((0.3, -0.7), start=1):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step(0.01, 0.1)
        g = gradient + 0.1 * w
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
        w -= 0.01 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.95**t)) + 1e-8)
        assert model.matrix.item() == pytest.approx(w, rel=1e-6)


def _three_steps(config, in_step):
    """Clipped, not clipped, clipped again: matrix and gain after each step."""
    model, after = Two(), []
    optimizer = make_optimizer(model, config)
    for gradients in ((30.0, -40.0), (0.03, 0.04), (-3.0, 4.0)):
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = torch.full_like(parameter, gradient)
        left = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        norm, divisor = (
            clip_in_step(left, config.clip) if in_step else (clip_gradients(model, config.clip), None)
        )
        assert norm == pytest.approx(math.hypot(*gradients))
        optimizer.step(0.1, 0.5, divisor)
        after += [model.matrix.item(), model.gain.item()]
    return after


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("decay", list(Decay))
@pytest.mark.parametrize("name", list(OptimizerName))
def test_clipping_in_the_step_equals_clipping_before_it(name, decay, clip):
    """A large eps, or Adam would hide the size of a gradient; decay is added after clipping in both."""
    config = OptimizerConfig(name=name, decay=decay, clip=clip, eps=0.3)
    if not make_optimizer(Two(), config).takes_divisor:
        pytest.skip("is not asked to clip")
    folded = _three_steps(config, in_step=True)
    assert folded == pytest.approx(_three_steps(config, in_step=False), rel=1e-5)
    if clip is not None:
        unclipped = _three_steps(OptimizerConfig(name=name, decay=decay, clip=None, eps=0.3), in_step=True)
        assert folded != pytest.approx(unclipped, rel=1e-2), "the clip must matter here"


@pytest.mark.parametrize("name", list(OptimizerName))
def test_a_step_raises_the_version_of_every_weight(name):
    """Caches of what a model makes of its weights hang on it."""
    model = Two()
    optimizer = make_optimizer(model, OptimizerConfig(name=name))
    before = [parameter._version for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(0.1, 0.5)
    assert all(p._version > version for p, version in zip(model.parameters(), before, strict=True))


class Sign(Optimizer):
    """One that remembers nothing and knows no divisor."""

    state_names = ()

    def __init__(self, model):
        self.model = model
        self.norms = []

    def step(self, learning_rate, weight_decay, divisor=None):
        assert divisor is None
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        self.norms.append(nn.utils.get_total_norm(gradients).item())
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter -= learning_rate * parameter.grad.sign()

    def state(self, parameter):
        return {}

    def restore(self, parameter, updates, tensors):
        pass


@pytest.mark.parametrize("precision", list(Precision))
def test_an_optimizer_that_cannot_clip_gets_clipped_gradients(precision):
    model = Transformer(ModelConfig(hidden=8, num_layers=1, num_heads=2), 20, 0, precision)
    optimizer = Sign(model)
    ids = torch.arange(12).reshape(2, 6)
    for _ in range(2):
        objective = model.objective(ids[:, :-1], ids[:, 1:])
        norm = update(model, optimizer, objective, clip=0.01, learning_rate=1e-3, weight_decay=0.0)
        assert norm > 0.1
    assert optimizer.norms == pytest.approx([0.01, 0.01], rel=1e-3)


def test_a_name_without_an_optimizer_is_refused():
    """It would train as something else, under its own name."""
    config = OptimizerConfig()
    config.name = "lion"  # type: ignore[assignment]
    with pytest.raises(AssertionError, match="lion"):
        make_optimizer(Two(), config)
    with pytest.raises(KeyError, match="lion"):
        Adam(Two(), config)
