"""The user's own files (``data=text``): found, read once, refused where they cannot be trained on."""

from __future__ import annotations

import codecs
import glob
import hashlib
from pathlib import Path

from bitnet_sweep.config import ConfigError, DataConfig

FORMATS = (".txt", ".jsonl", ".parquet")
_CHUNK_BYTES = 1 << 20


def find_files(data: DataConfig) -> list[Path]:
    """The files of ``data.path`` in the order asked for, the matches of a glob sorted, each file once.

    Empty ones are left out: a shard may be.

    Raises:
        ConfigError: a file or folder that is not there, a glob without a match, another format, only
            empty files.
    """
    found: dict[Path, Path] = {}
    for asked in data.paths:
        for path in _matches(asked):
            found.setdefault(path.resolve(), path)
    files = [path for path in found.values() if not _is_empty(path)]
    if not files:
        raise ConfigError("data.path", next(iter(found.values())), "is empty; it must hold text")
    return files


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0  # of a pipe, 0 says nothing


def _matches(asked: str) -> list[Path]:
    formats = ", ".join(FORMATS)
    literal = Path(asked)
    if literal.is_dir():
        raise ConfigError("data.path", asked, f"is a folder; name its files, as in {literal / '*.txt'}")
    if literal.exists():
        paths = [literal]
    elif glob.has_magic(asked):
        # Path.glob refuses absolute patterns.
        matches = sorted(glob.glob(str(literal), recursive=True))  # noqa: PTH207 - see above
        paths = [path for path in map(Path, matches) if not path.is_dir()]
        if not paths:
            raise ConfigError("data.path", asked, f"matches no file; allowed: {formats} files")
    else:
        raise ConfigError("data.path", asked, f"there is no such file; allowed: {formats} files")
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise ConfigError("data.path", path, f"must be one of {formats}")
    return paths


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        ConfigError: the file is empty, cannot be read, or is not text (parquet: has not its marks).
    """
    sha256 = hashlib.sha256()
    is_parquet = path.suffix.lower() == ".parquet"
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    first = last = b""
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                sha256.update(chunk)
                if is_parquet:
                    first, last = first or chunk, (last + chunk)[-4:]
                else:
                    _decode(path, decoder, chunk, offset)
                offset += len(chunk)
    except OSError as error:
        raise ConfigError("data.path", path, f"cannot be read ({error.strerror})") from error
    if offset == 0:
        raise ConfigError("data.path", path, "is empty; it must hold text")
    if not is_parquet:
        _decode(path, decoder, b"", offset)
    elif not (first.startswith(b"PAR1") and last == b"PAR1"):
        raise ConfigError("data.path", path, "is not a parquet file")
    return sha256.hexdigest()


def _decode(path: Path, decoder: codecs.IncrementalDecoder, chunk: bytes, offset: int) -> None:
    """Feed the next bytes, those from ``offset`` on; none means the file ends here."""
    held_back = len(decoder.getstate()[0])
    try:
        decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError as error:
        position = offset - held_back + error.start
        raise ConfigError("data.path", path, f"must be UTF-8 text; byte {position} is not") from error
