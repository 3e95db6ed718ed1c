"""What follows from a comparison's runs, in figures: per framework, per task, and side by side.

Only runs that succeeded count for times, memory and tokens; failed ones are counted.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from talea.compare.agreement import Agreement, Forms, agree, join
from talea.compare.estimates import (
    CONFIDENCE,
    Difference,
    Pair,
    Rate,
    Spread,
    difference,
    figures,
    median,
    rate,
    spread,
)
from talea.compare.record import Case, Comparison, Contender, Frozen, RunRecord, Split, Task

OUTPUTS = "outputs"
"""The key of the workflow's own outputs among the agreements of its tasks."""
MEMORY_JITTER = 1.05
"""Peaks of memory that are nearer than this are not called a difference: arenas are taken from the
system in steps, and there is but one process for each framework to judge by."""

Metric = Literal[
    "duration",
    "framework",
    "overhead",
    "cpu",
    "peak_memory",
    "prompt_characters",
    "prompt_characters_per_call",
    "input_tokens",
    "output_tokens",
    "model_calls",
    "cost",
]


CASE_METRICS: tuple[Metric, ...] = ("duration", "framework", "overhead")
"""What is compared in each case by itself."""


@dataclass(slots=True, frozen=True)
class _Measure:
    """How a metric is read from a run, and from what on two of it may be told apart."""

    read: Callable[[RunRecord], float | None]
    floor: float = 0.0
    counts: bool = False


def _prompt_per_call(run: RunRecord) -> float | None:
    return run.prompt_characters / len(run.calls) if run.calls else None


SCHEDULING = 0.001
"""Seconds. An operating system wakes a process late by up to about this much, in either."""

_MEASURES: dict[Metric, _Measure] = {
    "duration": _Measure(lambda run: run.duration, SCHEDULING),
    "framework": _Measure(lambda run: run.split.framework, SCHEDULING),
    "cpu": _Measure(lambda run: run.cpu, SCHEDULING),
    "prompt_characters": _Measure(lambda run: run.prompt_characters, counts=True),
    "prompt_characters_per_call": _Measure(_prompt_per_call, counts=True),
    "input_tokens": _Measure(lambda run: run.used.input_tokens, counts=True),
    "output_tokens": _Measure(lambda run: run.used.output_tokens, counts=True),
    "model_calls": _Measure(lambda run: run.used.model_calls, counts=True),
    "cost": _Measure(lambda run: run.used.cost, counts=True),
}
_OVERHEAD = _Measure(lambda run: None, SCHEDULING)
"""It is read from no run, but from those that were made again without a model."""
METRICS: tuple[Metric, ...] = get_args(Metric)


class TaskFigures(Frozen):
    """One task on one framework, over all runs of all cases. Times are medians in seconds."""

    runs: int
    """Runs in which it came up at all."""
    succeeded: int
    statuses: dict[str, int]
    errors: dict[str, int]
    """How often it failed, by the error's type."""
    recovered: int
    attempts: int
    """In all runs together."""
    duration: Spread | None
    """From its start to its end, where it succeeded."""
    waited: float | None
    """From when it could have begun until it did."""
    split: Split | None


class Figures(Frozen):
    """One framework. Medians are over its successful runs of all cases; None without any."""

    key: str
    runs: int
    succeeded: int
    passed: int
    """Runs that succeeded and passed all their checks."""
    success: Rate
    checks: dict[str, Rate]
    """How often each check passed, of the runs in which it was made."""
    errors: dict[str, int]
    """How many runs failed, by the error's type."""
    duration: Spread | None
    cpu: Spread | None
    framework_seconds: Spread | None
    overhead: Spread | None
    """Seconds in the framework where its runs were made again with models and tools that take no
    time; None where none was."""
    overhead_cpu: Spread | None
    split: Split | None
    """The median of each part; they need not add up to the median duration."""
    model_calls: float | None
    input_tokens: float | None
    output_tokens: float | None
    prompt_characters: float | None
    prompt_characters_per_call: float | None
    prompt_growth: float | None
    """The prompt characters of a call as a multiple of those of the framework that sends fewest:
    what the framework added. 1 is that framework itself."""
    cost: float | None
    """US dollars; None where it is unknown for any run."""
    retries: int
    """In all runs together, failed ones too."""
    peak_memory: int | None
    """Bytes: the most its process held in any run."""
    import_seconds: float | None
    import_memory: int | None
    compile_seconds: float | None
    first_run: float | None
    against: dict[str, Difference]
    """Each metric of `METRICS`, as a multiple of the reference's. Empty for the reference."""
    tasks: dict[str, TaskFigures]
    """By address, in the order in which they first came up."""


