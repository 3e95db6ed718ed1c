"""Crews and flows against hand-computed outcomes and random workflows, in virtual time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

pytest.importorskip("talea_crewai.framework")

from crewai.events import crewai_event_bus

import oracle.generator
from oracle.harness import Observation, observe_here, wrong
from talea.conformance.cases import Case, load_cases
from talea.conformance.looptime import VirtualLoop

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of CrewAI's own code
STYLES = ("auto", "flow")
SAMPLES = int(os.environ.get("TALEA_FUZZ", "60"))
LATER = {
    "a successor of higher priority goes before who waits": "CrewAI begins what comes after a task"
    " some turns of the event loop later; who waits for the place has it by then",
}
"""Cases of exact timing that come out differently, each with the reason."""


class CrewLoop(VirtualLoop):
    """Virtual time in which CrewAI's housekeeping on threads takes none."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def _run_once(self) -> None:
        # The flow waits for those who listen to its events: they are on CrewAI's own threads.
        if not self._ready:
            crewai_event_bus.flush()
        super()._run_once()


def observe(workflow: Any, inputs: Any, scenario: Any, style: str) -> Observation:
    with asyncio.Runner(loop_factory=CrewLoop) as runner:
        options = {"style": style}
        return runner.run(observe_here(workflow, inputs, scenario, "crewai", options))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_case(case: Case, style: str) -> None:
    """A case comes out as its author computed by hand."""
    if case.name in LATER:
        pytest.skip(LATER[case.name])
    observed = observe(case.workflow, case.inputs, case.scenario, style)
    assert not [*case.differences(observed.outcome), *observed.problems], _causes(
        observed.result.error
    )


@pytest.mark.parametrize("style", STYLES)
def test_random_workflows_come_to_what_the_oracle_says(style: str) -> None:
    for seed in range(SAMPLES):
        sample = oracle.generator.sample(Random(seed))
        observed = observe(sample.workflow, sample.inputs, sample.scenario, style)
        problems = wrong(sample.workflow, sample.inputs, sample.scenario, observed.outcome)
        assert not [*problems, *observed.problems], (seed, *_causes(observed.result.error))


def _causes(failure: Any) -> list[str]:
    found, cause = [str(failure)], failure and failure.cause
    while cause is not None:
        found.append(repr(cause))
        cause = cause.__cause__ or cause.__context__
    return found
