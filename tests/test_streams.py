"""Every command with the streams and the locale that cron, systemd, nohup and old terminals give it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bitnet_sweep.store import FINISHED, Store, opened
from tests.repetition import repeated
from tests.sweep.command import TINY, states

pytestmark = pytest.mark.slow

STORE = Path(__file__).parent.parent / "experiments" / "001_small_stage2" / "store.tar.gz"
ASCII = {"PYTHONIOENCODING": "ascii"}
NO_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CONDITIONS = {
    "ascii": ("", ASCII),
    "no locale": ("", NO_LOCALE),
    "latin-1": ("", {"PYTHONIOENCODING": "latin-1:strict"}),
    "stdin closed": ("<&-", {}),
    "stdout closed": (">&-", {}),
    "stderr closed": ("2>&-", {}),
    "stdout and stderr closed": (">&- 2>&-", {}),
    "all closed": ("<&- >&- 2>&-", {}),
    "stderr full": ("2>/dev/full", {}),
    "stderr unread": ("2> >(true)", {}),
}
looked_at = pytest.mark.parametrize("condition", repeated(CONDITIONS, {"ascii", "no locale", "all closed"}))
trained = pytest.mark.parametrize("condition", repeated(CONDITIONS, {"all closed"}))
REPORT, STATUS, SYNC, DASHBOARD = "report", "status", "track.sync", "dashboard"


def _command(folder, condition, module, *arguments):
    """Exit status and what was told, by way of a shell that lays out the streams."""
    streams, environment = CONDITIONS[condition]
    return subprocess.run(
        ["bash", "-c", f'exec "$0" "$@" {streams}', sys.executable, "-m", module, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"WANDB_MODE": "offline"} | environment,
        capture_output=True,
        text=True,
        errors="replace",
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Of a few runs, one of which failed, all named with letters beyond ASCII."""
    root = tmp_path_factory.mktemp("λ") / "größe"
    with opened(STORE) as published:
        shutil.copytree(published, root)
    for i, folder in enumerate(Store(root).runs()):
        if i > 3:
            shutil.rmtree(folder.path)
    folder = Store(root).runs()[0]
    status = folder.status()
    assert status is not None
    assert status.state == FINISHED
    status.state, status.error = "failed", "ValueError: Größe λ → ∞"
    folder.write_status(status)
    return root


@pytest.mark.few(3)
@looked_at
@pytest.mark.parametrize("module", [STATUS, SYNC])
def test_reading_a_store(store, tmp_path, module, condition):
    done = _command(tmp_path, condition, f"bitnet_sweep.{module}", store)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if module == STATUS and "stdout" not in condition and "all" not in condition:
        assert "failed" in done.stdout
        assert "ValueError: Gr" in done.stdout
        assert ("ValueError: Größe λ → ∞" in done.stdout) == (
            condition not in ("ascii", "no locale", "latin-1")
        )


@pytest.mark.few(5)
@looked_at
@pytest.mark.parametrize(
    ("module", "status"), [(STATUS, 2), (SYNC, 2), (DASHBOARD, 2), (REPORT, 2), ("track.sync --help", 0)]
)
def test_what_a_command_refuses_it_still_refuses(tmp_path, module, status, condition):
    module, *options = module.split()
    wrong = {DASHBOARD: ["a/b", "ö"], REPORT: ["ö", "--out", "out"]}.get(module, ["ö"])
    done = _command(tmp_path, condition, f"bitnet_sweep.{module}", *(options or wrong))
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr.replace("ConfigError", "")


@looked_at
@pytest.mark.few(1)
@pytest.mark.system
def test_a_report_is_whole(store, tmp_path, condition):
    done = _command(tmp_path, condition, "bitnet_sweep.report", store, "--out", "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "λ → ∞" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


@trained
@pytest.mark.system
def test_one_run_is_trained(tmp_path, corpus_file, condition):
    arguments = [*TINY, f"data.path={corpus_file}", "steps=10"]
    done = _command(tmp_path, condition, "bitnet_sweep", *arguments)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert states(tmp_path / "runs") == [FINISHED]


@trained
@pytest.mark.system
def test_a_sweep_is_trained_and_mirrored(tmp_path, corpus_file, condition):
    arguments = ["-m", "wd2=0.0,0.05", *TINY, f"data.path={corpus_file}", "steps=10", "track=wandb"]
    done = _command(tmp_path, condition, "bitnet_sweep", *arguments)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert states(tmp_path / "runs") == [FINISHED] * 2
    assert len(list((tmp_path / "runs" / "wandb").glob("offline-run-*"))) == 2


@pytest.mark.parametrize("module", [STATUS, SYNC])
def test_an_output_that_cannot_be_written_is_said_in_a_line(store, tmp_path, module):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", f"bitnet_sweep.{module}", str(store)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (1, "stdout cannot be written (No space left on device)\n")


def test_a_closed_stream_is_not_the_next_file(tmp_path):
    """What the system calls file 2 must be no file of ours: libraries write their words there."""
    told = "import os; from bitnet_sweep.pipes import go_on_unread; go_on_unread(); f = open('f', 'w')"
    told += "; import subprocess as s; s.run('echo words >&2', shell=True); os.write(2, b'words')"
    subprocess.run(
        ["bash", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, told], cwd=tmp_path, check=True
    )
    assert (tmp_path / "f").read_text() == ""
