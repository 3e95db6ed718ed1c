"""Random workflows: on every framework, a run comes to what the oracle says, in order.

`just fuzz 2000 langgraph` looks longer: TALEA_FUZZ is how many workflows each way is given.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, note, settings

from oracle import generator
from oracle.generator import Sample, samples
from oracle.harness import differences, facts, observe, wrong
from oracle.interpreter import interpret
from talea.ir import Workflow

from .ways import WAYS, Way, params

IN_CI = "CI" in os.environ
EXAMPLES = int(os.environ.get("TALEA_FUZZ", "2000" if IN_CI else "300"))
EACH = int(os.environ.get("TALEA_FUZZ", "200" if IN_CI else "50"))
PARTS = 4
"""Into how many tests a way's seeds are cut, so that they run side by side."""
FUZZING = settings(
    max_examples=EXAMPLES,
    derandomize=IN_CI,  # The same samples each time: what chance finds is found by `just fuzz`.
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


@FUZZING
@given(samples())
def test_a_run_comes_to_what_the_oracle_says(sample: Sample) -> None:
    """Whatever is not left to time is as the oracle says, and order is kept."""
    note(describe(sample))
    seen = observe(sample.workflow, sample.inputs, sample.scenario)
    assert not wrong(sample.workflow, sample.inputs, sample.scenario, seen.outcome)
    assert not seen.problems


@settings(FUZZING, max_examples=EXAMPLES // 4)
@given(samples())
def test_a_determined_run_is_so_at_any_speed(sample: Sample) -> None:
    """Where nothing rests on time (rule 3), a run whose calls take other times ends the same."""
    if sample.is_determined:
        note(describe(sample))
        certain = facts(interpret(sample.workflow, sample.inputs, sample.scenario))
        other = observe(sample.workflow, sample.inputs, sample.scenario.slowed(7))
        assert not differences(certain, other.outcome)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("way", params(WAYS))
def test_a_framework_comes_to_what_the_oracle_says(way: Way, part: int) -> None:
    """Each way gets the same `EACH` workflows, from seed 0 on."""
    for seed, sample in seeded(way, part):
        seen = observe(sample.workflow, sample.inputs, sample.scenario, way.framework, way.options)
        if way.holds_up:
            certain = facts(interpret(sample.workflow, sample.inputs, sample.scenario))
            chosen = {key for key in certain if key.endswith(".agent")}  # It rests on time.
            certain = {key: value for key, value in certain.items() if key not in chosen}
            problems = differences(certain, seen.outcome)
        else:
            problems = wrong(sample.workflow, sample.inputs, sample.scenario, seen.outcome)
        assert not [*problems, *seen.problems], f"seed {seed}\n{describe(sample)}"


def seeded(way: Way, part: int) -> Iterator[tuple[int, Sample]]:
    """Give a part of the samples of a way, with their seeds.

    Where branches wait for each other, samples are taken what rests on time (rule 3), and those
    that would then never end are passed over.
    """
    found = 0
    for seed in count(part, PARTS):
        if found * PARTS >= EACH:
            return
        sample = generator.sample(Random(seed))
        if way.holds_up:
            if '"hang": true' in json.dumps(sample.scenario.to_json()):
                continue
            calm = Workflow.model_validate(without_time(document(sample.workflow)))
            sample = replace(sample, workflow=calm)
        found += 1
        yield seed, sample


def without_time(part: Any) -> Any:
    """Let everything go on after failures, without limits and timeouts."""
    if isinstance(part, list):
        return [without_time(one) for one in part]
    if not isinstance(part, dict):
        return part
    found = {
        key: without_time(one)
        for key, one in part.items()
        if key != "limits" and not (key == "timeout" and isinstance(one, str | float | int))
    }
    if isinstance(found.get("tasks"), dict):
        found["on_failure"] = "continue"
    return found


def document(workflow: Workflow) -> dict[str, Any]:
    """Give a workflow as the document it is read from."""
    return workflow.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def describe(sample: Sample) -> str:
    """Show a sample as documents that can be pasted."""
    return "\n---\n".join(
        yaml.safe_dump(part, sort_keys=False, allow_unicode=True)
        for part in (document(sample.workflow), sample.inputs, sample.scenario.to_json())
    )
