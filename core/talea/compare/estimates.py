"""What can be said from a few repeats: quantiles, intervals, and whether two things differ at all.

Pure Python, and without chance: the same runs give the same words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist, fmean, stdev
from typing import Literal

from talea.compare.record import Frozen

CONFIDENCE = 0.95
FEWEST_PAIRS = 5
"""From less nothing is told: one odd run among three or four would decide."""
SMALLEST_RATIO = 1.02
"""Smaller ratios are never called a difference. Two equal programs on one machine stay that far
apart for good, by where the linker and the allocator have put things (Mytkowicz and others,
"Producing wrong data without doing anything obviously wrong", 2009, shows more than that)."""
ALIKE = 1.25
"""Where the interval lies within this, either way, figures are alike; where it holds 1 and is
wider, nothing is known. It is the limit by which medicines are called equivalent (0.80 to 1.25)."""
_MOST = 100.0
"""Logarithms that are greater are as good as endless."""
_WIDEST = 100
"""An interval whose ends are further apart is not written: it says no more than its name."""

_CLOCK = 1e-9
"""What a time of nothing counts as: one that the clock did not see."""
_ROUNDING = 1e-9
"""Sums of floats that are nearer than this to each other are the same count, or cost."""
_PRECISION = 1e-12
"""Of the logarithm of a ratio."""
_EXACT_UP_TO = 50
"""Pairs up to which signed ranks are counted; the normal distribution is as good from there."""

Pair = tuple[float, float]
Verdict = Literal["less", "more", "none", "noisy", "too_few", "unknown"]


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
    """How a figure compares with another's: `ratio` times it, which is the typical ratio within
    pairs and need not be that of the two medians.

    `none` says that there is no difference that matters: the interval is narrow, and about 1.
    `noisy` says that there may be one, either way: it is wide, and holds 1.

    `low` and `high` are the interval of the ratio. They are None where there is none to be had
    (too few pairs, or one sample each), and equal the ratio for counts that never vary. There is no
    ratio to nothing: `words` then give both figures.
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


def rate(count: int, n: int, confidence: float = CONFIDENCE) -> Rate:
    """Give a share with Wilson's score interval, which holds up at 0, at 1 and for few runs.

    After Wilson (1927), as Brown, Cai and DasGupta (2001) recommend it for small samples.
    """
    if not n:
        return Rate(count=0, n=0, share=0.0, low=0.0, high=1.0)
    share, square = count / n, _normal(confidence) ** 2
    centre = (share + square / (2 * n)) / (1 + square / n)
    reach = math.sqrt(square * (share * (1 - share) / n + square / (4 * n * n))) / (1 + square / n)
    return Rate(
        count=count,
        n=n,
        share=share,
        low=0.0 if count == 0 else max(0.0, centre - reach),
        high=1.0 if count == n else min(1.0, centre + reach),
    )


def rates_differ(one: Rate, other: Rate, among: int = 1) -> bool:
    """Say whether two shares differ measurably: the interval of their difference leaves out 0.

    After Newcombe (1998), method 10, which joins two Wilson intervals. `among` as for `difference`.
    """
    if not one.n or not other.n:
        return False
    confidence = 1 - (1 - CONFIDENCE) / max(1, among)
    more, less = (
        rate(r.count, r.n, confidence)
        for r in sorted((one, other), key=lambda r: r.share, reverse=True)
    )
    reach = math.hypot(more.share - more.low, less.high - less.share)
    return more.share - less.share > reach


def difference(
    pairs: Sequence[Pair],
    *,
    floor: float = 0.0,
    counts: bool = False,
    repeatable: bool = False,
    among: int = 1,
) -> Difference:
    """Compare two figures that were taken side by side, in pairs.

    Each pair gives a ratio of its own, so that what slows a machine for a while, which slows both
    of a pair, falls out, and a slow case weighs no more than a quick one. Where `among` comparisons
    of the kind are made at once, each is held to a stricter level (Bonferroni), so that all of them
    are right together with 95 %.

    A difference of less than `floor`, in the figure's own unit, is never called one. `counts` says
    that the figure repeats exactly unless something is left to chance, and `repeatable` that
    nothing is: then one pair is enough where all agree, and two otherwise.
    """
    pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
    n = len(pairs)
    if not n:
        return Difference(verdict="unknown", words="not known")
    if counts and all(math.isclose(x, y, rel_tol=_ROUNDING) for x, y in pairs):
        return Difference(verdict="none", ratio=1.0, low=1.0, high=1.0, pairs=n, words="the same")
    logs = sorted(math.log(max(x, _CLOCK)) - math.log(max(y, _CLOCK)) for x, y in pairs)
    ratios = [_times(x, y) for x, y in pairs]
    constant = counts and math.isclose(min(ratios), max(ratios), rel_tol=_ROUNDING)
    if constant and (repeatable or n > 1):
        low = middle = high = logs[0]
    elif n < FEWEST_PAIRS:
        words = f"too few repeats to tell ({n} of the {FEWEST_PAIRS} pairs it takes)"
        ratio = math.exp(_typical(logs))
        return Difference(verdict="too_few", ratio=ratio, pairs=n, words=words)
    else:
        low, middle, high = _interval(logs, (1 - CONFIDENCE) / max(1, among))
    mine, other = (median(side) for side in zip(*pairs, strict=True))
    holds = low <= 2 * _PRECISION and high >= -2 * _PRECISION
    slight = abs(mine - other) < floor or abs(middle) < math.log(SMALLEST_RATIO)
    verdict: Verdict
    if slight or holds:
        reach = math.expm1(min(max(high, -low), _MOST)) * max(mine, other)
        alike = max(high, -low) <= math.log(ALIKE) or reach < floor or not holds
        verdict = "none" if alike else "noisy"
    else:
        verdict = "more" if middle > 0 else "less"
    if verdict in ("less", "more") and not (mine and other):
        return Difference(verdict=verdict, pairs=n, words=f"{mine:,g} against {other:,g}")
    ratio, low, high = map(math.exp, (middle, low, high))
    ends = between(low, high)
    match verdict:
        case "none":
            words = "no measurable difference"
        case "noisy":
            words = "too noisy to tell" + (f" ({ends} ×)" if high < low * _WIDEST else "")
        case _:
            told = figures(ratio)
            words = f"{told} ×" if ends == told else f"{told} × ({ends})"
    return Difference(verdict=verdict, ratio=ratio, low=low, high=high, pairs=n, words=words)


