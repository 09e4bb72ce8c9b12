"""A grid of 10,000 finished runs: planned and skipped in seconds, at a cost per run that does not grow."""

import time

import pytest

from bench.large import finished_store, grid, planned
from bitnet_sweep.sweep.drive import drive

TARGET_SECONDS = 10.0
"""The goal for 10,000 runs, on one core that does nothing else; hence measured in processor time."""


def never(plan, name):
    raise AssertionError("there is nothing to launch")


def skipped(words):
    """Processor seconds of the whole command."""
    started = time.process_time()
    store, runs = planned(words)
    drive(store, runs, words, never)
    return time.process_time() - started


@pytest.mark.slow
def test_ten_thousand_finished_runs(tmp_path, capsys):
    _, runs = finished_store(grid(tmp_path, 500), records=20)
    assert len(runs) == 10_000
    per_run_of_few = skipped(grid(tmp_path, 25)) / 500
    seconds = skipped(grid(tmp_path, 500))
    assert "0 to train in 0 jobs" in capsys.readouterr().out
    assert seconds < TARGET_SECONDS
    assert seconds / len(runs) < 1.5 * per_run_of_few
