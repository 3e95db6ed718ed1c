"""What can be said from a few repeats: quantiles, intervals, and whether two things differ at all.

Pure Python, and seeded: the same runs give the same words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import Random
from statistics import NormalDist, fmean, stdev
from typing import Literal

from talea.compare.record import Frozen

CONFIDENCE = 0.95
RESAMPLES = 1000
"""Of a bootstrap. The ends of a 95 % interval then rest on 25 resamples each, and move by less
than the interval itself says; three frameworks with 100 runs each take about 0.2 s."""
FEWEST_PAIRS = 5
"""No interval for a median is told from less: from n pairs the widest there is covers it with
1 - 2^(1-n), which is 88 % for four and 94 % for five."""
SMALLEST_RATIO = 1.02
"""Smaller ratios are never called a difference. Two equal programs on one machine stay that far
apart for good, by where the linker and the allocator have put things (Mytkowicz and others,
"Producing wrong data without doing anything obviously wrong", 2009, shows more than that)."""

Pair = tuple[float, float]
Verdict = Literal["less", "more", "none", "too_few", "unknown"]


class Spread(Frozen):
    """How a figure spreads over runs. `low` and `high` are the least and the greatest value."""

    n: int
    p50: float
    p90: float
    p99: float
    mean: float
    deviation: float
    """The standard deviation of the sample; 0 for a single run."""
    low: float
    high: float
    interval: tuple[float, float] | None = None
    """Holds the true median with at least 95 %; None from fewer than six runs, where none does."""


class Rate(Frozen):
    """How many of how many, with the share's 95 % interval; the share is 0 where `n` is."""

    count: int
    n: int
    share: float
    low: float
    high: float


