"""What triggers recovery: the decay boundary, not the time and not the learning rate's path."""

from collections.abc import Callable

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import Claim, Direction, Finding, Unjudged
from bitnet_sweep.report.claims.look import each_pair
from bitnet_sweep.report.claims.measures import MARGIN, recovery_after
from bitnet_sweep.report.claims.noted import CRITICAL, FINAL, SEEDS
from bitnet_sweep.report.claims.noted.stuck import needs_decay_off
from bitnet_sweep.report.settings import number

_FOLLOWS, _STAYS = 0.75, 0.25
"""A recovery that moves by this share of what was moved follows it, or stays where it was.

A quarter of the smallest shift of the grid below, a fifth of the run, is one probe.
"""


def shift(base: Arm, moved: Arm, key: str) -> float | Unjudged:
    """By how much the recovery moved, as a share of how much the setting ``key`` was moved.

    Both arms are looked at from the earliest of their boundaries and bends on, up to which they are one
    training; both must have collapsed by then. A moved arm that does not recover has infinitely moved.
    """
    steps = base.steps
    at = [number(arm.run.config.get(key)) for arm in (base, moved)]
    if steps is None or at[0] is None or at[1] is None or base.boundary_step is None:
        return Unjudged(f"{key} is not on record")
    ends = [round(at[0] * steps), round(at[1] * steps)]
    start = min(*ends, base.boundary_step)
    first, second = recovery_after(base, start), recovery_after(moved, start)
    if isinstance(first, Unjudged):
        return first
    if isinstance(second, Unjudged):
        return second
    if first is None:
        return Unjudged("the run with the boundary in its place did not recover")
    return float("inf") if second is None else (second - first) / (ends[1] - ends[0])


def _moves_with(key: str, *, claimed: bool) -> Callable[[Arm, Arm], Finding | Unjudged]:
    """As claimed where the recovery moves with ``key``; with ``claimed`` false, where it does not."""

    def judge(base: Arm, moved: Arm) -> Finding | Unjudged:
        share = shift(base, moved, key)
        if isinstance(share, Unjudged):
            return share
        if share == float("inf"):  # it neither followed nor stayed: it is gone
            return Finding(-1)
        size = share if claimed else abs(share)  # what went the other way neither followed nor stayed
        follows, stays = size >= _FOLLOWS, size <= _STAYS
        direction: Direction = 0
        if follows or stays:
            direction = 1 if follows == claimed else -1
        return Finding(direction, share)

    return judge


_SHARE = "recovery moved by this share of the shift:"

CLAIMS = [
    Claim(
        name="the boundary triggers",
        says="The decay boundary and not time brings recovery: where it is moved, recovery moves with it",
        source=f"{FINAL}, The Critical Boundary",
        margin="recovery moves by 0.75 of the shift or more; against it at 0.25 or less, or without recovery",
        grid=f"model.hidden=256 boundary=0.3,0.5,0.7 {SEEDS}",
        look=each_pair(_moves_with("boundary", claimed=True), "boundary"),
        measure=_SHARE,
        each="pair",
    ),
    Claim(
        name="the LR path does not",
        says="Decay and not the learning rate's path brings recovery: where the bend moves, recovery stays",
        source=f"{CRITICAL}, Critical Observation",
        margin="recovery moves by 0.25 of the shift or less either way; against it at 0.75 or more, or never",
        grid=f"model.hidden=256 lr_boundary=0.3,0.5,0.7 {SEEDS}",
        look=each_pair(_moves_with("lr_boundary", claimed=False), "lr_boundary"),
        measure=_SHARE,
        each="pair",
    ),
    Claim(
        name="decay must change",
        says="Where decay stays at 0.1 and the learning rate bends all the same, nothing recovers",
        source=f"{CRITICAL}, Confidence Level",
        margin=f"end loss below U at 0.0 and above it at 0.1; undecided where the worse is within {MARGIN}",
        grid=f"model.hidden=256 wd2=0.0,0.1 {SEEDS}",
        look=each_pair(needs_decay_off, "wd2", value=0.1),
        measure="end loss at 0.1 minus that at 0.0 (nats)",
        show="{:+.2f}".format,
        each="pair",
    ),
]
