"""The grid as typed: combinations, zipped values, replicates and exclusions."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from bitnet_sweep.config import ConfigError, ModelConfig, RunConfig, SweepConfig
from bitnet_sweep.stages import resolve
from bitnet_sweep.sweep.grid import combine, make_grid, overrides_of, read_axes, read_exclusions


def axes_of(*words):
    parser = OverridesParser.create()
    return read_axes(parser.parse_overrides(list(words)), parser)


def texts(points):
    return [" ".join(overrides_of(point)) for point in points]


def compose(point):
    """A stand-in for Hydra that knows three keys."""
    values = {setting.key: setting.value for setting in point}
    model = ModelConfig(hidden=values.get("model.hidden", 256))
    return resolve(RunConfig(model=model, wd2=values.get("wd2", 0.0), seed=values.get("seed", 0)))


@pytest.mark.parametrize(
    ("words", "points"),
    [
        (["lr=1e-3"], ["lr=0.001"]),
        (["wd2=0.0,0.05"], ["wd2=0.0", "wd2=0.05"]),
        (["seed=0,1", "lr=1,2"], ["seed=0 lr=1", "seed=0 lr=2", "seed=1 lr=1", "seed=1 lr=2"]),
        (["seed=range(3)"], ["seed=0", "seed=1", "seed=2"]),
        (["wd2=range(0.01,0.04,0.01)"], ["wd2=0.01", "wd2=0.02", "wd2=0.03"]),
        (["wd2=range(0,0.05,0.01)"], ["wd2=0.0", "wd2=0.01", "wd2=0.02", "wd2=0.03", "wd2=0.04"]),
        (["wd2=range(0.3,0,-0.1)"], ["wd2=0.3", "wd2=0.2", "wd2=0.1"]),
        (["wd2=sort(range(0.1,0.4,0.1))"], ["wd2=0.1", "wd2=0.2", "wd2=0.3"]),
        (["wd2=sort(range(0.4,0.1,-0.1))"], ["wd2=0.2", "wd2=0.3", "wd2=0.4"]),
        (["wd2=0.12345678901234566,0.5"], ["wd2=0.12345678901234566", "wd2=0.5"]),
        (["wd2=0.30000000000000004,0.3"], ["wd2=0.30000000000000004", "wd2=0.3"]),
        (["lr=1e-3,1e-05,1_0.5"], ["lr=0.001", "lr=1e-05", "lr=10.5"]),
        (
            ["seed=range(1764331200123456789,1764331200123456791)"],
            ["seed=1764331200123456789", "seed=1764331200123456790"],
        ),
        (["seed=0", "lr=1", "seed=5"], ["seed=5 lr=1"]),
        (["model=ternary,full"], ["model=ternary", "model=full"]),
        (["a='x,y','z=1'"], ["a='x,y'", "a='z=1'"]),
        (["track.tags=[a,b],[c]"], ["track.tags=[a,b]", "track.tags=[c]"]),
        (["+x=1", "~y"], ["+x=1 ~y=null"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_points_of_a_command_line(words, points):
    assert texts(combine(axes_of(*words), [])) == points


def test_values_are_hydras():
    (point,) = combine(axes_of("a='1'", "b=1", "c=1.5", "d=null", "e=[1,'x']", "f=true", "g=x y"), [])
    assert [setting.value for setting in point] == ["1", 1, 1.5, None, [1, "x"], True, "x y"]


@pytest.mark.parametrize("word", ["seed=range(1,5,0)", "wd2=range(0,0.5,0)", "wd2=range(0,0.5,0.0)"])
def test_a_range_without_a_step_names_its_key(word):
    with pytest.raises(ConfigError, match=rf"^{word[: word.index('=')]}=.*: its step must not be 0$"):
        axes_of(word)


@pytest.mark.parametrize("word", ["seed=range(5,5)", "lr=range(3,1)"])
def test_a_sweep_over_nothing_names_its_key(word):
    key, _, values = word.partition("=")
    with pytest.raises(ConfigError, match=rf"^{key}={re.escape(values)}: has no values"):
        axes_of(word)


def test_zipped_keys_advance_together():
    axes = axes_of("lr=1e-3,5e-4", "wd2=0.0,0.05", "seed=1,2")
    assert texts(combine(axes, ["seed", "lr"])) == [
        "lr=0.001 seed=1 wd2=0.0",
        "lr=0.001 seed=1 wd2=0.05",
        "lr=0.0005 seed=2 wd2=0.0",
        "lr=0.0005 seed=2 wd2=0.05",
    ]


def test_several_groups_are_zipped_and_combined():
    axes = axes_of("lr=1e-3,5e-4", "wd1=0.1,0.0", "wd2=0.0,0.05", "steps=100,200")
    assert texts(combine(axes, [["steps", "lr"], ["wd1", "wd2"]])) == [
        "lr=0.001 steps=100 wd1=0.1 wd2=0.0",
        "lr=0.001 steps=100 wd1=0.0 wd2=0.05",
        "lr=0.0005 steps=200 wd1=0.1 wd2=0.0",
        "lr=0.0005 steps=200 wd1=0.0 wd2=0.05",
    ]


@pytest.mark.parametrize(
    ("zipped", "message"),
    [
        ([["lr", "seed"], ["lr"]], "must have equally many"),
        ([["lr"], ["lr"]], "sweep.zip=lr: is zipped twice"),
        (["lr", "seed"], r"sweep.zip=\[lr,seed\]: must have equally many values: lr has 2, seed has 3"),
        (["lr", "sed"], "sweep.zip=sed: has no values to zip; allowed: lr, seed"),
    ],
    ids=["lengths in a group", "twice", "lengths", "unknown"],
)
def test_what_cannot_be_zipped(zipped, message):
    with pytest.raises(ConfigError, match=message):
        combine(axes_of("lr=1e-3,5e-4", "seed=1,2,3"), zipped)


def test_seeds_are_replicates():
    """Three seeds at each point, and nothing else differs between them."""
    grid = make_grid(axes_of("wd2=0.0,0.05", "seed=0,1,2"), SweepConfig(), compose)
    assert [(config.wd2, config.seed) for _, config in grid.points] == [
        (wd2, seed) for wd2 in (0.0, 0.05) for seed in (0, 1, 2)
    ]


def test_excluded_points_are_left_out_and_listed():
    settings = SweepConfig(exclude=[{"model.hidden": 64, "wd2": 0.05}, {"seed": 1, "model.hidden": 32}])
    grid = make_grid(axes_of("model.hidden=32,64", "wd2=0.0,0.05", "seed=0,1"), settings, compose)
    assert texts(point for point, _ in grid.points) == [
        "model.hidden=32 wd2=0.0 seed=0",
        "model.hidden=32 wd2=0.05 seed=0",
        "model.hidden=64 wd2=0.0 seed=0",
        "model.hidden=64 wd2=0.0 seed=1",
    ]
    assert grid.excluded == [
        "model.hidden=32 wd2=0.0 seed=1",
        "model.hidden=32 wd2=0.05 seed=1",
        "model.hidden=64 wd2=0.05 seed=0",
        "model.hidden=64 wd2=0.05 seed=1",
    ]


def test_an_exclusion_that_never_holds_is_told(caplog):
    """Not refused: a part of an experiment's grid gives some of its exclusions nothing to do."""
    settings = SweepConfig(exclude=[{"wd2": 0.02}, {"seed": 1}])
    make_grid(axes_of("seed=0,1"), settings, compose)
    assert caplog.messages == ["sweep.exclude: {'wd2': 0.02} holds at no point"]


