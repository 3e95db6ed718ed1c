"""The answer in words: which framework, for this workflow?

Every sentence says what the figures say, and no more: what cannot be told apart is not ranked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from talea.compare.agreement import Agreement
from talea.compare.estimates import Difference, Spread, figures, rates_differ
from talea.compare.record import Comparison, Contender
from talea.compare.statistics import (
    OUTPUTS,
    Figures,
    Metric,
    Summary,
    against,
    against_by_case,
    measured,
)

WORTH_TELLING = 1.05
"""Tokens and cost that are nearer than this to each other are not worth a sentence."""
_LENGTH = 160
"""Of a text that others wrote, in characters."""
_HELD = re.compile(r"(\S+) [^:]*: (\S+) wants .*")
Timed = Literal["duration", "framework", "overhead", "cpu"]


def answer(comparison: Comparison, summary: Summary) -> list[str]:
    """Give the answer: a few sentences, each of which can stand alone, as plain text.

    What decides comes first: who fails, where somebody does, and else who takes least.
    Texts that others wrote (errors, reasons) are cut and stand on one line; they are not escaped.
    """
    told = [_interrupted(comparison, summary)]
    ran = [one for one in summary.figures if one.runs]
    if ran:
        good = [one for one in ran if one.succeeded]
        decision = [*_times(comparison, good), _use(comparison, good)]
        if all(one.passed == one.runs for one in ran):
            outcome = _flawless(ran, summary.agreement)
            # With nobody to compare with, there is nothing to decide.
            told += [*decision, outcome] if len(ran) > 1 else [outcome, *decision]
        else:
            success, checks = _success(ran), _checks(comparison, good)
            ended_well = all(one.succeeded == one.runs for one in ran)
            first, later = ([checks], [success]) if ended_well else ([success, checks], [])
            told += [*first, *decision, *later, _outputs(summary.agreement, good)]
    elif not summary.figures:
        told.append("Nothing was compared: no framework could take part.")
    else:
        told.append("Nothing was measured: no run was made.")
    told += [_beside(comparison, summary), terms(comparison)]
    return [sentence for sentence in told if sentence]


def _is_whole(comparison: Comparison, summary: Summary) -> bool:
    return not comparison.interrupted and len(comparison.runs) >= summary.expected_runs


def _interrupted(comparison: Comparison, summary: Summary) -> str:
    if _is_whole(comparison, summary):
        return ""
    why = _notes(comparison)
    made = f"{len(comparison.runs)} of {summary.expected_runs} runs were made"
    return f"This is not complete: {made}{f' ({why})' if why else ''}."


def _beside(comparison: Comparison, summary: Summary) -> str:
    """Give the notes that are not told as an interrupt's."""
    why = _notes(comparison) if _is_whole(comparison, summary) else ""
    return f"Beside the runs: {why}." if why else ""


def _notes(comparison: Comparison) -> str:
    return one_line("; ".join(comparison.notes)).rstrip(".")


def _flawless(ran: Sequence[Figures], agreement: Mapping[str, Agreement]) -> str:
    """Say that all went as it should, and what came out."""
    runs = sum(one.runs for one in ran)
    failed = runs - sum(one.succeeded for one in ran)
    if not failed:
        told = "The only run succeeded" if runs == 1 else f"All {runs} runs succeeded"
        if len(ran) == 1:
            told += f" on {ran[0].key}"
        if any(one.checks for one in ran):
            told += " and passed every check"
    elif failed == runs:
        told = "Every run failed, as it should"
    else:
        told = f"All {runs} runs ended as they should ({failed} were to fail)"
    good = [one for one in ran if one.succeeded]
    return f"{told}. {_outputs(agreement, good)}".rstrip()


