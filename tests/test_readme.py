"""What README.md tells people to type is understood."""

import itertools
import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from bitnet_sweep.app import config_folder, to_run_config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    python -m bitnet_sweep (.*?)(?:  #.*)?$", README, re.MULTILINE)
ROWS = re.findall(r"^\|.*\| ((?:`[^`|]+`[^|]*)+)\|$", README, re.MULTILINE)
OPTIONS = [option for row in ROWS for option in re.findall(r"`([^`]*=[^`]*)`", row) if "..." not in option]


def points(overrides):
    """The overrides of every point of a grid."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    axes = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [line]
        for o, line in zip(parsed, overrides, strict=True)
    ]
    return [list(point) for point in itertools.product(*axes)]


def configs(overrides):
    """Every point of a grid as a typed config."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return [to_run_config(compose("config", overrides=point)) for point in points(overrides)]


def test_there_is_something_to_test():
    assert len(COMMANDS) >= 1
    assert len(OPTIONS) >= 12


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command):
    overrides = [word for word in shlex.split(command) if word != "-m"]
    assert len(configs(overrides)) == 8


@pytest.mark.parametrize("option", OPTIONS)
def test_options(option):
    assert configs(shlex.split(option))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)", README))))
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
