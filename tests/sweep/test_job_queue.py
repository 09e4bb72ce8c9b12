"""Which job starts next, against a slow search; and a simulated sweep that can be worked out by hand."""

import random

import pytest

from bench.simulate import START_SECONDS, Job, simulate
from bitnet_sweep.sweep.job_queue import ReadyJobs


def _slow_order(after, slots):
    """Start the first job whose parent has ended; jobs end in the order in which they started."""
    waiting, running, ended, order = list(range(len(after))), list[int](), set[int](), list[int]()
    while waiting or running:
        for job in list(waiting):
            if len(running) < slots and (after[job] is None or after[job] in ended):
                waiting.remove(job)
                running.append(job)
                order.append(job)
        ended.add(running.pop(0))
    return order


@pytest.mark.parametrize("slots", [1, 3, 50])
def test_order_of_starts(slots):
    rng = random.Random(slots)
    after = [None, *(rng.choice([None, rng.randrange(i)]) for i in range(1, 200))]
    ready, running, order = ReadyJobs(after), list[int](), list[int]()
    while ready or running:
        while ready and len(running) < slots:
            order.append(ready.pop())
            running.append(order[-1])
        ready.ended_well(running.pop(0))
    assert order == _slow_order(after, slots)


def test_behind_a_failed_job_nothing_starts():
    ready = ReadyJobs([None, 0, None])
    assert [ready.pop(), ready.pop()] == [0, 2]
    ready.ended_well(2)
    assert not ready


def _job(seconds):
    return Job(seconds - START_SECONDS, checkpoint_seconds=10.0)


def test_simulated_trunk_and_arms():
    """A trunk of 100 s, arms of 50 and 30 s on two workers: 150 s, the chain being the bound."""
    result = simulate([_job(100), _job(50), _job(30)], [None, 0, 0], workers=2, deaths=[])
    assert (result.makespan, result.critical_path, result.lower_bound) == (150, 150, 150)


def test_simulated_death():
    """One of two workers dies at 42 s: its job keeps 30 s of training, loses 12, and goes on at 105 s.

    Both jobs take 105 s, start included. The other worker is free at 105 and needs 5 + 70 s more.
    The bound: 84 s of work are done by two until 42, the other 126 by one.
    """
    result = simulate([_job(105), _job(105)], [None, None], workers=2, deaths=[42.0])
    assert (result.deaths, result.makespan, result.lost) == (1, 180, 12)
    assert result.lower_bound == 42 + 126
