"""A model taken apart into what every export is made of.

Shapes: I inputs, O outputs, D hidden width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitnet_sweep.config import ConfigError, Weights
from bitnet_sweep.model.bitlinear import BitLinear
from bitnet_sweep.model.norm import NORM_EPS
from bitnet_sweep.model.quantisers import weight_quant
from bitnet_sweep.model.transformer import Transformer


@dataclass(frozen=True)
class Matrix:
    """What one linear layer multiplies by: ``codes * scale``, behind a norm with the gains ``gain``."""

    gain: Tensor
    """(I), float32."""
    codes: Tensor
    """(O, I), float32: -1, 0 or 1; with ``model.weights=full`` the weights themselves."""
    scale: Tensor
    """Without dimensions, float32: the clamped absmean; 1 with ``model.weights=full``."""
    is_ternary: bool

    @classmethod
    def of(cls, bitlinear: BitLinear) -> Matrix:
        """As the forward pass computes it."""
        weight, gain = bitlinear.weight.detach().float(), _gain(bitlinear.norm)
        if bitlinear.weights is Weights.full:
            return cls(gain, weight, torch.ones(()), False)
        return cls(gain, *weight_quant(weight), True)

    def split(self, parts: int) -> list[Matrix]:
        """Equal blocks of rows; they share the gains and the one absmean of the whole."""
        return [Matrix(self.gain, codes, self.scale, self.is_ternary) for codes in self.codes.chunk(parts)]

    def dense(self) -> Tensor:
        """(O, I), float32."""
        return self.codes * self.scale


@dataclass(frozen=True)
class BlockParts:
    """One block; the norms in front of the sublayers are None where the model has none."""

    attention_norm: Tensor | None
    q: Matrix
    k: Matrix
    v: Matrix
    out: Matrix
    feed_forward_norm: Tensor | None
    gate: Matrix
    up: Matrix
    down: Matrix


@dataclass(frozen=True)
class Parts:
    """A whole model."""

    embedding: Tensor
    """(V, D)."""
    blocks: list[BlockParts]
    final_gain: Tensor
    """(D); of a tied model with the 1/sqrt(D) that its head divides by."""
    head: Tensor | None
    """(V, D); None where it is the embedding."""

    @classmethod
    def of(cls, model: Transformer) -> Parts:
        """Take ``model`` apart; nothing of it is changed.

        Raises:
            ConfigError: a norm is not the RMSNorm that exports know.
        """
        final_gain = _gain(model.final_norm)
        if model.head is None:
            final_gain = final_gain * model.config.hidden**-0.5
        head = None if model.head is None else model.head.detach().float()
        blocks = [_block(block) for block in model.blocks]
        return cls(model.embedding.detach().float(), blocks, final_gain, head)


def _block(block: nn.Module) -> BlockParts:
    attention, feed_forward = block.get_submodule("attention"), block.get_submodule("feed_forward")
    q, k, v = _matrix(attention, "qkv").split(3)
    gate, up = _matrix(feed_forward, "gate_up").split(2)
    return BlockParts(
        attention_norm=_gain_before(block, "attention_norm"),
        q=q,
        k=k,
        v=v,
        out=_matrix(attention, "out"),
        feed_forward_norm=_gain_before(block, "feed_forward_norm"),
        gate=gate,
        up=up,
        down=_matrix(feed_forward, "down"),
    )


def _matrix(module: nn.Module, name: str) -> Matrix:
    bitlinear = module.get_submodule(name)
    assert isinstance(bitlinear, BitLinear), "the model's matrices are BitLinears"
    return Matrix.of(bitlinear)


def _gain_before(block: nn.Module, name: str) -> Tensor | None:
    norm = dict(block.named_children()).get(name)
    return None if norm is None or isinstance(norm, nn.Identity) else _gain(norm)


def _gain(norm: nn.Module) -> Tensor:
    if not isinstance(norm, nn.RMSNorm) or norm.eps != NORM_EPS:
        allowed = f"cannot be exported; allowed: RMSNorm with eps={NORM_EPS:g}"
        raise ConfigError("norm", type(norm).__name__, allowed)
    return norm.weight.detach().float()
