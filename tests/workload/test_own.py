"""A task of one's own under the engine: its loop stops, forks and goes on without changing a bit."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bitnet_sweep.config import (
    ConfigError,
    DataConfig,
    DataName,
    ModelConfig,
    RunConfig,
    SweepConfig,
    TrackConfig,
    TrackName,
    from_plain,
    plain,
    recorded,
)
from bitnet_sweep.conformance import findings, task_checks
from bitnet_sweep.doors import settled
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.parts import known
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import FAILED, FINISHED, Store
from bitnet_sweep.sweep.exits import InterruptedRunError
from bitnet_sweep.sweep.job import Hooks, Job
from bitnet_sweep.task import pack, unpack
from bitnet_sweep.workload import Step
from bitnet_sweep.workload.find import check_all
from bitnet_sweep.workload.generators import Generators
from bitnet_sweep.workload.own import TaskError
from tests.workload import toys

CPU = torch.device("cpu")


def config_of(store, **changes) -> RunConfig:
    fields: dict[str, Any] = {
        "task": "toy",
        "steps": 20,
        "lr": 0.1,
        "probe_every_steps": 5,
        "checkpoint_every_steps": 3,
        "track": TrackConfig(name=TrackName.none),
        "store": str(store),
    }
    return settled(resolve(RunConfig(**(fields | changes))))


def complete(config, **hooks):
    return Job(config, "group", [], Hooks(**hooks)).complete()


def folder_of(config):
    return Store(Path(config.store)).run(stage_ids(config, "")[-1])


def result(config):
    """Records without what time decides, the log, and every tensor that the run left."""
    folder = folder_of(config)
    records = [{k: v for k, v in record.items() if not k.startswith("perf/")} for record in folder.records()]
    return records, folder.log(), {name: t.tolist() for name, t in load_file(folder.final_path).items()}


def boundary(config):
    return json.loads(
        (Store(Path(config.store)).stage(stage_ids(config, "")[0]).path / "boundary.json").read_text()
    )


@pytest.mark.slow
def test_a_fork_equals_the_straight_run(tmp_path):
    alone = config_of(tmp_path / "alone", wd2=0.05, sweep=SweepConfig(share_stages=False))
    complete(alone)
    complete(config_of(tmp_path / "shared", wd2=0.0))
    forked, steps = config_of(tmp_path / "shared", wd2=0.05), list[Step]()
    complete(forked, on_step=steps.append)
    assert [step.step for step in steps] == list(range(11, 21))
    assert result(alone) == result(forked)


def test_stopped_anywhere_it_goes_on_to_the_same_bits(tmp_path):
    calm, broken = config_of(tmp_path / "calm"), config_of(tmp_path / "broken")
    complete(calm)
    starts = []
    while True:
        seen: list[Step] = []
        try:
            complete(broken, should_stop=lambda seen=seen: len(seen) >= 3, on_step=seen.append)
        except InterruptedRunError:
            starts.append(seen[0].step)
            random.random(), np.random.rand(), torch.rand(1)  # what others draw meanwhile
            continue
        break
    assert len(starts) >= 5
    assert result(calm) == result(broken)
    assert boundary(calm) == boundary(broken)


def test_killed_between_checkpoints_it_trains_those_steps_again(tmp_path):
    calm, broken = config_of(tmp_path / "calm"), config_of(tmp_path / "broken")
    complete(calm)

    def die(step):
        if step.step == 17:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        complete(broken, on_step=die)
    steps = list[Step]()
    complete(broken, on_step=steps.append)
    assert steps[0].step == 16, "behind the checkpoint of step 15"
    assert result(calm) == result(broken)


def test_what_a_record_says(tmp_path):
    config = config_of(tmp_path)
    losses = list[float]()
    status = complete(config, on_step=lambda step: losses.append(step.loss))
    records = folder_of(config).records()
    assert [(r["step"], r["stage"], r["tokens_seen"]) for r in records] == [
        (1, 1, 8),
        (5, 1, 40),
        (10, 1, 80),
        (15, 2, 120),
        (20, 2, 160),
    ]
    assert [r["optim/weight_decay"] for r in records] == [0.1, 0.1, 0.1, 0.0, 0.0]
    assert [r["train/loss_batch"] for r in records] == [losses[r["step"] - 1] for r in records]
    assert records[1]["train/loss"] == pytest.approx(sum(losses[1:5]) / 4, rel=1e-12)
    assert records[1]["train/seen"] == (16 + 24 + 32 + 40) / 4
    assert {r["optim/grad_norm"] for r in records} == {2.0}
    assert len({r["probe/shift"] for r in records}) == 1, "every probe draws the same"
    assert len({r["val/loss"] for r in records}) == 5
    assert all(r["perf/step_ms"] > 0 and r["perf/tokens_per_s"] > 0 for r in records)
    assert not [key for r in records for key in r if key.startswith(("ternary/", "blocks/"))]
    assert (status.state, status.outcome) == (
        FINISHED,
        "healthy" if records[2]["val/loss"] < 4 else "recovered",
    )
    assert [row["step"] for row in folder_of(config).log()] == list(range(1, 21))


def test_the_probe_interval_changes_no_weight(tmp_path):
    rare, often = (config_of(tmp_path / str(n), probe_every_steps=n) for n in (20, 1))
    complete(rare)
    complete(often)
    assert result(rare)[2] == result(often)[2]


def test_divergence_is_a_result(tmp_path):
    config = config_of(tmp_path, task_options={"explodes_at": 7})
    status = complete(config)
    last = folder_of(config).records()[-1]
    assert (status.state, status.outcome, status.diverged_step) == (FINISHED, "diverged", 7)
    assert (last["step"], last["train/loss_batch"], last["val/loss"]) == (7, None, None)
    other = config_of(tmp_path, task_options={"explodes_at": 7}, wd2=0.05)
    steps = list[Step]()
    assert complete(other, on_step=steps.append).outcome == "diverged"
    assert steps == []


def test_a_store_keeps_what_concerns_the_task(tmp_path):
    config = config_of(tmp_path, task_options={"width": 5})
    document = recorded(config)
    assert from_plain(document) == config
    assert {"model", "data", "tokenizer", "loss", "optimizer", "precision", "batch_size"}.isdisjoint(document)
    assert recorded(resolve(RunConfig())) == plain(resolve(RunConfig()))


def test_seeds_and_options_are_other_runs(tmp_path):
    ids = {
        stage_ids(config_of(tmp_path, **changes), "")[-1]
        for changes in ({}, {"seed": 1}, {"task_options": {"width": 5}}, {"wd2": 0.05}, {"steps": 30})
    }
    assert len(ids) == 5
    assert stage_ids(config_of(tmp_path, task_options={"width": 4}), "") == stage_ids(config_of(tmp_path), "")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"model": ModelConfig(hidden=64)}, "model.hidden"),
        ({"batch_size": 8}, "batch_size"),
        ({"data": DataConfig(name=DataName.wikitext2)}, "data.name"),
    ],
)
def test_what_is_the_transformers_own_is_refused(tmp_path, changes, key):
    with pytest.raises(ConfigError, match=rf"^{key}=\w+: is the transformer's own; task=toy takes"):
        config_of(tmp_path, **changes)


@pytest.mark.parametrize(
    ("method", "returned", "told"),
    [
        ("step", {"val": 1.0}, "task=toy: step() must return loss; it returned val"),
        ("step", None, "task=toy: step() must return numbers by name; it returned a NoneType"),
        ("step", {"loss": "low"}, "task=toy: step() must return numbers by name; it returned loss as str"),
        (
            "step",
            {"loss": torch.zeros(2)},
            "task=toy: step() must return numbers by name; it returned loss as Tensor",
        ),
        ("probe", {"loss": 1.0}, "task=toy: probe() must return val/loss; it returned loss"),
        (
            "probe",
            {"val/loss": 1.0, "step": 3},
            "task=toy: probe() must not return step, which the engine tells",
        ),
        ("export", {"w": torch.zeros(2)}, "export() must return tensors and facts; it returned a dict"),
        ("export", ({"w": 3}, {}), "export() must give tensors by name; w is a int"),
    ],
)
def test_a_broken_task_fails_in_one_line(tmp_path, monkeypatch, method, returned, told):
    monkeypatch.setattr(toys.Toy, method, lambda self, *arguments: returned)
    config = config_of(tmp_path)
    with pytest.raises(TaskError) as error:
        complete(config)
    assert str(error.value) == told
    status = folder_of(config).status()
    assert status is not None
    assert (status.state, told in (status.error or "")) == (FAILED, True)


def test_packing_comes_back_as_it_was():
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2)).sum().backward()
    optimizer.step()
    own = {"a": [1, (2.5, float("nan")), None, True], 3: {"deep": torch.arange(3)}, "inf": float("inf")}
    tensors, facts = pack(model=model, optimizer=optimizer, own=own)
    facts = json.loads(json.dumps(facts, allow_nan=False))
    other = torch.nn.Linear(2, 2)
    again, found = torch.optim.SGD(other.parameters(), lr=1.0), dict[Any, Any]()
    unpack(tensors, facts, model=other, optimizer=again, own=found)
    assert all(a.equal(b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    before, after = optimizer.state_dict(), again.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert after["state"][0]["momentum_buffer"].equal(before["state"][0]["momentum_buffer"])
    assert repr(found) == repr(own)
    assert found[3]["deep"].data_ptr() != tensors["own/3/deep"].data_ptr()


def test_what_no_checkpoint_holds_is_named():
    with pytest.raises(TypeError, match="own/rule/0 is a function"):
        pack(own={"rule": [lambda step: step]})


def test_tied_weights_are_saved(tmp_path, monkeypatch):
    """Two names of one tensor, which a file cannot hold as one."""
    shared = torch.arange(4.0)
    monkeypatch.setattr(toys.Toy, "weights", lambda self, state: {"a": shared, "b": shared}, raising=False)
    config = config_of(tmp_path)
    complete(config)
    assert {name: t.tolist() for name, t in load_file(folder_of(config).final_path).items()} == {
        name: [0, 1, 2, 3] for name in "ab"
    }


def test_generators_are_ones_own():
    def drawn():
        return random.random(), np.random.rand(), torch.rand(()).item()

    random.seed(5)
    before = random.getstate()
    generators = Generators(3, CPU)
    assert random.getstate() == before
    with generators.in_use():
        first = drawn()
    tensors, facts = generators.export()
    with generators.in_use():
        second = drawn()
    other = Generators(9, CPU)
    other.restore(tensors, json.loads(json.dumps(facts)))
    with other.in_use():
        assert drawn() == second != first
    assert random.getstate() == before


@pytest.mark.slow
def test_the_check_finds_what_a_checkpoint_lacks(monkeypatch):
    """As ``python -m bitnet_sweep.parts check`` does."""
    (part,) = [part for part in [known("task", "toy")] if part is not None]
    assert [sound for _, _, sound in findings(part, {}, task_checks(part, {}))] == [True]
    monkeypatch.setattr(toys.Toy, "restore", lambda self, state, tensors, facts: None)
    ((name, told, sound),) = findings(part, {}, task_checks(part, {}))
    assert (name, sound) == ("training", False)
    assert told.startswith("forked from its trunk, training log: from step ")


@pytest.mark.parametrize("method", ["fresh", "step", "probe", "export", "restore"])
def test_a_task_without_one_of_its_methods_is_refused_before_anything_starts(monkeypatch, method):
    monkeypatch.delattr(toys.Toy, method)
    with pytest.raises(ConfigError) as refused:
        check_all([RunConfig(task="toy")])
    assert str(refused.value).startswith(f"task=toy: has no method {method}(); a task has fresh, step, probe")
