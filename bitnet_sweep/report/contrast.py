"""``stage2_contrast``: old against new second-stage decay, pair by pair.

Old is the larger decay of the two (the notes' 0.05), new the smaller one (their 0.0). Arms that are no
pair (``pairs``) keep their row, without a difference, and the row says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.pairs import Pair, Refusal, pair_of
from bitnet_sweep.report.rows import found, mean_of, readable, setting, size_of
from bitnet_sweep.report.sections import Section
from bitnet_sweep.report.settings import shown
from bitnet_sweep.report.table import (
    HIDDEN,
    NATS,
    ROW,
    SECTION,
    SEED,
    Cell,
    Column,
    N,
    Row,
    Table,
    count_text,
    loss_text,
)
from bitnet_sweep.report.transitions import LOSS, TOKENS, end_value, outcome_cell, outcomes_text

NOT_COMPARED = "not compared"
_ENOUGH_PAIRS = 6
_DIFFERENCE = Column("Difference", loss_text, NATS, interval_prefix="Difference_")
_COLUMNS = (
    *(Column(SECTION), Column(ROW), Column(HIDDEN, shown)),
    *(Column("wd2 (old)", repr, is_exact=True), Column("wd2 (new)", repr, is_exact=True)),
    *(Column(SEED, shown), Column(N, "n={}".format)),
    *(Column("Loss (old)", loss_text, NATS), Column("Loss (new)", loss_text, NATS)),
    *(_DIFFERENCE, _DIFFERENCE.bounds),
    *(Column("Tokens (old)", count_text), Column("Tokens (new)", count_text)),
    *(Column("Outcome (old)"), Column("Outcome (new)"), Column("Pair")),
)
_ALONE = tuple(map(Column, ("pairs", "lower", "higher", "old run", "new run")))
"""What its file has beside what is read."""
_MEANS = ("Loss (old)", "Loss (new)", "Tokens (old)", "Tokens (new)")


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
    def refusal(self) -> str | None:
        """Why the two are not compared, of arms that are both there."""
        are_there = self.old.records and self.new.records
        return self.verdict.reason if are_there and isinstance(self.verdict, Refusal) else None

    @property
    def kind(self) -> Cell:
        """How the pair came about; nothing is said of an arm that is not there."""
        gone = [arm.run.state for arm in (self.old, self.new) if not arm.records]
        if gone:
            return Cell(why=gone[0])
        if isinstance(self.verdict, Refusal):
            return Cell(why=f"refused: {self.verdict.reason}")
        return Cell(self.verdict.kind)


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
    parts = []
    rows: list[Row] = []
    for section in sections:
        contrasts = contrasts_of(section)
        own: list[Row] = []
        for old_wd2, new_wd2 in dict.fromkeys((c.old.wd2, c.new.wd2) for c in contrasts):
            group = [c for c in contrasts if (c.old.wd2, c.new.wd2) == (old_wd2, new_wd2)]
            for hidden in dict.fromkeys(c.old.hidden for c in group):
                own += _cell_rows([c for c in group if c.old.hidden == hidden])
            own += _all_sizes_row(group)
        if own:
            parts.append(readable(section, own, _COLUMNS))
        rows += own
    about = (
        "End of the run under the larger (old) and the smaller (new) second-stage decay. A fork shares "
        "everything up to the boundary; a matched pair was trained apart from equal beginnings."
    )
    in_file = [*(c for c in _COLUMNS if not c.is_interval), *_ALONE]
    return Table("stage2_contrast", "Old against new second-stage decay", about, in_file, rows, parts)


def _cell_rows(contrasts: Sequence[Contrast]) -> list[Row]:
    """The pairs of one hidden size, by seed, and their mean where there are several."""
    several = len(contrasts) > 1
    rows = []
    for contrast in contrasts:
        old, new = contrast.old, contrast.new
        cells = _place([contrast], "run") | {
            SEED: setting(old.seed),
            N: Cell() if several else Cell(1),
            "Loss (old)": found(end_value(old, LOSS)),
            "Loss (new)": found(end_value(new, LOSS)),
            "Difference": _difference(contrast),
            "Tokens (old)": found(end_value(old, TOKENS)),
            "Tokens (new)": found(end_value(new, TOKENS)),
            "Outcome (old)": outcome_cell(old),
            "Outcome (new)": outcome_cell(new),
            "Pair": contrast.kind,
        }
        rows.append(Row(cells, run_ids=(old.run_id, new.run_id), is_averaged=several))
    return [*rows, _mean_row(contrasts, rows)] if several else rows


def _mean_row(contrasts: Sequence[Contrast], rows: Sequence[Row]) -> Row:
    """Means over the pairs that can be compared; outcomes of all pairs, as a diverged run has no end loss."""
    compared = [row for row, c in zip(rows, contrasts, strict=True) if c.difference is not None]
    pairs = [c for c in contrasts if isinstance(c.verdict, Pair)]
    cells = _place(contrasts, "mean") | {
        SEED: Cell(words="mean"),
        "pairs": Cell(len(contrasts)),
        N: Cell(len(compared), words=f"n={len(compared)}/{len(contrasts)} pairs"),
        "Difference": mean_of([row["Difference"] for row in compared or rows], has_interval=True),
        "Outcome (old)": Cell(outcomes_text([c.old for c in pairs])),
        "Outcome (new)": Cell(outcomes_text([c.new for c in pairs])),
    }
    if compared:
        cells |= {name: mean_of([row[name] for row in compared]) for name in _MEANS}
    return Row(cells, "mean", _runs_of(contrasts))


def _all_sizes_row(contrasts: Sequence[Contrast]) -> list[Row]:
    """How many pairs fell and rose over all sizes; absent below 6 pairs, or where there is one size.

    No p-value: sizes of one seed read the same batches, and a bisection chooses its decays by what it finds.
    """
    differences = [difference for c in contrasts if (difference := c.difference) is not None]
    fell, rose = sum(d < 0 for d in differences), sum(d > 0 for d in differences)
    if fell + rose < _ENOUGH_PAIRS or len({c.old.hidden for c in contrasts}) < 2:
        return []
    n = len(differences)
    cells = _place(contrasts, "all") | {
        HIDDEN: Cell(words="all sizes"),
        SEED: Cell(words="all"),
        "pairs": Cell(len(contrasts)),
        "lower": Cell(fell),
        "higher": Cell(rose),
        N: Cell(n, words=f"n={n} pairs"),
        "Difference": Cell(words=f"lower in {fell}, higher in {rose}, equal in {n - fell - rose}"),
    }
    return [Row(cells, "all", _runs_of(contrasts))]


def _place(contrasts: Sequence[Contrast], of: str) -> dict[str, Cell]:
    old, new = contrasts[0].old, contrasts[0].new
    place = {SECTION: Cell(old.section), ROW: Cell(of), HIDDEN: size_of(old)}
    place |= {"wd2 (old)": setting(old.wd2), "wd2 (new)": setting(new.wd2)}
    place["old run"] = Cell(" ".join(contrast.old.run_id for contrast in contrasts))
    return place | {"new run": Cell(" ".join(contrast.new.run_id for contrast in contrasts))}


def _runs_of(contrasts: Sequence[Contrast]) -> tuple[str, ...]:
    return tuple(arm.run_id for contrast in contrasts for arm in (contrast.old, contrast.new))


def _difference(contrast: Contrast) -> Cell:
    if isinstance(contrast.verdict, Refusal):
        return Cell(why=NOT_COMPARED)
    return setting(contrast.difference)
