"""A package outside, with a part for each door: built, installed, found, trained, killed, resumed, forked."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bitnet_sweep.store import Store
from tests.page import PAGE, write_package
from tests.sweep.command import LONG, TINY, is_training, run, science, start, states, wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of docs/extend.md, written down as the page says."""
    folder: Path = tmp_path_factory.mktemp("stranger")
    write_package(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["pyproject.toml", "stranger"]
    return folder


@pytest.fixture(scope="module")
def environment(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the package is installed from its wheel."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = wheels.iterdir()
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}


SHAPES, REST = (
    [word for word in TINY if word.startswith("model.") is is_shape and word != "data=text"]
    for is_shape in (True, False)
)
EVERY = [
    "-m",
    *REST,
    "optimizer=quick",
    "schedule=stairs",
    "schedule.options.stairs=2",
    "data=sums",
    "metrics=[margin]",
    "metric_options.margin.share=0.01",
    *LONG,
]
GRIDS = (
    [*EVERY, *SHAPES, "model.quantiser=trim", "model.hidden=16", "wd2=0.0,0.05"],
    [*EVERY, "model=bag", "model.options.width=8", "wd2=0.0,0.05"],
)
"""Every part of the package; a model of a user's own has no quantiser of ours."""


@pytest.mark.system
def test_every_part_is_trained_killed_resumed_and_reported(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """One test, as its two sweeps are what takes the time."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    told = []
    for words in GRIDS:
        for folder in (undisturbed, killed):
            folder.mkdir(exist_ok=True)
        status, out, err = run(undisturbed, *words, env=environment)
        assert status == 0, err
        told.append(out)
        process = start(killed, *words, env=environment)
        wait_for(lambda: is_training(killed / "runs"))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        status, _, err = run(killed, *words, env=environment)
        assert status == 0, err
    assert science(killed / "runs") == science(undisturbed / "runs")
    _are_values_of_a_grid(undisturbed, *told)
    _are_in_the_register(undisturbed)
    _need_no_package(undisturbed)


def _are_values_of_a_grid(folder: Path, out: str, of_model: str) -> None:
    for told in (out, of_model):
        assert "2 runs sharing 1 trunk" in told
    assert "precision=mixed: model.name=bag is computed by its own code" in of_model
    assert states(folder / "runs") == ["finished"] * 4
    runs = [Store(folder / "runs").run(path.name) for path in (folder / "runs" / "runs").iterdir()]
    for each in runs:
        config, status = each.config(), each.status()
        assert (config.optimizer.torch_class, config.optimizer.options) == ("sign", {"momentum": 0.5})
        assert (config.schedule.function, config.data.source) == ("stairs", "sums")
        assert status is not None
        assert "schedule stairs: stranger/schedule.py" in status.code
        assert (config.metrics, config.metric_versions) == (["margin"], ["1"])
        assert config.metric_options == {"margin": {"share": 0.01}}
        assert "metric margin: stranger/metric.py" in status.code
        found = [(record["margin/mean"] or 0.0, record["margin/least"]) for record in each.records()]
        assert all(least is not None and mean > least >= 0 for mean, least in found)
    (own, _) = [each for each in runs if each.config().model.quantiser == "trim"]
    model, status = own.config().model, own.status()
    assert (model.quantiser_options, model.quantiser_version) == ({"cut": 0.7}, "1")
    assert status is not None
    assert "quantiser trim: stranger/__init__.py" in status.code
    (own, _) = [each for each in runs if each.config().model.name == "bag"]
    status = own.status()
    assert status is not None
    assert status.parameters == {"total": 300 * 8 + (16 * 8 + 8) + (8 * 300 + 300)}
    (last,) = [record for record in own.records() if record["step"] == 120]
    unknown = ("ternary/zero_frac", "ternary/absmean", "blocks/loss_without", "weights/head_rms")
    assert {last[field] for field in unknown} == {None}
    assert last["val/loss"] is not None


def test_its_option_is_swept_and_what_is_wrong_is_said_in_a_line(
    environment: dict[str, str], arguments: list[str], tmp_path: Path
) -> None:
    words = ["-m", "model.quantiser=trim", "model.hidden=16", *arguments, "sweep.dry_run=true"]
    status, out, err = run(tmp_path, *words, "model.quantiser_options.cut=0.3,0.5", env=environment)
    assert status == 0, err
    assert "2 runs" in out
    for word, said in (
        ("model.quantiser_options.cut=x", "model.quantiser_options.cut=x: must be a number"),
        (
            "model.quantiser_options.cot=1",
            "model.quantiser_options.cot=1: quantiser trim has no such option; did",
        ),
        (
            "model.quantiser=trin",
            "model.quantiser=trin: no such quantiser; did you mean trim? allowed: absmean",
        ),
    ):
        status, _, err = run(tmp_path, *words, word, env=environment)
        assert status == 2
        assert err.splitlines()[-1].startswith(f"bitnet_sweep: {said}")


def test_without_installing_it_is_a_plugin(source: Path, arguments: list[str], tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), str(ROOT)])}
    words = ["model.quantiser=trim", "model.hidden=16", *arguments]
    status, _, err = run(tmp_path, *words, env=environment)
    assert status == 2
    assert "model.quantiser=trim: no such quantiser" in err
    status, _, err = run(tmp_path, *words, "plugins=[stranger]", env=environment)
    assert status == 0, err
    assert states(tmp_path / "runs") == ["finished"]


def _need_no_package(folder: Path) -> None:
    status, _, err = run(folder, "runs", "--out", "report", module="bitnet_sweep.report")
    assert status == 0, err
    report = (folder / "report" / "report.md").read_text()
    for told in ("### model.name=bag", "### model.name=transformer", "model=bag, wd2=0", "bag wd2=0.0 s0"):
        assert told in report
    assert "they differ in: model.name, model.version" in report, "the bag has no quantiser that could differ"
    with (folder / "report" / "tables" / "records.csv").open() as file:
        assert all(float(row["margin/mean"]) > 0 for row in csv.DictReader(file))
    with (folder / "report" / "tables" / "model_sizes.csv").open() as file:
        assert "5236" in {value for row in csv.reader(file) for value in row}
    assert run(folder, "runs", module="bitnet_sweep.status")[0] == 0
    run_id = next(
        path.parent.name
        for path in (folder / "runs" / "runs").glob("*/config.yaml")
        if "quantiser: trim" in path.read_text()
    )
    told = f"from bitnet_sweep import open_run; run = open_run('runs', {run_id!r})"
    for more, expected in (("", 0), ("; run.model", 1)):
        done = subprocess.run(
            [sys.executable, "-c", f"{told}; print(run.config.model.quantiser){more}"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (expected, "trim\n"), done.stderr
    assert "has the quantiser trim, of a package that is not installed here" in done.stderr


def test_a_plan_says_when_its_source_has_changed(source: Path, arguments: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "stranger.py").write_text((source / "stranger" / "__init__.py").read_text())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    words = ["model.quantiser=trim", "model.hidden=16", "plugins=[stranger]", *arguments]
    assert run(tmp_path, *words, env=environment)[0] == 0
    with (folder / "stranger.py").open("a") as file:
        file.write("\nSPEED = 2\n")
    status, out, err = run(tmp_path, *words, env=environment)
    assert status == 0, err
    assert "differing: quantiser trim: stranger.py" in out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["stranger:Trim", "cut=0.5"], 0, "quantiser trim, version 1: every check passed"),
        (["stranger.zone:Zone", "clip=1.0"], 0, "quantiser zone, version 1: every check passed"),
        (["stranger.optimizer:Sign", "momentum=0.5"], 0, "optimizer sign, version 1: every check passed"),
        (["stranger.model:Bag", "width=8"], 0, "model bag, version 1: every check passed"),
        (["stranger.schedule:stairs", "stairs=3"], 0, "schedule stairs, version 1: every check passed"),
        (["stranger.data:Sums", "highest=70"], 0, "data sums, version 1: every check passed"),
        (["stranger.metric:margin"], 0, "metric margin, version 1: every check passed"),
        (
            ["stranger:TrimOptions"],
            2,
            ":TrimOptions: is no part; module stranger registers stranger:Trim (quantiser trim)",
        ),
        (["os:path"], 2, "check=os:path: is no part; module os registers none (bitnet_sweep.parts.register)"),
        (["stranger:Trim", "cut=-1"], 2, "quantiser trim refuses it: cut must be 0 or more"),
        (["strange:Trim"], 2, "check=strange:Trim: cannot be imported"),
    ],
)
@pytest.mark.few(4)
def test_the_check(source: Path, words: list[str], status: int, said: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), str(ROOT)])}
    got, out, err = run(source, "check", *words, module="bitnet_sweep.parts", env=environment)
    assert got == status, out + err
    assert said in (out or err).splitlines()[-1]
    assert "held out" not in err or "sums" in said, "their own text is long enough"


def test_claims_of_a_package_are_judged_without_it(environment: dict[str, str], tmp_path: Path) -> None:
    words = [str(ROOT / "experiments" / "018_zoo" / "store.tar.gz"), f"--out={tmp_path / 'report'}"]
    told = "from bitnet_sweep.report.__main__ import main; import sys\n"
    told += f"status = main({[*words, '--claims=borders']!r}); print(status, 'stranger' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0 False"
    with (tmp_path / "report" / "tables" / "claims.csv").open() as file:
        assert {row["verdict"] for row in csv.DictReader(file)} == {"reproduced"}
    _, _, err = run(tmp_path, *words, "--claims=boarders", module="bitnet_sweep.report", env=environment)
    assert "--claims=boarders: no such claims; allowed: notes, borders, or a file of claims that ends" in err


def test_a_layer_of_a_users_model_is_ternary(source: Path) -> None:
    """As the page has it."""
    (block,) = re.findall(r"```python\n(import torch\n.*?layer\.initialise.*?)```", PAGE, re.DOTALL)
    told = "x = torch.randn(3, 64)\nlayer(x).square().sum().backward()\n"
    told += "print(sorted(set(layer.codes().flatten().tolist())), bool(layer.weight.grad.any()))\n"
    command = [sys.executable, "-c", f"{block}{told}"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), str(ROOT)])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "[-1, 0, 1] True\n", done.stderr


def _are_in_the_register(folder: Path) -> None:
    """A run says by which command it was made."""
    commands = [json.loads(path.read_text())["command"] for path in (folder / "runs" / "sweeps").iterdir()]
    assert sorted("model=bag" in command for command in commands) == [False, True]
    assert all("optimizer=quick" in command for command in commands)
