"""Where the documents come from: rows of text files and parquet files become documents.

A file is what its name says, whatever its first bytes look like. A build goes through it several times,
so it is copied first: every pass reads the same.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from bitnet_sweep.config import ConfigError, DataConfig, DataName, HeldOutText
from bitnet_sweep.data import factbook, hub, own
from bitnet_sweep.data.files import content_hash, find_files

Documents = Callable[[], Iterator[str]]
"""Each call goes through all documents again, in the same order; none is empty."""

BLOCK_CHARACTERS = 8192
"""Length of the documents a .txt file is cut into; 8 kB encode fast and split well (measured)."""

WIKITEXT2 = hub.HubFile(
    "Salesforce/wikitext",
    "b08601e04326c79dfdd32d625aee71d232d685c3",
    "wikitext-2-raw-v1/train-00000-of-00001.parquet",
    repo_type="dataset",
)
"""The train split of the notes' own corpus; the held-out documents are taken from it."""

_ROWS_AT_ONCE = 256
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_TITLE = re.compile(r" = (?!=)[^\n]*(?<!=) = \n?")
"""A WikiText heading of level 1; deeper ones repeat the sign: ``= = Gameplay = =``."""


def describe(data: DataConfig) -> dict[str, Any]:
    """What decides the documents, as plain data for a fingerprint: contents, not names or times.

    Raises:
        ConfigError: a file that is missing, empty, unreadable, not text, or of another format.
    """
    if data.name is DataName.world_factbook:
        return {"name": "world_factbook", "sha256": factbook.content_hash()}
    if data.name is DataName.wikitext2:
        return {"name": "wikitext2", "hub_file": dataclasses.asdict(WIKITEXT2)}
    if data.name is DataName.own:
        return {"name": "own", "fingerprint": own.fingerprint(data)}
    files = find_files(data)
    described: dict[str, Any] = {
        "name": "text",
        "files": [[path.suffix.lower(), content_hash(path)] for path in files],
    }
    if any(path.suffix.lower() != ".txt" for path in files):
        described["text_field"] = data.text_field
    return described


def open_documents(data: DataConfig, scratch: Path) -> Documents:
    """The documents of a corpus; ``scratch`` holds copies of its files and must outlive their use.

    world_factbook: a country each. wikitext2: an article each. text: a .jsonl or .parquet row each;
    .txt files are cut into blocks of about 8 kB at a blank line, else at the end of a line; with
    ``data.heldout=end`` a WikiText article there is a document, and only what stands in none is cut so.
    own: what a source of a user's own gives.

    Raises:
        ConfigError: a hub that cannot be reached, a file that is not what its name says.
        OSError: ``scratch`` cannot be written.
    """
    if data.name is DataName.text:
        return _text_documents(data, scratch)
    if data.name is DataName.own:
        return own.documents(data)
    if data.name is DataName.wikitext2:
        try:
            file = hub.fetch(WIKITEXT2)
        except hub.HubError as error:
            raise ConfigError("data", "wikitext2", f"comes from the hub; {error}") from error
        return lambda: articles(_rows(file, file, "text"))
    countries = factbook.documents()
    return lambda: iter(countries)


def articles(rows: Iterable[str]) -> Iterator[str]:
    """WikiText's lines as whole articles: a new one starts at each title behind an empty line."""
    article: list[str] = []
    previous = ""
    for row in rows:
        if _TITLE.fullmatch(row) and not previous.strip() and article:
            yield "".join(article)
            article = []
        if row:
            article.append(row)
        previous = row
    if article:
        yield "".join(article)


