"""The command as typed (``run`` and ``start``, see ``tests/commands.py``), and what it left in its store."""

import json
import time

import psutil
from safetensors.torch import load_file

from bitnet_sweep.store import Store
from bitnet_sweep.store.lease import read_lease
from tests.commands import PATIENCE_SECONDS as PATIENCE_SECONDS
from tests.commands import run as run
from tests.commands import start as start

TINY = [
    "model.num_layers=2",
    "model.num_heads=2",
    "sequence_length=8",
    "batch_size=2",
    "probe_every_steps=10",
    "tokenizer.vocab_size=300",
    "data=text",
    "track=none",
]
GRID = ["-m", "model.hidden=16,32", "wd2=0.0,0.05"]
LONG = ["steps=120", "checkpoint_every_steps=10"]


def science(store):
    """Records of every run without what time, memory or host decides, and the final weights."""
    result = {}
    for path in sorted((store / "runs").iterdir()):
        folder = Store(store).run(path.name)
        records = [{k: v for k, v in r.items() if not k.startswith("perf/")} for r in folder.records()]
        weights = {name: t.tolist() for name, t in load_file(folder.final_path).items()}
        result[path.name] = (records, folder.samples(), weights)
    return result


def states(store):
    paths = (store / "runs").glob("*/status.json")
    return sorted(json.loads(path.read_text())["state"] for path in paths)


def workers_of(process):
    return psutil.Process(process.pid).children(recursive=True)


def assert_gone(workers):
    """However a sweep ended, its workers end by themselves."""
    assert workers
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE_SECONDS)
    assert not [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE]


def wait_for(condition, seconds=PATIENCE_SECONDS):
    """The first true value of the condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def is_training(store):
    return any("step" in (read_lease(path.parent) or {}) for path in store.glob("*/*/lease.json"))
