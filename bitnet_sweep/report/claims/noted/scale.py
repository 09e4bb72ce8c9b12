"""The pattern is the same at every size."""

from collections import defaultdict

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import Claim, Finding, Unit, Unjudged, within
from bitnet_sweep.report.claims.measures import figure_of
from bitnet_sweep.report.claims.noted import EVERY_SIZE, FINAL, SEEDS, SIZES
from bitnet_sweep.report.claims.setting import Setting
from bitnet_sweep.report.settings import shown

_SPREAD_POINTS = 3.0


def _all_sizes(setting: Setting) -> list[Unit]:
    """One unit a seed, of all its sizes: sizes are no pairs (their initial weights differ), and a pattern
    that is the same at each of them is a property of the row."""
    seeds: dict[int | None, list[Arm]] = defaultdict(list)
    for arm in setting.as_noted():
        seeds[arm.seed].append(arm)
    return [
        Unit(
            "", seed, tuple(arms), _same(arms), covers=tuple(dict.fromkeys(shown(arm.hidden) for arm in arms))
        )
        for seed, arms in seeds.items()
        if len({arm.hidden for arm in arms}) > 1
    ]


def _same(arms: list[Arm]) -> Finding | Unjudged:
    drops = [figure_of(arm, "loss_drop_percent") for arm in arms]
    known = [drop for drop in drops if not isinstance(drop, Unjudged)]
    spread = max(known) - min(known) if len(known) == len(arms) else None
    kinds = {arm.outcome.kind for arm in arms}
    if "recovered" not in kinds and kinds != {"unknown"}:
        return Unjudged("no size collapses and recovers")
    if len(kinds - {"diverged", "unknown"}) > 1:
        return Finding(-1, spread)
    if "diverged" in kinds:
        return Unjudged("a size diverged")
    if len(kinds) > 1:
        return Unjudged("the outcome of a size is unknown")
    if spread is None:
        return Unjudged("the loss drop of a size is not on record")
    direction = within(spread, 0.0, _SPREAD_POINTS, _SPREAD_POINTS)
    if kinds == {"unknown"} and direction != -1:  # drops alone can contradict the claim and not bear it out
        return Unjudged("no outcome is known")
    return Finding(direction, spread)


CLAIMS = [
    Claim(
        name="scale invariance",
        says="The pattern is the same at every size: one outcome, one relative loss drop",
        source=f"{FINAL}, Model Size Comparison",
        margin="equal outcomes and drops at most 3 points apart; undecided up to 6 points",
        grid=f"{SIZES} {SEEDS}",
        look=_all_sizes,
        measure="largest minus smallest loss drop (percentage points)",
        show="{:.1f}".format,
        each="seed",
        cells=EVERY_SIZE,
    ),
]
