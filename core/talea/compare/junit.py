"""A comparison as JUnit XML, which every service of continuous integration shows.

A framework is a test suite. In it a case is a test case for the runs themselves, and one more for
each of its checks; over repeats it fails if it failed once. The gates are a suite of their own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from talea.compare.gates import Gate
from talea.compare.record import Case, Comparison, Contender, RunRecord

GATES = "gates"

# What XML 1.0 cannot hold, not even as a reference (section 2.2, the production `Char`).
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LONGEST = 10_000


def to_junit(comparison: Comparison, gates: Sequence[Gate] = ()) -> str:
    """Give a comparison, and the gates it was held to, as JUnit XML."""
    root = ET.Element("testsuites", name=_clean(f"talea compare {comparison.outline.name}"))
    for contender in comparison.contenders:
        root.append(_suite(comparison, contender))
    if gates:
        root.append(_gates(comparison, gates))
    for what in ("tests", "failures", "errors", "skipped"):
        root.set(what, str(sum(int(suite.get(what, "0")) for suite in root)))
    root.set("time", f"{comparison.seconds:.6f}")
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(comparison: Comparison, contender: Contender) -> ET.Element:
    """Give a framework's suite; one that took no part is skipped, and says why."""
    runs = comparison.of(contender.key)
    suite = ET.Element("testsuite", name=_clean(contender.key))
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(comparison, contender).items():
        ET.SubElement(properties, "property", name=_clean(name), value=_clean(value))
    classname = f"{comparison.outline.name}.{contender.key}"
    if contender.refused is not None:
        _test(suite, classname, "takes part", skipped=contender.refused)
    for case in comparison.cases:
        mine = [run for run in runs if run.case == case.id]
        if mine:
            _case(suite, classname, case, mine)
    return _counted(suite, comparison.began, sum(run.duration for run in runs))


def _case(suite: ET.Element, classname: str, case: Case, runs: Sequence[RunRecord]) -> None:
    wrong = [run for run in runs if not (run.succeeded or any(v.of_end for v in run.verdicts))]
    failed = Counter(_ending(run) for run in wrong)
    _test(
        suite,
        classname,
        case.id,
        time=sum(run.duration for run in runs),
        error=_told(failed, len(runs)),
        type=wrong[0].error.type if wrong and wrong[0].error else "not_succeeded",
    )
    names = dict.fromkeys(verdict.check for run in runs for verdict in run.verdicts)
    for name in names:
        found = [v for run in runs for v in run.verdicts if v.check == name]
        why = Counter(v.why or "it does not hold" for v in found if not v.passed)
        _test(suite, classname, f"{case.id}: {name}", failure=_told(why, len(found)), type="check")


def _gates(comparison: Comparison, gates: Iterable[Gate]) -> ET.Element:
    suite = ET.Element("testsuite", name=GATES)
    for gate in gates:
        name = f"{gate.framework}: {gate.name}" if gate.framework else gate.name
        classname = f"{comparison.outline.name}.{GATES}"
        test = _test(
            suite, classname, name, failure=None if gate.passed else gate.words, type="gate"
        )
        if gate.passed:
            ET.SubElement(test, "system-out").text = _clean(gate.words)
    return _counted(suite, comparison.began, 0.0)


def _test(
    suite: ET.Element,
    classname: str,
    name: str,
    *,
    time: float = 0.0,
    type: str = "",
    **outcome: str | None,
) -> ET.Element:
    """Add a test case; `outcome` is one of failure, error and skipped, with its words."""
    test = ET.SubElement(
        suite, "testcase", name=_clean(name), classname=_clean(classname), time=f"{time:.6f}"
    )
    for what, words in outcome.items():
        if words is None:
            continue
        inner = ET.SubElement(test, what, message=_clean(words.partition("\n")[0]))
        if what != "skipped":
            inner.set("type", _clean(type))
            inner.text = _clean(words)
    return test


def _counted(suite: ET.Element, began: str, seconds: float) -> ET.Element:
    """Add what a suite says of its tests."""
    tests = suite.findall("testcase")
    suite.set("tests", str(len(tests)))
    for what, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(plural, str(sum(test.find(what) is not None for test in tests)))
    suite.set("time", f"{seconds:.6f}")
    # The schema's own form has no time zone.
    moment = datetime.fromisoformat(began).astimezone(UTC)
    suite.set("timestamp", f"{moment:%Y-%m-%dT%H:%M:%S}")
    return suite


def _properties(comparison: Comparison, contender: Contender) -> dict[str, str]:
    """Give each property once: what a framework tells of its process goes before what is told of
    the comparison's own."""
    settings, machine = comparison.settings, comparison.machine
    return {
        "talea": machine.talea,
        "python": contender.python or machine.python,
        **contender.versions,
        **{f"option {name}": value for name, value in contender.options.items()},
        "mode": settings.mode,
        "repeat": str(settings.repeat),
        "seed": str(settings.seed),
        "system": machine.system,
        **({"command": settings.command} if settings.command else {}),
    }


def _ending(run: RunRecord) -> str:
    if run.error is None:
        return f"the run ended as {run.status}"
    place = f"{run.error.address}: " if run.error.address else ""
    return f"{place}{run.error.type}: {run.error.message}"


def _told(why: Counter[str], runs: int) -> str | None:
    """Say how often something went wrong, and in which ways; None if it never did."""
    if not why:
        return None
    first = next(iter(why))
    if runs == 1:
        return first
    each = [f"{count} ×: {words}" for words, count in why.items()]
    return "\n".join([f"{why.total()} of {runs} runs: {first}", *each])


def _clean(text: str) -> str:
    """Put a mark in place of each character that XML cannot hold; cut what is too long to read."""
    cut = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return _ILLEGAL.sub("\ufffd", cut)
