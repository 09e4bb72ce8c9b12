"""What all figures have in common: ink, styles, and how a canvas becomes SVG and PNG."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas
    from matplotlib.typing import RcKeyType

INK = "#1c2430"
"""Text, axes and trunks. The page replaces it by the colour of its own text."""

Style = tuple[str, Any, str]
_STYLES: tuple[Style, ...] = (
    ("#2b86cc", "-", "o"),
    ("#d1603d", "--", "s"),
    ("#2a9d6f", "-.", "^"),
    ("#9a5fb4", ":", "D"),
    ("#b8860b", (0, (5, 1, 1, 1, 1, 1)), "v"),
)
"""Colour, line and marker of the decays of a section, the smallest one first."""

_PNG_DOTS_PER_INCH = 130

_SETTINGS: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bitnet_sweep",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.6,
}

_OURS = re.compile(
    r"(loss|training_loss|tokens|own_\d+|mechanism|phase_map|paired_differences)(_\d+)?\.(svg|png)"
)


@dataclass(frozen=True)
class Figure:
    """A drawn figure."""

    name: str
    """File name without its ending."""
    title: str
    svg: str
    png: bytes
    """For W&B and other places that show no SVG; on white."""
    note: str = ""
    """What the figure leaves out."""


def is_ours(name: str) -> bool:
    """Whether a report could have written a figure of this file name."""
    return _OURS.fullmatch(name) is not None


def styles_of(decays: list[float]) -> dict[float, Style]:
    """A style for each second-stage decay of a section."""
    return dict(zip(sorted(decays), cycle(_STYLES), strict=False))


@contextmanager
def drawing() -> Iterator[type[Canvas]]:
    """Matplotlib's own settings and those above for a figure, whatever the user's say; gives its class.

    A letter that the font lacks is no news, SVG keeps the text.
    """
    mpl = _matplotlib()
    from matplotlib.figure import Figure as Canvas

    # Not the backend: it is for windows, and its default opens one. No style is read for the defaults,
    # as matplotlib.style would read the user's.
    defaults = {name: value for name, value in dict.items(mpl.rcParamsDefault) if name != "backend"}
    with mpl.rc_context(), warnings.catch_warnings():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mpl.MatplotlibDeprecationWarning)  # of settings it still has
            mpl.rcParams.update(defaults)
        mpl.rcParams.update(_SETTINGS)
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield Canvas


def _matplotlib() -> ModuleType:
    """The package, imported past the user's settings: what it cannot read or use there ends its import.

    It reads ``matplotlibrc`` here, ``MATPLOTLIBRC``, and folders of the user, the first one found, then
    ``MPLBACKEND``. Where it may not write into those folders it takes another one and warns; nobody asked.
    """
    if "matplotlib" in sys.modules:
        return sys.modules["matplotlib"]
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    names = [name for name in ("MPLBACKEND", "MATPLOTLIBRC") if name in os.environ]
    asked = {name: os.environ.pop(name) for name in names}
    os.environ["MATPLOTLIBRC"] = os.devnull
    try:
        with chdir("/") if Path("matplotlibrc").exists() else nullcontext():
            import matplotlib as mpl

        mpl.get_configdir()
        mpl.get_cachedir()
    finally:
        del os.environ["MATPLOTLIBRC"]
        os.environ |= asked
        log.setLevel(level)
    return mpl


def figure_of(canvas: Canvas, name: str, title: str, note: str = "") -> Figure:
    """Both forms of a finished canvas."""
    canvas.draw_without_rendering()  # the layout is worked out here, once for both
    canvas.set_layout_engine("none")
    svg, png = io.BytesIO(), io.BytesIO()
    canvas.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    canvas.savefig(png, format="png", dpi=_PNG_DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
    return Figure(name, title, svg.getvalue().decode(), png.getvalue(), note)
