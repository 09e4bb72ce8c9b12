"""``optimizer=mine``: parts and YAML of a user's package as choices of the groups, as they are typed."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from bitnet_sweep.compose import Conf, sweep_settings
from bitnet_sweep.config import DataName, OptimizerName, RunConfig
from bitnet_sweep.explain import as_config_error
from bitnet_sweep.sweep.grid import make_grid
from bitnet_sweep.track.naming import run_name
from tests.page import PAGE, write_package

pytestmark = pytest.mark.slow

EXPERIMENT = """# @package _global_
defaults:
  - override /optimizer: quick
  - override /schedule: stairs
hydra:
  sweeper:
    params:
      wd2: 0.0,0.05
"""


@pytest.fixture(autouse=True)
def package(own_parts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the page, with an experiment, where Python finds it; nothing is imported."""
    write_package(tmp_path)
    (tmp_path / "stranger" / "conf" / "experiment").mkdir()
    (tmp_path / "stranger" / "conf" / "experiment" / "mine.yaml").write_text(EXPERIMENT)
    (tmp_path / "stranger" / "conf" / "optimizer" / "adamw.yaml").write_text("name: sgd\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "stranger"]:
        monkeypatch.delitem(sys.modules, name)


def configs(*words: str) -> list[RunConfig]:
    """Those of the points of a command line with ``-m``."""
    conf = Conf.of(words)
    axes = conf.axes()
    settings = sweep_settings(axes, conf.load)
    return [config for _, config in make_grid(axes, settings, conf.composer()).points]


def refusal(*words: str) -> str:
    with pytest.raises(Exception) as refused:  # noqa: PT011 - Hydra's own, told as the command does
        configs(*words)
    return str(as_config_error(refused.value))


def of(*modules: str) -> str:
    return f"plugins=[{','.join(f'stranger.{module}' for module in modules)}]"


def test_an_optimizer_beside_one_of_ours_and_its_option() -> None:
    own, ours = (config.optimizer for config in configs("optimizer=sign,adamw", of("optimizer")))
    assert (own.name, own.torch_class, own.options, own.version) == (
        OptimizerName.torch,
        "sign",
        {"momentum": 0.9},
        "1",
    )
    assert ours.name is OptimizerName.adamw, "a file of ours comes first"
    swept = configs("optimizer=sign", "optimizer.options.momentum=0.5,0.25", of("optimizer"))
    assert [config.optimizer.options for config in swept] == [{"momentum": 0.5}, {"momentum": 0.25}]


def test_a_model_a_schedule_and_a_text() -> None:
    words = ["model=bag,ternary", "schedule=stairs", "data=sums", "wd2=0.05", "steps=100"]
    options = ["model.options.width=8", "schedule.options.stairs=2", "data.options.highest=70"]
    own, _ = configs(*words, *options[1:], of("model", "schedule", "data"))
    assert (own.model.name, own.model.options, own.model.version) == ("bag", {"width": 32}, "1")
    (own,) = configs("model=bag", *words[1:], *options, of("model", "schedule", "data"))
    assert own.model.options == {"width": 8}
    told = [(stage.steps, stage.weight_decay, [knot.lr for knot in stage.lr]) for stage in own.stages]
    assert told == [(50, 0.1, [1.5e-3] * 2), (50, 0.05, [0.75e-3] * 2)]
    assert (own.schedule.name, own.schedule.function, own.schedule.version) == ("stairs", "stairs", "1")
    assert run_name(own).split().count("stairs") == 1, "the group and the function have one name"
    assert (own.data.name, own.data.source, own.data.options) == (DataName.own, "sums", {"highest": 70})


def test_yaml_of_the_package() -> None:
    (quick,) = configs("optimizer=quick", "plugins=[stranger.optimizer]")
    assert quick.optimizer.options == {"momentum": 0.5}
    found = configs("experiment=mine", of("optimizer", "schedule"))
    assert [(config.wd2, config.optimizer.torch_class, config.schedule.name) for config in found] == [
        (0.0, "sign", "stairs"),
        (0.05, "sign", "stairs"),
    ]


def test_what_the_page_tells_to_type() -> None:
    commands = re.findall(r"^PYTHONPATH=\. bitnet-sweep run (.*stranger.*)$", PAGE, re.MULTILINE)
    points = [len(configs(*[word for word in shlex.split(each) if word != "-m"])) for each in commands]
    assert points == [2, 2, 2, 2, 4, 1, 2]


def test_nothing_is_imported_that_is_not_named() -> None:
    configs("optimizer=adamw,lion", of("optimizer"))
    assert "stranger" not in sys.modules
    assert refusal("optimizer=sign").startswith("optimizer=sign: no such choice; allowed: adam_l2, adamw, ")
    assert refusal("optimizer=quick").startswith("optimizer=quick: no such choice")


def test_what_is_wrong_is_said_in_a_line() -> None:
    said = refusal("optimizer=sine", of("optimizer"))
    choices = "adam_l2, adamw, lion, muon, quick, sgd, sign, torch"
    assert said.startswith(f"optimizer=sine: no such choice; did you mean sign? allowed: {choices}; one of")
    said = refusal("optimizer=sign", "optimizer.options.momentun=1", of("optimizer"))
    assert said.startswith(
        "optimizer.options.momentun=?: no such key; did you mean optimizer.options.momentum?"
    )
    assert refusal("model=bag", "plugins=[strange]").startswith("plugins=strange: there is no such module")
    said = refusal("model=bag", "model.hidden=64", of("model"))
    assert said == "model.hidden=64: is the transformer's own; model.name=bag takes model.options"
    said = refusal("schedule=stairs", "schedule.options.stairs=0", of("schedule"))
    assert said.startswith("schedule.function=stairs: ")
    assert refusal("data.options.highest=2") == "data.options={highest:2}: needs data.source"
