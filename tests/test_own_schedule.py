"""A schedule of a user's own: stages that follow from what a config asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from bitnet_sweep import parts
from bitnet_sweep.config import ConfigError, Knot, RunConfig, ScheduleConfig, Stage, from_plain, recorded
from bitnet_sweep.doors import settled
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.parts import register
from bitnet_sweep.stages import Asked, follow_shorthands, resolve


@dataclass
class Options:
    first: float = 0.25
    """Length of the first stage, as a share of the run."""
    forgets: str | None = None


def two(asked: Asked, options: Options) -> Any:
    """A warm-up and a plateau, then a fall."""
    if options.forgets == "everything":
        return None
    if options.forgets == "stages":
        return []
    first = round(asked.steps * options.first)
    top = [Knot(0, 0.0), Knot(asked.warmup_steps, asked.lr), Knot(first, asked.lr)]
    rest = asked.steps - first - (options.forgets == "a step")
    last = 0.5 if options.forgets == "wd2" else asked.wd2
    return [Stage(first, asked.wd1, top), Stage(rest, last, [Knot(0, asked.lr), Knot(rest, 0.0)])]


@pytest.fixture(autouse=True)
def registered(own_parts: None) -> None:
    register("schedule", "two", two, options=Options, version=5)


def config(name: str = "two", wd2: float = 0.05, **options: Any) -> RunConfig:
    schedule = ScheduleConfig(name=name, function=name, options=options)
    return resolve(settled(RunConfig(steps=200, warmup_steps=10, wd2=wd2, schedule=schedule)))


def test_its_stages_are_those_of_the_run() -> None:
    found = config()
    assert [(stage.steps, stage.weight_decay) for stage in found.stages] == [(50, 0.1), (150, 0.05)]
    assert found.boundary_step == 50, "tables look where the decay changes"
    assert (found.schedule.options, found.schedule.version) == ({"first": 0.25, "forgets": None}, "5")
    assert config(first=0.5).boundary_step == 100


def test_arms_share_what_is_equal_and_nothing_else_is_in_the_id() -> None:
    one, other, earlier = (
        stage_ids(each, "corpus") for each in (config(), config(wd2=0.0), config(first=0.2))
    )
    assert one[0] == other[0] != earlier[0]
    assert one[1] != other[1]
    by_hand = RunConfig(steps=200, warmup_steps=10, wd2=0.05, stages=config().stages)
    assert stage_ids(resolve(by_hand), "corpus") == one


def test_a_config_of_a_store_asks_nobody() -> None:
    with parts.apart():
        register("schedule", "lost", two, options=Options, version=5)
        document = recorded(config("lost"))
    read = resolve(from_plain(document))
    assert recorded(read) == document
    assert follow_shorthands(read)
    with pytest.raises(ConfigError, match=r"schedule.function=lost: is not here"):
        resolve(replace(read, stages=[]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"firs": 1}, "schedule.options.firs=1: schedule two has no such option; did you mean first?"),
        ({"forgets": "everything"}, "schedule.function=two: makes no stages: TypeError: "),
        ({"forgets": "stages"}, "schedule.function=two: must return a list of bitnet_sweep.config.Stage"),
        ({"forgets": "a step"}, "stages=199 steps: their lengths must add up to steps=200"),
        ({"forgets": "wd2"}, "wd2=0.05: must equal its stage's weight_decay=0.5 "),
        ({"first": 1.5}, "stages[1].steps=-100: must be a whole number, 1 or more"),
    ],
)
def test_what_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config(**options)
    assert str(refused.value).startswith(said)
