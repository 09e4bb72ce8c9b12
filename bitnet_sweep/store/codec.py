"""How the files of a store are read: the one place that knows their forms, and the version of these.

Whoever goes on with a run must not miss a thing, so for a job what is wrong with a file is raised. A report
tells it and goes on (``problems``). With 10,000 runs a report spends its time here: its parsers are fast
ones, and what those let through is checked.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pydantic_core
import yaml

from bitnet_sweep import files
from bitnet_sweep.config import ConfigError, RunConfig, flatten, from_plain
from bitnet_sweep.paths import in_letters
from bitnet_sweep.records import Record

SCHEMA = 1
"""Version of the store's files; a reader refuses what is newer than itself."""


def check_schema(path: Path, schema: object) -> None:
    """Refuse what a newer version wrote.

    Raises:
        ConfigError: naming ``store``.
    """
    if problem := newer_schema(schema):
        raise ConfigError("store", path, problem)


def newer_schema(schema: object) -> str | None:
    """What to say of a file that a newer version wrote; None of any other."""
    if isinstance(schema, int) and schema <= SCHEMA:
        return None
    return f"was written by a newer version (schema {schema}); this one reads up to {SCHEMA}"


def read_config(path: Path) -> RunConfig:
    """The config in a run's ``config.yaml``.

    Raises:
        OSError: there is none.
        ConfigError: it is none of this program's.
    """
    try:
        document = files.parse_yaml(path.read_bytes())
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError("store", path, "is not YAML") from error
    if isinstance(document, dict):
        document = {key: value for key, value in flatten(document).items() if key not in _FORMER}
    return from_plain(document)


_FORMER = ("sweep.until_stage",)
"""Keys that older versions wrote, and that said nothing of a run."""


