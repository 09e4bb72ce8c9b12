"""The published parameter counts, against 2 · 50257 · h + 40 h² + 29 h."""

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import Claim, Finding, Unit
from bitnet_sweep.report.claims.noted import FINAL, SIZES
from bitnet_sweep.report.claims.setting import Setting, told
from bitnet_sweep.report.listing import NOTES_MODEL, PUBLISHED_SIZES, notes_total
from bitnet_sweep.report.settings import whole


def _is_notes_model(arm: Arm) -> bool:
    """By its config; what that leaves out is as in the notes where the scale is theirs (``scale=seed``)."""
    theirs = {
        "model.num_layers": {str(NOTES_MODEL["layers"])},
        "tokenizer.vocab_size": {str(NOTES_MODEL["vocab"])},
        "model.ffn": {"null", str(2 * (arm.hidden or 0))},
        "model.tied": {"False"},
    }
    is_theirs = told(arm, "scale") == "seed"
    return all(
        told(arm, key) in values if key in arm.run.config else is_theirs for key, values in theirs.items()
    )


def _total(arm: Arm, hidden: int) -> int:
    """As the run counted its own parameters, else by the formula."""
    counted = arm.run.status.get("parameters")
    recorded = whole(counted.get("total")) if isinstance(counted, dict) else None
    return recorded or notes_total(hidden)


def _sizes(setting: Setting) -> list[Unit]:
    units: dict[int, Unit] = {}
    for arm in setting.arms:
        published = PUBLISHED_SIZES.get(arm.hidden or 0)
        if arm.hidden is None or published is None or arm.hidden in units or not _is_notes_model(arm):
            continue
        total = _total(arm, arm.hidden)
        found = Finding(1 if round(total / 1e6) == published else -1, total / 1e6)
        units[arm.hidden] = Unit(f"hidden {arm.hidden}", arm.seed, (arm,), found)
    return list(units.values())


CLAIMS = [
    Claim(
        name="parameter counts",
        says="The models have 28M, 114M, 257M and 458M parameters",
        source=f"{FINAL}, Model Size Comparison",
        margin="the true count, rounded to a million, is the published one",
        grid=f"scale=seed steps=20 {SIZES} sweep.keep_final=false sweep.keep_stages=false",
        look=_sizes,
        measure="true counts (millions)",
        show="{:.1f}".format,
        exact=True,
    ),
]
