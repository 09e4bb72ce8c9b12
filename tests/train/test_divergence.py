"""A run whose loss stops being finite: where it ends, and what its last record does not claim to know."""

import math

import pytest

from bitnet_sweep.config import Knot, OptimizerConfig, OptimizerName, Precision, Stage
from bitnet_sweep.data import Batches, prepare
from bitnet_sweep.runtime import prepare_process
from bitnet_sweep.store import checkpoint
from bitnet_sweep.train.loop import train
from bitnet_sweep.train.probe import build_probe
from bitnet_sweep.train.state import TrainState


@pytest.fixture
def diverging(tiny):
    """Makes configs of 200 steps; at ``step`` an update begins to make the weights infinite."""

    def make(step, **changes):
        path = [Knot(0, 1e-3), Knot(step - 1, 1e-3), Knot(step, 1e38), Knot(200, 1e38)]
        optimizer = OptimizerConfig(name=OptimizerName.adamw, clip=None)
        stages = [Stage(steps=200, weight_decay=0.0, lr=path)]
        return tiny(steps=200, optimizer=optimizer, stages=stages, wd1=0.0, wd2=0.0, **changes)

    return make


def trained(config, folder):
    """Every step, the records among them, and the samples of the last."""
    corpus = prepare(config, folder)
    batches = Batches(
        corpus,
        seed=config.seed,
        batch_size=config.batch_size,
        sequence_length=config.sequence_length,
        order=config.data.order,
    )
    state = TrainState.fresh(config, prepare_process(1, config.device))
    steps = list(train(config, state, batches, build_probe(config, corpus), config.steps))
    assert state.diverged
    return steps, [step.record for step in steps if step.record is not None]


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("begins", [2, 40, 90], ids=["behind a probe", "between two", "before a probe"])
@pytest.mark.slow
def test_divergence_ends_the_run_wherever_it_comes(diverging, tmp_path, begins, precision):
    """Codes are followed only within the 20 steps before a probe; a loss can be lost at any step."""
    steps, records = trained(diverging(begins, probe_every_steps=100, precision=precision), tmp_path)
    last = records[-1]
    assert begins < last["step"] == steps[-1].step < begins + 4
    assert [record["step"] for record in records] == [1, last["step"]]
    assert last["train/loss_batch"] is last["val/loss"] is None
    assert last["ternary/window_steps"] == last["step"] - 1
    known = {name for name, value in last.items() if value is not None and not name.startswith("perf/")}
    assert {name for name in known if name.startswith(("val/", "sample/"))} == set()
    assert {name for name in known if "unique" in name or "argmax" in name} == {"probe/unique_tokens_human"}
    assert {name for name in known if name.endswith(("_frac", "_rate", "_freq"))} == set()


@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_a_gradient_without_a_norm_is_kept_in_checkpoints(tiny, tmp_path, norm):
    """The loss can be finite where the gradients are not: the run goes on, and can be stopped and resumed."""
    config = tiny()
    device = prepare_process(1, config.device)
    state = TrainState.fresh(config, device)
    state.loss_sum, state.grad_norm_sum, state.steps_since_record = 2.5, norm, 1
    checkpoint.save(tmp_path, "latest", *state.export())
    again = TrainState.fresh(config, device)
    again.restore(*checkpoint.load(tmp_path, "latest"))
    assert (again.loss_sum, again.steps_since_record) == (2.5, 1)
    assert math.isnan(again.grad_norm_sum), "null in the record, as it would have been"