def write_config(path: Path, config: dict[str, Any]) -> None:
    """Write a plain config as :func:`read_config` reads it."""
    files.write_text(path, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; an unfinished last line is left out, no file is no lines.

    Raises:
        ValueError: a line before the last one is not a JSON object.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return json_lines(data, path)


def read_last_json_line(path: Path, block: int = 8192) -> dict[str, Any] | None:
    """The last whole object of a JSON-lines file without reading the rest; None where there is none.

    Args:
        path: of lines as ``files.append_line`` writes them.
        block: bytes to begin with; doubled until a whole line lies in them.

    Raises:
        ValueError: the last whole line is not a JSON object.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        size = file.seek(0, os.SEEK_END)
        while True:
            start = max(0, size - block)
            file.seek(start)
            *whole, _ = file.read(size - start).split(b"\n")  # behind the last newline nothing is whole
            lines = [line for line in (whole if start == 0 else whole[1:]) if line.strip()]
            if lines or start == 0:
                break
            block *= 2
    if not lines:
        return None
    row = json.loads(lines[-1])
    if not isinstance(row, dict):
        raise ValueError(f"{path}: its last line is not a JSON object")
    return row


def read_document(path: Path, problems: list[str], *, required: bool) -> dict[str, Any]:
    """The mapping of a JSON or YAML file; empty if there is none, which ``problems`` then tells."""
    try:
        text = path.read_bytes()
        document = _in_letters(json.loads(text)) if path.suffix == ".json" else quick_yaml(text)
    except FileNotFoundError:
        if required:
            problems.append(f"no {path.name}")
        return {}
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        problems.append(f"cannot be read: {path.name} ({first_line})")
        return {}
    if not isinstance(document, dict):
        problems.append(f"cannot be read: {path.name} (not a mapping)")
        return {}
    return document


def _in_letters(value: Any) -> Any:
    """The same with text as files take it: JSON can have halves of surrogate pairs, YAML refuses them."""
    if isinstance(value, str):
        return in_letters(value)
    if isinstance(value, list):
        return [_in_letters(item) for item in value]
    if isinstance(value, dict):
        return {_in_letters(key): _in_letters(item) for key, item in value.items()}
    return value


def quick_yaml(text: bytes) -> Any:
    """The document of a config, block by block where that is safe.

    10,000 configs of a sweep differ in a few settings, so nearly every top-level block (``model:`` and
    what is indented under it) has been parsed before. A block that leans on another one (an anchor, a
    quoted text over several lines) is not valid by itself; then the document is parsed as a whole.
    """
    blocks = _BLOCK.split(text)
    if blocks[0] or not blocks[1:] or _NOT_PLAIN.search(text):
        return files.parse_yaml(text)
    document: dict[str, Any] = {}
    try:
        for block in blocks[1:]:
            document |= _yaml_block(block)
    except (yaml.YAMLError, ValueError, TypeError):
        return files.parse_yaml(text)
    return document


_BLOCK = re.compile(rb"^(?=[A-Za-z_])", re.MULTILINE)
_NOT_PLAIN = re.compile(rb"^(?![A-Za-z_][\w.]*:( |$)|- |  |\n|\Z)", re.MULTILINE)
"""A line that is no ``key:``, no list item, not indented and not empty."""


@lru_cache(maxsize=4096)
def _yaml_block(block: bytes) -> dict[str, Any]:
    """One top-level key and its value; readers share it and change nothing in it.

    Raises:
        YAMLError: not YAML by itself.
        TypeError: no mapping.
    """
    document = files.parse_yaml(block)
    if not isinstance(document, dict):
        raise TypeError
    return document


def read_rows(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; what is wrong with it is added to ``problems``."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"cannot be read: {path.name} ({error.strerror})")
        return []
    if data and not data.endswith(b"\n"):
        problems.append(f"{path.name} ends in a half-written line")
    try:
        return _rows(data, path)
    except (ValueError, RecursionError) as error:
        problems.append(f"cannot be read: {path.name} ({str(error).removeprefix(f'{path}:')})")
        return []


def records_of(rows: list[dict[str, Any]], problems: list[str]) -> list[Record]:
    """Records by step; a value that is no finite number (of usable size) is None, a record's word for that.

    What is wrong with a row is added to ``problems``.
    """
    by_step: dict[int, Record] = {}
    for row in rows:
        step = row.get("step")
        if isinstance(step, bool) or not isinstance(step, int | float) or step != step // 1:
            problems.append(f"a record without a step was left out (step: {step!r})")
            continue
        if int(step) in by_step:
            problems.append(f"step {int(step)} is recorded twice; the later record counts")
        by_step[int(step)] = plain_row(row)
        row["step"] = int(step)
    return [by_step[step] for step in sorted(by_step)]


def log_of(data: bytes) -> list[Record]:
    """The rows of a training log by step; a line that is none is left out, as no result rests on one."""
    rows: list[dict[str, Any]] = []
    for line in data.splitlines():
        try:
            row = _JSON.decode(line.decode())
        except (ValueError, RecursionError):
            continue
        rows += [row] if isinstance(row, dict) else []
    return records_of(rows, [])


def plain_row(row: dict[str, Any]) -> Record:
    """The row itself, with whatever is no usable number made None; few calls tell that 50 values are."""
    values = row.values()
    if set(map(type, values)) <= _PLAIN:
        numbers = list(filter(None, values))
        if min(numbers, default=0) >= -_LARGEST and max(numbers, default=0) <= _LARGEST:
            return row
    for key, value in row.items():
        if type(value) not in _PLAIN or (value is not None and not -_LARGEST <= value <= _LARGEST):
            row[key] = None
    return row


_PLAIN = {int, float, type(None)}
_LARGEST = 1e300
"""Chosen: numbers past it are no measures, and the sum of two may be past what a float holds."""


def json_lines(data: bytes, path: Path, decode: Callable[[str], Any] = json.loads) -> list[dict[str, Any]]:
    """The objects of ``data``, read from ``path``, by the rules of :func:`read_json_lines`.

    Raises:
        ValueError: a line before the last one is not a JSON object.
    """
    lines = data.split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = decode(line.decode())
            if not isinstance(row, dict):
                raise TypeError
        except (ValueError, TypeError) as error:
            if number == len(lines):  # no newline behind it: the write was cut off
                break
            raise ValueError(f"{path}:{number}: not a JSON object") from error
        rows.append(row)
    return rows


def _rows(data: bytes, path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; NaN and Infinity are None.

    10,000 runs hold 700 MB of records, so whole files of whole lines are parsed at once, by a parser three
    times as fast as Python's. What it objects to is read line by line, which also tells what is wrong.

    Raises:
        ValueError: a line before the last one is not a JSON object.
    """
    lines = [line for line in data.split(b"\n") if line.strip()]
    if data.endswith(b"\n") and all(line[:1] == b"{" and line[-1:] == b"}" for line in lines):
        try:
            joined = b"[" + b",".join(lines) + b"]"
            rows = pydantic_core.from_json(joined, allow_inf_nan=False, cache_strings="keys")
        except ValueError:
            pass
        else:
            if len(rows) == len(lines):
                return list(rows)
    return json_lines(data, path, lambda line: _in_letters(_JSON.decode(line)))


_JSON = json.JSONDecoder(parse_constant=lambda _: None)
