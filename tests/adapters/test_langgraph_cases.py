"""Graphs and dataflows against hand-computed outcomes and random workflows, in virtual time."""

from __future__ import annotations

import json
import os
from random import Random
from typing import Any

import pytest

pytest.importorskip("langgraph")
pytest.importorskip("talea_langgraph")

import oracle.generator
from oracle.generator import Sample
from oracle.harness import differences, facts, observe, wrong
from oracle.interpreter import interpret
from talea.conformance.cases import Case, load_cases
from talea.ir import Workflow

SAMPLES = int(os.environ.get("TALEA_FUZZ", "100"))
BARRIER = "the nodes of a superstep wait for its slowest one before what comes next begins"
AFTER = "LangGraph begins what comes after a task some turns of the event loop later"
HELD_UP = {
    "a failure whose handler failed stops the rest": BARRIER,
    "a failure whose handler is skipped stops the rest": BARRIER,
    "values hold no place": BARRIER,
    "a crossed limit ends everything, under continue too": BARRIER,
    "a graph runs in parallel": BARRIER,
    "a successor of higher priority goes before who waits": AFTER,
}
"""Cases of exact timing that come out differently as a graph."""
LATER = {"a successor of higher priority goes before who waits": AFTER}
"""Cases of exact timing that come out differently as a dataflow."""
WAYS = {
    "graph": ({}, HELD_UP),
    "graph, maps in a node": ({"maps": "node"}, HELD_UP),
    "dataflow": ({"mode": "dataflow"}, LATER),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_case(case: Case, way: str) -> None:
    """A case comes out as its author computed by hand; or its times do not, for a reason given."""
    options, others = WAYS[way]
    seen = observe(case.workflow, case.inputs, case.scenario, "langgraph", options)
    problems = [*case.differences(seen.outcome), *seen.problems]
    if case.name not in others:
        assert not problems
        return
    assert case.timing
    assert problems, f"it holds by now; it was said that {others[case.name]}"


def test_random_dataflows_come_to_what_the_oracle_says() -> None:
    for seed in range(SAMPLES):
        sample = oracle.generator.sample(Random(seed))
        options = {"mode": "dataflow"}
        seen = observe(sample.workflow, sample.inputs, sample.scenario, "langgraph", options)
        problems = wrong(sample.workflow, sample.inputs, sample.scenario, seen.outcome)
        assert not [*problems, *seen.problems], seed


@pytest.mark.parametrize("maps", ["send", "node"])
def test_random_graphs_come_to_what_the_oracle_says(maps: str) -> None:
    """Where nothing rests on time (rule 3): a superstep's barrier is a matter of time."""
    for seed in range(SAMPLES):
        sample = oracle.generator.sample(Random(seed))
        if _hangs(sample):
            continue
        calm = Workflow.model_validate(
            _without_time(
                sample.workflow.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            )
        )
        seen = observe(calm, sample.inputs, sample.scenario, "langgraph", {"maps": maps})
        certain = facts(interpret(calm, sample.inputs, sample.scenario))
        assert not [*differences(certain, seen.outcome), *seen.problems], seed


def _hangs(sample: Sample) -> bool:
    return '"hang": true' in json.dumps(sample.scenario.to_json())


def _without_time(part: Any) -> Any:
    """Let everything go on after failures, without limits and timeouts."""
    if isinstance(part, list):
        return [_without_time(one) for one in part]
    if not isinstance(part, dict):
        return part
    found = {
        key: _without_time(one)
        for key, one in part.items()
        if key != "limits" and not (key == "timeout" and isinstance(one, str | float | int))
    }
    if isinstance(found.get("tasks"), dict):
        found["on_failure"] = "continue"
    return found
