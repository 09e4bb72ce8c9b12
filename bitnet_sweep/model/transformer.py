"""A decoder-only transformer whose matrices, embedding and head apart, are BitLinears.

Shapes: B batch, T positions, D hidden width, F feed-forward width, N heads, H head width, V vocabulary.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitnet_sweep.config import GateActivation, ModelConfig, NormPlace, Precision
from bitnet_sweep.counts import quantiser_of
from bitnet_sweep.identity import LARGE_SEED
from bitnet_sweep.model.bitlinear import BitLinear, linear_init
from bitnet_sweep.model.head import tiled_cross_entropy
from bitnet_sweep.model.interface import Model
from bitnet_sweep.model.mixed import MixedBitLinear
from bitnet_sweep.model.norm import norm_of
from bitnet_sweep.model.rows import RowGradient, embedding

BITLINEARS = {Precision.fp32: BitLinear, Precision.mixed: MixedBitLinear}

ROTARY_BASE = 10_000.0
"""Published: RoFormer (Su et al. 2021); the notes' setting."""


@functools.lru_cache(maxsize=16)
def rotary_tables(num_positions: int, head_width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles ``t * base^(-2i/H)``: two (T, H/2) float32 tensors.

    Cached by their exact length: a longer table cut to T could differ from a table of T in the last bit,
    and then the length of a probe would reach into training.
    """
    with torch.inference_mode(False):  # a cached inference tensor would break later backward passes
        exponents = torch.arange(0, head_width, 2, dtype=torch.float64, device=device) / head_width
        positions = torch.arange(num_positions, dtype=torch.float64, device=device)
        angles = torch.outer(positions, ROTARY_BASE**-exponents)
        return angles.cos().float(), angles.sin().float()


def rotate(x_TH: Tensor) -> Tensor:
    """Turn each pair (i, i + H/2) of a head by its position's angle, so that q·k sees distances alone.

    (..., T, H) -> (..., T, H).
    """
    cos, sin = rotary_tables(x_TH.shape[-2], x_TH.shape[-1], x_TH.device)
    first, second = x_TH.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


def bitlinear(
    in_features: int, out_features: int, config: ModelConfig, precision: Precision, is_last: bool = False
) -> BitLinear:
    """A BitLinear that rounds as the config says.

    Args:
        is_last: of its sublayer.
    """
    quantiser = quantiser_of(config, out_features, in_features)
    rounding = config.weights, config.activations, config.straight_through, quantiser
    return BITLINEARS[precision](in_features, out_features, *rounding, turned=config.hadamard and is_last)


class Attention(nn.Module):
    """Causal self-attention; q, k and v are one BitLinear, so they share one absmean and one norm."""

    def __init__(self, config: ModelConfig, precision: Precision) -> None:
        super().__init__()
        hidden = config.hidden
        self.num_heads = config.num_heads
        self.qkv = bitlinear(hidden, 3 * hidden, config, precision)
        self.out = bitlinear(hidden, hidden, config, precision, is_last=True)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        qkv_BT3NH: Tensor = self.qkv(x_BTD).unflatten(-1, (3, self.num_heads, -1))
        qkv_3BNTH = qkv_BT3NH.permute(2, 0, 3, 1, 4)
        q_BNTH, k_BNTH = rotate(qkv_3BNTH[:2]).unbind(0)
        mixed_BNTH = F.scaled_dot_product_attention(q_BNTH, k_BNTH, qkv_3BNTH[2], is_causal=True)
        out_BTD: Tensor = self.out(mixed_BNTH.transpose(1, 2).flatten(2))
        return out_BTD


def relu2(gate_BTF: Tensor) -> Tensor:
    """ReLU² (published: the notes' setting)."""
    return F.relu(gate_BTF).square()


ACTIVATIONS: dict[GateActivation, Callable[[Tensor], Tensor]] = {
    GateActivation.relu2: relu2,
    GateActivation.silu: F.silu,
}
"""What the gate of the feed-forward goes through."""


class FeedForward(nn.Module):
    """``down(activation(gate) * up)``; gate and up are one BitLinear."""

    def __init__(self, config: ModelConfig, precision: Precision) -> None:
        super().__init__()
        hidden, ffn = config.hidden, config.ffn_width
        self.activation = ACTIVATIONS[config.activation]
        self.gate_up = bitlinear(hidden, 2 * ffn, config, precision)
        self.down = bitlinear(ffn, hidden, config, precision, is_last=True)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        gate_BTF, up_BTF = self.gate_up(x_BTD).chunk(2, dim=-1)
        out_BTD: Tensor = self.down(self.activation(gate_BTF) * up_BTF)
        return out_BTD


class Block(nn.Module):
    """Attention and feed-forward, added to the residual stream.

    Each is behind a norm, unless ``model.norm=inside`` leaves only those inside the BitLinears.
    """

    def __init__(self, config: ModelConfig, precision: Precision) -> None:
        super().__init__()
        both = config.norm is NormPlace.both
        self.attention_norm = norm_of(config.hidden, precision) if both else nn.Identity()
        self.attention = Attention(config, precision)
        self.feed_forward_norm = norm_of(config.hidden, precision) if both else nn.Identity()
        self.feed_forward = FeedForward(config, precision)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD))
        out_BTD: Tensor = x_BTD + self.feed_forward(self.feed_forward_norm(x_BTD))
        return out_BTD


