"""The workload that a run's config names."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence

from bitnet_sweep.config import RunConfig
from bitnet_sweep.workload import Workload

MODULES = ("bitnet_sweep.train.task", "bitnet_sweep.train.probe")
"""The built-in task and what it loads to train, found by name: nothing of the engine imports them."""


def workload_of(config: RunConfig) -> Workload:
    """What the engine asks about a run."""
    return _transformer()


def remarks_on(configs: Sequence[RunConfig]) -> list[str]:
    """What there is to say of a plan of these runs."""
    return _transformer().remarks(configs)


@functools.cache
def _transformer() -> Workload:
    found: Workload = importlib.import_module(MODULES[0]).TransformerWorkload()
    return found
