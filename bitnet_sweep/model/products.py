"""Which matrix product ``precision=mixed`` uses for what, by what the processor multiplies natively.

The choice follows from the processor's features and never from a timing, so a machine always chooses
alike. Where a feature is missing, float32 takes its place: oneDNN still takes the narrower operands
there, but it multiplies them more slowly than float32 (measured: docs/precision.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitnet_sweep.cpu import CpuClass
from bitnet_sweep.runtime import cpu_class


@dataclass(frozen=True)
class Products:
    """The operands of the products of one kind of machine; every product sums in at least 32 bits."""

    codes: torch.dtype
    """Forward, codes times codes: int8 summed in int32, or float32, which is exact up to 2**24. Both give
    the same bits for up to 131,072 inputs."""
    operands: torch.dtype
    """Backward, and in the head."""


PRODUCTS = {
    CpuClass.avx512_bf16: Products(codes=torch.int8, operands=torch.bfloat16),
    CpuClass.avx512_vnni: Products(codes=torch.int8, operands=torch.float32),
    CpuClass.portable: Products(codes=torch.float32, operands=torch.float32),
}
CUDA_PRODUCTS = PRODUCTS[CpuClass.avx512_bf16]
"""Every GPU of the last years multiplies both (assumed: no GPU was at hand). ``python -m bench.gpu`` measures
what else could stand here: ``codes`` may be bfloat16 as well, ``operands`` float32."""


def products_on(device: torch.device) -> Products:
    """What ``precision=mixed`` multiplies with on a device."""
    return CUDA_PRODUCTS if device.type == "cuda" else PRODUCTS[cpu_class()]


def code_sums(a_NI: Tensor, b_OI: Tensor) -> Tensor:
    """``a @ b.T`` of two matrices of codes, exact: (N, O), int32 of int8 operands, float32 of others.

    Bfloat16 operands are for CUDA alone: only there can torch keep their sums as float32.

    One matrix holds whole numbers in -128..127, the other -1, 0 and 1.
    """
    if a_NI.dtype == torch.bfloat16:
        return torch.mm(a_NI, b_OI.T, out_dtype=torch.float32)
    if a_NI.dtype != torch.int8:
        return a_NI @ b_OI.T
    if a_NI.shape[1] < _LEAST_INPUTS:
        return (a_NI.float() @ b_OI.float().T).to(torch.int32)
    return padded_int_mm(a_NI, b_OI) if a_NI.is_cuda else torch._int_mm(a_NI, b_OI.T)


_LEAST_INPUTS = 2
"""With one input column ``torch._int_mm`` reads foreign memory on the CPU (measured; pytorch #195066)."""


def padded_int_mm(a_NI: Tensor, b_OI: Tensor) -> Tensor:
    """Zeros up to the shapes that cuBLAS takes: more than 16 rows, the other sizes multiples of 8."""
    (rows, inputs), outputs = a_NI.shape, b_OI.shape[0]
    pad = torch.nn.functional.pad
    a_NI = pad(a_NI, (0, -inputs % 8, 0, max(0, 17 - rows)))
    b_OI = pad(b_OI, (0, -inputs % 8, 0, -outputs % 8))
    return torch._int_mm(a_NI, b_OI.T)[:rows, :outputs]
