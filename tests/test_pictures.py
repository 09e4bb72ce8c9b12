"""Pictures are compared by what they show: another layout is the same picture, another number is not."""

import io
import re
from typing import Any

import numpy as np
import pytest

from bitnet_sweep.report.figures.drawing import drawing
from tests.pictures import CLOSE, assert_same_picture, drawn
from tests.studies import ROOT

pytestmark = pytest.mark.slow

STEPS = np.arange(0, 2001, 100)


def picture(losses=None, *, size=(6.0, 3.0), pad=0.05, label="0.05", colour="#2b86cc", **settings: Any):
    """Two panels that share their axes: a line with its area, and the line's markers."""
    losses = 8 - STEPS / 500 if losses is None else losses
    with drawing() as Canvas:
        import matplotlib as mpl

        for name, value in settings.items():
            mpl.rcParams[name] = value  # type: ignore[index]  # the names are spelt out in its type
        canvas = Canvas(figsize=size, layout="constrained")
        left, right = canvas.subplots(1, 2, sharex=True, sharey=True)
        left.plot(STEPS, losses, color=colour, label=label)
        left.fill_between(STEPS, losses - 0.2, losses + 0.2, color=colour, alpha=0.2, linewidth=0)
        right.plot(STEPS, losses, color=colour, marker="o", linestyle="none")
        left.set_xlim(-100, 2100)
        left.set_ylim(3, 9)
        left.legend(borderaxespad=pad)
        svg = io.StringIO()
        canvas.savefig(svg, format="svg")
        return svg.getvalue()


def test_something_is_compared():
    words, panels = drawn(picture())
    assert {"0.05", "2000"} <= words.keys()
    assert [len(panel.curves) for panel in panels] == [2, len(STEPS)]
    _, panels = drawn((ROOT / "docs" / "img" / "headline.svg").read_text())
    assert len(panels) == 6
    assert min(len(panel.curves) for panel in panels) >= 6


@pytest.mark.parametrize(
    "looks",
    [
        {"size": (5.0, 4.0)},
        {"pad": 2.0},
        {"svg.hashsalt": "another"},
        {"path.simplify": False},
        {"font.size": 10},
        {"lines.linewidth": 3},
        {"xtick.major.size": 7},
    ],
    ids=str,
)
@pytest.mark.few(3)
def test_another_layout_is_the_same_picture(looks):
    assert picture(**looks) != picture()
    assert_same_picture(picture(**looks), picture())


def test_renamed_groups_are_the_same_picture():
    """As matplotlib 3.10 renamed what fills an area."""
    renamed = re.sub(r'id="(FillBetween)?PolyCollection', 'id="Area', picture())
    assert renamed != picture()
    assert_same_picture(renamed, picture())


def moved(step, by):
    return 8 - STEPS / 500 + by * (step == STEPS)


@pytest.mark.parametrize(
    "other",
    [
        {"losses": moved(0, 3 * CLOSE)},
        {"losses": moved(1000, -3 * CLOSE)},
        {"losses": moved(2000, 0.5)},
        {"label": "0.06"},
        {"colour": "#d1603d"},
        {"losses": np.where(STEPS < 1500, 8 - STEPS / 500, np.nan)},
    ],
    ids=["first", "middle", "last", "word", "colour", "shorter"],
)
def test_another_number_is_another_picture(other):
    with pytest.raises(AssertionError):
        assert_same_picture(picture(**other), picture())
