"""A text of a user's own: what is read of it, and what its fingerprint says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bitnet_sweep.config import ConfigError, DataConfig, DataName, RunConfig, TokenizerConfig
from bitnet_sweep.data import fingerprint, prepare
from bitnet_sweep.data.sources import open_documents
from bitnet_sweep.doors import settled
from bitnet_sweep.parts import register


@dataclass
class Options:
    count: int = 300
    breaks: str = ""


class Numbers:
    """A document for each number."""

    content = "one"

    def __init__(self, options: Options) -> None:
        self.options = options

    def fingerprint(self) -> str:
        return self.content

    def documents(self) -> Iterator[Any]:
        for i in range(self.options.count):
            yield f"{i} times {i + 1} is {i * (i + 1)}\n" * 10
            yield ""
        if self.options.breaks == "kind":
            yield b"bytes"
        if self.options.breaks == "text":
            yield "\ud800"
        if self.options.breaks == "itself":
            raise KeyError("lost")


@pytest.fixture(autouse=True)
def registered(own_parts: None) -> None:
    register("data", "numbers", Numbers, options=Options, version=2)


def config(**options: Any) -> RunConfig:
    data = DataConfig(DataName.own, source="numbers", options=options)
    return settled(RunConfig(data=data, tokenizer=TokenizerConfig(vocab_size=300)))


def test_its_documents_become_tokens(tmp_path: Path) -> None:
    corpus = prepare(config(), tmp_path)
    assert corpus.provenance["corpus"] == {"name": "numbers", "paths": []}
    assert sum(corpus.provenance[split]["documents"] for split in ("train", "heldout")) == 300
    text = corpus.decode(corpus.train[:200])
    assert " times " in text


def test_content_options_and_version_are_in_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [fingerprint(config()), fingerprint(config(count=300)), fingerprint(config(count=301))]
    monkeypatch.setattr(Numbers, "content", "two")
    found.append(fingerprint(config()))
    newer = config()
    newer.data.version = None
    found.append(fingerprint(newer))
    assert found[0] == found[1]
    assert len(set(found)) == 4


@pytest.mark.parametrize(
    ("breaks", "said"),
    [
        ("kind", "data.source=numbers: gives documents of text, not of bytes"),
        ("text", "data.source=numbers: must give Unicode text"),
        ("itself", "data.source=numbers: fails: KeyError: 'lost'"),
    ],
)
def test_what_is_refused_of_its_text(breaks: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        list(open_documents(config(breaks=breaks).data, tmp_path)())
    assert str(refused.value).startswith(said)


def test_one_needs_the_other() -> None:
    with pytest.raises(
        ConfigError, match=r"data.source=numbers: data=own needs one, and nothing else has one"
    ):
        DataConfig(source="numbers")
    with pytest.raises(ConfigError, match=r"data.source=None: data=own needs one"):
        DataConfig(DataName.own)
    with pytest.raises(ConfigError, match=r"data.source=words: no such data; allowed: numbers"):
        settled(RunConfig(data=DataConfig(DataName.own, source="words")))
