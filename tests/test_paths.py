"""Every path that a user gives takes ``~`` and ``~user``."""

import pwd

import pytest

from bitnet_sweep.config import ConfigError, DataConfig, DataName, RunConfig
from bitnet_sweep.paths import in_letters
from bitnet_sweep.report.__main__ import main as report
from bitnet_sweep.status.__main__ import main as status
from bitnet_sweep.store import Store
from bitnet_sweep.track.sync import main as sync

ROOT = pwd.getpwuid(0)


@pytest.fixture
def home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    Store(home / "s").open_for_writing()
    return home


def test_config(home):
    assert RunConfig(store="~/x").store == str(home / "x")
    assert RunConfig(store=f"~{ROOT.pw_name}/x").store == f"{ROOT.pw_dir}/x"
    assert RunConfig(store="./~/x").store == "./~/x"
    assert DataConfig(name=DataName.text, path="~/a*.txt").path == str(home / "a*.txt")
    assert DataConfig(name=DataName.text, path=["~/a.txt", "b"]).paths == [str(home / "a.txt"), "b"]
    with pytest.raises(ConfigError, match=r"^store=~nobody-of-that-name: ~nobody-of-that-name is nobody's"):
        RunConfig(store="~nobody-of-that-name")


@pytest.mark.parametrize(
    "command",
    [lambda: report(["~/s", "--out=~/out"]), lambda: status(["~/s"]), lambda: sync(["~/s"])],
    ids=["report", "status", "sync"],
)
def test_commands(home, tmp_path, command):
    assert command() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("command", [report, status, sync], ids=["report", "status", "sync"])
def test_an_unknown_home_is_a_wrong_command(command, capsys):
    with pytest.raises(SystemExit) as ended:
        command(["~nobody-of-that-name/s"])
    assert ended.value.code == 2
    assert "~nobody-of-that-name/s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        pytest.param("runs/caf\xe9", "runs/caf\xe9", id="letters"),
        pytest.param("caf\udcc3\udca9", "caf\xe9", id="the bytes of a letter, as where the locale is ASCII"),
        pytest.param("caf\udce9", r"caf\xe9", id="a byte that is no UTF-8"),
        pytest.param("a\ud83d", r"a\ud83d", id="half a pair that stands for no byte"),
    ],
)
def test_text_that_any_file_takes(text, letters):
    assert in_letters(text) == letters
    letters.encode()
