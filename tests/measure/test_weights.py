"""Root mean squares by hand."""

from __future__ import annotations

import pytest
import torch

from bitnet_sweep.config import ModelConfig
from bitnet_sweep.measure.weights import weight_rms
from bitnet_sweep.model.transformer import Transformer


def model_of(tied: bool) -> Transformer:
    model = Transformer(ModelConfig(hidden=2, num_layers=1, num_heads=1, tied=tied), 16, seed=0)
    with torch.no_grad():
        model.embedding.copy_(torch.tensor([[1.0, -1.0], [5.0, 3.0]]).repeat(8, 1))
        if model.head is not None:
            model.head.fill_(-1e-25)  # its square is no float32
    return model


def test_untied() -> None:
    assert weight_rms(model_of(tied=False)) == {
        "weights/embedding_rms": pytest.approx(3.0),  # (1 + 1 + 25 + 9) / 4 = 9
        "weights/head_rms": pytest.approx(1e-25, rel=1e-6, abs=0),
    }


def test_a_tied_head_is_the_embedding() -> None:
    assert weight_rms(model_of(tied=True)) == {
        "weights/embedding_rms": pytest.approx(3.0),
        "weights/head_rms": pytest.approx(3.0),
    }
