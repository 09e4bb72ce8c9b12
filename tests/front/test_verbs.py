"""Each verb of ``bitnet-sweep``, on real, tiny trainings."""

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bitnet_sweep as bs
from bitnet_sweep.commands import VERBS
from bitnet_sweep.store import FINISHED, Store
from tests.front.conftest import VERB, settings, verb
from tests.page import write_package
from tests.sweep.command import is_training, science, start, wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copied(swept, tmp_path):
    """A copy that may be changed."""
    shutil.copytree(swept.store, tmp_path / "runs")
    return tmp_path


def _words(corpus_file, **more):
    return [f"{key}={value}" for key, value in (settings(corpus_file, "runs") | more).items()]


def test_help_lists_every_verb(tmp_path):
    status, out, err = verb(tmp_path, "--help")
    assert (status, err) == (0, "")
    assert all(f"  {name}: " in out for name in VERBS)


@pytest.mark.parametrize("name", [name for name in VERBS[1:] if name != "completion"])
def test_each_verb_has_help(tmp_path, name):
    status, out, err = verb(tmp_path, name, "--help")
    assert (status, err) == (0, "")
    assert f"Usage: bitnet-sweep {name}" in out
    assert "--store" in out or name == "prove", "that takes store=DIR, as run does"


def test_the_help_of_run_imports_nothing_heavy(tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", VERB, "run", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "  model.hidden=256" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "pandas", "wandb", "numpy", "cyclopts", "matplotlib", "scipy"}


def test_groups_listed_at_once_are_those_that_hydra_lists(tmp_path):
    code = "import sys; from bitnet_sweep import __main__ as m; m.list_groups_at_once = print; "
    code += "sys.argv[1:] = ['--help']; m.main()"
    by_hydra = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert by_hydra.stdout == "\n" + verb(tmp_path, "run", "--help")[1], "print's line and the help"
    assert "optimizer: adam_l2, adamw" in by_hydra.stdout


@pytest.mark.parametrize("name", ["show", "status", "doctor"])
def test_the_help_of_other_verbs_imports_nothing_heavy(tmp_path, name):
    code = f"import sys; sys.argv[:] = ['b', {name!r}, '--help']\n"
    code += "from bitnet_sweep.commands.verbs import run_verb; run_verb()\n"
    code += "print([m for m in ('torch', 'pandas', 'wandb', 'hydra') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["shw", "x"], 'Unknown command "shw". Did you mean "show"?'),
        (["show"], "requires an argument"),
        (["show", "x", "--stor=y"], "Did you mean --store?"),
        (["show", "x"], "STORE=runs: there is no such folder"),
        (["show", "x", "--store=~nosuchuser/x"], "is nobody's home folder here"),
        (["rm", "x"], "STORE=runs: there is no such folder"),
        (["generate", "x", "--prompt=y"], "STORE=runs: there is no such folder"),
        (["generate", "x"], "--prompt"),
        (["generate", "x", "--prompt=y", "--max-tokens=z"], "--max-tokens"),
        (["report", "--sweep=x"], "STORE=runs: there is no such folder"),
        (["report", "--nothing"], "Unknown option"),
        (["status", "--store=none"], "STORE=none: there is no such folder"),
        (["sync", "none"], "STORE=none: there is no such folder"),
        (["dashboard", "a/b", "--store=none"], "none: no such store"),
        (["prove", "wd2=0,1"], "wd2=0,1: prove trains one config: give it one value"),
        (["prove", "wd3=1"], "wd3=?: no such key"),
        (["prove", "wd2=-1"], "wd2=-1.0: must be"),
        (["prove", "--steps=3"], "--steps=3: leaves a stage of 1 step; each needs 2 or more"),
        (["prove", "--steps=x"], "--steps"),
        (["run", "wd2=-1"], "wd2=-1.0: must be"),
        (["run", "-m", "wd3=1,2"], "wd3=?: no such key"),
        (["-m", "wd2=0,-1"], "wd2=-1.0: must be"),
        (["wd2=-1"], "wd2=-1.0: must be"),
    ],
)
def test_a_wrong_command_is_one_line_and_2(tmp_path, words, told):
    status, out, err = verb(tmp_path, *words)
    assert (status, out) == (2, "")
    assert told in err.splitlines()[-1]
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("runs/runs/*"))


@pytest.mark.slow
@pytest.mark.parametrize("before", [["run", "-m"], ["-m"]], ids=["run -m", "-m"])
def test_run_is_the_module_form(swept, tmp_path, corpus_file, before):
    status, out, err = verb(tmp_path, *before, "wd2=0.0,0.05", *_words(corpus_file))
    assert status == 0, err
    assert "2 runs sharing 1 trunk" in out
    assert science(tmp_path / "runs") == science(swept.store)
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    assert '"command": "python -m bitnet_sweep -m wd2=0.0,0.05' in sweep.read_text()


