"""What a job says where its training does not fit into memory."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bitnet_sweep.config import RunConfig

_SAYINGS = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Words of RuntimeErrors that have no class of their own: torch's allocator, cuBLAS without memory."""


class OutOfMemoryError(Exception):
    """Training does not fit into the memory of its device; ``str()`` is one line."""


@contextmanager
def memory_told(config: RunConfig, device: torch.device) -> Iterator[None]:
    """Say in one line, with the keys to lower, that the memory was not enough for what happens within.

    Raises:
        OutOfMemoryError: it was not; whatever the allocator said is its cause.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the model
        keys = f"model.hidden={config.model.hidden} or batch_size={config.batch_size}"
        length = f"sequence_length={config.sequence_length}"
        parts = f"raise micro_batches={config.micro_batches}"
        told = f"out of memory on {device.type}: lower {keys} (or {length}), or {parts}"
        raise OutOfMemoryError(told) from error


def _is_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(saying in str(error) for saying in _SAYINGS)
