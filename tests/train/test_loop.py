"""The loop against one as a researcher would write it, with torch's own optimizers, clipping and loss."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from bitnet_sweep.config import LossConfig, OptimizerConfig, OptimizerName, Precision, RunConfig
from bitnet_sweep.data import Batches, prepare
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.runtime import prepare_process
from bitnet_sweep.train.loop import train
from bitnet_sweep.train.state import TrainState

LR, CLIP = 2e-3, 0.5
FALL = (2 / 3 - 0.001) / 4
RATES = [LR * share for share in (1 / 2, 1, 5 / 6, 2 / 3, *(2 / 3 - k * FALL for k in (1, 2, 3, 4)))]
"""Warm-up over two of eight steps, to 2/3 at the middle, to 0.001 at the end."""
DECAY = {OptimizerName.adam_l2: 0.004, OptimizerName.adamw: 0.04, OptimizerName.sgd: 0.004}
"""Of the first half: about as strong as the gradients, so that neither hides the other."""
LOSS: dict[str, Any] = {"label_smoothing": 0.2, "z_loss": 0.01}
LARGE_EPS: dict[str, Any] = {"eps": 0.1}
"""Adam would hide the size of a gradient, and with it the clip, but for a large eps."""
OPTIMIZERS: dict[OptimizerName, tuple[dict[str, Any], Any]] = {
    OptimizerName.adam_l2: (LARGE_EPS, partial(torch.optim.Adam, betas=(0.9, 0.95), **LARGE_EPS)),
    OptimizerName.adamw: (LARGE_EPS, partial(torch.optim.AdamW, betas=(0.9, 0.95), **LARGE_EPS)),
    OptimizerName.sgd: ({"momentum": 0.5}, partial(torch.optim.SGD, momentum=0.5)),
}
"""Settings of ours and torch's own; the others move by a sign or a direction alone, which rounding turns."""


@pytest.fixture
def world(tiny, tmp_path):
    """Configs of eight steps, each with a record, and the batches they read."""

    def make(name: OptimizerName, precision: Precision) -> tuple[RunConfig, Batches]:
        config = tiny(
            steps=8,
            lr=LR,
            wd1=DECAY[name],
            wd2=0.0,
            warmup_steps=2,
            probe_every_steps=1,
            precision=precision,
            optimizer=OptimizerConfig(name=name, clip=CLIP, **OPTIMIZERS[name][0]),
            loss=LossConfig(**LOSS),
        )
        corpus = prepare(config, tmp_path)
        shape = {"batch_size": config.batch_size, "sequence_length": config.sequence_length}
        return config, Batches(corpus, seed=config.seed, order=config.data.order, **shape)

    return make


def plain(
    config: RunConfig,
    batches: Batches,
    *,
    rates: Sequence[float] = RATES,
    decaying_steps: int = 4,
    clip: float = CLIP,
    label_smoothing: float = LOSS["label_smoothing"],
    z_loss: float = LOSS["z_loss"],
) -> tuple[torch.Tensor, list[float], list[float]]:
    """The change of all weights, each step's objective, and its gradient norm before clipping."""
    model = Transformer(config.model, config.tokenizer.vocab_size, config.seed, Precision.fp32)
    before = torch.nn.utils.parameters_to_vector(model.parameters()).clone()
    optimizer = OPTIMIZERS[config.optimizer.name][1](model.parameters())
    losses, norms = [], []
    for step, rate in enumerate(rates, start=1):
        x_BT, y_BT = map(torch.from_numpy, batches.batch_at(step))
        logits_NV = model(x_BT).flatten(0, 1)
        objective = F.cross_entropy(logits_NV, y_BT.flatten(), label_smoothing=label_smoothing)
        objective = objective + z_loss * logits_NV.logsumexp(-1).square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(objective)
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), clip).item())
        decay = DECAY[config.optimizer.name] if step <= decaying_steps else 0.0
        optimizer.param_groups[0].update(lr=rate, weight_decay=decay)
        optimizer.step()
        losses.append(objective.item())
    return torch.nn.utils.parameters_to_vector(model.parameters()) - before, losses, norms


def apart(change: torch.Tensor, expected: torch.Tensor) -> float:
    """As a share of what is expected."""
    with torch.no_grad():
        return float((change - expected).norm() / expected.norm())


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_loop_equals_a_plain_one(world, name, precision):
    config, batches = world(name, precision)
    state = TrainState.fresh(config, prepare_process(1, config.device))
    before = torch.nn.utils.parameters_to_vector(state.model.parameters()).clone()
    steps = train(config, state, batches, lambda *_: ({}, []), config.steps)
    records = [step.record for step in steps if step.record is not None]
    assert [record["optim/lr"] for record in records] == pytest.approx(RATES)
    assert [record["optim/weight_decay"] for record in records] == [DECAY[name]] * 4 + [0.0] * 4
    change, losses, norms = plain(config, batches)
    exact = precision is Precision.fp32
    assert [record["train/loss_batch"] for record in records] == pytest.approx(
        losses, rel=1e-5 if exact else 1e-2
    )
    assert [record["optim/grad_norm"] for record in records] == pytest.approx(
        norms, rel=1e-3 if exact else 0.1
    )
    got = torch.nn.utils.parameters_to_vector(state.model.parameters()) - before
    assert apart(got, change) < (1e-3 if exact else 0.1)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"clip": 1e9},
        {"rates": [0.0, *RATES[:-1]]},
        {"decaying_steps": 0},
        {"label_smoothing": LOSS["z_loss"], "z_loss": LOSS["label_smoothing"]},
    ],
    ids=["no clip", "the rate a step late", "no decay", "the losses mixed up"],
)
@pytest.mark.few(5)
@pytest.mark.slow
def test_the_plain_loop_would_tell_a_wrong_one(world, name, wrong):
    """Each mistake takes the weights further off than the test above allows at ``mixed``."""
    config, batches = world(name, Precision.fp32)
    assert apart(plain(config, batches, **wrong)[0], plain(config, batches)[0]) > 0.1