def _generator_seed(seed: int) -> int:
    """What torch's generator takes to have every bit of ``seed`` count.

    It drops those above the 32nd (read in its source and seen): 5 and 5 + 2**32 would begin with the same
    weights.
    """
    if seed < LARGE_SEED:
        return seed
    return int.from_bytes(hashlib.sha256(seed.to_bytes(8)).digest()[:4])


class Transformer(Model):
    """The model of a run, built on the CPU.

    The initial weights depend on ``seed`` and the shapes alone: not on the quantisers, not on torch's
    global generator, which is neither read nor moved.

    Args:
        config: widths, depth, and which quantisers are on.
        vocab_size: V.
        seed: of the initial weights.
        precision: how the products are computed; the parameters and their names do not depend on it.
    """

    def __init__(
        self, config: ModelConfig, vocab_size: int, seed: int, precision: Precision = Precision.fp32
    ) -> None:
        super().__init__()
        self.config = config
        self.precision = precision
        self.vocab_size = vocab_size
        self.embedding = nn.Parameter(torch.empty(vocab_size, config.hidden))
        self.blocks = nn.ModuleList(Block(config, precision) for _ in range(config.num_layers))
        self.final_norm = norm_of(config.hidden, precision)
        self.head = None if config.tied else nn.Parameter(torch.empty(vocab_size, config.hidden))
        # a tied matrix has a gradient in every row
        by_rows = precision is Precision.mixed and not config.tied
        self._embedding_gradient = RowGradient(self.embedding) if by_rows else None
        self._initialise(torch.Generator("cpu").manual_seed(_generator_seed(seed)))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Embedding N(0, 1), matrices as torch's ``nn.Linear``; norm gains stay 1."""
        self.embedding.normal_(generator=generator)
        for bitlinear in self.bitlinears().values():
            bitlinear.initialise(generator)
        if self.head is not None:
            linear_init(self.head, generator)

    def hidden_states(self, x_BT: Tensor) -> Tensor:
        """Token ids (B, T) -> (B, T, D), after the final norm."""
        if self._embedding_gradient is None:
            x_BTD = F.embedding(x_BT, self.embedding)
        else:
            x_BTD = embedding(x_BT, self.embedding, self._embedding_gradient)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        out_BTD: Tensor = self.final_norm(x_BTD)
        return out_BTD

    def logits(self, x_D: Tensor) -> Tensor:
        """Hidden states (..., D) -> logits (..., V), in float32 whatever ``precision`` says."""
        return F.linear(*self.head_operands(x_D))

    def head_operands(self, x_D: Tensor) -> tuple[Tensor, Tensor]:
        """What the head multiplies: its inputs (..., D) and its matrix (V, D).

        A tied head divides by sqrt(D), because embeddings of variance 1 would else give logits of variance
        D (published: PaLM, Chowdhery et al. 2022, section 2).
        """
        if self.head is None:
            return x_D * self.config.hidden**-0.5, self.embedding
        return x_D, self.head

    def objective(
        self, x_BT: Tensor, y_BT: Tensor, label_smoothing: float = 0.0, z_loss: float = 0.0
    ) -> Tensor:
        """See :meth:`Model.objective`; at ``mixed`` without a tensor of all logits."""
        if self.precision is not Precision.mixed:
            return super().objective(x_BT, y_BT, label_smoothing, z_loss)
        x_ND, w_VD = self.head_operands(self.hidden_states(x_BT).flatten(0, 1))
        return tiled_cross_entropy(x_ND, w_VD, y_BT.flatten(), label_smoothing, z_loss)

    def gradients(self) -> list[Tensor]:
        """See :meth:`Model.gradients`."""
        gradients = {id(p): p.grad for p in self.parameters()}
        if self._embedding_gradient is not None:
            gradients[id(self.embedding)] = self._embedding_gradient.rows()
        return [gradient for gradient in gradients.values() if gradient is not None]

    def clear_gradients(self) -> None:
        """See :meth:`Model.clear_gradients`."""
        kept = self.embedding if self._embedding_gradient is not None else None
        for parameter in self.parameters():
            if parameter is not kept:
                parameter.grad = None
        if self._embedding_gradient is not None:
            self._embedding_gradient.clear()
