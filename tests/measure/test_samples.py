"""Greedy continuations and their repetition, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitnet_sweep.config import ModelConfig
from bitnet_sweep.measure.samples import continuations, distinct_2, sample_measures, seq_rep_4
from bitnet_sweep.model.transformer import Transformer


def successor_model(vocab: int) -> Transformer:
    """Predicts x + 1 behind x, 0 behind the last id."""
    model = Transformer(ModelConfig(hidden=vocab, num_layers=1, num_heads=1), vocab, seed=0)
    assert model.head is not None
    with torch.no_grad():
        for layer in model.bitlinears().values():
            layer.weight.zero_()
        model.embedding.copy_(torch.eye(vocab))
        model.head.copy_(torch.eye(vocab).roll(1, dims=0))
    return model


def test_counting_model_counts_on() -> None:
    got = continuations(successor_model(6), np.array([[3, 0], [0, 4]]), sequence_length=4, num_tokens=7)
    assert got is not None
    assert got.tolist() == [[1, 2, 3, 4, 5, 0, 1], [5, 0, 1, 2, 3, 4, 5]]
    assert got.dtype == np.int64


@pytest.mark.parametrize("sequence_length", [1, 3, 5, 100])
def test_the_model_sees_the_last_window_alone(sequence_length: int) -> None:
    model = Transformer(ModelConfig(8, 2, 2), 50, seed=4)
    with torch.no_grad():
        model.embedding.mul_(0.1)  # let the blocks, and so the whole window, decide
    prompts = np.arange(10, dtype=np.int64).reshape(2, 5)
    got = continuations(model, prompts, sequence_length, num_tokens=9)
    assert got is not None
    for row, prompt in zip(got.tolist(), prompts.tolist(), strict=True):
        ids = list(prompt)
        for token in row:
            window = torch.tensor([ids[-sequence_length:]])
            assert token == int(model(window)[0, -1].argmax())
            ids.append(token)


def test_longer_windows_do_change_continuations() -> None:
    model = Transformer(ModelConfig(8, 2, 2), 50, seed=4)
    with torch.no_grad():
        model.embedding.mul_(0.1)
    prompts = np.arange(10, dtype=np.int64).reshape(2, 5)
    short, long = continuations(model, prompts, 1, 9), continuations(model, prompts, 5, 9)
    assert short is not None
    assert long is not None
    assert short.tolist() != long.tolist()


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        pytest.param([[1, 2, 3, 4, 5]], 0.0, id="two different 4-grams"),
        pytest.param([[7, 7, 7, 7, 7, 7, 7]], 0.75, id="one 4-gram four times"),
        pytest.param([[1, 2, 1, 2, 1, 2, 1]], 0.5, id="1212 and 2121, each twice"),
        pytest.param([[7] * 7, [1, 2, 3, 4, 5, 6, 7]], 0.375, id="mean of 0.75 and 0"),
        pytest.param([[1, 2, 3, 4], [1, 2, 3, 4]], 0.0, id="only within a continuation"),
    ],
)
def test_seq_rep_4(ids: list[list[int]], expected: float) -> None:
    assert seq_rep_4(np.array(ids)) == expected


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        pytest.param([[1, 2, 3]], 1.0, id="12, 23"),
        pytest.param([[7, 7, 7, 7, 7]], 0.25, id="77 four times"),
        pytest.param([[1, 2, 3], [1, 2, 4]], 0.75, id="pooled: 12, 23, 12, 24"),
    ],
)
def test_distinct_2(ids: list[list[int]], expected: float) -> None:
    assert distinct_2(np.array(ids)) == expected


def test_fields() -> None:
    assert sample_measures(np.full((2, 7), 3)) == {
        "sample/seq_rep_4": 0.75,
        "sample/distinct_2": pytest.approx(1 / 12),
    }


def test_logits_that_are_not_finite_are_not_sampled() -> None:
    """Even where only a later step meets them: 5 predicts what is not a number."""
    model = successor_model(6)
    assert model.head is not None
    with torch.no_grad():
        model.head[:, 5] = torch.nan
    got = continuations(model, np.array([[3], [1]]), sequence_length=1, num_tokens=7)
    assert got is None
    assert sample_measures(got) == {"sample/seq_rep_4": None, "sample/distinct_2": None}


@pytest.mark.parametrize("shape", [(0, 48), (2, 3)], ids=["no continuation", "too short"])
def test_nothing_to_count(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="4-gram"):
        sample_measures(np.zeros(shape, dtype=np.int64))
