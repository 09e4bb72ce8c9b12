"""``--help`` tells what every key means, in the words of its docstring."""

import subprocess
import sys

import pytest

from bitnet_sweep.config import RunConfig, plain
from bitnet_sweep.keys import key_docs


def _leaves(document, prefix=""):
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


KEYS = list(_leaves(plain(RunConfig())))


def test_every_key_says_what_it_means():
    docs = key_docs()
    assert [key for key in KEYS if not docs[key].strip()] == []


def test_a_field_without_words_of_its_own_has_those_of_its_type():
    assert key_docs()["model.weights"] == "What the matrices of the forward pass hold."
    assert key_docs()["boundary"].startswith("Where the decay changes")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    words = [
        "--help",
        "model.hidden=512",
        "track.project='a$b$$CONFIG'",
        "optimizer=adamw",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bitnet_sweep", *words],
        cwd=tmp_path_factory.mktemp("help"),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
def test_help_tells_every_key_with_its_value_now(told):
    value = {
        "model.hidden": "512",
        "track.project": "a$b$$CONFIG",
        "optimizer.name": "adamw  (adam_l2 | adamw | sgd | lion | muon | torch)",
    }
    docs = key_docs()
    for key in KEYS:
        line = next(line for line in told.splitlines() if line.strip().startswith(f"{key}="))
        if key in value:
            assert line == f"  {key}={value[key]}"
        assert " ".join(docs[key].split()[:3]) in told, key
