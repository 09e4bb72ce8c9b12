"""The curves as data for the page's own chart, which shows values under the pointer and toggles arms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bitnet_sweep.report.arms import Arm, Section
from bitnet_sweep.report.figures.curves import (
    ABSMEAN,
    ABSMEAN_CLAMP,
    ENTROPY,
    FLIPS,
    ZEROS,
    Stretch,
    short,
    stretches_of,
)
from bitnet_sweep.report.settings import UNKNOWN, shown
from bitnet_sweep.report.transitions import LOSS, TOKENS
from bitnet_sweep.store.outcome import finite, unigram_loss

METRICS = (
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
    """Panels by section and hidden size, each with its lines; numbers are rounded to 5 digits."""
    chosen, note = _chosen(sections)
    panels = []
    for section, arms in chosen:
        for size in dict.fromkeys(arm.hidden for arm in arms):
            panels.append(_panel(section, [arm for arm in arms if arm.hidden == size], shown(size)))
    metrics = [{"name": name, "log": field == ABSMEAN} for field, name in METRICS]
    return {"metrics": metrics, "panels": [panel for panel in panels if panel["lines"]], "note": note}


def _chosen(sections: Sequence[Section]) -> tuple[list[tuple[Section, list[Arm]]], str]:
    """As many runs as the chart holds: fewer seeds of every arm before fewer arms."""
    total = sum(len(section.arms) for section in sections)
    cells = {(id(section), arm.hidden, arm.wd2) for section in sections for arm in section.arms}
    seeds = total if total <= MOST_ARMS else max(1, MOST_ARMS // len(cells))
    seen: Counter[tuple[object, ...]] = Counter()
    chosen: list[tuple[Section, list[Arm]]] = []
    taken = 0
    for section in sections:
        kept = []
        for arm in section.arms:
            cell = (id(section), arm.hidden, arm.wd2)
            seen[cell] += 1
            if seen[cell] <= seeds and taken < MOST_ARMS:
                kept.append(arm)
                taken += 1
        if kept:
            chosen.append((section, kept))
    if taken == total:
        return chosen, ""
    told = f"The chart holds {taken} of {total} runs ({seeds} of each arm)"
    return chosen, f"{told}; tables/records.csv has all."


def _panel(section: Section, arms: Sequence[Arm], size: str) -> dict[str, Any]:
    decays = sorted({arm.wd2 for arm in section.arms if arm.wd2 is not None})  # as in the figures
    decay = {arm.run_id: UNKNOWN if arm.wd2 is None else short(arm.wd2) for arm in arms}
    names = [f"wd2={decay[arm.run_id]}, seed {shown(arm.seed)}" for arm in arms]
    index = {arm.run_id: place for place, arm in enumerate(arms)}
    lines = [_line(stretch, index) for stretch in stretches_of(arms)]
    unigram = next((u for arm in arms if (u := unigram_loss(arm.records)) is not None), None)
    first = next((record for arm in arms for record in arm.records[:1]), {})
    entropy = finite(first, "ref/ln_vocab")
    references = {LOSS: ("unigram", unigram), ENTROPY: ("uniform, ln V", entropy)}
    references[ABSMEAN] = ("clamp 1e-5", ABSMEAN_CLAMP)
    return {
        "name": f"hidden {size}" + (f", {section.label}" if section.label else ""),
        "changes": [change.step for change in section.arms[0].changes],
        "references": [references.get(field) for field, _ in METRICS],
        "arms": [
            {
                "name": name,
                "run": arm.run_id,
                "result": arm.result,
                "style": decays.index(arm.wd2) if arm.wd2 is not None else -1,
            }
            for name, arm in zip(names, arms, strict=True)
        ],
        "lines": [line for line in lines if line["steps"]],
    }


def _line(stretch: Stretch, index: dict[str, int]) -> dict[str, Any]:
    points = stretch.points()
    return {
        "arms": [index[arm.run_id] for arm in stretch.arms],
        "steps": [step for step, _ in points],
        "values": [[_rounded(finite(row, field)) for _, row in points] for field, _ in METRICS],
    }


def _rounded(value: float | None) -> float | int | None:
    if value is None:
        return None
    rounded = float(f"{value:.{_DIGITS}g}")
    return int(rounded) if rounded == int(rounded) else rounded
