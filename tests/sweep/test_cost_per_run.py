"""Finished runs are planned and skipped at a cost per run that does not grow; bench.large times 10,000."""

import os
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from bench.large import finished_store, grid, planned
from bitnet_sweep.sweep.drive import drive


def never(plan, name):
    raise AssertionError("there is nothing to launch")


def work(command: Callable[[], object]) -> Counter[str]:
    """How often each function of the product is called, and how many files are opened or listed."""
    counts: Counter[str] = Counter()
    here = f"{os.sep}bitnet_sweep{os.sep}"

    def note(frame, event, argument):
        if event == "call" and here in frame.f_code.co_filename:
            counts[f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}"] += 1
        elif event == "c_call" and argument in (open, os.open, os.scandir, os.stat, os.listdir):
            counts[argument.__name__] += 1

    sys.setprofile(note)
    try:
        command()
    finally:
        sys.setprofile(None)
    return counts


def skipped(words) -> Counter[str]:
    """Work of the whole command."""

    def command():
        store, runs = planned(words)
        drive(store, runs, words, never)

    return work(command)


@pytest.mark.slow
def test_the_cost_of_a_finished_run_does_not_grow(tmp_path, capsys):
    """Nothing is called more often per run for many runs than for few, and Hydra composes no more often."""
    _, runs = finished_store(grid(tmp_path, 10), records=20)
    assert len(runs) == 200
    few, many = skipped(grid(tmp_path, 1)), skipped(grid(tmp_path, 10))
    assert capsys.readouterr().out.count("0 to train in 0 jobs") == 2
    assert sum(few.values()) > 20 * 20, "something is counted"
    assert {name: (few[name], times) for name, times in many.items() if times > 10 * max(few[name], 10)} == {}
    composed = {name: times for name, times in many.items() if name.endswith("compose.py:_base_of")}
    assert composed == {name: few[name] for name in composed} != {}
