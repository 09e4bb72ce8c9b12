"""Names and tags of runs, and the track group's YAML."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from bitnet_sweep.config import (
    Activations,
    DataConfig,
    DataName,
    Knot,
    ModelConfig,
    OptimizerConfig,
    OptimizerName,
    Order,
    Reuse,
    RunConfig,
    ScheduleConfig,
    Stage,
    SweepConfig,
    TokenizerConfig,
    TokenizerName,
    TrackConfig,
    TrackName,
    Weights,
)
from bitnet_sweep.stages import resolve
from bitnet_sweep.track import run_name, run_tags

SMOKE = {"model": ModelConfig(32, 2, 2), "tokenizer": TokenizerConfig(vocab_size=512)}
TEXT = partial(DataConfig, DataName.text)
TRILM: dict[str, Any] = {"lr_bend_from": 0.5, "lr_bend_to": 0.3125, "lr_final": 0.0}
CONF = Path(__file__).parents[2] / "conf" / "track"


def test_stages_by_hand_have_a_mark_of_their_own():
    first, second = resolve(RunConfig()).stages
    as_scheduled = resolve(RunConfig(stages=[first, second]))
    assert run_name(as_scheduled) == run_name(resolve(RunConfig()))
    by_hand = [
        resolve(RunConfig(lr=rate, stages=[first, Stage(1000, 0.0, [Knot(0, rate), Knot(1000, 0.0)])]))
        for rate in (1e-4, 2e-4)
    ]
    names = {run_name(config) for config in by_hand}
    assert len(names) == 2
    assert all(re.fullmatch(r"h256 wd2=0 lr=1.5e-3 s0 stages=[0-9a-f]{6}", name) for name in names)


def test_a_name_that_is_cut_stays_its_own():
    names = []
    for vocab_size in (4097, 4098):
        config = resolve(RunConfig(steps=21, batch_size=21, sequence_length=21, probe_every_steps=21))
        config.tokenizer = TokenizerConfig(vocab_size=vocab_size)
        config.schedule = ScheduleConfig(warmup=0.1, probe_every=0.2, lr_bend_from=0.3, lr_bend_to=0.4)
        names.append(run_name(config))
    assert len(set(names)) == 2
    assert all(len(name) <= 128 and re.search(r"=\S+ ~[0-9a-f]{6}$", name) for name in names)
    assert names[0].rpartition("~")[0] == names[1].rpartition("~")[0]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "h256 wd2=0 lr=1.5e-3 s0"),
        ({"wd2": 0.05, "seed": 7, "lr": 0.002}, "h256 wd2=0.05 lr=2e-3 s7"),
        ({"model": ModelConfig(hidden=1024)}, "h1024 wd2=0 lr=1.5e-3 s0"),
        ({"model": ModelConfig(ffn=100, tied=True)}, "h256 wd2=0 lr=1.5e-3 s0 ffn=100 tied=true"),
        (
            {
                "optimizer": OptimizerConfig(name=OptimizerName.adamw, clip=None),
                "model": ModelConfig(weights=Weights.full, activations=Activations.full),
            },
            "h256 wd2=0 lr=1.5e-3 s0 adamw full activations=full clip=off",
        ),
        ({"boundary": 0.4, "steps": 300}, "h256 wd2=0 lr=1.5e-3 s0 steps=300 boundary=0.4"),
        (
            {"scale": "seed", "tokenizer": TokenizerConfig(TokenizerName.gpt2, 50257), "steps": 10_000},
            "h256 wd2=0 lr=1.5e-3 s0 seed",
        ),
        (
            {"schedule": ScheduleConfig("trilm", **TRILM), "boundary": 2 / 3},
            "h256 wd2=0 lr=1.5e-3 s0 trilm",
        ),
        (
            {"schedule": ScheduleConfig("trilm", **TRILM | {"lr_final": 0.01}), "boundary": 0.5},
            "h256 wd2=0 lr=1.5e-3 s0 trilm boundary=0.5 lr_final=0.01",
        ),
        (
            {"schedule": ScheduleConfig("mine", lr_final=0.01)},
            "h256 wd2=0 lr=1.5e-3 s0 mine lr_final=0.01",
        ),
        (
            {"scale": "smoke", "steps": 40, **SMOKE},
            "h32 wd2=0 lr=1.5e-3 s0 smoke",
        ),
        (
            {"scale": "smoke", "steps": 60, **SMOKE, "model": ModelConfig(32, 3, 2)},
            "h32 wd2=0 lr=1.5e-3 s0 smoke num_layers=3 steps=60",
        ),
        ({"schedule": ScheduleConfig(lr_final=0.0)}, "h256 wd2=0 lr=1.5e-3 s0 lr_final=0"),
        ({"data": DataConfig(order=Order.sequential)}, "h256 wd2=0 lr=1.5e-3 s0 sequential"),
        ({"schedule": ScheduleConfig(checkpoint_every=0.2)}, "h256 wd2=0 lr=1.5e-3 s0"),
        (
            {"store": "x", "threads": 2, "sweep": SweepConfig(name="y"), "checkpoint_every_steps": 7},
            "h256 wd2=0 lr=1.5e-3 s0",
        ),
        (
            {"log_every_steps": 7},
            "h256 wd2=0 lr=1.5e-3 s0",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_name_says_what_is_special(changes: dict[str, Any], name: str) -> None:
    assert run_name(resolve(RunConfig(**changes))) == name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"data": TEXT(path="a/x.txt")}, {"data": TEXT(path="b/x.txt")}, id="paths"),
        pytest.param({"data": TEXT(path=["x.txt"])}, {"data": TEXT(path=["x.txt", "y.txt"])}, id="lists"),
        pytest.param(
            {"schedule": ScheduleConfig("trilm", lr_final=0.0)},
            {"schedule": ScheduleConfig("trilm", lr_final=0.1)},
            id="ends of a named schedule",
        ),
        pytest.param({}, {"sweep": SweepConfig(reuse=Reuse.same_code)}, id="by code"),
        pytest.param({"data": TEXT(path="x")}, {"data": TEXT(path="x", text_field="body")}, id="fields"),
    ],
)
def test_runs_that_differ_have_names_that_differ(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert run_name(resolve(RunConfig(**one))) != run_name(resolve(RunConfig(**other)))


def test_tags_are_what_one_filters_by() -> None:
    config = RunConfig(track=TrackConfig(tags=["mine", "ternary"]))
    assert run_tags(config, ["my-sweep", "other"]) == [
        "small",
        "adam_l2",
        "ternary",
        "sweep:my-sweep",
        "sweep:other",
        "mine",
    ]
    one, other = (run_tags(config, ["g" * 80 + end])[3] for end in "ab")
    assert len(one) == len(other) == 64
    assert one != other


def composed(name: str) -> TrackConfig:
    """The dataclass under one of the group's files."""
    merged = OmegaConf.merge(OmegaConf.structured(TrackConfig), OmegaConf.load(CONF / f"{name}.yaml"))
    track = OmegaConf.to_object(merged)
    assert isinstance(track, TrackConfig)
    return track


