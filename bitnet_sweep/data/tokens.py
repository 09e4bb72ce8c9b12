"""Token files: built once for each fingerprint, under a lock, and memory-mapped ever after.

``<fingerprint>.train.bin`` and ``.heldout.bin`` hold the ids (uint16, or uint32 above 65,536 entries),
``.unigram.bin`` the train split's count of each id (int64), ``.tokenizer.json`` the tokeniser, and
``.json`` where all that came from. The last is written last: with it, the others are complete.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from bitnet_sweep import files
from bitnet_sweep.config import ConfigError, DataName, HeldOutText, Lines, RunConfig
from bitnet_sweep.data.fingerprint import fingerprint
from bitnet_sweep.data.progress import telling
from bitnet_sweep.data.sources import Documents, open_documents
from bitnet_sweep.data.split import MIN_HELDOUT_TOKENS, Mask, Survey, first_target, next_target, select
from bitnet_sweep.data.tokenizer import encode, given, open_tokenizer, separator_id, train_bpe

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

TRAIN, HELDOUT, UNIGRAM, TOKENIZER = "train.bin", "heldout.bin", "unigram.bin", "tokenizer.json"

_BUILDING = ".building"
"""How the folder ends in which token files are made."""
_ABANDONED_SECONDS = 86_400.0

_TOKENS_AT_ONCE = 1 << 20
"""Counted; by document, the counts of a large vocabulary would be added up too often."""

Tokens = npt.NDArray[np.unsignedinteger]
"""uint16 or uint32."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """The token files of one fingerprint, memory-mapped."""

    fingerprint: str
    vocab_size: int
    train: Tokens
    """1-D; every document is followed by the separator, but with ``data.lines=stripped``."""
    heldout: Tokens
    """1-D; documents that no gradient and no tokeniser training ever sees."""
    unigram_counts: npt.NDArray[np.int64]
    """``[vocab_size]``: how often each id occurs in ``train``."""
    tokenizer_path: Path
    provenance: dict[str, Any]
    """Corpus, documents, bytes and tokens of each split, tokeniser and library version."""

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return open_tokenizer(self.tokenizer_path)

    @property
    def separator(self) -> int:
        """The id behind every document."""
        return separator_id(self._tokenizer)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, separators shown; bytes that are not UTF-8 become U+FFFD."""
        return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)


def prepare(config: RunConfig, tokens_dir: Path, name: str | None = None) -> Corpus:
    """The corpus of a config: mapped if its token files are there and whole, else built first.

    Any number of processes may ask at once; one builds and the others wait for it.

    Args:
        config: of the run.
        tokens_dir: where they lie.
        name: the fingerprint of the config, where the caller has it: to take it, all of the text is read.

    Raises:
        ConfigError: see :func:`fingerprint`; ``data`` for a hub that cannot be reached; ``data.path``
            for text too short for one batch or for 4,097 held-out tokens; ``data.text_field``;
            ``tokenizer.vocab_size`` for a vocabulary the text cannot fill; ``store`` for a
            folder that cannot be read or written.
    """
    name = name or fingerprint(config)
    tokens_dir = tokens_dir.absolute()  # the tokeniser is opened late, maybe from another folder
    with _blaming_the_store(config, f"{tokens_dir} cannot be read"):
        corpus = _open(name, tokens_dir)
    if corpus is None:
        with _blaming_the_store(config, f"{tokens_dir} cannot be written"):
            tokens_dir.mkdir(parents=True, exist_ok=True)
            with _locked(tokens_dir / f"{name}.lock"):
                corpus = _open(name, tokens_dir)
                if corpus is None:
                    _remove_killed_builds(tokens_dir, besides=name)
                    _build(config, name, tokens_dir)
                    corpus = _open(name, tokens_dir)
        if corpus is None:
            raise RuntimeError(f"{tokens_dir}/{name}.*: changed by another program while being read")
    _check_one_batch(config, corpus)
    return corpus


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of some token files, waiting while another process builds them."""
    lock, wait = FileLock(path, fallback_to_soft=False), files.Wait(path)
    while True:
        try:
            lock.acquire(timeout=1)
            break
        except Timeout:
            wait.tell("another process builds these token files")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _blaming_the_store(config: RunConfig, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError("store", config.store, f"{what} ({error.strerror or error})") from error


def token_dtype(vocab_size: int) -> npt.DTypeLike:
    """The narrowest of uint16 and uint32 that holds every id."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


