"""Named parts: what comes with this package and what a user's package adds, through one door.

A part has a kind, a name, options of its own (a dataclass) and a version that it declares. The name, the
options with their defaults filled in, and the version are in the config of a run and so in its id. A package
is imported only where a name is asked for that is not built in: one of ``plugins=[...]``, or the entry point
of the group ``bitnet_sweep.parts`` that has this name. What is read from a store never imports anything.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from bitnet_sweep.code import fingerprints
from bitnet_sweep.config import ConfigError, guess
from bitnet_sweep.options import kinds_of, options_from
from bitnet_sweep.own_code import entry_points, import_plugin, in_a_line, of_command

Kind = Literal["quantiser", "optimizer", "model", "schedule", "data", "task", "metric"]
KINDS: tuple[Kind, ...] = typing.get_args(Kind)

_BUILT_IN = "bitnet_sweep.built_in"
"""The module that registers what comes with this package."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Part:
    """A part as it was registered."""

    kind: Kind
    name: str
    factory: Callable[..., Any] | str
    """What makes it; or where that is, as ``module:attribute``, which is imported once it is made."""
    options: type | None
    """A dataclass; None where it has none."""
    version: str | None
    """None of a built-in part, whose version is ``identity.SCIENCE_VERSION``."""
    doc: str

    @property
    def is_built_in(self) -> bool:
        """It comes with this package."""
        return self.version is None

    def load(self) -> Callable[..., Any]:
        """The factory itself."""
        if not isinstance(self.factory, str):
            return self.factory
        module, _, attribute = self.factory.partition(":")
        found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        return found

    def options_of(self, given: Mapping[str, Any], key: str) -> Any:
        """Plain options by name as the dataclass that it declares, see :func:`options.options_from`."""
        return options_from(self.options, given, key, f"{self.kind} {self.name}")

    def check_version(self, version: str | None, key: str) -> None:
        """Refuse another version than this one; None asks for none.

        Raises:
            ConfigError: naming both.
        """
        if version is not None and version != self.version:
            here = "is built in and has none" if self.version is None else f"is version {self.version} here"
            raise ConfigError(key, version, f"{self.kind} {self.name} {here}")

    def code(self) -> dict[str, str]:
        """The fingerprint of each file of its source: of its whole package, or of its module alone.

        Nothing of what was typed into an interpreter, and of built-in parts, which ``code.code`` has.
        """
        return {} if self.is_built_in else _code_of(self)


_parts: dict[tuple[str, str], Part] = {}


def register(
    kind: Kind,
    name: str,
    factory: Callable[..., Any] | str,
    *,
    options: type | None = None,
    version: int | str | None,
    doc: str | None = None,
) -> None:
    """Name a part. The same one may be registered again; another one under the same name is refused.

    Args:
        kind: one of ``KINDS``; what a factory of each takes and makes stands in docs/extend.md.
        name: as a command line has it.
        factory: what makes the part; or its place as ``module:attribute``, imported when it is needed.
        options: a dataclass of bool, int, float, str, Enum, Literal, lists of them, or None.
        version: raise it whenever the part computes something else; it is in the id of every run.
        doc: what it does, in a sentence; by default the first paragraph of the factory's docstring.

    Raises:
        TypeError: the kind, the name or the options cannot be those of a part.
        ConfigError: the name is taken.
    """
    if kind not in KINDS or not _NAME.fullmatch(name):
        raise TypeError(f"{kind!r} {name!r}: a part is one of {', '.join(KINDS)}, its name an identifier")
    if version is None and not str(factory).startswith("bitnet_sweep."):
        raise TypeError(f"{kind} {name}: a part declares a version, such as 1")
    if options is not None:
        kinds_of(options)
    said = inspect.getdoc(factory) if doc is None and not isinstance(factory, str) else doc
    told = " ".join((said or "").partition("\n\n")[0].split())
    part = Part(kind, name, factory, options, None if version is None else str(version), told)
    known_already = _parts.setdefault((kind, name), part)
    if _origin(known_already) != _origin(part):
        raise ConfigError(kind, name, f"is registered twice: {_origin(known_already)} and {_origin(part)}")
    _parts[kind, name] = part  # of a module that was loaded anew, the newer one


def part(
    kind: Kind, name: str, *, version: int | str, options: type | None = None, doc: str | None = None
) -> Callable[[T], T]:
    """:func:`register` as a decorator of the factory."""

    def registered(factory: T) -> T:
        register(kind, name, factory, options=options, version=version, doc=doc)
        return factory

    return registered


