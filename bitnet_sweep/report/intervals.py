"""How sure a few replicates can make one: 95 % intervals; scipy does the arithmetic.

Means: for 2 to 20 values a t interval (df = n - 1), beyond a bias-corrected and accelerated bootstrap. Of 6
to 10 normal values that bootstrap covers the mean in 87 to 90 % of cases and not in 95 %. One value has no
interval. Shares: Clopper-Pearson.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95
ENOUGH_FOR_BOOTSTRAP = 21
_RESAMPLES = 9_999
_BOOTSTRAP_SEED = 0
"""Fixed, so that the same records give the same report."""

_ROUNDING = 1e-12
"""By which equal differences of losses may differ in binary, of 1 or of the largest, if that is more."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval and how it was made."""

    low: float
    high: float
    method: str


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Interval of the mean of independent values; None for fewer than two."""
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
    if max(values) - min(values) <= _ROUNDING * max(1.0, *map(abs, values)):
        return Interval(mean, mean, "all equal")  # the bootstrap would divide nothing by nothing
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
    """Interval of the share ``count`` out of ``n``, by Clopper and Pearson."""
    from scipy import stats

    bounds = stats.binomtest(count, n).proportion_ci(CONFIDENCE, method="exact")
    return Interval(float(bounds.low), float(bounds.high), "Clopper-Pearson")
