"""What a checkpoint holds is all that training needs to go on."""

from typing import Any

import pytest
import torch

from bitnet_sweep.config import OptimizerName, Precision
from bitnet_sweep.data import Batches, prepare
from bitnet_sweep.runtime import prepare_process
from bitnet_sweep.store import checkpoint
from bitnet_sweep.train.loop import train
from bitnet_sweep.train.state import TrainState
from tests.optimizers import config_of

STEPS, STOP = 6, 3

CHANGES: dict[str, dict[str, Any]] = {name.name: {"optimizer": config_of(name)} for name in OptimizerName}
CHANGES |= {"micro-batches": {"micro_batches": 2}, "ema": {"ema": 0.5}}


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
@pytest.mark.slow
@pytest.mark.few(6)
def test_a_restored_state_goes_on_bit_for_bit(tiny, tmp_path, changes, precision):
    """Every tensor and every sum is the same as without a stop."""
    config = tiny(precision=precision, **changes)
    batches = Batches.of(config, prepare(config, tmp_path / "tokens"))
    device = prepare_process(1, config.device)

    def go_on(state: TrainState, until_step: int) -> None:
        assert [step.step for step in train(config, state, batches, lambda *_: ({}, []), until_step)]

    straight, stopped, resumed = (TrainState.fresh(config, device) for _ in range(3))
    go_on(straight, STEPS)
    go_on(stopped, STOP)
    checkpoint.save(tmp_path, "latest", *stopped.export())
    resumed.restore(*checkpoint.load(tmp_path, "latest"))
    go_on(resumed, STEPS)
    go_on(stopped, STEPS)
    tensors, facts = straight.export()
    for other in (resumed, stopped):
        other_tensors, other_facts = other.export()
        assert other_facts == facts
        assert other_tensors.keys() == tensors.keys()
        assert all(torch.equal(tensor, other_tensors[name]) for name, tensor in tensors.items())
