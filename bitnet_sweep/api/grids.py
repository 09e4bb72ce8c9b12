"""``plan`` and ``sweep``: a grid of Python values, planned in this process and trained by the command's."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from bitnet_sweep.api.process import train
from bitnet_sweep.api.words import words_of
from bitnet_sweep.compose import Conf, sweep_settings
from bitnet_sweep.config import ConfigError
from bitnet_sweep.explain import as_config_error
from bitnet_sweep.find import run_names
from bitnet_sweep.status.ledger import Ledger
from bitnet_sweep.store import Store
from bitnet_sweep.store.asked_runs import asked_runs
from bitnet_sweep.sweep.grid import make_grid, overrides_of
from bitnet_sweep.sweep.orchestrate import plan_runs
from bitnet_sweep.sweep.plan import Plan as StagePlan
from bitnet_sweep.sweep.plan import make_plan
from bitnet_sweep.sweep.register import sweep_name
from bitnet_sweep.track import run_name

if TYPE_CHECKING:
    import pandas as pd

    from bitnet_sweep.api.reports import ReportView
    from bitnet_sweep.api.runs import OpenRun

_COMMAND = ("python", "-m", "bitnet_sweep", "-m")


def plan(grid: Mapping[str, Any] | None = None, /, **settings: Any) -> Plan:
    """What :func:`sweep` would train; nothing is trained and no sweep is recorded.

    Args:
        grid: the values of each key, such as ``{"model.hidden": [256, 512], "wd2": [0.0, 0.05]}``; every
            combination is a run. A single value holds for all of them.
        settings: keys without a dot, or groups, with the value that holds for every run:
            ``steps=2000, store="runs", scale="smoke"``.

    Raises:
        ConfigError: a key or a value is wrong.
    """
    words = words_of(grid or {}, settings)
    try:
        with _environment_kept():
            return _planned(words)
    except (HydraException, OmegaConfBaseException) as error:
        raise as_config_error(error) from error


def sweep(grid: Mapping[str, Any] | None = None, /, **settings: Any) -> Sweep:
    """Train every run of a grid that its store does not have yet, and return when all are finished.

    It is the command ``python -m bitnet_sweep -m ...`` in a process of its own: the same call goes on where
    an earlier one was interrupted, and each run has the same id. Ctrl-C, or a notebook's interrupt, stops at
    the next step with everything on disk.

    Args:
        grid: see :func:`plan`.
        settings: see :func:`plan`.

    Raises:
        ConfigError: a key or a value is wrong; nothing has started.
        FailedRunError: a run failed; the others are finished.
        KeyboardInterrupt: interrupted; the same call goes on from there.
    """
    planned = plan(grid, **settings)
    train(planned.words, planned.stages.todo)
    return Sweep(planned.store, planned.name)


@dataclass(frozen=True)
class Plan:
    """The runs of a grid, and what of them is to be trained."""

    name: str
    """The sweep's name."""
    store: Path
    words: list[str] = field(repr=False)
    """The command line of the grid."""
    stages: StagePlan = field(repr=False)

    @property
    def command(self) -> str:
        """What trains the same in a shell."""
        return shlex.join([*_COMMAND, *self.words])

    @property
    def run_ids(self) -> list[str]:
        return [run.run_id for run in self.stages.runs]

    @property
    def summary(self) -> str:
        """One line: how many runs, what sharing stages saves, what is done and what is left."""
        return self.stages.summary()

    @property
    def tree(self) -> str:
        """Every stage under the one it forks from."""
        return self.stages.tree()

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each run: its id, its name, its steps, and whether it is still to be trained."""
        import pandas as pd

        todo = {job.run.run_id for job in self.stages.todo if job.is_run}
        rows = [
            {
                "run_id": run.run_id,
                "name": run_name(run.config),
                "steps": run.config.steps,
                "state": "to train" if run.run_id in todo else "done",
            }
            for run in self.stages.runs
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        return f"{self.summary}\n{self.tree}"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(self.summary)}</p>{self.frame.to_html(index=False)}"


@dataclass(frozen=True)
class Sweep:
    """A sweep that a store records."""

    store: Path
    name: str

    @property
    def run_ids(self) -> list[str]:
        """In the order of the grid."""
        return list(asked_runs(Store(self.store), self.name))

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each run: how it stands now and what became of it."""
        import pandas as pd

        entries = [entry for entry in Ledger(Store(self.store), self.name).entries() if entry.is_run]
        names = run_names(Store(self.store))
        rows = [
            {
                "run_id": entry.id,
                "name": names.get(entry.id, ""),
                "state": entry.state,
                "outcome": entry.outcome,
                "step": entry.step,
                "val/loss": entry.loss,
                "error": entry.error,
            }
            for entry in entries
        ]
        return pd.DataFrame(rows)

    def records(self) -> pd.DataFrame:
        """As :func:`bitnet_sweep.records` of this sweep."""
        from bitnet_sweep.api.frames import records

        return records(self.store, self.name)

    def report(self) -> ReportView:
        """As :func:`bitnet_sweep.report` of this sweep."""
        from bitnet_sweep.api.reports import report

        return report(self.store, self.name)

    def open_run(self, run: str) -> OpenRun:
        """As :func:`bitnet_sweep.open_run` of its store."""
        from bitnet_sweep.api.runs import open_run

        return open_run(self.store, run)

    def _repr_html_(self) -> str:
        from html import escape

        heading = f"sweep {self.name} in {self.store}"
        frame = self.frame.dropna(axis="columns", how="all")
        return f"<p>{escape(heading)}</p>{frame.to_html(index=False)}"


def _planned(words: list[str]) -> Plan:
    conf = Conf.of(words)
    axes = conf.axes()
    settings = sweep_settings(axes, conf.load)
    if settings.bisect is not None:
        raise ConfigError(
            "sweep.bisect", settings.bisect, "finds its points one after the other: use the command line"
        )
    grid = make_grid(axes, settings, conf.composer())
    points = [(overrides_of(point), config) for point, config in grid.points]
    # the process that trains, or a cluster, has the devices; here nothing needs torch
    store, runs = plan_runs(points, trains_here=False)
    return Plan(sweep_name(runs, settings.name), store.root, words, make_plan(runs, store))


@contextmanager
def _environment_kept() -> Iterator[None]:
    """The command takes variables of W&B's from its process; a notebook's stay as they are."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
