"""How the runs that this package sends are told apart at W&B; needs no W&B client to be imported."""

from __future__ import annotations

import hashlib

ORIGIN = "provenance"
"""The key of a W&B run's config that says where the run comes from: commit, code, processor, versions."""

SWEEP_TAG = "sweep:"
"""What the tag of a sweep begins with: a run has one of each sweep that asked for it."""

MAX_TAG_LENGTH = 64
"""What W&B takes (assumed: its server says so when it refuses, its client does not check)."""

REPORT_GROUP = "bitnet_sweep report"
"""The group of runs that hold a report's figures and nothing else; no sweep has a name with a blank."""


def sweep_tag(name: str) -> str:
    """The tag on the runs of a sweep; a name that is too long for one has a mark in the place of its end."""
    if len(tag := SWEEP_TAG + name) <= MAX_TAG_LENGTH:
        return tag
    ending = f"~{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return tag[: MAX_TAG_LENGTH - len(ending)] + ending
