"""Sizes of the matrices that are not BitLinears."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bitnet_sweep.model.interface import Model
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.records import Value


def weight_rms(model: Model) -> dict[str, Value]:
    """Root mean square of embedding and head; a tied head is the embedding.

    None of a model of a user's own: which of its matrices they are is not known.
    """
    if not isinstance(model, Transformer):
        return {"weights/embedding_rms": None, "weights/head_rms": None}
    head = model.embedding if model.head is None else model.head
    return {"weights/embedding_rms": _rms(model.embedding), "weights/head_rms": _rms(head)}


@torch.no_grad()
def _rms(w: Tensor) -> float:
    # float64: the square of a weight that decayed to 1e-23 is 0 in float32
    norm: float = torch.linalg.vector_norm(w, dtype=torch.float64).item()
    return norm / math.sqrt(w.numel())