class CaseFigures(Frozen):
    """One framework in one case. Times are those of its successful runs, in seconds."""

    runs: int
    succeeded: int
    passed: int
    duration: Spread | None
    framework_seconds: Spread | None
    against: dict[str, Difference]
    """`duration`, `framework` and `overhead`, as a multiple of the reference's; empty for the
    reference. Each is held to the stricter level that so many comparisons at once ask for."""


class Summary(Frozen):
    """All figures of a comparison."""

    reference: str | None
    """The contender that `against` speaks of: the first that has successful runs, if any has, else
    the first that takes part."""
    confidence: float = CONFIDENCE
    expected_runs: int
    """How many a comparison that was not cut short would have had; one that was turned out counts
    with those it made."""
    figures: tuple[Figures, ...]
    """Of the contenders that take part, in their order."""
    agreement: dict[str, Agreement]
    """By a task's address, joined over cases; `outputs` is the workflow's own. A task of that very
    name stands under `tasks.outputs`."""
    by_case: dict[str, dict[str, Agreement]]
    """The same for each case by itself, by its id."""
    cases: dict[str, dict[str, CaseFigures]]
    """Each case by itself, by its id and the contender's key."""

    def of(self, key: str) -> Figures:
        """Give a contender's figures. Raises `KeyError` for one that did not take part."""
        for one in self.figures:
            if one.key == key:
                return one
        raise KeyError(key)


def summarise(comparison: Comparison) -> Summary:
    """Give the figures of a comparison; the same comparison gives the same."""
    part = measured(comparison)
    good = {run.framework for run in comparison.runs if run.succeeded}
    keys = [one.key for one in part]
    reference = next((key for key in keys if key in good), keys[0] if keys else None)
    shortest = _shortest_prompts(comparison)
    runs = _runs(comparison)
    agreement, by_case = _agreements(comparison, runs)
    return Summary(
        reference=reference,
        expected_runs=sum(_expected_runs(comparison, one) for one in part),
        figures=tuple(_figures(comparison, one, reference, shortest) for one in part),
        agreement=agreement,
        by_case=by_case,
        cases=_cases(comparison, runs, keys, reference),
    )


def _expected_runs(comparison: Comparison, contender: Contender) -> int:
    if contender.refused is not None:
        return len(comparison.of(contender.key))
    return len(comparison.cases) * comparison.settings.repeat


def measured(comparison: Comparison) -> tuple[Contender, ...]:
    """Give the contenders that take part, and those that did until they were turned out."""
    ran = {run.framework for run in comparison.runs}
    return tuple(one for one in comparison.contenders if one.refused is None or one.key in ran)


def against(
    comparison: Comparison, key: str, reference: str, metrics: Iterable[Metric] = METRICS
) -> dict[str, Difference]:
    """Compare any two contenders: each metric of `key` as a multiple of that of `reference`."""
    return {metric: _difference(comparison, metric, key, reference) for metric in metrics}


def _difference(comparison: Comparison, metric: Metric, key: str, reference: str) -> Difference:
    if metric == "peak_memory":
        return _memory(comparison, key, reference)
    pairs = _pairs(comparison, metric, key, reference)
    every = [pair for case in pairs.values() for pair in case]
    return _judged(comparison, metric, every, _pairings(comparison))


def against_by_case(
    comparison: Comparison, key: str, reference: str, metric: Metric
) -> dict[str, Difference]:
    """Compare any two contenders in each case by itself, by its id; memory has no cases.

    So many comparisons at once are each held to a stricter level.
    """
    pairs = _pairs(comparison, metric, key, reference)
    among = _pairings(comparison) * len(comparison.cases)
    return {
        case.id: _judged(comparison, metric, pairs.get(case.id, []), among)
        for case in comparison.cases
    }


def _judged(
    comparison: Comparison, metric: Metric, pairs: Sequence[Pair], among: int
) -> Difference:
    measure = _MEASURES.get(metric, _OVERHEAD)
    repeatable = comparison.settings.mode != "live"
    return difference(
        pairs, floor=measure.floor, counts=measure.counts, repeatable=repeatable, among=among
    )


def _pairings(comparison: Comparison) -> int:
    return math.comb(len(measured(comparison)), 2)


def _pairs(
    comparison: Comparison, metric: Metric, key: str, reference: str
) -> dict[str, list[Pair]]:
    """Put together what two contenders took in the same repeat of a case, by case."""
    mine, its = (_values(comparison, metric, one) for one in (key, reference))
    pairs: defaultdict[str, list[Pair]] = defaultdict(list)
    for place in mine.keys() & its.keys():
        pairs[place[0]].append((mine[place], its[place]))
    return pairs


