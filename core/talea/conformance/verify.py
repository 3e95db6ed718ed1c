"""What a framework makes of each case, and whether it keeps its word on what it lacks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from talea.adapter import Adapter, Feature, Level, Support
from talea.conformance.cases import Case, load_cases
from talea.conformance.looptime import run_in_virtual_time
from talea.conformance.world import Observation, observe_here
from talea.plan import make_plan
from talea.run import lacks_of

_CLAIMED = dict.fromkeys(Feature, Support(Level.EMULATED, "claimed, to see whether it works"))


class Verdict(StrEnum):
    """What came of a case."""

    PASSED = "passed"
    FAILED = "failed"
    DECLINED = "declined"
    """The framework says that it lacks what the case needs, and indeed it does."""
    STALE = "stale"
    """The framework says that it lacks what the case needs, and yet the case passes."""
    LATE = "late"
    """The case rests on exact times, and the framework says why it does not keep them."""
    SKIPPED = "skipped"
    """The case rests on exact times, and time is real here."""


@dataclass(slots=True, frozen=True)
class Finding:
    """One case, its verdict, and what is not as it should be."""

    case: str
    rule: str
    verdict: Verdict
    problems: tuple[str, ...] = ()

    @property
    def is_fault(self) -> bool:
        """Say whether the plugin has to be mended."""
        return self.verdict in (Verdict.FAILED, Verdict.STALE)


@dataclass(slots=True, frozen=True)
class Report:
    """What a framework makes of all cases."""

    framework: str
    findings: tuple[Finding, ...]

    @property
    def conforms(self) -> bool:
        """Say whether no case failed, and no declared lack is stale."""
        return not any(finding.is_fault for finding in self.findings)

    def counts(self) -> dict[Verdict, int]:
        """Count the verdicts, in their own order."""
        found = Counter(finding.verdict for finding in self.findings)
        return {verdict: found[verdict] for verdict in Verdict if found[verdict]}

    def __str__(self) -> str:
        lines = [
            f"{finding.verdict}: {finding.case} ({finding.rule})"
            + "".join(f"\n    {problem}" for problem in finding.problems)
            for finding in self.findings
            if finding.is_fault
        ]
        total = ", ".join(f"{count} {verdict}" for verdict, count in self.counts().items())
        return "\n".join([*lines, f"{self.framework}: {total}"])


def verify(
    adapter: Adapter[Any],
    *,
    options: Mapping[str, str] | None = None,
    cases: Iterable[Case] | None = None,
    real_time: bool = False,
) -> Report:
    """Run cases on an adapter; all of them by default.

    Time is virtual: sleeps take none. In real time, cases that rest on exact times are skipped.
    """
    chosen = load_cases() if cases is None else cases
    return Report(
        adapter.name,
        tuple(verify_case(adapter, case, options=options, real_time=real_time) for case in chosen),
    )


def verify_case(
    adapter: Adapter[Any],
    case: Case,
    *,
    options: Mapping[str, str] | None = None,
    real_time: bool = False,
) -> Finding:
    """Run one case on an adapter; see `verify`."""
    if real_time and case.timing:
        return Finding(case.name, case.rule, Verdict.SKIPPED)
    lacking = lacks_of(make_plan(case.workflow), adapter)
    if lacking:
        # The declared lack is put to the test: one that has become untrue is a fault as well.
        adapter = copy(adapter)
        adapter.features = _CLAIMED  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    seen = _observe(adapter, case, options, real_time)
    if isinstance(seen, Exception):
        # Whatever a plugin raises is its verdict.
        problems = [f"{type(seen).__name__}: {seen}"]
        is_late = False
    else:
        problems = [*case.differences(seen.outcome), *seen.problems]
        is_late = case.timing and adapter.delays is not None and not seen.problems
    if lacking:
        said = tuple(f"{lack} But the case passes." for lack in lacking)
        verdict, problems = (Verdict.DECLINED, ()) if problems else (Verdict.STALE, said)
    elif problems:
        verdict = Verdict.LATE if is_late else Verdict.FAILED
    else:
        verdict = Verdict.PASSED
    return Finding(case.name, case.rule, verdict, tuple(problems))


def _observe(
    adapter: Adapter[Any],
    case: Case,
    options: Mapping[str, str] | None,
    real_time: bool,
) -> Observation | Exception:
    running = observe_here(case.workflow, case.inputs, case.scenario, adapter, options)
    try:
        return asyncio.run(running) if real_time else run_in_virtual_time(running, adapter.settle)
    except Exception as error:  # noqa: BLE001 - it is what the plugin came to
        return error