def find(kind: Kind, name: str, plugins: Sequence[str] = (), key: str | None = None) -> Part:
    """The part of that name.

    Where it is not known yet, the modules of ``plugins`` are imported, then the entry points of that name.

    Args:
        kind: of the part.
        name: as a command line has it.
        plugins: modules that register parts when they are imported.
        key: of the config, for messages; by default the kind.

    Raises:
        ConfigError: there is none, or a package that should have it cannot be imported.
    """
    found = look_for(kind, name, plugins)
    if found is None:
        others = [other for other in names(kind) if other != name]
        told = f"no such {kind}; {guess(name, others)}allowed: {', '.join(others)}"
        more = "; one of your own is found by plugins=[its_package] or its entry point (docs/extend.md)"
        raise ConfigError(key or kind, name, told + more)
    return found


def look_for(kind: Kind, name: str, plugins: Sequence[str] = ()) -> Part | None:
    """As :func:`find`, but None where there is none.

    Raises:
        ConfigError: a package that should have it cannot be imported.
    """
    found = known(kind, name)
    if found is None:
        for module in plugins:
            import_plugin(module)
        found = known(kind, name) or _by_entry_point(kind, name)
    return found


def offered(kind: Kind, name: str) -> Part | None:
    """As :func:`look_for`, with the ``plugins`` of the command line.

    Raises:
        ConfigError: a package that should have it cannot be imported.
    """
    return look_for(kind, name, of_command())


def known(kind: Kind, name: str) -> Part | None:
    """The part, where it is built in or its package was imported already."""
    importlib.import_module(_BUILT_IN)
    return _parts.get((kind, name))


def registered_by(factory: object) -> Part | None:
    """The part that this factory makes; None where it makes none."""
    importlib.import_module(_BUILT_IN)
    origin = f"{getattr(factory, '__module__', '')}:{getattr(factory, '__qualname__', '')}"
    return next((part for part in _parts.values() if _origin(part) == origin), None)


def parts_in(module: str) -> list[tuple[str, Part]]:
    """The parts whose factories a module has, each behind the name of its factory there."""
    origins = [(_origin(part).partition(":"), part) for part in _parts.values()]
    return [(name, part) for (place, _, name), part in origins if place == module]


def names(kind: Kind) -> list[str]:
    """Every name of a kind that is known; of packages not imported yet by their entry points."""
    importlib.import_module(_BUILT_IN)
    found = dict.fromkeys(name for other, name in _parts if other == kind)
    for entry in entry_points():
        prefix, dot, name = entry.name.rpartition(".")
        is_of_another = any(named == name for other, named in _parts if other != kind)
        if prefix == kind or (not dot and not is_of_another):
            found[name] = None
    return list(found)


def _by_entry_point(kind: Kind, name: str) -> Part | None:
    """The part that an entry point of its name, or of ``kind.name``, leads to; None where there is none."""
    for entry in [each for wanted in (f"{kind}.{name}", name) for each in entry_points().select(name=wanted)]:
        try:
            loaded = entry.load()
            if known(kind, name) is None and callable(loaded):
                loaded()
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(kind, name, f"its package ({entry.value}) fails: {in_a_line(error)}") from error
        if (found := known(kind, name)) is not None:
            return found
    return None


@contextmanager
def apart() -> Iterator[None]:
    """Take back at the end what is registered inside, as where a package is only tried."""
    importlib.import_module(_BUILT_IN)
    before = dict(_parts)
    try:
        yield
    finally:
        _parts.clear()
        _parts.update(before)
        look_again()


def look_again() -> None:
    """Read anew what is installed and what sources say, which is otherwise done once in a process."""
    entry_points.cache_clear()
    _code_of.cache_clear()


def _origin(part: Part) -> str:
    factory = part.factory
    if isinstance(factory, str):
        return factory
    return f"{factory.__module__}:{getattr(factory, '__qualname__', type(factory).__name__)}"


@functools.cache
def _code_of(part: Part) -> dict[str, str]:
    module = sys.modules.get(part.load().__module__)
    if module is None or module.__file__ is None:
        return {}
    file, package = Path(module.__file__), sys.modules.get(module.__name__.partition(".")[0])
    roots = [Path(folder) for folder in getattr(package, "__path__", ())]
    root = next((folder for folder in roots if file.is_relative_to(folder)), None)
    found = (
        fingerprints(file.parent, [file]) if root is None else fingerprints(root.parent, root.rglob("*.py"))
    )
    return {f"{part.kind} {part.name}: {path}": of_file for path, of_file in found.items()}


if __name__ == "__main__":
    # it trains, so nothing of this room imports it
    sys.exit(importlib.import_module("bitnet_sweep.conformance").main(sys.argv[1:]))
