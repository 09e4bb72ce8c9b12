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
from bitnet_sweep.config import Reuse, RunConfig, having, plain
from bitnet_sweep.doors import code_of_parts
from bitnet_sweep.roles import Role

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
        **_values(config),
    }
    if config.seed >= LARGE_SEED:
        shared["seed"] = [config.seed, "all bits"]
    if config.sweep.reuse is Reuse.same_code:
        shared["code"] = digest(code() | code_of_parts(config))
    ids: list[str] = []
    first_step = 0
    for stage in config.stages:
        parent = ids[-1] if ids else None
        here = {"parent": parent, "first_step": first_step, "stage": plain(stage)}
        ids.append(digest(shared | here))
        first_step += stage.steps
    return ids


def _values(config: RunConfig) -> dict[str, Any]:
    """Every knob that is in the id by its value; one that was added and stands at its default is left out."""
    values: dict[str, Any] = {group: {} for group in _GROUPS}
    for knob in having(Role.in_id):
        if config.has(knob) and not knob.is_as_before(config):
            group, _, name = knob.key.rpartition(".")
            if group in _GROUPS:
                values[group][name] = plain(knob.of(config))
            else:
                values[knob.key if Role.added in knob.role else name] = plain(knob.of(config))
    return values


_GROUPS = ("model", "optimizer", "loss")
"""In the id as groups; of the others a knob of the first day is there without its group, as ids go on."""
