"""Records of evaluations: what a harness said of a run's model, beside the run, which they do not change.

``evaluations/<run_id>/<name>.json``, one a task file and version of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bitnet_sweep.store.codec import newer_schema


class Score(NamedTuple):
    """One number that a record holds."""

    tasks: str
    """The task file's name without its ending."""
    content: str
    """Which version of the file and its documents: the beginning of a hash."""
    task: str
    metric: str
    value: float | None
    """None where it is not finite."""
    stderr: float | None
    n: int | None = None
    """Documents of the task; None where the record does not say."""


def scores(document: Mapping[str, Any]) -> list[Score]:
    """The numbers of a record.

    Raises:
        ValueError: it is none, or a newer version wrote it.
    """
    if newer := newer_schema(document.get("schema")):
        raise ValueError(newer)
    name, content = document.get("tasks_file"), document.get("content")
    results = document.get("results")
    if not isinstance(name, str) or not isinstance(content, str) or not isinstance(results, dict):
        raise ValueError("no record of an evaluation")
    stem, samples = name.removesuffix(".json"), document.get("samples")
    counts = samples if isinstance(samples, dict) else {}
    return [Score(stem, content[:8], *found, _whole(counts.get(found[0]))) for found in _numbers(results)]


def _numbers(results: Mapping[str, Any]) -> Iterator[tuple[str, str, float | None, float | None]]:
    for task, metrics in results.items():
        if not isinstance(metrics, dict):
            raise ValueError(f"no results of {task}")
        for metric, found in metrics.items():
            if not isinstance(found, dict):
                raise ValueError(f"no number of {task}, {metric}")
            value, stderr = (found.get(key) for key in ("value", "stderr"))
            yield task, metric, _number(value), _number(stderr)


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def summary(document: Mapping[str, Any]) -> list[str]:
    """A line for each number of a record.

    Raises:
        ValueError: as of :func:`scores`.
    """
    lines = []
    for score in scores(document):
        value = "not finite" if score.value is None else f"{score.value:.4g}"
        error = "" if score.stderr is None else f" ± {score.stderr:.2g}"
        of = "" if score.n is None else f", n={score.n}"
        lines.append(f"  {score.tasks} ({score.content}) {score.task}: {score.metric} {value}{error}{of}")
    return lines
