"""Tables that list rather than compare: ``model_sizes``, ``trajectory``, ``records``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bitnet_sweep.config import ModelConfig, NormPlace
from bitnet_sweep.counts import ternary_counts
from bitnet_sweep.records import FIELDS, Record
from bitnet_sweep.report.arms import Arm, own_fields_of
from bitnet_sweep.report.columns import run_columns
from bitnet_sweep.report.rows import found, setting, size_of
from bitnet_sweep.report.sections import Section
from bitnet_sweep.report.settings import UNKNOWN, shown, whole
from bitnet_sweep.report.summary import Study
from bitnet_sweep.report.table import (
    HIDDEN,
    NATS,
    RUN,
    SECTION,
    SEED,
    Cell,
    Column,
    Part,
    Row,
    Table,
    loss_text,
    step_text,
    typed,
)
from bitnet_sweep.report.transitions import LOSS, TOKENS
from bitnet_sweep.store.outcome import finite

PUBLISHED_SIZES = {256: 28, 512: 114, 768: 257, 1024: 458}
"""Millions of parameters by hidden size as the notes print them (published; they are 28.6 (h/256)^2)."""

NOTES_MODEL = {"layers": 4, "vocab": 50257}
"""The model behind the published sizes: 4 blocks, GPT-2's vocabulary, ffn = 2h, untied (docs/notes.md)."""


def notes_total(hidden: int) -> int:
    """All parameters of the notes' model of this width."""
    return ternary_counts(hidden, NOTES_MODEL["layers"], 2 * hidden, NOTES_MODEL["vocab"], tied=False).total


def model_sizes(sections: Sequence[Section]) -> Table:
    """True counts from the config, beside what the notes printed and what their own model has."""
    found = [_sizes(arm) for section in sections for arm in section.arms]
    rows = [Row(cells, "all") for cells in {tuple(cells.values()): cells for cells in found}.values()]
    about = (
        "Counted from the config. Published: the notes' column, which grows with the square of hidden and "
        "so counts the embeddings wrong; the notes' own model (4 blocks, 50,257 tokens) is counted beside it."
    )
    shown = [replace(column, show="{:,}".format) if column in _COUNTS else column for column in _SIZES]
    if all(row["Published"].value is None for row in rows):
        shown = [column for column in shown if column.key not in _OF_THE_NOTES]
        about = "Counted from the config."
    parts = [Part(None, "", shown, rows)] if rows else []
    return Table("model_sizes", "Model sizes", about, _SIZES, rows, parts)


def trajectory(sections: Sequence[Section]) -> Table:
    """Every record of every run; in the report one run a section."""
    parts: list[Part] = []
    for section in sections:
        arm = next((arm for arm in section.arms if arm.records), None)
        if arm is not None:
            names = [column.key for column in _COURSE]
            own = [Column(field, "{:.4g}".format) for field in own_fields_of([arm])]
            rows = [
                Row(
                    {name: Cell(value, why) for name, (value, why) in zip(names, told, strict=True)}
                    | {column.key: found(arm.value(step, column.key)) for column in own}
                )
                for step, told in zip(arm.by_step, _course(arm), strict=True)
            ]
            shown = [c for c in (*_COURSE, *own) if any(row[c.key].why != UNKNOWN for row in rows)]
            parts.append(Part(section, f"{arm.label}, run {arm.run_id}", shown, rows))
    about = "One run of each section, record by record; tables/trajectory.csv has every run."
    arms = [arm for section in sections for arm in section.arms]
    columns = [*_PLACE, *_COURSE]
    return Table("trajectory", "Training trajectory", about, columns, parts=parts, data=_course_of(arms))


