"""What README.md and docs/guide.md tell people to type is understood."""

import itertools
import json
import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from bitnet_sweep.app import config_folder, to_run_config
from tests.sweep.command import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    python -m bitnet_sweep (.*?)(?:  #.*)?$", README, re.MULTILINE)
GUIDE = (ROOT / "docs" / "guide.md").read_text()
GUIDED = re.findall(r"^ +python -m bitnet_sweep (.*)$", GUIDE, re.MULTILINE)
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


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    """A folder with a corpus of its own, whose store keeps the token files from command to command."""
    folder = tmp_path_factory.mktemp("guided")
    (folder / "corpus").mkdir()
    text = "the quick brown fox jumps over the lazy dog. " * 40
    lines = [json.dumps({"text": f"{i} {text}"}) for i in range(300)]
    (folder / "corpus" / "a.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.slow
def test_the_guides_commands_are_planned(guided):
    """As typed, but for the vocabulary, which is small for the corpus made here."""
    for command in GUIDED:
        words = [word.replace("8192", "300") for word in shlex.split(command)]
        status, out, err = run(guided, *words, "sweep.dry_run=true", "tokenizer.vocab_size=300")
        assert status == 0, (command, err)
        assert re.search(r"\d+ runs? |run ", out), out


def test_the_guide_names_what_exists():
    assert len(GUIDED) >= 7
    for name in re.findall(r"`((?:bitnet_sweep|conf|tests|experiments)/[\w/.]+)", GUIDE):
        assert (ROOT / name).exists(), name
