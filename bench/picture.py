"""The table of ``bench.step`` as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING

from bench.tables import Row
from bitnet_sweep.report.figures.drawing import INK, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = {
    "floor": ("#8a8a8a", ":", "v"),
    "mixed": ("#000000", "-", "o"),
    "fp32": ("#3d3d3d", "--", "s"),
    "plain": ("#5c5c5c", "-.", "^"),
    "plain_compiled": ("#4a4a4a", (0, (3, 1, 1, 1)), "X"),
    "transformers": ("#2a2a2a", (0, (5, 1, 1, 1, 1, 1)), "D"),
    "bitlinear": ("#707070", (0, (1, 1)), "P"),
}
"""Grey, line and marker of each arm; the name at the end of its line tells which it is."""


def draw(rows: Sequence[Row], path: Path) -> None:
    """Milliseconds a step by hidden size, a panel for each batch, as SVG on white."""
    batches = list(dict.fromkeys(row["batch"] for row in rows))
    with drawing() as Canvas:
        canvas = Canvas(figsize=(5.4 * len(batches), 4.2), layout="constrained")
        panels = canvas.subplots(1, len(batches), squeeze=False)[0]
        for panel, batch in zip(panels, batches, strict=True):
            _panel(panel, [row for row in rows if row["batch"] == batch])
            panel.set_title(f"batch {batch}")
        panels[0].set_ylabel("ms a step (median), log axis")
        canvas.savefig(path, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})


def _panel(panel: Axes, rows: Sequence[Row]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter  # late: see drawing()

    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(row["arm"], []).append(row)
    sizes = sorted({row["hidden"] for row in rows})
    panel.set_yscale("log")
    for arm, points in lines.items():
        grey, line, marker = STYLES[arm]
        x, y = [row["hidden"] for row in points], [row["ms"] for row in points]
        panel.plot(x, y, color=grey, linestyle=line, marker=marker, markersize=4)
    panel.set_xticks(sizes)
    panel.set_xlabel("hidden size")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(ScalarFormatter())
    panel.yaxis.set_minor_formatter(NullFormatter())
    low, high = map(log10, panel.get_ylim())
    at = -float("inf")
    for arm, points in sorted(lines.items(), key=lambda item: item[1][-1]["ms"]):
        at = max(log10(points[-1]["ms"]), at + (high - low) / 18)  # or near lines' names would overlap
        panel.annotate(
            f"{arm} {points[-1]['ms']:,.0f}",
            xy=(points[-1]["hidden"], points[-1]["ms"]),
            xytext=(1.04, (at - low) / (high - low)),
            textcoords="axes fraction",
            va="center",
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.4},
        )
