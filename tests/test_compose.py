"""The fast way from overrides to configs gives what Hydra's own compose gives, mistakes included."""

import itertools

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import open_dict

from bitnet_sweep.app import config_folder, to_run_config
from bitnet_sweep.compose import Composer, sweep_settings
from bitnet_sweep.config import TrackName, plain
from bitnet_sweep.explain import as_config_error
from bitnet_sweep.sweep.grid import combine, overrides_of, read_axes
from tests.repetition import repeated


class Counting:
    """Hydra's compose, counting how often it is asked."""

    def __init__(self):
        self.loader = GlobalHydra.instance().config_loader()
        self.calls = 0

    def __call__(self, overrides):
        self.calls += 1
        config = self.loader.load_configuration("config", list(overrides), run_mode=RunMode.RUN)
        with open_dict(config):
            del config["hydra"]
        return config

    def is_group(self, key):
        return bool(self.loader.get_group_options(key))


@pytest.fixture
def load(monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "from-the-environment")
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield Counting()


def points_of(*words):
    parser = OverridesParser.create()
    return combine(read_axes(parser.parse_overrides(list(words)), parser), [])


def outcome(compose, *arguments):
    """The config, or the line that says what is wrong."""
    try:
        return plain(compose(*arguments))
    except Exception as error:  # whatever it is, both must say the same
        return str(as_config_error(error))


def by_hydra(load, point):
    return outcome(lambda: to_run_config(load(list(overrides_of(point)))))


GROUPS = [
    [],
    ["model=full"],
    ["optimizer=adamw", "schedule=trilm", "steps=300"],
    ["scale=smoke", "track=none"],
    ["scale=seed", "tokenizer=bpe"],
    ["optimizer=lion"],
    ["optimizer=torch"],
    ["data=text"],
]
VALUES = [
    [],
    ["lr=1", "wd2=1e-05", "seed=3"],
    ["model.hidden=64", "model.num_heads=2", "model.ffn=null"],
    ["steps=200", "boundary=0.3", "lr_boundary=0.6", "probe_every_steps=7"],
    ["optimizer.name=adamw", "optimizer.clip=null", "model.tied=true"],
    ["optimizer.torch_class=NAdam"],
    ["optimizer.torch_class=NAdam", "optimizer.options={momentum_decay:0.01,betas:[0.9,0.99]}"],
    ["data.path=[a.txt,'b c.txt']", "data.name=text"],
    ["track.tags=[a,5]", "track.project=7", "store='a=b c'", "track.base_url=http://x:1"],
    ["sweep.name=x", "sweep.share_stages=false", "sweep.max_retries=2"],
    [
        "steps=4",
        "stages=[{steps:2,weight_decay:0.1,lr:[{step:0,lr:0},{step:2,lr:1e-3}]},"
        "{steps:2,weight_decay:0.0,lr:[{step:0,lr:1e-3},{step:2,lr:0}]}]",
    ],
    ["wd2=-0.0", "loss.z_loss=-0.0", "optimizer.beta1=0", "seed=9223372036854775807"],
    ["wd2=0.30000000000000004", "lr=1_0e-3", "seed=1_000"],
    ["seed=9223372036854775808"],
    ["wd2=true"],
    ["wd2=nan"],
    ["lr=inf"],
    ["seed=1.0"],
    ["seed=true"],
    ["wd2=-1"],
    ["model.hidden=30"],
    ["model.hidden=2.5"],
    ["lr=abc"],
    ["steps=1"],
]


@pytest.mark.slow
@pytest.mark.parametrize("groups", repeated(GROUPS, GROUPS[:3]), ids=" ".join)
@pytest.mark.few(1)
@pytest.mark.system
def test_fast_way_equals_hydras(load, groups):
    compose = Composer(load, load.is_group)
    for values in VALUES:
        (point,) = points_of(*groups, *values)
        assert outcome(compose, point) == by_hydra(load, point), (groups, values)


