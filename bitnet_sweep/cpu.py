"""The classes of processor that ``precision=mixed`` tells apart, and the switch between them (no torch)."""

from __future__ import annotations

import os
from enum import Enum

from bitnet_sweep.config import ConfigError


class CpuClass(Enum):
    """What a processor multiplies natively, the richest class first."""

    avx512_bf16 = "avx512_bf16"
    """bfloat16 (AVX-512-BF16 or AMX) and int8 (AVX-512-VNNI)."""
    avx512_vnni = "avx512_vnni"
    """int8 (AVX-512-VNNI), not bfloat16."""
    portable = "portable"
    """float32 alone: AVX2, AVX-512 without VNNI, Arm and any other processor."""


SWITCH = "BITNET_SWEEP_CPU"
"""The environment variable that names the richest class to use: it takes features away, it adds none."""


def richest_allowed() -> CpuClass:
    """The class that :data:`SWITCH` names; the richest one where it is not set or empty.

    Raises:
        ConfigError: it names no class.
    """
    asked = os.environ.get(SWITCH) or CpuClass.avx512_bf16.name
    if asked not in CpuClass.__members__:
        raise ConfigError(SWITCH, asked, "allowed: " + ", ".join(CpuClass.__members__))
    return CpuClass[asked]
