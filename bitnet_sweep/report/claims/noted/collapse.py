"""The first stage: every size collapses under decay 0.1, at any learning rate."""

from bitnet_sweep.report.claims.claim import Claim
from bitnet_sweep.report.claims.comparable import where_text_and_length_are_theirs
from bitnet_sweep.report.claims.look import each_first_stage
from bitnet_sweep.report.claims.measures import MARGIN, collapsed, figure_within
from bitnet_sweep.report.claims.noted import EVERY_SIZE, FINAL, NOTES_TEXT, SEEDS, SIZES
from bitnet_sweep.report.table import count_text

_MARGIN = f"loss at the boundary above U, whether or not it was below before; undecided within {MARGIN}"


CLAIMS = [
    Claim(
        name="collapse",
        says="Every size collapses in the first stage (judged by held-out loss)",
        source=f"{FINAL}, Key Finding, 1",
        margin=_MARGIN,
        grid=f"{SIZES} {SEEDS}",
        look=each_first_stage(collapsed),
        measure="loss at the boundary minus U (nats)",
        show="{:+.2f}".format,
        cells=EVERY_SIZE,
    ),
    Claim(
        name="collapse in tokens",
        says="Every size ends the first stage at 2 unique tokens",
        source=f"{FINAL}, Complete Results Table",
        margin="1 or 2 tokens at the boundary; undecided at 3 and 4",
        grid=f"{NOTES_TEXT} {SIZES} {SEEDS}",
        look=each_first_stage(figure_within("tokens_before", 1, 2, 2)),
        measure="unique tokens at the boundary",
        show=count_text,
        cells=EVERY_SIZE,
        comparable=where_text_and_length_are_theirs,
    ),
    Claim(
        name="collapse at every learning rate",
        says="The first stage collapses at all learning rates (here: at others than 1.5e-3)",
        source=f"{FINAL}, The Evidence",
        margin=_MARGIN,
        grid=f"model.hidden=256 lr=0.0003,0.0005,0.001,0.003 {SEEDS}",
        look=each_first_stage(collapsed, other="lr"),
        measure="loss at the boundary minus U (nats)",
        show="{:+.2f}".format,
        cells=4,
    ),
]
