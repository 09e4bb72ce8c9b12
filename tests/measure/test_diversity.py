"""The notes' probe: fixed contexts, distinct predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bitnet_sweep.config import ModelConfig
from bitnet_sweep.measure.diversity import DiversityProbe, distinct_predictions
from bitnet_sweep.model.transformer import Transformer

VOCAB = 32


def text(vocab_size: int = VOCAB) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Contexts that end in 0, 1, ..., 19; the next ids are 0, 0, 1, 1, ..., 9, 9."""
    contexts = np.zeros((20, 8), dtype=np.int64)
    contexts[:, -1] = np.arange(20) % vocab_size
    return contexts, np.arange(20, dtype=np.int64) // 2


def model_that_says(answer_of_V: list[int]) -> Transformer:
    """Predicts ``answer_of_V[x]`` behind x: blocks that add nothing, one-hot embeddings."""
    vocab = len(answer_of_V)
    model = Transformer(ModelConfig(hidden=vocab, num_layers=1, num_heads=1), vocab, seed=0)
    assert model.head is not None
    with torch.no_grad():
        for layer in model.bitlinears().values():
            layer.weight.zero_()
        model.embedding.copy_(torch.eye(vocab))
        model.head.zero_()
        for x, answer in enumerate(answer_of_V):
            model.head[answer, x] = 1.0
    return model


@pytest.mark.parametrize(
    ("answers", "distinct"),
    [
        pytest.param([7] * VOCAB, 1, id="always 7"),
        pytest.param(list(range(VOCAB)), 20, id="echo: 20 last tokens, 20 answers"),
        pytest.param([x // 4 for x in range(VOCAB)], 5, id="quarter: 0 to 4"),
    ],
)
def test_distinct_predictions(answers: list[int], distinct: int) -> None:
    model = model_that_says(answers)
    probe = DiversityProbe(VOCAB, *text())
    got = probe.measure(model)
    last = probe.random_contexts[:, -1].tolist()
    assert got == {
        "probe/unique_tokens": len({answers[x] for x in last}),
        "probe/unique_tokens_text": distinct,
        "probe/unique_tokens_human": 10,
    }


def test_only_the_last_position_counts() -> None:
    echo = model_that_says(list(range(VOCAB)))
    assert distinct_predictions(echo, torch.tensor([[1, 2, 5], [3, 4, 5]])) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_predict_nothing(value: float) -> None:
    """One of them is enough; the text's own count stands."""
    model = model_that_says(list(range(VOCAB)))
    assert model.head is not None
    with torch.no_grad():
        model.head[3, 5] = value
    assert DiversityProbe(VOCAB, *text()).measure(model) == {
        "probe/unique_tokens": None,
        "probe/unique_tokens_text": None,
        "probe/unique_tokens_human": 10,
    }


def test_random_contexts_are_fixed_and_in_range() -> None:
    torch.manual_seed(1)
    rng = torch.get_rng_state()
    first, second = DiversityProbe(VOCAB, *text()), DiversityProbe(VOCAB, *text())
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.equal(first.random_contexts, second.random_contexts)
    assert first.random_contexts.shape == (20, 8)
    assert int(first.random_contexts.max()) < VOCAB
    assert len(set(first.random_contexts.flatten().tolist())) > VOCAB // 2
    assert int(DiversityProbe(50257, *text()).random_contexts.max()) > VOCAB


def test_other_shapes_are_refused() -> None:
    contexts, following = text()
    with pytest.raises(ValueError, match=r"\(20, 7\)"):
        DiversityProbe(VOCAB, contexts[:, 1:], following)
    with pytest.raises(ValueError, match=r"\(19,\)"):
        DiversityProbe(VOCAB, contexts, following[1:])
