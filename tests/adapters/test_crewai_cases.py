"""Crews and flows against hand-computed outcomes and random workflows, in virtual time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

pytest.importorskip("talea_crewai.framework")

from crewai.events import crewai_event_bus
from oracle.cases import Case, load_cases
from oracle.generator import sample
from oracle.harness import Observation, determined, differences, observe_here
from oracle.looptime import VirtualLoop

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince211:crewai")
STYLES = ("auto", "flow")
SAMPLES = 60


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
            if self._selector.select(0) or selectors.DefaultSelector().select(0.0005):
                pass
        super()._run_once()


def observe(workflow: Any, inputs: Any, scenario: Any, style: str) -> Observation:
    with asyncio.Runner(loop_factory=CrewLoop) as runner:
        options = {"style": style}
        return runner.run(observe_here(workflow, inputs, scenario, "crewai", options))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_case(case: Case, style: str) -> None:
    """A case comes out as its author computed by hand."""
    observed = observe(case.workflow, case.inputs, case.scenario, style)
    assert not [*case.differences(observed.outcome), *observed.problems], _causes(observed.result.error)


def _causes(failure: Any) -> list[str]:
    found, cause = [str(failure)], failure and failure.cause
    while cause is not None:
        found.append(repr(cause))
        cause = cause.__cause__ or cause.__context__
    return found
