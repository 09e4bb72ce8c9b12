"""Sweeps that every launcher must end alike: the grid, and what the local launcher makes of it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.sweep import command
from tests.sweep.command import PATIENCE_SECONDS, TINY, science

EIGHT = ["model.hidden=16,32", "wd2=0.0,0.05", "seed=0,1", "steps=40", "probe_every_steps=20"]
"""Eight runs that share four trunks."""
LONG = ["model.hidden=16", "model.num_layers=1", "wd2=0.0,0.05", "seed=0,1", "steps=4000"]
LONG += ["probe_every_steps=500", "checkpoint_every_steps=200"]
"""Four runs that share two trunks, long enough to be disturbed: SLURM takes seconds to preempt a job."""
run, start = partial(command.run, fresh=True), partial(command.start, fresh=True)
"""Clusters start interpreters of their own anyway; so nothing is forked here."""
SCRIPTS = Path(__file__).parent / "cluster"


@pytest.fixture(scope="session")
def arguments(corpus_file):
    return ["-m", *TINY, f"data.path={corpus_file}"]


def local(folder, grid, arguments):
    """The results of the grid under the local launcher."""
    status, _, err = run(folder, *arguments, *grid)
    assert status == 0, err
    return science(folder / "runs")


@pytest.fixture(scope="session")
def eight(tmp_path_factory, arguments):
    return local(tmp_path_factory.mktemp("eight"), EIGHT, arguments)


@pytest.fixture(scope="session")
def long(tmp_path_factory, arguments):
    return local(tmp_path_factory.mktemp("long"), LONG, arguments)


@contextmanager
def cluster(script, folder) -> Iterator[None]:
    """What the script starts, until it stops it."""
    subprocess.run([SCRIPTS / script, "start", folder], check=True, timeout=PATIENCE_SECONDS)
    try:
        yield
    finally:
        subprocess.run([SCRIPTS / script, "stop", folder], check=True, timeout=PATIENCE_SECONDS)
