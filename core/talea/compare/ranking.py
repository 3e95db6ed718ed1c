"""Who is ahead in time, by how much, and what can be said against it: the answer's centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from talea.compare.estimates import Difference, Spread, between, figures
from talea.compare.record import Comparison
from talea.compare.statistics import Figures, against, against_by_case
from talea.compare.wording import names, one_line, seconds, some

Timed = Literal["duration", "framework", "overhead", "cpu"]


_NOISY = "too noisy to tell"
_OF_A_RUN = " of a run's time"
_LATE = 0.1
"""Of a run's time: what tasks wait more on one framework than on another is told from here."""
_NEIGHBOURS = range(3, 5)
"""Among so many, each is compared with the next faster one as well."""


@dataclass(slots=True, frozen=True)
class _Ranking:
    """How a time is told: after which opening, of one that is ahead and of several."""

    metric: Timed
    opening: str
    one: str
    several: str
    what: str


_OWN = ("takes least time of its own", "take least time of their own", "frameworks' own time")
_FASTEST = _Ranking("duration", "", "is fastest", "are fastest", "the time of a run")
_OVERHEAD = _Ranking("overhead", "With models and tools that take no time, ", *_OWN)
_PROCESSOR = _Ranking("cpu", "", "takes least CPU time", "take least CPU time", "CPU time")
_WHOLE = _Ranking(
    "duration", "", "has the shortest whole run", "have the shortest whole runs", "the whole run"
)


def times(comparison: Comparison, good: Sequence[Figures]) -> list[str]:
    """Say who is ahead in time, and where tasks wait for no reason of their own."""
    if not good:
        return []
    if len(good) == 1:
        return [_alone(good[0])]
    told = _rankings(comparison, good)
    for at, sentence in enumerate(told):
        if _NOISY in sentence:
            told[at] = f"{sentence} More repeats (--repeat) tell more."
            break
    return [*told, *_waits(good)]


def _rankings(comparison: Comparison, good: Sequence[Figures]) -> list[str]:
    """Rank by time. Without a real model only what a framework costs by itself means anything, and
    how well it lets tasks run side by side where models and tools take time."""
    if comparison.settings.mode == "live":
        return [
            *_ranked(comparison, good, _FASTEST),
            *_ranked(comparison, good, _OVERHEAD, share=True),
            *_processor(comparison, good, "overhead"),
        ]
    answers = {"offline": "simulated models", "replay": "replayed answers"}
    opening = f"With {answers[comparison.settings.mode]}, "
    told = _ranked(comparison, good, _Ranking("framework", opening, *_OWN))
    told += _processor(comparison, good, "framework")
    if _wait_elsewhere(good):
        whole = _ranked(comparison, good, _WHOLE)
        told += whole if _WHOLE.what not in whole[0].lower() else whole[1:]
    return told


def _wait_elsewhere(good: Sequence[Figures]) -> bool:
    """Say whether runs mostly wait for models, tools and the like, on every framework."""
    return all(one.split and one.split.framework < one.split.whole / 2 for one in good)


def _waits(good: Sequence[Figures]) -> list[str]:
    """Say where tasks begin late, though what they depend on has ended, and elsewhere they do not.

    They wait for tasks beside them, be it that a framework runs tasks in waves or for a place.
    """
    waited = {
        one.key: sum(task.waited or 0 for address, task in one.tasks.items() if "/" not in address)
        for one in good
    }
    longest = max(good, key=lambda one: waited[one.key])
    least = min(waited.values())
    whole = _typical(longest, "duration")
    if not _wait_elsewhere(good) or waited[longest.key] - least < _LATE * whole:
        return []
    told = names(f"{seconds(time)} on {key}" for key, time in waited.items())
    return [f"Tasks wait for others that they do not depend on, all together: {told} a run."]


def _processor(comparison: Comparison, good: Sequence[Figures], own: Timed) -> list[str]:
    """Rank by CPU time where that tells more apart: what else a machine does disturbs it less."""
    ranks = {metric: _apart(comparison, good, metric) for metric in (own, _PROCESSOR.metric)}
    return _ranked(comparison, good, _PROCESSOR) if ranks["cpu"] > ranks[own] else []


def _apart(comparison: Comparison, good: Sequence[Figures], metric: Timed) -> int:
    """Count the pairs that a figure tells apart."""
    pairs = combinations([one.key for one in good], 2)
    return sum(
        against(comparison, *pair, [metric])[metric].verdict in ("less", "more") for pair in pairs
    )


def _alone(one: Figures) -> str:
    own = one.overhead or one.framework_seconds
    part = f", {seconds(own.p50)} of it in the framework itself" if own else ""
    return f"A run takes {seconds(_typical(one, 'duration'))}{part} (medians)."


