"""How sure a few replicates can make one: 95 % intervals and one sign test; scipy does the arithmetic.

Means: for 2 to 5 values a t interval (df = n - 1), from 6 on a bias-corrected and accelerated
bootstrap, which is narrower than the t interval it takes over from: of ten normal values or fewer it
covers the mean in less than 95 % of cases. One value has no interval. Shares: Clopper-Pearson. No p-value
below 6 pairs, where a two-sided sign test cannot reach 0.05 (2 / 2^5 = 0.06).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95
ENOUGH_FOR_BOOTSTRAP = 6
_RESAMPLES = 9_999
_BOOTSTRAP_SEED = 0
"""Fixed, so that the same records give the same report."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval and how it was made."""

    low: float
    high: float
    method: str


@dataclass(frozen=True)
class SignTest:
    """Pairs that fell, rose or tied, and the two-sided p of a fair coin; ties do not count."""

    fell: int
    rose: int
    tied: int
    p_value: float


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Of the mean of independent values; None for fewer than two."""
    import numpy as np
    from scipy import stats

    n = len(values)
    if n < 2:
        return None
    mean = statistics.fmean(values)
    if len(set(values)) == 1:
        return Interval(mean, mean, "all equal")
    if n < ENOUGH_FOR_BOOTSTRAP:
        error = statistics.stdev(values) / n**0.5
        half = _t_quantile(n - 1) * error
        return Interval(mean - half, mean + half, f"t, df = {n - 1}")
    bounds = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=_BOOTSTRAP_SEED,
    ).confidence_interval
    return Interval(float(bounds.low), float(bounds.high), "BCa bootstrap")


@cache
def _t_quantile(freedom: int) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


@cache  # a few milliseconds each, and thousands of cells have the same few counts
def share_interval(count: int, n: int) -> Interval:
    """Of ``count`` out of ``n``, by Clopper and Pearson."""
    from scipy import stats

    bounds = stats.binomtest(count, n).proportion_ci(CONFIDENCE, method="exact")
    return Interval(float(bounds.low), float(bounds.high), "Clopper-Pearson")


def sign_test(differences: Sequence[float]) -> SignTest | None:
    """One test over all pairs, whatever their stratum; None below 6 pairs that differ.

    Under the null every pair falls or rises with equal chance in its own stratum, so the strata's
    counts add up to one binomial. It takes pairs for independent; sizes trained with one seed read the same
    batches and are less than that, which is why no claim is judged by it.
    """
    from scipy import stats

    fell, rose = sum(d < 0 for d in differences), sum(d > 0 for d in differences)
    if fell + rose < ENOUGH_FOR_BOOTSTRAP:
        return None
    p_value = float(stats.binomtest(fell, fell + rose, 0.5).pvalue)
    return SignTest(fell, rose, len(differences) - fell - rose, p_value)
