"""Random workflows: a run comes to what the oracle says, and its events keep their order.

`TALEA_FUZZ=20000 pytest tests/cross/test_fuzz.py` looks longer.
"""

from __future__ import annotations

import os

import yaml
from hypothesis import HealthCheck, given, note, settings

from oracle.generator import Sample, samples
from oracle.harness import differences, facts, observe, wrong
from oracle.interpreter import interpret

IN_CI = "CI" in os.environ
EXAMPLES = int(os.environ.get("TALEA_FUZZ", "2000" if IN_CI else "300"))
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


def describe(sample: Sample) -> str:
    """Show a sample as documents that can be pasted."""
    document = sample.workflow.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return "\n---\n".join(
        yaml.safe_dump(part, sort_keys=False, allow_unicode=True)
        for part in (document, sample.inputs, sample.scenario.to_json())
    )