def test_experiments_are_not_swept():
    """Each may hold a grid of its own, of which a sweep over them would know nothing."""
    with pytest.raises(ConfigError, match="experiment=a,b: takes one value"):
        axes_of("experiment=a,b")


def test_exclusion_looks_at_the_resolved_config():
    """Keys that nobody typed count too: ffn is 2 x hidden, and an enum goes by its name."""
    settings = SweepConfig(exclude=[{"model.ffn": 128, "optimizer.name": "adam_l2", "wd2": 0}])
    grid = make_grid(axes_of("model.hidden=32,64"), settings, compose)
    assert texts(point for point, _ in grid.points) == ["model.hidden=32"]


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        ([{"model.hiden": 3}], r"model.hiden=\?: no such key; did you mean model.hidden\?"),
        ([{"wd2": "abc"}], "wd2=abc: must be a number"),
        ([{"optimizer.name": "nadam"}], "sweep.exclude=.*: optimizer.name=nadam: must be one of"),
        ([{}], "sweep.exclude={}: must be a list like"),
        ([3], "sweep.exclude=3: must be a list like"),
        ([{3: 4}], "sweep.exclude={3: 4}: must be a list like"),
        ([{"wd2": 0.0}], "sweep.exclude=.*: leaves no point"),
    ],
    ids=["key", "type", "choice", "empty", "no dict", "no key", "everything"],
)
def test_exclusions_that_are_wrong(exclude, message):
    with pytest.raises(ConfigError, match=message):
        make_grid(axes_of("seed=0,1"), SweepConfig(exclude=exclude), compose)


def test_exclusions_take_the_type_of_their_field():
    (conditions,) = read_exclusions([{"wd2": 0, "optimizer.clip": None, "store": 5}])
    assert conditions == {"wd2": 0.0, "optimizer.clip": None, "store": "5"}


def test_an_interval_cannot_be_enumerated():
    with pytest.raises(HydraException, match=r"wd2=interval\(0,1\)"):
        axes_of("wd2=interval(0,1)")


def test_settings_of_the_sweep_are_not_swept():
    with pytest.raises(ConfigError, match=r"sweep\.zip=lr,seed: takes one value"):
        axes_of("sweep.zip=lr,seed")
