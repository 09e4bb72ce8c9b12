"""Mirrors of the store: a W&B run for every run, or nothing. The store is the truth either way.

Importing this package is cheap; W&B is imported when a tracker is opened.
"""

from bitnet_sweep.track.naming import run_name, run_tags
from bitnet_sweep.track.tracker import NoTracker, Tracker, open_tracker

__all__ = ["NoTracker", "Tracker", "open_tracker", "run_name", "run_tags"]
