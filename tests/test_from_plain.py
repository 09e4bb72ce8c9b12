"""``from_plain`` gives back the config that ``plain`` made plain, and refuses what is none."""

from __future__ import annotations

import json
import subprocess
import sys
from enum import Enum
from typing import Any

import pytest
import yaml

from bitnet_sweep.config import (
    KNOBS,
    ConfigError,
    DataConfig,
    DataName,
    Knot,
    ModelConfig,
    OptimizerConfig,
    OptimizerName,
    Order,
    Precision,
    RunConfig,
    SweepConfig,
    TokenizerConfig,
    TokenizerName,
    TrackConfig,
    flatten,
    from_plain,
    plain,
)
from bitnet_sweep.stages import resolve

CONFIGS = {
    "defaults": RunConfig(),
    "resolved": resolve(RunConfig(boundary=0.3)),
    "text": RunConfig(data=DataConfig(DataName.text, path=["a", "b*"], order=Order.sequential)),
    "lists": RunConfig(track=TrackConfig(tags=["1", "no"]), sweep=SweepConfig(exclude=[{"wd2": 0.0}])),
    "null": RunConfig(precision=Precision.fp32, optimizer=OptimizerConfig(clip=None)),
    "torch": RunConfig(
        optimizer=OptimizerConfig(
            OptimizerName.torch, torch_class="NAdam", options={"betas": [0.9, 0.99], "momentum_decay": 0.01}
        )
    ),
    "gpt2": RunConfig(
        model=ModelConfig(ffn=7, tied=True), tokenizer=TokenizerConfig(TokenizerName.gpt2, 50257)
    ),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("form", ["as it is", "JSON", "YAML", "dotted"])
def test_it_gives_back_what_was_made_plain(config: RunConfig, form: str) -> None:
    document = plain(config)
    if form == "JSON":
        document = json.loads(json.dumps(document))
    elif form == "YAML":
        document = yaml.safe_load(yaml.safe_dump(document))
    elif form == "dotted":
        document = flatten(document)
    assert from_plain(document) == config


def _other(value: Any) -> Any:
    if isinstance(value, Enum):
        return [*type(value)][-1]
    return {bool: True, int: 8, float: 0.25, str: "own", list: [], dict: {"own": 1}, type(None): None}[
        type(value)
    ]


NEEDS_MORE = {"track.base_url", "sweep.until", "optimizer.decay", "data.name"}
NEEDS_MORE |= {
    "tokenizer.name",
    "tokenizer.vocab_size",
    "tokenizer.path",
    "optimizer.name",
    "micro_batches",
    "task",
}
NEEDS_MORE |= {
    f"optimizer.{key}" for key in ("momentum", "matrix_lr", "muon_scale", "torch_class", "options")
}
ALONE = {key: plain(_other(knob.default)) for key, knob in KNOBS.items() if key not in NEEDS_MORE}


@pytest.mark.parametrize("key", ALONE)
def test_a_key_alone_leaves_the_others_at_their_defaults(key: str) -> None:
    found = flatten(plain(from_plain({"precision": "fp32", key: ALONE[key]})))
    default = RunConfig(precision=Precision.fp32)
    if key.startswith("track."):
        default.track = TrackConfig()
    assert found == flatten(plain(default)) | {key: ALONE[key]}


def test_texts_of_numbers_are_numbers() -> None:
    """YAML reads 1e-3 as text, and JSON has one kind of number."""
    found = from_plain({"lr": "1e-3", "steps": "400", "model": {"hidden": 64.0}, "wd2": 0})
    assert (found.lr, found.steps, found.model.hidden, found.wd2) == (0.001, 400, 64, 0.0)
    assert type(found.model.hidden) is int


WRONG: dict[str, tuple[Any, str]] = {
    "a key": ({"model": {"hiden": 3}}, "model.hiden=3: no such key; did you mean model.hidden?"),
    "a type": ({"steps": "many"}, "steps=many: must be a whole number"),
    "half": ({"steps": 1.5}, "steps=1.5: must be a whole number"),
    "nothing": ({"steps": None}, "steps=None: must be a whole number"),
    "a truth": ({"model": {"tied": "yes"}}, "model.tied=yes: must be true or false"),
    "text": ({"scale": 3}, "scale=3: must be text"),
    "a choice": ({"precision": "fp8"}, "precision=fp8: must be one of fp32, mixed"),
    "past a float": ({"lr": 10**400}, f"lr={10**400}: has more digits than such a number can have"),
    "a list": ({"precision": ["fp32"]}, "precision=['fp32']: must be one of fp32, mixed"),
    "a value": ({"wd2": -1}, "wd2=-1.0: must be a finite number, 0 or more"),
    "values together": ({"model.hidden": 6, "model.num_heads": 4}, "model.hidden=6: must be divisible"),
    "a group": ({"model": 3}, "model=3: no such key"),
    "tags": ({"track": {"tags": [3]}}, "track.tags[0]=3: must be text"),
    "a stage": ({"stages": [{"steps": 3}]}, "stages[0]={'steps': 3}: must be a group with the keys steps"),
    "no list": ({"stages": 3}, "stages=3: must be a list"),
    "no config": (None, "config=None: must be a group with the keys"),
}


@pytest.mark.parametrize(("document", "says"), WRONG.values(), ids=WRONG)
def test_what_is_no_config_is_refused_in_a_line(document: Any, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        from_plain(document)
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)


def test_stages_are_of_their_types() -> None:
    knots = [{"step": 0, "lr": "1e-3"}, {"step": 4, "lr": 0}]
    (stage,) = from_plain({"steps": 4, "stages": [{"steps": 4, "weight_decay": 0, "lr": knots}]}).stages
    assert stage.lr == [Knot(0, 0.001), Knot(4, 0.0)]
    assert type(stage.weight_decay) is float


@pytest.mark.slow
def test_loading_a_model_needs_no_hydra() -> None:
    lines = "import sys, bitnet_sweep.loading; print({'hydra', 'omegaconf'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
