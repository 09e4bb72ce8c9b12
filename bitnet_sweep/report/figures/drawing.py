"""What all figures have in common: ink, styles, and how a canvas becomes SVG and PNG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
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

_OURS = re.compile(r"(loss|tokens|mechanism|phase_map|paired_differences)(_\d+)?\.(svg|png)")


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
def drawing() -> Iterator[None]:
    """Matplotlib's settings for a figure; a letter that its font lacks is no news, SVG keeps the text."""
    import matplotlib as mpl

    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def figure_of(canvas: Canvas, name: str, title: str, note: str = "") -> Figure:
    """Both forms of a finished canvas."""
    canvas.draw_without_rendering()  # the layout is worked out here, once for both
    canvas.set_layout_engine("none")
    svg, png = io.BytesIO(), io.BytesIO()
    canvas.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    canvas.savefig(png, format="png", dpi=_PNG_DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
    return Figure(name, title, svg.getvalue().decode(), png.getvalue(), note)
