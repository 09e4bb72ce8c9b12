"""The groups ``data`` and ``tokenizer``: the text, and how it becomes token ids."""

# ruff: noqa: RUF009 - knob() makes a field
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from bitnet_sweep.config.checks import ConfigError, path_text, settle
from bitnet_sweep.roles import Role, knob


class DataName(Enum):
    """Where the text comes from."""

    world_factbook = "world_factbook"
    text = "text"
    wikitext2 = "wikitext2"
    own = "own"


class Order(Enum):
    """Windows drawn at random, or read one after the other as the notes' trainer did."""

    random = "random"
    sequential = "sequential"


class Lines(Enum):
    """How a document becomes ids: as one text with the separator behind it, or each of its lines for itself,
    stripped, empty ones left out, with nothing between or behind them."""

    whole = "whole"
    stripped = "stripped"


class Targets(Enum):
    """What a row of a batch predicts: the token behind each of its tokens, or only tokens inside the row, one
    less."""

    next = "next"
    inside = "inside"


class HeldOutText(Enum):
    """Which documents are held out: some of everywhere, by their hashes, or the last ones of the text."""

    anywhere = "anywhere"
    end = "end"


class TokenizerName(Enum):
    """Byte-level BPE trained on the corpus, GPT-2's own, or one that you have as a file."""

    bpe = "bpe"
    gpt2 = "gpt2"
    file = "file"


IGNORED = -100
"""Stands among a batch's targets where nothing is to be predicted; torch's cross entropy leaves it out."""
GPT2_VOCAB_SIZE = 50257
BYTE_ALPHABET = 256
"""A byte-level vocabulary holds every byte and the document separator, so it has at least 257 entries."""


@dataclass
class DataConfig:
    """The corpus. A share of its documents is held out, the same whatever the seed."""

    name: DataName = knob(DataName.world_factbook, Role.in_corpus | Role.data | Role.preset, label="")
    path: Any = knob(None, Role.in_corpus | Role.data | Role.path)
    """For data=text: a file, a glob, or a list of them (.txt, .jsonl, .parquet)."""
    text_field: str = knob("text", Role.in_corpus | Role.data)
    """For .jsonl and .parquet: the field that holds a document."""
    order: Order = knob(Order.random, Role.in_id | Role.data, label="")
    heldout_fraction: float = knob(0.05, Role.in_corpus | Role.data, above=0.0, below=1.0)
    """Share of the documents that is never trained on."""
    lines: Lines = knob(Lines.whole, Role.in_id | Role.in_corpus | Role.data | Role.added)
    targets: Targets = knob(Targets.next, Role.in_id | Role.data | Role.added)
    heldout: HeldOutText = knob(HeldOutText.anywhere, Role.in_id | Role.in_corpus | Role.data | Role.added)
    """With ``end`` the text before the held-out documents is unbroken; a WikiText article in a .txt file is a
    document there."""
    source: str | None = knob(None, Role.in_corpus | Role.data | Role.added)
    """For data=own: a source of your own (docs/extend.md); ``data=NAME`` sets both."""
    options: dict[str, Any] = knob({}, Role.in_corpus | Role.data | Role.added, label="")
    """Options that the source declares, each a key of its own: ``data.options.NAME=VALUE``."""
    version: str | None = knob(None, Role.in_corpus | Role.data | Role.added | Role.follows, label="v")
    """The version that the source declares, noted by itself; null where there is none."""

    def __post_init__(self) -> None:
        settle(self, "data.")
        if isinstance(self.path, str):
            self.path = path_text("data.path", self.path)
        elif isinstance(self.path, list):
            self.path = [path_text("data.path", p) if isinstance(p, str) else p for p in self.path]
        paths = [self.path] if isinstance(self.path, str) else self.path
        if self.name is DataName.text and not paths:
            raise ConfigError("data.path", self.path, "data=text needs a file, a glob or a list of them")
        if (self.name is DataName.own) != (self.source is not None):
            raise ConfigError("data.source", self.source, "data=own needs one, and nothing else has one")
        if self.name is not DataName.text and self.path is not None:
            raise ConfigError("data.path", self.path, "only data=text reads files; allowed here: null")
        if paths is not None and not (
            isinstance(paths, list) and all(isinstance(path, str) and path for path in paths)
        ):
            raise ConfigError("data.path", self.path, "must be a file, a glob or a list of them")

    @property
    def paths(self) -> list[str]:
        """The files and globs asked for; empty unless data=text."""
        return [self.path] if isinstance(self.path, str) else list(self.path or [])


@dataclass
class TokenizerConfig:
    """How text becomes token ids."""

    name: TokenizerName = knob(TokenizerName.bpe, Role.in_corpus | Role.data | Role.preset, label="")
    vocab_size: int = knob(4096, Role.in_id | Role.in_corpus | Role.data | Role.weights)
    """How many different tokens there are; with tokenizer=file that many or more."""
    path: str | None = knob(None, Role.in_corpus | Role.data | Role.added | Role.path, label="tokenizer=")
    """For tokenizer=file: a ``tokenizer.json``, as ``tokenizers`` and ``transformers`` save it."""

    def __post_init__(self) -> None:
        settle(self, "tokenizer.")
        if self.name is TokenizerName.file:
            if not self.path:
                raise ConfigError("tokenizer.path", self.path, "tokenizer=file needs a tokenizer.json")
            self.path = path_text("tokenizer.path", self.path)
            return
        if self.path is not None:
            raise ConfigError("tokenizer.path", self.path, "only tokenizer=file reads it; allowed here: null")
        if self.name is TokenizerName.gpt2 and self.vocab_size != GPT2_VOCAB_SIZE:
            raise ConfigError(
                "tokenizer.vocab_size", self.vocab_size, f"tokenizer=gpt2 has {GPT2_VOCAB_SIZE}"
            )
        if self.vocab_size <= BYTE_ALPHABET:
            allowed = f"must be {BYTE_ALPHABET + 1} or more (every byte and the document separator)"
            raise ConfigError("tokenizer.vocab_size", self.vocab_size, allowed)
