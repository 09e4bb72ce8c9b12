"""The rival explanation: coupled decay (L2 in Adam's gradient) does it, and ternary weights do not."""

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import Claim, Finding, Unjudged, beyond, opposite
from bitnet_sweep.report.claims.look import each_pair
from bitnet_sweep.report.claims.measures import MARGIN, above_unigram, collapsed, collapsed_clearly
from bitnet_sweep.report.claims.noted import SEEDS, SIZES
from bitnet_sweep.store.outcome import AT_UNIGRAM_NATS


def _no_collapse(coupled: Arm, decoupled: Arm) -> Finding | Unjudged:
    found = collapsed_clearly(coupled) or collapsed(decoupled)
    if isinstance(found, Unjudged):
        return found
    return Finding(opposite(found.direction), found.value)


def _same_pattern(ternary: Arm, full: Arm) -> Finding | Unjudged:
    """As claimed where full precision collapses and recovers too."""
    nothing = collapsed_clearly(ternary)
    if nothing is not None:
        return nothing
    if ternary.outcome.kind != "recovered":
        return Unjudged("the ternary run did not recover")
    first, last = above_unigram(full, full.boundary_step), above_unigram(full, full.steps)
    if isinstance(first, Unjudged):
        return first
    if isinstance(last, Unjudged):
        return last
    return Finding(min(beyond(first, AT_UNIGRAM_NATS), beyond(-last, AT_UNIGRAM_NATS)), first)


CLAIMS = [
    Claim(
        name="rival: decoupled decay",
        says="With decoupled decay of the same size (AdamW) nothing collapses",
        source="this project, against the notes: the form of decay",
        margin=f"coupled above U at the boundary, decoupled below; undecided within {MARGIN}",
        grid=f"{SIZES} optimizer=adam_l2,adamw {SEEDS}",
        look=each_pair(_no_collapse, "optimizer.name", value="adamw", first_stage=True),
        measure="decoupled loss at the boundary minus U (nats)",
        show="{:+.2f}".format,
        each="pair",
    ),
    Claim(
        name="rival: full precision",
        says="Full-precision weights collapse and recover as ternary ones do",
        source="this project, against the notes: ternary weights",
        margin=f"above U at the boundary, below it at the end; undecided where the worse is within {MARGIN}",
        grid=f"{SIZES} model.weights=ternary,full {SEEDS}",
        look=each_pair(_same_pattern, "model.weights", value="full"),
        measure="full-precision loss at the boundary minus U (nats)",
        show="{:+.2f}".format,
        each="pair",
    ),
]
