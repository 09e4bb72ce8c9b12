"""A small corpus that reads like text: words of a made-up language, a sentence a line."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from bitnet_sweep.config import DataConfig, DataName, RunConfig, TokenizerConfig

WriteText = Callable[..., Path]
TextConfig = Callable[..., RunConfig]


def made_up_text(characters: int, seed: int = 0, num_words: int = 600) -> str:
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghij klmno", k=draw.randint(2, 9))) for _ in range(num_words)]
    lines, length = [], 0
    while length < characters:
        line = " ".join(draw.choices(words, k=12)) + (".\n\n" if draw.random() < 0.2 else ".\n")
        lines.append(line)
        length += len(line)
    return "".join(lines)[: characters - 1] + "\n"


@pytest.fixture(scope="session")
def text() -> Callable[..., str]:
    return made_up_text


@pytest.fixture
def write_text(tmp_path: Path) -> WriteText:
    def write(name: str = "corpus.txt", characters: int = 80_000, seed: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made_up_text(characters, seed))
        return path

    return write


@pytest.fixture
def text_config() -> TextConfig:
    def config(path: object, vocab_size: int = 320, seed: int = 0, **data: object) -> RunConfig:
        paths = [str(p) for p in path] if isinstance(path, list) else str(path)
        return RunConfig(
            seed=seed,
            data=DataConfig(name=DataName.text, path=paths, **data),  # type: ignore[arg-type] # a table's fields
            tokenizer=TokenizerConfig(vocab_size=vocab_size),
        )

    return config
