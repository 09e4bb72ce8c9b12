"""What a matplotlib SVG shows, however this version of matplotlib places, names and writes it."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree

import numpy as np

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
CLOSE = 0.01
"""How far two curves may lie apart, in distances between ticks (chosen: matplotlib leaves out a point that
lies within a ninth of a pixel of its neighbours' line, which is 0.004 of them)."""


@dataclass
class Curve:
    """A line, an area or the places of markers, by its colour; points in distances between ticks."""

    colour: str
    points: np.ndarray


@dataclass
class Panel:
    """One pair of axes: how many ticks they have, and what is drawn between them."""

    ticks: tuple[int, int] = (0, 0)
    curves: list[Curve] = field(default_factory=list)


def drawn(svg: str) -> tuple[Counter[str], list[Panel]]:
    """All texts of a picture, and its panels. Frames and legends are layout, but not their texts."""
    root = ElementTree.fromstring(svg)
    words = Counter("".join(text.itertext()) for text in root.iter(f"{SVG}text"))
    shapes = {f"#{path.get('id')}": path for path in root.iter(f"{SVG}path") if path.get("id")}
    groups = [group for group in root.iter(f"{SVG}g") if (group.get("id") or "").startswith("axes_")]
    return words, [_panel(group, shapes) for group in groups]


def assert_same_picture(made: str, kept: str) -> None:
    """Both show the same words, and the same curves beside the same ticks."""
    (words, panels), (kept_words, kept_panels) = drawn(made), drawn(kept)
    assert words == kept_words
    assert len(panels) == len(kept_panels)
    for panel, kept_panel in zip(panels, kept_panels, strict=True):
        assert panel.ticks == kept_panel.ticks
        assert [curve.colour for curve in panel.curves] == [curve.colour for curve in kept_panel.curves]
        for curve, kept_curve in zip(panel.curves, kept_panel.curves, strict=True):
            assert _apart(curve.points, kept_curve.points) < CLOSE
            assert _apart(kept_curve.points, curve.points) < CLOSE


def _panel(axes: ElementTree.Element, shapes: dict[str, ElementTree.Element]) -> Panel:
    ticks = [[*_ticks(axes, name, place)] for name, place in (("xtick", "x"), ("ytick", "y"))]
    panel = Panel((len(ticks[0]), len(ticks[1])))
    start = np.array([places[0] for places in ticks])
    unit = np.array([(places[-1] - places[0]) / (len(places) - 1) for places in ticks])
    for group in axes:
        if re.match("matplotlib|patch|legend|text", group.get("id") or ""):
            continue
        is_line = (group.get("id") or "").startswith("line2d")
        for colour, points in _strokes(group, shapes, is_line):
            panel.curves.append(Curve(colour, (points - start) / unit))
    return panel


def _ticks(axes: ElementTree.Element, name: str, place: str) -> Iterator[float]:
    for group in axes.iter(f"{SVG}g"):
        if (group.get("id") or "").startswith(name):
            mark = next(group.iter(f"{SVG}use"))
            yield float(mark.get(place, "nan"))


def _strokes(
    group: ElementTree.Element, shapes: dict[str, ElementTree.Element], is_line: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """The paths of a group, and its uses of shapes: of a line these are markers, whose place counts."""
    defined = {id(path) for part in group.iter(f"{SVG}defs") for path in part.iter()}
    for part in group.iter():
        if part.tag == f"{SVG}path" and id(part) not in defined:
            yield _colour(part), _points(part)
        elif part.tag == f"{SVG}use":
            place = np.array([[float(part.get("x", 0)), float(part.get("y", 0))]])
            shape = shapes[part.get(LINK, "")]
            yield _colour(part), place if is_line else place + _points(shape)


def _points(path: ElementTree.Element) -> np.ndarray:
    return np.array(re.findall(r"-?[\d.]+(?:e-?\d+)?", path.get("d", "")), dtype=float).reshape(-1, 2)


def _colour(part: ElementTree.Element) -> str:
    found = re.findall(r"(?:stroke|fill): (#\w+)", part.get("style", ""))
    return found[-1] if found else ""


def _apart(points: np.ndarray, curve: np.ndarray) -> float:
    """The largest distance of a point from a curve, which versions cut into different pieces."""
    starts, ends = (curve[:-1], curve[1:]) if len(curve) > 1 else (curve, curve)
    along = ends - starts
    length = np.maximum((along**2).sum(1), 1e-30)
    share = ((points[:, None] - starts) * along).sum(2) / length
    nearest = starts + np.clip(share, 0, 1)[..., None] * along
    return float(np.sqrt(((points[:, None] - nearest) ** 2).sum(2)).min(1).max())