@pytest.mark.parametrize("words", [["wd2=-0.0"], ["++wd2=-0.0"], ["wd1=-0.0", "wd2=${wd1}"]])
def test_zero_has_no_sign(load, words):
    (point,) = points_of(*words)
    assert repr(Composer(load, load.is_group)(point).wd2) == "0.0"


@pytest.mark.parametrize(
    "words",
    [
        ["wd2=${wd1}", "wd1=0.3"],
        ["model.ffn=${model.hidden}"],
        ["track={mode:online,tags:[a]}"],
        ["++wd2=0.3"],
        ["+model.hiden=3"],
        ["hiden=3"],
        ["model.hiden=3"],
        ["~wd2"],
        ["~track"],
        ["+model=full"],
        ["optimizer=nadam"],
        ["model@loss=full"],
        ["optimizer@loss.x=adamw"],
        ["lr=???"],
        ["stages=[]", "stages.0.steps=3"],
        ["scale={a:1}"],
        ["sweep.exclude=[{wd2:0.0}]"],
        ["sweep.exclude=[3]"],
        ["data.path={a:1}", "data.name=text"],
        ["seed=1.0"],
        ["seed=true"],
        ["precision=fp32", "device=cpu"],
    ],
    ids=" ".join,
)
@pytest.mark.slow
@pytest.mark.few(6)
def test_what_only_hydra_understands_is_left_to_it(load, words):
    (point,) = points_of(*words)
    assert outcome(Composer(load, load.is_group), point) == by_hydra(load, point)


@pytest.mark.slow
@pytest.mark.system
def test_order_of_points_does_not_matter(load):
    """A value of one point must not linger in the next one."""
    words = ["model.hidden=64,128", "track.tags=[a],[]", "optimizer=adam_l2,adamw", "wd2=0.0,0.05,${wd1}"]
    compose = Composer(load, load.is_group)
    points = points_of(*words)
    first = [plain(compose(point)) for point in points]
    backwards = [plain(compose(point)) for point in reversed(points)]
    assert first == list(reversed(backwards)) == [by_hydra(load, point) for point in points]


@pytest.mark.parametrize("words", [["~track"], ["~track=wandb"], ["~track", "seed=3"]], ids=str)
def test_without_track_there_is_no_mirror(load, words):
    assert to_run_config(load(words)).track.name is TrackName.none


def test_one_composition_for_each_choice_of_groups(load):
    compose = Composer(load, load.is_group)
    points = points_of("model=full,ternary", "optimizer=adamw,adam_l2", "seed=range(50)", "wd2=0.0,0.05")
    seen = {(c.model.weights, c.optimizer.name, c.seed, c.wd2) for c in map(compose, points)}
    assert len(seen) == len(points) == 400
    assert load.calls == 4


def test_dependent_config_files_are_left_to_hydra(load, tmp_path):
    """An experiment file may make one value follow another: then each point is composed."""

    def with_interpolation(overrides):
        config = load(overrides)
        config.wd2 = "${wd1}"
        return config

    points = points_of("wd1=0.1,0.2,0.3")
    compose = Composer(with_interpolation, load.is_group)
    assert [compose(point).wd2 for point in points] == [0.1, 0.2, 0.3]


def test_settings_of_the_sweep(load):
    parser = OverridesParser.create()
    words = ["sweep.zip=[lr,seed]", "lr=1,2", "seed=1,2", "sweep.exclude=[{model.hidden:1024,wd2:0.05}]"]
    settings = sweep_settings(read_axes(parser.parse_overrides(words), parser), load)
    assert settings.zip == ["lr", "seed"]
    assert settings.exclude == [{"model.hidden": 1024, "wd2": 0.05}]


@pytest.mark.slow
@pytest.mark.system
def test_pairs_of_values(load):
    """Any two of these values together."""
    singles = ["model.hidden=64", "seed=3", "steps=100", "track.mode=online", "wd2=${lr}"]
    for pair in itertools.combinations(singles, 2):
        (point,) = points_of("model=full", *pair)
        assert outcome(Composer(load, load.is_group), point) == by_hydra(load, point)
