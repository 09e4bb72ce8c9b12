"""The curves as data for the page's own chart, which shows values under the pointer and toggles arms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from bitnet_sweep.report.arms import own_fields_of
from bitnet_sweep.report.figures.curves import (
    ABSMEAN,
    ABSMEAN_CLAMP,
    ENTROPY,
    FLIPS,
    ZEROS,
    Stretch,
    stretches_of,
)
from bitnet_sweep.report.overlay import Panel, panels_of
from bitnet_sweep.report.sections import Section
from bitnet_sweep.report.settings import shown
from bitnet_sweep.report.transitions import LOSS, TOKENS
from bitnet_sweep.store.outcome import finite, unigram_loss

_METRICS = (
    (LOSS, "held-out loss (nats per token)"),
    (TOKENS, "unique tokens (of 20)"),
    (FLIPS, "flip rate (share of codes, one step)"),
    (ABSMEAN, "absmean (mean |latent weight|)"),
    (ZEROS, "zero fraction (share of codes)"),
    (ENTROPY, "predictive entropy (nats per token)"),
)
MOST_ARMS = 200
"""Runs that the chart knows; more would make the page slow to open."""

_DIGITS = 5


def chart_data(sections: Sequence[Section]) -> dict[str, Any]:
    """Panels with their lines, arms of any factor together; numbers are rounded to 5 digits."""
    chosen, note = _chosen(sections)
    own = own_fields_of(arm for section in sections for arm in section.arms)
    names = dict(_METRICS) | {field: field for field in own}
    panels = [_panel(panel, chosen, list(names)) for panel in panels_of(sections)]
    metrics = [{"name": name, "log": field == ABSMEAN} for field, name in names.items()]
    return {"metrics": metrics, "panels": [panel for panel in panels if panel["lines"]], "note": note}


def _chosen(sections: Sequence[Section]) -> tuple[set[str], str]:
    """As many runs as the chart holds: fewer seeds of every arm before fewer arms."""
    total = sum(len(section.arms) for section in sections)
    cells = {(id(section), arm.hidden, arm.wd2) for section in sections for arm in section.arms}
    seeds = total if total <= MOST_ARMS else max(1, MOST_ARMS // len(cells))
    seen: Counter[tuple[object, ...]] = Counter()
    chosen: set[str] = set()
    for section in sections:
        for arm in section.arms:
            cell = (id(section), arm.hidden, arm.wd2)
            seen[cell] += 1
            if seen[cell] <= seeds and len(chosen) < MOST_ARMS:
                chosen.add(arm.run_id)
    if len(chosen) == total:
        return chosen, ""
    told = f"The chart holds {len(chosen)} of {total} runs ({seeds} of each arm)"
    return chosen, f"{told}; tables/records.csv has all."


def _panel(panel: Panel, chosen: Collection[str], fields: Sequence[str]) -> dict[str, Any]:
    styles = {label: place for place, label in enumerate(dict.fromkeys(panel.labels))}
    labels = {arm.run_id: label for arm, label in zip(panel.arms, panel.labels, strict=True)}
    arms = [arm for arm in panel.arms if arm.run_id in chosen]
    index = {arm.run_id: place for place, arm in enumerate(arms)}
    lines = [_line(stretch, index, fields) for stretch in stretches_of(arms)]
    unigram = next((u for arm in arms if (u := unigram_loss(arm.records)) is not None), None)
    first = next((record for arm in arms for record in arm.records[:1]), {})
    entropy = finite(first, "ref/ln_vocab")
    references = {LOSS: ("unigram", unigram), ENTROPY: ("uniform, ln V", entropy)}
    references[ABSMEAN] = ("clamp 1e-5", ABSMEAN_CLAMP)
    return {
        "name": panel.name,
        "changes": panel.boundaries,
        "references": [references.get(field) for field in fields],
        "arms": [
            {
                "name": f"{labels[arm.run_id]}, seed {shown(arm.seed)}",
                "run": arm.run_id,
                "result": arm.result,
                "style": styles[labels[arm.run_id]],
            }
            for arm in arms
        ],
        "lines": [line for line in lines if line["steps"]],
    }


def _line(stretch: Stretch, index: dict[str, int], fields: Sequence[str]) -> dict[str, Any]:
    points = stretch.points()
    return {
        "arms": [index[arm.run_id] for arm in stretch.arms],
        "steps": [step for step, _ in points],
        "values": [[_rounded(finite(row, field)) for _, row in points] for field in fields],
    }


def _rounded(value: float | None) -> float | int | None:
    if value is None:
        return None
    rounded = float(f"{value:.{_DIGITS}g}")
    return int(rounded) if rounded == int(rounded) else rounded
