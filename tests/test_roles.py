"""A knob is declared once: from there it reaches ids, names, reports and ``--help``."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitnet_sweep.config import KNOBS, role_of
from bitnet_sweep.roles import UNRANKED, Role
from tests.report.conftest import StoreWriter

ROOT = Path(__file__).parents[1]
BEHIND = "    activation: GateActivation = "
"""New fields stand before this one of ``ModelConfig``."""
GROWN = '''
    twist: float = knob(1.0, Role.in_id | Role.added | Role.fp32_only)
    """How far each head is turned."""
    girth: int = knob(3, Role.in_id | Role.weights | Role.added)
    """How wide a waist is."""
    colour: str = knob("red", Role.operational)
    """What it is painted with."""
'''

Child = Callable[[str], Any]


def package_with(fields: str, folder: Path) -> None:
    """A copy of this package whose ``ModelConfig`` has these fields, too."""
    shutil.copytree(ROOT / "bitnet_sweep", folder / "bitnet_sweep")
    for name in ("conf", "hydra_plugins"):
        (folder / name).symlink_to(ROOT / name)
    path = folder / "bitnet_sweep" / "config" / "model.py"
    before, found, behind = path.read_text().partition(BEHIND)
    assert found
    path.write_text(f"{before.rstrip()}{fields}{found}{behind}")


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("grown")
    package_with(GROWN, made)
    return made


def run_in(folder: Path, lines: str) -> Any:
    """Run lines of Python on the package there and return what their ``found`` is."""
    start = "import json\nfrom bitnet_sweep.config import *\nfrom bitnet_sweep.stages import resolve\n"
    done = python(folder, "-c", f"{start}{lines}\nprint(json.dumps(found))")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def child(folder: Path) -> Child:
    return functools.partial(run_in, folder)


IDS = """
from bitnet_sweep.identity import stage_ids
def ids(**model):
    config = RunConfig(steps=100, precision=Precision.fp32, model=ModelConfig(**model))
    return stage_ids(resolve(config), "corpus")
"""


def test_at_its_default_an_added_knob_leaves_ids_as_they_are(child: Child) -> None:
    """The known value of ``test_identity``."""
    known, twisted, wide, blue = child(
        f"{IDS}found = [ids(), ids(twist=2.0), ids(girth=4), ids(colour='blue')]"
    )
    assert known == blue == ["7f50e6e79cbf24b5", "5e9e2bad07c5d48c"]
    assert len({*known, *twisted, *wide}) == 6


def test_one_that_was_not_added_is_in_every_id(tmp_path: Path) -> None:
    package_with('\n    mark: str = knob("x", Role.in_id)\n', tmp_path)
    assert not {"7f50e6e79cbf24b5", "5e9e2bad07c5d48c"} & {*run_in(tmp_path, f"{IDS}found = ids()")}


def test_reports_read_an_added_knob_into_configs_of_before(child: Child, tmp_path: Path) -> None:
    for name, told in (("old", ""), ("new", "  girth: 5\n"), ("none", None)):
        (tmp_path / name).mkdir()
        if told is not None:
            (tmp_path / name / "config.yaml").write_text("model:\n  hidden: 16\n" + told)
    old, new, none, added = child(
        "from pathlib import Path\nfrom bitnet_sweep.report.read import read_run\n"
        f"found = [read_run(Path({str(tmp_path)!r}) / name).config for name in ('old', 'new', 'none')]\n"
        "found.append(added_knobs())"
    )
    assert old == added | {"model.hidden": 16}
    assert (added["model.twist"], added["model.girth"]) == (1.0, 3)
    assert new == old | {"model.girth": 5}
    assert none == {}


def test_a_knob_that_mixed_does_not_implement_is_refused_there(child: Child) -> None:
    found = child(
        "found = []\n"
        "for precision, twist in ((Precision.mixed, 1.0), (Precision.fp32, 2.0), (Precision.mixed, 2.0)):\n"
        "    try:\n"
        "        found.append(RunConfig(precision=precision, model=ModelConfig(twist=twist)).model.twist)\n"
        "    except ConfigError as error:\n"
        "        found.append(str(error))\n"
    )
    assert found == [1.0, 2.0, "model.twist=2.0: needs precision=fp32; mixed does not compute it"]


def test_a_field_without_a_role_is_refused(tmp_path: Path) -> None:
    package_with('\n    bare: str = "x"\n', tmp_path)
    done = python(tmp_path, "-c", "import bitnet_sweep.config")
    assert done.stderr.strip().endswith("model.bare has no role: declare it as knob(default, Role...)")


SCIENCE = Role.in_id | Role.in_stages | Role.in_length | Role.in_corpus | Role.preset


@pytest.mark.parametrize("knob", KNOBS.values(), ids=KNOBS)
def test_a_knob_is_operational_or_science(knob: Any) -> None:
    assert bool(knob.role & SCIENCE) != (Role.operational in knob.role)
    assert Role.axis not in knob.role or Role.head in knob.role


def test_ranks_are_a_ranking() -> None:
    ranks = sorted(knob.rank for knob in KNOBS.values() if knob.rank < UNRANKED)
    assert ranks == list(range(1, len(ranks) + 1))


def test_a_key_of_another_program_has_what_its_group_has_in_common() -> None:
    assert role_of("sweep.of_tomorrow") == role_of("track") == Role.operational
    assert role_of("data.of_tomorrow") == Role.data
    assert role_of("model.of_tomorrow") == Role.in_id
    assert role_of("somebody.else") == role_of("else") == Role(0)


STUDY = """
from pathlib import Path
from bitnet_sweep.report import make_report
from bitnet_sweep.report.pairs import pair_of
from bitnet_sweep.track import run_name

