"""The Python interface; :mod:`bitnet_sweep` has these names, too, and imports them when they are used."""

from bitnet_sweep.api.frames import records
from bitnet_sweep.api.grids import Plan, Sweep, plan, sweep
from bitnet_sweep.api.reports import ReportView, TableView, report
from bitnet_sweep.api.runs import OpenRun, open_run
from bitnet_sweep.config import ConfigError
from bitnet_sweep.sweep.exits import FailedRunError

__all__ = [
    "ConfigError",
    "FailedRunError",
    "OpenRun",
    "Plan",
    "ReportView",
    "Sweep",
    "TableView",
    "open_run",
    "plan",
    "records",
    "report",
    "sweep",
]