def test_yaml_without_surroundings_is_the_default() -> None:
    assert composed("wandb") == TrackConfig()
    assert composed("none") == TrackConfig(name=TrackName.none)


def test_yaml_follows_wandbs_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "p")
    monkeypatch.setenv("WANDB_ENTITY", "e")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    assert composed("wandb") == TrackConfig(project="p", entity="e", base_url="http://127.0.0.1:1")


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_variable_is_an_unset_one(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROJECT", "ENTITY", "BASE_URL"):
        monkeypatch.setenv(f"WANDB_{name}", value)
    assert composed("wandb") == TrackConfig()


def test_metrics_of_ones_own_are_told_with_their_versions():
    config = resolve(RunConfig(metrics=["share", "margin"], metric_versions=["1", "2"]))
    assert run_name(config).endswith(" s0 metrics=margin,share v1,2")
    config.metric_versions = ["1", "1"]
    assert run_name(config).endswith(" s0 metrics=margin,share"), "the first version says nothing"


@pytest.mark.parametrize(("version", "told"), [("1", ""), ("2", " v2"), (None, "")])
def test_an_optimizer_of_ones_own_is_told_by_its_name(version, told):
    optimizer = OptimizerConfig(
        OptimizerName.torch, torch_class="sign", options={"momentum": 0.9}, version=version
    )
    assert run_name(resolve(RunConfig(optimizer=optimizer))) == (
        f"h256 wd2=0 lr=1.5e-3 s0 sign momentum=0.9{told}"
    )
