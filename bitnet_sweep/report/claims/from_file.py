"""Claims of a user's own: a YAML or TOML file, read as data and checked entry by entry."""

from __future__ import annotations

import difflib
import math
import reprlib
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml

from bitnet_sweep import files
from bitnet_sweep.config import KNOBS, ConfigError, flatten, role_of
from bitnet_sweep.exact import read_number
from bitnet_sweep.report.claims.claim import ENOUGH_SEEDS, Claim
from bitnet_sweep.report.claims.named import (
    FIELD_NAMES,
    FIGURES,
    MEASURES,
    MOMENTS,
    OUTCOMES,
    SHARE,
    RunMeasure,
)
from bitnet_sweep.report.claims.setting import FACTORS
from bitnet_sweep.report.claims.stated import Choices, Difference, Expected, Scalar, Stated
from bitnet_sweep.report.settings import AXES, setting_text
from bitnet_sweep.roles import Role

ENDINGS = (".yaml", ".yml", ".toml")
_NEEDED = ("name", "says", "source", "measure", "is", "value", "margin")
_KEYS = (*_NEEDED, "at", "outcome", "difference", "runs", "setting", "n", "cells")
_SIGNS = ("<", ">", "within")


def read_claims(path: Path, known: Collection[str] = ()) -> list[Claim]:
    """The claims of a file.

    Args:
        path: of a YAML or TOML file.
        known: settings that runs have, by dotted key, besides those of this program.

    Raises:
        ConfigError: it is none; the line names the file, the entry, the key and what is allowed.
    """
    settings = {key for key in (*KNOBS, *known) if not role_of(key) & Role.operational} - {"stages"}
    document = _document(path)
    entries = document.get("claims") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries or len(document) > 1:
        raise ConfigError(
            f"--claims={path}: claims",
            _shown(entries),
            "must be a list of claims, and no other key stands beside it",
        )
    stated = [_Entry(path, number, entry, settings).stated() for number, entry in enumerate(entries, start=1)]
    names = [claim.name for claim in stated]
    for number, name in enumerate(names, start=1):
        if name in names[: number - 1]:
            raise ConfigError(f"--claims={path}: claim {number}, name", name, "another claim has this name")
    return [claim.claim() for claim in stated]


def _document(path: Path) -> Any:
    try:
        text = path.read_bytes()
        if path.suffix == ".toml":
            return tomllib.loads(text.decode())
        _refuse_twice(yaml.compose(text, Loader=yaml.SafeLoader))
        return files.parse_yaml(text)
    except OSError as error:
        raise ConfigError("--claims", path, f"cannot be read ({error.strerror})") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        kind = "TOML" if path.suffix == ".toml" else "YAML"
        raise ConfigError("--claims", path, f"is no {kind} ({why})") from error


def _refuse_twice(node: yaml.Node | None) -> None:
    """Refuse a key that stands twice: YAML would take the last one in silence."""
    seen: set[int] = set()  # an alias is the very node that it stands for
    nodes = [node]
    while nodes:
        node = nodes.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(
                    f"the key {twice} stands twice in a mapping, line {node.start_mark.line + 1}"
                )
            nodes += [value for _, value in node.value]
        else:
            nodes += node.value


