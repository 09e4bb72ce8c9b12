"""The pages that follow from the code: every key of a config, and every field of a record."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bitnet_sweep.config import KNOBS, RunConfig, plain
from bitnet_sweep.exact import word
from bitnet_sweep.keys import key_docs
from bitnet_sweep.records import FIELDS
from bitnet_sweep.roles import Role

COMPUTES = Role.in_id | Role.in_stages | Role.in_length | Role.in_corpus


@dataclass(frozen=True)
class Key:
    """A key of the command line."""

    name: str
    kind: str
    default: str
    about: str
    computes: bool
    """Another value makes another run, with an id of its own."""


def all_keys() -> Iterator[Key]:
    """Every key, in the order of its dataclasses."""
    told = key_docs()
    for name, knob in KNOBS.items():
        computes = name == "sweep.reuse" or bool(knob.role & COMPUTES)
        yield Key(name, _kind(knob.kind), _shown(plain(knob.default)), told[name], computes)


def key_tables() -> str:
    """One table for the keys without a group, and one for each group."""
    groups: dict[str, list[Key]] = {}
    for key in all_keys():
        groups.setdefault(key.name.rpartition(".")[0], []).append(key)
    parts = []
    for group, members in groups.items():
        heading = f"## `{group}`" if group else "## A run"
        about = _first_paragraph(type(getattr(RunConfig(), group))) if group else ""
        rows = [
            f"| `{key.name}` | {_cell(key.kind)} | `{key.default}` | {_cell(key.about)} "
            f"| {'yes' if key.computes else 'no'} |"
            for key in members
        ]
        table = ["| key | type | default | meaning | new id |", "|---|---|---|---|---|", *rows]
        parts += [heading, about, "\n".join(table)]
    return "\n\n".join(filter(None, parts))


def record_tables() -> str:
    """A table of every field of a record, for each prefix."""
    groups: dict[str, list[str]] = {}
    for name in FIELDS:
        groups.setdefault(name.partition("/")[0] if "/" in name else "", []).append(name)
    parts = []
    for group, names in groups.items():
        rows = [f"| `{name}` | {_cell(FIELDS[name])} |" for name in names]
        parts += [
            f"## `{group}/`" if group else "## Where in the run",
            "\n".join(["| field | meaning |", "|---|---|", *rows]),
        ]
    return "\n\n".join(parts)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else word(value)


def _kind(hint: Any) -> str:
    """In a reader's words: ``int or null``, or the names of the choices."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{member.name}`" for member in hint)
    named = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null"}
    if hint in named:
        return named[hint]
    if args := typing.get_args(hint):
        if typing.get_origin(hint) is list:
            return "list"
        if typing.get_origin(hint) is dict:
            return "options"
        return " or ".join(_kind(arg) for arg in args)
    return "text or list" if hint is Any else str(hint)


def _first_paragraph(kind: type) -> str:
    return _inline((inspect.getdoc(kind) or "").partition("\n\n")[0])


def _inline(text: str) -> str:
    """Docstrings as Markdown: short code between single backticks, one line, no file linked."""
    return re.sub(r"``([^`]+)``", r"`\1`", " ".join(text.split()))


def _cell(text: str) -> str:
    return (
        _inline(text).replace("|", "\\|").replace("<", "&lt;")
        if "`" not in text
        else _inline(text).replace("|", "\\|")
    )
