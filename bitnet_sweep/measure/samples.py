"""Greedy continuations, and how much they repeat themselves. Shapes: N prompts, T positions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bitnet_sweep.measure.predictions import predicted
from bitnet_sweep.model.interface import Model
from bitnet_sweep.records import Value

CONTINUATION_TOKENS = 48
"""Length of a sample (chosen: 45 4-grams each, and still quick without a cache of keys and values)."""


@torch.no_grad()
def continuations(
    model: Model,
    prompts_NT: NDArray[np.int64],
    sequence_length: int,
    num_tokens: int = CONTINUATION_TOKENS,
) -> NDArray[np.int64] | None:
    """The ``num_tokens`` most likely next ids, one after the other: (N, num_tokens), prompts left out.

    The model sees the last ``sequence_length`` ids, never more than it was trained on. None where a logit
    is not finite.
    """
    start = prompts_NT.shape[1]
    ids_NT = torch.from_numpy(prompts_NT.astype(np.int64)).to(model.device)
    for _ in range(num_tokens):
        last_ND = model.hidden_states(ids_NT[:, -sequence_length:])[:, -1]
        next_N = predicted(model.logits(last_ND))
        if next_N is None:
            return None
        ids_NT = torch.cat((ids_NT, next_N[:, None]), dim=1)
    generated: NDArray[np.int64] = ids_NT[:, start:].cpu().numpy()
    return generated


def sample_measures(ids_NT: NDArray[np.int64] | None) -> dict[str, Value]:
    """``sample/...`` of continuations (N, T), each None where there are none.

    Raises:
        ValueError: no continuation, or one shorter than 4 tokens.
    """
    measures = {"sample/seq_rep_4": seq_rep_4, "sample/distinct_2": distinct_2}
    return {name: None if ids_NT is None else measure(ids_NT) for name, measure in measures.items()}


def seq_rep_4(ids_NT: NDArray[np.int64]) -> float:
    """1 - distinct/total 4-grams within a continuation, mean over continuations (Welleck et al. 2020)."""
    repeated = [1.0 - len(set(grams)) / len(grams) for grams in _ngrams(ids_NT, 4)]
    return sum(repeated) / len(repeated)


def distinct_2(ids_NT: NDArray[np.int64]) -> float:
    """Distinct/total bigrams, all continuations pooled (Li et al. 2016)."""
    grams = [gram for row in _ngrams(ids_NT, 2) for gram in row]
    return len(set(grams)) / len(grams)


def _ngrams(ids_NT: NDArray[np.int64], n: int) -> list[list[tuple[int, ...]]]:
    """The n-grams of each row."""
    if len(ids_NT) == 0 or ids_NT.shape[1] < n:
        raise ValueError(f"continuations of shape {ids_NT.shape} hold no {n}-gram")
    return [[tuple(row[i : i + n]) for i in range(len(row) - n + 1)] for row in ids_NT.tolist()]
