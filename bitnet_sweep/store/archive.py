"""A store in one file: a ``.tar.gz`` that is read as a folder is, and never written to.

An archive may come from anywhere, so it is unpacked with care: regular files alone, under names that stay
in their folder, and no more of them and no more bytes than a bound.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from bitnet_sweep import files
from bitnet_sweep.config import ConfigError
from bitnet_sweep.store.store import check_is_store, holds_a_part, is_archive

MAX_FILES = 1_000_000
MAX_BYTES = 16 * 2**30
"""Limits of an unpacked archive, both chosen: the records of 10,000 runs are 700 MB in 40,000 files."""

_MAX_READ = 2**20
"""Tarfile copies in pieces far smaller; only a forged header asks for more at once."""

_FAULTS = (tarfile.TarError, zlib.error, OSError, EOFError, ValueError, OverflowError, RecursionError)
"""What reading a forged, damaged or foreign file raises, and a full disk."""


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """A folder with the store's files, to be read as long as the context lives.

    Args:
        path: a store's folder, which is given back as it is, or its archive, which is unpacked to a
            temporary folder.

    Raises:
        ConfigError: there is no store at ``path``, or its archive cannot be read or is not safe to.
    """
    if not is_archive(path):
        check_is_store(path)
    with unpacked(path) as folder:
        yield folder


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """As :func:`opened`, for those who find out by themselves what a folder holds.

    Raises:
        ConfigError: the archive cannot be read, is not safe to, or holds no store.
    """
    if not is_archive(path):
        yield path
        return
    with TemporaryDirectory(prefix="bitnet_sweep-") as temporary:
        folder = Path(temporary)
        try:
            _extract(path, folder)
        except FileNotFoundError as error:
            raise ConfigError("STORE", path, "there is no such archive") from error
        except ConfigError:
            raise
        except _FAULTS as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError("STORE", path, f"cannot be read as an archive ({why})") from error
        yield _root(path, folder)


def pack(folder: Path, archive: Path) -> None:
    """Write a folder's files into an archive, whole or not at all: equal files give equal bytes.

    Names are sorted and begin with the folder's own; times, owners and modes are left out.

    Raises:
        OSError: ``archive`` cannot be written.
    """
    found = {path.relative_to(folder.parent).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    with (
        files.replacing(archive) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in sorted(found):
            member = tarfile.TarInfo(name)  # its time and owner are 0
            member.size = found[name].stat().st_size
            with found[name].open("rb") as content:
                tar.addfile(member, content)


def _extract(archive: Path, folder: Path) -> None:
    """Unpack the files of an archive; folders come with them."""
    with gzip.open(archive) as stream:
        bounded = _Bounded(stream)
        with tarfile.open(fileobj=bounded, mode="r:") as tar:  # type: ignore[call-overload]  # a part of IO
            for number, member in enumerate(tar):
                why = _objection(member, number)
                if why:
                    raise ConfigError("STORE", archive, f"is refused: {member.name!r} {why}")
                if not member.isdir():
                    tar.extract(member, folder, set_attrs=False, filter="data")
        while bounded.read(_MAX_READ):  # up to the checksum at the end, so that damage is noticed
            pass


def _objection(member: tarfile.TarInfo, number: int) -> str | None:
    """Why a member is not unpacked."""
    name = PurePosixPath(member.name)
    if not (member.isdir() or (member.isreg() and not member.issparse())):
        return "is neither a file nor a folder"
    if name.is_absolute() or ".." in name.parts:
        return "leads out of it"
    if member.size < 0:
        return "has a negative size"
    if number >= MAX_FILES:
        return f"is one file too many, {MAX_FILES:,} are read"
    if member.offset_data + member.size > MAX_BYTES:
        return f"is too much, {MAX_BYTES:,} bytes are read"
    return None


class _Bounded:
    """What tarfile needs of an unpacked stream, up to a bound; a forged length in a header is refused."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_READ or self._stream.tell() > MAX_BYTES:
            raise tarfile.ReadError("a header asks for too much")
        return self._stream.read(size)

    def seek(self, offset: int) -> int:
        if not 0 <= offset <= MAX_BYTES:
            raise tarfile.ReadError("a header points out of it")
        return self._stream.seek(offset)

    def tell(self) -> int:
        return self._stream.tell()


def _root(archive: Path, folder: Path) -> Path:
    """Where the store begins: at the top of an archive, or in the one folder at its top."""
    inner = [path for path in folder.iterdir() if path.is_dir()]
    if not holds_a_part(folder) and len(inner) == 1:
        folder = inner[0]
    if not holds_a_part(folder):
        raise ConfigError("STORE", archive, "holds no store")
    return folder
