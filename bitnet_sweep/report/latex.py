"""``tables/*.tex``: what is read of a table, as LaTeX with the rules of booktabs.

Each part is a ``tabular`` of its own below a comment that says what it is, to be copied or ``\\input``.
"""

from __future__ import annotations

from collections.abc import Sequence

from bitnet_sweep.report.table import Part, Table, shortened


def latex(table: Table) -> str:
    """The parts of a table one below the other, of very many rows those that a report shows."""
    table = shortened(table)
    lines = [f"% {_plain(f'{table.title}. {table.about}')}", "% Needs \\usepackage{booktabs}."]
    for part in table.parts:
        label = part.section.label if part.section is not None else ""
        lines += ["", f"% {_plain('. '.join(filter(None, [label, part.caption])))}".rstrip(), *_tabular(part)]
    return "\n".join([*lines, ""])


def _tabular(part: Part) -> list[str]:
    if not part.rows:
        return []
    places = "".join("r" if column.is_numeric(part.rows) else "l" for column in part.columns)
    rows = [_row(texts) for texts in part.texts]
    head = ["\\toprule", _row(part.headings), "\\midrule"]
    return [f"\\begin{{tabular}}{{{places}}}", *head, *rows, "\\bottomrule", "\\end{tabular}"]


def _row(texts: Sequence[str]) -> str:
    """Begun by an empty group: what follows the end of a row may be taken for its option."""
    return "{}" + " & ".join(map(escaped, texts)) + r" \\"


def escaped(text: str) -> str:
    """Text that LaTeX prints as it stands, on one line; what no font has may be missing there."""
    return "".join(_SPECIAL.get(mark, mark) for mark in _plain(text))


def _plain(text: str) -> str:
    """On one line and without control characters, so that it cannot end a comment."""
    return "".join(mark for mark in " ".join(text.split()) if mark.isprintable())


_SPECIAL = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "→": r"$\to$",
    "≥": r"$\ge$",
}
