"""Metrics of a user's own: what they are given, what is recorded, and what is refused of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from bitnet_sweep.app import config_folder, to_run_config
from bitnet_sweep.config import ConfigError, ModelConfig, RunConfig, TokenizerConfig, from_plain, plain
from bitnet_sweep.conformance import findings, metric_checks
from bitnet_sweep.doors import settled
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.measure.own import Batch, measure, metrics_of
from bitnet_sweep.model.interface import Model
from bitnet_sweep.model.own import make_model
from bitnet_sweep.parts import known, register
from bitnet_sweep.stages import resolve
from bitnet_sweep.track.naming import run_name

CONFIG = RunConfig(model=ModelConfig(16, 2, 2), tokenizer=TokenizerConfig(vocab_size=300))
IDS = np.arange(36).reshape(4, 9)
WINDOWS = [(IDS[:3, :-1], IDS[:3, 1:]), (IDS[3:, :5], IDS[3:, 1:6])]


def seen(model: Model, batches: Sequence[Batch]) -> Mapping[str, Any]:
    """Of each thing that it is promised."""
    assert not torch.is_grad_enabled()
    assert not model.training
    logits_BTV = model(batches[0][0])
    return {
        "tokens": sum(y_BT.numel() for _, y_BT in batches),
        "follows": float(all(torch.equal(x[:, 1:], y[:, :-1]) for x, y in batches)),
        "logits/width": logits_BTV.shape[-1],
        "drawn": torch.rand(()),
        "lost": torch.tensor(float("nan")),
    }


def writes(model: Model, batches: Sequence[Batch]) -> Mapping[str, Any]:
    next(model.parameters()).mul_(0.5)
    return {"one": 1}


def hides(model: Model, batches: Sequence[Batch]) -> Mapping[str, Any]:
    """Goes round the count of writes."""
    next(model.parameters()).data.mul_(0.5)
    return {"one": 1}


def learns(model: Model, batches: Sequence[Batch]) -> Mapping[str, Any]:
    with torch.enable_grad():
        torch.autograd.backward(model(batches[0][0]).sum())
    return {"one": 1}


def counts(model: Model, batches: Sequence[Batch]) -> Mapping[str, Any]:
    calls.append(1)
    return {"calls": len(calls)}


def tells(found: Any) -> Any:
    def metric(model: Model, batches: Sequence[Batch]) -> Any:
        return found() if callable(found) else found

    return metric


@dataclass
class Depth:
    k: int = 2
    scaled: bool = False


def deep(model: Model, batches: Sequence[Batch], options: Depth) -> Mapping[str, Any]:
    return {"k": options.k, "scaled": float(options.scaled)}


def measuring(*names: str, **options: Any) -> RunConfig:
    """A run with these metrics."""
    return dataclasses.replace(CONFIG, metrics=list(names), metric_options=options)


calls: list[int] = []
BAD = {
    "writes": (writes, "metrics=writes: must not change the model or its gradients"),
    "hides": (hides, "metrics=hides: must not change the model or its gradients"),
    "learns": (learns, "metrics=learns: must not change the model or its gradients"),
    "fails": (tells(lambda: 1 / 0), "metrics=fails: fails: ZeroDivisionError: division by zero"),
    "bare": (
        tells(0.5),
        "metrics=bare: fails: TypeError: it must return numbers by name; it returned a float",
    ),
    "words": (tells({"a": "x"}), "metrics=words: fails: TypeError: 'x' is no number"),
    "spaced": (tells({"a b": 1}), "metrics=spaced: must name its numbers in letters, digits and ._-/"),
    "empty": (tells({}), "metrics=empty: must name its numbers in letters, digits and ._-/, not []"),
}


@pytest.fixture(autouse=True)
def registered(own_parts: None) -> None:
    for name, metric in {"seen": seen, "other": seen, "counts": counts, "val": seen}.items():
        register("metric", name, metric, version=2)
    register("metric", "deep", deep, options=Depth, version=1)
    for name, (metric, _) in BAD.items():
        register("metric", name, metric, version=1)


def test_what_it_is_given_and_what_is_recorded() -> None:
    model, before = make_model(CONFIG), torch.random.get_rng_state()
    found = measure(metrics_of(measuring("seen")), model, WINDOWS)
    drawn = found.pop("seen/drawn")
    assert str(found.pop("seen/lost")) == "nan"
    assert found == {"seen/tokens": 29, "seen/follows": 1.0, "seen/logits/width": 300}
    assert drawn == measure(metrics_of(measuring("seen")), model, WINDOWS)["seen/drawn"]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.training


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_of_it(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        measure(metrics_of(measuring(name)), make_model(CONFIG), WINDOWS)
    assert str(refused.value).startswith(BAD[name][1])


def test_names_and_versions_are_in_the_id_in_any_order() -> None:
    def ids(*metrics: str) -> list[str]:
        config = settled(dataclasses.replace(CONFIG, metrics=list(metrics)))
        return stage_ids(resolve(config), "")

    plain = stage_ids(resolve(CONFIG), "")
    assert ids() == plain
    assert ids("seen", "other") == ids("other", "seen", "seen")
    assert len({*plain, *ids("seen"), *ids("other"), *ids("seen", "other")}) == 4 * len(plain)
    before = ids("seen")
    register("metric", "seen", seen, version=3)
    assert ids("seen") != before


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"metrics": ["sean"]}, "metrics=sean: no such metric; did you mean seen? allowed: "),
        (
            {"metrics": ["seen"], "metric_versions": ["1"]},
            "metric_versions=1: metrics=seen are of versions 2 here",
        ),
        (
            {"metrics": ["deep"], "metric_options": {"deep": {"j": 1}}},
            "metric_options.deep.j=1: metric deep has no such option; ",
        ),
        (
            {"metrics": ["deep"], "metric_options": {"deep": {"k": "x"}}},
            "metric_options.deep.k=x: must be a whole number",
        ),
        (
            {"metrics": ["seen"], "metric_options": {"deep": {"k": 1}}},
            "metric_options.deep={k:1}: metrics=seen does not name it",
        ),
        (
            {"metric_options": {"deep": {"k": 1}}},
            "metric_options.deep={k:1}: metrics=[] does not name it",
        ),
        (
            {"metrics": ["deep"], "metric_options": {"deep": 3}},
            "metric_options.deep=3: is a group; its options are metric_options.deep.NAME=VALUE",
        ),
        (
            {"metrics": ["seen"], "metric_options": {"seen": {"k": 1}}},
            "metric_options.seen.k=1: metric seen has no options",
        ),
        ({"task": "line", "metrics": ["seen"]}, "metrics=['seen']: is the transformer's own; task=line"),
    ],
)
def test_what_is_refused_of_a_config(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settled(RunConfig(**keys))
    assert str(refused.value).startswith(said)


def test_options_are_given_filled_in_and_in_the_id() -> None:
    found = measure(metrics_of(measuring("deep", "seen", deep={"k": 5})), make_model(CONFIG), WINDOWS)
    assert (found["deep/k"], found["deep/scaled"], found["seen/tokens"]) == (5, 0.0, 29)
    whole = settled(measuring("deep", deep={"scaled": True}))
    assert whole.metric_options == {"deep": {"k": 2, "scaled": True}}
    written_out, other = measuring("deep", deep={"k": 2, "scaled": True}), measuring("deep")
    ids = [stage_ids(resolve(settled(config)), "") for config in (whole, written_out, other)]
    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])
    assert from_plain(plain(whole)) == whole
    assert " deep.k=2 deep.scaled=true " in run_name(resolve(whole))


def test_they_are_typed_on_a_command_line() -> None:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        words = ["metrics=[deep]", "metric_options.deep.k=7"]
        config = to_run_config(compose("config", overrides=words))
    assert config.metric_options == {"deep": {"k": 7, "scaled": False}}


def test_a_name_must_not_be_how_our_fields_begin() -> None:
    with pytest.raises(ConfigError, match=r"metrics=val: is how fields of ours begin: blocks, log, "):
        metrics_of(measuring("val"))


@pytest.mark.parametrize(
    ("name", "check", "said"),
    [
        ("seen", "values", "a number is not finite"),
        ("counts", "values", "the second time it returns something else"),
        ("hides", "model", "ConfigError: metrics=hides: must not change the model"),
    ],
)
def test_the_check_finds_what_is_wrong_with_one(name: str, check: str, said: str) -> None:
    part = known("metric", name)
    assert part is not None
    checks = metric_checks(part, {})
    ((_, finding, is_sound),) = findings(part, {}, {check: checks[check]})
    assert not is_sound
    assert finding.startswith(said)
