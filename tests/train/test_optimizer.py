"""Each optimizer against torch's own or its published formula, written plainly, and by hand."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from bitnet_sweep.config import (
    ConfigError,
    Decay,
    ModelConfig,
    MuonScale,
    OptimizerConfig,
    OptimizerName,
    Precision,
    RunConfig,
)
from bitnet_sweep.cpu import CpuClass
from bitnet_sweep.model.products import PRODUCTS
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.parts import register
from bitnet_sweep.train.optimizer import (
    Adam,
    Optimizer,
    clip_gradients,
    clip_in_step,
    make_optimizer,
    muon,
    update,
)
from bitnet_sweep.train.optimizer.any_torch import check_torch_class
from bitnet_sweep.train.optimizer.muon import orthogonal, scale
from tests.optimizers import config_of


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
@pytest.mark.parametrize("name", list(OptimizerName))
def test_which_parts_decay(name, decay):
    """On dead gradients nothing moves but what decays."""
    model = Four()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(model, config_of(name, decay=decay)).step(0.1, 0.5)
    after = {name: parameter.item() for name, parameter in model.named_parameters()}
    for part, value in after.items():
        if part not in DECAYING[decay]:
            assert value == 2.0
        elif name is OptimizerName.torch:  # NAdam's first step is no round number
            assert value < 2.0
        else:
            assert value == pytest.approx(1.9)


Step = Callable[[float, float], None]
"""One update by a reference, from a learning rate and a decay."""


def _kind(name: str) -> str:
    """What a parameter of a transformer is, by the model's own names."""
    return name if name in ("embedding", "head") else "gain" if "norm" in name else "matrix"


def _torch_step(model: nn.Module, decay: Decay, make: Callable[..., torch.optim.Optimizer]) -> Step:
    """An optimizer of torch, with parameter groups sorted by the model's own names."""
    decaying = [p for name, p in model.named_parameters() if _kind(name) in DECAYING[decay]]
    spared = [p for name, p in model.named_parameters() if _kind(name) not in DECAYING[decay]]
    optimizer = make([{"params": group} for group in (decaying, spared)], lr=1.0)

    def step(learning_rate: float, weight_decay: float) -> None:
        for group, own in zip(optimizer.param_groups, (weight_decay, 0.0), strict=True):
            group.update(lr=learning_rate, weight_decay=own)
        optimizer.step()

    return step


def _lion_step(model: nn.Module, decay: Decay) -> Step:
    """Algorithm 2 of the paper, as it stands there."""
    means = {name: torch.zeros_like(p) for name, p in model.named_parameters()}

    @torch.no_grad()
    def step(learning_rate: float, weight_decay: float) -> None:
        for name, p in model.named_parameters():
            assert p.grad is not None
            own = weight_decay if _kind(name) in DECAYING[decay] else 0.0
            c = 0.9 * means[name] + 0.1 * p.grad
            p.copy_(p - learning_rate * (torch.sign(c) + own * p))
            means[name] = 0.99 * means[name] + 0.01 * p.grad

    return step


