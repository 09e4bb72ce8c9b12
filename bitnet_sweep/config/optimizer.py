"""The groups ``optimizer`` and ``loss``: what updates the weights, and what is minimised."""

# ruff: noqa: RUF009 - knob() makes a field
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from bitnet_sweep.config.checks import ConfigError, settle
from bitnet_sweep.exact import word
from bitnet_sweep.roles import Role, knob


class OptimizerName(Enum):
    """What updates the weights, and its form of weight decay: coupled (L2 in the gradient) or decoupled."""

    adam_l2 = "adam_l2"
    adamw = "adamw"
    sgd = "sgd"
    lion = "lion"
    muon = "muon"
    torch = "torch"


class MuonScale(Enum):
    """By what Muon multiplies the learning rate of a matrix, which depends on its shape: so that updates are
    about as large as AdamW's, or as in Keller Jordan's own code."""

    match_rms_adamw = "match_rms_adamw"
    original = "original"


class Decay(Enum):
    """Which parameters decay: all, one of the model's four parts alone, or all but one of them.

    A tied matrix is the embedding. ``matrices`` is all but the gains of the norms.
    """

    all = "all"
    matrices = "matrices"
    embedding = "embedding"
    head = "head"
    bitlinears = "bitlinears"
    gains = "gains"
    all_but_embedding = "all_but_embedding"
    all_but_head = "all_but_head"
    all_but_bitlinears = "all_but_bitlinears"


@dataclass
class OptimizerConfig:
    """What updates the weights. The strength of the decay is the stage's; docs/optimizers.md says how each
    applies it. A key that the chosen optimizer does not use is refused."""

    name: OptimizerName = knob(OptimizerName.adam_l2, Role.in_id | Role.preset | Role.basic, label="", rank=6)
    beta1: float = knob(0.9, Role.in_id, below=1.0)
    """Decay of Adam's mean of gradients; of Lion the share of the mean in the direction of a step."""
    beta2: float = knob(0.95, Role.in_id, below=1.0)
    """Decay of Adam's mean of squared gradients, and of Lion's mean of gradients."""
    eps: float = knob(1e-8, Role.in_id, above=0.0)
    """What Adam adds to the root it divides by."""
    decay: Decay = knob(Decay.all, Role.in_id)
    clip: float | None = knob(1.0, Role.in_id, null="off", above=0.0)
    """Largest global gradient norm; null switches clipping off."""
    momentum: float = knob(0.95, Role.in_id | Role.added, below=1.0)
    """Decay of what SGD and Muon remember of earlier gradients."""
    matrix_lr: float = knob(1.0, Role.in_id | Role.added, above=0.0)
    """The learning rate of the matrices that Muon makes orthogonal, as a multiple of ``lr``."""
    muon_scale: MuonScale = knob(MuonScale.match_rms_adamw, Role.in_id | Role.added)
    torch_class: str | None = knob(None, Role.in_id | Role.added, label="")
    """For optimizer=torch: the name of a class of torch.optim, or of one of your own (docs/extend.md)."""
    options: Any = knob(None, Role.in_id | Role.added, label="")
    """For optimizer=torch: a mapping of what the class is called with, apart from learning rate and decay."""
    version: str | None = knob(None, Role.in_id | Role.added | Role.follows, label="v")
    """The version that an optimizer of your own declares, noted by itself; null of any other."""

    def __post_init__(self) -> None:
        settle(self, "optimizer.")
        for own in sorted(_OWN - USED_BY[self.name]):
            key, value = f"optimizer.{own}", getattr(self, own)
            if value != (default := getattr(OptimizerConfig, own)):
                shown = default.name if isinstance(default, Enum) else word(default)
                own_keys, name = f"allowed here: {shown}", self.name.name
                if self.name is OptimizerName.torch and self.torch_class:
                    own_keys, name = "its own are optimizer.options.NAME", self.torch_class
                raise ConfigError(key, value, f"optimizer={name} does not use it; {own_keys}")
        if self.name is OptimizerName.torch and not self.torch_class:
            raise ConfigError("optimizer.torch_class", None, "optimizer=torch needs the name of a class")
        self.options = self.options or None
        if not isinstance(self.options, dict | None) or not all(
            isinstance(k, str) for k in self.options or ()
        ):
            raise ConfigError("optimizer.options", self.options, "must be a mapping like {key:value}")
        for name in {"params", "lr", "weight_decay"} & (self.options or {}).keys():
            raise ConfigError("optimizer.options", name, "the run sets it; use lr, wd1 and wd2")


_ADAM = frozenset({"beta1", "beta2", "eps"})


USED_BY = {
    OptimizerName.adam_l2: _ADAM,
    OptimizerName.adamw: _ADAM,
    OptimizerName.sgd: frozenset({"momentum"}),
    OptimizerName.lion: frozenset({"beta1", "beta2"}),
    OptimizerName.muon: _ADAM | {"momentum", "matrix_lr", "muon_scale"},
    OptimizerName.torch: frozenset({"torch_class", "options", "version"}),
}
"""The keys that some optimizers do not use, by those that do."""


_OWN = frozenset[str]().union(*USED_BY.values())


@dataclass
class LossConfig:
    """What is added to the plain negative log-likelihood in training (never in ``val/loss``)."""

    label_smoothing: float = knob(0.0, Role.in_id, below=1.0)
    """Share of the target's probability that is spread over the vocabulary."""
    z_loss: float = knob(0.0, Role.in_id)
    """Weight of the mean squared log-partition function (PaLM uses 1e-4)."""
    ignore_end_of_text: bool = knob(False, Role.in_id | Role.added | Role.fp32_only)
    """Leave targets that are the document separator out of the mean."""

    def __post_init__(self) -> None:
        settle(self, "loss.")
