"""stage_id covers every config value that can influence a stage, and nothing that cannot."""

import copy
import dataclasses
from enum import Enum
from typing import cast

import numpy as np
import pytest

from bitnet_sweep.config import (
    ConfigError,
    Knot,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Precision,
    RunConfig,
    ScheduleConfig,
    Stage,
)
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.stages import resolve
from bitnet_sweep.track import run_name

# What each field's change must do to the ids of a two-stage run: (first stage, second stage).
BOTH, SECOND, NEITHER = (True, True), (False, True), (False, False)
CORPUS = "enters by the corpus fingerprint, which this test holds fixed"
STAGES = "enters by the stages that the function makes"
EXPECTED = {
    "task": BOTH,
    "task_options": BOTH,
    "task_version": BOTH,
    "scale": NEITHER,
    "model.hidden": BOTH,
    "model.num_layers": BOTH,
    "model.num_heads": BOTH,
    "model.ffn": BOTH,
    "model.tied": BOTH,
    "model.weights": BOTH,
    "model.activations": BOTH,
    "model.straight_through": BOTH,
    "model.norm": BOTH,
    "model.quantiser": BOTH,
    "model.quantiser_options": BOTH,
    "model.quantiser_version": BOTH,
    "model.hadamard": BOTH,
    "model.activation": BOTH,
    "model.name": BOTH,
    "model.options": BOTH,
    "model.version": BOTH,
    "lr": BOTH,
    "wd1": BOTH,
    "wd2": SECOND,
    "seed": BOTH,
    "steps": BOTH,
    "boundary": BOTH,
    "lr_boundary": BOTH,
    "batch_size": BOTH,
    "micro_batches": BOTH,
    "metrics": BOTH,
    "metric_options": BOTH,
    "metric_versions": BOTH,
    "ema": BOTH,
    "sequence_length": BOTH,
    "warmup_steps": BOTH,
    "probe_every_steps": BOTH,
    "checkpoint_every_steps": NEITHER,
    "log_every_steps": NEITHER,
    "schedule.name": NEITHER,
    "schedule.warmup": BOTH,
    "schedule.probe_every": BOTH,
    "schedule.checkpoint_every": NEITHER,
    "schedule.lr_bend_from": BOTH,
    "schedule.lr_bend_to": SECOND,
    "schedule.lr_final": SECOND,
    "schedule.function": STAGES,
    "schedule.options": STAGES,
    "schedule.version": STAGES,
    "schedule.set_after_update": BOTH,
    "schedule.lr_shape": BOTH,
    "schedule.decay_shape": BOTH,
    "optimizer.name": BOTH,
    "optimizer.beta1": BOTH,
    "optimizer.beta2": BOTH,
    "optimizer.eps": BOTH,
    "optimizer.decay": BOTH,
    "optimizer.clip": BOTH,
    "optimizer.momentum": BOTH,
    "optimizer.matrix_lr": BOTH,
    "optimizer.muon_scale": BOTH,
    "optimizer.torch_class": BOTH,
    "optimizer.options": BOTH,
    "optimizer.version": BOTH,
    "loss.label_smoothing": BOTH,
    "loss.z_loss": BOTH,
    "loss.ignore_end_of_text": BOTH,
    "data.name": CORPUS,
    "data.path": CORPUS,
    "data.text_field": CORPUS,
    "data.heldout_fraction": CORPUS,
    "data.order": BOTH,
    "data.lines": BOTH,
    "data.targets": BOTH,
    "data.heldout": BOTH,
    "data.source": CORPUS,
    "data.options": CORPUS,
    "data.version": CORPUS,
    "tokenizer.name": CORPUS,
    "tokenizer.vocab_size": BOTH,
    "tokenizer.path": CORPUS,
    "precision": BOTH,
    "device": NEITHER,
    "threads": NEITHER,
    "plugins": NEITHER,
    "store": NEITHER,
    "sweep.reuse": BOTH,
    **{
        f"track.{name}": NEITHER
        for name in ("name", "mode", "project", "entity", "base_url", "tags", "timeout_seconds")
    },
    **{
        f"sweep.{name}": NEITHER
        for name in (
            "name",
            "share_stages",
            "dry_run",
            "max_retries",
            "keep_stages",
            "keep_final",
            "exclude",
            "zip",
            "bisect",
            "until",
            "tolerance",
        )
    },
}


def _leaves(config, prefix=""):
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{prefix}{field.name}.")
        elif field.name != "stages":
            yield f"{prefix}{field.name}"