def _values(comparison: Comparison, metric: Metric, key: str) -> dict[tuple[str, int], float]:
    """Give a metric of each successful run in which it is known, by case and repeat."""
    if metric == "overhead":
        again = (one for one in comparison.overhead if one.framework == key)
        return {(one.case, one.repeat): one.split.framework for one in again}
    measure = _MEASURES[metric]
    return {
        (run.case, run.repeat): value
        for run in comparison.of(key)
        if run.succeeded and (value := measure.read(run)) is not None
    }


Runs = Mapping[tuple[str, str], Sequence[RunRecord]]
"""By case and contender."""


def _runs(comparison: Comparison) -> Runs:
    runs: defaultdict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for run in comparison.runs:
        runs[run.case, run.framework].append(run)
    return runs


def _cases(
    comparison: Comparison, runs: Runs, keys: Sequence[str], reference: str | None
) -> dict[str, dict[str, CaseFigures]]:
    compared = {
        key: {
            metric: against_by_case(comparison, key, reference, metric) for metric in CASE_METRICS
        }
        for key in keys
        if reference is not None and key != reference
    }
    return {
        case.id: {
            key: _case(
                runs.get((case.id, key), ()),
                {metric: found[case.id] for metric, found in compared.get(key, {}).items()},
            )
            for key in keys
        }
        for case in comparison.cases
    }


def _case(runs: Sequence[RunRecord], compared: dict[str, Difference]) -> CaseFigures:
    good = [run for run in runs if run.succeeded]
    return CaseFigures(
        runs=len(runs),
        succeeded=len(good),
        passed=sum(run.passed for run in runs),
        duration=spread([run.duration for run in good]),
        framework_seconds=spread([run.split.framework for run in good]),
        against=compared,
    )


def _memory(comparison: Comparison, key: str, reference: str) -> Difference:
    """Compare peaks of memory. A process has one, so that there is no interval."""
    mine, other = (_peak(comparison.of(one)) for one in (key, reference))
    if not mine or not other:
        return Difference(verdict="unknown", words="not known")
    ratio = mine / other
    if max(ratio, 1 / ratio) < MEMORY_JITTER:
        return Difference(verdict="none", ratio=ratio, pairs=1, words="no measurable difference")
    words = f"{figures(ratio)} × (one process each)"
    return Difference(verdict="more" if ratio > 1 else "less", ratio=ratio, pairs=1, words=words)


def _peak(runs: Sequence[RunRecord]) -> int | None:
    return max((run.peak_memory for run in runs if run.succeeded), default=0) or None


def _shortest_prompts(comparison: Comparison) -> str | None:
    """Find the contender with the fewest prompt characters a call in the cases that all share.

    A case that only some came through with would compare its prompts with those of others.
    """
    sizes = {
        one.key: {run.case: size for run in good if (size := _prompt_per_call(run)) is not None}
        for one in measured(comparison)
        if (good := [run for run in comparison.of(one.key) if run.succeeded])
    }
    sizes = {key: size for key, size in sizes.items() if size}
    if not sizes:
        return None
    shared = set[str].intersection(*(set(size) for size in sizes.values()))
    return min(sizes, key=lambda key: sum(sizes[key][case] for case in shared))


def _figures(
    comparison: Comparison,
    contender: Contender,
    reference: str | None,
    shortest: str | None,
) -> Figures:
    key = contender.key
    runs = comparison.of(key)
    good = [run for run in runs if run.succeeded]
    typical = partial(_median, good)
    startup = contender.startup
    again = [one for one in comparison.overhead if one.framework == key]
    compared = {} if reference is None or key == reference else against(comparison, key, reference)
    return Figures(
        key=key,
        runs=len(runs),
        succeeded=len(good),
        passed=sum(run.passed for run in runs),
        success=rate(len(good), len(runs)),
        checks=_checks(runs),
        errors=_errors(
            run.error.type if run.error else run.status for run in runs if not run.succeeded
        ),
        duration=spread([run.duration for run in good]),
        cpu=spread([run.cpu for run in good]),
        framework_seconds=spread([run.split.framework for run in good]),
        overhead=spread([one.split.framework for one in again]),
        overhead_cpu=spread([one.cpu for one in again]),
        split=_split([run.split for run in good]),
        model_calls=typical("model_calls"),
        input_tokens=typical("input_tokens"),
        output_tokens=typical("output_tokens"),
        prompt_characters=typical("prompt_characters"),
        prompt_characters_per_call=typical("prompt_characters_per_call"),
        prompt_growth=_growth(comparison, key, shortest),
        cost=typical("cost"),
        retries=sum(run.retries for run in runs),
        peak_memory=_peak(runs),
        import_seconds=startup.import_seconds if startup else None,
        import_memory=startup.import_memory if startup else None,
        compile_seconds=startup.compile_seconds if startup else None,
        first_run=startup.first_run if startup else None,
        against=compared,
        tasks=_tasks(runs),
    )


