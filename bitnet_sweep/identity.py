"""run_id and stage_id: a name is the hash of everything that can influence what it names.

stage_id = hash(parent stage_id, science version, corpus, model, optimizer, loss, precision, seed,
batch, probe interval, this stage's steps, learning-rate path and decay). run_id is the last stage_id.
The source code is in it only where ``sweep.reuse=same_code`` asks for it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from bitnet_sweep.code import code
from bitnet_sweep.config import Reuse, RunConfig, added_knobs, plain

SCIENCE_VERSION = 1
"""Raised by hand whenever the same config would train or measure something else than before."""

LARGE_SEED = 2**32
"""From here on the initial weights come from a hash of the seed. They once came from its lower 32 bits, so
ids of these seeds say so; no published run has one."""

ID_LENGTH = 16
"""Hex digits: 64 bits, so a million runs collide with a chance of 3e-8."""


def digest(document: Any) -> str:
    """Hash of a document of dicts, lists and scalars, independent of key order."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def mark(document: Any) -> str:
    """Enough of its digest to tell things apart in a name that people read."""
    return digest(document)[:6]


def stage_ids(config: RunConfig, corpus_fingerprint: str) -> list[str]:
    """The id of each stage of a resolved config, in order; the last one is the run_id.

    Args:
        config: from :func:`bitnet_sweep.stages.resolve`.
        corpus_fingerprint: of the token file and its tokeniser (``data.fingerprint``).
    """
    shared: dict[str, Any] = {
        "science_version": SCIENCE_VERSION,
        "corpus": corpus_fingerprint,
        "vocab_size": config.tokenizer.vocab_size,
        "order": config.data.order.name,
        "model": _knobs("model", config.model),
        "optimizer": _knobs("optimizer", config.optimizer),
        "loss": _knobs("loss", config.loss),
        "precision": config.precision.name,
        "seed": config.seed if config.seed < LARGE_SEED else [config.seed, "all bits"],
        "batch_size": config.batch_size,
        "sequence_length": config.sequence_length,
        "probe_every_steps": config.probe_every_steps,
        **changed_knobs("data", config.data),
        **changed_knobs("schedule", config.schedule),
    }
    if config.sweep.reuse is Reuse.same_code:
        shared["code"] = digest(code())
    ids: list[str] = []
    first_step = 0
    for stage in config.stages:
        parent = ids[-1] if ids else None
        here = {"parent": parent, "first_step": first_step, "stage": plain(stage)}
        ids.append(digest(shared | here))
        first_step += stage.steps
    return ids


def changed_knobs(group: str, config: object) -> dict[str, Any]:
    """Those of a group's knobs that were added and are not at their default, by dotted key."""
    values = {f"{group}.{name}": value for name, value in plain(config).items()}
    return {key: values[key] for key, default in added_knobs().items() if values.get(key, default) != default}


def _knobs(group: str, config: object) -> dict[str, Any]:
    """All but those that were added and stand at their default: a run of before has no such key."""
    as_before = added_knobs()
    return {
        name: value
        for name, value in plain(config).items()
        if (key := f"{group}.{name}") not in as_before or value != as_before[key]
    }