def _success(ran: Sequence[Figures]) -> str:
    runs = sum(one.runs for one in ran)
    good = sum(one.succeeded for one in ran)
    who = names(one.key for one in ran)
    if not good:
        errors = _merged(one.errors for one in ran)
        every = "The only run failed" if runs == 1 else f"All {runs} runs failed"
        return f"{every} on {who}: {_counted(errors)}."
    if good == runs:
        every = "The only run succeeded" if runs == 1 else f"All {runs} runs succeeded"
        return f"{every} on {who}."
    parts = [
        f"{one.key} {one.succeeded} of {one.runs}"
        + (f" ({_counted(one.errors)})" if one.errors else "")
        for one in ran
    ]
    best = max(ran, key=lambda one: one.success.share)
    worst = min(ran, key=lambda one: one.success.share)
    pairings = math.comb(len(ran), 2)
    few = (
        ""
        if len(ran) == 1 or rates_differ(best.success, worst.success, pairings)
        else "; these rates cannot be told apart"
    )
    return f"Runs that succeeded: {', '.join(parts)}{few}."


def _checks(comparison: Comparison, good: Sequence[Figures]) -> str:
    """Say how often the runs that succeeded passed their checks."""
    judged = [one for one in good if one.checks]
    if not judged:
        return ""
    if all(run.passed for run in comparison.runs if run.succeeded):
        return "Every run that succeeded passed its checks."
    parts: list[str] = []
    for one in judged:
        failed = [name for name, rate in one.checks.items() if rate.count < rate.n]
        worst = min(failed, key=lambda name: one.checks[name].share, default=None)
        parts.append(
            f"{one.key} {one.passed} of {one.runs}"
            + (f" (mostly failed: {one_line(worst, 60)})" if worst and len(failed) > 1 else "")
            + (f" (failed: {one_line(worst, 60)})" if worst and len(failed) == 1 else "")
        )
    return f"Runs that passed every check: {', '.join(parts)}."


def _outputs(agreement: Mapping[str, Agreement], good: Sequence[Figures]) -> str:
    outputs = agreement[OUTPUTS]
    tasks = {name: one for name, one in agreement.items() if name != OUTPUTS}
    if len(good) < 2:
        return _own_outputs(outputs, good)
    who = "Both" if len(good) == 2 else f"All {len(good)}"
    match outputs.level:
        case "none":
            return "No two gave outputs that could be compared."
        case "exact":
            return f"{who} gave exactly the same outputs{_on_the_way(tasks)}."
        case "normalised":
            return (
                f"{who} gave the same outputs, but for white space, case or the way numbers are"
                f" written{_on_the_way(tasks)}."
            )
        case level:
            how = (
                "Outputs have the same structure with different values"
                if level == "structural"
                else "Outputs differ"
            )
    alike = [names(group) for group in outputs.groups.values() if len(group) > 1]
    same = f" ({'; '.join(alike)} agree)" if alike else ""
    if outputs.blames:
        return f"{how} between frameworks{same}, though each gives the same every time."
    if outputs.unsteady:
        verb = "differs" if len(outputs.unsteady) == 1 else "differ"
        return (
            f"{how}{same}, but {names(outputs.unsteady)} {verb} as much from run to run: that"
            " cannot be put down to the frameworks."
        )
    return f"{how}{same}; without repeats that cannot be put down to the frameworks."


def _on_the_way(tasks: Mapping[str, Agreement]) -> str:
    differ = [name for name, one in tasks.items() if one.level in ("structural", "different")]
    if not differ:
        return ""
    listed = names(differ) if len(differ) <= 3 else f"{len(differ)} tasks"
    return f", though those of {listed} differ on the way"


def _own_outputs(outputs: Agreement, good: Sequence[Figures]) -> str:
    level = outputs.within.get(good[0].key, "none") if good else "none"
    if level == "none":
        return ""
    same = "the same outputs in every repeat" if level == "exact" else "outputs that vary by repeat"
    return f"{good[0].key} gave {same}."


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


