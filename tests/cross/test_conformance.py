"""The conformance kit: what it says of frameworks that are right, wrong, or modest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from talea.adapter import Feature, Level, Options, Run, Support
from talea.conformance import Case, Verdict, load_cases, verify, verify_case
from talea.conformance.suite import ConformanceSuite
from talea.plugins import get_adapter
from talea_simple.adapter import SimpleAdapter

from .ways import WAYS, Way, params


class TestSimple(ConformanceSuite):
    """The three lines of a plugin's author."""

    framework = "simple"


@pytest.mark.parametrize("case", load_cases(), ids=str)
@pytest.mark.parametrize("way", params(WAYS[1:]))
def test_case(way: Way, case: Case) -> None:
    """A case comes out as its author computed by hand; or its times do not, for a reason given."""
    finding = verify_case(get_adapter(way.framework), case, options=way.options)
    expected = Verdict.LATE if case.name in way.late else Verdict.PASSED
    assert finding.verdict is expected, "\n".join(finding.problems)


def case_of(rule: str) -> Case:
    return next(case for case in load_cases() if case.rule == rule)


def test_the_report_of_a_framework_that_conforms() -> None:
    report = verify(get_adapter("simple"))
    assert report.conforms, str(report)
    assert report.counts() == {Verdict.PASSED: len(load_cases())}
    assert str(report) == f"simple: {len(load_cases())} passed"


class Hasty(SimpleAdapter):
    """Starts every task at once, whatever it depends on."""

    async def execute(self, compiled: Any, run: Run) -> None:
        for i in reversed(range(len(run.plan.steps))):
            await run.task(i)


def test_a_framework_that_breaks_the_order_fails() -> None:
    report = verify(Hasty())
    assert not report.conforms
    assert report.counts()[Verdict.FAILED] > 50
    assert "failed: " in str(report)


class Broken(SimpleAdapter):
    """Cannot compile anything."""

    def compile(self, plan: Any, options: Options) -> Any:
        raise ZeroDivisionError("no")


def test_whatever_a_plugin_raises_is_its_verdict() -> None:
    finding = verify_case(Broken(), load_cases()[0])
    assert finding.verdict is Verdict.FAILED
    assert finding.problems == ("ZeroDivisionError: no",)


class Modest(SimpleAdapter):
    """Says that it has no loops, and has them."""

    features: ClassVar[Mapping[Feature, Support]] = {
        **SimpleAdapter.features,
        Feature.LOOP: Support(Level.NEVER, "loops are not for us"),
    }


def test_a_lack_that_has_become_untrue_is_stale() -> None:
    case = case_of("Tasks loop")
    finding = verify_case(Modest(), case)
    assert finding.verdict is Verdict.STALE
    assert "loops are not for us" in finding.problems[0]


class Loopless(Modest, Hasty):
    """Says that it has no loops, and has none that work."""


class Slow(SimpleAdapter):
    """Starts one task after the other, and says so."""

    delays = "one task at a time"

    async def execute(self, compiled: Any, run: Run) -> None:
        while run.ready:
            await run.task(run.ready.popleft())


def test_only_cases_of_exact_times_may_be_late() -> None:
    findings = verify(Slow(), cases=(case for case in load_cases() if case.timing)).findings
    late = [finding for finding in findings if finding.verdict is Verdict.LATE]
    assert late
    assert not any(finding.is_fault for finding in late)
    assert not any(
        finding.verdict is Verdict.LATE
        for finding in verify(
            Slow(), cases=(case for case in load_cases() if not case.timing)
        ).findings
    )


def test_a_lack_that_is_true_is_declined() -> None:
    multi = next(
        case
        for case in load_cases()
        if any(getattr(task, "loop", None) for task in case.workflow.tasks.values())
        and len(case.workflow.tasks) > 1
        and verify_case(Hasty(), case).verdict is Verdict.FAILED
    )
    assert verify_case(Loopless(), multi).verdict is Verdict.DECLINED


def test_cases_of_exact_times_are_skipped_where_time_is_real() -> None:
    timed = next(case for case in load_cases() if case.timing)
    assert verify_case(SimpleAdapter(), timed, real_time=True).verdict is Verdict.SKIPPED


@pytest.mark.parametrize("case", load_cases()[:5], ids=str)
def test_real_time_gives_the_same(case: Case) -> None:
    assert verify_case(SimpleAdapter(), case, real_time=True).verdict is not Verdict.FAILED
