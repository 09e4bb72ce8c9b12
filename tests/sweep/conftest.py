"""Undisturbed sweeps, to hold the disturbed ones against."""

import pytest

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
