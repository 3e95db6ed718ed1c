"""What a comparison can be held to an earlier one by, and whether the two can be compared at all.

Times hang on what else the machine does. Of the same code, minutes apart, wall times were 0.6 to
2.4 times each other and CPU times 0.7 to 1.4 times, which no interval of one session knows of; the
peak of memory stayed within a hundredth. So times are held only where they are named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from talea.compare.estimates import FEWEST_PAIRS
from talea.compare.record import Case, Comparison, Machine, RunRecord
from talea.compare.scope import meant
from talea.errors import UsageError

Mode = Literal["offline", "replay", "live"]
Measured = Literal[
    "pass_rate",
    "model_calls",
    "prompt_characters",
    "tokens",
    "cost",
    "memory",
    "cpu",
    "duration",
    "framework",
    "overhead",
]
"""What a regression may be of."""
_USUAL: tuple[Measured, ...] = get_args(Measured)[:6]
_RECORDED: tuple[Measured, ...] = ("tokens", "cost")
"""What a replay gives as it was recorded, whatever is asked in it."""


@dataclass(slots=True, frozen=True)
class Measure:
    """How a figure is read from a run, and whether it is a time."""

    read: Callable[[RunRecord], float | None]
    timed: bool = False


MEASURES: dict[Measured, Measure] = {
    "model_calls": Measure(lambda run: run.used.model_calls),
    "prompt_characters": Measure(lambda run: run.prompt_characters),
    "tokens": Measure(lambda run: run.used.input_tokens + run.used.output_tokens),
    "cost": Measure(lambda run: run.used.cost),
    "duration": Measure(lambda run: run.duration, timed=True),
    "framework": Measure(lambda run: run.split.framework, timed=True),
    "overhead": Measure(lambda run: None, timed=True),  # in no run, but in those made again
    "cpu": Measure(lambda run: run.cpu, timed=True),
}
"""The pass rate and memory are of many runs together."""


def usual_measures(mode: Mode) -> tuple[Measured, ...]:
    """Give what is held where nothing is named."""
    return tuple(one for one in _USUAL if mode != "replay" or one not in _RECORDED)


def read_measures(text: str) -> tuple[Measured, ...]:
    """Read names of what must not get worse, with commas between. Raises `UsageError`."""
    known = get_args(Measured)
    names = [name.strip().replace("-", "_") for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UsageError(f"{name!r} is not measured here", meant(name, known))
    if not names:
        raise UsageError("nothing is named that must not get worse", f"one of {', '.join(known)}")
    return cast("tuple[Measured, ...]", tuple(dict.fromkeys(names)))


@dataclass(slots=True, frozen=True)
class Terms:
    """How a comparison is made, as far as it is known before any run."""

    mode: Mode
    workflow: str
    machine: Machine
    cases: Sequence[Case]
    repeat: int
    faults: bool = False
    frameworks: Sequence[str] | None = None
    """Keys; None where environments decide on them."""

    @classmethod
    def of(cls, comparison: Comparison) -> Terms:
        """Give those of a comparison that has been made."""
        settings, contenders = comparison.settings, comparison.contenders
        return cls(
            mode=settings.mode,
            workflow=comparison.outline.name,
            machine=comparison.machine,
            cases=comparison.cases,
            repeat=settings.repeat,
            faults=settings.faults is not None,
            frameworks=None
            if any(one.isolated for one in contenders)
            else [one.key for one in contenders],
        )


def check_baseline(
    baseline: Comparison, terms: Terms, regress_on: Sequence[Measured] | None = None
) -> None:
    """Refuse an earlier comparison that one on these terms cannot be held to, and what is named
    and cannot be judged. Raises `UsageError`."""
    then = Terms.of(baseline)
    remedy = "make a baseline anew, by the same command with --out FILE.json"
    if terms.mode != then.mode:
        raise UsageError(
            f"the baseline was made {_MADE[then.mode]}, and this is {_MADE[terms.mode]}:"
            " the two cannot be compared",
            remedy,
        )
    if terms.workflow != then.workflow:
        raise UsageError(
            f"the baseline is of the workflow {then.workflow!r}, and this is {terms.workflow!r}",
            remedy,
        )
    cases = common_cases(terms.cases, baseline.cases)
    if not cases:
        raise UsageError("the baseline has no case with the same id, inputs and answers", remedy)
    earlier = [one.key for one in baseline.taking_part]
    both = earlier if terms.frameworks is None else [k for k in terms.frameworks if k in earlier]
    if not both:
        raise UsageError(
            "no framework takes part that took part in the baseline",
            f"add -f {earlier[0]}" if earlier else remedy,
        )
    for measured in regress_on or ():
        why = _unfit(measured, baseline, terms)
        if why is None and measured in MEASURES and MEASURES[measured].timed:
            pairs = len(cases) * min(terms.repeat, then.repeat)
            why = _untimed(pairs, len(both), differing(terms.machine, then.machine))
        if why is not None:
            raise UsageError(f"{measured} cannot be judged: {why[0]}", why[1])


_MADE: dict[Mode, str] = {
    "offline": "offline",
    "replay": "from a cassette",
    "live": "with real models",
}


def _unfit(measured: Measured, baseline: Comparison, terms: Terms) -> tuple[str, str] | None:
    """Say why a figure is not to be had on these terms, and what is."""
    if measured in _RECORDED and terms.mode == "replay":
        return (
            "in a replay it is as it was recorded, whatever is sent",
            "prompt_characters tells how much is sent",
        )
    if measured == "overhead" and terms.mode != "live":
        return (
            "it is measured beside real models",
            "where nobody waits for a model, framework says as much",
        )
    if measured == "overhead" and terms.faults:
        return "it is not measured where --faults disturb runs", "leave out --faults"
    if measured == "overhead" and not baseline.overhead:
        return "the baseline does not know it", "make a baseline anew"
    if measured == "cost" and all(run.used.cost is None for run in baseline.runs):
        return "the baseline knows no cost", "tokens are counted without prices, too"
    if measured == "memory" and not same_system(terms.machine, baseline.machine):
        return (
            "the baseline was made on another operating system",
            "make a baseline on this machine",
        )
    return None


def _untimed(pairs: int, both: int, elsewhere: object) -> tuple[str, str] | None:
    """Say why no time can be judged, and what helps."""
    if pairs < FEWEST_PAIRS:
        return f"it takes {FEWEST_PAIRS} runs of a framework in both, and there are {pairs}", (
            f"--repeat {FEWEST_PAIRS}, for the baseline as well"
        )
    if elsewhere and both < 2:
        return "the baseline was made on another machine", (
            "make a baseline on this one; with two frameworks in both, their ratios are compared"
        )
    return None


def common_cases(ours: Sequence[Case], theirs: Sequence[Case]) -> list[str]:
    """Name the cases that two comparisons both have, with the same inputs and answers."""
    known = {case.id: (case.inputs, case.answers) for case in theirs}
    return [case.id for case in ours if known.get(case.id) == (case.inputs, case.answers)]


def differing(ours: Machine, theirs: Machine) -> dict[str, tuple[object, object]]:
    """Give what tells two machines apart."""
    pairs = {
        name: (getattr(ours, name), getattr(theirs, name))
        for name in ("system", "processor", "cores")
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def same_system(ours: Machine, theirs: Machine) -> bool:
    """Say whether two machines have one operating system, whatever its version: memory is counted
    alike on them."""
    one, other = (re.split(r"[\s-]", machine.system)[0] for machine in (ours, theirs))
    return one == other
