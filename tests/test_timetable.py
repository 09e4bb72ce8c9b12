"""Which steps are probed, against the obvious way to say it."""

import pytest

from bitnet_sweep.stages import Timetable


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