def records(study: Study) -> Table:
    """The tidy frame: a row for each record of each run, numbers unrounded, null where null.

    Each row has the name, the sweeps and the settings of its run too, as ``provenance`` does.
    """
    arms = study.arms
    rows = [record for arm in arms for record in arm.records]
    found = {key for keys in {tuple(row) for row in rows} for key in keys} - set(_RECORD_OF)
    fields = [*(name for name in FIELDS if name in found), *sorted(found - set(FIELDS))]
    columns = {
        name: typed([value for arm in arms for value in [of(arm)] * len(arm.records)])
        for name, of in _RECORD_OF.items()
    }
    measured = pd.DataFrame(_matrix(rows, fields), index=range(len(rows))).convert_dtypes()
    placed = pd.DataFrame(columns).convert_dtypes()
    taken = {*placed, *measured}
    settings = run_columns(study)
    runs = np.repeat(np.arange(len(arms)), [len(arm.records) for arm in arms])
    told = settings[[name for name in settings if name not in taken]].take(runs).reset_index(drop=True)
    frame = pd.concat([placed, told, measured], axis=1)
    frame.insert(1, "name", frame.pop("name"))
    frame.insert(2, "sweep", frame.pop("sweep"))
    return Table("records", "Records", "The tidy frame.", data=frame, is_data=True)


_LARGEST_EXACT = 2**53
"""Up to here a float holds every whole number."""


def _matrix(rows: Sequence[Record], fields: Sequence[str]) -> dict[str, Any]:
    """The fields of all records as columns, NaN where a record has none.

    Records of the same fields are filled in together: value by value, 300,000 of them take long.
    """
    columns: dict[str, Any] = {name: np.full(len(rows), np.nan) for name in fields}
    large: set[str] = set()
    alike: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(rows):
        alike.setdefault(tuple(row), []).append(place)
    for names, places in alike.items():
        for start in range(0, len(places), _ROWS_AT_ONCE):
            some = places[start : start + _ROWS_AT_ONCE]
            values = np.array([list(rows[place].values()) for place in some], dtype=np.float64)
            for index, name in enumerate(names):
                if name in columns:
                    columns[name][some] = values[:, index]
            beyond: list[bool] = np.any(np.abs(values) >= _LARGEST_EXACT, axis=0).tolist()  # false for NaN
            large.update(name for name, is_beyond in zip(names, beyond, strict=True) if is_beyond)
    for name in large & columns.keys():
        exact = [row.get(name) for row in rows]
        if all(value is None or isinstance(value, int) for value in exact):
            columns[name] = typed(exact)
    return columns


_ROWS_AT_ONCE = 10_000

_RECORD_OF: dict[str, Callable[[Arm], float | int | str | None]] = {
    "run_id": lambda arm: arm.run_id,
    "section": lambda arm: arm.section,
    "state": lambda arm: arm.run.state,
    "outcome": lambda arm: arm.outcome.kind,
    "model.hidden": lambda arm: arm.hidden,
    "wd2": lambda arm: arm.wd2,
    "seed": lambda arm: arm.seed,
    "steps": lambda arm: arm.steps,
}


def _sizes(arm: Arm) -> dict[str, Cell]:
    config, hidden = arm.run.config, arm.hidden
    layers, vocab = whole(config.get("model.num_layers")), whole(config.get("tokenizer.vocab_size"))
    tied = config.get("model.tied")
    ffn = whole(config.get("model.ffn"))
    if ffn is None and hidden is not None and "model.ffn" in config:
        ffn = 2 * hidden
    told = arm.run.status.get("parameters")
    told = told if isinstance(told, dict) else {}
    total, ternary, embedding = (
        whole(told.get(kind)) if arm.own is not None else None for kind in ("total", "ternary", "embedding")
    )
    if (
        hidden is not None
        and layers is not None
        and ffn is not None
        and vocab is not None
        and isinstance(tied, bool)
    ):
        inside = config.get("model.norm") == NormPlace.inside.value
        norm = NormPlace.inside if inside else NormPlace.both
        counts = ternary_counts(hidden, layers, ffn, vocab, tied, norm)
        total, embedding = counts.total, counts.embedding
        if config.get("model.quantiser") not in (None, ModelConfig.quantiser):  # it may learn something, too
            total = whole(told.get("total"))
        ternary = {"ternary": counts.ternary, "full": 0}.get(str(config.get("model.weights")))
    own = (size_of(arm), *map(setting, (layers, vocab, total, ternary, embedding)))
    return dict(zip((column.key for column in _SIZES), (*own, *_published(hidden)), strict=True))


