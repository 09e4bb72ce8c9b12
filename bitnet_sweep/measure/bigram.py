"""What counting pairs of tokens gets: the reference line above which a context is of no use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DISCOUNT = 0.75
"""Taken off every count of a pair (published: Church and Gale 1991, on 44 million words of news)."""

TABLE_BYTES = 32 * 2**20
"""Size of each of two tables over pairs (chosen: with the GPT-2 vocabulary 667 contexts a pass)."""

_TOKENS_AT_ONCE = 1 << 20

Ids = NDArray[np.int64]


def bigram_loss(
    x: Ids, y: Ids, train: NDArray[np.unsignedinteger], unigram_counts: NDArray[np.int64]
) -> float:
    """Mean negative log-likelihood of ``y`` behind ``x`` by absolute discounting, in nats per token.

    p(y|x) = max(c(x y) - d, 0) / c(x) + d n(x) / c(x) p(y),  with c the counts in the training split, n(x)
    the different ids that follow x there, d = 0.75, and p(y) the distribution of token counts + 1 that
    ``ref/unigram_loss`` is of. An x that nothing follows in the training split backs off to p(y) whole.

    Args:
        x: held-out ids.
        y: the id that follows each.
        train: the training split (1-D), read a piece at a time.
        unigram_counts: how often each id occurs in it (V).
    """
    x, y = x.ravel(), y.ravel()
    vocab_size = len(unigram_counts)
    smoothed = unigram_counts.astype(np.float64) + 1.0
    back_off = smoothed[y] / smoothed.sum()
    pairs, pair_of = np.unique(x * vocab_size + y, return_inverse=True)
    contexts, context_of = np.unique(x, return_inverse=True)
    pair_counts = np.zeros(len(pairs), np.int64)
    followed, followers = np.zeros(len(contexts), np.int64), np.zeros(len(contexts), np.int64)
    rows = max(1, TABLE_BYTES // vocab_size)
    for first in range(0, len(contexts), rows):
        some = slice(first, first + rows)
        begin, end = np.searchsorted(
            pairs, [contexts[some][0] * vocab_size, (contexts[some][-1] + 1) * vocab_size]
        )
        counted = _count(train, contexts[some], pairs[begin:end], vocab_size)
        followed[some], followers[some], pair_counts[begin:end] = counted
    total = followed[context_of]
    is_known = total > 0
    kept = np.maximum(pair_counts[pair_of] - DISCOUNT, 0.0)
    likelihood = back_off.copy()
    np.divide(kept + DISCOUNT * followers[context_of] * back_off, total, out=likelihood, where=is_known)
    return float(-np.log(likelihood).mean())


def _count(
    train: NDArray[np.unsignedinteger], contexts: Ids, pairs: Ids, vocab_size: int
) -> tuple[Ids, Ids, Ids]:
    """How often something follows each context, how many different ids do, and how often each pair occurs.

    Args:
        contexts: rising.
        pairs: ``context * vocab_size + next``, rising, of these contexts alone.
    """
    row_of = np.full(vocab_size, -1, np.int32)
    row_of[contexts] = np.arange(len(contexts), dtype=np.int32)
    cells = row_of[pairs // vocab_size].astype(np.int64) * vocab_size + pairs % vocab_size
    is_wanted = np.zeros(len(contexts) * vocab_size, np.bool_)
    is_wanted[cells] = True
    seen = np.zeros_like(is_wanted)
    followed, pair_counts = np.zeros(len(contexts), np.int64), np.zeros(len(pairs), np.int64)
    for start in range(0, len(train) - 1, _TOKENS_AT_ONCE):
        piece = np.asarray(train[start : start + _TOKENS_AT_ONCE + 1])
        row = row_of[piece[:-1]]
        is_ours = row >= 0
        row = row[is_ours]
        cell = row.astype(np.int64) * vocab_size + piece[1:][is_ours]
        followed += np.bincount(row, minlength=len(contexts))
        seen[cell] = True
        wanted = cell[is_wanted[cell]]
        pair_counts += np.bincount(np.searchsorted(cells, wanted), minlength=len(pairs))
    return followed, seen.reshape(len(contexts), vocab_size).sum(axis=1, dtype=np.int64), pair_counts
