"""Where the documents come from. Hugging Face ``datasets`` reads every file; here rows become documents.

Its Arrow cache is keyed by path and modification time, so it is given a folder of its own that lives
as long as one build: what is read is always what the files hold now.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bitnet_sweep.config import ConfigError, DataConfig, DataName, HeldOutText
from bitnet_sweep.data import factbook, hub
from bitnet_sweep.data.files import content_hash, find_files

if TYPE_CHECKING:
    from datasets import Dataset

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
    files = find_files(data)
    described: dict[str, Any] = {
        "name": "text",
        "files": [[path.suffix.lower(), content_hash(path)] for path in files],
    }
    if any(path.suffix.lower() != ".txt" for path in files):
        described["text_field"] = data.text_field
    return described


def open_documents(data: DataConfig, scratch: Path) -> Documents:
    """The documents of a corpus; ``scratch`` holds what is memory-mapped and must outlive their use.

    world_factbook: a country each. wikitext2: an article each. text: a .jsonl or .parquet row each;
    .txt files are cut into blocks of about 8 kB at a blank line, else at the end of a line; with
    ``data.heldout=end`` a WikiText article there is a document, and only what stands in none is cut so.

    Raises:
        ConfigError: a hub that cannot be reached, a file that is not what its name says.
        OSError: ``scratch`` cannot be written.
    """
    if data.name is DataName.text:
        return _text_documents(data, scratch)
    if data.name is DataName.wikitext2:
        try:
            file = hub.fetch(WIKITEXT2)
        except hub.HubError as error:
            raise ConfigError("data", "wikitext2", f"comes from the hub; {error}") from error
        rows = _read_parquet(file, "text", scratch)
        return lambda: articles(_column(rows, "text"))

    from datasets import Dataset

    countries = Dataset.from_dict({"text": factbook.documents()})
    return lambda: _column(countries, "text")


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
    for path in find_files(data):
        suffix = path.suffix.lower()
        if suffix == ".parquet":
            _check_parquet(path, data.text_field)
            rows = _read_parquet(path, data.text_field, scratch)
            parts.append(partial(_parquet_documents, rows, path, data.text_field))
        elif suffix == ".jsonl":
            parts.append(partial(_jsonl_documents, _read_lines(path, scratch), path, data.text_field))
        else:
            cut = _articles_else_blocks if data.heldout is HeldOutText.end else cut_blocks
            parts.append(partial(_cut_documents, _read_lines(path, scratch), cut))
    return lambda: (document for part in parts for document in part())


def _cut_documents(lines: Dataset, cut: Callable[[Iterable[str]], Iterator[str]]) -> Iterator[str]:
    return cut(_column(lines, "text"))


def _articles_else_blocks(lines: Iterable[str]) -> Iterator[str]:
    for article in articles(lines):
        if _TITLE.match(article):
            yield article
        else:
            yield from cut_blocks(StringIO(article))


def _parquet_documents(rows: Dataset, path: Path, field: str) -> Iterator[str]:
    try:
        yield from filter(None, _column(rows, field))
    except UnicodeDecodeError as error:  # parquet does not look at what it calls strings
        raise ConfigError("data.path", path, f"must be UTF-8 text ({error})") from error


def _jsonl_documents(lines: Dataset, path: Path, field: str) -> Iterator[str]:
    for number, line in enumerate(_column(lines, "text"), start=1):
        if line.strip() and (document := _field(line, f"{path}:{number}", field)):
            yield document


def _field(line: str, place: str, field: str) -> str | None:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ConfigError("data.path", place, f"is not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ConfigError("data.path", place, "must be a JSON object")
    if field not in row:
        raise ConfigError("data.text_field", field, f"{place} has {', '.join(row) or 'no field'}")
    document = row[field]
    if document is not None and not isinstance(document, str):
        kind = type(document).__name__
        raise ConfigError("data.text_field", field, f"{place} holds no text there but {kind}")
    if document and _LONE_SURROGATE.search(document):
        raise ConfigError("data.path", place, "must be Unicode text; it escapes half a surrogate pair")
    return document


def _check_parquet(path: Path, field: str) -> None:
    import pyarrow
    from pyarrow import parquet

    try:
        schema = parquet.read_schema(path)
    except OSError as error:
        raise ConfigError("data.path", path, f"cannot be read ({error.strerror or error})") from error
    except pyarrow.ArrowException as error:
        raise ConfigError("data.path", path, "is not a readable parquet file") from error
    if field not in schema.names:
        raise ConfigError("data.text_field", field, f"{path} has {', '.join(schema.names)}")
    kind = schema.field(field).type
    if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
        raise ConfigError("data.text_field", field, f"{path} holds no text there but {kind}")


def _read_lines(path: Path, scratch: Path) -> Dataset:
    """One row a line, its newline kept. Lines, not values, even for .jsonl: the JSON reader of
    ``datasets`` guesses types, and a text that looks like a date comes back as another text."""
    from datasets import Dataset

    with _shown_to_datasets(path) as name:
        return Dataset.from_text(
            name, cache_dir=str(scratch), sample_by="line", keep_linebreaks=True, encoding="utf-8-sig"
        )


def _read_parquet(path: Path, field: str, scratch: Path) -> Dataset:
    from datasets import Dataset

    with _shown_to_datasets(path) as name:
        return Dataset.from_parquet(name, cache_dir=str(scratch), columns=[field])


@contextmanager
def _shown_to_datasets(path: Path) -> Iterator[str]:
    """The file under a plain name: ``datasets`` takes ``*``, ``[`` and ``::`` for patterns.

    Without progress bars. A failure to write stays an OSError, any other one is the file's.

    Raises:
        ConfigError: ``data.path`` for a file that cannot be read.
    """
    import datasets

    bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with TemporaryDirectory() as folder:
            link = Path(folder, "source")
            link.symlink_to(path.resolve())
            yield str(link)
    except (datasets.exceptions.DatasetGenerationError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno is not None:  # pyarrow's own, about content, has none
            content_hash(path)  # reads all of the file, and says so where that is what fails
            raise cause from None
        raise ConfigError("data.path", path, f"cannot be read ({cause})") from error
    finally:
        if bars:
            datasets.enable_progress_bars()


def _column(dataset: Dataset, name: str) -> Iterator[Any]:
    for batch in dataset.iter(batch_size=_ROWS_AT_ONCE):
        yield from batch[name]
