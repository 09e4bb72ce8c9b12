"""Small curves of one run, as SVG in the page's own ink: drawn by hand, as the figures' library takes a
tenth of a second for each, and a page has a thousand of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bitnet_sweep.report.table import step_text

Points = Sequence[tuple[int, float | None]]

_WIDTH, _HEIGHT = 250, 120
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 8, 20
_MOST_POINTS = 48
"""Points of a line: about one every fourth pixel."""
_LITTLE, _MUCH = 0.01, 1e4


@dataclass(frozen=True)
class Curve:
    """One small picture."""

    title: str
    lines: Sequence[tuple[str, Points]]
    """What each line is, and its points by step; None is a gap."""
    reference: tuple[str, float] | None = None
    """A value that the lines are read against."""
    is_log: bool = False


def drawn(curve: Curve, last_step: int, boundaries: Sequence[int]) -> Markup | None:
    """The picture; None where there is nothing to draw.

    Args:
        last_step: the right end of every picture of a run.
        boundaries: where one stage follows another: dotted lines.
    """
    lines = [_usable(points, curve.is_log) for _, points in curve.lines]
    values = [value for line in lines for _, value in line if value is not None]
    if not values or last_step < 1:
        return None
    reference = None if curve.reference is None else _scaled(curve.reference[1], curve.is_log)
    low, high = min([*values, *_known(reference)]), max([*values, *_known(reference)])
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(step: float) -> float:
        return round(_LEFT + width * min(step / last_step, 1.0), 1)

    def y(value: float) -> float:
        return round(_TOP + height * (high - value) / (high - low), 1)

    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, _HEIGHT, curve.title)
    ]
    for value, tick in ((low, y(low)), (high, y(high))):
        parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(_LEFT, tick, _WIDTH - _RIGHT))
        told = _told(value, curve.is_log)
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(_LEFT - 4, tick + 3, told)
        )
    for step, anchor in ((0, "start"), (last_step, "end")):
        told = Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>')
        parts.append(told.format(x(step), _HEIGHT - 6, anchor, step_text(step)))
    for step in boundaries:
        parts.append(Markup('<path class="boundary" d="M{} {}V{}"/>').format(x(step), _TOP, _TOP + height))
    if reference is not None:
        parts.append(
            Markup('<path class="reference" d="M{} {}H{}"/>').format(_LEFT, y(reference), _WIDTH - _RIGHT)
        )
    for place, line in enumerate(lines):
        path = _path([(x(step), None if value is None else y(value)) for step, value in _thinned(line)])
        parts.append(Markup('<path class="line s{}" d="{}"/>').format(place, path))
    return Markup("").join([*parts, Markup("</svg>")])


def _usable(points: Points, is_log: bool) -> Points:
    return [(step, None if value is None else _scaled(value, is_log)) for step, value in points]


def _scaled(value: float, is_log: bool) -> float | None:
    if not is_log:
        return value
    return math.log10(value) if value > 0 else None


def _known(value: float | None) -> list[float]:
    return [] if value is None else [value]


def _told(value: float, is_log: bool) -> str:
    """In at most seven characters, as wide as the margin is."""
    shown = 10**value if is_log else value
    return f"{shown:.1e}" if is_log or 0 < abs(shown) < _LITTLE or abs(shown) >= _MUCH else f"{shown:.3g}"


def _thinned(points: Points) -> Points:
    """Every so many-th, and the last one."""
    stride = -(-len(points) // _MOST_POINTS)
    return [point for place, point in enumerate(points) if place % stride == 0 or place == len(points) - 1]


def _path(points: Sequence[tuple[float, float | None]]) -> str:
    """A line with a gap wherever a value is missing; a point between two gaps is a dot."""
    told, pen = [], "M"
    for across, up in points:
        if up is None:
            pen = "M"
        else:
            told.append(f"{pen}{across:g} {up:g}" if pen == "L" else f"M{across:g} {up:g}h.1")
            pen = "L"
    return "".join(told)
