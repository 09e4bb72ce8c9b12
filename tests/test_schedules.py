"""Cosines in the learning rate and in the decay: by their formula, cut anywhere, and out of ``conf/``."""

import math
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from bitnet_sweep.app import config_folder, to_run_config
from bitnet_sweep.config import (
    ConfigError,
    DecayShape,
    Knot,
    LrShape,
    RunConfig,
    ScheduleConfig,
    Stage,
    from_plain,
    plain,
)
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.stages import Timetable, follow_shorthands, resolve, stage_ends
from bitnet_sweep.sweep.plan import PlannedRun
from bitnet_sweep.sweep.schedule import schedule_lines
from bitnet_sweep.track import run_name

STEPS, WARMUP, PEAK, FINAL = 40, 4, 2.0, 0.1


def cosine(**changes: Any) -> RunConfig:
    shape = ScheduleConfig(lr_shape=LrShape.cosine, lr_final=FINAL)
    fields: dict[str, Any] = {"steps": STEPS, "warmup_steps": WARMUP, "lr": PEAK, "schedule": shape}
    return resolve(RunConfig(**(fields | changes)))


def settings(config: RunConfig) -> tuple[list[float], list[float]]:
    """The learning rate and the decay of each update."""
    timetable = Timetable.of(config)
    rates, decays = zip(
        *(timetable.settings_of(config, step) for step in range(1, config.steps + 1)), strict=True
    )
    return list(rates), list(decays)


def cosine_rate(step: int) -> float:
    if step <= WARMUP:
        return PEAK * step / WARMUP
    share = (step - WARMUP) / (STEPS - WARMUP)
    return PEAK * (FINAL + (1 - FINAL) * (1 + math.cos(math.pi * share)) / 2)


@pytest.mark.parametrize("boundary", [0.05, 0.1, 0.5, 0.7], ids="cut at {}".format)
def test_the_rate_is_half_a_cosine_wherever_it_is_cut(boundary):
    """The first cuts lie in the warm-up and at its end."""
    config = cosine(boundary=boundary)
    assert stage_ends(config.stages) == [round(boundary * STEPS), STEPS]
    expected = [cosine_rate(step) for step in range(1, STEPS + 1)]
    assert settings(config)[0] == pytest.approx(expected, rel=1e-12)
    assert settings(config)[0][-1] == PEAK * FINAL


@pytest.mark.parametrize("lr_boundary", [0.25, 0.5, 0.75], ids="rate bends at {}".format)
def test_the_decay_is_half_a_cosine_until_the_boundary(lr_boundary):
    shape = ScheduleConfig(decay_shape=DecayShape.cosine)
    config = resolve(RunConfig(steps=STEPS, wd1=0.3, wd2=0.05, schedule=shape, lr_boundary=lr_boundary))
    falling = [0.3 * (1 + math.cos(math.pi * step / 20)) / 2 for step in range(1, 21)]
    assert settings(config)[1] == pytest.approx([*falling, *[0.05] * 20], abs=1e-15)
    assert settings(config)[1][19] == 0.0


def test_arms_of_another_wd2_share_the_trunk_in_which_the_decay_falls():
    shape = ScheduleConfig(decay_shape=DecayShape.cosine)
    one, other = (stage_ids(resolve(RunConfig(wd2=wd2, schedule=shape)), "corpus") for wd2 in (0.0, 0.05))
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert one[0] != stage_ids(resolve(RunConfig()), "corpus")[0]


def test_settings_set_after_the_update_come_one_late():
    shape = ScheduleConfig(decay_shape=DecayShape.cosine, set_after_update=True)
    late = settings(resolve(RunConfig(steps=STEPS, schedule=shape)))[1]
    on_time = settings(
        resolve(RunConfig(steps=STEPS, schedule=ScheduleConfig(decay_shape=DecayShape.cosine)))
    )[1]
    assert late == [0.1, *on_time[:-1]]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"lr_boundary": 0.6}, "lr_boundary"),
        ({"schedule": ScheduleConfig(lr_shape=LrShape.cosine, lr_bend_to=0.5)}, "schedule.lr_bend_to"),
        ({"warmup_steps": STEPS}, "warmup_steps"),
    ],
    ids=["a bend", "a height of it", "nothing but warm-up"],
)
def test_what_a_cosine_does_not_have_is_refused(changes, key):
    with pytest.raises(ConfigError, match=f"^{key}="):
        cosine(**changes)


BOTH = ScheduleConfig(lr_shape=LrShape.cosine, decay_shape=DecayShape.cosine)


def test_written_out_stages_are_the_same_run():
    config = cosine(schedule=BOTH, boundary=0.3)
    document = plain(config)
    assert from_plain(document) == config
    assert follow_shorthands(config)
    written = resolve(
        RunConfig(steps=STEPS, warmup_steps=WARMUP, lr=PEAK, boundary=0.3, stages=config.stages)
    )
    assert stage_ids(written, "corpus") == stage_ids(config, "corpus")


def test_stages_without_phases_are_written_as_ever():
    assert plain(Stage(2, 0.1, [Knot(0, 1.0)])) == {
        "steps": 2,
        "weight_decay": 0.1,
        "lr": [{"step": 0, "lr": 1.0}],
    }


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        (Stage(4, 0.1, [Knot(0, 1.0, 0.5), Knot(4, 1.0, 0.5)]), "stages[0].lr"),
        (Stage(4, 0.1, [Knot(0, 1.0, 0.0), Knot(4, 1.0, 1.5)]), "stages[0].lr"),
        (Stage(4, 0.1, [Knot(0, 1.0), Knot(4, 1.0)], 0.5), "stages[0].decay_phase"),
        (Stage(4, 0.1, [Knot(0, 1.0), Knot(4, 1.0)], 1.0, 0.0), "stages[0].decay_phase"),
    ],
)
def test_phases_that_are_none_are_refused(stage, key):
    with pytest.raises(ConfigError) as caught:
        resolve(RunConfig(steps=4, wd2=0.1, stages=[stage]))
    assert caught.value.key == key


def chosen(*overrides: str) -> RunConfig:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return to_run_config(compose("config", overrides=["steps=100", *overrides]))


def test_the_files_of_conf():
    rates, decays = settings(chosen("schedule=cosine"))
    assert max(rates) == 1.5e-3
    assert rates[-1] == pytest.approx(1.5e-4)
    assert decays == [0.1] * 50 + [0.0] * 50
    rates, _ = settings(chosen("schedule=wsd", "warmup_steps=10"))
    assert rates[9:80] == [1.5e-3] * 71
    assert rates[80:] == pytest.approx([1.5e-3 * (1 - k / 20) for k in range(1, 21)], abs=1e-15)
    rates, decays = settings(chosen("schedule=2B4T"))
    assert rates == settings(chosen())[0]
    assert decays[0] == pytest.approx(0.1, rel=1e-2)
    assert decays[24] == pytest.approx(0.05)
    assert decays[49:] == [0.0] * 51
    assert run_name(chosen("schedule=2B4T")).split()[-2:] == ["2B4T", "steps=100"]


def test_a_dry_run_tells_of_them():
    told = schedule_lines([PlannedRun((), cosine(schedule=BOTH), ("a", "b"))])
    assert "decay 0.1 to 0, learning rate 0 at 0, 2 at 4, " in told[1]
    assert told[1].endswith("(cosine)")
    assert "decay 0, " in told[2]
