"""The Hadamard transform in front of an activation quantiser, which spreads outliers over a token's values.

Source: BitNet v2 (Wang et al. 2025, arXiv 2504.18415), section 2.2; in its H-BitLinears, those of the
attention's output and of the feed-forward's end, it stands between norm and rounding. There the width is a
power of two; any other one is turned in blocks.

Shapes: I width, A and B the two factors of a block, ... any leading dimensions (one token each).
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor


def hadamard(x_I: Tensor) -> Tensor:
    """Each block of a token's values times the orthonormal Hadamard matrix: (..., I) -> (..., I).

    A block is the largest power of two that divides the width. The transform is its own inverse and its own
    gradient.
    """
    block = x_I.shape[-1] & -x_I.shape[-1]
    rows = 1 << (block.bit_length() - 1) // 2
    x_AB = x_I.reshape(*x_I.shape[:-1], -1, rows, block // rows)
    # a Hadamard matrix is the Kronecker product of two smaller ones: two products that cost little
    left, right = _matrix(rows, x_I.device), _matrix(block // rows, x_I.device)
    turned_I: Tensor = (left.to(x_I.dtype) @ (x_AB @ right.to(x_I.dtype))).flatten(-3)
    return turned_I.mul(block**-0.5)


@functools.lru_cache(maxsize=16)
def _matrix(size: int, device: torch.device) -> Tensor:
    """Sylvester's Hadamard matrix: (size, size), of 1 and -1."""
    with torch.inference_mode(False):  # a cached inference tensor would break later backward passes
        matrix = torch.ones(1, 1, device=device)
        for _ in range(size.bit_length() - 1):
            matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
        return matrix
