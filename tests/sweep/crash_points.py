"""Kill a job in front of each of its file operations in turn, and let a second one go on.

A program of its own, for ``test_crash_points.py``: it forks before torch has trained anything, so a life
costs no start-up. Python's audit events say when a file is about to be opened for writing, renamed,
removed or made; no hook in the product is needed. Prints one JSON line for each death.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

from bitnet_sweep.config import from_plain
from bitnet_sweep.data import prepare
from bitnet_sweep.sweep.job import Hooks, Job
from bitnet_sweep.sweep.provenance import machine

PUBLICATIONS = ("boundary.json", "final.safetensors")
"""What a trunk and a run leave behind; renamed into place once for each time they are trained."""
NEVER = sys.maxsize


def live(config, deadly):
    """One life of a job in a process of its own.

    Args:
        config: resolved.
        deadly: it is killed in front of its file operation of this number, counted from 0.

    Returns:
        Its exit status (negative: killed), and the files it published, as folder/name.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            _watch(Path(config.store), deadly, writer)
            Job(config, "group", [], Hooks()).complete()
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        published = pipe.read().splitlines()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), published


def _watch(store, deadly, writer):
    operations = 0

    def on_event(event, arguments):
        nonlocal operations
        if event not in ("open", "os.rename", "os.remove", "os.mkdir"):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        path = Path(str(arguments[0]))
        if not path.is_relative_to(store) or "lease" in path.name:  # a thread's, at any time
            return
        if operations == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        operations += 1
        if event == "os.rename" and Path(arguments[1]).name in PUBLICATIONS:
            target = Path(arguments[1])
            os.write(writer, f"{target.parent.name}/{target.name}\n".encode())

    sys.addaudithook(on_event)


def state_of(store):
    """Records, samples, states and tensors without what time and host decide, and which files there are."""
    found: dict[str, object] = {}
    for path in sorted(p for room in ("runs", "stages") for p in (store / room).glob("*/*")):
        name = str(path.relative_to(store))
        if path.name == "status.json":
            status = json.loads(path.read_text())
            found[name] = {key: status[key] for key in ("state", "stage_ids", "outcome", "diverged_step")}
        elif path.name == "records.jsonl":
            records = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in r.items() if not k.startswith("perf/")} for r in records]
        elif path.name != "config.yaml":  # that names the store
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def trial(config, corpus, calm, deaths):
    """Die at each of these operations, one life after the other, then live; what there is to say of it."""
    store = Path(config.store)
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(corpus, store / "tokens")
    counts = dict.fromkeys(calm["published"], 0)
    killed = 0
    for deadly in [*deaths, NEVER]:
        status, published = live(config, deadly)
        for name in published:
            counts[name] += 1
        if status == 0:
            break
        killed += 1
        assert status == -signal.SIGKILL, f"exit status {status}"
    return {
        "deaths": deaths[:killed],
        "same": state_of(store) == calm["state"],
        "published": sorted(set(counts.values())),
    }


def main(document, folder, seed, stride):
    """Every ``stride``-th single point of death, then many deaths in a row at random."""
    config = from_plain(json.loads(document))
    prepare(config, folder / "tokens")
    machine()  # asks git; once for all lives
    calm_config = replace(config, store=str(folder / "calm"))
    status, published = live(calm_config, NEVER)
    assert status == 0
    calm = {"state": state_of(folder / "calm"), "published": published}
    config = replace(config, store=str(folder / "struck"))
    deadly = 0
    while True:
        said = trial(config, folder / "tokens", calm, [deadly])
        if not said["deaths"]:
            break
        print(json.dumps(said), flush=True)
        deadly += stride
    rng = random.Random(seed)
    for _ in range(4):
        print(json.dumps(trial(config, folder / "tokens", calm, [rng.randrange(60) for _ in range(8)])))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
