"""The second stage at wd2=0.0: recovery within a tenth of the schedule, and its published figures."""

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import Claim, Finding, Unjudged, beyond
from bitnet_sweep.report.claims.comparable import (
    where_text_and_length_are_theirs,
    where_the_length_is_theirs,
)
from bitnet_sweep.report.claims.look import each_run
from bitnet_sweep.report.claims.measures import (
    MARGIN,
    above_unigram,
    collapsed_clearly,
    figure_within,
)
from bitnet_sweep.report.claims.noted import EVERY_SIZE, FINAL, NOTES_TEXT, SEEDS, SIZES
from bitnet_sweep.report.table import count_text, factor_text, percent_text
from bitnet_sweep.store.outcome import AT_UNIGRAM_NATS, after_step


def _recovered(arm: Arm) -> Finding | Unjudged:
    """Below U a tenth of the run behind the boundary, and at the end."""
    nothing = collapsed_clearly(arm)
    if nothing is not None:
        return nothing
    soon = above_unigram(arm, after_step(arm.steps, arm.boundary_step))
    last = above_unigram(arm, arm.steps)
    if isinstance(soon, Unjudged):
        return soon
    if isinstance(last, Unjudged):
        return last
    return Finding(min(beyond(-soon, AT_UNIGRAM_NATS), beyond(-last, AT_UNIGRAM_NATS)), soon)


CLAIMS = [
    Claim(
        name="recovery",
        says="When decay goes from 0.1 to 0.0, every size recovers within a tenth of the schedule",
        source=f"{FINAL}, Key Finding, 3",
        margin="loss below U a tenth of the run later and at the end; "
        f"undecided where the worse is within {MARGIN}",
        grid=f"scale=seed {SIZES} {SEEDS}",
        look=each_run(_recovered, wd2=0.0),
        measure="loss a tenth of the run behind the boundary, minus U (nats)",
        show="{:+.2f}".format,
        cells=EVERY_SIZE,
        comparable=where_the_length_is_theirs,
    ),
    Claim(
        name="loss drop",
        says="The loss drops by about 29 % across the boundary, at every size",
        source=f"{FINAL}, Loss Drop at Stage 2 Transition",
        margin="a drop of 26 to 32 %; undecided up to 3 points outside",
        grid=f"{NOTES_TEXT} {SIZES} {SEEDS}",
        look=each_run(figure_within("loss_drop_percent", -32, -26, 3), wd2=0.0),
        measure="change of the held-out loss",
        show=percent_text,
        cells=EVERY_SIZE,
        comparable=where_text_and_length_are_theirs,
    ),
    Claim(
        name="token factor",
        says="The unique tokens grow 4 to 5.5 times across the boundary",
        source=f"{FINAL}, Token Recovery at Stage 2 Transition",
        margin="a factor of 4 to 5.5; undecided up to 0.5 outside",
        grid=f"{NOTES_TEXT} {SIZES} {SEEDS}",
        look=each_run(figure_within("tokens_factor", 4, 5.5, 0.5), wd2=0.0),
        measure="tokens after over tokens before",
        show=factor_text,
        comparable=where_text_and_length_are_theirs,
    ),
    Claim(
        name="final tokens",
        says="Every size ends at 11 to 13 unique tokens",
        source=f"{FINAL}, Key Finding, 4",
        margin="11 to 13 tokens; undecided at 10 and 14",
        grid=f"{NOTES_TEXT} {SIZES} {SEEDS}",
        look=each_run(figure_within("tokens_end", 11, 13, 1), wd2=0.0),
        measure="unique tokens at the end",
        show=count_text,
        cells=EVERY_SIZE,
        comparable=where_text_and_length_are_theirs,
    ),
]
