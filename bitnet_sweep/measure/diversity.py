"""The notes' probe: how many different tokens a model predicts after 20 short contexts."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bitnet_sweep.measure.predictions import predicted
from bitnet_sweep.model.interface import Model
from bitnet_sweep.records import Value

NUM_CONTEXTS = 20
"""Published: the notes' probe."""

CONTEXT_LENGTH = 8
"""Tokens of a context (published: the notes' probe)."""

CONTEXT_SEED = 1258
"""Seed of the random contexts (chosen once); the run's seed has no say."""


class DiversityProbe:
    """20 contexts of 8 random ids, and 20 of 8 ids of held-out text.

    Args:
        vocab_size: V; the random ids depend on nothing else.
        text_contexts: held-out ids (20, 8).
        text_next: the ids that truly follow them (20).

    Raises:
        ValueError: contexts of another shape.
    """

    def __init__(
        self, vocab_size: int, text_contexts: NDArray[np.int64], text_next: NDArray[np.int64]
    ) -> None:
        shape = (NUM_CONTEXTS, CONTEXT_LENGTH)
        if text_contexts.shape != shape or text_next.shape != shape[:1]:
            raise ValueError(f"text contexts have the shapes {text_contexts.shape} and {text_next.shape}")
        generator = torch.Generator("cpu").manual_seed(CONTEXT_SEED)
        self.random_contexts = torch.randint(vocab_size, shape, generator=generator)
        self.text_contexts = torch.from_numpy(text_contexts.astype(np.int64))
        self._human = len(np.unique(text_next))

    def measure(self, model: Model) -> dict[str, Value]:
        """Distinct argmax predictions at the last position, of 20; beside them those of the text itself."""
        return {
            "probe/unique_tokens": distinct_predictions(model, self.random_contexts),
            "probe/unique_tokens_text": distinct_predictions(model, self.text_contexts),
            "probe/unique_tokens_human": self._human,
        }


@torch.no_grad()
def distinct_predictions(model: Model, contexts_BT: torch.Tensor) -> int | None:
    """How many different ids are the argmax prediction behind the last position of the contexts.

    None where a logit is not finite.
    """
    last_BD = model.hidden_states(contexts_BT.to(model.device))[:, -1]
    ids_B = predicted(model.logits(last_BD))
    return None if ids_B is None else len(set(ids_B.tolist()))