def _newton_schulz(gradient: Tensor) -> Tensor:
    """As Keller Jordan's post has it, in float32."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x: Tensor = gradient / (gradient.norm() + 1e-7)
    if len(x) > x.shape[1]:
        x = x.T
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if len(gradient) > gradient.shape[1] else x


def _muon_step(model: nn.Module, decay: Decay) -> Step:
    """Muon's matrices by its formula, everything else by torch's AdamW."""
    means = {n: torch.zeros_like(p) for n, p in model.named_parameters() if _kind(n) == "matrix"}
    others = {name: p for name, p in model.named_parameters() if name not in means}
    decays = [p for name, p in others.items() if _kind(name) in DECAYING[decay]]
    spared = [p for name, p in others.items() if _kind(name) not in DECAYING[decay]]
    adamw = torch.optim.AdamW([{"params": decays}, {"params": spared}], betas=(0.9, 0.95))

    @torch.no_grad()
    def step(learning_rate: float, weight_decay: float) -> None:
        for group, own in zip(adamw.param_groups, (weight_decay, 0.0), strict=True):
            group.update(lr=learning_rate, weight_decay=own)
        adamw.step()
        for name, mean in means.items():
            p = model.get_parameter(name)
            assert p.grad is not None
            own = weight_decay if _kind(name) in DECAYING[decay] else 0.0
            means[name] = mean = 0.95 * mean + 0.05 * p.grad
            direction = _newton_schulz(0.05 * p.grad + 0.95 * mean)
            p.copy_(p * (1 - learning_rate * own) - learning_rate * 0.2 * max(p.shape) ** 0.5 * direction)

    return step


REFERENCES: dict[OptimizerName, Callable[[nn.Module, Decay], Step]] = {
    OptimizerName.adam_l2: partial(_torch_step, make=partial(torch.optim.Adam, betas=(0.9, 0.95))),
    OptimizerName.adamw: partial(_torch_step, make=partial(torch.optim.AdamW, betas=(0.9, 0.95))),
    OptimizerName.sgd: partial(_torch_step, make=partial(torch.optim.SGD, momentum=0.9)),
    OptimizerName.lion: _lion_step,
    OptimizerName.muon: _muon_step,
    OptimizerName.torch: partial(
        _torch_step, make=partial(torch.optim.NAdam, betas=(0.8, 0.9), momentum_decay=0.01)
    ),
}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("decay", list(Decay))
@pytest.mark.parametrize("name", list(OptimizerName))
def test_a_transformer_trains_as_under_the_reference(name, decay, tied):
    config = ModelConfig(hidden=8, num_layers=1, num_heads=2, tied=tied)
    ours, theirs = Transformer(config, 20, 0), Transformer(config, 20, 0)
    before = nn.utils.parameters_to_vector(ours.parameters()).clone()
    reference = REFERENCES[name](theirs, decay)
    optimizer = make_optimizer(ours, config_of(name, decay=decay))
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        optimizer.step(0.01, 0.5)
        reference(0.01, 0.5)
    changes = [nn.utils.parameters_to_vector(m.parameters()) - before for m in (ours, theirs)]
    if name is OptimizerName.muon:  # orthogonal to 8 bits of each number
        assert (changes[0] - changes[1]).norm() < 2**-6 * changes[1].norm()
    else:
        torch.testing.assert_close(*changes, rtol=1e-5, atol=1e-6)


needs_torchs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch 2.9 brought it")


@needs_torchs_muon
@pytest.mark.parametrize("muon_scale", list(MuonScale))
@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 16)], ids=str)
def test_muon_equals_torchs_own(shape, muon_scale, monkeypatch):
    """Bit for bit, for the matrices that torch's takes, where both multiply bfloat16."""
    monkeypatch.setattr(muon, "products_on", lambda device: PRODUCTS[CpuClass.avx512_bf16])
    rows, columns = shape
    ours, theirs = (nn.Linear(columns, rows, bias=False) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    config = OptimizerConfig(OptimizerName.muon, muon_scale=muon_scale, matrix_lr=3.0, momentum=0.8)
    optimizer = make_optimizer(ours, config)
    reference = torch.optim.Muon(
        theirs.parameters(), lr=3 * 0.01, weight_decay=0.5, momentum=0.8, adjust_lr_fn=muon_scale.name
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        ours.weight.grad = torch.randn(ours.weight.shape, generator=generator)
        theirs.weight.grad = ours.weight.grad.clone()
        optimizer.step(0.01, 0.5)
        reference.step()
    assert torch.equal(ours.weight, theirs.weight)


@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 16)], ids=str)
def test_orthogonal(shape):
    """Every singular value comes near 1, their vectors stay, and a scale is forgotten."""
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    values = torch.linalg.svdvals(orthogonal(1e-3 * gradient).float())
    assert bool(((values > 0.5) & (values < 1.5)).all())
    assert (u.T @ orthogonal(gradient).float() @ v.T).diagonal().mean() > 0.7
    assert not orthogonal(torch.zeros(shape)).any()


def test_the_scale_of_a_matrix():
    """Of Muon's two: 3 rows to each column, and 0.2 of the root of the longer side."""
    assert scale(MuonScale.original, torch.Size((768, 256))) == pytest.approx(3**0.5)
    assert scale(MuonScale.original, torch.Size((256, 768))) == 1.0
    assert scale(MuonScale.match_rms_adamw, torch.Size((100, 400))) == pytest.approx(4.0)


def test_sgd_by_hand():
    """Coupled: the decay is in what is remembered. 0.5 + 0.5 * 2 = 1.5; then 0.9 * 1.5 + 0.5 + 0.5 * 1.85."""
    model = Two()
    optimizer = make_optimizer(model, config_of(OptimizerName.sgd))
    for expected in (2 - 0.1 * 1.5, 1.85 - 0.1 * (0.9 * 1.5 + 0.5 + 0.5 * 1.85)):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.5)
        optimizer.step(0.1, 0.5)
        assert model.matrix.item() == pytest.approx(expected)


def test_lion_by_hand():
    """Every weight moves by the learning rate, down or up, and shrinks by lr * decay beside it."""
    model = Two()
    optimizer = make_optimizer(model, config_of(OptimizerName.lion))
    model.matrix.grad, model.gain.grad = torch.full((1, 1), 1e-6), torch.full((1,), -40.0)
    optimizer.step(0.1, 0.5)
    assert (model.matrix.item(), model.gain.item()) == pytest.approx((1.9 - 0.1, 1.9 + 0.1))


