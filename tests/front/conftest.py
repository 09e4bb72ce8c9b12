"""A store with a sweep of two arms that was trained from Python, once for all tests that only read it."""

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import bitnet_sweep as bs
from tests.commands import run

PATIENCE_SECONDS = 200
"""Only a verb that hangs is ended by it; those that train or ask other programs are given more."""

VERB = "import sys; sys.argv[0] = 'bitnet-sweep'; from bitnet_sweep.commands import main; main()"


def settings(corpus_file, store) -> dict[str, Any]:
    """Of runs of 20 steps at hidden 16."""
    return {
        "scale": "smoke",
        "steps": 20,
        "batch_size": 2,
        "sequence_length": 8,
        "track": "none",
        "data": "text",
        "store": store,
        "model.hidden": 16,
        "model.num_layers": 2,
        "model.num_heads": 2,
        "tokenizer.vocab_size": 300,
        "data.path": corpus_file,
    }


class Swept(NamedTuple):
    sweep: Any
    store: Path


@pytest.fixture(scope="session")
def swept(corpus_file, tmp_path_factory) -> Swept:
    store = tmp_path_factory.mktemp("front") / "store"
    return Swept(bs.sweep({"wd2": [0.0, 0.05]}, **settings(corpus_file, store)), store)


def verb(folder, *words, **options):
    """``bitnet-sweep`` as installed: exit status, stdout, stderr. Options need a new interpreter."""
    if not options:
        return run(folder, *words, module="bitnet-sweep")
    done = subprocess.run(
        [sys.executable, "-c", VERB, *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        **{"stdin": subprocess.DEVNULL, "timeout": PATIENCE_SECONDS, **options},
    )
    return done.returncode, done.stdout, done.stderr
