"""A few steps straight, forked and stopped, and every bit of the results compared."""

from __future__ import annotations

import dataclasses
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitnet_sweep.config import (
    DataConfig,
    DataName,
    Precision,
    RunConfig,
    SweepConfig,
    TokenizerConfig,
)
from bitnet_sweep.doors import settled
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import Store
from bitnet_sweep.store.compare import compare
from bitnet_sweep.sweep.exits import InterruptedRunError
from bitnet_sweep.sweep.job import Hooks, Job
from bitnet_sweep.workload import Step
from bitnet_sweep.workload.find import workload_of

ALIKE = "12 steps straight, forked, and stopped and resumed are equal bit for bit"


def check_training(config: RunConfig, precisions: Sequence[Precision] = (Precision.fp32,)) -> str:
    """Straight, forked from its trunk, and stopped after every third step: equal bit for bit."""
    with tempfile.TemporaryDirectory(prefix="bitnet_sweep-parts-") as name:
        text = Path(name, "text.txt")
        text.write_text(_made_up_text(), encoding="utf-8")
        base = dataclasses.replace(
            config,
            steps=12,
            batch_size=2,
            sequence_length=8,
            probe_every_steps=4,
            checkpoint_every_steps=2,
            data=_data(text) if config.data == DataConfig() else config.data,
            tokenizer=TokenizerConfig(vocab_size=300),
        )
        for precision in precisions:
            config = resolve(settled(dataclasses.replace(base, precision=precision)))
            assert_alike(config, Path(name, precision.name), f" at precision={precision.name}")
    return f"{ALIKE}, at precision={' and '.join(each.name for each in precisions)}"


def _data(text: Path) -> DataConfig:
    return DataConfig(DataName.text, path=str(text), heldout_fraction=0.2)  # of a text as short as this


def assert_alike(config: RunConfig, folder: Path, where: str) -> None:
    """Train straight, forked from a trunk, and stopped after every third step, and compare the results."""
    straight = _at(config, folder / "straight", share_stages=False)
    forked, stopped = _at(config, folder / "forked"), _at(config, folder / "stopped")
    _complete(straight)
    _complete(forked, num_stages=1)
    _complete(forked)
    while _is_stopped(stopped):
        pass
    for what, other in (("forked from its trunk", forked), ("stopped and resumed", stopped)):
        _assert_equal(straight, other, f"{what}{where}")


def _at(config: RunConfig, store: Path, **sweep: Any) -> RunConfig:
    return dataclasses.replace(config, store=str(store), sweep=SweepConfig(**sweep))


def _complete(config: RunConfig, num_stages: int | None = None) -> None:
    Job(config, "check", [], Hooks(), num_stages).complete()


def _is_stopped(config: RunConfig) -> bool:
    """Train on for three steps, and say whether it is not through yet."""
    seen: list[Step] = []
    try:
        Job(config, "check", [], Hooks(lambda: len(seen) >= 3, seen.append)).complete()
    except InterruptedRunError:
        return True
    return False


def _assert_equal(config: RunConfig, other: RunConfig, what: str) -> None:
    folders = (
        Store(Path(each.store)).run(stage_ids(each, workload_of(each).fingerprint(each))[-1])
        for each in (config, other)
    )
    differences = compare(*folders).differences
    assert not differences, f"{what}, {differences[0]}"


def _made_up_text() -> str:
    chance = random.Random(7)  # noqa: S311  (no secret)
    words = ["".join(chance.choices("abcdefghijklmnop", k=chance.randint(2, 7))) for _ in range(200)]
    return "\n\n".join(" ".join(chance.choices(words, k=12)) + "." for _ in range(600))
