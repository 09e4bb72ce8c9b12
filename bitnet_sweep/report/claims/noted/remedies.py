"""What the notes tried in vain: another loss, another clipping."""

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import Claim, Finding, Unjudged
from bitnet_sweep.report.claims.look import each_pair
from bitnet_sweep.report.claims.measures import MARGIN, collapsed, collapsed_clearly
from bitnet_sweep.report.claims.noted import FINAL, SEEDS


def still_collapses(base: Arm, other: Arm) -> Finding | Unjudged:
    """As claimed where the other arm collapses as the notes' own does."""
    return collapsed_clearly(base) or collapsed(other)


_SOURCE = f"{FINAL}, Why We Didn't Notice Before"
_MARGIN = f"the first stage still ends above U; undecided within {MARGIN}"
_MEASURE = "its loss at the boundary minus U (nats)"

CLAIMS = [
    Claim(
        name="label smoothing",
        says="Label smoothing does not prevent the collapse",
        source=_SOURCE,
        margin=_MARGIN,
        grid=f"model.hidden=256 loss.label_smoothing=0.0,0.1 {SEEDS}",
        look=each_pair(still_collapses, "loss.label_smoothing", first_stage=True),
        measure=_MEASURE,
        show="{:+.2f}".format,
        each="pair",
    ),
    Claim(
        name="clipping",
        says="Other gradient clipping, or none, does not prevent the collapse",
        source=_SOURCE,
        margin=_MARGIN,
        grid=f"model.hidden=256 optimizer.clip=1.0,0.1,null {SEEDS}",
        look=each_pair(still_collapses, "optimizer.clip", first_stage=True),
        measure=_MEASURE,
        show="{:+.2f}".format,
        each="pair",
    ),
]
