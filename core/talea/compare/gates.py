"""Gates for continuous integration: what a comparison must reach, and what must not get worse.

Against a baseline only those frameworks and cases count that both comparisons have. A time fails a
gate when the lower end of its ratio's interval is beyond what is allowed, so that noise does not;
what repeats exactly (tokens of a replay) is compared exactly. Times from different machines say
nothing about each other: there, each framework is compared by its ratio to one and the same other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Literal, cast, get_args

from talea.compare.estimates import FEWEST_PAIRS, Difference, difference, rate, rates_differ
from talea.compare.record import Case, Comparison, Contender, Frozen, Machine, RunRecord
from talea.compare.scope import meant
from talea.compare.statistics import SCHEDULING
from talea.errors import UsageError

Measured = Literal[
    "duration",
    "tokens",
    "model_calls",
    "prompt_characters",
    "cost",
    "pass_rate",
    "framework",
    "overhead",
    "cpu",
]
"""What a regression may be of. `framework`, `overhead` and `cpu` are looked at where they are asked
for: they are so short that they move with the machine's mood."""
USUAL: tuple[Measured, ...] = get_args(Measured)[:6]
REGRESSION = 0.1
"""What is allowed where nothing is said."""

_SHARE = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(%?)\s*")
_LISTED = 6


class Gate(Frozen):
    """One thing that had to hold, and whether it did. `words` say what was found."""

    name: str
    passed: bool
    words: str
    framework: str | None = None


@dataclass(slots=True, frozen=True)
class _Measure:
    """How a figure is read from a run."""

    read: Callable[[RunRecord], float | None]
    timed: bool = False


_MEASURES: dict[Measured, _Measure] = {
    "duration": _Measure(lambda run: run.duration, timed=True),
    "tokens": _Measure(lambda run: run.used.input_tokens + run.used.output_tokens),
    "model_calls": _Measure(lambda run: run.used.model_calls),
    "prompt_characters": _Measure(lambda run: run.prompt_characters),
    "cost": _Measure(lambda run: run.used.cost),
    "framework": _Measure(lambda run: run.split.framework, timed=True),
    "overhead": _Measure(lambda run: None, timed=True),  # in no run, but in those made again
    "cpu": _Measure(lambda run: run.cpu, timed=True),
}


def read_share(text: str, most: float = math.inf) -> float:
    """Read a share such as `0.9` or `90%`, up to `most`. Raises `UsageError`."""
    match = _SHARE.fullmatch(text)
    value = float(match[1]) if match else -1.0
    if match is None or (not match[2] and value > 1):
        hint = f"write {value:g}% for a percentage" if match else "such as 0.9 or 90%"
        raise UsageError(f"{text!r} is no share", hint)
    share = value / 100 if match[2] else value
    if share > most:
        raise UsageError(f"{text!r} is more than there can be", f"at most {most:.0%}")
    return share


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


def check_gates(
    comparison: Comparison,
    *,
    fail_under: float | None = None,
    baseline: Comparison | None = None,
    max_regression: float = REGRESSION,
    regress_on: Sequence[Measured] | None = None,
) -> list[Gate]:
    """Hold a comparison to a pass rate that each framework must reach, and to an earlier one.

    Shares are from 0 to 1; `max_regression` is how much worse a figure may be, as a share of the
    earlier one. Without `regress_on` it is all of `USUAL` that is known. Raises `UsageError` where
    a share is none, or a name of `regress_on` is not known.
    """
    if fail_under is not None and not 0 <= fail_under <= 1:
        raise UsageError(f"fail_under is {fail_under:g}", "a share from 0 to 1")
    if not 0 <= max_regression < math.inf:
        raise UsageError(f"max_regression is {max_regression:g}", "a share of 0 or more")
    if regress_on is not None:
        regress_on = read_measures(",".join(regress_on))
    gates: list[Gate] = []
    if comparison.interrupted and (fail_under is not None or baseline is not None):
        words = (
            f"interrupted after {_count(len(comparison.runs), 'run')}: what is missing is unknown"
        )
        gates.append(Gate(name="complete", passed=False, words=words))
    if fail_under is not None:
        gates += [_pass_rate(comparison, one, fail_under) for one in comparison.contenders]
    if baseline is not None:
        gates += _Against(comparison, baseline, max_regression, regress_on).gates()
    return gates


