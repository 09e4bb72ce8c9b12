"""The wheel that is made from the source archive carries everything.

Installed elsewhere, it runs a sweep and its report from an empty folder.
"""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import bitnet_sweep

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """An environment that holds the wheel and sees the dependencies, but not this source tree.

    A path in a .pth file is searched, while .pth files in that path (the editable install) are not read.
    """
    folder: Path = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*pip, str(packages), str(wheel)], check=True, capture_output=True)
    return folder / "env" / "bin" / "python"


@pytest.mark.system
def test_wheel_runs_from_an_empty_folder(python, tmp_path, corpus_file):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*command: str) -> str:
        finished = subprocess.run(
            [str(python), *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    where = run(
        "-c", "import bitnet_sweep, hydra_plugins; print(bitnet_sweep.__file__, *hydra_plugins.__path__)"
    )
    assert str(ROOT) not in where
    describe = "import bitnet_sweep; from importlib import metadata, resources; "
    installed = "print(bitnet_sweep.__version__, metadata.version('bitnet-sweep'), "
    typed = "resources.files('bitnet_sweep').joinpath('py.typed').is_file())"
    version = bitnet_sweep.__version__
    assert run("-c", describe + installed + typed) == f"{version} {version} True\n"
    tiny = [
        "scale=smoke",
        "model.hidden=16",
        "tokenizer.vocab_size=300",
        "data=text",
        f"data.path={corpus_file}",
    ]
    run("-m", "bitnet_sweep", "-m", "wd2=0.0,0.05", "sequence_length=8", "track=none", *tiny)
    run("-m", "bitnet_sweep.report", "runs", "--out", "report", "--check")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "runs"]
    assert "<html" in (tmp_path / "report" / "report.html").read_text()
    statuses = [json.loads(path.read_text()) for path in tmp_path.glob("runs/runs/*/status.json")]
    assert [status["state"] for status in statuses] == ["finished"] * 2
    assert [status["provenance"]["commit"] for status in statuses] == [None] * 2
    load = "import bitnet_sweep, sys; model = bitnet_sweep.load_run('runs', sys.argv[1]); "
    count = load + "print(sum(parameter.numel() for parameter in model.parameters()))"
    # 2 * 300 * 16 + 2 layers of 10 * 16² + 7 * 16, and the final norm's 16
    assert run("-c", count, statuses[0]["run_id"]) == f"{2 * 300 * 16 + 2 * (10 * 256 + 7 * 16) + 16}\n"
