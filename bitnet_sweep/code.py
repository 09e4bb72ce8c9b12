"""What the source of this program is, as far as it can change a result: a fingerprint of each file.

Comments, docstrings and layout are not in it, and neither are the files of the engine, the mirrors and the
report. Nothing is imported to find it, so a plan can ask for it at little cost.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

FOLDERS = ("config", "data", "measure", "model", "train", "workload")
FILES = (
    "built_in.py",
    "counts.py",
    "cpu.py",
    "doors.py",
    "identity.py",
    "options.py",
    "parts.py",
    "roles.py",
    "runtime.py",
    "stages.py",
    "task.py",
)
"""What the folders import, and what says which run a config is."""

DIGITS = 12
"""Hex digits of a file's fingerprint."""


@functools.cache
def code() -> dict[str, str]:
    """The fingerprint of each file, by its path in the package; read once, as the program itself was."""
    return code_of(Path(__file__).parent)


def code_of(package: Path) -> dict[str, str]:
    """The same of any copy of the package.

    Raises:
        OSError: a file cannot be read.
    """
    found = [package / name for name in FILES]
    found += [path for folder in FOLDERS for path in (package / folder).rglob("*.py")]
    return fingerprints(package, found)


def fingerprints(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """The fingerprint of each of these files, by its path from ``root``.

    Raises:
        OSError: a file cannot be read.
    """
    return {path.relative_to(root).as_posix(): _fingerprint(path) for path in sorted(paths)}


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The files in which two programs differ, those that only one has included."""
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def _fingerprint(path: Path) -> str:
    source = path.read_bytes()
    try:
        text = "\n".join(_tokens(ast.parse(source)))
    except (SyntaxError, ValueError):  # of a user's package, which may hold what nothing imports
        return hashlib.sha256(source).hexdigest()[:DIGITS]
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


def _tokens(node: ast.AST) -> Iterator[str]:
    """The tree in words. Unlike ``ast.dump`` it is the same under every Python: what is empty is left out."""
    yield f"({type(node).__name__}"
    for name, value in ast.iter_fields(node):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST):
                if not _is_said_only(item):
                    yield name
                    yield from _tokens(item)
            elif item is not None and name not in ("kind", "type_comment"):
                yield f"{name}={type(item).__name__}:{item!r}"
    yield ")"


def _is_said_only(node: ast.AST) -> bool:
    """A docstring, wherever it stands: a text as a statement does nothing. Where names stand says itself."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.expr_context)
