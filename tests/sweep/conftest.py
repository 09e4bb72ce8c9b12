"""Undisturbed sweeps, to hold the disturbed ones against."""

import pytest

from bitnet_sweep.store import Store
from bitnet_sweep.sweep.node import node_of
from bitnet_sweep.sweep.plan import PlannedJob, PlannedRun
from tests.sweep.command import GRID, LONG, TINY, run, science


@pytest.fixture(scope="session")
def arguments(corpus_file):
    return [*TINY, f"data.path={corpus_file}", "steps=40"]


@pytest.fixture(scope="session")
def calm(tmp_path_factory, arguments):
    """An undisturbed sweep under the default launcher, in new interpreters as a user starts them."""
    folder = tmp_path_factory.mktemp("calm")
    status, out, err = run(folder, *GRID, *arguments, fresh=True)
    assert status == 0, err
    return folder, out


@pytest.fixture(scope="session")
def calm_long(tmp_path_factory, arguments):
    folder = tmp_path_factory.mktemp("calm_long")
    assert run(folder, *GRID, *arguments, *LONG)[0] == 0
    return science(folder / "runs")


@pytest.fixture
def job(tiny, tmp_path):
    """That of run b, with a trunk a, in the store at ``tmp_path``."""
    run = PlannedRun((), tiny(), ("a", "b"))
    node = node_of(run.config, Store(tmp_path), run.stage_ids)
    return PlannedJob(run, node, parent=None, steps=20, left=20, rank=0.0)
