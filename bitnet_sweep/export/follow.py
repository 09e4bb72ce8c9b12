"""Our model on the same tokens as an export, told apart from it by more than the order of additions.

Two programs that sum in another order differ in the last bit. Where an activation lies between two of its 256
codes, they round it to different ones, and from there on their logits differ by a hundredth. That says
nothing of the export, and it happens at any size: a row of 128 tokens at hidden 256 holds 160,000 roundings
per block. So our model follows the other one there, and only there: at each tie it takes the other's code.
Then whatever still differs is the export's fault.

Shapes: B rows, T positions, N targets, I inputs of a linear layer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitnet_sweep.model.quantisers import activation_quant
from bitnet_sweep.model.transformer import Transformer

TIE = 2e-3
"""How far from the middle of two codes an activation may lie, in steps between codes (chosen: the last bits
of float32 move it by some 1e-4 behind a few blocks)."""

OURS = {
    "self_attn.q_proj": "attention.qkv",
    "self_attn.o_proj": "attention.out",
    "mlp.gate_proj": "feed_forward.gate_up",
    "mlp.down_proj": "feed_forward.down",
}
"""Names of the layers that round their inputs: in ``transformers``, and here."""


@dataclass
class Followed:
    """What our model says when it rounds ties as the other one does."""

    nll: Tensor
    """(N), nats."""
    logits: Tensor
    """(N, V) of the first targets."""
    roundings: int = 0
    """Activations that were rounded."""
    ties: int = 0
    """Those at a tie that the two round differently; here as the other one does."""
    apart: int = 0
    """Those that the two round differently elsewhere."""


@torch.no_grad()
def follow(
    model: Transformer,
    rows: Sequence[tuple[Tensor, Tensor]],
    codes: Mapping[str, Tensor],
    num_logits: int,
) -> Followed:
    """Run ``model`` on the rows; without codes it goes its own way.

    Args:
        model: ours, at ``precision=fp32``.
        rows: ids (B, T) and the ids behind each of them (B, T).
        codes: what the other one's activations were rounded to, (N, I), by our layers' names.
        num_logits: of how many targets the logits are kept.
    """
    nll, kept, wanted = [], [], num_logits
    with _Follower(codes).within(model) as follower:
        for x_BT, y_BT in rows:
            logits_NV = model(x_BT).flatten(0, 1)
            nll.append(F.cross_entropy(logits_NV, y_BT.flatten(), reduction="none"))
            kept.append(logits_NV[:wanted].clone())
            wanted -= len(kept[-1])
    counts = follower.roundings, follower.ties, follower.apart
    return Followed(torch.cat(nll), torch.cat(kept), *counts)


def codes_by_our_names(answers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The codes among an export's answers, by the names of our layers."""
    found = {}
    for name, tensor in answers.items():
        if name.startswith("codes."):
            _, _, _, block, layer = name.split(".", 4)
            found[f"blocks.{block}.{OURS[layer]}"] = tensor
    return found


@dataclass
class _Follower:
    codes: Mapping[str, Tensor]
    roundings: int = 0
    ties: int = 0
    apart: int = 0
    _done: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def within(self, model: Transformer) -> Iterator[_Follower]:
        hooks = [
            bitlinear.norm.register_forward_hook(self._hook(name))
            for name, bitlinear in model.bitlinears().items()
            if name in self.codes
        ]
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    def _hook(self, name: str) -> Callable[..., Tensor]:
        def hook(norm: nn.Module, inputs: tuple[Tensor, ...], x: Tensor) -> Tensor:
            start = self._done.get(name, 0)
            x_NI = x.flatten(0, -2)
            self._done[name] = start + len(x_NI)
            return self._as_theirs(x_NI, self.codes[name][start : start + len(x_NI)]).view_as(x)

        return hook

    def _as_theirs(self, x_NI: Tensor, theirs_NI: Tensor) -> Tensor:
        """The activations (N, I), those at a tie moved to the code that the other one has there."""
        ours_NI, scale_N1 = activation_quant(x_NI)
        differs_NI = ours_NI != theirs_NI
        is_tie_NI = differs_NI & ((x_NI * scale_N1 - theirs_NI).abs() <= 0.5 + TIE)
        self.roundings += x_NI.numel()
        self.ties += int(is_tie_NI.sum())
        self.apart += int((differs_NI & ~is_tie_NI).sum())
        return torch.where(is_tie_NI, theirs_NI / scale_N1, x_NI)
