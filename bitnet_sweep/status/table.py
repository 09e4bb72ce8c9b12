"""The ledger as text, for a terminal of any size or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tabulate import tabulate
from tqdm import tqdm

from bitnet_sweep.status.ledger import Entry
from bitnet_sweep.store.states import BY_URGENCY


def render(entries: Sequence[Entry], max_rows: int | None = None) -> str:
    """A table, and a line that counts the states.

    Args:
        entries: of ``Ledger.entries``.
        max_rows: show the most urgent ones, still in their own order; None shows all.
    """
    shown = list(entries)
    if max_rows is not None and len(entries) > max_rows:
        rank = {state: i for i, state in enumerate(BY_URGENCY)}
        by_urgency = sorted(range(len(entries)), key=lambda i: rank.get(entries[i].state, 0))
        shown = [entries[i] for i in sorted(by_urgency[:max_rows])]
    rows = [_row(entry) for entry in shown]
    for name, cells in (
        ("outcome", [entry.outcome for entry in shown]),
        ("error", [entry.error for entry in shown]),
    ):
        if any(cells):
            rows = [row | {name: cell or ""} for row, cell in zip(rows, cells, strict=True)]
    table = tabulate(rows, headers="keys", disable_numparse=True)
    hidden = len(entries) - len(shown)
    return "\n".join(filter(None, [table, f"... and {hidden:,} more" if hidden else "", _counts(entries)]))


def _row(entry: Entry) -> dict[str, str]:
    return {
        "": "run" if entry.is_run else "trunk",
        "name": entry.name,
        "id": entry.id,
        "state": entry.state,
        "stage": "" if entry.stage is None else f"{entry.stage}/{entry.num_stages or '?'}",
        "step": f"{entry.step:,}/{'?' if entry.steps is None else f'{entry.steps:,}'}",
        "val/loss": "" if entry.loss is None else f"{entry.loss:.2f}",
        "unique tokens": "" if entry.unique_tokens is None else f"{entry.unique_tokens:.0f}",
        "tokens/s": "" if entry.tokens_per_s is None else f"{entry.tokens_per_s:,.0f}",
        "time left": "" if entry.seconds_left is None else tqdm.format_interval(entry.seconds_left),
    }


def _counts(entries: Sequence[Entry]) -> str:
    """``4 runs: 1 running, 3 finished; 2 trunks: 2 finished``."""
    parts = []
    for kind, is_run in (("runs", True), ("trunks", False)):
        states = Counter(entry.state for entry in entries if entry.is_run == is_run)
        known = [state for state in BY_URGENCY if state in states]
        listed = ", ".join(f"{states[state]:,} {state}" for state in [*known, *(states.keys() - set(known))])
        if is_run or states:
            parts.append(f"{states.total():,} {kind}" + (f": {listed}" if listed else ""))
    return "; ".join(parts)
