"""From observations to a verdict, the one rule for every claim.

==============  =========================================================================
reproduced      as claimed, n >= 3, in as many cells as ``Claim.cells`` asks for
contradicted    against it and nothing as claimed, n >= 3 in one cell
consistent      as claimed, n or cells too few
at odds         against it and nothing as claimed, n < 3 in every cell
inconclusive    observations both ways, too many undecided ones, or none that can be judged
not comparable  a number of the notes, held against another text or length than theirs
not tested      the store holds nothing that the claim speaks of
==============  =========================================================================

**n counts seeds.** Sizes trained with one seed read the same batches, and two arms of one trunk are one
training up to the fork: neither are replicates. So n is the number of seeds that a cell of the claim's grid
(a hidden size, a learning rate, ...) was seen with. For a claim the best covered cells are looked at, as
many as ``Claim.cells`` asks for, and n is that of the one with the fewest seeds. Against it one cell is
enough, and n is that of the cell with the most. A seed that is not on record counts as one. A claim that
follows from the config by arithmetic (``Claim.exact``) has no seeds: there n counts cells, and one counter-
example contradicts it.

**More evidence of one kind never weakens a verdict.** One more observation as claimed, in whatever cell,
leaves a verdict for the claim as strong as it was or makes it stronger; so does one more against it for a
verdict against. Undecided observations count to no n. They take nothing from what stands against a claim,
and one in ten may stand beside what is as claimed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bitnet_sweep.exact import counted
from bitnet_sweep.report.claims.claim import ENOUGH_SEEDS, Claim, Direction, Finding, Unit, Unjudged

Word = Literal[
    "reproduced", "contradicted", "consistent", "at odds", "inconclusive", "not comparable", "not tested"
]
WORDS: tuple[Word, ...] = (
    *("reproduced", "contradicted", "consistent", "at odds"),
    *("inconclusive", "not comparable", "not tested"),
)

_UNDECIDED_SHARE = 0.1
"""So many of all observations may be undecided where the others are as claimed."""

_NAMED = 6
"""A sentence about more cells than this names the first ones."""


@dataclass(frozen=True)
class Verdict:
    """A verdict and the n it rests on; 0 where nothing was judged."""

    word: Word
    n: int


def verdict_of(
    units: Sequence[Unit], *, cells: int = 1, exact: bool = False, enough: int = ENOUGH_SEEDS
) -> Verdict:
    """Judge a claim by all that one setting of the store says to it; the keywords are those of the claim."""
    if not units:
        return Verdict("not tested", 0)
    judged = [unit for unit in units if isinstance(unit.found, Finding)]
    claimed, against = _going(judged, 1), _going(judged, -1)
    undecided = len(judged) - len(claimed) - len(against)
    if exact:
        return _exact_verdict(judged, claimed, against)
    if against and not claimed:
        n = _seeds_by_cell(against)[0]
        return Verdict("contradicted" if n >= enough else "at odds", n)
    if claimed and not against and undecided <= _UNDECIDED_SHARE * len(judged):
        seeds = _seeds_by_cell(claimed)
        n = seeds[min(cells, len(seeds)) - 1]
        return Verdict("reproduced" if n >= enough and len(seeds) >= cells else "consistent", n)
    return Verdict("inconclusive", min(_seeds_by_cell(judged), default=0))


def _exact_verdict(judged: Sequence[Unit], claimed: Sequence[Unit], against: Sequence[Unit]) -> Verdict:
    n = len(_seeds_by_cell(judged))
    if against:
        return Verdict("contradicted", n)
    if not claimed or len(claimed) < len(judged):
        return Verdict("inconclusive", n)
    return Verdict("reproduced" if n >= ENOUGH_SEEDS else "consistent", n)


def sentence_of(claim: Claim, units: Sequence[Unit], not_comparable: str | None = None) -> str:
    """The evidence in one sentence: how many went which way, how far, where, and what was left out.

    With ``not_comparable``, the reason, it says what was measured and judges nothing.
    """
    found = [(unit, unit.found) for unit in units if isinstance(unit.found, Finding)]
    parts = [] if not_comparable is None else [not_comparable]
    if found:
        parts += [_tally(claim, found)] if not_comparable is None else []
        values = [finding.value for _, finding in found if finding.value is not None]
        if values:
            low, high = claim.show(min(values)), claim.show(max(values))
            parts.append(f"{claim.measure} {low if low == high else f'{low} to {high}'}")
        against = Counter(unit.cell for unit, finding in found if finding.direction == -1 and unit.cell)
        cells = Counter(unit.cell for unit, _ in found if unit.cell)
        several = len({finding.direction for _, finding in found}) > 1
        if against and several and not_comparable is None:
            parts.append(f"against it at {_list([f'{c} ({k} of {cells[c]})' for c, k in against.items()])}")
        elif cells:
            parts.append(f"at {_list(list(cells))}")
    left_out = Counter(unit.found.reason for unit in units if isinstance(unit.found, Unjudged))
    for reason, count in left_out.items():
        parts.append(f"{counted(count, claim.each)} not judged ({reason})")
    return "; ".join(parts)


def _going(judged: Sequence[Unit], direction: Direction) -> list[Unit]:
    return [unit for unit in judged if isinstance(unit.found, Finding) and unit.found.direction == direction]


def _seeds_by_cell(judged: Sequence[Unit]) -> list[int]:
    """With how many seeds each cell was seen, that with the most first."""
    seeds: dict[str, set[int | None]] = defaultdict(set)
    for unit in judged:
        for cell in unit.covers or (unit.cell,):
            seeds[cell].update(unit.seeds or (unit.seed,))
    return sorted((len(of_cell) for of_cell in seeds.values()), reverse=True)


def _tally(claim: Claim, found: Sequence[tuple[Unit, Finding]]) -> str:
    ways = Counter(finding.direction for _, finding in found)
    told = [f"{ways[1]} of {counted(len(found), claim.each)} as claimed"]
    told += [f"{ways[-1]} against"] if ways[-1] else []
    told += [f"{ways[0]} undecided"] if ways[0] else []
    return ", ".join(told)


def _list(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
