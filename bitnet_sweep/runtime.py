"""How this process computes: device, threads, denormals, allocator, class of processor."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import re
import sys
from pathlib import Path

import torch

from bitnet_sweep.config import ConfigError, Device
from bitnet_sweep.cpu import CpuClass, richest_allowed

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 1 << 30
"""Blocks below 1 GiB stay in the heap: glibc's default hands every large array back to the kernel and
pays for fresh pages at each step (measured: a seed-scale step went from 149 to 89 ms)."""


def prepare_process(threads: int, device: Device) -> torch.device:
    """Set up this process for training; call it before the first tensor operation.

    Denormal numbers are flushed to zero on every thread, so that a dying model is neither slow nor
    dependent on which thread met the number. On CUDA, what has a kernel that repeats itself uses it, and
    what has none is refused.

    Raises:
        ConfigError: CUDA is asked for and not there.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
    chosen = choose_device(device)
    if chosen.type == "cuda":
        repeat_on_cuda()
    return chosen


def repeat_on_cuda() -> None:
    """Have a training give the same bits again on the same GPU (written, not run: docs/precision.md)."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a pass for each array
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False  # sums stay float32
    # of the kernels for attention only the formula itself adds up in one order, whatever the version of torch
    torch.backends.cuda.enable_math_sdp(True)
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def release_memory() -> None:
    """Hand back what a job has freed: the next one of this process may need it for something else."""
    gc.collect()
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def choose_device(device: Device) -> torch.device:
    """The device to train on; auto takes CUDA where there is one.

    Raises:
        ConfigError: CUDA is asked for and not there.
    """
    has_cuda = torch.cuda.is_available()
    if device is Device.cuda and not has_cuda:
        raise ConfigError("device", device, "no CUDA device is visible here; allowed: auto, cpu")
    return torch.device("cuda" if has_cuda and device is not Device.cpu else "cpu")


@functools.cache
def cpu_class() -> CpuClass:
    """The class of this processor, or the poorer one that ``BITNET_SWEEP_CPU`` names.

    ``ATEN_CPU_CAPABILITY``, with which torch's own kernels are held down, counts too.

    Raises:
        ConfigError: the variable names no class.
    """
    return max(native_class(), richest_allowed(), key=list(CpuClass).index)


def native_class() -> CpuClass:
    """The class of this processor, whatever is allowed."""
    # torch.ops.mkldnn._is_mkldnn_bf16_supported() also says True where oneDNN only emulates it
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.cpu._is_vnni_supported():
        return CpuClass.portable
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return CpuClass.avx512_bf16 if native else CpuClass.avx512_vnni


def peak_memory_mb() -> float | None:
    """The largest resident memory of this process so far, in MB (10^6 bytes); None where nobody tells.

    Linux's ``ru_maxrss`` counts the parent's memory at the start of a process too, so it is not read there
    (measured: 313 MB for a process of 14 MB whose parent had 300). Some Linux sandboxes leave VmHWM out.
    """
    if sys.platform == "darwin":  # counts bytes
        import resource  # not everywhere

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(peak[1]) * 1024 / 1e6 if peak else None
