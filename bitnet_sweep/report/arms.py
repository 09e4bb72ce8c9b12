"""Runs → arms: the typed view that tables, pairs and figures work on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from bitnet_sweep.config import ModelConfig, RunConfig
from bitnet_sweep.records import Record, own_fields
from bitnet_sweep.report.grid import points_of
from bitnet_sweep.report.read import Evidence, Run
from bitnet_sweep.report.settings import (
    SCIENCE_VERSION,
    UNKNOWN,
    Change,
    changes_of,
    number,
    science_version_of,
    settings_of,
    shown,
    stage_ends_of,
    whole,
)
from bitnet_sweep.stages import Timetable
from bitnet_sweep.store.codec import log_of
from bitnet_sweep.store.outcome import Outcome, finite, outcome_of, transition_figures

NOT_PROBED = "not probed"
"""A step of a finished run at which no record is due."""


@dataclass(frozen=True)
class Arm:
    """A run as one side of a comparison; None is unknown."""

    run: Run
    settings: dict[str, str]
    """Everything but the axes that can change a result, as text."""
    section: str = ""

    @property
    def run_id(self) -> str:
        return self.run.run_id

    @property
    def records(self) -> list[Record]:
        return self.run.records

    @cached_property
    def hidden(self) -> int | None:
        return whole(self.run.config.get("model.hidden"))

    @property
    def task(self) -> str:
        """What it trained; a config that does not say it is of before there was a choice."""
        return str(self.run.config.get("task", RunConfig.task))

    @property
    def own(self) -> str | None:
        """The name of a task or a model of a user's own; None of the transformer, which has a hidden size."""
        if self.task != RunConfig.task:
            return self.task
        model = str(self.run.config.get("model.name", ModelConfig.name))
        return None if model == ModelConfig.name else model

    @property
    def size(self) -> str:
        """What panels are named by: its hidden size, or its name where it is no transformer."""
        return self.own or f"hidden {shown(self.hidden)}"

    @cached_property
    def wd2(self) -> float | None:
        return number(self.run.config.get("wd2"))

    @cached_property
    def seed(self) -> int | None:
        return whole(self.run.config.get("seed"))

    @cached_property
    def steps(self) -> int | None:
        return whole(self.run.config.get("steps"))

    @cached_property
    def changes(self) -> list[Change]:
        return changes_of(self.run.config)

    @cached_property
    def stage_ends(self) -> list[int]:
        """The last step of each stage; without written-out stages those of the decay boundaries."""
        return stage_ends_of(self.run.config)

    @property
    def boundaries(self) -> list[int]:
        """Where one stage follows another."""
        return self.stage_ends[:-1]

    @property
    def boundary_step(self) -> int | None:
        """The first decay boundary."""
        return self.changes[0].step if self.changes else None

    @cached_property
    def stage_ids(self) -> list[str]:
        ids = self.run.status.get("stage_ids")
        return [str(stage_id) for stage_id in ids] if isinstance(ids, list) else []

    @cached_property
    def outcome(self) -> Outcome:
        status = self.run.status
        return outcome_of(
            self.records,
            steps=self.steps,
            boundary_step=self.boundary_step,
            warmup_steps=whole(self.run.config.get("warmup_steps")),
            diverged=status.get("outcome") == "diverged" or status.get("diverged_step") is not None,
        )

    @cached_property
    def figures(self) -> dict[str, float | None]:
        return transition_figures(self.records, self.steps, self.boundary_step)

    @cached_property
    def by_step(self) -> dict[int, Record]:
        return {step: record for record in self.records if (step := whole(record["step"])) is not None}

    @cached_property
    def log_by_step(self) -> dict[int, Record]:
        """The training log, which is denser than the records; empty where there is none."""
        return {step: row for row in log_of(self.run.log) if (step := whole(row["step"])) is not None}

    @property
    def result(self) -> str:
        """The outcome of a finished run and its marks, else its state: a failure is not an outcome."""
        if self.run.state != "finished":
            return self.run.state
        return ", ".join([self.outcome.kind, *self.outcome.marks.held])

    @cached_property
    def gap(self) -> str | None:
        """Why this cell is not complete; None where it is."""
        if self.run.state != "finished":
            why = f" ({'; '.join(self.run.problems)})" if self.run.problems else ""
            return f"{self.run.state}{why}"
        if not self.records:
            return "finished, but no records"
        if self.outcome.kind == "diverged" or self.steps is None or self.steps in self.by_step:
            return None
        return f"finished, but no record at its last step {self.steps}"

    def value(self, step: int | None, field: str) -> float | str:
        """A field of the record at exactly ``step``, else the word for why there is none."""
        if self.run.state in ("missing", "unreadable"):
            return self.run.state
        record = None if step is None else self.by_step.get(step)
        if record is not None:
            found = finite(record, field)
            if found is not None:
                return found
            stopped = self.outcome.diverged_step is not None and field in record
            return "diverged" if stopped and record["step"] == self.outcome.diverged_step else UNKNOWN
        if step is None:
            return UNKNOWN
        last = self.outcome.diverged_step
        if last is not None and step > last:
            return "diverged"
        if self.run.state != "finished":
            return self.run.state
        return "missing" if self._is_probed(step) else NOT_PROBED

    def _is_probed(self, step: int) -> bool:
        """Whether a finished run should have a record there; of ends of stages only the last is asked for."""
        if self.steps is not None and step > self.steps:
            return False
        every = whole(self.run.config.get("probe_every_steps"))
        return not every or Timetable([self.steps or 0], every).is_probed(step)

    @property
    def order(self) -> tuple[float, float, float, str]:
        def key(value: float | None) -> float:
            return math.inf if value is None else value

        return (key(self.hidden), key(self.wd2), key(self.seed), self.run_id)

    @property
    def label(self) -> str:
        """A name a person can read."""
        if not self.run.config:
            return self.run.name or "settings unknown"
        parts = [
            self.own or f"h{shown(self.hidden)}",
            f"wd2={UNKNOWN if self.wd2 is None else repr(self.wd2)}",
            f"s{shown(self.seed)}",
        ]
        return " ".join([*parts, *([f"[{self.section}]"] if self.section else [])])