def _pass_rate(comparison: Comparison, contender: Contender, least: float) -> Gate:
    """Hold a framework to a pass rate; one that made no run has none to show."""
    runs = comparison.of(contender.key)
    passed = sum(run.passed for run in runs)
    tell = partial(Gate, name="pass rate", framework=contender.key)
    if contender.refused is not None:
        how = "was taken out" if runs else "took no part"
        return tell(passed=False, words=f"{contender.key} {how}: {contender.refused}")
    if not runs:
        return tell(passed=False, words=f"{contender.key} made no run")
    enough = passed >= least * len(runs) - 1e-9
    share = f"{passed} of {len(runs)} runs passed ({passed / len(runs):.0%})"
    wanted = f"at least {least:.4g} is asked for"
    return tell(passed=enough, words=f"{contender.key}: {share}; {wanted}")


class _Against:
    """A comparison beside an earlier one, as far as the two can be compared."""

    def __init__(
        self,
        now: Comparison,
        then: Comparison,
        allowed: float,
        measures: Sequence[Measured] | None,
    ) -> None:
        self.now, self.then, self.allowed = now, then, allowed
        self.measures = USUAL if measures is None else measures
        self.asked_for = measures is not None
        earlier = {one.key: one for one in then.taking_part}
        self.both = {
            one.key: (one, earlier[one.key]) for one in now.taking_part if one.key in earlier
        }
        known = {case.id: case for case in then.cases}
        self.cases = [case.id for case in now.cases if _same(case, known.get(case.id))]
        self.exact = now.settings.mode != "live"
        self.elsewhere = _differing(now.machine, then.machine)
        self.reference = next(iter(self.both), None)

    def gates(self) -> Iterator[Gate]:
        """Give a gate for what the two have in common, then one for each framework and figure."""
        tell = partial(Gate, name="baseline")
        ours, theirs = self.now.settings, self.then.settings
        if ours.mode != theirs.mode:
            modes = f"the baseline was made {_mode(theirs.mode)}, and this {_mode(ours.mode)}"
            yield tell(passed=False, words=f"{modes}: the two cannot be compared")
            return
        if not self.both or not self.cases:
            what = "framework" if not self.both else "case"
            yield tell(passed=False, words=f"no {what} is in both this and the baseline")
            return
        common = f"{_count(len(self.both), 'framework')} and {_count(len(self.cases), 'case')}"
        told = [f"compared with {self.then.began} by {common}", *self._remarks()]
        yield tell(passed=True, words="; ".join(told))
        for key in self.both:
            for measured in self.measures:
                gate = self._rate(key) if measured == "pass_rate" else self._figure(key, measured)
                if gate is not None:
                    yield gate

    def _remarks(self) -> Iterator[str]:
        """Say what else differs, which may be why figures do."""
        now, then = self.now, self.then
        if then.interrupted:
            yield f"the baseline was interrupted after {_count(len(then.runs), 'run')}"
        if now.outline.name != then.outline.name:
            yield f"the workflow is {now.outline.name!r}, and was {then.outline.name!r}"
        elif now.outline.source != then.outline.source:
            yield "the workflow has changed"
        for name in ("model", "faults", "cassette", "seed", "timeout"):
            ours, theirs = getattr(now.settings, name), getattr(then.settings, name)
            if ours != theirs:
                yield f"{name} is {_or_none(ours)}, and was {_or_none(theirs)}"
        for name, pair in self.elsewhere.items():
            yield f"another machine: {name} is {pair[0]}, and was {pair[1]}"
        if now.machine.talea != then.machine.talea:
            yield f"talea is {now.machine.talea}, and was {then.machine.talea}"
        for key, (ours, theirs) in self.both.items():
            yield from _versions(key, ours, theirs)
        yield from _left_out("frameworks", [c.key for c in now.taking_part], self.both, "new")
        yield from _left_out("frameworks", [c.key for c in then.taking_part], self.both, "gone")
        yield from _left_out("cases", [c.id for c in now.cases], self.cases, "new or changed")
        kept = {case.id for case in now.cases}
        yield from _left_out("cases", [c.id for c in then.cases], kept, "gone")

    def _rate(self, key: str) -> Gate | None:
        """Hold the share of runs that passed to what it was."""
        ours, theirs = (
            rate(sum(run.passed for run in runs), len(runs))
            for runs in (self._runs(self.now, key), self._runs(self.then, key))
        )
        if not theirs.count:
            return self._unknown(key, "pass_rate", "no run of the baseline passed")
        worse = ours.share < theirs.share * (1 - self.allowed) - 1e-9
        worse = worse and (self.exact or rates_differ(ours, theirs))
        words = f"{ours.count} of {ours.n} runs passed, and {theirs.count} of {theirs.n} then"
        return self._gate(key, "pass_rate", not worse, words)

    def _figure(self, key: str, measured: Measured) -> Gate | None:
        """Hold a figure of the runs that succeeded to what it was."""
        measure = _MEASURES[measured]
        ours = self._values(self.now, key, measured)
        theirs = self._values(self.then, key, measured)
        if measured == "overhead" and self.exact:
            why = "it is measured beside real models; without them `framework` says as much"
            return self._unknown(key, measured, why)
        if not theirs:
            return self._unknown(key, measured, "the baseline does not know it")
        if not ours:
            if measured == "overhead" or any(run.succeeded for run in self._runs(self.now, key)):
                return self._unknown(key, measured, "this comparison does not know it")
            return self._gate(key, measured, False, "no run succeeded, and some did then")
        cases = [case for case in ours if case in theirs]
        if not cases:
            return self._unknown(key, measured, "no case succeeded in both")
        if measure.timed and self.elsewhere:
            return self._relative(key, measured)
        if not measure.timed and self.exact:
            return self._exact(key, measured, *(_total(side, cases) for side in (ours, theirs)))
        pairs = [pair for case in cases for pair in zip(ours[case], theirs[case], strict=False)]
        return self._judged(key, measured, self._difference(measured, pairs))

    def _exact(self, key: str, measured: Measured, ours: float, theirs: float) -> Gate | None:
        """Compare what repeats exactly: the sum of the cases' medians."""
        if not ours and not theirs:
            return self._unknown(key, measured, "there is none in both")
        fits = ours <= theirs * (1 + self.allowed) + 1e-9
        ratio = f", {ours / theirs:.2f} ×" if theirs and ours != theirs else ""
        words = f"{ours:,.6g}, and {theirs:,.6g} then{ratio}"
        return self._gate(key, measured, fits, words)

    def _relative(self, key: str, measured: Measured) -> Gate | None:
        """Compare a time by its ratio to the reference's in the same round."""
        reference = self.reference
        if reference is None or key == reference:
            others = "the others are compared by their ratio to it" if len(self.both) > 1 else ""
            words = f"times of another machine say nothing{'; ' * bool(others)}{others}"
            return self._unknown(key, measured, words, always=True)
        ours = self._ratios(self.now, key, reference, measured)
        theirs = self._ratios(self.then, key, reference, measured)
        pairs = [
            pair
            for case in ours
            if case in theirs
            for pair in zip(ours[case], theirs[case], strict=False)
        ]
        found = self._difference(measured, pairs, floor=0.0)
        return self._judged(key, measured, found, f" in relation to {reference}")

    def _difference(
        self,
        measured: Measured,
        pairs: Sequence[tuple[float, float]],
        floor: float | None = None,
    ) -> Difference:
        if floor is None:
            floor = SCHEDULING if _MEASURES[measured].timed else 0.0
        # Whatever is counted by a model that is asked for real varies as a time does.
        return difference(pairs, floor=floor, counts=False, among=len(self.both))

    def _judged(
        self, key: str, measured: Measured, found: Difference, relation: str = ""
    ) -> Gate | None:
        if found.verdict == "too_few":
            words = f"not judged: {found.words}; give --repeat {FEWEST_PAIRS} or more"
            return self._gate(key, measured, True, words)
        if found.verdict == "unknown":
            return self._unknown(key, measured, found.words)
        if found.low is None or found.high is None or found.ratio is None:
            words = f"{found.words} then{relation}"
            return self._gate(key, measured, found.verdict != "more", words)
        worse = found.verdict == "more" and found.low > 1 + self.allowed
        interval = f"({found.low:.2f} to {found.high:.2f})"
        words = f"{found.ratio:.2f} × {interval} of what it was{relation}"
        if found.verdict == "none":
            words = f"no measurable difference{relation}: {words}"
        return self._gate(key, measured, not worse, words)

    def _gate(self, key: str, measured: Measured, passed: bool, words: str) -> Gate:
        name = measured.replace("_", " ")
        rule = f"; {100 * self.allowed:.4g} % worse is allowed" if not passed else ""
        return Gate(name=name, passed=passed, words=f"{key}: {name}: {words}{rule}", framework=key)

    def _unknown(
        self, key: str, measured: Measured, why: str, *, always: bool = False
    ) -> Gate | None:
        """Tell that nothing can be told, where someone has asked for it."""
        if not (self.asked_for or always):
            return None
        return self._gate(key, measured, True, f"not judged: {why}")

    def _runs(self, comparison: Comparison, key: str) -> list[RunRecord]:
        return [run for run in comparison.of(key) if run.case in self.cases]

    def _taken(
        self, comparison: Comparison, key: str, measured: Measured
    ) -> dict[tuple[str, int], float | None]:
        """Give a figure of each successful run, by case and repeat; None where it is not known."""
        if measured == "overhead":
            return {
                (one.case, one.repeat): one.split.framework
                for one in comparison.overhead
                if one.framework == key and one.case in self.cases
            }
        read = _MEASURES[measured].read
        runs = (run for run in self._runs(comparison, key) if run.succeeded)
        return {(run.case, run.repeat): read(run) for run in runs}

    def _values(
        self, comparison: Comparison, key: str, measured: Measured
    ) -> dict[str, list[float]]:
        """Give a figure by case; cases where it is not known are out."""
        found: dict[str, list[float | None]] = {}
        for (case, _), value in self._taken(comparison, key, measured).items():
            found.setdefault(case, []).append(value)
        return {
            case: [value for value in values if value is not None]
            for case, values in found.items()
            if None not in values
        }

    def _ratios(
        self, comparison: Comparison, key: str, reference: str, measured: Measured
    ) -> dict[str, list[float]]:
        base = self._taken(comparison, reference, measured)
        found: dict[str, list[float]] = {}
        for place, value in self._taken(comparison, key, measured).items():
            if value is not None and (below := base.get(place)):
                found.setdefault(place[0], []).append(value / below)
        return found


