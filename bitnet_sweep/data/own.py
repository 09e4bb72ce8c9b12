"""Text of a source of a user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from bitnet_sweep.config import ConfigError, DataConfig
from bitnet_sweep.own_code import in_a_line
from bitnet_sweep.parts import find

T = TypeVar("T")


class Source(Protocol):
    """A part of the kind ``data``: a class that is made of its options, or of None without any.

    It may have a method ``fingerprint() -> str``, too: a name of the text by its content, which is in the id.
    Without one, the options and the version say which text it is.
    """

    def documents(self) -> Iterable[str]:
        """Each document of the text; the same ones in the same order whenever it is called.

        Whole documents are held out, so that there should be many. Empty ones are passed over.
        """


def fingerprint(data: DataConfig) -> str:
    """What the source says of its content; empty where it says nothing.

    Raises:
        ConfigError: there is no such source, its options are wrong, or it fails.
    """
    told = getattr(_source(data), "fingerprint", None)
    return "" if told is None else str(_asked(data, told))


def documents(data: DataConfig) -> Callable[[], Iterator[str]]:
    """See ``sources.Documents``.

    Raises:
        ConfigError: as of :func:`fingerprint`; also later, where it gives something else than text.
    """
    source = _source(data)
    return lambda: _checked(data, source)


def _checked(data: DataConfig, source: Source) -> Iterator[str]:
    given: Iterator[object] = iter(_asked(data, source.documents))
    while (document := _asked(data, lambda: next(given, None))) is not None:
        if not isinstance(document, str):
            kind = type(document).__name__
            raise ConfigError("data.source", data.source, f"gives documents of text, not of {kind}")
        try:
            document.encode()
        except UnicodeEncodeError as error:
            raise ConfigError("data.source", data.source, f"must give Unicode text ({error})") from error
        if document:
            yield document


def _source(data: DataConfig) -> Source:
    part = find("data", str(data.source), key="data.source")
    part.check_version(data.version, "data.version")
    options = part.options_of(data.options, "data.options")
    made: Source = _asked(data, lambda: part.load()(options))
    return made


def _asked(data: DataConfig, ask: Callable[[], T]) -> T:
    """What a user's code answers.

    Raises:
        ConfigError: it fails.
    """
    try:
        return ask()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError("data.source", data.source, f"fails: {in_a_line(error)}") from error