MOST_OWN = 8
"""Fields of somebody's own metrics that are drawn; ``tables/records.csv`` has all."""


def own_fields_of(arms: Iterable[Arm]) -> list[str]:
    """The fields of somebody's own metrics, as the last record of each arm has them: those that are drawn."""
    found = dict.fromkeys(
        field for arm in arms if arm.records for field in sorted(own_fields(arm.records[-1]))
    )
    return list(found)[:MOST_OWN]


def arms_of(evidence: Evidence) -> list[Arm]:
    """Every run as an arm; a missing run takes its place in the grid where the sweep tells it."""
    versions = _science_versions(evidence)
    arms = {
        run_id: Arm(run, settings_of(run.config) | {SCIENCE_VERSION: versions[run_id]})
        for run_id, run in evidence.runs.items()
    }
    for sweep in evidence.sweeps.values():
        configs = {run_id: arms[run_id].run.config for run_id in sweep.run_ids}
        told = Counter(versions[run_id] for run_id, config in configs.items() if config)
        for run_id, config in points_of(sweep, configs).items():
            settings = settings_of(config) | {SCIENCE_VERSION: told.most_common(1)[0][0]}
            arms[run_id] = Arm(replace(arms[run_id].run, config=config), settings)
    return list(arms.values())


def _science_versions(evidence: Evidence) -> dict[str, str]:
    """The science version of each run; one that tells none has that of a run with a stage in common."""
    stages = {run_id: Arm(run, {}).stage_ids for run_id, run in evidence.runs.items()}
    versions = {run_id: science_version_of(run.status) for run_id, run in evidence.runs.items()}
    of_stage = {
        stage: version
        for run_id, version in versions.items()
        for stage in stages[run_id]
        if version != UNKNOWN
    }
    return {
        run_id: next((of_stage[stage] for stage in stages[run_id] if stage in of_stage), version)
        for run_id, version in versions.items()
    }
