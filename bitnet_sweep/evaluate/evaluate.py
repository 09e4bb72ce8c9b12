"""``bitnet-sweep evaluate``: export a run, ask lm-evaluation-harness, and keep what it says in the store."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bitnet_sweep import __version__
from bitnet_sweep.api.runs import open_run
from bitnet_sweep.config import ConfigError
from bitnet_sweep.evaluate.tasks import KEY, TaskFile
from bitnet_sweep.export.check import environment, failure_of
from bitnet_sweep.export.export import CHECK, export_to_hf
from bitnet_sweep.files import read_json
from bitnet_sweep.store import Store
from bitnet_sweep.store.codec import SCHEMA
from bitnet_sweep.store.evaluations import summary

_VERSIONS = ("lm_eval", "datasets", "transformers", "torch")
_CHILD = "bitnet_sweep.evaluate.child"


class EvaluateError(Exception):
    """The harness failed on the model; ``str()`` is one line."""


def evaluate(store: Path, text: str, asked: Sequence[TaskFile], *, online: bool, checked: bool) -> str:
    """Evaluate a run on each task file; what to tell.

    Args:
        store: the folder that holds ``runs/``.
        text: which run.
        asked: what is asked.
        online: allow the harness to download what it needs.
        checked: of the export, see :func:`bitnet_sweep.export.export.export_to_hf`.

    Raises:
        ConfigError: not exactly one such run, it cannot be exported, or the harness refuses a task.
        check.CheckError: the export is not the same model.
        EvaluateError: the harness failed; what it said of the task files before is kept.
    """
    run = open_run(store, text)
    Store(run.store).open_for_writing()
    with tempfile.TemporaryDirectory(prefix="bitnet_sweep-") as name:
        scratch = Path(name)
        for tasks in asked:
            try:
                _ask(tasks, None, scratch, online)
            except EvaluateError as error:
                raise ConfigError(KEY, tasks.path, f"the harness refuses it: {error}") from error
        export_to_hf(store, run.run_id, scratch / "export", checked=checked)
        told = [f"{run.run_id} ({run.name})"]
        for tasks in asked:
            document = _document(tasks, scratch, online)
            path = Store(run.store).write_evaluation(run.run_id, tasks.record, document)
            warned = [f"  the harness warns: {text}" for text in document["warnings"]]
            told += [*summary(document), *warned, f"  kept in {path}"]
    return "\n".join(told)


def _document(tasks: TaskFile, scratch: Path, online: bool) -> dict[str, Any]:
    """The record of what the harness says of the export in ``scratch``.

    Raises:
        EvaluateError: it fails.
    """
    start = time.perf_counter()
    found = _ask(tasks, scratch / "export", scratch, online)
    check = read_json(scratch / "export" / CHECK)
    versions = {name: importlib.metadata.version(name) for name in _VERSIONS}
    return {
        "schema": SCHEMA,
        "tasks_file": tasks.path.name,
        "sha256": tasks.sha256,
        "data": tasks.data,
        "content": tasks.content,
        "results": {name: _metrics(metrics) for name, metrics in found.pop("results").items()},
        **found,
        "online": online,
        "check": check["result"] if check else None,
        "versions": {"bitnet_sweep": __version__, **versions},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "perf/seconds": time.perf_counter() - start,
    }


def _metrics(metrics: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """The harness's ``{"acc,none": 0.5, "acc_stderr,none": 0.1, "alias": ...}`` by the name of the metric."""
    found = {}
    for key, value in metrics.items():
        name, comma, kind = key.partition(",")
        if comma and not name.endswith("_stderr"):
            error = metrics.get(f"{name}_stderr,{kind}")
            shown = name if kind == "none" else f"{name},{kind}"
            found[shown] = {"value": _finite(value), "stderr": _finite(error)}
    return found


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _ask(tasks: TaskFile, folder: Path | None, scratch: Path, online: bool) -> Any:
    """What the harness answers in a fresh process; nothing where there is no export to ask.

    Raises:
        EvaluateError: that process failed.
    """
    question, answer = scratch / "question.json", scratch / "answer.json"
    where = None if folder is None else str(folder)
    asked = {"folder": where, "tasks": tasks.tasks, "threads": torch.get_num_threads()}
    question.write_text(json.dumps(asked), encoding="utf-8")
    if failed := failure_of(_CHILD, [str(question), str(answer)], _environment(scratch, online)):
        raise EvaluateError(failed)
    return None if folder is None else json.loads(answer.read_text(encoding="utf-8"))


def _environment(scratch: Path, online: bool) -> dict[str, str]:
    """No connection unless asked for; and a cache of its own, for theirs goes by names, not by content."""
    own = {"HF_DATASETS_CACHE": str(scratch / "datasets"), "TOKENIZERS_PARALLELISM": "false"}
    own |= {"HF_DATASETS_OFFLINE": str(int(not online)), "HF_EVALUATE_OFFLINE": str(int(not online))}
    found = environment() | own
    if online:
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            found[name] = os.environ.get(name, "0")
    return found
