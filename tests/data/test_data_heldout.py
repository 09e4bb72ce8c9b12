"""The held-out pieces: exact in number, evenly spread, without a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitnet_sweep.data import Corpus, heldout_windows, prompts, text_contexts


def corpus_of(tokens: int) -> Corpus:
    heldout = np.arange(tokens, dtype=np.uint32)
    return Corpus("f", tokens, heldout[:0], heldout, np.ones(tokens, np.int64), Path("unused"), {})


def test_windows_by_hand() -> None:
    # 19 targets, 9 asked for: two windows of 4 and a rest of 1; 10 spare targets, 5 in each gap.
    (x_BT, y_BT), (x_rest, y_rest) = heldout_windows(corpus_of(20), 4, num_tokens=9)
    assert x_BT.tolist() == [[0, 1, 2, 3], [9, 10, 11, 12]]
    assert y_BT.tolist() == [[1, 2, 3, 4], [10, 11, 12, 13]]
    assert (x_rest.tolist(), y_rest.tolist()) == ([[18]], [[19]])


@pytest.mark.parametrize(
    ("tokens", "sequence_length", "shapes"),
    [
        pytest.param(10_000, 32, [(16, 32)] * 8, id="divides"),
        pytest.param(10_000, 100, [(5, 100)] * 8 + [(1, 96)], id="rest"),
        pytest.param(10_000, 1024, [(1, 1024)] * 4, id="one window a batch"),
        pytest.param(10_000, 5000, [(1, 4096)], id="longer than the targets"),
        pytest.param(4_097, 32, [(16, 32)] * 8, id="just enough"),
        pytest.param(50, 32, [(1, 32), (1, 17)], id="too few: all there are"),
    ],
)
def test_batches_of_windows(tokens: int, sequence_length: int, shapes: list[tuple[int, int]]) -> None:
    windows = heldout_windows(corpus_of(tokens), sequence_length)
    assert [x_BT.shape for x_BT, _ in windows] == shapes
    assert all(x_BT.dtype == y_BT.dtype == np.int64 for x_BT, y_BT in windows)


@given(tokens=st.integers(2, 6000), sequence_length=st.integers(1, 700), num_tokens=st.integers(1, 4096))
def test_targets_are_exact_distinct_and_reach_both_ends(
    tokens: int, sequence_length: int, num_tokens: int
) -> None:
    windows = heldout_windows(corpus_of(tokens), sequence_length, num_tokens)
    targets = np.concatenate([y_BT.ravel() for _, y_BT in windows])
    assert len(targets) == min(num_tokens, tokens - 1)
    assert (np.diff(targets) > 0).all()
    assert targets[0] == 1
    if len(targets) > sequence_length:
        assert targets[-1] == tokens - 1
    for x_BT, y_BT in windows:
        assert np.array_equal(x_BT + 1, y_BT)


def test_contexts_come_from_the_middle_of_equal_stretches() -> None:
    # 103 tokens leave 100 starts for contexts of 2 and a next token: stretches of 25, middles 12, 37, ...
    contexts, next_ids = text_contexts(corpus_of(103), num=4, length=2)
    assert contexts.tolist() == [[12, 13], [37, 38], [62, 63], [87, 88]]
    assert next_ids.tolist() == [14, 39, 64, 89]


def test_prompts_are_spread_likewise() -> None:
    # 102 tokens leave 100 starts for prompts of 2
    got = prompts(corpus_of(102), num=4, length=2)
    assert got.tolist() == [[12, 13], [37, 38], [62, 63], [87, 88]]
    assert got.dtype == text_contexts(corpus_of(102), num=4, length=2)[0].dtype == np.int64
