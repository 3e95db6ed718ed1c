"""JUnit XML: of the shape that services read, and whole whatever stands in a comparison."""

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talea.compare.gates import Gate
from talea.compare.junit import to_junit
from talea.compare.record import (
    Case,
    Comparison,
    Contender,
    Machine,
    Outline,
    Problem,
    RunRecord,
    Settings,
    Verdict,
)

GOOD = Verdict(check="title", passed=True)
BAD = Verdict(check="title", passed=False, why='"a", not "b"')
LATE = Problem(type="timeout", message="it took too long", address="make")
CRASHED = Problem(type="worker_died", message="its process ended by SIGKILL")


def made(*runs: RunRecord, refused: str | None = None, name: str = "flow") -> Comparison:
    """Make a comparison of two cases."""
    return Comparison(
        began="2026-01-02T03:04:05+02:00",
        seconds=9.5,
        outline=Outline(name=name),
        settings=Settings(mode="offline", repeat=2, warmup=1, seed=7, timeout=60),
        machine=Machine(
            system="Linux", processor="x", cores=2, memory=None, python="3.11.9", talea="0.1.0"
        ),
        contenders=(
            Contender(
                key="simple",
                framework="simple",
                versions={"openai": "2.1"},
                options={"maps": "node"},
                python="3.12.1",
            ),
            Contender(key="crewai", framework="crewai", refused=refused),
        ),
        cases=(Case(id="one"), Case(id="two")),
        runs=runs,
    )


def ran(case: str = "one", repeat: int = 0, **more: Any) -> RunRecord:
    usual: dict[str, Any] = {"framework": "simple", "status": "succeeded", "duration": 0.25}
    return RunRecord(case=case, repeat=repeat, order=0, **{**usual, **more})


def suite(root: ET.Element, name: str) -> ET.Element:
    [found] = [one for one in root if one.get("name") == name]
    return found


def came_of(of: ET.Element) -> dict[str, str]:
    """Give what came of each test: `passed`, or the element in it."""
    return {
        str(test.get("name")): test[0].tag if len(test) else "passed"
        for test in of.findall("testcase")
    }


def check_shape(text: str) -> ET.Element:
    """Hold XML to the schema that Jenkins and others publish, as far as it is used here."""
    root = ET.fromstring(text)
    assert root.tag == "testsuites"
    for of in root:
        assert of.tag == "testsuite"
        assert of.get("name")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", of.get("timestamp", ""))
        order = [inner.tag for inner in of]
        assert order == sorted(order, key=["properties", "testcase"].index)
        for inner in of.iterfind("properties/property"):
            assert set(inner.keys()) == {"name", "value"}
        for test in of.iterfind("testcase"):
            assert set(test.keys()) == {"name", "classname", "time"}
            assert float(test.get("time", "")) >= 0
            assert len(test) <= 1
            for inner in test:
                assert inner.tag in {"failure", "error", "skipped", "system-out"}
                wanted = {"failure": {"message", "type"}, "error": {"message", "type"}}
                wanted |= {"skipped": {"message"}}
                assert set(inner.keys()) == wanted.get(inner.tag, set())
        found = of.findall("testcase")
        assert of.get("tests") == str(len(found))
        for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert of.get(name) == str(sum(test.find(tag) is not None for test in found))
    for name in ("tests", "failures", "errors", "skipped"):
        assert root.get(name) == str(sum(int(of.get(name, "")) for of in root))
    return root


def test_a_framework_is_a_suite_and_cases_and_checks_are_tests() -> None:
    root = check_shape(
        to_junit(
            made(
                ran("one", verdicts=(GOOD,)),
                ran("one", 1, verdicts=(BAD,)),
                ran("two", status="failed", error=LATE, verdicts=(BAD,)),
            )
        )
    )
    assert came_of(suite(root, "simple")) == {
        "one": "passed",
        "one: title": "failure",
        "two": "error",
        "two: title": "failure",
    }
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("4", "2", "1")
    of = suite(root, "simple")
    assert of.get("time") == "0.750000"
    assert of.get("timestamp") == "2026-01-02T01:04:05"
    [one, title, two, _] = of.findall("testcase")
    assert one.get("classname") == "flow.simple"
    assert one.get("time") == "0.500000"
    assert title[0].get("message") == '1 of 2 runs: "a", not "b"'
    assert two[0].get("message") == "make: timeout: it took too long"
    assert two[0].get("type") == "timeout"


