"""What is seen together: arms of any factor in one panel, as long as a panel can be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.factors import Factor, Level, Placed, cell_text, factors_of, placed_arms
from bitnet_sweep.report.sections import CODE, TEXT, Section
from bitnet_sweep.report.settings import SCIENCE_VERSION, UNKNOWN

MOST_LABELS = 10
"""Different arms of a panel, seeds apart; of more, the factor with most levels parts them."""

_APART = ("scale", "steps", "copy", CODE, TEXT, SCIENCE_VERSION, "data.", "tokenizer.")
"""Settings whose arms are no lines of one picture: other texts, lengths and meanings."""


@dataclass(frozen=True)
class Panel:
    """Arms of one hidden size that are seen together."""

    name: str
    arms: list[Arm]
    labels: list[str]
    """What each arm is called, seeds apart: its level of every factor that varies here."""

    @property
    def boundaries(self) -> list[int]:
        """Where stages change: the decay, or the path of the learning rate."""
        return sorted({step for arm in self.arms for step in arm.boundaries})


def panels_of(sections: Sequence[Section]) -> list[Panel]:
    """The arms of all sections in panels, in their order."""
    placed = placed_arms(sections)
    swept = [factor for factor in factors_of(placed) if not {"wd2", "model.hidden"} & set(factor.keys)]
    apart = [factor for factor in swept if factor.keys[0].startswith(_APART)]
    laid_over = [factor for factor in swept if factor not in apart]
    while (grouped := _grouped(placed, apart)) and laid_over:
        if max(len({_label(each, laid_over) for each in group}) for group in grouped.values()) <= MOST_LABELS:
            break
        widest = max(laid_over, key=lambda factor: len({factor.level(each.values) for each in placed}))
        laid_over.remove(widest)
        apart.append(widest)
    panels = []
    for (_, levels), group in grouped.items():
        named = [*zip(apart, levels, strict=True)]
        told = [f"{factor.name}={factor.text(level)}" for factor, level in named if factor.has(level)]
        name = ", ".join([group[0].arm.size, *told])
        varying = [f for f in laid_over if len({f.level(each.values) for each in group}) > 1]
        panels.append(Panel(name, [each.arm for each in group], [_label(each, varying) for each in group]))
    return panels


def short(decay: float) -> str:
    """As it was typed, or with four digits where a bisection chose it."""
    return repr(decay) if len(repr(decay)) <= 8 else f"{decay:.4g}"


def _grouped(
    placed: Sequence[Placed], apart: Sequence[Factor]
) -> dict[tuple[str, tuple[Level, ...]], list[Placed]]:
    groups: dict[tuple[str, tuple[Level, ...]], list[Placed]] = {}
    for each in placed:
        levels = tuple(factor.level(each.values) for factor in apart)
        groups.setdefault((each.arm.size, levels), []).append(each)
    return groups


def _label(each: Placed, factors: Sequence[Factor]) -> str:
    """Without commas, which the page's chart takes for the end of a label."""
    told = [cell_text([factor], each.values).replace(", ", " ") for factor in factors]
    wd2 = each.arm.wd2
    return " ".join([*filter(None, told), f"wd2={UNKNOWN if wd2 is None else short(wd2)}"])
