"""What a plan takes over from other source code than the one that runs now, and how that is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bitnet_sweep.code import code, differing
from bitnet_sweep.config import RunConfig
from bitnet_sweep.doors import code_of_parts
from bitnet_sweep.exact import counted
from bitnet_sweep.store import Status

_NAMED = 6
"""So many commits and files are named."""


@dataclass(frozen=True)
class OtherCode:
    """A run or trunk of other code."""

    is_run: bool
    commit: str
    files: tuple[str, ...] | None
    """Those that differ; None where its status does not tell its code."""


def other_code(status: Status | None, config: RunConfig, is_run: bool) -> OtherCode | None:
    """What trained the folder of this status, where that was not the source code that runs now."""
    here = code() | code_of_parts(config)
    if status is None or status.code == here:
        return None
    commit = status.provenance.get("commit")
    files = None
    if status.code:  # a user's own first, as he is the one who changed them
        files = tuple(sorted(differing(status.code, here), key=lambda name: ": " not in name))
    return OtherCode(is_run, f"{commit[:12]}{'+' * commit.endswith('+')}" if commit else "not known", files)


def reuse_lines(found: Sequence[OtherCode]) -> list[str]:
    """One line; nothing where all of it is of this very code."""
    told = []
    for name, some in (
        ("of other code", [other for other in found if other.files is not None]),
        ("that do not say which code trained them", [other for other in found if other.files is None]),
    ):
        if some:
            files = _most(file for other in some for file in other.files or ())
            differ = f"; differing: {files}" if files else ""
            commits = _most(other.commit for other in some)
            told.append(f"{_counted(some)} {name} (commit {commits}{differ})")
    return [f"reused: {' and '.join(told)}; sweep.reuse=same_code trains them anew"] if told else []


def _counted(found: Sequence[OtherCode]) -> str:
    runs = sum(other.is_run for other in found)
    counts = (("run", runs), ("trunk", len(found) - runs))
    return ", ".join(counted(count, word) for word, count in counts if count)


def _most(names: Iterable[str]) -> str:
    counts = Counter(names).most_common()
    more = f" and {len(counts) - _NAMED} more" if len(counts) > _NAMED else ""
    return ", ".join(name for name, _ in counts[:_NAMED]) + more