def test_versions_and_settings_are_properties() -> None:
    root = check_shape(to_junit(made(ran())))
    found = {
        inner.get("name"): inner.get("value")
        for inner in suite(root, "simple").iterfind("properties/property")
    }
    assert found == {
        "talea": "0.1.0",
        "python": "3.12.1",
        "openai": "2.1",
        "option maps": "node",
        "mode": "offline",
        "repeat": "2",
        "seed": "7",
        "system": "Linux",
    }


def test_a_process_that_died_is_an_error() -> None:
    root = check_shape(to_junit(made(ran(status="failed", error=CRASHED), ran(repeat=1))))
    [error] = root.iter("error")
    assert error.get("type") == "worker_died"
    assert error.get("message") == "1 of 2 runs: worker_died: its process ended by SIGKILL"


def test_a_run_that_is_to_fail_is_no_error() -> None:
    ends = Verdict(check="the run ends as failed", passed=True, of_end=True)
    root = check_shape(to_junit(made(ran(status="failed", error=LATE, verdicts=(ends,)))))
    assert came_of(suite(root, "simple")) == {
        "one": "passed",
        "one: the run ends as failed": "passed",
    }


def test_a_framework_that_took_no_part_is_skipped_and_says_why() -> None:
    root = check_shape(to_junit(made(ran(), refused="it lacks loops")))
    assert came_of(suite(root, "crewai")) == {"takes part": "skipped"}
    assert next(root.iter("skipped")).get("message") == "it lacks loops"


def test_gates_are_a_suite_of_their_own() -> None:
    gates = [
        Gate(name="pass rate", passed=False, words="too few", framework="simple"),
        Gate(name="baseline", passed=True, words="compared"),
    ]
    root = check_shape(to_junit(made(ran()), gates))
    assert came_of(suite(root, "gates")) == {
        "simple: pass rate": "failure",
        "baseline": "system-out",
    }
    assert root.get("failures") == "1"


HOSTILE = "a\x00\x0b\x1b[31m</testcase>]]>&<!--\ud800\ufffe\x85 \U0001f600"


def test_hostile_text_breaks_nothing() -> None:
    verdict = Verdict(check=HOSTILE, passed=False, why=HOSTILE + "\n" + HOSTILE)
    problem = Problem(type="timeout", message=HOSTILE)
    gate = Gate(name=HOSTILE, passed=True, words=HOSTILE)
    text = to_junit(
        made(ran(status="failed", error=problem, verdicts=(verdict,)), name=HOSTILE), [gate]
    )
    root = check_shape(text)
    cleaned = "a\ufffd\ufffd\ufffd[31m</testcase>]]>&<!--\ufffd\ufffd\x85 \U0001f600"
    assert next(root.iter("failure")).get("message") == cleaned
    assert next(root.iter("failure")).text == f"{cleaned}\n{cleaned}"
    assert root.get("name") == f"talea compare {cleaned}"
    text.encode("utf-8")


def test_a_text_that_is_too_long_is_cut() -> None:
    verdict = Verdict(check="long", passed=False, why="x" * 1_000_000)
    text = to_junit(made(ran(verdicts=(verdict,))))
    assert len(text) < 30_000
    check_shape(text)


@given(st.text(st.characters(), min_size=1), st.text(st.characters()))
def test_any_text_gives_xml_of_the_same_shape(name: str, why: str) -> None:
    verdict = Verdict(check=name, passed=False, why=why or None)
    root = check_shape(to_junit(made(ran(verdicts=(verdict,)))))
    assert len(list(root.iter("failure"))) == 1


@pytest.mark.parametrize("gates", [[], [Gate(name="g", passed=True, words="w")]])
def test_a_comparison_without_runs_is_told_too(gates: list[Gate]) -> None:
    root = check_shape(to_junit(made(), gates))
    assert root.get("tests") == str(len(gates))


def test_no_property_stands_twice():
    comparison = made(ran())
    [first, other] = comparison.contenders
    told = first.model_copy(update={"versions": {"talea": "0.1.0", "python": "3.12.1"}})
    root = ET.fromstring(to_junit(comparison.model_copy(update={"contenders": (told, other)})))
    names = [one.get("name") for one in suite(root, "simple").iter("property")]
    assert len(names) == len(set(names))
    assert {"talea", "python", "option maps"} < set(names)