class Difference(Frozen):
    """How a figure compares with another's: `ratio` times it.

    `low` and `high` are the interval of the ratio. They are None where there is none to be had
    (too few pairs, or one sample each), and equal the ratio for counts that never vary.
    """

    verdict: Verdict
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    words: str


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give the quantile of sorted values, with linear interpolation between the two that are next.

    It is definition 7 of Hyndman and Fan, "Sample Quantiles in Statistical Packages" (1996), which
    numpy and spreadsheets use. There must be at least one value.
    """
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median(values: Sequence[float]) -> float:
    """Give the median of values in any order. There must be at least one."""
    return _middle(sorted(values))


def spread(values: Sequence[float]) -> Spread | None:
    """Say how values spread; None where there are none."""
    if not values:
        return None
    ordered = sorted(values)
    rank = _interval_rank(len(ordered))
    return Spread(
        n=len(ordered),
        p50=quantile(ordered, 0.5),
        p90=quantile(ordered, 0.9),
        p99=quantile(ordered, 0.99),
        mean=fmean(ordered),
        deviation=stdev(ordered) if len(ordered) > 1 else 0.0,
        low=ordered[0],
        high=ordered[-1],
        interval=(ordered[rank - 1], ordered[-rank]) if rank else None,
    )


@lru_cache(maxsize=256)
def _interval_rank(n: int) -> int:
    """Give how far from either end the median's interval begins; 0 where even the ends are near.

    Whatever the distribution, each value is below the median with one half (the sign test turned
    round), so that binomial odds say how likely the k-th value is above it.
    """
    odds, rank = 0, 0
    allowed = (1 - CONFIDENCE) / 2 * 2**n if n < 1000 else 0
    if not allowed:  # floats end at 2**1024; the normal distribution is as good long before
        return max(0, math.floor(n / 2 - _normal(CONFIDENCE) * math.sqrt(n) / 2))
    while odds + math.comb(n, rank) <= allowed:
        odds += math.comb(n, rank)
        rank += 1
    return rank


def rate(count: int, n: int) -> Rate:
    """Give a share with Wilson's score interval, which holds up at 0, at 1 and for few runs.

    After Wilson (1927), as Brown, Cai and DasGupta (2001) recommend it for small samples.
    """
    if not n:
        return Rate(count=0, n=0, share=0.0, low=0.0, high=1.0)
    share, square = count / n, _normal(CONFIDENCE) ** 2
    centre = (share + square / (2 * n)) / (1 + square / n)
    reach = math.sqrt(square * (share * (1 - share) / n + square / (4 * n * n))) / (1 + square / n)
    return Rate(
        count=count,
        n=n,
        share=share,
        low=0.0 if count == 0 else max(0.0, centre - reach),
        high=1.0 if count == n else min(1.0, centre + reach),
    )


def rates_differ(one: Rate, other: Rate) -> bool:
    """Say whether two shares differ measurably: the interval of their difference leaves out 0.

    After Newcombe (1998), method 10, which joins two Wilson intervals.
    """
    if not one.n or not other.n:
        return False
    more, less = (one, other) if one.share >= other.share else (other, one)
    reach = math.hypot(more.share - more.low, less.high - less.share)
    return more.share - less.share > reach


def difference(
    pairs: Mapping[str, Sequence[Pair]],
    *,
    floor: float = 0.0,
    counts: bool = False,
    repeatable: bool = False,
    among: int = 1,
    seed: str = "",
) -> Difference:
    """Compare two figures that were taken side by side, in pairs, by case.

    It is the ratio of the medians. With several cases, each is first divided by its own median,
    so that a slow case weighs no more than a quick one. The interval comes from resampling pairs
    (the percentile bootstrap, Efron and Tibshirani 1993), since what slows a machine for a while
    slows both of a pair. Where `among` comparisons of the kind are made at once, each is held to
    a stricter level (Bonferroni), so that all of them are right together with 95 %.

    A difference of less than `floor`, in the figure's own unit, is never called one. `counts` says
    that the figure repeats exactly unless something is left to chance, and `repeatable` that
    nothing is: then one pair is enough where all agree, and two otherwise.
    """
    plain = [pair for case in pairs.values() for pair in case]
    if not plain:
        return Difference(verdict="unknown", words="not known")
    mine, other = (median(side) for side in zip(*plain, strict=True))
    if all(x == y for x, y in plain) and counts:
        return Difference(
            verdict="none", ratio=1.0, low=1.0, high=1.0, pairs=len(plain), words="the same"
        )
    if counts and (not mine or not other):
        return _from_nothing(mine, other, len(plain))
    scaled = [pair for case in pairs.values() for pair in _scaled(case)]
    ratio = _ratio(scaled)
    constant = counts and len({x / y if y else None for x, y in plain}) == 1
    if constant and (repeatable or len(plain) > 1):
        return _told(ratio, ratio, ratio, len(plain), abs(mine - other) < floor)
    if len(plain) < FEWEST_PAIRS:
        words = f"too few repeats to tell ({len(plain)} of the {FEWEST_PAIRS} pairs it takes)"
        return Difference(verdict="too_few", ratio=ratio, pairs=len(plain), words=words)
    low, high = _bootstrap(scaled, (1 - CONFIDENCE) / max(1, among), Random(seed))
    return _told(ratio, low, high, len(plain), abs(mine - other) < floor)


def _from_nothing(mine: float, other: float, pairs: int) -> Difference:
    """Compare with nothing, where there is no ratio."""
    if mine == other:
        return Difference(verdict="none", ratio=1.0, pairs=pairs, words="no measurable difference")
    words = f"{mine:g} against {other:g}"
    return Difference(verdict="more" if mine > other else "less", pairs=pairs, words=words)


def _told(ratio: float, low: float, high: float, pairs: int, slight: bool) -> Difference:
    # The ratio itself decides how large it is, the interval whether it is one at all.
    slight = slight or max(ratio, 1 / ratio) < SMALLEST_RATIO
    verdict: Verdict = "none" if slight or low <= 1 <= high else "more" if ratio > 1 else "less"
    if verdict == "none":
        words = "no measurable difference"
    elif low == high:
        words = f"{figures(ratio)} ×"
    else:
        words = f"{figures(ratio)} × ({figures(low)} to {figures(high)})"
    return Difference(verdict=verdict, ratio=ratio, low=low, high=high, pairs=pairs, words=words)


def figures(value: float) -> str:
    """Give a number with about three figures."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _scaled(pairs: Sequence[Pair]) -> list[Pair]:
    """Divide a case's values by their joint median."""
    scale = median([value for pair in pairs for value in pair]) or 1.0
    return [(x / scale, y / scale) for x, y in pairs]


def _ratio(pairs: Sequence[Pair]) -> float:
    mine, other = zip(*pairs, strict=True)
    # A time of nothing is one that the clock did not see.
    return max(_middle(sorted(mine)), 1e-9) / max(_middle(sorted(other)), 1e-9)


def _bootstrap(pairs: Sequence[Pair], error: float, random: Random) -> Pair:
    if len(set(pairs)) == 1:
        ratio = _ratio(pairs)
        return ratio, ratio
    n = len(pairs)
    # Of logarithms, so that turning the ratio round turns the interval round.
    ratios = sorted(math.log(_ratio(random.choices(pairs, k=n))) for _ in range(RESAMPLES))
    return math.exp(quantile(ratios, error / 2)), math.exp(quantile(ratios, 1 - error / 2))


def _middle(ordered: Sequence[float]) -> float:
    half, odd = divmod(len(ordered), 2)
    return ordered[half] if odd else (ordered[half - 1] + ordered[half]) / 2


def _normal(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