def between(low: float, high: float) -> str:
    """Give an interval, `1.47 to 2.41`; two ends that are written alike are one."""
    ends = dict.fromkeys((figures(low), figures(high)))
    return " to ".join(ends)


def figures(value: float) -> str:
    """Give a number with about three figures."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _times(x: float, y: float) -> float:
    return x / y if y else math.inf if x else 1.0


def _interval(logs: Sequence[float], error: float) -> tuple[float, float, float]:
    """Give the typical value of sorted logarithms of ratios, between the ends of its interval.

    Between equals the two of a pair could as well be exchanged, so that the logarithm is symmetric
    about 0, however skewed times are. Then Wilcoxon's signed ranks, turned round, give an interval
    that holds whatever the distribution (Tukey 1949; Hollander and Wolfe, "Nonparametric
    Statistical Methods"). From few pairs there is none that is strict enough; there it is Student's
    t (1908), which for symmetric values errs to the safe side (Efron, "Student's t-test under
    symmetry conditions", 1969). Resampling errs to the other side there: with five pairs and three
    frameworks, the percentile bootstrap shows a false difference in one comparison of seven.
    """
    typical, n = _typical(logs), len(logs)
    if logs[0] == logs[-1]:
        return logs[0], logs[0], logs[0]
    rank = signed_rank(n, error)
    if rank:
        whole = n * (n + 1) // 2
        return walsh(logs, rank), typical, walsh(logs, whole + 1 - rank)
    reach = student(n - 1, error) * stdev(logs) / math.sqrt(n)
    return typical - reach, typical, typical + reach


def _typical(logs: Sequence[float]) -> float:
    """Give the pseudomedian of sorted values, the median of the means of any two: it is hardly
    less exact than the mean, and one odd run does not move it (Hodges and Lehmann 1963)."""
    if logs[0] == logs[-1]:
        return logs[0]
    whole = len(logs) * (len(logs) + 1) // 2
    below, above = walsh(logs, (whole + 1) // 2), walsh(logs, whole // 2 + 1)
    return (below + above) / 2


def walsh(logs: Sequence[float], rank: int) -> float:
    """Find the mean of two of the sorted values, or of one with itself, that is at `rank`, from 1.

    There are too many to sort them all for a thousand pairs, but not to count those below a guess.
    """
    low, high = logs[0], logs[-1]
    while high - low > _PRECISION:
        guess = (low + high) / 2
        below, other = 0, len(logs) - 1
        for at, value in enumerate(logs):
            while other >= at and value + logs[other] > 2 * guess:
                other -= 1
            if other < at:
                break
            below += other - at + 1
        low, high = (low, guess) if below >= rank else (guess, high)
    return high


@lru_cache(maxsize=256)
def signed_rank(n: int, error: float) -> int:
    """Give at which mean of two, from either end, the interval begins; 0 where there is none."""
    if n > _EXACT_UP_TO:
        spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return max(0, math.floor(n * (n + 1) / 4 - _normal(1 - error) * spread))
    sums = [1]  # in how many ways signs make each sum of positive ranks
    for rank in range(1, n + 1):
        sums = [
            (sums[at] if at < len(sums) else 0) + (sums[at - rank] if at >= rank else 0)
            for at in range(len(sums) + rank)
        ]
    ways, rank = 0, 0
    while 2 * (ways + sums[rank]) <= error * 2**n:
        ways += sums[rank]
        rank += 1
    return rank


@lru_cache(maxsize=256)
def student(freedom: int, error: float) -> float:
    """Give what Student's t exceeds, on either side together, with a chance of `error`."""
    low, high = 0.0, math.pi / 2
    while high - low > _PRECISION:
        angle = (low + high) / 2
        low, high = (angle, high) if 1 - _within(angle, freedom) > error else (low, angle)
    return math.sqrt(freedom) * math.tan(low)


def _within(angle: float, freedom: int) -> float:
    """Give the chance of a t within ± √freedom · tan(angle): Abramowitz and Stegun, 26.7.3, 4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    return (angle + sine * total) * 2 / math.pi if odd else sine * total


def _middle(ordered: Sequence[float]) -> float:
    half, odd = divmod(len(ordered), 2)
    return ordered[half] if odd else (ordered[half - 1] + ordered[half]) / 2


def _normal(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
