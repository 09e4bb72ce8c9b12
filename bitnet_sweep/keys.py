"""What every key of the config means, by its docstring in ``config/``; what ``--help`` shows."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bitnet_sweep.config import RunConfig
from bitnet_sweep.exact import word
from bitnet_sweep.roles import is_config, types_of

_WIDTH = 110
_INDENT = " " * 6


def key_docs() -> dict[str, str]:
    """The description of each dotted key and of each group of keys; empty where the source is not there.

    A field without a docstring of its own has that of its type.
    """
    found: dict[str, str] = {}
    for key, owner, kind in _fields(RunConfig):
        own = _field_docs(owner).get(key.rpartition(".")[2], "")
        found[key] = own or (inspect.cleandoc(kind.__doc__ or "") if _has_own_doc(kind) else "")
    return found


def described(root: DictConfig) -> str:
    """Every key with its value in ``root``, the values it can have, and what it means: plain keys first."""
    docs = key_docs()
    plain: list[str] = []
    groups: list[str] = []
    for key, _, kind in _fields(RunConfig):
        if is_config(kind):
            groups += ["", f"{key}.*", *_wrapped(docs[key])]
        else:
            lines = groups if "." in key else plain
            lines += [f"  {key}={_shown(root, key)}{_choices(kind)}", *_wrapped(docs[key])]
    return "\n".join([*plain, *groups])


def completions(conf: Path) -> list[str]:
    """What a shell completes on a command line: ``key=``, and ``key=value`` where the values are few.

    Args:
        conf: the folder of the groups.
    """
    words: list[str] = []
    for key, _, kind in _fields(RunConfig):
        group = sorted(path.stem for path in (conf / key).glob("*.yaml"))
        if isinstance(kind, type) and issubclass(kind, Enum):
            words += [f"{key}={member.name}" for member in kind]
        elif kind is bool:
            words += [f"{key}=true", f"{key}=false"]
        elif not group and not is_config(kind):
            words.append(f"{key}=")
        words += [f"{key}={choice}" for choice in group]
    experiments = sorted(path.stem for path in (conf / "experiment").glob("*.yaml"))
    return [*words, *(f"+experiment={name}" for name in experiments)]


def _shown(root: DictConfig, key: str) -> str:
    value = OmegaConf.select(root, key)
    return value.name if isinstance(value, Enum) else word(value)


def _choices(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"  ({' | '.join(member.name for member in kind)})"
    return ""


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)


def _fields(kind: type, prefix: str = "") -> Iterator[tuple[str, type, Any]]:
    """Dotted key, class and type of every field, a group before its fields."""
    for name, hint in types_of(kind).items():
        yield prefix + name, kind, hint
        if is_config(hint):
            yield from _fields(hint, f"{prefix}{name}.")


def _has_own_doc(kind: Any) -> bool:
    return (
        isinstance(kind, type) and kind.__module__.startswith("bitnet_sweep.config.") and bool(kind.__doc__)
    )


@functools.cache
def _field_docs(owner: type) -> dict[str, str]:
    """By field of a class: the string that stands behind it in the source."""
    try:
        source = inspect.getsource(owner)
    except OSError:  # an installation without sources
        return {}
    [node] = ast.parse(source).body
    assert isinstance(node, ast.ClassDef)
    found: dict[str, str] = {}
    for field, behind in pairwise(node.body):
        match field, behind:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found