def _median(runs: Sequence[RunRecord], metric: Metric) -> float | None:
    """Give a metric's median over runs; None if it is unknown for any."""
    values = [_MEASURES[metric].read(run) for run in runs]
    known = [value for value in values if value is not None]
    return median(known) if known and len(known) == len(values) else None


def _growth(comparison: Comparison, key: str, shortest: str | None) -> float | None:
    if shortest is None or key == shortest:
        return 1.0 if key == shortest else None
    return _difference(comparison, "prompt_characters_per_call", key, shortest).ratio


def _checks(runs: Sequence[RunRecord]) -> dict[str, Rate]:
    made: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for run in runs:
        for verdict in run.verdicts:
            made[verdict.check] += 1
            passed[verdict.check] += verdict.passed
    return {check: rate(passed[check], n) for check, n in made.items()}


def _errors(types: Iterable[str]) -> dict[str, int]:
    """Count types of errors, the most frequent first."""
    return dict(Counter(types).most_common())


def _split(splits: Sequence[Split]) -> Split | None:
    if not splits:
        return None
    return Split(
        **{part: median([getattr(one, part) for one in splits]) for part in Split.model_fields}
    )


def _tasks(runs: Sequence[RunRecord]) -> dict[str, TaskFigures]:
    tasks: defaultdict[str, list[Task]] = defaultdict(list)
    for run in runs:
        for address, task in run.tasks.items():
            tasks[address].append(task)
    return {address: _task(records) for address, records in tasks.items()}


def _task(records: Sequence[Task]) -> TaskFigures:
    good = [task for task in records if task.status == "succeeded"]
    durations = [
        task.ended - task.started
        for task in good
        if task.started is not None and task.ended is not None
    ]
    waited = [
        max(0.0, task.started - task.ready)
        for task in good
        if task.started is not None and task.ready is not None
    ]
    return TaskFigures(
        runs=len(records),
        succeeded=len(good),
        statuses=dict(Counter(task.status for task in records)),
        errors=_errors(task.error.type for task in records if task.error and task not in good),
        recovered=sum(task.recovered for task in records),
        attempts=sum(task.attempts for task in records),
        duration=spread(durations),
        waited=median(waited) if waited else None,
        split=_split([task.split for task in good if task.split]),
    )


def _agreements(
    comparison: Comparison, runs: Runs
) -> tuple[dict[str, Agreement], dict[str, dict[str, Agreement]]]:
    by_case = {case.id: _in_case(comparison, case, runs) for case in comparison.cases}
    keys = [one.key for one in measured(comparison)]
    addresses = dict.fromkeys(
        [OUTPUTS, *(address for case in by_case.values() for address in case)]
    )
    joined = {
        address: join([case[address] for case in by_case.values() if address in case], keys)
        for address in addresses
    }
    return joined, by_case


def _in_case(comparison: Comparison, case: Case, every: Runs) -> dict[str, Agreement]:
    """Compare outputs in one case: of the workflow first, then of each task."""
    runs = {one.key: every.get((case.id, one.key), ()) for one in measured(comparison)}
    counts = {key: len(own) for key, own in runs.items()}
    repeatable = comparison.settings.mode != "live"
    outputs = {
        key: {run.repeat: run.outputs for run in own if run.succeeded and run.outputs is not None}
        for key, own in runs.items()
    }
    addresses = dict.fromkeys(
        address for own in runs.values() for run in own for address in run.tasks
    )
    compared = partial(agree, runs=counts, forms=Forms(), repeatable=repeatable)
    return {OUTPUTS: agree(outputs, counts, Forms(), named=True, repeatable=repeatable)} | {
        f"tasks.{address}" if address == OUTPUTS else address: compared(
            {
                key: {
                    run.repeat: run.tasks[address].output
                    for run in own
                    if address in run.tasks and run.tasks[address].status == "succeeded"
                }
                for key, own in runs.items()
            },
            named=False,
        )
        for address in addresses
    }
