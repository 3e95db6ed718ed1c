"""The oracle against hand-computed outcomes, and against the laws that the language promises."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings

from oracle.generator import Sample, samples
from oracle.harness import facts
from oracle.interpreter import interpret
from talea.conformance.cases import Case, load_cases

LAWS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_case(case: Case) -> None:
    """The oracle gives what the case's author computed by hand."""
    assert not case.differences(interpret(case.workflow, case.inputs, case.scenario))


@LAWS
@given(samples())
def test_under_continue_everything_is_determined(sample: Sample) -> None:
    """Rule 3: without a stop, a limit and a timeout, no time and no tie decides anything."""
    if sample.is_determined:
        certain = facts(interpret(sample.workflow, sample.inputs, sample.scenario))
        for seed in range(3):
            shaken = interpret(
                sample.workflow, sample.inputs, sample.scenario, ties=Random(seed), spread=0.95
            )
            assert facts(shaken) == certain


@LAWS
@given(samples())
def test_success_never_rests_on_time(sample: Sample) -> None:
    """Rule 3: whether a run succeeds is the same at any speed, unless a document decides by an
    error's type or by a limit, of which a timeout is one."""
    if not (sample.decides_by_type or sample.is_bounded or sample.is_timed):
        plain = interpret(sample.workflow, sample.inputs, sample.scenario)
        for seed in range(3):
            shaken = interpret(
                sample.workflow, sample.inputs, sample.scenario, ties=Random(seed), spread=0.95
            )
            assert (shaken.status == "succeeded") == (plain.status == "succeeded")
