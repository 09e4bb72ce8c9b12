"""The global generators of a task: seeded, its own while it computes, and kept in checkpoints."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NUMPY_SEEDS = 2**32
DRAWN = "generator/"
"""How the names of their states begin in a file of tensors."""

PROBE_SEED = 0
"""The generators in every probe are seeded with it, so that no two of them differ by what they drew."""


class Generators:
    """The states of torch's, NumPy's and Python's global generators, while somebody else may use them.

    Changing them over takes about 0.3 ms of a step (measured on one slow core).

    Args:
        seed: what all of them are seeded with.
        device: torch's generator of a GPU is kept as well.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device if device.type == "cuda" else None
        with self._others_kept():
            random.seed(seed)
            np.random.seed(seed % _NUMPY_SEEDS)
            torch.manual_seed(seed)
            self._own = self._now()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Draw from them; afterwards the process has those it had before."""
        with self._others_kept():
            self._set(self._own)
            yield
            self._own = self._now()

    def export(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON facts of which :meth:`restore` makes equal ones."""
        python, numpy, *torchs = self._own
        tensors = {f"{DRAWN}torch{i}": state for i, state in enumerate(torchs)}
        name, keys, place, has_gauss, gauss = numpy
        tensors[f"{DRAWN}numpy"] = torch.from_numpy(keys.astype(np.int64))
        return tensors, {"python": python, "numpy": [name, place, has_gauss, float(gauss).hex()]}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take over what was exported, on any device."""
        version, internal, gauss = facts["python"]
        name, place, has_gauss, gaussian = facts["numpy"]
        keys = tensors[f"{DRAWN}numpy"].numpy().astype(np.uint32)
        torchs = [tensors[key] for i in range(2) if (key := f"{DRAWN}torch{i}") in tensors]
        numpy = (name, keys, place, has_gauss, float.fromhex(gaussian))
        self._own = ((version, tuple(internal), gauss), numpy, *torchs)

    def _now(self) -> tuple[Any, ...]:
        states = [torch.get_rng_state()]
        if self._device is not None:
            states.append(torch.cuda.get_rng_state(self._device))
        return (random.getstate(), np.random.get_state(), *states)

    def _set(self, states: tuple[Any, ...]) -> None:
        python, numpy, *torchs = states
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torchs[0])
        if self._device is not None and len(torchs) > 1:
            torch.cuda.set_rng_state(torchs[1], self._device)

    @contextmanager
    def _others_kept(self) -> Iterator[None]:
        before = self._now()
        try:
            yield
        finally:
            self._set(before)
