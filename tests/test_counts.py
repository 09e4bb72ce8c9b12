"""Parameter counts: the published setting by formula, real models by counting, no torch needed."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from bitnet_sweep.config import GateActivation, ModelConfig, NormPlace, Weights
from bitnet_sweep.counts import ParameterCounts, predicted_counts
from bitnet_sweep.model.transformer import Transformer


def counted(config: ModelConfig, vocab_size: int) -> ParameterCounts:
    """Of a model that exists."""
    model = Transformer(config, vocab_size, seed=0)
    ternary = [layer for layer in model.bitlinears().values() if layer.weights is Weights.ternary]
    embedding = model.embedding.numel() + (0 if model.head is None else model.head.numel())
    return ParameterCounts(
        total=sum(parameter.numel() for parameter in model.parameters()),
        ternary=sum(layer.weight.numel() for layer in ternary),
        embedding=embedding,
    )


@pytest.mark.parametrize(
    ("hidden", "total"),
    [(256, 28_360_448), (512, 61_963_776), (768, 100_809_984), (1024, 144_899_072)],
)
def test_notes_sizes(hidden: int, total: int) -> None:
    assert total == 2 * 50257 * hidden + 40 * hidden**2 + 29 * hidden
    counts = predicted_counts(ModelConfig(hidden=hidden), 50257)
    assert (counts.total, counts.ternary, counts.embedding) == (total, 40 * hidden**2, 2 * 50257 * hidden)
    with torch.device("meta"):
        assert counted(ModelConfig(hidden=hidden), 50257) == counts


@pytest.mark.parametrize(
    ("config", "total", "ternary", "embedding"),
    [
        # block: matrices 3*16 + 16 + 2*4*8 + 8*4 = 160, gains 2*4 + (4 + 4 + 4 + 8) = 28; final gain 4
        pytest.param(ModelConfig(4, 1, 2), 80 + 160 + 28 + 4, 160, 80, id="one block, V=10"),
        pytest.param(ModelConfig(4, 3, 1), 80 + 3 * 188 + 4, 480, 80, id="three blocks"),
        pytest.param(ModelConfig(4, 1, 2, tied=True), 40 + 188 + 4, 160, 40, id="tied"),
        # ffn=5: matrices 64 + 3*4*5 = 124, gains 8 + 12 + 5 = 25
        pytest.param(ModelConfig(4, 1, 2, ffn=5), 80 + 124 + 25 + 4, 124, 80, id="ffn 5"),
        pytest.param(ModelConfig(4, 1, 2, weights=Weights.full), 272, 0, 80, id="nothing ternary"),
        # without the gains 2*4 before the sublayers
        pytest.param(
            ModelConfig(4, 1, 2, norm=NormPlace.inside), 80 + 160 + 20 + 4, 160, 80, id="norm inside"
        ),
        pytest.param(ModelConfig(4, 1, 2, activation=GateActivation.silu), 272, 160, 80, id="silu"),
    ],
)
def test_small_models_by_hand(config: ModelConfig, total: int, ternary: int, embedding: int) -> None:
    counts = predicted_counts(config, 10)
    assert (counts.total, counts.ternary, counts.embedding) == (total, ternary, embedding)
    assert counted(config, 10) == counts


def test_counting_needs_no_torch() -> None:
    code = "import sys, bitnet_sweep.counts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
