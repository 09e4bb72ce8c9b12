"""Each run by itself, behind the links that its id is: what it was, what became of it, what to type next."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from bitnet_sweep.records import LOG_LOSS
from bitnet_sweep.report.arms import Arm, own_fields_of
from bitnet_sweep.report.columns import name_of, sweeps_of
from bitnet_sweep.report.figures.curves import ABSMEAN, FLIPS
from bitnet_sweep.report.page.small import Curve, Points, drawn
from bitnet_sweep.report.read import WANDB
from bitnet_sweep.report.settings import UNKNOWN, shown
from bitnet_sweep.report.summary import Study
from bitnet_sweep.report.table import loss_text
from bitnet_sweep.report.transitions import LOSS, TOKENS, end_value
from bitnet_sweep.store import is_archive
from bitnet_sweep.store.commands import rerun_command, verb_command
from bitnet_sweep.store.outcome import finite, unigram_loss

MOST_RUNS = 300
"""Runs that the page has by themselves; the files have all."""

_MOST_TEXTS, _MOST_CHARACTERS = 2, 240
"""Sample texts of a run, and characters of each: the samples' own part of the page has more."""

_ALWAYS = ("model.hidden", "lr", "wd1", "wd2", "steps", "seed", "optimizer.name", "data.name")
"""Settings that are told of every run, those too in which all runs agree."""


@dataclass(frozen=True)
class RunPanel:
    """What the page says of one run."""

    run_id: str
    name: str
    facts: list[tuple[str, str]]
    settings: list[tuple[str, str]]
    commands: list[tuple[str, str]]
    """What each is for, and the command; none of a store that is no folder here."""
    curves: list[tuple[str, Markup]]
    texts: list[tuple[str, str]]
    """Prompt and continuation at ``texts_step``."""
    texts_step: int


def panels(study: Study, own: Collection[str]) -> list[RunPanel]:
    """A panel for each of the first runs.

    Args:
        own: the settings in which runs differ.
    """
    sweeps = sweeps_of(study)
    return [_panel(arm, sweeps.get(arm.run_id, []), own) for arm in study.arms[:MOST_RUNS]]


def _panel(arm: Arm, sweeps: Sequence[str], own: Collection[str]) -> RunPanel:
    told = {key: shown(arm.run.config[key]) for key in arm.run.config if key in own or key in _ALWAYS}
    step, texts = _texts(arm)
    last = max([arm.steps or 0, *arm.by_step])
    curves = [(curve.title, drawn(curve, last, arm.boundaries)) for curve in _curves(arm)]
    return RunPanel(
        arm.run_id,
        name_of(arm),
        [(name, value) for name, value in _facts(arm, sweeps).items() if value],
        list(told.items()),
        _commands(arm),
        [(title, svg) for title, svg in curves if svg is not None],
        texts,
        step,
    )


def _facts(arm: Arm, sweeps: Sequence[str]) -> dict[str, str]:
    finished = arm.run.state == "finished"
    marks = arm.outcome.marks
    unknown = f" (unknown: {', '.join(marks.unknown)})" if marks.unknown else ""
    before, end = arm.value(arm.boundary_step, LOSS), end_value(arm, LOSS)
    return {
        "state": arm.run.state,
        "outcome": arm.outcome.kind if finished else "",
        "marks": (", ".join(marks.held) or "none") + unknown if finished else "",
        "held-out loss": f"{_loss(before)} at the boundary, {_loss(end)} at the end" if arm.records else "",
        "sweeps": ", ".join(sweeps),
        "store": arm.run.store,
        "what is wrong": "; ".join(arm.run.problems),
    }


def _loss(value: float | str) -> str:
    return value if isinstance(value, str) else loss_text(value)


def _commands(arm: Arm) -> list[tuple[str, str]]:
    store = arm.run.store
    if not store or store.startswith(WANDB) or is_archive(Path(store)):
        return []
    found = [("see it", verb_command("show", Path(store), arm.run_id))]
    found += [("remove it", verb_command("rm", Path(store), arm.run_id))]
    origin = arm.run.status.get("provenance")
    again = rerun_command(origin.get("command")) if isinstance(origin, Mapping) else None
    return [*found, *([("train it again, after that", again)] if again else [])]


def _curves(arm: Arm) -> list[Curve]:
    unigram = unigram_loss(arm.records)
    return [
        Curve(
            "held-out loss (nats per token); level: unigram loss",
            [(LOSS, _points(arm, LOSS))],
            None if unigram is None else ("unigram", unigram),
        ),
        Curve("training loss (nats per token)", [(LOG_LOSS, _logged(arm))]),
        Curve("unique tokens (of 20)", [(TOKENS, _points(arm, TOKENS))]),
        Curve("flip rate (share of codes, one step)", [(FLIPS, _points(arm, FLIPS))]),
        Curve("absmean (mean |latent weight|)", [(ABSMEAN, _points(arm, ABSMEAN))], is_log=True),
        *(Curve(field, [(field, _points(arm, field))]) for field in own_fields_of([arm])),
    ]


def _points(arm: Arm, field: str) -> Points:
    return [(step, finite(record, field)) for step, record in arm.by_step.items()]


def _logged(arm: Arm) -> Points:
    """The training log; of an older run, which has none, what its records say."""
    rows = [(step, finite(row, LOG_LOSS)) for step, row in arm.log_by_step.items()]
    return rows or _points(arm, "train/loss")


def _texts(arm: Arm) -> tuple[int, list[tuple[str, str]]]:
    """The last texts that it wrote."""
    steps = [step for row in arm.run.samples if type(step := row.get("step")) is int]
    last = max(steps, default=0)
    rows = [row for row in arm.run.samples if row.get("step") == last][:_MOST_TEXTS]
    return last, [(_cut(row.get("prompt")), _cut(row.get("continuation"))) for row in rows]


def _cut(value: object) -> str:
    text = (UNKNOWN if value is None else str(value)).replace("\n", " ↵ ")
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]} […]"
