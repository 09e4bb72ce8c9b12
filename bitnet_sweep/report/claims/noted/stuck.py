"""The second stage's decay: at 0.05 nothing recovers, and that alone is the difference."""

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import Claim, Finding, Unjudged, beyond, opposite
from bitnet_sweep.report.claims.look import each_pair, each_run
from bitnet_sweep.report.claims.measures import MARGIN, above_unigram, collapsed_clearly
from bitnet_sweep.report.claims.noted import CRITICAL, FINAL, SEEDS, SIZES
from bitnet_sweep.store.outcome import AT_UNIGRAM_NATS


def _stuck(arm: Arm) -> Finding | Unjudged:
    nothing = collapsed_clearly(arm)
    if nothing is not None:
        return nothing
    height = above_unigram(arm, arm.steps)
    return height if isinstance(height, Unjudged) else Finding(beyond(height, AT_UNIGRAM_NATS), height)


def needs_decay_off(off: Arm, on: Arm) -> Finding | Unjudged:
    """As claimed where ``off`` recovers and ``on`` does not; against it where they do not differ so."""
    found = [_stuck(off), _stuck(on)]
    judged = [height for height in found if isinstance(height, Finding)]
    if len(judged) < len(found):
        return next(height for height in found if isinstance(height, Unjudged))
    value = (judged[1].value or 0.0) - (judged[0].value or 0.0)
    return Finding(min(opposite(judged[0].direction), judged[1].direction), value)


CLAIMS = [
    Claim(
        name="stuck at 0.05",
        says="With wd2=0.05 a collapsed run does not recover",
        source=f"{FINAL}, Before (WD=0.05 in Stage 2)",
        margin=f"loss at the end above U; undecided within {MARGIN}",
        grid=f"{SIZES} wd2=0.05 {SEEDS}",
        look=each_run(_stuck, wd2=0.05),
        measure="loss at the end minus U (nats)",
        show="{:+.2f}".format,
    ),
    Claim(
        name="0.0 against 0.05",
        says="From one trunk, wd2=0.0 recovers and wd2=0.05 does not",
        source=f"{CRITICAL}, Difference",
        margin=f"end loss below U at 0.0 and above it at 0.05; undecided where the worse is within {MARGIN}",
        grid=f"{SIZES} wd2=0.0,0.05 {SEEDS}",
        look=each_pair(needs_decay_off, "wd2", value=0.05),
        measure="end loss at 0.05 minus that at 0.0 (nats)",
        show="{:+.2f}".format,
        each="pair",
    ),
]