def _changed(value):
    """Another value of the same kind."""
    if isinstance(value, Enum):
        return next(member for member in type(value) if member is not value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value * 2 or 1
    if isinstance(value, float):
        return value * 0.75 or 0.25
    if isinstance(value, list):
        return [*value, "x"]
    if isinstance(value, dict):
        return {**value, "x": 1}
    return f"{value or ''}x"


BASE = RunConfig(steps=200, warmup_steps=None)


def test_every_field_is_judged():
    assert set(_leaves(BASE)) == set(EXPECTED)


@pytest.mark.parametrize(
    "name", [name for name, effect in EXPECTED.items() if effect not in (CORPUS, STAGES)]
)
def test_changing_a_field(name):
    config = copy.deepcopy(BASE)
    *path, last = name.split(".")
    owner = config
    for part in path:
        owner = getattr(owner, part)
    before = getattr(owner, last)
    replacement = {
        "sweep.tolerance": 0.01,
        "optimizer.options": {"momentum": 0.5},
        "model.ffn": 100,
        "warmup_steps": 20,
        "probe_every_steps": 7,
        "checkpoint_every_steps": 3,
        "log_every_steps": 3,
    }
    setattr(owner, last, replacement.get(name, _changed(before)))
    old, new = stage_ids(resolve(BASE), "corpus"), stage_ids(resolve(config), "corpus")
    if name in ("boundary", "lr_boundary"):
        new = [new[0], new[-1]]  # the boundaries no longer coincide: a third stage
    assert tuple(a != b for a, b in zip(old, new, strict=True)) == EXPECTED[name]


def test_the_corpus_counts():
    config = resolve(BASE)
    assert set(stage_ids(config, "one")).isdisjoint(stage_ids(config, "other"))


def test_a_stage_depends_on_its_parent():
    """Equal second stages after different first ones are different stages."""
    one, other = (stage_ids(resolve(RunConfig(wd1=wd1)), "corpus") for wd1 in (0.1, 0.2))
    assert one[1] != other[1]


def test_written_and_derived_stages_are_the_same():
    derived = resolve(RunConfig(steps=100))
    written = resolve(RunConfig(steps=100, stages=derived.stages))
    assert stage_ids(written, "corpus") == stage_ids(derived, "corpus")


def test_known_value():
    """An id must not drift by accident: stores of earlier versions would be trained again."""
    config = resolve(RunConfig(steps=100, precision=Precision.fp32))
    assert stage_ids(config, "corpus") == ["7f50e6e79cbf24b5", "5e9e2bad07c5d48c"]


def ids_of(config):
    return stage_ids(resolve(config), "corpus")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (RunConfig(wd2=0.0), RunConfig(wd2=-0.0)),
        (RunConfig(wd2=0.0), RunConfig(wd2=0)),
        (RunConfig(wd1=1.0), RunConfig(wd1=1)),
        (RunConfig(seed=3), RunConfig(seed=cast(int, np.uint32(3)))),
        (RunConfig(optimizer=OptimizerConfig(clip=1.0)), RunConfig(optimizer=OptimizerConfig(clip=1))),
        (RunConfig(optimizer=OptimizerConfig(beta1=0.0)), RunConfig(optimizer=OptimizerConfig(beta1=-0.0))),
        (RunConfig(loss=LossConfig(z_loss=0.0)), RunConfig(loss=LossConfig(z_loss=-0.0))),
        (RunConfig(schedule=ScheduleConfig(lr_final=0)), RunConfig(schedule=ScheduleConfig(lr_final=-0.0))),
        (
            RunConfig(steps=2, wd1=0, stages=[Stage(2, 0, [Knot(0, 0), Knot(2, 1)])]),
            RunConfig(steps=2, wd1=0.0, stages=[Stage(2, -0.0, [Knot(0, -0.0), Knot(2, 1.0)])]),
        ),
        (RunConfig(seed=5), RunConfig(seed=cast(int, np.int64(5)))),
        (RunConfig(wd2=0.5), RunConfig(wd2=np.float64(0.5))),
    ],
    ids=lambda config: "",
)
def test_equal_values_are_one_run(one, other):
    assert ids_of(one) == ids_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (RunConfig(seed=1764331200123456789), RunConfig(seed=1764331200123456790)),
        (RunConfig(seed=5), RunConfig(seed=5 + 2**32)),
        (RunConfig(seed=2**53), RunConfig(seed=2**53 + 1)),
        (RunConfig(wd2=0.3), RunConfig(wd2=0.1 + 0.2)),
    ],
    ids=lambda config: "",
)
def test_unequal_values_are_two_runs_with_two_names(one, other):
    assert ids_of(one)[-1] != ids_of(other)[-1]
    assert run_name(resolve(one)) != run_name(resolve(other))


@pytest.mark.parametrize(
    "make",
    [
        lambda: RunConfig(wd2=2**53 + 1),
        lambda: RunConfig(wd2=True),
        lambda: RunConfig(wd2=cast(float, "0.1")),
        lambda: RunConfig(wd2=float("nan")),
        lambda: RunConfig(wd2=10**400),
        lambda: RunConfig(seed=cast(int, 1.5)),
        lambda: RunConfig(seed=True),
        lambda: RunConfig(seed=2**63),
        lambda: ModelConfig(hidden=cast(int, "64")),
        lambda: Stage(2, float("inf"), []) and resolve(RunConfig(stages=[Stage(2000, float("inf"), [])])),
    ],
)
def test_what_is_no_such_number_is_refused(make):
    with pytest.raises(ConfigError):
        make()
