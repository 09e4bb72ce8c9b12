"""A corpus and a config so small that real trainings take a moment."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitnet_sweep import parts
from bitnet_sweep.config import (
    DataConfig,
    DataName,
    ModelConfig,
    RunConfig,
    TokenizerConfig,
    TrackConfig,
    TrackName,
)
from bitnet_sweep.stages import resolve
from tests.repetition import EVERY


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked ``few(n)`` leave n members, evenly spread, and mark the others ``every``.

    Members that are marked ``every`` already are not among the n.
    """
    members: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("few") is not None and item.get_closest_marker("every") is None:
            members.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for alike in members.values():
        marker = alike[0].get_closest_marker("few")
        assert marker is not None
        (number,) = marker.args
        left = {round(i * (len(alike) - 1) / max(1, number - 1)) for i in range(number)}
        for i, item in enumerate(alike):
            for mark in () if i in left else EVERY:
                item.add_marker(mark)


@pytest.fixture(autouse=True)
def denormals_as_they_were():
    """A training in this process flushes them to zero, which hypothesis refuses to work under."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory) -> Path:
    """120 kB of made-up sentences, the same in every session."""
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 7))) for _ in range(300)]
    lines = [" ".join(rng.choices(words, k=12)) + "." for _ in range(1700)]
    path: Path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n\n".join(lines))
    return path


@pytest.fixture
def tiny(corpus_file, tmp_path):
    """Makes resolved configs of 20 steps at hidden 16, probed every 5; keywords override the fields."""

    def make(**changes) -> RunConfig:
        model = ModelConfig(hidden=16, num_layers=2, num_heads=2)
        fields: dict[str, Any] = {
            "model": model,
            "steps": 20,
            "batch_size": 2,
            "sequence_length": 8,
            "probe_every_steps": 5,
            "data": DataConfig(name=DataName.text, path=str(corpus_file)),
            "tokenizer": TokenizerConfig(vocab_size=300),
            "track": TrackConfig(name=TrackName.none),
            "store": str(tmp_path / "store"),
        }
        return resolve(RunConfig(**(fields | changes)))

    return make


@pytest.fixture
def own_parts() -> Iterator[None]:
    """What a test registers, another one does not find."""
    with parts.apart():
        yield
