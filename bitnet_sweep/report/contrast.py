"""``stage2_contrast``: old against new second-stage decay, pair by pair.

Old is the larger decay of the two (the notes' 0.05), new the smaller one (their 0.0). Arms that are no
pair (``pairs``) keep their row, without a difference, and the row says why.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from bitnet_sweep.report.arms import Arm, Section
from bitnet_sweep.report.pairs import Pair, Refusal, pair_of
from bitnet_sweep.report.settings import UNKNOWN, shown
from bitnet_sweep.report.table import (
    HIDDEN,
    SECTION,
    SEED,
    Cell,
    N,
    Part,
    Row,
    Table,
    constants,
    count_text,
    counts_text,
    frame_of,
    interval_text,
    loss_text,
    mean_text,
    readable,
    runs_of,
    together,
)
from bitnet_sweep.report.transitions import LOSS, TOKENS, end_value, outcomes_text

NOT_COMPARED = "not compared"
_INTERVAL = "Difference, 95%"
_ENOUGH_PAIRS = 6
_COLUMNS = [
    *(SECTION, HIDDEN, "wd2 (old)", "wd2 (new)", SEED, N),
    *("Loss (old)", "Loss (new)", "Difference", _INTERVAL, "Tokens (old)", "Tokens (new)"),
    *("Outcome (old)", "Outcome (new)", "Pair", "old run", "new run"),
]


@dataclass(frozen=True)
class Contrast:
    """Two arms of one section, hidden size and seed that differ in ``wd2``."""

    old: Arm
    new: Arm
    verdict: Pair | Refusal

    @property
    def difference(self) -> float | None:
        """End loss of new minus old, of a pair; None where it is not one or a loss is not on record."""
        old, new = end_value(self.old, LOSS), end_value(self.new, LOSS)
        if isinstance(self.verdict, Refusal) or isinstance(old, str) or isinstance(new, str):
            return None
        return new - old

    @property
    def kind(self) -> str:
        """How the pair came about; nothing is said of an arm that is not there."""
        gone = [arm.run.state for arm in (self.old, self.new) if not arm.records]
        if gone:
            return gone[0]
        return self.verdict.kind if isinstance(self.verdict, Pair) else f"refused: {self.verdict.reason}"


def contrasts_of(section: Section) -> list[Contrast]:
    """Every two arms of the section with equal hidden and seed and different ``wd2``."""
    found = []
    for a, b in combinations(section.arms, 2):
        same_place = a.hidden == b.hidden and a.seed == b.seed
        if same_place and a.wd2 is not None and b.wd2 is not None and a.wd2 != b.wd2:
            old, new = (a, b) if a.wd2 > b.wd2 else (b, a)
            found.append(Contrast(old, new, pair_of(old, new)))
    return found


def stage2_contrast(sections: Sequence[Section]) -> Table:
    """Old against new, pairs by hidden size and seed; under them means, and a count over all sizes."""
    parts, frames = [], []
    for section in sections:
        contrasts = contrasts_of(section)
        rows: list[Row] = []
        for old_wd2, new_wd2 in dict.fromkeys((c.old.wd2, c.new.wd2) for c in contrasts):
            group = [c for c in contrasts if (c.old.wd2, c.new.wd2) == (old_wd2, new_wd2)]
            for hidden in dict.fromkeys(c.old.hidden for c in group):
                rows += _cell_rows([c for c in group if c.old.hidden == hidden])
            rows += _all_sizes_row(group)
        if not rows:
            continue
        frame = frame_of(rows, _COLUMNS)
        if not frame[_INTERVAL].any():
            frame = frame.drop(columns=_INTERVAL)
        frames.append(frame)
        parts.append(
            Part(section, constants(frame), readable(frame, without=["old run", "new run"]), runs_of(frame))
        )
    about = (
        "End of the run under the larger (old) and the smaller (new) second-stage decay. A fork shares "
        "everything up to the boundary; a matched pair was trained apart from equal beginnings."
    )
    csv = together(frames, [] if frames else _COLUMNS)
    return Table("stage2_contrast", "Old against new second-stage decay", about, csv, parts)


def _cell_rows(contrasts: Sequence[Contrast]) -> list[Row]:
    """The pairs of one hidden size, by seed, and their mean where there are several."""
    rows = []
    for contrast in contrasts:
        old, new = contrast.old, contrast.new
        row = _place(contrast, shown(old.seed), "n=1" if len(contrasts) == 1 else "")
        row |= {
            "Loss (old)": _text(end_value(old, LOSS), is_loss=True),
            "Loss (new)": _text(end_value(new, LOSS), is_loss=True),
            "Difference": _difference(contrast),
            "Tokens (old)": _text(end_value(old, TOKENS), is_loss=False),
            "Tokens (new)": _text(end_value(new, TOKENS), is_loss=False),
            "Outcome (old)": old.result,
            "Outcome (new)": new.result,
            "Pair": contrast.kind,
        }
        rows.append(row | {"old run": old.run_id, "new run": new.run_id})
    if len(contrasts) > 1:
        rows.append(_mean_row(contrasts))
    return rows


def _mean_row(contrasts: Sequence[Contrast]) -> Row:
    """Means over the pairs that can be compared; outcomes of all pairs, as a diverged run has no end loss."""
    compared = [c for c in contrasts if c.difference is not None]
    pairs = [c for c in contrasts if isinstance(c.verdict, Pair)]
    row = _place(contrasts[0], "mean", f"n={len(compared)}/{len(contrasts)} pairs") | {
        "Outcome (old)": outcomes_text([c.old for c in pairs]),
        "Outcome (new)": outcomes_text([c.new for c in pairs]),
    }
    if not compared:
        return row | {"Difference": counts_text([_difference(c) for c in contrasts])}
    differences = [difference for c in compared if (difference := c.difference) is not None]
    old, new = [c.old for c in compared], [c.new for c in compared]
    return row | {
        "Loss (old)": mean_text([end_value(arm, LOSS) for arm in old], loss_text),
        "Loss (new)": mean_text([end_value(arm, LOSS) for arm in new], loss_text),
        "Difference": loss_text(statistics.fmean(differences)),
        _INTERVAL: interval_text(differences, loss_text),
        "Tokens (old)": mean_text([end_value(arm, TOKENS) for arm in old], count_text),
        "Tokens (new)": mean_text([end_value(arm, TOKENS) for arm in new], count_text),
    }


def _all_sizes_row(contrasts: Sequence[Contrast]) -> list[Row]:
    """How many pairs fell and rose over all sizes; absent below 6 pairs, or where there is one size.

    No p-value: sizes of one seed read the same batches, and a bisection chooses its decays by what it finds.
    """
    differences = [difference for c in contrasts if (difference := c.difference) is not None]
    fell, rose = sum(d < 0 for d in differences), sum(d > 0 for d in differences)
    if fell + rose < _ENOUGH_PAIRS or len({c.old.hidden for c in contrasts}) < 2:
        return []
    row = _place(contrasts[0], "all", f"n={len(differences)} pairs") | {HIDDEN: "all sizes"}
    told = f"lower in {fell}, higher in {rose}, equal in {len(differences) - fell - rose}"
    return [row | {"Difference": told}]


def _place(contrast: Contrast, seed: str, n: str) -> Row:
    old, new = contrast.old, contrast.new
    place = {SECTION: old.section, HIDDEN: shown(old.hidden)}
    return place | {"wd2 (old)": repr(old.wd2), "wd2 (new)": repr(new.wd2), SEED: seed, N: n}


def _difference(contrast: Contrast) -> str:
    if isinstance(contrast.verdict, Refusal):
        return NOT_COMPARED
    return UNKNOWN if contrast.difference is None else loss_text(contrast.difference)


def _text(cell: Cell, *, is_loss: bool) -> str:
    if isinstance(cell, str):
        return cell
    return loss_text(cell) if is_loss else count_text(cell)