_OF_THE_NOTES = ("Published", "Notes' model, true", "Published is")
"""Columns that are read where a model has a size of the notes."""
_COUNTS = tuple(
    Column(name, unit="parameters") for name in ("Params", "Ternary", "Embedding", "Notes' model, true")
)
_SIZES = (
    *(Column(HIDDEN, shown), Column("Layers", shown), Column("Vocabulary", shown)),
    *_COUNTS[:-1],
    Column("Published", lambda count: f"{count / 1e6:.0f}M", unit="parameters"),
    *(_COUNTS[-1], Column("Published is")),
)


def _published(hidden: int | None) -> tuple[Cell, Cell, Cell]:
    """What the notes printed for this hidden size, the true count of their own model, the verdict."""
    millions = PUBLISHED_SIZES.get(hidden or 0)
    if hidden is None or millions is None:
        return Cell(words="-"), Cell(words="-"), Cell(words="-")
    true = notes_total(hidden)
    is_right = round(true / 1e6) == millions
    verdict = "right" if is_right else f"wrong: {1e6 * millions / true:.1f}x the true count"
    return Cell(1_000_000 * millions), Cell(true), Cell(verdict)


_PLACE = (
    *(Column(SECTION), Column(RUN), Column("hidden", shown), Column("wd2", repr, is_exact=True)),
    Column(SEED, shown),
)
_MEASURES = (
    (Column("Stage", "{:.0f}".format), "stage"),
    (Column("WD", repr, is_exact=True), "optim/weight_decay"),
    (Column("Tokens", "{:g}".format), TOKENS),
    (Column("Loss", loss_text, NATS), LOSS),
    (Column("Training loss", loss_text, NATS), "train/loss"),
    (Column("Batch loss", loss_text, NATS), "train/loss_batch"),
    (Column("Unigram loss", loss_text, NATS), "ref/unigram_loss"),
    (Column("Entropy", loss_text, "nats"), "probe/entropy"),
    (Column("Zero fraction", "{:.3f}".format), "ternary/zero_frac"),
    (Column("Flip rate", "{:.4f}".format), "ternary/flip_rate"),
    (Column("Absmean", "{:.2e}".format), "ternary/absmean"),
)
_COURSE = (Column("Step", step_text, "steps"), *(column for column, _ in _MEASURES))


def _course(arm: Arm) -> Iterator[list[tuple[float | None, str]]]:
    """Record by record the step and each measure: its value, and why there is none."""
    stopped = arm.outcome.diverged_step
    for step, record in arm.by_step.items():
        told: list[tuple[float | None, str]] = [(step, "")]
        for _, field in _MEASURES:
            value = _decay(arm, record) if field == "optim/weight_decay" else record.get(field)
            why = "" if value is not None else "diverged" if step == stopped and field in record else UNKNOWN
            told.append((value, why))
        yield told


def _course_of(arms: Sequence[Arm]) -> pd.DataFrame:
    """Every record of every arm, column by column: row by row, 300,000 of them take long."""
    places = [
        (arm.section, arm.run_id, arm.hidden, arm.wd2, arm.seed)
        for arm in arms
        for _ in range(len(arm.by_step))
    ]
    told = [row for arm in arms for row in _course(arm)]
    columns = {column.key: typed([place[i] for place in places]) for i, column in enumerate(_PLACE)}
    for i, column in enumerate(_COURSE):
        columns[column.key] = typed([row[i][0] for row in told])
        whys = ["" if (why := row[i][1]) == UNKNOWN else why for row in told]
        if any(whys):
            columns[f"{column.key}_why"] = typed(whys)
    return pd.DataFrame(columns)


def _decay(arm: Arm, record: Record) -> float | None:
    """The decay of the update, by the record, else by the config's stages."""
    recorded = finite(record, "optim/weight_decay")
    if recorded is not None:
        return recorded
    decay = arm.changes[0].before if arm.changes else None
    for change in arm.changes:
        if (whole(record["step"]) or 0) > change.step:
            decay = change.after
    return decay
