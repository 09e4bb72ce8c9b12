"""Whether the notes' measure, unique tokens, orders models as held-out loss does."""

from collections import defaultdict

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import Claim, Finding, Unit, Unjudged
from bitnet_sweep.report.claims.look import pairs_in
from bitnet_sweep.report.claims.noted import FINAL, SEEDS
from bitnet_sweep.report.claims.setting import Setting
from bitnet_sweep.report.transitions import LOSS, TOKENS, end_value

_LOSS_MARGIN_NATS = 0.1
"""Losses closer than this are not ordered, and their pair is passed over."""

_RANKS, _FAILS = 0.8, 0.5


def _rankings(setting: Setting) -> list[Unit]:
    """One unit a seed: all pairs of its runs at the end, those of every size, however they were trained."""
    pairs: dict[int | None, list[tuple[Arm, Arm]]] = defaultdict(list)
    for a, b in pairs_in(setting.arms):
        pairs[a.seed].append((a, b))
    units = []
    for seed, found in pairs.items():
        arms = {arm.run_id: arm for pair in found for arm in pair}
        units.append(Unit("", seed, tuple(arms.values()), _agreement(found)))
    return units


def _agreement(pairs: list[tuple[Arm, Arm]]) -> Finding | Unjudged:
    """Somers' d of tokens given loss: (agree - disagree) / pairs that loss orders; a tie in tokens is 0."""
    votes = []
    for a, b in pairs:
        values = [end_value(arm, field) for field in (LOSS, TOKENS) for arm in (a, b)]
        numbers = [value for value in values if not isinstance(value, str)]
        if len(numbers) < len(values):
            continue
        lower, more = numbers[1] - numbers[0], numbers[2] - numbers[3]
        if abs(lower) > _LOSS_MARGIN_NATS:
            votes.append(((lower > 0) - (lower < 0)) * ((more > 0) - (more < 0)))
    if not votes:
        return Unjudged("no two of its runs have loss and tokens on record and losses apart")
    share = sum(votes) / len(votes)
    return Finding(1 if share >= _RANKS else -1 if share <= _FAILS else 0, share)


CLAIMS = [
    Claim(
        name="tokens rank as loss",
        says="More unique tokens mean the better model: the count orders models as held-out loss does",
        source=f"{FINAL}, The Evidence",
        margin="Somers' d 0.8 or more over pairs over 0.1 nats apart; against it at 0.5 or less",
        grid=f"model.hidden=256 optimizer=adam_l2,adamw wd2=0.0,0.05 {SEEDS}",
        look=_rankings,
        measure="Somers' d",
        each="seed",
    ),
]
