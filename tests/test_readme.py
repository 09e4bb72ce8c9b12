"""What README.md and the pages under docs/ tell people to type is understood."""

import importlib
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
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(ROOT.glob("docs/**/*.md"))}
TEXTS = {"README.md": README} | PAGES


def _lines(pattern):
    """Each line of a page's code blocks that matches."""
    return sorted({line for text in PAGES.values() for line in re.findall(pattern, text, re.MULTILINE)})


GUIDED = _lines(r"^python -m bitnet_sweep (.*)$")
OTHERS = [
    (name, command)
    for name, text in TEXTS.items()
    for command in re.findall(r"(?:^|`)python -m (bitnet_sweep\.[\w.]+ [^`\n]+)", text, re.MULTILINE)
]
TABLES = ("README.md", "docs/sweeps.md", "docs/clusters.md")
"""Pages whose tables end in what is typed behind a command."""
ROWS = [
    (name, cell)
    for name in TABLES
    for cell in re.findall(r"^\|.*\| ((?:`[^`|]+`[^|]*)+)\|$", TEXTS[name], re.MULTILINE)
]
OPTIONS = sorted({option for _, cell in ROWS for option in re.findall(r"`([^`]*=[^`]*)`", cell)})


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
    assert len(OPTIONS) >= 30
    assert len(GUIDED) >= 10
    assert len(OTHERS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.slow
def test_commands(command):
    overrides = [word for word in shlex.split(command) if word != "-m"]
    assert len(configs(overrides)) == 8


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.slow
@pytest.mark.few(8)
def test_options(option):
    assert configs(shlex.split(option))


@pytest.mark.parametrize("name", TEXTS)
def test_make_targets_exist(name):
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:^ *|`)make ([a-z-]+)", TEXTS[name], re.MULTILINE)):
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), target


@pytest.mark.parametrize(("name", "command"), OTHERS, ids=lambda value: str(value).split()[0])
def test_the_other_commands_have_what_is_typed(name, command, capsys):
    """Modules that exist, with options that their help names."""
    module, *words = shlex.split(command.replace("...", ""))
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"{module}.__main__" if _is_package(module) else module).main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for word in words:
        if word.startswith("--"):
            assert re.search(rf"{re.escape(word)}\b", told), f"{name}: {module} {word}"


def _is_package(module):
    return (ROOT / module.replace(".", "/") / "__main__.py").exists()


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
@pytest.mark.parametrize("command", GUIDED)
@pytest.mark.system
def test_the_pages_commands_are_planned(guided, command):
    """As typed, but for the vocabulary, which is small for the corpus made here."""
    words = [word.replace("8192", "300") for word in shlex.split(command)]
    status, out, err = run(guided, *words, "sweep.dry_run=true", "tokenizer.vocab_size=300")
    assert status == 0, err
    assert re.search(r"\d+ runs? |run ", out), out


@pytest.mark.parametrize("name", TEXTS)
def test_a_page_names_what_exists(name):
    folders = "bitnet_sweep|bench|conf|docs|experiments|hydra_plugins|tests"
    for path in re.findall(rf"`((?:{folders})/[\w/.]+)", TEXTS[name]):
        assert "NAME" in path or (ROOT / path).exists(), path
