"""Which two arms may be compared, and why any other two may not."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from bitnet_sweep.config import RunConfig, role_of
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.settings import (
    BOUNDARY_STEP,
    NO_SUCH,
    SCIENCE_VERSION,
    UNKNOWN,
    shown,
    with_those_of_others,
)
from bitnet_sweep.roles import Role
from bitnet_sweep.store.outcome import unigram_loss


@dataclass(frozen=True)
class Pair:
    """Two arms that may be compared.

    A *fork* shares the longest possible stage prefix: up to there both are one training, behind it they
    may differ in several settings of the schedule. A *matched* pair was trained apart from equal seed,
    data and initial weights and differs in one setting.
    """

    kind: str
    factor: str
    """What they differ in; a fork's settings by comma."""


@dataclass(frozen=True)
class Refusal:
    """Two arms that are no pair."""

    reason: str


def pair_of(a: Arm, b: Arm, together: Collection[str] = ()) -> Pair | Refusal:
    """Judge two arms.

    Args:
        together: settings that count as one, as those that one config group sets.
    """
    factors = factors_of(a, b)
    if not factors:
        return _same_data(a, b) or Refusal("no setting on record differs")
    shared = shared_stages(a, b)
    if shared and all(Role.later in role_of(key) for key in factors) and shared == _possible_prefix(a, b):
        return Pair("fork", ", ".join(factors))
    if SCIENCE_VERSION in factors:
        versions = [arm.settings.get(SCIENCE_VERSION, UNKNOWN) for arm in (a, b)]
        return Refusal(f"the science versions differ: {' and '.join(versions)}")
    if "seed" in factors:
        return Refusal("the seeds differ")
    if a.seed is None or b.seed is None:
        return Refusal("a seed is not on record")
    data = [key for key in factors if Role.data in role_of(key)]
    if data:
        return Refusal(f"the data differ: {', '.join(data)}")
    weights = [key for key in factors if Role.weights in role_of(key)]
    if weights:
        return Refusal(f"the initial weights differ: {', '.join(weights)}")
    options = [key for key in factors if key.startswith("task_options.")]
    if options:  # they may shape the weights or choose the data
        return Refusal(f"whether weights and data begin alike is not known: {', '.join(options)}")
    if len(factors) > 1 and not set(factors) <= set(together):
        return Refusal(f"{len(factors)} factors differ: {', '.join(factors)}")
    return _same_data(a, b) or Pair("matched", ", ".join(factors))


def factors_of(a: Arm, b: Arm) -> list[str]:
    """The settings in which two arms differ; one that only follows from another is left out."""
    left, right = all_settings(a), all_settings(b)
    if left.keys() != right.keys():
        left, right = with_those_of_others([left, right])
    told = [(key, left.get(key, UNKNOWN), right.get(key, UNKNOWN)) for key in dict.fromkeys([*left, *right])]
    differing = [key for key, one, other in told if one != other and NO_SUCH not in (one, other)]
    return [key for key in differing if not follows(key)] or differing


def follows(key: str) -> bool:
    """Whether a setting follows from those it is resolved from, so that it is no factor of its own."""
    return key == BOUNDARY_STEP or Role.follows in role_of(key)


def all_settings(arm: Arm) -> dict[str, str]:
    """Every setting of an arm that can change a result, the axes of the tables included, as text."""
    axes = {"model.hidden": arm.hidden, "wd2": arm.wd2, "seed": arm.seed}
    told = arm.settings | {key: shown(value) for key, value in axes.items()}
    return {key: value for key, value in told.items() if key != "model.hidden" or arm.own is None}


def shared_stages(a: Arm, b: Arm) -> int:
    """How many stages, from the first on, are one and the same by their ids."""
    if not a.stage_ids or not b.stage_ids:
        parents = {arm.run.status.get("parent_stage_id") for arm in (a, b)}
        return 1 if len(parents) == 1 and None not in parents else 0
    return next(
        (i for i, (x, y) in enumerate(zip(a.stage_ids, b.stage_ids, strict=False)) if x != y),
        min(len(a.stage_ids), len(b.stage_ids)),
    )


def _possible_prefix(a: Arm, b: Arm) -> int:
    """How many leading stages are equal by config; where stages are not written out, what is shared."""
    left, right = (arm.run.config.get("stages") for arm in (a, b))
    if not isinstance(left, list) or not isinstance(right, list):
        return shared_stages(a, b)
    return next(
        (i for i, (x, y) in enumerate(zip(left, right, strict=False)) if x != y),
        min(len(left), len(right)),
    )


def _same_data(a: Arm, b: Arm) -> Refusal | None:
    """None if both read the same text; the loss of a unigram predictor on it is its fingerprint."""
    left, right = unigram_loss(a.records), unigram_loss(b.records)
    if left is None or right is None:
        named = any(key.startswith("data.") for key in a.settings)
        own = a.task != RunConfig.task  # its options, which are equal, say it
        return None if named or own else Refusal("whether the data are the same is not on record")
    same = math.isclose(left, right, rel_tol=1e-9)
    return None if same else Refusal(f"the data differ: ref/unigram_loss {left:.6g} and {right:.6g}")