def _open(name: str, tokens_dir: Path) -> Corpus | None:
    """None where a file is missing or has not the content that the build wrote down.

    Every job reads all of it for that: seconds for gigabytes, against training on other data unnoticed.
    """

    def path(part: str) -> Path:
        return tokens_dir / f"{name}.{part}"

    try:
        provenance = json.loads(path("json").read_text(encoding="utf-8"))
        whole = all(_checksum(path(part)) == sum_ for part, sum_ in provenance["file_sha256"].items())
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
        return None
    if not whole:
        return None
    vocab_size = provenance["tokenizer"]["vocab_size"]
    dtype = token_dtype(vocab_size)
    return Corpus(
        fingerprint=name,
        vocab_size=vocab_size,
        train=np.memmap(path(TRAIN), dtype, mode="r"),
        heldout=np.memmap(path(HELDOUT), dtype, mode="r"),
        unigram_counts=np.fromfile(path(UNIGRAM), np.int64),
        tokenizer_path=path(TOKENIZER),
        provenance=provenance,
    )


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build(config: RunConfig, name: str, tokens_dir: Path) -> None:
    """Write the token files in a folder beside, then move them in; the caller holds the lock."""
    name_of_data = config.data.source or config.data.name.name
    log.info("building the token files of data=%s in %s", name_of_data, tokens_dir)
    building = tokens_dir / f".{name}{_BUILDING}"
    shutil.rmtree(building, ignore_errors=True)  # left by a build that was killed
    building.mkdir()
    try:
        provenance = _write_parts(config, building)
        provenance = {"fingerprint": name} | provenance
        (building / "json").write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
        for part in (*provenance["file_sha256"], "json"):
            _move_in(building / part, tokens_dir / f"{name}.{part}")
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _remove_killed_builds(tokens_dir: Path, besides: str) -> None:
    """Those of other token files, once nothing has been written there for a day.

    A lock that can be had says that nobody builds there, but not where another host's locks do not show.
    """
    for building in tokens_dir.glob(f".*{_BUILDING}"):
        name = building.name.removeprefix(".").removesuffix(_BUILDING)
        with suppress(OSError):  # it is held (a Timeout is one), another user's, or gone meanwhile
            last = max(path.stat().st_mtime for path in (building, *building.iterdir()))
            if name != besides and time.time() - last > _ABANDONED_SECONDS:
                with FileLock(tokens_dir / f"{name}.lock", timeout=0, fallback_to_soft=False):
                    shutil.rmtree(building, ignore_errors=True)


def _move_in(written: Path, final: Path) -> None:
    with written.open("rb") as file:
        files.flush_to_disk(file.fileno())
    written.replace(final)


