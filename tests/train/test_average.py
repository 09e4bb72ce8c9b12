"""The running mean of the weights against torch's own, and what a run tells of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import bitnet_sweep
from bitnet_sweep.config import ConfigError, ModelConfig, Precision
from bitnet_sweep.data import fingerprint
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.measure.losses import HeldOut
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.store import Store
from bitnet_sweep.sweep.job import Hooks, Job
from bitnet_sweep.train.average import average_of, follow


@pytest.mark.parametrize("precision", list(Precision))
def test_it_equals_torchs(precision):
    model = Transformer(ModelConfig(hidden=8, num_layers=1, num_heads=2), 20, 0, precision)
    average = average_of(model)
    reference = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 5):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        follow(average, model, 0.9, step)
        reference.update_parameters(model)
        for mean, expected in zip(average.parameters(), reference.module.parameters(), strict=True):
            torch.testing.assert_close(mean, expected)
            assert not mean.requires_grad


def test_by_hand():
    """0.75 of 2 and 0.25 of 6: the first update left 2, and the initial weights count for nothing."""
    model = Transformer(ModelConfig(hidden=8, num_layers=1, num_heads=2), 20, 0)
    average = average_of(model)
    for step, value in enumerate((2.0, 6.0), start=1):
        with torch.no_grad():
            model.embedding.fill_(value)
        follow(average, model, 0.75, step)
    assert set(average.get_parameter("embedding").flatten().tolist()) == {3.0}


@pytest.mark.parametrize("precision", list(Precision))
def test_the_loss_alone_is_that_of_the_whole_measure(precision):
    model = Transformer(ModelConfig(hidden=8, num_layers=1, num_heads=2), 20, 0, precision)
    ids = np.arange(2 * 3 * 5).reshape(2, 3, 5) % 20
    windows = [(x_BT[:, :-1], x_BT[:, 1:]) for x_BT in ids]
    heldout = HeldOut(windows, np.ones(20, np.int64), 20, np.arange(40, dtype=np.uint16) % 20)
    assert heldout.loss(model) == heldout.measure(model)["val/loss"]


@pytest.mark.slow
def test_a_run_records_its_loss_and_keeps_both_weights(tiny):
    config = tiny(ema=0.9)
    Job(config, "group", [], Hooks()).complete()
    folder = Store(Path(config.store)).run(stage_ids(config, fingerprint(config))[-1])
    records = folder.records()
    assert records[0]["val/loss_ema"] == records[0]["val/loss"], "behind the first update it is the weights"
    assert all(record["val/loss_ema"] != record["val/loss"] for record in records[1:])
    trained = bitnet_sweep.load_run(config.store, folder.id)
    average = bitnet_sweep.load_run(config.store, folder.id, averaged=True)
    assert not torch.equal(trained.get_parameter("embedding"), average.get_parameter("embedding"))


@pytest.mark.slow
def test_without_it_nothing_is_told_or_kept(tiny):
    config = tiny()
    Job(config, "group", [], Hooks()).complete()
    folder = Store(Path(config.store)).run(stage_ids(config, fingerprint(config))[-1])
    assert all("val/loss_ema" not in record for record in folder.records())
    with pytest.raises(ConfigError, match=r"kept no mean of its weights \(ema=0\)"):
        bitnet_sweep.load_run(config.store, folder.id, averaged=True)
