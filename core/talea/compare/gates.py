"""Gates for continuous integration: what a comparison must reach, and what must not get worse.

Against a baseline only those frameworks and cases count that both comparisons have. What repeats
exactly is compared exactly; what varies fails a gate when the lower end of its ratio's interval is
beyond what is allowed. A time that fails is looked at again: where CPU time did not grow with it,
or every framework got slower alike, the gate says that it looks like the machine. To compare by
ratios to another framework would not take the machine out: a busy one makes a short run wait as
long as a long one, and what slows all alike, such as a tool, would pass. Only between machines
there is nothing else to go by.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from statistics import median

from talea.compare.estimates import FEWEST_PAIRS, Difference, difference, rate, rates_differ
from talea.compare.measures import (
    MEASURES,
    Measured,
    Terms,
    check_baseline,
    common_cases,
    differing,
    read_measures,
    same_system,
    usual_measures,
)
from talea.compare.record import Comparison, Contender, Frozen, RunRecord
from talea.compare.statistics import MEMORY_JITTER, SCHEDULING
from talea.errors import UsageError

REGRESSION = 0.1
"""What is allowed where nothing is said."""
_ALIKE = 1.25
"""Frameworks whose ratios are no further apart than this got slower alike."""
_FEW = 4
"""Where CPU time grew by less than this part of what a time did, it did not grow with it."""

_SHARE = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(%?)\s*")
_LISTED = 6


class Gate(Frozen):
    """One thing that had to hold, and whether it did. `words` say what was found."""

    name: str
    passed: bool
    words: str
    framework: str | None = None


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


def check_gates(
    comparison: Comparison,
    *,
    fail_under: float | None = None,
    baseline: Comparison | None = None,
    max_regression: float = REGRESSION,
    regress_on: Sequence[Measured] | None = None,
    baseline_name: str = "a baseline",
) -> list[Gate]:
    """Hold a comparison to a pass rate that each framework must reach, and to an earlier one.

    Shares are from 0 to 1; `max_regression` is how much worse a figure may be, as a share of the
    earlier one. Without `regress_on` it is all that does not hang on how busy the machine is; what
    it names and turns out not to be known fails. `baseline_name` is for the words. An interrupted
    comparison has one gate, which fails. Raises `UsageError` where a share is none, and for what
    `compare` refuses before any run when it is given a baseline.
    """
    if fail_under is not None and not 0 <= fail_under <= 1:
        raise UsageError(f"fail_under is {fail_under:g}", "a share from 0 to 1")
    if not 0 <= max_regression < math.inf:
        raise UsageError(f"max_regression is {max_regression:g}", "a share of 0 or more")
    if regress_on is not None:
        regress_on = read_measures(",".join(regress_on))
    if baseline is not None:
        check_baseline(baseline, Terms.of(comparison), regress_on)
    if comparison.interrupted and (fail_under is not None or baseline is not None):
        made = _count(len(comparison.runs), "run")
        words = f"interrupted after {made}: what is missing is unknown"
        return [Gate(name="complete", passed=False, words=words)]
    gates: list[Gate] = []
    if fail_under is not None:
        gates += [_pass_rate(comparison, one, fail_under) for one in comparison.contenders]
    if baseline is not None:
        against = _Against(comparison, baseline, max_regression, regress_on)
        gates += against.gates(baseline_name)
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
        self.measures = usual_measures(now.settings.mode) if measures is None else measures
        self.asked_for = measures is not None
        self.elsewhere = differing(now.machine, then.machine)
        earlier = {one.key: one for one in then.taking_part}
        self.both = {
            one.key: (one, earlier[one.key]) for one in now.taking_part if one.key in earlier
        }
        self.cases = common_cases(now.cases, then.cases)
        self.exact = now.settings.mode != "live"
        self.reference = next(iter(self.both), None)

    def gates(self, name: str) -> Iterator[Gate]:
        """Give a gate for what the two have in common, then one for each framework and figure."""
        tell = partial(Gate, name="baseline")
        if not self.both:
            yield tell(passed=False, words=f"no framework is both in this and in {name}")
            return
        common = f"{_count(len(self.both), 'framework')} and {_count(len(self.cases), 'case')}"
        told = [f"compared with {name} of {self.then.began} by {common}", *self._remarks()]
        yield tell(passed=True, words="; ".join(told))
        for key in self.both:
            for measured in self.measures:
                gate = self._held(key, measured)
                if gate is not None:
                    yield gate

    def _held(self, key: str, measured: Measured) -> Gate | None:
        match measured:
            case "pass_rate":
                return self._rate(key)
            case "memory":
                return self._memory(key)
            case _:
                return self._figure(key, measured)

    def _remarks(self) -> Iterator[str]:
        """Say what else differs, which may be why figures do."""
        now, then = self.now, self.then
        if then.interrupted:
            yield f"the baseline was interrupted after {_count(len(then.runs), 'run')}"
        if now.outline.source != then.outline.source:
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
        worse = ours.share < theirs.share * (1 - self.allowed) - 1e-9
        worse = worse and (self.exact or rates_differ(ours, theirs))
        words = f"{ours.count} of {ours.n} runs passed, and {theirs.count} of {theirs.n} then"
        return self._gate(key, "pass_rate", not worse, words)

    def _memory(self, key: str) -> Gate | None:
        """Compare the most that the process held, which repeats to a hundredth or so."""
        now, then = self.now, self.then
        if not len(self.cases) == len(now.cases) == len(then.cases):
            why = "the cases are not the same, and one process makes them all"
            return self._unknown(key, "memory", why)
        if not same_system(now.machine, then.machine):
            return self._unknown(key, "memory", "the operating system is another one")
        rounds = min(now.settings.repeat, then.settings.repeat)
        ours, theirs = (_peak(self._runs(one, key), rounds) for one in (now, then))
        if not theirs or not ours:
            return self._missing(key, "memory")
        fits = ours <= theirs * max(1 + self.allowed, MEMORY_JITTER)
        words = f"{ours / 1e6:,.0f} MB, and {theirs / 1e6:,.0f} MB then, {ours / theirs:.2f} ×"
        return self._gate(key, "memory", fits, words)

    def _figure(self, key: str, measured: Measured) -> Gate | None:
        """Hold a figure of the runs that succeeded to what it was."""
        timed = MEASURES[measured].timed
        ours = self._values(self.now, key, measured)
        theirs = self._values(self.then, key, measured)
        if not theirs or not ours:
            return self._missing(key, measured)
        cases = [case for case in ours if case in theirs]
        if not cases:
            return self._unknown(key, measured, "it is known of no case in both")
        if timed and self.elsewhere:
            return self._relative(key, measured)
        if not timed and self.exact:
            return self._exact(key, measured, *(_total(side, cases) for side in (ours, theirs)))
        found = self._grown(key, measured)
        return self._judged(key, measured, found, looks=self._looks(key, measured, found))

    def _missing(self, key: str, measured: Measured) -> Gate | None:
        """Tell of a figure that one of the two does not know, be it for want of a good run."""
        good, then_good = (
            any(run.succeeded for run in self._runs(one, key)) for one in (self.now, self.then)
        )
        if not then_good:
            words = "no run of the baseline succeeded, and nothing is worse than that"
            return self._gate(key, measured, True, words) if self.asked_for else None
        if not good:
            return self._gate(key, measured, False, "no run succeeded, and some did then")
        theirs = self._values(self.then, key, measured) if measured in MEASURES else {}
        which = "this comparison" if theirs else "the baseline"
        return self._unknown(key, measured, f"{which} does not know it")

    def _grown(self, key: str, measured: Measured) -> Difference:
        """Compare a figure that varies with what it was."""
        ours, theirs = (self._values(one, key, measured) for one in (self.now, self.then))
        return self._difference(measured, _paired(ours, theirs))

    def _looks(self, key: str, measured: Measured, found: Difference) -> str:
        """Say why a time that grew looks like the machine rather than the code, if it does."""
        if not MEASURES[measured].timed or not self._is_worse(found) or found.ratio is None:
            return ""
        why: list[str] = []
        if measured != "cpu":
            processor = self._grown(key, "cpu").ratio
            own = self._grown(key, "framework") if measured == "duration" else found
            waited = processor is not None and processor - 1 < (found.ratio - 1) / _FEW
            # What a model or a tool takes longer for costs no CPU time here, either.
            if waited and self._is_worse(own):
                why.append(f"CPU time is {processor:.2f} × of what it was")
        ratios = [self._grown(one, measured).ratio or 1.0 for one in self.both]
        least, most = min(ratios), max(ratios)
        if len(ratios) > 1 and least > 1 + self.allowed and most < _ALIKE * least:
            who = "both frameworks" if len(ratios) == 2 else f"all {len(ratios)} frameworks"
            why.append(f"{who} got slower alike ({least:.2f} to {most:.2f} ×)")
        return " and ".join(why)

    def _is_worse(self, found: Difference) -> bool:
        return found.verdict == "more" and (found.low or 0.0) > 1 + self.allowed

    def _exact(self, key: str, measured: Measured, ours: float, theirs: float) -> Gate | None:
        """Compare what repeats exactly: the sum of the cases' medians."""
        if not ours and not theirs:
            return self._gate(key, measured, True, "none in both") if self.asked_for else None
        fits = ours <= theirs * (1 + self.allowed) + 1e-9
        ratio = f", {ours / theirs:.2f} ×" if theirs and ours != theirs else ""
        words = f"{ours:,.6g}, and {theirs:,.6g} then{ratio}"
        return self._gate(key, measured, fits, words)

    def _relative(self, key: str, measured: Measured) -> Gate | None:
        """Compare a time by its ratio to the reference's in the same round."""
        reference = self.reference
        if reference is None or len(self.both) < 2:
            return self._unknown(key, measured, "times of another machine say nothing")
        if key == reference:
            words = "times of another machine say nothing; the others' ratios to it are compared"
            return self._gate(key, measured, True, words)
        ours = self._ratios(self.now, key, reference, measured)
        theirs = self._ratios(self.then, key, reference, measured)
        found = self._difference(measured, _paired(ours, theirs), floor=0.0)
        return self._judged(key, measured, found, f" in relation to {reference}")

    def _difference(
        self,
        measured: Measured,
        pairs: Sequence[tuple[float, float]],
        floor: float | None = None,
    ) -> Difference:
        if floor is None:
            floor = SCHEDULING if MEASURES[measured].timed else 0.0
        # Whatever is counted by a model that is asked for real varies as a time does.
        return difference(pairs, floor=floor, counts=False, among=len(self.both))

    def _judged(
        self,
        key: str,
        measured: Measured,
        found: Difference,
        relation: str = "",
        *,
        looks: str = "",
    ) -> Gate | None:
        if found.verdict == "too_few":
            return self._unknown(
                key, measured, f"{found.words}; give --repeat {FEWEST_PAIRS} or more", told=True
            )
        if found.verdict == "unknown":
            return self._unknown(key, measured, found.words)
        if found.low is None or found.high is None or found.ratio is None:
            words = f"{found.words} then{relation}"
            return self._gate(key, measured, found.verdict != "more", words)
        interval = f"({found.low:.2f} to {found.high:.2f})"
        words = f"{found.ratio:.2f} × {interval} of what it was{relation}"
        if found.verdict == "none":
            words = f"no measurable difference{relation}: {words}"
        if found.verdict == "noisy":
            words = f"too noisy to tell{relation}: {words}"
        if looks:
            words += f"; {looks}: that looks like the machine rather than the code"
        return self._gate(key, measured, not self._is_worse(found), words)

    def _gate(self, key: str, measured: Measured, passed: bool, words: str) -> Gate:
        name = measured.replace("_", " ")
        rule = f"; {100 * self.allowed:.4g} % worse is allowed" if not passed else ""
        return Gate(name=name, passed=passed, words=f"{key}: {name}: {words}{rule}", framework=key)

    def _unknown(
        self, key: str, measured: Measured, why: str, *, told: bool = False
    ) -> Gate | None:
        """Tell that nothing can be told: a gate that was asked for does not pass by that."""
        if not (self.asked_for or told):
            return None
        name = measured.replace("_", " ")
        words = f"{key}: {name}: not judged: {why}"
        return Gate(name=name, passed=not self.asked_for, words=words, framework=key)

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
        read = MEASURES[measured].read
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


def _versions(key: str, ours: Contender, theirs: Contender) -> Iterator[str]:
    if bool(ours.python) != bool(theirs.python):
        return  # One of the two was ended before it had told.
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


def _paired(
    ours: dict[str, list[float]], theirs: dict[str, list[float]]
) -> list[tuple[float, float]]:
    return [
        pair
        for case in ours
        if case in theirs
        for pair in zip(ours[case], theirs[case], strict=False)
    ]


def _peak(runs: Sequence[RunRecord], rounds: int) -> int:
    """Give the most that a process held in its first rounds: it may grow with each."""
    good = (run.peak_memory for run in runs if run.succeeded and run.repeat < rounds)
    return max(good, default=0)


def _total(values: dict[str, list[float]], cases: Sequence[str]) -> float:
    return sum(median(values[case]) for case in cases)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _or_none(value: object) -> str:
    return "none" if value is None else str(value)
