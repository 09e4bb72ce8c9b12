"""When does the training of a ternary language model collapse, and what brings it back?

From Python: ``sweep`` trains a grid, ``plan`` says what that would train, ``records`` and ``report`` read a
store, ``open_run`` opens one run of it. They are in :mod:`bitnet_sweep.api`; importing this package is quick.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitnet_sweep.api import (
        ConfigError,
        FailedRunError,
        OpenRun,
        Plan,
        ReportView,
        Sweep,
        open_run,
        plan,
        records,
        report,
        sweep,
    )
    from bitnet_sweep.model.interface import Model

__version__ = "0.2.0.dev0"

__all__ = [
    "ConfigError",
    "FailedRunError",
    "OpenRun",
    "Plan",
    "ReportView",
    "Sweep",
    "load_run",
    "open_run",
    "plan",
    "records",
    "report",
    "sweep",
]


def load_run(store: str | Path, run_id: str, averaged: bool = False) -> Model:
    """The model of a finished run with its final weights, on the CPU.

    Args:
        store: the folder that holds ``runs/<run_id>``, or that folder as a ``.tar.gz``.
        run_id: as in the report.
        averaged: take the running mean of the weights, which a run with ``ema`` keeps.

    Raises:
        FileNotFoundError: no such run, or its weights were not kept.
        ConfigError: an archive that cannot be read, or a run without a mean.
    """
    from bitnet_sweep.loading import load_run  # late: torch takes a second to import
    from bitnet_sweep.paths import expanded

    return load_run(expanded(store), run_id, averaged)


_ALSO_MODULES = ("records", "report", "sweep")
"""Functions that share their name with a module of this package, which is made to be called as one."""


class _CallableModule(ModuleType):
    """``bitnet_sweep.sweep`` is the engine's package, and called it trains a grid."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        function = getattr(importlib.import_module("bitnet_sweep.api"), self.__name__.rpartition(".")[2])
        return function(*arguments, **keywords)


class _Package(ModuleType):
    """This package: what :mod:`bitnet_sweep.api` has is imported when it is first asked for."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ALSO_MODULES and isinstance(value, ModuleType):  # the import system puts it there
            value.__class__ = _CallableModule
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name in _ALSO_MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        if name in __all__:
            return getattr(importlib.import_module("bitnet_sweep.api"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