def _write_parts(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Write all parts but the json into ``folder``; what the json is to say."""
    documents = open_documents(config.data, folder)
    with telling("reading the text"):
        survey = Survey.of(documents)
    tokenizer, heldout_mask = _write_heldout(config, documents, survey, folder)
    train = select(documents, ~heldout_mask)
    lines, vocab_size = config.data.lines, config.tokenizer.vocab_size
    counts = write_tokens(folder / TRAIN, tokenizer, train, vocab_size, lines)
    (folder / UNIGRAM).write_bytes(counts.data)
    tokenizer.save(str(folder / TOKENIZER), pretty=False)
    dtype = np.dtype(token_dtype(vocab_size))

    def split(part: str, mask: Mask) -> dict[str, int]:
        tokens = (folder / part).stat().st_size // dtype.itemsize
        return {"documents": int(mask.sum()), "bytes": int(survey.sizes[mask].sum()), "tokens": tokens}

    return {
        "corpus": {"name": config.data.source or config.data.name.name, "paths": config.data.paths},
        "tokenizer": {
            "name": config.tokenizer.name.name,
            "vocab_size": vocab_size,
            "library": f"tokenizers {version('tokenizers')}",
        },
        "dtype": dtype.name,
        "train": split(TRAIN, ~heldout_mask),
        "heldout": split(HELDOUT, heldout_mask),
        "file_sha256": {part: _checksum(folder / part) for part in (TRAIN, HELDOUT, UNIGRAM, TOKENIZER)},
    }


def _write_heldout(
    config: RunConfig, documents: Documents, survey: Survey, folder: Path
) -> tuple[Tokenizer, Mask]:
    """Hold out more documents until they make enough tokens; a BPE is trained on the rest each time."""
    vocab_size = config.tokenizer.vocab_size
    target = first_target(survey, config.data.heldout_fraction)
    choose = survey.end_mask if config.data.heldout is HeldOutText.end else survey.heldout_mask
    while True:
        mask = choose(target)
        if mask.all():
            raise _too_short(
                config,
                f"its {_counted(survey.digests)} are too few to hold out "
                f"{MIN_HELDOUT_TOKENS:,} tokens and train on the rest",
            )
        tokenizer = given(config.tokenizer)
        if tokenizer is None:
            with telling("training the tokenizer (slow where a word has many thousand letters)"):
                tokenizer = train_bpe(select(documents, ~mask)(), vocab_size)
        heldout = select(documents, mask)
        counts = write_tokens(folder / HELDOUT, tokenizer, heldout, vocab_size, config.data.lines)
        tokens = int(counts.sum())
        if tokens >= MIN_HELDOUT_TOKENS:
            share = survey.sizes[mask].sum() / survey.sizes.sum()
            if share > 2 * config.data.heldout_fraction:
                log.warning(
                    "%.0f %% of the text is held out: whole documents, at least 4,097 tokens", 100 * share
                )
            return tokenizer, mask
        target = next_target(survey, mask, tokens)


def _counted(digests: list[bytes]) -> str:
    different = len(set(digests))  # the same text is never on both sides
    return f"{len(digests)} documents" + (f" ({different} different)" if different < len(digests) else "")


def write_tokens(
    path: Path, tokenizer: Tokenizer, documents: Documents, vocab_size: int, lines: Lines = Lines.whole
) -> npt.NDArray[np.int64]:
    """Encode all documents into one file; how often each id occurs."""
    counts = np.zeros(vocab_size, np.int64)
    dtype = token_dtype(vocab_size)
    with telling("turning the text into tokens"), path.open("wb") as file:
        for ids in encode(tokenizer, documents(), lines):
            file.write(np.array(ids, dtype).data)  # tofile() would not say that the disk is full
    with path.open("rb") as file:
        while len(tokens := np.fromfile(file, dtype, _TOKENS_AT_ONCE)):
            counts += np.bincount(tokens, minlength=vocab_size)
    return counts


def _check_one_batch(config: RunConfig, corpus: Corpus) -> None:
    needed = config.batch_size * (config.sequence_length + 1)
    if len(corpus.train) < needed:
        raise _too_short(
            config,
            f"its train split has {len(corpus.train):,} tokens, and one batch needs "
            f"batch_size*(sequence_length+1)={needed:,}",
        )


def _too_short(config: RunConfig, reason: str) -> ConfigError:
    if config.data.name is DataName.text:
        return ConfigError("data.path", config.data.path, f"text too short: {reason}")
    return ConfigError("data", config.data.source or config.data.name, f"text too short: {reason}")