def _same(case: Case, earlier: Case | None) -> bool:
    return earlier is not None and (case.inputs, case.answers) == (earlier.inputs, earlier.answers)


def _differing(ours: Machine, theirs: Machine) -> dict[str, tuple[object, object]]:
    """Give what tells two machines apart."""
    pairs = {
        name: (getattr(ours, name), getattr(theirs, name))
        for name in ("system", "processor", "cores")
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _versions(key: str, ours: Contender, theirs: Contender) -> Iterator[str]:
    now = {**ours.versions, "Python": ours.python}
    then = {**theirs.versions, "Python": theirs.python}
    changed = [
        f"{name} {now.get(name) or 'none'} (was {then.get(name) or 'none'})"
        for name in {**now, **then}
        if now.get(name) != then.get(name)
    ]
    if changed:
        yield f"{key} has {_listed(changed)}"


def _left_out(
    what: str, all_of_them: Sequence[str], kept: Collection[str], why: str
) -> Iterator[str]:
    missing = [name for name in all_of_them if name not in kept]
    if missing:
        yield f"{what} left out, being {why}: {_listed(missing)}"


def _total(values: dict[str, list[float]], cases: Sequence[str]) -> float:
    return sum(median(values[case]) for case in cases)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _or_none(value: object) -> str:
    return "none" if value is None else str(value)


def _mode(mode: str) -> str:
    return {"offline": "offline", "replay": "from a cassette", "live": "with real models"}[mode]