def _ranked(
    comparison: Comparison, good: Sequence[Figures], ranking: _Ranking, *, share: bool = False
) -> list[str]:
    """Say who is ahead in a time and by how much, and whether that depends on the case."""
    metric = ranking.metric
    took = {one.key: _typical(one, metric) for one in good if _spread(one, metric)}
    if len(took) < 2:
        return []
    compared = {
        pair: against(comparison, *pair, [metric])[metric] for pair in combinations(took, 2)
    }
    behind = dict.fromkeys(took, 0)
    for (one, other), found in compared.items():
        behind[one] += found.verdict == "more"
        behind[other] += found.verdict == "less"
    first, *others = sorted(took, key=lambda key: (behind[key], took[key]))
    ahead = [first, *(key for key in others if not behind[key])]
    to_first = {key: against(comparison, key, first, [metric])[metric] for key in others}
    unknown = [key for key in others if to_first[key].verdict in ("too_few", "unknown")]
    times = {key: seconds(took[key]) for key in (first, *others)}
    if not any(behind.values()):
        few = len(unknown) == len(others)
        if few:
            how = f"there are too few repeats to tell {ranking.what} apart"
        elif any(found.verdict == "noisy" for found in compared.values()):
            how = f"{ranking.what} is {_NOISY} apart"
        else:
            how = f"there is no measurable difference in {ranking.what}"
        everyone = ", ".join(f"{key} {time}" for key, time in times.items())
        rest = f"; too few repeats of {names(unknown)} to tell" if unknown and not few else ""
        told = f"{ranking.opening}{how}: {everyone}{rest}"
        told = f"{told[0].upper()}{told[1:]}"
    else:
        # One that nothing tells apart for its noise does not lead those that are told apart.
        least = min(took[key] for key in took if behind[key])
        ahead = [key for key in ahead if key not in unknown and (key == first or took[key] < least)]
        lead = f"{first} {ranking.one}: {times[first]} a run"
        if len(ahead) > 1:
            among = [found for pair, found in compared.items() if {*pair} <= {*ahead}]
            both = names(times[key] for key in ahead)
            lead = f"{names(ahead)} {ranking.several} ({both} a run, {_together(among)})"
        ordered = sorted(took, key=lambda key: took[key])
        parts = [
            f"{times[key]} on {key} ({_behind(comparison, metric, key, ahead, ordered)})"
            for key in ordered
            if key not in ahead
        ]
        told = f"{ranking.opening}{lead}, against {names(parts)}"
        told = f"{told[0].upper()}{told[1:]}" if ranking.opening else told
    shares = _share(good) if share else ""
    return [f"{told}.{shares}", *_by_case(comparison, list(compared), ranking)]


def _together(found: Sequence[Difference]) -> str:
    """Say how those compare that are ahead together."""
    noisy = any(one.verdict == "noisy" for one in found)
    return f"{_NOISY} apart" if noisy else "no measurable difference"


def _behind(
    comparison: Comparison, metric: Timed, key: str, ahead: Sequence[str], ordered: Sequence[str]
) -> str:
    """Say by how much one is behind the first of those ahead, else the next that it is behind; and
    how it compares with the one just before it."""
    found = {
        other: against(comparison, key, other, [metric])[metric]
        for other in (*ahead, *ordered)
        if other != key
    }
    first = ahead[0]
    other = next((one for one, how in found.items() if how.verdict == "more"), first)
    told = _multiple(found[other]) + (f" {other}'s" if other != first else "")
    before = ordered[ordered.index(key) - 1] if ordered.index(key) else None
    if len(ordered) not in _NEIGHBOURS or before is None or before in (first, other):
        return told
    match found[before].verdict:
        case "more":
            return f"{told}; {_multiple(found[before])} {before}'s"
        case "none":
            return f"{told}; no measurable difference from {before}"
        case _:
            return told if _NOISY in told else f"{told}; {_NOISY} from {before}"


def _multiple(found: Difference) -> str:
    match found.verdict:
        case "none":
            return "no measurable difference"
        case "noisy":
            return _NOISY
        case "too_few" | "unknown":
            return "too few repeats to tell"
        case _:
            return multiple(found)


def multiple(found: Difference) -> str:
    """Give how many times one that differs is the other. Where that is near to nothing, how near is
    what matters."""
    if found.ratio is None or found.low is None or found.high is None:
        return found.words
    return f"{between(found.low, found.high) if found.ratio < 2 else figures(found.ratio)} ×"


def _share(good: Sequence[Figures]) -> str:
    """Say how much of a run's time is the framework's own."""
    shares = {
        one.key: 100 * _typical(one, "overhead") / one.duration.p50
        for one in good
        if one.overhead and one.duration and one.duration.p50
    }
    if not shares:
        return ""
    if len(shares) > max(_NEIGHBOURS):
        ends = dict.fromkeys(pick(shares, key=lambda key: shares[key]) for pick in (min, max))
        shares = {key: shares[key] for key in ends}
    told = [
        f"{share:.2g} %{'' if at else _OF_A_RUN} on {key}"
        for at, (key, share) in enumerate(shares.items())
    ]
    return f" That is {names(told)}."


def _by_case(
    comparison: Comparison, pairs: Sequence[tuple[str, str]], ranking: _Ranking
) -> list[str]:
    """Say which are the faster ones in some cases, and the slower ones in others."""
    if len(comparison.cases) < 2:
        return []
    told: list[str] = []
    for one, other in pairs:
        found = against_by_case(comparison, one, other, ranking.metric)
        less, more = (
            [one_line(case, 40) for case, how in found.items() if how.verdict == verdict]
            for verdict in ("less", "more")
        )
        if less and more:
            where = f"in {some(less, 'case')}, and more in {some(more, 'case')}"
            told.append(f"{one} takes less than {other} {where}")
    if not told:
        return []
    rest = f"; the same goes for {len(told) - 2} more pairs" if len(told) > 2 else ""
    what = ranking.what[0].upper() + ranking.what[1:]
    return [f"{what} depends on the case: {'; '.join(told[:2])}{rest}."]


def _spread(one: Figures, metric: Timed) -> Spread | None:
    return one.framework_seconds if metric == "framework" else getattr(one, metric)


def _typical(one: Figures, metric: Timed) -> float:
    found = _spread(one, metric)
    return found.p50 if found else 0.0
