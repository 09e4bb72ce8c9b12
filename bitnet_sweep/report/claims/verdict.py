"""From observations to a verdict, the one rule for every claim.

=============  ==========================================================================
reproduced     every observation as claimed, n >= 3, in as many cells as ``Claim.cells`` asks for
contradicted   every observation against it, n >= 3
consistent     every observation as claimed, n or cells too few
at odds        every observation against it, n < 3
inconclusive   observations both ways, within the margin, or none that can be judged
not tested     the store holds nothing that the claim speaks of
=============  ==========================================================================

**n counts seeds.** Sizes trained with one seed read the same batches, and two arms of one trunk are one
training up to the fork: neither are replicates. So n is the number of seeds that every cell of the claim's
grid (a hidden size, a learning rate, ...) was seen with: that of the cell with the fewest. Where everything
is against the claim one cell is enough, so there n is that of the cell with the most. A seed that is not on
record counts as one. A claim that follows from the config by arithmetic (``Claim.exact``) has no
seeds: there n counts cells, and one counter-example contradicts it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bitnet_sweep.report.claims.claim import Claim, Finding, Unit, Unjudged

Word = Literal["reproduced", "contradicted", "consistent", "at odds", "inconclusive", "not tested"]
WORDS: tuple[Word, ...] = (
    *("reproduced", "contradicted", "consistent", "at odds"),
    *("inconclusive", "not tested"),
)

ENOUGH_SEEDS = 3
"""From here on a verdict is *reproduced* or *contradicted*; below it a store only leans."""

_NAMED = 6
"""Of more cells than this a sentence names the first."""


@dataclass(frozen=True)
class Verdict:
    """A verdict and the n it rests on; 0 where nothing was judged."""

    word: Word
    n: int


def verdict_of(units: Sequence[Unit], *, cells: int = 1, exact: bool = False) -> Verdict:
    """Judge a claim by all that one setting of the store says to it."""
    judged = [unit for unit in units if isinstance(unit.found, Finding)]
    if not units:
        return Verdict("not tested", 0)
    directions = {unit.found.direction for unit in judged if isinstance(unit.found, Finding)}
    seeds = _seeds_by_cell(judged)
    n = len(seeds) if exact else (max if directions == {-1} else min)(seeds, default=0)
    if exact and -1 in directions:
        return Verdict("contradicted", n)
    if directions == {1}:
        return Verdict("reproduced" if n >= ENOUGH_SEEDS and len(seeds) >= cells else "consistent", n)
    if directions == {-1}:
        return Verdict("contradicted" if n >= ENOUGH_SEEDS else "at odds", n)
    return Verdict("inconclusive", n)


def sentence_of(claim: Claim, units: Sequence[Unit]) -> str:
    """The evidence in one sentence: how many went which way, how far, where, and what was left out."""
    found = [(unit, unit.found) for unit in units if isinstance(unit.found, Finding)]
    parts = []
    if found:
        parts.append(_tally(claim, found))
        values = [finding.value for _, finding in found if finding.value is not None]
        if values:
            low, high = claim.show(min(values)), claim.show(max(values))
            parts.append(f"{claim.measure} {low if low == high else f'{low} to {high}'}")
        against = Counter(unit.cell for unit, finding in found if finding.direction == -1 and unit.cell)
        cells = Counter(unit.cell for unit, _ in found if unit.cell)
        if against and len({finding.direction for _, finding in found}) > 1:
            parts.append(f"against it at {_list([f'{c} ({k} of {cells[c]})' for c, k in against.items()])}")
        elif cells:
            parts.append(f"at {_list(list(cells))}")
    left_out = Counter(unit.found.reason for unit in units if isinstance(unit.found, Unjudged))
    for reason, count in left_out.items():
        parts.append(f"{_count(count, claim.each)} not judged ({reason})")
    return "; ".join(parts)


def _seeds_by_cell(judged: Sequence[Unit]) -> list[int]:
    seeds: dict[str, set[int | None]] = defaultdict(set)
    for unit in judged:
        seeds[unit.cell].add(unit.seed)
    return [len(of_cell) for of_cell in seeds.values()]


def _tally(claim: Claim, found: Sequence[tuple[Unit, Finding]]) -> str:
    ways = Counter(finding.direction for _, finding in found)
    told = [f"{ways[1]} of {_count(len(found), claim.each)} as claimed"]
    told += [f"{ways[-1]} against"] if ways[-1] else []
    told += [f"{ways[0]} undecided"] if ways[0] else []
    return ", ".join(told)


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _list(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