class _Entry:
    """One claim of a file, as it is read."""

    def __init__(self, path: Path, number: int, entry: object, settings: Collection[str]) -> None:
        self._settings = settings
        self._place = f"--claims={path}: claim {number}"
        if not isinstance(entry, dict):
            raise ConfigError(
                self._place, _shown(entry), f"must be a mapping with the keys {', '.join(_KEYS)}"
            )
        self._entry: Mapping[str, Any] = entry
        for key in entry:
            if key not in _KEYS:
                self._refuse(str(key), entry[key], f"no such key; {_allowed(key, _KEYS)}")
        for key in _NEEDED:
            if key not in entry:
                self._refuse(key, "?", "is missing")

    def stated(self) -> Stated:
        measure, difference = self._measure(), self._difference()
        if difference is not None and isinstance(measure, tuple):
            self._refuse(
                "difference", self._entry["difference"], f"there is none of an {SHARE}; leave one of them out"
            )
        varied = [difference.factor] if difference else []
        return Stated(
            name=self._text("name"),
            says=self._text("says"),
            source=self._text("source"),
            runs=self._choices("runs", without=varied),
            setting=self._choices("setting", without=(*AXES, *FACTORS, *varied)),
            measure=measure,
            difference=difference,
            expected=Expected(
                self._one_of("is", _SIGNS), self._number("value"), self._number("margin", minimum=0)
            ),
            n=self._whole("n", ENOUGH_SEEDS),
            cells=self._whole("cells", 1),
        )

    def _measure(self) -> RunMeasure | tuple[str, ...]:
        name = self._one_of("measure", MEASURES)
        if name not in FIELD_NAMES and "at" in self._entry:
            self._refuse("at", self._entry["at"], f"is no part of {name}; leave it out")
        if name != SHARE and "outcome" in self._entry:
            self._refuse("outcome", self._entry["outcome"], f"needs measure: {SHARE}")
        if name == SHARE:
            if "outcome" not in self._entry:
                self._refuse("outcome", "?", f"is missing; {_allowed('', OUTCOMES)}")
            named = _listed(self._entry["outcome"])
            for outcome in named:
                if outcome not in OUTCOMES:
                    self._refuse("outcome", outcome, _allowed(outcome, OUTCOMES))
            return tuple(named) or self._refuse("outcome", [], _allowed("", OUTCOMES))
        at = self._one_of("at", MOMENTS) if "at" in self._entry else "end"
        return RunMeasure(name, None if name in FIGURES else at)

    def _difference(self) -> Difference | None:
        if "difference" not in self._entry:
            return None
        told = self._entry["difference"]
        if not isinstance(told, dict) or set(told) != {"factor", "from", "to"}:
            self._refuse("difference", told, "must be a mapping with the keys factor, from and to")
        factor, start, to = told["factor"], told["from"], told["to"]
        if not isinstance(factor, str) or factor not in self._settings or factor == "seed":
            self._refuse(
                "difference.factor", factor, _allowed(factor, self._settings, "a setting but the seed")
            )
        for end, value in (("from", start), ("to", to)):
            if not _is_scalar(value):
                self._refuse(f"difference.{end}", value, "must be one value")
        if setting_text({factor: start}, factor) == setting_text({factor: to}, factor):
            self._refuse("difference.to", to, "must be another value than difference.from")
        return Difference(factor, start, to)

    def _choices(self, key: str, without: Collection[str]) -> Choices:
        told = self._entry.get(key, {})
        if not isinstance(told, dict):
            self._refuse(key, told, "must be a mapping of settings to values")
        choices: dict[str, list[Scalar]] = {}
        for setting, value in flatten(told).items():
            if setting not in self._settings:
                self._refuse(
                    f"{key}.{setting}", value, f"no such setting; {_allowed(setting, self._settings)}"
                )
            if setting in without:
                of_the_difference = "is what the difference varies; leave it out"
                why = (
                    "may differ from run to run; it belongs under runs"
                    if key == "setting"
                    else of_the_difference
                )
                self._refuse(f"{key}.{setting}", value, why)
            values = _listed(value)
            if not values or not all(map(_is_scalar, values)):
                self._refuse(f"{key}.{setting}", value, "must be one value, or a list of values")
            choices[setting] = values
        return choices

    def _text(self, key: str) -> str:
        value = self._entry[key]
        text = " ".join(value.split()) if isinstance(value, str) else ""
        if not text or not text.isprintable():
            self._refuse(key, value, "must be text; a number or a date stands in quotes")
        return text

    def _one_of(self, key: str, allowed: Collection[str]) -> str:
        value = self._entry[key]
        if not isinstance(value, str) or value not in allowed:
            self._refuse(key, value, _allowed(value, allowed))
        return value

    def _number(self, key: str, minimum: float = -math.inf) -> float:
        value = read_number(self._entry[key])
        if value is None or value < minimum:
            more = "" if minimum == -math.inf else f", {minimum:g} or more"
            self._refuse(key, self._entry[key], f"must be a number{more}")
        return value

    def _whole(self, key: str, minimum: int) -> int:
        value = self._entry.get(key, minimum)
        if type(value) is not int or value < minimum:
            self._refuse(key, value, f"must be a whole number, {minimum} or more")
        return value

    def _refuse(self, key: str, value: object, allowed: str) -> NoReturn:
        raise ConfigError(f"{self._place}, {_plain(key)}", _shown(value), allowed)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _allowed(value: object, names: Collection[str], what: str = "") -> str:
    """What is allowed; of very many names those nearest to what was given."""
    told = sorted(names) if isinstance(names, set) else list(names)
    close = difflib.get_close_matches(str(value), told, n=3) if len(told) > _MOST_TOLD else []
    return f"allowed: {f'{what}, ' if what else ''}{', '.join(close or told)}{', ...' if close else ''}"


_MOST_TOLD = 20


def _shown(value: object) -> str:
    """A value of the file for the one line of an error, cut where it is long."""
    return _plain(value if isinstance(value, str) else _SHORT.repr(value))


def _plain(text: str) -> str:
    return _SHORT.repr(text) if len(text) > _SHORT.maxstring or not text.isprintable() else text


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlevel = 3
