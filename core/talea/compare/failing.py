"""What went wrong, where and why: runs and checks that failed, and faults put in on purpose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from talea.compare.estimates import rates_differ
from talea.compare.record import Comparison, RunRecord
from talea.compare.statistics import Figures
from talea.compare.wording import count, names, one_line, some

_CAUSES = 2
"""So many are told; a report lists them all."""
_REASON = 120
"""Of a text that says why, in characters."""
_STALE = "replay_exhausted"
_STAND_IN = "offline: a stand-in"


@dataclass(slots=True, frozen=True)
class Cause:
    """What runs failed of, and where; `why` is what the first of them says."""

    type: str
    address: str | None
    why: str
    runs: tuple[RunRecord, ...]

    @property
    def who(self) -> tuple[str, ...]:
        """The frameworks on which it happened."""
        return tuple(dict.fromkeys(run.framework for run in self.runs))


def causes(runs: Iterable[RunRecord]) -> list[Cause]:
    """Give what runs failed of that should not, the most frequent first."""
    found: dict[tuple[str, str | None], list[RunRecord]] = {}
    for run in runs:
        if not run.succeeded and not run.passed:
            problem = run.error
            key = (problem.type, problem.address) if problem else (run.status, None)
            found.setdefault(key, []).append(run)
    ranked = sorted(found.items(), key=lambda item: -len(item[1]))
    return [
        Cause(type_, address, same[0].error.message if same[0].error else "", tuple(same))
        for (type_, address), same in ranked
    ]


def success(comparison: Comparison, ran: Sequence[Figures]) -> str:
    """Say how many runs came to their end, and what kept the others from it."""
    runs = sum(one.runs for one in ran)
    good = sum(one.succeeded for one in ran)
    who = names(one.key for one in ran)
    if good == runs:
        every = "The only run succeeded" if runs == 1 else f"All {runs} runs succeeded"
        return f"{every} on {who}."
    why, hint = _why(causes(comparison.runs))
    if not good:
        every = "The only run failed" if runs == 1 else f"All {runs} runs failed"
        return f"{every} on {who}{f': {why}' if why else ''}.{hint}"
    parts = [f"{one.key} {one.succeeded} of {one.runs}" for one in ran]
    best = max(ran, key=lambda one: one.success.share)
    worst = min(ran, key=lambda one: one.success.share)
    pairings = math.comb(len(ran), 2)
    few = (
        ""
        if len(ran) == 1 or rates_differ(best.success, worst.success, pairings)
        else "; these rates cannot be told apart"
    )
    told = f"Runs that succeeded: {', '.join(parts)}{few}."
    return f"{told} What failed: {why}.{hint}" if why else told


def _why(found: Sequence[Cause]) -> tuple[str, str]:
    """Tell the most frequent causes, and what can be done about them."""
    failing = {key for cause in found for key in cause.who}
    told: list[str] = []
    for cause in found[:_CAUSES]:
        words = one_line(cause.type, 40)
        if cause.address:
            words += f" at {one_line(cause.address, 60)}"
        if set(cause.who) != failing:
            words += f" on {names(cause.who)}"
        if len(found) > 1:
            words += f" in {count(len(cause.runs), 'run')}"
        why = one_line(cause.why, _REASON).rstrip(".")
        told.append(f"{words} ({why})" if why else words)
    if len(found) > _CAUSES:
        told.append(count(len(found) - _CAUSES, "more cause"))
    stale = any(cause.type == _STALE for cause in found)
    hint = " Where the workflow has changed since it was recorded, record again (--record)."
    return "; ".join(told), hint if stale else ""


def checks(comparison: Comparison, good: Sequence[Figures]) -> str:
    """Say how often the runs that succeeded passed their checks, and why one failed most."""
    judged = [one for one in good if one.checks]
    if not judged:
        return ""
    if all(run.passed for run in comparison.runs if run.succeeded):
        return "Every run that succeeded passed its checks."
    parts = [f"{one.key} {one.passed} of {one.runs}" for one in judged]
    worst: dict[str, list[str]] = {}
    several = False
    for one in judged:
        failed = [name for name, rate in one.checks.items() if rate.count < rate.n]
        several |= len(failed) > 1
        if failed:
            most = min(failed, key=lambda name: one.checks[name].share)
            worst.setdefault(most, []).append(one.key)
    failing = sum(map(len, worst.values()))
    what: list[str] = []
    for name, keys in list(worst.items())[:_CAUSES]:
        on = f" on {names(keys)}" if len(keys) < failing else ""
        why = one_line(_reason(comparison, name), _REASON).rstrip(".")
        what.append(f"{one_line(name, 60)}{on}{f' ({why})' if why else ''}")
    told = f"Runs that passed every check: {', '.join(parts)}."
    return f"{told} What failed{' most' if several else ''}: {'; '.join(what)}." if what else told


def _reason(comparison: Comparison, check: str) -> str:
    """Give the first reason for which a check failed in a run that succeeded."""
    return next(
        (
            verdict.why
            for run in comparison.runs
            if run.succeeded
            for verdict in run.verdicts
            if verdict.check == check and not verdict.passed and verdict.why
        ),
        "",
    )


def stand_in(comparison: Comparison) -> str:
    """Say that nobody judged, where nobody did."""
    judged = any(
        (verdict.why or "").startswith(_STAND_IN)
        for run in comparison.runs
        for verdict in run.verdicts
    )
    told = "Checks that ask a judge say nothing here: offline a stand-in judges, and always agrees."
    return told if judged else ""


def faults(comparison: Comparison, ran: Sequence[Figures]) -> str:
    """Say what went wrong on purpose, and which tasks ended by their fallback for any reason."""
    wrong = {
        one.key: sum(call.fault is not None for run in comparison.of(one.key) for call in run.calls)
        for one in ran
    }
    told: list[str] = []
    if any(wrong.values()):
        calls, every = sum(wrong.values()), sum(len(run.calls) for run in comparison.runs)
        of = f"{calls:,} of {count(every, 'model call')}" if calls < every else "Every model call"
        told.append(f"{of} went wrong on purpose{_each(wrong, ran)}")
        retries = {one.key: one.retries for one in ran}
        told.append(
            f"tasks were retried {count(sum(retries.values()), 'time')}{_each(retries, ran)}"
        )
    elif comparison.settings.faults:
        told.append("No model call went wrong on purpose: no rule for faults met one")
    told += _recovered(ran)
    return f"{'; '.join(told)}." if told else ""


def _recovered(ran: Sequence[Figures]) -> list[str]:
    """Say which tasks ended by their fallback, and how often."""
    tasks = dict.fromkeys(address for one in ran for address in one.tasks)
    every: list[str] = []
    others: list[str] = []
    for address in tasks:
        by = {one.key: one.tasks[address].recovered if address in one.tasks else 0 for one in ran}
        if not (times := sum(by.values())):
            continue
        if all(by[one.key] >= one.runs for one in ran):
            every.append(one_line(address, 60))
        else:
            runs = sum(one.runs for one in ran)
            others.append(
                f"{one_line(address, 60)} ended by its fallback in {times} of {runs} runs"
                f"{_each(by, ran)}"
            )
    if every:
        its = "its fallback" if len(every) == 1 else "their fallbacks"
        others.insert(0, f"{some(every, 'task')} ended by {its} in every run")
    more = len(others) - _CAUSES
    return [*others[:_CAUSES], *([f"so did {count(more, 'more task')}"] if more > 0 else [])]


def _each(numbers: dict[str, int], ran: Sequence[Figures]) -> str:
    """Give what each has, where they differ for the same number of runs."""
    if len({numbers[one.key] / one.runs for one in ran}) == 1:
        return ""
    return f" ({', '.join(f'{key} {number:,}' for key, number in numbers.items())})"
