"""Fixed pieces of the held-out split, the same for every seed: what the measures read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitnet_sweep.data.tokens import Corpus, Tokens

Ids = npt.NDArray[np.int64]

_TARGETS_AT_ONCE = 512
"""Bounds what one forward pass holds, the hidden states of so many tokens."""


def heldout_windows(corpus: Corpus, sequence_length: int, num_tokens: int = 4096) -> list[tuple[Ids, Ids]]:
    """Inputs ``x_BT`` and targets ``y_BT`` with exactly ``num_tokens`` targets in all.

    Windows of ``sequence_length`` that do not overlap, spread evenly from the first held-out token to
    the last, a shorter one at the end where the length does not divide; fewer targets only where the
    split has no more. In batches of at most 512 targets (or one window).
    """
    tokens = np.asarray(corpus.heldout)
    targets = min(num_tokens, len(tokens) - 1)
    full, rest = divmod(targets, sequence_length)
    gaps = max(1, full + (rest > 0) - 1)
    spare = len(tokens) - 1 - targets
    starts = [i * sequence_length + i * spare // gaps for i in range(full + (rest > 0))]
    rows = max(1, _TARGETS_AT_ONCE // sequence_length)
    batches = [
        _shifted(tokens, starts[i : min(i + rows, full)], sequence_length) for i in range(0, full, rows)
    ]
    if rest:
        batches.append(_shifted(tokens, starts[full:], rest))
    return batches


def text_contexts(corpus: Corpus, num: int, length: int) -> tuple[Ids, Ids]:
    """Contexts ``[num, length]``, spread evenly, and the token that follows each ``[num]``.

    One from the middle of each of ``num`` equal stretches of the held-out split.
    """
    windows = _spread(corpus, num, length + 1)
    return windows[:, :-1], windows[:, -1]


def prompts(corpus: Corpus, num: int, length: int) -> Ids:
    """Prompts ``[num, length]`` for samples, spread as :func:`text_contexts` does."""
    return _spread(corpus, num, length)


def _spread(corpus: Corpus, num: int, width: int) -> Ids:
    tokens = np.asarray(corpus.heldout)
    starts = (2 * np.arange(num) + 1) * (len(tokens) - width) // (2 * num)
    return _windows(tokens, starts, width)


def _shifted(tokens: Tokens, starts: list[int], length: int) -> tuple[Ids, Ids]:
    windows = _windows(tokens, np.array(starts), length + 1)
    return windows[:, :-1], windows[:, 1:]


def _windows(tokens: Tokens, starts: Ids, width: int) -> Ids:
    return np.asarray(tokens[starts[:, None] + np.arange(width)], np.int64)
