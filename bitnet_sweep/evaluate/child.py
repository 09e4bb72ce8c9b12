"""What lm-evaluation-harness says of tasks and of an exported model, in a process of its own.

Nothing here knows our model: the folder alone decides.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch

from bitnet_sweep.export.hf_child import opened

BATCH = 16
"""Rows of a forward pass (chosen)."""

BOOTSTRAP = 1000
"""Samples behind a standard error that has no formula (chosen; the harness takes 100,000)."""

MOST_WARNINGS = 20
"""That are kept, each once."""


class _Warnings(logging.Handler):
    """What the harness does to what the model reads: a text longer than a training row is cut."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip()
        if text in self.texts or len(self.texts) < MOST_WARNINGS:
            self.texts[text] = self.texts.get(text, 0) + 1


def load(tasks: list[Any]) -> dict[str, Any]:
    """The tasks with their documents, as the harness has them.

    Raises:
        Exception: of any kind, where it refuses them.
    """
    from lm_eval.tasks import TaskManager

    needs_index = any(isinstance(task, str) for task in tasks)
    loaded: dict[str, Any] = TaskManager(include_defaults=needs_index).load(tasks)
    return loaded


def answers(folder: Path, tasks: list[Any], threads: int) -> dict[str, Any]:
    """Results of an export, as JSON."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoTokenizer

    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = HFLM(pretrained=opened(folder), tokenizer=tokenizer, batch_size=BATCH)
    warnings = _Warnings()
    logging.getLogger("lm_eval.models").addHandler(warnings)
    needs_index = any(isinstance(task, str) for task in tasks)
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=tasks,
        task_manager=TaskManager(include_defaults=needs_index),
        log_samples=False,
        bootstrap_iters=BOOTSTRAP,
    )
    return {
        "results": found["results"],
        "samples": {name: counts["effective"] for name, counts in found["n-samples"].items()},
        "task_versions": found["versions"],
        "higher_is_better": found["higher_is_better"],
        "shots": found["n-shot"],
        "max_length": model.max_length,
        "warnings": warnings.texts,
    }


def main(question: str, answer: str) -> None:
    """Read what is asked from one file, and write the answer to another; no export is asked to load alone."""
    asked = json.loads(Path(question).read_text(encoding="utf-8"))
    if asked["folder"] is None:
        load(asked["tasks"])
        return
    found = answers(Path(asked["folder"]), asked["tasks"], asked["threads"])
    Path(answer).write_text(json.dumps(found, default=str), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
