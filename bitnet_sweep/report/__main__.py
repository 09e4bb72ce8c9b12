"""The command line: ``python -m bitnet_sweep.report STORE... --out DIR [--sweep NAME] [--check]``.

Exit status: 0 the report is made; 1 with ``--check``, a cell is missing, unfinished or failed;
2 a store or sweep is not there, W&B does not answer, or the report cannot be written.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tabulate import tabulate

from bitnet_sweep.config import ConfigError
from bitnet_sweep.paths import expanded
from bitnet_sweep.pipes import until_unread
from bitnet_sweep.report import Report, make_report, write_report
from bitnet_sweep.report.claims.verdict import WORDS
from bitnet_sweep.report.markdown import MOST_NOTES, more_notes
from bitnet_sweep.report.summary import QUESTION
from bitnet_sweep.report.table import SEED, shortened

_ON_SCREEN = ("loss_transition", "token_transition", "stage2_contrast")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        report = make_report(options.store, options.sweep, claims=options.claims)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        write_report(report, options.out)
    except OSError as error:
        print(f"--out={options.out}: cannot be written ({error.strerror})", file=sys.stderr)
        return 2
    print(in_short(report))
    print(f"\nWritten to {options.out}: report.html (open it in a browser), report.md, tables/, figures/")
    if not options.check:
        return 0
    gaps = report.summary.gaps
    for name, why in gaps:
        print(f"--check: {name}: {why}", file=sys.stderr)
    if not report.study.arms:
        print("--check: the store holds no runs", file=sys.stderr)
    return 1 if gaps or not report.study.arms else 0


def in_short(report: Report) -> str:
    """The summary and the transition tables as plain text: of several seeds the mean, as n tells."""
    summary = report.summary
    lines = [", ".join(f"{count} {word}" for word, count in summary.counts)]
    for verdict in summary.verdicts:
        lines += [f"{verdict.section.label or summary.name}", *(f"  {line}" for line in verdict.lines)]
    for name in _ON_SCREEN:
        table = shortened(report.table(name))
        for part in table.parts:
            where = f" [{part.section.label}]" if part.section is not None and part.section.label else ""
            lines += ["", f"{table.title}{where}", *([part.caption] if part.caption else [])]
            means = [row for row in part.rows if not row.is_averaged]
            short = replace(part, columns=[c for c in part.columns if c.key != SEED], rows=means)
            lines.append(tabulate(short.texts, short.headings, tablefmt="simple", disable_numparse=True))
    if report.study.claims is not None:
        claims = Counter(row["verdict"].value for row in report.table("claims").rows)
        told = ", ".join(f"{claims[word]} {word}" for word in WORDS if claims[word])
        lines += ["", f"{report.study.claims.title}: {told}"]
    for notes in ([f"{name}: {why}" for name, why in summary.gaps], summary.remarks):
        lines += ["", *(f"! {note}" for note in notes[:MOST_NOTES]), *more_notes(notes)] if notes else []
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bitnet_sweep.report",
        description=f"{QUESTION} Stage-transition tables, figures and one HTML page from stores of runs.",
    )
    parser.add_argument(
        "store",
        nargs="+",
        type=expanded,
        metavar="STORE",
        help="a store (a folder, or one as .tar.gz), or a W&B project as wandb:ENTITY/PROJECT; several "
        "merge by run_id",
    )
    parser.add_argument("--out", type=expanded, required=True, metavar="DIR", help="where the report goes")
    parser.add_argument("--sweep", metavar="NAME", help="only the runs of this recorded sweep")
    parser.add_argument(
        "--claims",
        metavar="notes|FILE|NAME",
        help="judge claims as well: those of the notes, of a file, or of a package of yours",
    )
    parser.add_argument(
        "--check", action="store_true", help="exit 1 while a cell is missing, unfinished or failed"
    )
    return parser


if __name__ == "__main__":
    sys.exit(until_unread(main))
