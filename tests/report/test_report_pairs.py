"""Which arms are pairs, and what a few replicates allow one to say."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bitnet_sweep.report import make_report
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.intervals import mean_interval, share_interval
from bitnet_sweep.report.pairs import Pair, Refusal, pair_of
from tests.report.conftest import as_read

LOSSES: dict[int, float | None] = {1: 9.0, 50: 8.0, 100: 4.0}
ALONE: dict[str, Any] = {"stage_ids": [], "parent_stage_id": None}


def arms_of(store: Any) -> dict[str, Arm]:
    return {arm.run_id: arm for arm in make_report([store.root]).study.arms}


def test_arms_of_one_trunk_are_a_fork(store: Any) -> None:
    store.run("a", LOSSES)
    store.run("b", LOSSES, wd2=0.05)
    arms = arms_of(store)
    assert pair_of(arms["a"], arms["b"]) == Pair("fork", "wd2")


def test_a_parent_alone_tells_a_fork(store: Any) -> None:
    store.run("a", LOSSES, status={"stage_ids": None})
    store.run("b", LOSSES, status={"stage_ids": None}, wd2=0.05)
    arms = arms_of(store)
    assert pair_of(arms["a"], arms["b"]) == Pair("fork", "wd2")


def test_the_prefix_must_be_the_longest_possible(store: Any) -> None:
    """Two stages before decay changes, of which only the first one is shared: trained apart after it."""
    stage = {"steps": 25, "weight_decay": 0.1, "lr": [{"step": 0, "lr": 1e-3}, {"step": 25, "lr": 1e-3}]}
    last = stage | {"steps": 50, "lr": [{"step": 0, "lr": 1e-3}, {"step": 50, "lr": 1e-3}]}
    for run_id, wd2, ids in (
        ("a", 0.0, ["x", "y", "a"]),
        ("b", 0.05, ["x", "y", "b"]),
        ("c", 0.02, ["x", "z", "c"]),
    ):
        stages = [stage, stage, last | {"weight_decay": wd2}]
        store.run(run_id, LOSSES, wd2=wd2, stages=stages, status={"stage_ids": ids})
    arms = arms_of(store)
    assert pair_of(arms["a"], arms["b"]) == Pair("fork", "wd2")
    assert pair_of(arms["a"], arms["c"]) == Pair("matched", "wd2")


MATCHED = [
    pytest.param({"wd2": 0.05}, "wd2", id="wd2"),
    pytest.param({"lr": 0.003}, "lr", id="lr"),
    pytest.param({"optimizer__name": "adamw"}, "optimizer.name", id="form of decay"),
    pytest.param({"model__weights": "full"}, "model.weights", id="ternary or full"),
    pytest.param({"boundary": 0.3}, "boundary", id="boundary moved"),
    pytest.param({"steps": 200, "warmup_steps": 20}, "steps", id="what follows from a factor is none"),
]


@pytest.mark.parametrize(("change", "factor"), MATCHED)
def test_arms_trained_apart_are_matched_if_one_factor_differs(
    store: Any, change: dict[str, Any], factor: str
) -> None:
    store.run("a", LOSSES, status=ALONE)
    store.run("b", LOSSES, status=ALONE, **change)
    arms = arms_of(store)
    assert pair_of(arms["a"], arms["b"]) == Pair("matched", factor)
    assert pair_of(arms["b"], arms["a"]) == Pair("matched", factor)


REFUSED = [
    pytest.param({}, "no setting on record differs", id="nothing"),
    pytest.param({"seed": 1}, "the seeds differ", id="seed"),
    pytest.param({"seed": 1, "wd2": 0.05}, "the seeds differ", id="seed and decay"),
    pytest.param({"model__hidden": 128}, "the initial weights differ: model.hidden", id="size"),
    pytest.param({"tokenizer__vocab_size": 400}, "the data differ: tokenizer.vocab_size", id="vocabulary"),
    pytest.param({"data__name": "wikitext2"}, "the data differ: data.name", id="corpus"),
    pytest.param({"lr": 0.003, "wd2": 0.05}, "2 factors differ: lr, wd2", id="two factors"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED)
def test_anything_else_is_refused_with_the_reason(store: Any, change: dict[str, Any], reason: str) -> None:
    store.run("a", LOSSES, status=ALONE)
    store.run("b", LOSSES, status=ALONE, **change)
    arms = arms_of(store)
    assert pair_of(arms["a"], arms["b"]) == Refusal(reason)


def test_a_trunk_is_no_excuse_for_a_factor_that_it_cannot_hold(store: Any) -> None:
    shared = {"stage_ids": ["trunk", "end"], "parent_stage_id": "trunk"}
    store.run("a", LOSSES, status=shared)
    store.run("b", LOSSES, status=shared, lr=0.003, optimizer__name="adamw")
    arms = arms_of(store)
    assert pair_of(arms["a"], arms["b"]) == Refusal("2 factors differ: lr, optimizer.name")


def test_equal_names_do_not_make_equal_text(store: Any) -> None:
    store.run("a", LOSSES, status=ALONE)
    folder = store.run("b", LOSSES, status=ALONE, wd2=0.05)
    text = (
        (folder / "records.jsonl").read_text().replace('"ref/unigram_loss": 6.0', '"ref/unigram_loss": 6.5')
    )
    (folder / "records.jsonl").write_text(text)
    arms = arms_of(store)
    assert pair_of(arms["a"], arms["b"]) == Refusal("the data differ: ref/unigram_loss 6 and 6.5")


def test_a_refused_pair_has_its_row_and_no_difference(store: Any) -> None:
    store.run("a", LOSSES, status=ALONE, seed=None)
    store.run("b", LOSSES, status=ALONE, seed=None, wd2=0.05)
    row = as_read(make_report([store.root]), "stage2_contrast").iloc[0]
    assert row["Difference"] == "not compared"
    assert row["Pair"] == "refused: a seed is not on record"


def test_outcomes_of_the_means_are_those_of_every_pair(store: Any) -> None:
    """Seed 1 diverged under 0.05, an outcome without an end loss; 1 of 2 is 1 to 99 %, 2 of 2 from 16 %."""
    store.run("a0", LOSSES)
    store.run("b0", LOSSES | {100: 7.0}, wd2=0.05)
    store.run("a1", LOSSES, seed=1)
    store.run("b1", {1: 9.0, 50: 8.0, 60: None}, wd2=0.05, seed=1)
    row = as_read(make_report([store.root]), "stage2_contrast").iloc[-1]
    assert (row["n"], row["Loss (old)"], row["Difference"]) == ("n=1/2 pairs", "7.00", "-3.00")
    assert row["Outcome (old)"] == "stuck 1/2 [1-99%], diverged 1/2 [1-99%]"
    assert row["Outcome (new)"] == "recovered 2/2 [16-100%]"


def test_a_mean_of_pairs_that_have_not_ended_is_unknown(store: Any) -> None:
    for seed in (0, 1):
        store.run(f"a{seed}", {1: 9.0}, state="running", seed=seed)
        store.run(f"b{seed}", {1: 9.0}, state="running", seed=seed, wd2=0.05)
    csv = as_read(make_report([store.root]), "stage2_contrast")
    assert list(csv["Difference"]) == ["unknown"] * 3
    assert csv["Outcome (old)"].iloc[-1] == "2 running"


def test_every_two_decays_of_a_trunk_are_contrasted(store: Any) -> None:
    for run_id, wd2, end in (("a", 0.0, 4.0), ("b", 0.02, 5.0), ("c", 0.05, 7.0)):
        store.run(run_id, LOSSES | {100: end}, wd2=wd2)
    csv = as_read(make_report([store.root]), "stage2_contrast")
    assert sorted(zip(csv["wd2 (old)"], csv["wd2 (new)"], csv["Difference"], strict=True)) == [
        ("0.02", "0.0", "-1.00"),
        ("0.05", "0.0", "-3.00"),
        ("0.05", "0.02", "-2.00"),
    ]


def test_pairs_are_counted_over_all_sizes_from_six_on_without_a_p_value(store: Any) -> None:
    """Sizes of one seed are not independent, so their pairs are told and not tested."""
    for hidden in (64, 128):
        for seed in (0, 1, 2):
            place = {"model__hidden": hidden, "seed": seed}
            end = 4.0 if (hidden, seed) != (64, 0) else 8.0
            store.run(f"new{hidden}-{seed}", LOSSES | {100: end}, **place)
            store.run(f"old{hidden}-{seed}", LOSSES | {100: 7.0 + seed}, wd2=0.05, **place)
    csv = as_read(make_report([store.root]), "stage2_contrast")
    last = csv.iloc[-1]
    assert (last["Hidden Size"], last["n"]) == ("all sizes", "n=6 pairs")
    assert last["Difference"] == "lower in 5, higher in 1, equal in 0"


def test_no_interval_from_one_value() -> None:
    assert mean_interval([1.0]) is None
    assert mean_interval([]) is None


def test_few_values_get_a_t_interval() -> None:
    """1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.3027."""
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval is not None
    assert interval.method == "t, df = 2"
    assert interval.low == pytest.approx(2 - 4.3027 / math.sqrt(3), abs=1e-4)
    assert interval.high == pytest.approx(2 + 4.3027 / math.sqrt(3), abs=1e-4)


@pytest.mark.parametrize("level", [0.0, 0.3, 6.25, 1e5])
@pytest.mark.parametrize("n", [2, 5, 20, 21, 300])
def test_values_that_differ_by_rounding_alone_have_an_interval(level: float, n: int) -> None:
    """Losses a thousandth apart from seed to seed, less the same thousandth: equal but for the last bits."""
    values = [level + seed / 1000 - seed / 1000 * (1 + seed * 1e-16) for seed in range(n)]
    interval = mean_interval(values)
    assert interval is not None
    assert interval.low == pytest.approx(level, abs=1e-9 * max(1.0, level))
    assert interval.high == pytest.approx(level, abs=1e-9 * max(1.0, level))


@pytest.mark.parametrize("n", [2, 5, 6, 7, 10, 20])
@pytest.mark.slow
def test_up_to_twenty_values_the_interval_covers_what_it_says(n: int) -> None:
    """Of 2,000 samples of normal values with mean 0 all but 5 % hold it; a bootstrap's do not below 20."""
    samples = np.random.default_rng(n).normal(size=(2_000, n)).tolist()
    intervals = [interval for sample in samples if (interval := mean_interval(sample)) is not None]
    assert {interval.method for interval in intervals} == {f"t, df = {n - 1}"}
    covered = sum(interval.low <= 0 <= interval.high for interval in intervals)
    assert covered / len(samples) == pytest.approx(0.95, abs=0.015), "three standard errors"