@pytest.mark.slow
def test_one_run(swept, tmp_path, corpus_file):
    status, _, err = verb(tmp_path, "run", "wd2=0.05", *_words(corpus_file))
    assert status == 0, err
    run_id = swept.sweep.run_ids[1]
    assert science(tmp_path / "runs")[run_id] == science(swept.store)[run_id]


@pytest.mark.slow
@pytest.mark.parametrize("by", [["--store"], []], ids=["option", "place"])
def test_report_and_status(swept, tmp_path, by):
    status, out, err = verb(
        tmp_path, "report", *by, swept.store, "--out=out", "--check", f"--sweep={swept.sweep.name}"
    )
    assert (status, err) == (0, "")
    assert (tmp_path / "out" / "report.html").is_file()
    status, out, err = verb(tmp_path, "status", *by, swept.store)
    assert (status, err) == (0, "")
    assert "2 runs: 2 finished" in out
    status, out, err = verb(tmp_path, "sync", *by, swept.store)
    assert (status, out) == (0, "0 of 0 runs are uploaded, 0 still in training, 0 left\n")


@pytest.mark.slow
def test_the_store_is_runs_and_cleaning_is_passed_on(copied):
    status, out, _ = verb(copied, "status", "--clean", "--keep=weights")
    assert status == 0
    assert "trunks" in out
    assert "weights" not in out
    status, out, _ = verb(copied, "status", "--clean", "--yes")
    assert "Freed" in out
    status, _, err = verb(copied, "generate", "wd2=0.05", "--prompt=a")
    assert status == 2
    assert "has no final weights" in err


@pytest.mark.slow
def test_show(swept, tmp_path):
    run_id = swept.sweep.run_ids[1]
    status, out, err = verb(tmp_path, "show", "wd2=0.05", "--store", swept.store)
    assert (status, err) == (0, "")
    for told in (run_id, "h16 wd2=0.05", FINISHED, swept.sweep.name, str(swept.store / "runs" / run_id)):
        assert told in out
    assert "\n  optimizer.decay=all\n" in out
    assert f"open_run({str(swept.store)!r}, '{run_id}')" in out
    assert f"bitnet-sweep rm {run_id} --store" in out
    assert "bitnet-sweep run wd2=0.05 scale=smoke" in out


@pytest.mark.slow
def test_generate(swept, tmp_path):
    expected = bs.open_run(swept.store, "wd2=0.05").generate("abc", 7)
    status, out, err = verb(
        tmp_path, "generate", "wd2=0.05", "--prompt", "abc", "--max-tokens=7", "--store", swept.store
    )
    assert (status, out, err) == (0, f"abc{expected}\n", "")
    status, out, _ = verb(
        tmp_path, "generate", "wd2=0.05", "--prompt=abc", "--max-tokens=7", "--only", f"--store={swept.store}"
    )
    assert (status, out) == (0, f"{expected}\n")


@pytest.mark.slow
def test_a_removed_run_is_trained_again_by_the_same_command(copied, corpus_file):
    before = science(copied / "runs")
    run_id = next(id_ for id_ in before if bs.open_run(copied / "runs", id_).config.wd2 == 0.05)
    store = Store(copied / "runs")
    kept = [store.write_evaluation(id_, "quiz.0", {}) for id_ in before if id_ != run_id]
    store.write_evaluation(run_id, "quiz.0", {})
    status, out, err = verb(copied, "rm", "wd2=0.05", "--yes")
    assert (status, err) == (0, "")
    assert run_id in out
    assert not Store(copied / "runs").run(run_id).path.exists()
    assert not list((copied / "runs").glob(".*"))
    assert list((copied / "runs" / "evaluations").glob("*/*")) == kept
    assert len(Store(copied / "runs").runs()) == 1
    status, out, err = verb(copied, "run", "-m", "wd2=0.0,0.05", *_words(corpus_file))
    assert status == 0, err
    assert "20 done, 10 to train in 1 job" in out
    assert science(copied / "runs") == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "is_removed"), [("y\n", True), ("yes\n", True), ("n\n", False), ("", False), ("\n", False)]
)
def test_rm_asks(copied, answer, is_removed):
    status, out, err = verb(copied, "rm", "wd2=0.05", stdin=None, input=answer)
    assert (status, err) == (0 if is_removed else 1, "")
    assert len(Store(copied / "runs").runs()) == 2 - is_removed
    assert ("Nothing was removed." in out) != is_removed


