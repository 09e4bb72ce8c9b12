"""Which steps are probed, against the obvious way to say it."""

import pytest

from bitnet_sweep.config import RunConfig, ScheduleConfig
from bitnet_sweep.stages import Timetable, resolve


@pytest.mark.parametrize(
    ("ends", "every"),
    [([10, 20], 5), ([10, 20], 7), ([3, 4, 20], 6), ([20], 20), ([1, 2], 1), ([9, 20], 30)],
)
def test_timetable(ends, every):
    timetable = Timetable(ends, every)
    probed = [s for s in range(1, ends[-1] + 1) if s == 1 or s % every == 0 or s in ends]
    assert [s for s in range(1, ends[-1] + 1) if timetable.is_probed(s)] == probed
    for step in range(1, ends[-1] + 1):
        assert timetable.next_probed(step) == min(s for s in probed if s >= step)
        assert timetable.stage_of(step) == next(i for i, end in enumerate(ends) if step <= end)


def _settings(**changes):
    config = resolve(RunConfig(steps=8, lr=1.0, wd1=0.1, wd2=0.0, warmup_steps=2, **changes))
    return [Timetable.of(config).settings_of(config, step) for step in range(1, 9)]


RATES = [1 / 2, 1, 5 / 6, 2 / 3, *(2 / 3 - k * (2 / 3 - 0.001) / 4 for k in (1, 2, 3, 4))]


def test_settings_of_each_update():
    assert [rate for rate, _ in _settings()] == pytest.approx(RATES)
    assert [decay for _, decay in _settings()] == [0.1] * 4 + [0.0] * 4


@pytest.mark.parametrize("boundary", [0.5, 0.25, 0.75])
def test_settings_set_after_the_update_come_one_late(boundary):
    """The first update has the peak, and the one behind the boundary still the first stage's decay."""
    late = _settings(boundary=boundary, schedule=ScheduleConfig(set_after_update=True))
    assert [rate for rate, _ in late] == pytest.approx([1.0, *RATES[:-1]])
    assert [decay for _, decay in late] == [0.1, *(decay for _, decay in _settings(boundary=boundary)[:-1])]