def _times(comparison: Comparison, good: Sequence[Figures]) -> list[str]:
    """Rank by time. Without a real model only what a framework costs by itself means anything, and
    how well it lets tasks run side by side where models and tools take time."""
    if not good:
        return []
    if len(good) == 1:
        return [_alone(good[0])]
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
    if all(one.split and one.split.framework < one.split.whole / 2 for one in good):
        whole = _ranked(comparison, good, _WHOLE)
        told += whole if _WHOLE.what not in whole[0] else whole[1:]
    return told


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
        how = (
            f"there are too few repeats to tell {ranking.what} apart"
            if few
            else f"there is no measurable difference in {ranking.what}"
        )
        everyone = ", ".join(f"{key} {time}" for key, time in times.items())
        rest = f"; too few repeats of {names(unknown)} to tell" if unknown and not few else ""
        told = f"{ranking.opening}{how}: {everyone}{rest}"
    else:
        # One that nothing tells apart for its noise does not lead those that are told apart.
        least = min(took[key] for key in took if behind[key])
        ahead = [key for key in ahead if key not in unknown and (key == first or took[key] < least)]
        lead = (
            f"{first} {ranking.one}: {times[first]} a run"
            if len(ahead) == 1
            else f"{names(ahead)} {ranking.several} ({names(times[key] for key in ahead)} a run, no"
            " measurable difference)"
        )
        parts = [
            f"{times[key]} on {key} ({_behind(comparison, metric, key, [*ahead, *took])})"
            for key in sorted(others, key=lambda key: took[key])
            if key not in ahead
        ]
        told = f"{ranking.opening}{lead}, against {names(parts)}"
    told = f"{told[0].upper()}{told[1:]}." if ranking.opening or told[:5] == "there" else f"{told}."
    if share:
        told += _share(good)
    return [told, *_by_case(comparison, list(compared), ranking)]


def _behind(comparison: Comparison, metric: Timed, key: str, others: Sequence[str]) -> str:
    """Say by how much one is behind the first of the others, else the next that it is behind."""
    found = {
        other: against(comparison, key, other, [metric])[metric] for other in others if other != key
    }
    first = others[0]
    other = next((one for one, how in found.items() if how.verdict == "more"), first)
    return _multiple(found[other]) + (f" {other}'s" if other != first else "")


def _multiple(found: Difference) -> str:
    match found.verdict:
        case "none":
            return "no measurable difference"
        case "too_few" | "unknown":
            return "too few repeats to tell"
        case _:
            if found.ratio is None or found.low is None or found.high is None:
                return found.words
            # Where it is near to nothing, how near is what matters.
            near = found.ratio < 2 and found.low != found.high
            ends = f"{figures(found.low)} to {figures(found.high)}" if near else ""
            return f"{ends or figures(found.ratio)} ×"


def _share(good: Sequence[Figures]) -> str:
    """Say how much of a run's time is the framework's own."""
    shares = [
        100 * _typical(one, "overhead") / one.duration.p50
        for one in good
        if one.overhead and one.duration and one.duration.p50
    ]
    if not shares:
        return ""
    least, most = (f"{share(shares):.2g}" for share in (min, max))
    return (
        f" That is {least} % of a run's time."
        if least == most
        else (f" That is {least} to {most} % of a run's time.")
    )


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
            told.append(
                f"{one} takes less than {other} in {_some(less)}, and more in {_some(more)}"
            )
    if not told:
        return []
    rest = f"; the same goes for {len(told) - 2} more pairs" if len(told) > 2 else ""
    what = ranking.what[0].upper() + ranking.what[1:]
    return [f"{what} depends on the case: {'; '.join(told[:2])}{rest}."]


def _some(cases: Sequence[str]) -> str:
    return names(cases) if len(cases) <= 3 else f"{len(cases)} cases"


def _use(comparison: Comparison, good: Sequence[Figures]) -> str:
    """Say who sends more to models, and what it costs."""
    if len(good) < 2:
        return ""
    parts = [
        *_more(comparison, good, "cost", "costs most", dollars),
        *_more(comparison, good, "input_tokens", "needs most input tokens", _count),
        *_more(comparison, good, "model_calls", "makes most model calls", _count),
    ]
    growth = {one.key: one.prompt_growth for one in good if one.prompt_growth}
    most = max(growth, key=lambda key: growth[key] or 0, default=None)
    if most and not parts and (grown := growth[most] or 0) >= WORTH_TELLING:
        parts.append(f"{most}'s prompts are {grown:.1f} times the shortest")
    return f"{'; '.join(parts)}." if parts else ""