@pytest.mark.parametrize(
    ("torch_class", "options", "line"),
    [
        ("Nadam", {}, "^optimizer.torch_class=Nadam: must be a class of torch.optim .*: .*Adagrad.*NAdam"),
        ("LBFGS", {}, "^optimizer.torch_class=LBFGS: must be a class"),
        ("Optimizer", {}, "^optimizer.torch_class=Optimizer: must be a class"),
        ("lr_scheduler", {}, "^optimizer.torch_class=lr_scheduler: must be a class"),
        ("NAdam", {"beta": 1}, "^optimizer.options={beta:1}: NAdam refuses: .*beta"),
        ("NAdam", {"betas": [0.9, 1.5]}, "^optimizer.options=.*: NAdam refuses: Invalid beta"),
        pytest.param("Muon", {}, "^optimizer.options=.*: Muon refuses: .*2D", marks=needs_torchs_muon),
    ],
)
def test_a_class_that_cannot_be_used_is_refused_in_a_line(torch_class, options, line):
    config = OptimizerConfig(OptimizerName.torch, torch_class=torch_class, options=options)
    with pytest.raises(ConfigError, match=line) as caught:
        check_torch_class(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [3, [1], "x", {1: 2}], ids=str)
def test_options_that_are_no_mapping_are_refused(options):
    with pytest.raises(ConfigError, match=r"^optimizer.options=.*: must be a mapping like \{key:value\}$"):
        OptimizerConfig(OptimizerName.torch, torch_class="Adam", options=options)


@pytest.mark.parametrize("name", ["lr", "weight_decay", "params"])
def test_options_that_the_run_sets_are_refused(name):
    with pytest.raises(ConfigError, match=f"^optimizer.options={name}: the run sets it"):
        OptimizerConfig(OptimizerName.torch, torch_class="Adam", options={name: 1.0})


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (OptimizerName.adamw, {"momentum": 0.5}),
        (OptimizerName.sgd, {"beta1": 0.5}),
        (OptimizerName.lion, {"eps": 1e-3}),
        (OptimizerName.muon, {"torch_class": "Adam"}),
        (OptimizerName.torch, {"torch_class": "Adam", "beta2": 0.5}),
        (OptimizerName.adam_l2, {"options": {"amsgrad": True}}),
        (OptimizerName.lion, {"matrix_lr": 2.0}),
        (OptimizerName.sgd, {"muon_scale": MuonScale.original}),
    ],
    ids=str,
)
def test_a_key_that_the_optimizer_does_not_use_is_refused(name, changes):
    """Else one training would have two ids."""
    key = list(changes)[-1]
    typed = changes.get("torch_class", "torch") if name is OptimizerName.torch else name.name
    with pytest.raises(ConfigError, match=f"^optimizer.{key}=.*: optimizer={typed} does not use it; "):
        OptimizerConfig(name=name, **changes)


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


def takes_divisor(name):
    return make_optimizer(Two(), config_of(name)).takes_divisor


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
@pytest.mark.parametrize(
    "name",  # a class of torch takes none, and to make one at collection imports torch._dynamo
    [name for name in OptimizerName if name is not OptimizerName.torch and takes_divisor(name)],
)
def test_clipping_in_the_step_equals_clipping_before_it(name, decay, clip):
    """A large eps, or Adam would hide the size of a gradient; decay is added after clipping in both."""
    config = OptimizerConfig(name=name, decay=decay, clip=clip, eps=0.3)
    folded = _three_steps(config, in_step=True)
    assert folded == pytest.approx(_three_steps(config, in_step=False), rel=1e-5)
    if clip is not None:
        unclipped = _three_steps(OptimizerConfig(name=name, decay=decay, clip=None, eps=0.3), in_step=True)
        assert folded != pytest.approx(unclipped, rel=1e-2), "the clip must matter here"


@pytest.mark.parametrize("name", list(OptimizerName))
def test_a_step_raises_the_version_of_every_weight(name):
    """Caches of what a model makes of its weights hang on it."""
    model = Two()
    optimizer = make_optimizer(model, config_of(name))
    before = [parameter._version for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(0.1, 0.5)
    assert all(p._version > version for p, version in zip(model.parameters(), before, strict=True))


class Sign(Optimizer):
    """One that remembers nothing and knows no divisor."""

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
        torch.autograd.backward(objective)
        norm = update(model, optimizer, clip=0.01, learning_rate=1e-3, weight_decay=0.0)
        assert norm > 0.1
    assert optimizer.norms == pytest.approx([0.01, 0.01], rel=1e-3)


def test_a_name_without_an_optimizer_is_refused():
    """It would train as something else, under its own name."""
    config = OptimizerConfig()
    config.name = "nadam"  # type: ignore[assignment]
    with pytest.raises(AssertionError, match="nadam"):
        make_optimizer(Two(), config)
    with pytest.raises(KeyError, match="nadam"):
        Adam(Two(), config)


class NoDecay(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})


@pytest.mark.usefixtures("own_parts")
def test_one_that_knows_no_decay_is_refused():
    register("optimizer", "nodecay", NoDecay, version=1)
    with pytest.raises(
        ConfigError, match=r"^optimizer.torch_class=nodecay: its parameter groups have no weight_decay"
    ):
        check_torch_class(OptimizerConfig(OptimizerName.torch, torch_class="nodecay"))
