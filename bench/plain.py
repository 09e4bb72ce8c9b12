"""The plain loop: what a researcher writes from the published formulas, to compare with.

Fake quantisation with detach, float32 products, full logits, ``torch.optim.Adam`` and
``clip_grad_norm_`` as they come. The architecture and the parameter shapes are those of
``bitnet_sweep.model.transformer`` at the notes' setting.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BitLinear(nn.Linear):
    """Norm, 8-bit activations by absmax, ternary weights by absmean."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.norm = nn.RMSNorm(in_features, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        x, w = self.norm(x), self.weight
        scale = 127.0 / x.abs().max(dim=-1, keepdim=True).values.clamp(min=1e-5)
        x = x + ((x * scale).round().clamp(-128, 127) / scale - x).detach()
        scale = 1.0 / w.abs().mean().clamp(min=1e-5)
        w = w + ((w * scale).round().clamp(-1, 1) / scale - w).detach()
        return F.linear(x, w)


def rotate(x: Tensor) -> Tensor:
    """Rotary positions over (batch, heads, positions, width)."""
    half = x.shape[-1] // 2
    frequencies = 10_000.0 ** (-torch.arange(half, device=x.device) / half)
    angles = torch.outer(torch.arange(x.shape[-2], device=x.device), frequencies)
    first, second = x[..., :half], x[..., half:]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


class Block(nn.Module):
    """Attention and gated ReLU² feed-forward."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.RMSNorm(hidden, eps=1e-5)
        self.qkv = BitLinear(hidden, 3 * hidden)
        self.out = BitLinear(hidden, hidden)
        self.feed_forward_norm = nn.RMSNorm(hidden, eps=1e-5)
        self.gate_up = BitLinear(hidden, 4 * hidden)
        self.down = BitLinear(2 * hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, hidden = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, -1)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        mixed = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, hidden))
        gate, up = self.gate_up(self.feed_forward_norm(x)).chunk(2, dim=-1)
        result: Tensor = x + self.down(F.relu(gate) ** 2 * up)
        return result


class PlainModel(nn.Module):
    """Token ids to logits."""

    def __init__(self, hidden: int, vocab_size: int, layers: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, hidden)
        self.blocks = nn.Sequential(*(Block(hidden, heads) for _ in range(layers)))
        self.norm = nn.RMSNorm(hidden, eps=1e-5)
        self.head = nn.Linear(hidden, vocab_size, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.blocks(self.embedding(ids))))
        return logits


def copy_weights(source: nn.Module, target: PlainModel) -> None:
    """Give ``target`` the weights of a ``Transformer`` of the same shapes."""
    theirs = dict(target.named_parameters())
    renamed = {"embedding": "embedding.weight", "head": "head.weight", "final_norm.weight": "norm.weight"}
    with torch.no_grad():
        for name, parameter in source.named_parameters():
            short = name.replace("attention.", "").replace("feed_forward.", "")
            theirs.pop(renamed.get(name, short)).copy_(parameter)
    assert not theirs, "every weight is copied"


class PlainLoop:
    """One model, from token ids to logits, with its optimizer."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def step(self, x: Tensor, y: Tensor) -> float:
        """One update; the loss before it."""
        logits = self.model(x)
        loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()
