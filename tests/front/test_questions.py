"""A stranger's questions, each answered by the one line that README gives."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

import bitnet_sweep as bs
from bitnet_sweep.store import Store
from tests.front.conftest import settings, verb

pytestmark = pytest.mark.slow

README = (Path(__file__).parents[2] / "README.md").read_text()
_ASKED = README.partition("## Six questions")[2].partition("\n## ")[0]
ANSWERS = {question: line.strip() for line, question in re.findall(r"^(\S.*?) +# (.*\?)$", _ASKED, re.M)}


def test_there_are_six():
    assert len(ANSWERS) == 6


@pytest.fixture
def here(swept, tmp_path):
    """Where the stranger works: a store, and a corpus."""
    shutil.copytree(swept.store, tmp_path / "runs")
    return tmp_path


def typed(here, question, **replaced):
    """The command as it is typed: exit status, stdout, stderr."""
    words = shlex.split(ANSWERS[question])
    assert words.pop(0) == "bitnet-sweep"
    return verb(here, *[replaced.get(word, word) for word in words])


def called(here, monkeypatch, question):
    """The call as it is typed."""
    monkeypatch.chdir(here)
    return eval(ANSWERS[question], {"bs": bs})


def test_what_is_it(here):
    status, out, _ = typed(here, "What is it?")
    assert status == 0
    assert "When does the training of a ternary language model collapse" in out


def test_does_it_fit(here):
    status, out, _ = typed(here, "Does it fit my machine?")
    assert status == 0
    assert re.search(r"^CPU class +\S+: ", out, re.M)


def test_how_do_i_run_it_on_my_text(here, corpus_file):
    """As typed, and small."""
    (here / "corpus").mkdir()
    shutil.copy(corpus_file, here / "corpus" / "mine.txt")
    words = shlex.split(ANSWERS["How do I run it on my text?"])[1:]
    small = settings(corpus_file, "runs") | {"store": "mine"}
    more = [f"{key}={value}" for key, value in small.items() if key not in ("data", "data.path")]
    status, _, err = verb(here, *words, *more)
    assert status == 0, err
    assert len(list((here / "mine" / "runs").iterdir())) == 2


def test_how_do_i_remove_a_run(here, swept):
    run_id = sorted(path.name for path in (here / "runs" / "runs").iterdir())[0]
    words = [run_id if word == "RUN" else word for word in shlex.split(ANSWERS["How do I remove a run?"])[1:]]
    status, _, err = verb(here, *words, input="y\n", stdin=None)
    assert status == 0, err
    assert not Store(here / "runs").run(run_id).path.exists()


def test_where_is_my_best_run(here, monkeypatch):
    best = called(here, monkeypatch, "Where is my best run?")
    losses = {run.run_id: run.records["val/loss"].iloc[-1] for run in runs_of(here)}
    assert losses
    assert best.iloc[0].astype(str).str.contains(min(losses, key=lambda run_id: losses[run_id])).any()


def runs_of(here):
    return [bs.open_run(here / "runs", path.name) for path in (here / "runs" / "runs").iterdir()]


def test_how_do_i_get_the_curves(here, monkeypatch):
    frame = called(here, monkeypatch, "How do I get the curves into pandas?")
    assert {"step", "val/loss", "run_id"} <= set(frame.columns)
    assert frame["run_id"].nunique() == 2
