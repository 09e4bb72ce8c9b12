"""What a knob of the config is to the rest of the program, said once, where the knob is declared.

``config.KNOBS`` has every knob with its role. Ids, run names, the report's sections and pairs, and what the
config of a W&B run must say follow from it: a knob that is added is added to its dataclass alone.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from functools import cached_property
from typing import Any, TypeVar

T = TypeVar("T")

UNRANKED = 1_000
"""Behind every rank."""


class Role(Flag):
    """Each knob is ``operational``, or science in one or more of the five ways that stand behind it."""

    operational = auto()
    """Names, places or speeds up a run: no id depends on it, and no result but for rounding."""
    in_id = auto()
    """Its value is in the id."""
    in_stages = auto()
    """The stages are made of it, and they are in the id."""
    in_length = auto()
    """A number of steps follows from it, which is in the id."""
    in_corpus = auto()
    """Decides what the token files hold, whose fingerprint is in the id."""
    preset = auto()
    """Names the file of ``conf/`` that sets other knobs, which are in the id."""

    any_task = auto()
    """Means the same whatever is trained. So does what is operational or makes the stages; all other science
    is the transformer's own."""

    any_model = auto()
    """In the group ``model``: means the same whatever model is trained; the others are the built-in one's."""

    data = auto()
    """Decides which tokens a step reads."""
    weights = auto()
    """Shapes the initial weights: arms that differ in it do not begin alike."""
    later = auto()
    """Arms with a common trunk may differ in it: it need not touch the first stage."""
    follows = auto()
    """Follows from other knobs unless it is given, so it is no factor of its own."""
    basic = auto()
    """Every config of a run says it, one that another program wrote, too."""
    axis = auto()
    """The rows of a table differ in it; all other science makes sections."""
    head = auto()
    """Stands in every run's name, at its head."""
    added = auto()
    """Came after runs had been made. At its default everything must be as before: runs that have it keep the
    ids of those without it, and reports read it into configs of before."""
    path = auto()
    """Names files, known by their content wherever they lie: ``~`` is a home folder in it, a run's name has
    its last part, and no id has it as text."""
    fp32_only = auto()
    """``precision=mixed`` does not implement it: there any value but the default is refused."""


def knob(
    default: T,
    role: Role,
    *,
    label: str | None = None,
    rank: int = UNRANKED,
    null: str = "null",
    **limits: float,
) -> T:
    """The default of a config field, with its role.

    Args:
        default: a list or dict is copied for each config.
        role: every flag that holds.
        label: what stands before its value in names, by default ``key=``; "" where the value says enough.
        rank: its place among those that a reader knows a run by; 1 is the best known.
        null: what people call its null.
        limits: of a number, as ``config.check_whole`` and ``config.check_number`` take them.
    """
    said = {"role": role, "label": label, "rank": rank, "null": null, "limits": limits}
    if isinstance(default, list | dict):
        copied: Any = field(default_factory=default.copy, metadata=said)
        return typing.cast(T, copied)
    return field(default=default, metadata=said)


@dataclass(frozen=True)
class Knob:
    """A knob as it is declared."""

    key: str
    """Dotted, as it is typed."""
    kind: Any
    """The annotated type."""
    default: Any
    role: Role
    label: str
    rank: int
    null: str
    limits: dict[str, float]

    @cached_property
    def of(self) -> operator.attrgetter[Any]:
        """Its value in a config."""
        return operator.attrgetter(self.key)

    @property
    def is_text(self) -> bool:
        """Its value is text of any form, or a list of texts: ``01`` is not ``1``."""
        return self.kind in (str, str | None, list[str], Any)

    @property
    def is_of_any_task(self) -> bool:
        """It has a meaning for other tasks than the transformer, too."""
        return bool(self.role & (Role.any_task | Role.operational | Role.in_stages | Role.in_length))

    @property
    def is_of_any_model(self) -> bool:
        """It has a meaning for other models than the built-in one, too."""
        return Role.any_model in self.role or not self.key.startswith("model.")

    def is_as_before(self, config: object) -> bool:
        """It was added, and ``config`` is one that could be of before."""
        return Role.added in self.role and bool(self.of(config) == self.default)


def is_config(kind: object) -> bool:
    """Whether a type is a group of knobs."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def knobs_of(kind: type, prefix: str = "") -> Iterator[Knob]:
    """Every knob of a config dataclass and of its groups, as they are declared.

    Raises:
        TypeError: a field has no role.
    """
    hints = types_of(kind)
    for f in dataclasses.fields(kind):
        key = prefix + f.name
        if is_config(hints[f.name]):
            yield from knobs_of(hints[f.name], f"{key}.")
        elif "role" not in f.metadata:
            raise TypeError(f"{key} has no role: declare it as knob(default, Role...)")
        else:
            default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            said = {"label": f"{f.name}="} | {k: v for k, v in f.metadata.items() if v is not None}
            yield Knob(key, hints[f.name], default, **said)


@functools.cache
def types_of(kind: Any) -> dict[str, Any]:
    """The annotated types in a group of knobs by name; of any other type none."""
    return typing.get_type_hints(kind) if is_config(kind) else {}


def words_for(kind: Any) -> str:
    """What a value of an annotated type is, in a reader's words."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        parts = typing.get_args(kind)
        return " or ".join("null" if part is types.NoneType else words_for(part) for part in parts)
    if typing.get_origin(kind) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(kind)))}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(member.name for member in kind)}"
    if is_config(kind):
        return f"a group with the keys {', '.join(types_of(kind))}"
    return _WORDS.get(kind, "a list" if typing.get_origin(kind) is list else "a value of another type")


_WORDS = {
    dict[str, Any]: "a group of options",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
}
