"""The picture at the top of the project's README, and its like, from experiments 005 and 009.

    python experiments/headline.py experiments/005_root_cause docs/img/headline.svg

A panel for each form of decay and each precision of the model: held-out loss against step, the mean over
seeds in the range of the seeds, a line for each second-stage decay. Decay is on all parameters.
"""

from __future__ import annotations

import io
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from bitnet_sweep.report import make_report
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.figures.drawing import INK, drawing, styles_of
from bitnet_sweep.store.outcome import unigram_loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_KEYS = ("optimizer.name", "model.weights", "model.activations")
"""The settings that panels differ in: the first by row, the others by column."""

FORMS = {"adam_l2": "coupled (Adam, L2)", "adamw": "decoupled (AdamW)"}
MODELS = {
    ("ternary", "int8"): "ternary weights, 8-bit activations",
    ("full", "int8"): "full weights, 8-bit activations",
    ("full", "full"): "full precision",
}

Curve = dict[int, list[float]]
"""The losses of all seeds, by step."""


def curve_of(arms: Sequence[Arm]) -> Curve:
    """The held-out losses of one arm's replicates."""
    curve: Curve = defaultdict(list)
    for arm in arms:
        for step in arm.by_step:
            loss = arm.value(step, "val/loss")
            if isinstance(loss, float):
                curve[step].append(loss)
    return curve


def _panel(axes: Axes, arms: Sequence[Arm]) -> None:
    decays = sorted({arm.wd2 for arm in arms if arm.wd2 is not None})
    for decay, (colour, dash, _) in styles_of(decays).items():
        curve = curve_of([arm for arm in arms if arm.wd2 == decay])
        steps = sorted(curve)
        axes.fill_between(
            steps,
            [min(curve[step]) for step in steps],
            [max(curve[step]) for step in steps],
            color=colour,
            alpha=0.2,
            linewidth=0,
        )
        axes.plot(
            steps, [mean(curve[step]) for step in steps], color=colour, linestyle=dash, label=f"{decay:g}"
        )
    boundary, unigram = arms[0].boundary_step, unigram_loss(arms[0].records)
    if boundary is not None:
        axes.axvline(boundary, color=INK, linewidth=0.7, alpha=0.6)
    if unigram is not None:
        axes.axhline(unigram, color=INK, linewidth=0.7, alpha=0.6, linestyle=":")
        place = axes.get_yaxis_transform()  # shares of the panel across, nats up
        axes.text(0.99, unigram, "unigram", fontsize=7, ha="right", va="top", alpha=0.8, transform=place)


def headline(store: Path) -> str:
    """The picture, as SVG."""
    arms = [arm for arm in make_report([store]).study.arms if arm.settings["optimizer.decay"] == "all"]
    with drawing() as Canvas:
        canvas = Canvas(figsize=(9.2, 5.0), layout="constrained")
        grid = canvas.subplots(len(FORMS), len(MODELS), sharex=True, sharey=True)
        for row, (form, told) in zip(grid, FORMS.items(), strict=True):
            row[0].set_ylabel(f"{told}\nheld-out loss (nats)")
            for axes, model in zip(row, MODELS, strict=True):
                panel = (form, *model)
                _panel(axes, [arm for arm in arms if tuple(arm.settings[k] for k in PANEL_KEYS) == panel])
        for axes, title in zip(grid[0], MODELS.values(), strict=True):
            axes.set_title(title, fontsize=9, loc="left", weight="bold")
        grid[0][0].legend(
            title="decay 0.1, then", loc="lower left", frameon=False, fontsize=8, title_fontsize=8
        )
        canvas.supxlabel("step (decay changes at the line)", fontsize=9)
        svg = io.StringIO()
        canvas.savefig(svg, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
        return svg.getvalue()


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(headline(Path(sys.argv[1]) / "store.tar.gz"))
