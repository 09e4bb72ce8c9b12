"""Outcomes, worked out by hand: U = 6.0, 100 steps, warm-up 10, decay boundary at 50."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import product

import pytest

from bitnet_sweep.records import Record
from bitnet_sweep.store.outcome import (
    MARKS,
    Marks,
    Outcome,
    marks_of,
    outcome_of,
    outcome_text,
    transition_figures,
)

U = 6.0


def records_of(losses: dict[int, float | None], **fields: float | None) -> list[Record]:
    return [
        {"step": step, "val/loss": loss, "train/loss_batch": 5.0, "ref/unigram_loss": U} | fields
        for step, loss in losses.items()
    ]


def judge(
    records: list[Record], *, warmup_steps: int | None = 10, diverged: bool = False, steps: int | None = 100
) -> Outcome:
    return outcome_of(records, steps=steps, boundary_step=50, warmup_steps=warmup_steps, diverged=diverged)


@pytest.mark.parametrize(
    ("at_boundary", "at_end", "kind", "at_unigram"),
    [
        pytest.param(5.0, 4.0, "healthy", False, id="healthy"),
        pytest.param(5.99, 5.89, "healthy", False, id="healthy just below U"),
        pytest.param(8.0, 4.0, "recovered", False, id="recovered"),
        pytest.param(6.0, 5.99, "recovered", True, id="U itself at the boundary counts as not below"),
        pytest.param(8.0, 7.0, "stuck", False, id="stuck"),
        pytest.param(8.0, 6.0, "stuck", True, id="U itself at the end counts as not below"),
        pytest.param(6.0, 6.0, "stuck", True, id="U at both"),
        pytest.param(5.0, 8.0, "late collapse", False, id="late collapse"),
        pytest.param(5.0, 6.0, "late collapse", True, id="late collapse onto U itself"),
        pytest.param(8.0, 6.1, "stuck", True, id="0.1 above U is at unigram"),
        pytest.param(8.0, 6.11, "stuck", False, id="0.11 above U is not"),
        pytest.param(8.0, 5.9, "recovered", True, id="0.1 below U is at unigram"),
        pytest.param(8.0, 5.89, "recovered", False, id="0.11 below U is not"),
    ],
)
def test_the_kind_follows_from_the_boundary_and_the_end(
    at_boundary: float, at_end: float, kind: str, at_unigram: bool
) -> None:
    result = judge(records_of({1: 9.0, 50: at_boundary, 100: at_end}))
    assert (result.kind, result.at_unigram, result.reason) == (kind, at_unigram, None)


ALIVE = {"ternary/zero_frac/a": 0.3, "ternary/zero_frac/b": 0.99}
DEAD = {"ternary/zero_frac/a": 0.3, "ternary/zero_frac/b": 1.0}
FULL = {"ternary/zero_frac/a": None, "ternary/zero_frac/b": None}


@pytest.mark.parametrize(
    ("loss", "fields", "held", "unknown"),
    [
        pytest.param(4.0, {"blocks/loss_without": 5.0} | ALIVE, (), (), id="nothing to mark"),
        pytest.param(4.0, {"blocks/loss_without": 4.009} | ALIVE, ("hollow",), (), id="hollow"),
        pytest.param(4.0, {"blocks/loss_without": 3.0} | ALIVE, ("hollow",), (), id="better without"),
        pytest.param(4.0, {"blocks/loss_without": 4.011} | ALIVE, (), (), id="worth more than 0.01"),
        pytest.param(5.0, {"blocks/loss_without": 5.01} | ALIVE, (), (), id="0.01 itself, less in binary"),
        pytest.param(7.0, {"blocks/loss_without": 7.0, "val/loss_tempered": 6.5} | ALIVE, (), (), id="stuck"),
        pytest.param(7.0, {"val/loss_tempered": 5.9} | ALIVE, ("underconfident",), (), id="underconfident"),
        pytest.param(7.0, {"val/loss_tempered": 6.0} | ALIVE, (), (), id="U itself is not below"),
        pytest.param(4.0, {"val/loss_tempered": 3.0, "blocks/loss_without": 9} | ALIVE, (), (), id="below U"),
        pytest.param(4.0, {"blocks/loss_without": 9.0} | DEAD, ("partly dead",), (), id="one layer dead"),
        pytest.param(4.0, {"blocks/loss_without": 9.0} | FULL, (), (), id="full precision has no codes"),
        pytest.param(6.0, {"val/loss_tempered": 5.9} | DEAD, (MARKS[0], *MARKS[2:]), (), id="three at once"),
        pytest.param(4.0, {}, (), ("hollow", "partly dead"), id="old, below U"),
        pytest.param(7.0, {}, (), ("partly dead", "underconfident"), id="old, not below U"),
        pytest.param(4.0, {"ternary/zero_frac": 1.0}, (), ("hollow", "partly dead"), id="old and all dead"),
        pytest.param(4.0, {"blocks/loss_without": None} | ALIVE, (), ("hollow",), id="null is unknown"),
        pytest.param(7.0, {"val/loss_tempered": None} | ALIVE, (), ("underconfident",), id="null, stuck"),
    ],
)
def test_marks(
    loss: float, fields: dict[str, float | None], held: tuple[str, ...], unknown: tuple[str, ...]
) -> None:
    """Of the last record alone: what the others say does not matter."""
    told = {"blocks/loss_without": 0.0, "val/loss_tempered": 0.0} | DEAD
    earlier = records_of({1: 9.0, 50: 8.0}, **told)
    (last,) = records_of({100: loss}, **fields)
    outcome = judge([*earlier, last])
    assert outcome.marks == marks_of(last, U) == Marks(held, unknown)
    assert outcome.marks.noted == (None if unknown else list(held))
    assert outcome.at_unigram == ("at unigram" in held)


def test_without_an_outcome_every_mark_is_unknown_and_a_diverged_run_has_none() -> None:
    assert judge(records_of({50: 8.0}, **DEAD)).marks == Marks(unknown=MARKS)
    assert marks_of({"step": 1, "val/loss": None}, U) == Marks(unknown=MARKS)
    assert judge(records_of({50: 8.0}, **DEAD), diverged=True).marks == Marks()


@pytest.mark.parametrize(
    ("kind", "marks", "text"),
    [
        ("recovered", [], "recovered"),
        ("recovered", ["at unigram", "hollow"], "recovered, at unigram, hollow"),
        ("stuck", None, "stuck, marks unknown"),
        ("diverged", None, "diverged"),
    ],
)
def test_an_outcome_in_words(kind: str, marks: list[str] | None, text: str) -> None:
    assert outcome_text(kind, marks) == text


def test_the_decimal_0_1_is_within_0_1_whatever_its_binary() -> None:
    assert 8.3 - 8.2 > 0.1, "the trap this test is about"
    records = records_of({50: 9.0, 100: 8.3}, **{"ref/unigram_loss": 8.2})
    assert judge(records).at_unigram


def test_order_of_records_and_what_lies_between_do_not_matter_for_the_kind() -> None:
    losses: dict[int, float | None] = {1: 9.0, 25: 3.0, 50: 8.0, 75: 9.0, 100: 4.0}
    shuffled = dict(reversed(losses.items()))
    assert judge(records_of(losses)) == judge(records_of(shuffled))
    assert judge(records_of(losses)).kind == "recovered"


@pytest.mark.parametrize(
    ("losses", "step", "never", "censored"),
    [
        pytest.param({1: 9, 20: 5, 30: 7, 40: 7, 50: 7}, 30, False, False, id="learned, then lost it"),
        pytest.param({1: 9, 20: 5, 30: 7, 40: 5, 50: 7}, 50, False, False, id="only the last stretch counts"),
        pytest.param({1: 9, 20: 5, 30: 6, 40: 6, 50: 6}, 30, False, False, id="U itself is not below"),
        pytest.param({1: 5, 10: 7, 20: 7, 50: 7}, 20, False, False, id="probes in warm-up are passed over"),
        pytest.param({1: 9, 10: 5, 20: 7, 50: 7}, 20, False, False, id="learned during warm-up counts"),
        pytest.param({1: 9, 20: 8, 30: 7, 50: 6}, None, True, False, id="never below U"),
        pytest.param({1: 9, 20: 7, 50: 5}, None, False, True, id="below U at the boundary"),
        pytest.param({1: 9, 20: 5, 40: 7}, None, False, True, id="still before the boundary"),
        pytest.param({1: 9, 20: 5, 60: 7}, None, False, False, id="no boundary record"),
        pytest.param({1: 9, 20: 5, 30: None, 50: 7}, None, False, False, id="a null hides where it began"),
        pytest.param({1: 9, 20: None, 30: 5, 50: 7}, 50, False, False, id="a null before it hides nothing"),
        pytest.param({1: None, 20: 7, 50: 7}, None, False, False, id="a null may have been below U"),
        pytest.param({}, None, False, False, id="no records"),
    ],
)
def test_collapse_step(
    losses: dict[int, float | None], step: int | None, never: bool, censored: bool
) -> None:
    result = judge(records_of(losses))
    assert (result.collapse_step, result.never_learned, result.collapse_censored) == (step, never, censored)


def test_without_a_known_warmup_the_collapse_step_is_not_known_but_the_kind_is() -> None:
    result = judge(records_of({1: 5.0, 20: 7.0, 50: 7.0, 100: 7.0}), warmup_steps=None)
    assert (result.kind, result.collapse_step) == ("stuck", None)
    never = judge(records_of({1: 9.0, 20: 7.0, 50: 7.0, 100: 7.0}), warmup_steps=None)
    assert never.never_learned


@pytest.mark.parametrize(
    ("losses", "step", "censored"),
    [
        pytest.param({50: 8, 60: 5, 80: 5, 100: 5}, 60, False, id="at once"),
        pytest.param({50: 8, 60: 7, 80: 5, 100: 5}, 80, False, id="later"),
        pytest.param({50: 8, 60: 5, 80: 6, 100: 5.9}, 100, False, id="U itself interrupts it"),
        pytest.param({50: 8, 60: 5, 80: 5, 100: 6}, None, True, id="not by the end: censored"),
        pytest.param({50: 8, 60: 5, 80: 5}, None, True, id="still going: censored"),
        pytest.param({50: 5, 60: 5, 100: 5}, None, False, id="nothing to recover from"),
        pytest.param({50: 8, 60: 5, 80: None, 100: 5}, None, False, id="a null hides where it began"),
        pytest.param({60: 5, 80: 5, 100: 5}, None, False, id="no boundary record"),
    ],
)
def test_recovery_step(losses: dict[int, float | None], step: int | None, censored: bool) -> None:
    result = judge(records_of(losses))
    assert (result.recovery_step, result.recovery_censored) == (step, censored)


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        pytest.param([], "ref/unigram_loss", id="no records"),
        pytest.param(records_of({100: 5.0}), "no val/loss at the decay boundary (step 50)", id="no boundary"),
        pytest.param(records_of({49: 8.0, 51: 8.0, 100: 5.0}), "decay boundary", id="never the nearest"),
        pytest.param(records_of({50: None, 60: 5, 100: 5.0}), "decay boundary", id="null at the boundary"),
        pytest.param(records_of({50: 8.0, 99: 5.0}), "no val/loss at the end (step 100)", id="no end"),
        pytest.param(
            [{"step": 50, "val/loss": 8.0}, {"step": 100, "val/loss": 5.0}],
            "ref/unigram_loss is not on record",
            id="no unigram loss",
        ),
        pytest.param(
            records_of({50: 8.0}) + records_of({100: 5.0}, **{"ref/unigram_loss": 7.0}),
            "not one number",
            id="two unigram losses",
        ),
        pytest.param(
            [{"step": 50, "ref/unigram_loss": U}, {"step": 100, "ref/unigram_loss": U}],
            "decay boundary",
            id="no val/loss",
        ),
    ],
)
def test_what_is_not_on_record_makes_the_kind_unknown(records: list[Record], reason: str) -> None:
    result = judge(records)
    assert result.kind == "unknown"
    assert reason in (result.reason or "")


def test_a_run_whose_length_is_not_known_has_no_known_end() -> None:
    result = judge(records_of({50: 8.0, 100: 5.0}), steps=None)
    assert (result.kind, result.reason) == ("unknown", "no val/loss at the end (its step is not known)")


NOT_FINITE: list[float | None] = [None, math.nan, math.inf]


@pytest.mark.parametrize(
    ("field", "value"),
    list(product(["train/loss_batch", "val/loss"], NOT_FINITE)),
    ids=lambda value: str(value),
)
def test_a_loss_that_stops_being_finite_is_a_divergence(field: str, value: float | None) -> None:
    records = records_of({1: 9.0, 50: 8.0, 60: 7.0})
    records[-1][field] = value
    result = judge(records)
    assert (result.kind, result.diverged_step) == ("diverged", 60)
    assert result.recovery_censored, "it was above U at the boundary and never came back"


def test_divergence_by_status_takes_the_last_step_on_record() -> None:
    result = judge(records_of({1: 9.0, 50: 5.0, 60: 5.0}), diverged=True)
    assert (result.kind, result.diverged_step, result.at_unigram) == ("diverged", 60, False)
    assert judge([], diverged=True) == Outcome("diverged")


def test_a_loss_with_gaps_has_not_diverged() -> None:
    """The published table has no loss at 1k-4k, 7k and 10k of hidden 512."""
    records = records_of({20: None, 50: 8.0, 60: 7.0, 100: None})
    for record in records:
        record["train/loss_batch"] = record["val/loss"]
    assert judge(records).kind == "unknown"


def test_a_field_that_is_absent_has_not_diverged() -> None:
    records = records_of({1: 9.0, 50: 8.0, 100: 5.0})
    del records[-1]["train/loss_batch"]
    assert judge(records).kind == "recovered"


PUBLISHED: list[Record] = [
    {"step": 5000, "val/loss": 10.34, "probe/unique_tokens": 2},
    {"step": 6000, "val/loss": 7.32, "probe/unique_tokens": 10},
    {"step": 10000, "val/loss": 6.61, "probe/unique_tokens": 13},
]


def test_transition_figures_of_the_notes() -> None:
    figures = transition_figures(PUBLISHED, 10_000, 5_000)
    assert figures["transition/loss_before"] == 10.34
    assert figures["transition/loss_after"] == 7.32
    assert figures["transition/loss_end"] == 6.61
    assert figures["transition/loss_drop"] == pytest.approx(-3.02)
    assert figures["transition/loss_drop_percent"] == pytest.approx(-29.2, abs=0.05)
    assert figures["transition/tokens_before"] == 2
    assert figures["transition/tokens_after"] == 10
    assert figures["transition/tokens_end"] == 13
    assert figures["transition/tokens_factor"] == 5.0


def test_after_is_exactly_a_tenth_later_and_never_the_nearest() -> None:
    records = [*PUBLISHED[:1], PUBLISHED[1] | {"step": 6001}, *PUBLISHED[2:]]
    figures = transition_figures(records, 10_000, 5_000)
    missing = {name for name, value in figures.items() if value is None}
    assert missing == {
        "transition/loss_after",
        "transition/loss_drop",
        "transition/loss_drop_percent",
        "transition/tokens_after",
        "transition/tokens_factor",
    }


@pytest.mark.parametrize(("steps", "after"), [(100, 60), (104, 60), (106, 61)])
def test_a_tenth_is_rounded_to_a_step(steps: int, after: int) -> None:
    figures = transition_figures([{"step": after, "val/loss": 3.0}], steps, 50)
    assert figures["transition/loss_after"] == 3.0


def test_a_factor_over_no_tokens_is_not_a_number() -> None:
    records: list[Record] = [
        {"step": 50, "val/loss": 0.0, "probe/unique_tokens": 0},
        {"step": 60, "val/loss": 1.0, "probe/unique_tokens": 3},
    ]
    figures = transition_figures(records, 100, 50)
    assert figures["transition/tokens_factor"] is None
    assert figures["transition/loss_drop"] == 1.0
    assert figures["transition/loss_drop_percent"] is None


def test_nothing_heavy_is_imported() -> None:
    code = "import bitnet_sweep.store.outcome, sys; print(sorted({'torch', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
