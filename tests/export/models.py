"""Small random models, and what they and their exports are asked."""

import random
from pathlib import Path

import torch

from bitnet_sweep.config import (
    Activations,
    DataConfig,
    GateActivation,
    ModelConfig,
    NormPlace,
    RunConfig,
    TokenizerConfig,
    Weights,
)
from bitnet_sweep.export import hf
from bitnet_sweep.export.parts import Parts
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.stages import resolve

NUM_ROWS = 6
WIDTHS = [(2, 1), (6, 3), (8, 2), (12, 2), (20, 5), (32, 4), (64, 4), (64, 1)]
"""Hidden width and heads; some of the matrices cannot be packed, for their rows do not divide by 4."""


def drawn(seed: int) -> RunConfig:
    """A random configuration that ``transformers`` can hold."""
    rng = random.Random(seed)
    hidden, heads = rng.choice(WIDTHS)
    model = ModelConfig(
        hidden=hidden,
        num_heads=heads,
        num_layers=rng.randint(1, 4),
        ffn=rng.choice([None, 7, 12, 3 * hidden]),
        tied=rng.random() < 0.5,
        weights=Weights.full if rng.random() < 0.2 else Weights.ternary,
        activations=Activations.int8,
        norm=rng.choice(list(NormPlace)),
        activation=rng.choice(list(GateActivation)),
    )
    return config_of(model, seed, sequence_length=rng.choice([2, 9, 33]), vocab_size=rng.randint(257, 400))


def config_of(model: ModelConfig, seed=0, sequence_length=16, vocab_size=300) -> RunConfig:
    tokenizer = TokenizerConfig(vocab_size=vocab_size)
    return resolve(
        RunConfig(
            model=model,
            seed=seed,
            steps=20,
            batch_size=2,
            sequence_length=sequence_length,
            data=DataConfig(),
            tokenizer=tokenizer,
        )
    )


def built(config: RunConfig) -> Transformer:
    """Untrained or trained a little, with gains of its own, and one matrix in four that says nothing."""
    rng = random.Random(config.seed)
    model = Transformer(config.model, config.tokenizer.vocab_size, config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    if rng.random() < 0.7:
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.data.uniform_(-0.5, 2, generator=generator)
    if rng.random() < 0.5:
        train(model, rows(config))
    for bitlinear in model.bitlinears().values():
        if rng.random() < 0.25:
            # below half of the smallest absmean all codes are 0
            bitlinear.weight.data *= rng.choice([0.0, 1e-7, 1e-4])
    return model


def train(model, asked, steps=20) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for x_BT, y_BT in asked * steps:
        optimizer.zero_grad()
        model.objective(x_BT, y_BT).backward()
        optimizer.step()


def rows(config: RunConfig):
    """Random ids: one pass of some rows and one of a single shorter row, as the held-out text has."""
    generator = torch.Generator().manual_seed(1)
    length = config.row_targets
    sizes = [(NUM_ROWS, length), (1, max(1, length - 1))]
    ids = [torch.randint(config.tokenizer.vocab_size, (b, t + 1), generator=generator) for b, t in sizes]
    return [(x_BT[:, :-1], x_BT[:, 1:]) for x_BT in ids]


def written(model: Transformer, config: RunConfig, folder: Path) -> Path:
    """The folder with the export."""
    folder.mkdir(exist_ok=True)
    hf.write_model(Parts.of(model), config, 0, folder)
    return folder