def _more(
    comparison: Comparison,
    good: Sequence[Figures],
    metric: Metric,
    verb: str,
    told: Callable[[float], str],
) -> list[str]:
    used: dict[str, float] = {one.key: getattr(one, metric) for one in good if getattr(one, metric)}
    if len(used) < 2:
        return []
    least, most = (pick(used, key=lambda key: used[key]) for pick in (min, max))
    found = against(comparison, most, least, [metric])[metric]
    if found.verdict != "more" or (found.ratio or 0) < WORTH_TELLING:
        return []
    figure = f"{told(used[most])} a run, against {told(used[least])} on {least}"
    return [f"{most} {verb}: {figure} ({_multiple(found)})"]


def terms(comparison: Comparison) -> str:
    """Say on what terms they took part: refused, turned out, emulating, held back."""
    ran = {one.key for one in measured(comparison)}
    parts = [
        f"{one.key} "
        + ("was turned out" if one.key in ran else "did not take part")
        + f" ({one_line(one.refused, 300)})"
        for one in comparison.contenders
        if one.refused is not None
    ]
    part = [one for one in comparison.contenders if one.key in ran]
    emulating = _grouped((names(one.emulated), one.key) for one in part if one.emulated)
    parts += [
        f"{names(keys)} {'emulates' if len(keys) == 1 else 'emulate'} {one_line(what, 100)}"
        for what, keys in emulating.items()
    ]
    parts += _held_back(part)
    return f"{'; '.join(parts)}." if parts else ""


def _held_back(contenders: Sequence[Contender]) -> list[str]:
    """Say once who holds back which packages; texts of another form as they stand."""
    found = [(text, one.key, _HELD.fullmatch(text)) for one in contenders for text in one.held_back]
    other = _grouped((one_line(text, 100), key) for text, key, match in found if not match)
    told = [
        f"{names(keys)} {'was' if len(keys) == 1 else 'were'} held back ({why})"
        for why, keys in other.items()
    ]
    known = [match for _, _, match in found if match]
    if known:
        packages, holding = (dict.fromkeys(match[group] for match in known) for group in (1, 2))
        verb = "holds" if len(holding) == 1 else "hold"
        told.append(
            f"{one_line(names(holding), 60)} {verb} back {one_line(names(packages), 60)} in the"
            " environment they share (not with --isolate)"
        )
    return told


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Put together the keys of which the same is to be said."""
    groups: dict[str, list[str]] = {}
    for what, key in pairs:
        groups.setdefault(what, []).append(key)
    return groups


def _spread(one: Figures, metric: Timed) -> Spread | None:
    return one.framework_seconds if metric == "framework" else getattr(one, metric)


def _typical(one: Figures, metric: Timed) -> float:
    found = _spread(one, metric)
    return found.p50 if found else 0.0


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _merged(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    merged: dict[str, int] = {}
    for one in counts:
        for name, n in one.items():
            merged[name] = merged.get(name, 0) + n
    return merged


def _counted(errors: Mapping[str, int]) -> str:
    ranked = sorted(errors.items(), key=lambda item: -item[1])
    return ", ".join(f"{one_line(name, 40)} {n}" for name, n in ranked)


def names(keys: Iterable[str]) -> str:
    """Give `a, b and c`."""
    *most, last = keys
    return f"{', '.join(most)} and {last}" if most else last


def seconds(value: float) -> str:
    """Give a time with three figures: `412 µs`, `38.1 ms`, `2.31 s`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{figures(value / size)} {unit}"
    return f"{value * 1e6:.0f} µs"


def dollars(value: float | None) -> str:
    """Give a cost in US dollars, with as many places as it takes; `?` if it is unknown."""
    if value is None:
        return "?"
    places = 2 if value >= 1 or value <= 0 else 1 - math.floor(math.log10(value))
    return f"${value:.{max(2, places)}f}"


def one_line(text: str, limit: int = _LENGTH) -> str:
    """Give a text of others on one line: no control characters, and no longer than `limit`."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"
