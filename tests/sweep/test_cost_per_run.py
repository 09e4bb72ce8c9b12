"""Finished runs are planned and skipped at a cost per run that does not grow; bench.large times 10,000."""

from collections import Counter

import pytest

from bench.large import finished_store, grid, planned
from bitnet_sweep.sweep.orchestrate import drive
from tests.work import grew_faster, work


def never(plan, name):
    raise AssertionError("there is nothing to launch")


def skipped(words) -> Counter[str]:
    """Work of the whole command."""

    def command():
        store, runs = planned(words)
        drive(store, runs, words, never)

    return work(command)


@pytest.mark.slow
@pytest.mark.system
def test_the_cost_of_a_finished_run_does_not_grow(tmp_path, capsys):
    """Nothing is called more often per run for many runs than for few, and Hydra composes no more often."""
    _, runs = finished_store(grid(tmp_path, 10), records=20)
    assert len(runs) == 200
    few, many = skipped(grid(tmp_path, 1)), skipped(grid(tmp_path, 10))
    assert capsys.readouterr().out.count("0 to train in 0 jobs") == 2
    assert sum(few.values()) > 20 * 20, "something is counted"
    assert grew_faster(few, many, 10) == {}
    composed = {name: times for name, times in many.items() if name.endswith("compose.py:_base_of")}
    assert composed == {name: few[name] for name in composed} != {}
