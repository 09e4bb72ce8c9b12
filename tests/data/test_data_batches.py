"""Batches are a pure function of (seed, step)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bitnet_sweep.config import IGNORED, Order, Targets
from bitnet_sweep.data import Batches, Corpus


def corpus_of(tokens: int, dtype: type[np.unsignedinteger] = np.uint16) -> Corpus:
    train = np.arange(tokens, dtype=dtype)
    counts = np.ones(tokens, np.int64)
    return Corpus("f", tokens, train, train[:0], counts, Path("unused"), {})


def batches(
    tokens: int = 11,
    *,
    seed: int = 0,
    batch_size: int = 2,
    sequence_length: int = 3,
    order: Order = Order.random,
    targets: Targets = Targets.next,
    ignored: int | None = None,
) -> Batches:
    return Batches(
        corpus_of(tokens),
        seed=seed,
        batch_size=batch_size,
        sequence_length=sequence_length,
        order=order,
        targets=targets,
        ignored=ignored,
    )


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param(1, [[0, 1, 2], [3, 4, 5]], id="first"),
        pytest.param(2, [[6, 7, 8], [0, 1, 2]], id="wraps, the rest of one token left out"),
        pytest.param(3, [[3, 4, 5], [6, 7, 8]], id="goes on"),
        pytest.param(4, [[0, 1, 2], [3, 4, 5]], id="second epoch"),
    ],
)
def test_sequential_windows_follow_one_another(step: int, expected: list[list[int]]) -> None:
    x_BT, y_BT = batches(order=Order.sequential).batch_at(step)
    assert x_BT.tolist() == expected
    assert y_BT.tolist() == [[token + 1 for token in row] for row in expected]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param(1, [[0, 1, 2], [3, 4, 5]], id="first"),
        pytest.param(2, [[6, 7, 8], [0, 1, 2]], id="wraps, the rest of two tokens left out"),
        pytest.param(3, [[3, 4, 5], [6, 7, 8]], id="goes on"),
    ],
)
def test_targets_inside_a_row_are_one_less(step: int, expected: list[list[int]]) -> None:
    x_BT, y_BT = batches(order=Order.sequential, targets=Targets.inside).batch_at(step)
    assert x_BT.tolist() == [row[:-1] for row in expected]
    assert y_BT.tolist() == [row[1:] for row in expected]


def test_rows_with_targets_inside_reach_the_last_token() -> None:
    """9 tokens are 3 rows of 3; of rows that need the token behind them there are 2."""
    x_BT, y_BT = batches(9, batch_size=3, order=Order.sequential, targets=Targets.inside).batch_at(1)
    assert (x_BT.tolist(), y_BT.tolist()) == ([[0, 1], [3, 4], [6, 7]], [[1, 2], [4, 5], [7, 8]])
    starts = batches(9, batch_size=500, targets=Targets.inside).batch_at(1)[0][:, 0]
    assert sorted(set(starts.tolist())) == [0, 1, 2, 3, 4, 5, 6]
    batches(3, targets=Targets.inside)
    with pytest.raises(ValueError, match=r"2 tokens hold no window of 3 \+ 0"):
        batches(2, targets=Targets.inside)


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("targets", list(Targets))
def test_an_ignored_id_is_no_target_and_stays_an_input(order: Order, targets: Targets) -> None:
    plain, ignoring = (
        batches(8, batch_size=20, order=order, targets=targets, ignored=ignored).batch_at(2)
        for ignored in (None, 4)
    )
    assert np.array_equal(plain[0], ignoring[0])
    assert 4 in plain[1]
    assert np.array_equal(np.where(plain[1] == 4, IGNORED, plain[1]), ignoring[1])


def test_sequential_order_is_the_same_for_every_seed() -> None:
    first = batches(seed=1, order=Order.sequential).batch_at(5)[0]
    assert np.array_equal(first, batches(seed=2, order=Order.sequential).batch_at(5)[0])


def test_a_random_batch_depends_on_seed_and_step_alone() -> None:
    fresh = batches(5000, seed=3).batch_at(7)
    used = batches(5000, seed=3)
    for step in (9, 1, 8):
        used.batch_at(step)
    for before, after in zip(fresh, used.batch_at(7), strict=True):
        assert np.array_equal(before, after)
    assert not np.array_equal(fresh[0], used.batch_at(8)[0])
    assert not np.array_equal(fresh[0], batches(5000, seed=4).batch_at(7)[0])


@pytest.mark.parametrize("seed", [0, 2**63 - 1], ids=["smallest", "largest"])
def test_a_random_batch_equals_its_slow_twin(seed: int) -> None:
    tokens, batch_size, sequence_length = 5000, 4, 32
    x_BT, y_BT = batches(tokens, seed=seed, batch_size=batch_size, sequence_length=sequence_length).batch_at(
        11
    )
    generator = np.random.Philox(key=np.array([seed, 11], np.uint64))
    for row in range(batch_size):
        start = int(generator.random_raw()) % (tokens - sequence_length)
        window = list(range(start, start + sequence_length + 1))
        assert x_BT[row].tolist() == window[:-1]
        assert y_BT[row].tolist() == window[1:]
    assert x_BT.dtype == y_BT.dtype == np.int64


def test_random_starts_never_change_between_releases() -> None:
    x_BT, _ = batches(60_000, seed=1, batch_size=4, sequence_length=8).batch_at(2)
    assert x_BT[:, 0].tolist() == [27553, 52418, 48435, 15866]  # written down with NumPy 2.4


def test_every_window_is_drawn_about_equally_often() -> None:
    draws = batches(10, batch_size=700, sequence_length=3).batch_at(1)[0][:, 0]
    counts = np.bincount(draws)
    assert len(counts) == 7  # starts 0 .. 6: a window of 3 + 1 tokens fits 7 times into 10
    assert counts.min() > 60  # 100 expected, standard deviation 9
    assert counts.max() < 140


def test_the_shortest_text_has_one_window() -> None:
    x_BT, y_BT = batches(4, batch_size=1).batch_at(1)
    assert (x_BT.tolist(), y_BT.tolist()) == ([[0, 1, 2]], [[1, 2, 3]])
    with pytest.raises(ValueError, match=r"3 tokens hold no window of 3 \+ 1"):
        batches(3)


def test_ids_above_sixteen_bits_survive() -> None:
    wide = Batches(
        corpus_of(70_000, np.uint32), seed=0, batch_size=1, sequence_length=69_999, order=Order.random
    )
    assert wide.batch_at(1)[1][0, -1] == 69_999
