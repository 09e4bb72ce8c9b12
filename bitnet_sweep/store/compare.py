"""Two runs of one config: equal bit for bit, or the first thing that differs in each of their files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from bitnet_sweep.store.folder import Folder


@dataclass(frozen=True)
class Comparison:
    """What was compared, and what differs."""

    tensors: int
    records: int
    log_rows: int
    differences: list[str] = field(default_factory=list)
    """One line for each file that differs, with the first place; empty where all is equal."""
    fields: frozenset[str] = frozenset()
    """Those that differ in the first row of the training log that does."""

    @property
    def is_equal(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        return f"{self.tensors} tensors, {self.records} records, {self.log_rows} rows of the training log"


def compare(straight: Folder, other: Folder) -> Comparison:
    """Compare final weights tensor by tensor, records and training log row by row.

    Fields that begin with ``perf/`` are left out: time and memory decide them.

    Args:
        straight: a finished run.
        other: the same run, trained otherwise.
    """
    ours, theirs = load_file(straight.final_path), load_file(other.final_path)
    rows = [("training log", straight.log(), other.log()), ("records", straight.records(), other.records())]
    told = [_rows(name, left, right) for name, left, right in rows]
    found = [text for text, _ in told if text] + _tensors(ours, theirs)
    return Comparison(len(ours), len(rows[1][1]), len(rows[0][1]), found, told[0][1])


def _rows(
    name: str, ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> tuple[str, frozenset[str]]:
    """The first row that differs, in words, and its fields that do; nothing where all are equal."""
    left = {row["step"]: _without_time(row) for row in ours}
    right = {row["step"]: _without_time(row) for row in theirs}
    steps = sorted({*left, *right})
    differ = [step for step in steps if left.get(step) != right.get(step)]
    if not differ and len(ours) == len(theirs):
        return "", frozenset()
    if not differ:
        return f"{name}: {len(ours)} rows straight, {len(theirs)} here", frozenset()
    step = differ[0]
    if step not in left or step not in right:
        return f"{name}: step {step} is {'missing' if step in left else 'too much'} here", frozenset()
    a, b = left[step], right[step]
    fields = [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
    key = fields[0]
    values = f"{key} is {a.get(key, 'missing')} straight, {b.get(key, 'missing')} here"
    more = f" and {len(fields) - 1} more fields" if len(fields) > 1 else ""
    return f"{name}: from step {step} on, {values}{more}; {len(differ)} of {len(steps)} rows", frozenset(
        fields
    )


def _without_time(row: Mapping[str, Any]) -> dict[str, str]:
    """As JSON, in which two numbers read equal only where all of their bits are."""
    return {key: json.dumps(value) for key, value in row.items() if not key.startswith("perf/")}


def _tensors(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> list[str]:
    if ours.keys() != theirs.keys():
        apart = sorted(ours.keys() ^ theirs.keys())
        return [f"weights: {apart[0]} is {'missing' if apart[0] in ours else 'too much'} here"]
    shapes = [name for name in ours if _form(ours[name]) != _form(theirs[name])]
    if shapes:
        name = shapes[0]
        return [f"weights: {name} is {_form(ours[name])} straight, {_form(theirs[name])} here"]
    places = {name: place for name in ours if (place := _first_place(ours[name], theirs[name])) is not None}
    if not places:
        return []
    name, place = next(iter(places.items()))
    where = f"{name}[{', '.join(map(str, place))}]" if place else name
    values = f"{ours[name][place].item()!r} straight, {theirs[name][place].item()!r} here"
    return [f"weights: {where} is {values}; {len(places)} of {len(ours)} tensors"]


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _first_place(ours: Tensor, theirs: Tensor) -> tuple[int, ...] | None:
    """The index of the first element whose bits differ."""
    size = ours.element_size()
    left, right = (t.contiguous().flatten().view(torch.uint8).view(-1, size) for t in (ours, theirs))
    differ = (left != right).any(dim=1).nonzero()
    if not len(differ):
        return None
    return tuple(int(i) for i in np.unravel_index(int(differ[0]), ours.shape))