def test_more_values_get_a_bootstrap_that_repeats() -> None:
    """Against a slow twin: Efron's BCa bounds over a hundred times as many resamples."""
    values = [float(value) for value in (*range(1, 21), 60)]
    n = len(values)
    interval = mean_interval(values)
    assert interval == mean_interval(values)
    assert interval is not None
    assert interval.method == "BCa bootstrap"
    mean = statistics.fmean(values)
    generator = np.random.default_rng(1)
    draws = (generator.choice(values, size=(50_000, n)).mean(axis=1) for _ in range(20))
    means = np.concatenate(list(draws))
    bias = stats.norm.ppf((np.mean(means < mean - 1e-9) + np.mean(means < mean + 1e-9)) / 2)
    jackknife = mean - np.array([(sum(values) - value) / (n - 1) for value in values])
    acceleration = (jackknife**3).sum() / (6 * (jackknife**2).sum() ** 1.5)
    for quantile, bound in ((0.025, interval.low), (0.975, interval.high)):
        z = bias + stats.norm.ppf(quantile)
        share = stats.norm.cdf(bias + z / (1 - acceleration * z))
        assert bound == pytest.approx(np.quantile(means, share), abs=0.2)


@pytest.mark.parametrize("n", [2, 21])
def test_equal_values_have_no_spread(n: int) -> None:
    interval = mean_interval([2.5] * n)
    assert interval is not None
    assert (interval.low, interval.high) == (2.5, 2.5)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        pytest.param(3, 3, 0.025 ** (1 / 3), 1.0, id="all: lower bound is the n-th root of 0.025"),
        pytest.param(0, 3, 0.0, 1 - 0.025 ** (1 / 3), id="none: the mirror image"),
        pytest.param(1, 2, 0.0126, 0.9874, id="one of two"),
    ],
)
def test_shares_by_clopper_and_pearson(count: int, n: int, low: float, high: float) -> None:
    interval = share_interval(count, n)
    assert interval.low == pytest.approx(low, abs=1e-4)
    assert interval.high == pytest.approx(high, abs=1e-4)