@pytest.mark.slow
def test_rm_takes_no_run_that_is_alive(tmp_path, corpus_file):
    words = _words(corpus_file, steps=20_000, probe_every_steps=5_000)
    process = start(tmp_path, "sweep.share_stages=false", "track=none", *words)
    try:
        wait_for(lambda: is_training(tmp_path / "runs"))
        status, out, err = verb(tmp_path, "rm", "h16", "--yes")
        assert (status, out) == (2, "")
        assert "is being trained" in err
        assert len(err.splitlines()) == 1
        assert len(Store(tmp_path / "runs").runs()) == 1
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.system
def test_rm_takes_the_mirror_on_this_disk_along(tmp_path, corpus_file):
    words = _words(corpus_file, track="wandb")
    assert verb(tmp_path, "run", *words)[0] == 0

    def mirrors():
        return len(list((tmp_path / "runs" / "wandb").glob("offline-run-*")))

    assert mirrors() == 1
    assert verb(tmp_path, "rm", "h16", "--yes")[0] == 0
    assert mirrors() == 0
    assert not list((tmp_path / "runs" / "wandb").glob("*.mirror.json"))
    assert verb(tmp_path, "run", *words)[0] == 0
    assert mirrors() == 1


@pytest.mark.slow
def test_rm_again_after_it_was_killed(copied):
    """What a killed one had moved aside is no run, and the next one takes it along."""
    (run, _) = Store(copied / "runs").runs()
    run.path.rename(copied / "runs" / f".{run.id}.00000000.removed")
    assert len(Store(copied / "runs").runs()) == 1
    status, _, err = verb(copied, "rm", run.id, "--yes")
    assert (status, "has not begun" in err) == (2, True)
    assert verb(copied, "rm", Store(copied / "runs").runs()[0].id, "--yes")[0] == 0
    assert not list((copied / "runs").glob(".*.removed"))


def test_doctor(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_API_KEY"}
    status, out, err = verb(
        tmp_path, "doctor", env=environment | {"HOME": str(tmp_path), "BITNET_SWEEP_CPU": "portable"}
    )
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line[:14].strip() for line in lines] == [
        *("CPU class", "cores", "torch", "GPU", "W&B login", "SLURM", "Ray", "store")
    ]
    assert "portable: precision=mixed multiplies float32 forward and float32 backward; slower" in lines[0]
    assert "none (no API key" in lines[4]
    assert not list(tmp_path.glob("runs")), "it only looks"
    (tmp_path / "file").write_text("")
    status, out, _ = verb(tmp_path, "doctor", "--store=file")
    assert status == 1
    assert "nothing can be trained" in out.splitlines()[-1]


def test_the_console_script_is_this_one():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"bitnet-sweep": "bitnet_sweep.commands:main"}


@pytest.mark.slow
def test_a_run_with_parts_of_a_package_is_opened_by_naming_it(own_parts, tmp_path, corpus_file, monkeypatch):
    """And never by what its store says."""
    write_package(tmp_path)
    store, environment = tmp_path / "runs", os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    keys = {"plugins": ["stranger", "stranger.model"], "track": "none", "steps": 4}
    of_bag = {k: v for k, v in settings(corpus_file, store).items() if not k.startswith(("model.", "scale"))}
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])
    for name in [name for name in sys.modules if name.partition(".")[0] == "stranger"]:
        monkeypatch.delitem(sys.modules, name)
    bs.sweep({"wd2": [0.0]}, **settings(corpus_file, store) | keys | {"model.quantiser": "trim"})
    bs.sweep({"wd2": [0.0]}, **of_bag | keys | {"model": "bag"})
    for name, kind in (("trim", "quantiser"), ("bag", "model")):
        status, out, err = verb(tmp_path, "generate", name, "--prompt=a", env=environment)
        assert (status, out) == (2, "")
        assert f"has the {kind} {name}, of a package that is not installed here; name its module" in err
        assert "(--plugins stranger --plugins stranger.model)" in err
        status, out, _ = verb(tmp_path, "show", name, env=environment)
        (told,) = [line for line in out.splitlines() if line.startswith("  write text")]
        assert status == 0
        assert "  export it" not in out, "only the default quantiser can be"
        words = shlex.split(told.partition("bitnet-sweep ")[2])
        status, out, err = verb(tmp_path, *words, env=environment)
        assert (status, out[:4], err) == (0, "The ", "")
    with (tmp_path / "stranger" / "model.py").open("a") as file:
        file.write("\nSPEED = 2\n")
    status, _, err = verb(
        tmp_path, "generate", "bag", "--prompt=a", "--plugins=stranger.model", env=environment
    )
    assert status == 0
    assert "so it may compute something else (model bag: stranger/model.py)" in err
    status, _, err = verb(tmp_path, "generate", "bag", "--prompt=a", "--plugins=strange", env=environment)
    assert (status, err.partition(";")[0]) == (2, "bitnet_sweep: plugins=strange: there is no such module")
