"""The claims of the notes, judged by all published studies at once.

    python experiments/ledger.py experiments

Writes ``claims.csv``: the report's own ledger over every published store, with the studies whose runs a row
rests on; and the same as a table between the two marks of ``README.md``, without rows that judged nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from bitnet_sweep.config import RunConfig, flatten, plain
from bitnet_sweep.report import make_report
from bitnet_sweep.report.claims.ledger import claims_table
from bitnet_sweep.report.settings import setting_text
from bitnet_sweep.store import opened

BEGIN, END = "<!-- claims: experiments/ledger.py -->", "<!-- end of claims -->"
"""The table in README.md stands between these lines."""


def ledger(stores: Sequence[Path]) -> pd.DataFrame:
    """A row for each claim and setting; ``studies`` are the folders that hold a run of the row."""
    with ExitStack() as stack:
        folders = {store.parent.name: stack.enter_context(opened(store)) for store in stores}
        runs = {study: {path.name for path in (root / "runs").iterdir()} for study, root in folders.items()}
        table = claims_table(make_report(list(folders.values())).study.sections)
    studies = [" ".join(name for name, own in runs.items() if own & {*row.run_ids}) for row in table.rows]
    frame = table.frame.copy()
    frame.insert(list(frame.columns).index("run_ids"), "studies", studies)
    return frame


def as_markdown(table: pd.DataFrame) -> str:
    """What a reader wants of it: the claim, where, the verdict, what it rests on, and links."""
    config = flatten(plain(RunConfig()))
    defaults = {f"{key}={setting_text(config, key)}" for key in config}
    rows = []
    for row in table.to_dict("records"):
        if not row["n"] and row["verdict"] == "inconclusive":
            continue
        settings = [text for text in row["setting"].split(", ") if text]
        unlike = [text for text in settings if text not in defaults]
        links = [f"[{name[:3]}]({name}/README.md)" for name in row["studies"].split()]
        rows.append(
            {
                "claim": row["claim"],
                "where": ", ".join(unlike) or ("default" if settings else ""),
                "verdict": row["verdict"] + (f", n = {row['n']}" if row["n"] else ""),
                "evidence": row["evidence"],
                "from": " ".join(links),
            }
        )
    return re.sub(" +", " ", tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True))


def insert(readme: str, table: str) -> str:
    """The page with the table between the marks.

    Raises:
        ValueError: the page lacks a mark, or has one twice.
    """
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def stores_of(experiments: Path) -> list[Path]:
    """Every published store, by the number of its study."""
    return sorted(experiments.glob("*/store.tar.gz"))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    claims = ledger(stores_of(folder))
    claims.to_csv(folder / "claims.csv", index=False, lineterminator="\n")
    page = folder / "README.md"
    page.write_text(insert(page.read_text(), as_markdown(claims)))
