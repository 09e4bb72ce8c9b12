"""What evaluations found, as columns of the leaderboard; without any evaluation there are none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bitnet_sweep.store import Store
from bitnet_sweep.store.codec import read_document
from bitnet_sweep.store.evaluations import Score, scores

if TYPE_CHECKING:
    from bitnet_sweep.report.arms import Arm

Label = tuple[str, str, str, str]
"""Task file, which version of it, task, metric."""

ABOUT = "Behind them, what evaluations found: task file/task/metric, mean over the seeds that have it."


def scores_of(store: Store, name: str, notes: list[str]) -> dict[str, list[Score]]:
    """The numbers of every run with evaluations; a record that cannot be read is told in ``notes``."""
    found: dict[str, list[Score]] = {}
    for path in sorted((store.root / "evaluations").glob("*/*.json")):
        problems: list[str] = []
        read = scores_in(path, problems)
        if problems:
            notes.append(f"evaluation {path.stem} of {path.parent.name} in {name}: {'; '.join(problems)}")
        found.setdefault(path.parent.name, []).extend(read)
    return found


def scores_in(path: Path, problems: list[str]) -> list[Score]:
    """The numbers of one record; where it cannot be read none, and ``problems`` says why."""
    document = read_document(path, problems, required=True)
    try:
        return [] if problems else scores(document)
    except ValueError as error:
        problems.append(str(error))
        return []


def merged(known: Sequence[Score], found: Sequence[Score]) -> list[Score]:
    """The numbers of two stores; of what both have the first one's."""
    labels = {_label(score) for score in known}
    return [*known, *(score for score in found if _label(score) not in labels)]


def labels_of(groups: Iterable[Iterable[Arm]]) -> dict[Label, str]:
    """The columns by what they hold; two versions of a task file are told apart, and never averaged."""
    found = sorted({_label(score) for arms in groups for arm in arms for score in arm.run.scores})
    versions: dict[str, set[str]] = {}
    for tasks, content, _, _ in found:
        versions.setdefault(tasks, set()).add(content)
    return {
        (tasks, content, task, metric): "/".join(
            [tasks if len(versions[tasks]) == 1 else f"{tasks}@{content}", task, metric]
        )
        for tasks, content, task, metric in found
    }


def scored(cell: Sequence[Arm], columns: Mapping[Label, str]) -> dict[str, list[float]]:
    """What the runs of a cell have in each column, as far as they have anything."""
    return {
        column: [
            score.value
            for arm in cell
            for score in arm.run.scores
            if _label(score) == label and score.value is not None
        ]
        for label, column in columns.items()
    }


def _label(score: Score) -> Label:
    return score.tasks, score.content, score.task, score.metric