study = make_report([Path({store!r})]).study
arms = {{arm.run_id: arm for arm in study.arms}}
pairs = {{run_id: str(pair_of(arms["plain"], arm)) for run_id, arm in arms.items()}}
sections = {{arm.run_id: section.label for section in study.sections for arm in section.arms}}
models = {models!r}
configs = [RunConfig(precision=Precision.fp32, model=ModelConfig(**model)) for model in models.values()]
names = dict(zip(models, [run_name(resolve(config)) for config in configs]))
found = [pairs, sections, names]
"""


@pytest.fixture(scope="module")
def study(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Pairs with the plain arm, sections and names of arms that differ in one of the new knobs."""
    store = StoreWriter(tmp_path_factory.mktemp("store"))
    models: dict[str, dict[str, Any]] = {
        "plain": {},
        "twisted": {"twist": 2.0},
        "wide": {"girth": 4},
        "blue": {"colour": "blue"},
    }
    alone: dict[str, Any] = {"stage_ids": [], "parent_stage_id": None}
    for seed, (run_id, model) in enumerate(models.items()):
        change = {f"model__{name}": value for name, value in model.items()}
        own_seed = seed if run_id == "blue" else 0  # else it would be the plain run once more
        store.run(run_id, {1: 9.0, 50: 8.0, 100: 4.0}, status=alone, seed=own_seed, **change)
    found: list[dict[str, str]] = run_in(folder, STUDY.format(store=str(store.root), models=models))
    return found


def test_a_new_science_knob_is_a_factor_of_pairs(study: list[dict[str, str]]) -> None:
    assert study[0]["twisted"] == "Pair(kind='matched', factor='model.twist')"
    assert study[0]["blue"] == "Refusal(reason='the seeds differ')"


def test_one_that_shapes_the_initial_weights_makes_no_pair(study: list[dict[str, str]]) -> None:
    assert study[0]["wide"] == "Refusal(reason='the initial weights differ: model.girth')"


def test_a_new_science_knob_makes_sections_and_an_operational_one_does_not(
    study: list[dict[str, str]],
) -> None:
    told = {run_id: label.split(", ") for run_id, label in study[1].items()}
    assert "model.twist=2" in told["twisted"]
    assert "model.girth=4" in told["wide"]
    assert told["blue"] == told["plain"] == ["model.twist=1", "model.girth=3"]


def test_a_new_science_knob_is_in_names_and_an_operational_one_is_not(study: list[dict[str, str]]) -> None:
    plain = study[2]["plain"]
    assert study[2] == {
        "plain": plain,
        "twisted": f"{plain} twist=2",
        "wide": f"{plain} girth=4",
        "blue": plain,
    }


def test_help_tells_of_a_new_knob(folder: Path) -> None:
    told = python(folder, "-m", "bitnet_sweep", "--help", "model.girth=5").stdout.splitlines()
    place = told.index("  model.girth=5")
    assert told[place + 1].strip() == "How wide a waist is."
    assert "  model.colour=red" in told