def cut_blocks(lines: Iterable[str], size: int = BLOCK_CHARACTERS) -> Iterator[str]:
    """Blocks of at most ``size`` characters that add up to ``lines``.

    A block ends at the last blank line in its second half, else at the end of a line; only a line
    longer than ``size`` is itself cut.
    """
    block: list[str] = []
    length = 0
    for line in lines:
        for piece in (line[i : i + size] for i in range(0, len(line), size)):
            if length + len(piece) > size:
                cut = _cut_after(block, size // 2)
                yield "".join(block[:cut])
                block = block[cut:]
                length = sum(map(len, block))
                if length + len(piece) > size:
                    yield "".join(block)
                    block, length = [], 0
            block.append(piece)
            length += len(piece)
    if block:
        yield "".join(block)


def _cut_after(block: list[str], least: int) -> int:
    """How many lines to keep: up to the last blank line behind ``least`` characters, else all."""
    rest = sum(map(len, block))
    for count in range(len(block), 0, -1):
        if rest < least:
            break
        if not block[count - 1].strip():
            return count
        rest -= len(block[count - 1])
    return len(block)


def _text_documents(data: DataConfig, scratch: Path) -> Documents:
    parts: list[Documents] = []
    for number, path in enumerate(find_files(data)):
        suffix = path.suffix.lower()
        copy = _copied(path, scratch / f"source{number}{suffix}")
        if suffix == ".parquet":
            if _holds_rows(copy, path, data.text_field):
                parts.append(partial(_parquet_documents, copy, path, data.text_field))
        elif suffix == ".jsonl":
            parts.append(partial(_jsonl_documents, copy, path, data.text_field))
        else:
            cut = _articles_else_blocks if data.heldout is HeldOutText.end else cut_blocks
            parts.append(partial(_cut_documents, copy, path, cut))
    return lambda: (document for part in parts for document in part())


def _copied(path: Path, copy: Path) -> Path:
    try:
        shutil.copyfile(path, copy)
    except OSError:
        content_hash(path)  # reads all of the file, and says so where that is what fails
        raise
    return copy


def _cut_documents(copy: Path, path: Path, cut: Callable[[Iterable[str]], Iterator[str]]) -> Iterator[str]:
    return cut(_lines(copy, path))


def _articles_else_blocks(lines: Iterable[str]) -> Iterator[str]:
    for article in articles(lines):
        if _TITLE.match(article):
            yield article
        else:
            yield from cut_blocks(StringIO(article))


def _parquet_documents(copy: Path, path: Path, field: str) -> Iterator[str]:
    return filter(None, _rows(copy, path, field))


def _jsonl_documents(copy: Path, path: Path, field: str) -> Iterator[str]:
    for number, line in enumerate(_lines(copy, path), start=1):
        if line.strip() and (document := _field(line, f"{path}:{number}", field)):
            yield document


def _lines(copy: Path, path: Path) -> Iterator[str]:
    """One by one, each with its newline, without a byte order mark."""
    with copy.open(encoding="utf-8-sig") as file:
        try:
            yield from file
        except UnicodeDecodeError as error:  # it changed since it was looked through
            raise ConfigError("data.path", path, f"must be UTF-8 text ({error})") from error


def _field(line: str, place: str, field: str) -> str | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError("data.path", place, f"is not JSON ({error})") from error
    except RecursionError as error:
        raise ConfigError("data.path", place, "is nested too deep to be read") from error
    except ValueError as error:  # a bound of Python's own
        raise ConfigError("data.path", place, f"has a number of too many digits ({error})") from error
    if not isinstance(row, dict):
        raise ConfigError("data.path", place, "must be a JSON object")
    if field not in row:
        raise ConfigError("data.text_field", field, f"{place} has {_named(row) or 'no field'}")
    document = row[field]
    if document is not None and not isinstance(document, str):
        kind = type(document).__name__
        raise ConfigError("data.text_field", field, f"{place} holds no text there but {kind}")
    if document and _LONE_SURROGATE.search(document):
        raise ConfigError("data.path", place, "must be Unicode text; it escapes half a surrogate pair")
    return document


def _named(fields: Iterable[str]) -> str:
    """On one line, whatever a file calls them."""
    return ", ".join(field if field.isprintable() else ascii(field) for field in fields)


def _holds_rows(copy: Path, path: Path, field: str) -> bool:
    """False for a shard without rows, whose columns may be of any type or missing.

    Raises:
        ConfigError: it is damaged, or has rows without that one column of text.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(copy) as file:
            rows, schema = file.metadata.num_rows, file.schema_arrow
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError("data.path", path, "is not a readable parquet file") from error
    if rows == 0:
        return False
    count = schema.names.count(field)
    if count == 0:
        raise ConfigError("data.text_field", field, f"{path} has {_named(schema.names) or 'no column'}")
    if count > 1:
        raise ConfigError("data.path", path, f"has {count} columns named {field}; allowed: one")
    kind = schema.field(field).type
    values = kind.value_type if pyarrow.types.is_dictionary(kind) else kind  # pandas writes categories so
    is_text = (
        pyarrow.types.is_string(values)
        or pyarrow.types.is_large_string(values)
        or pyarrow.types.is_string_view(values)
        or pyarrow.types.is_null(values)  # every row of the shard is empty
    )
    if not is_text:
        raise ConfigError("data.text_field", field, f"{path} holds no text there but {kind}")
    return True


def _rows(copy: Path, path: Path, field: str) -> Iterator[Any]:
    """The values of a column of text, one by one."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(copy) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[field]):
                yield from batch.column(field).to_pylist()
    except UnicodeDecodeError as error:  # parquet does not look at what it calls strings
        raise ConfigError("data.path", path, f"must be UTF-8 text ({error})") from error
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # pyarrow's own, about content, has none
            raise
        raise ConfigError("data.path", path, f"cannot be read ({' '.join(str(error).split())})") from error
