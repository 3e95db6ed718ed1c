"""The adapter: a plan becomes a Crew or a Flow, and an agent a fresh CrewAI agent with one task."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, ClassVar

from talea.adapter import (
    Adapter,
    AgentAnswer,
    AgentCall,
    Feature,
    Level,
    Options,
    Run,
    Support,
)
from talea.errors import Lack, UnsupportedError, UsageError
from talea.plan import Plan, Step
from talea_crewai.blueprint import Blueprint, Compiled, Driver, around
from talea_crewai.stages import MOST_METHODS, cut

_STYLES = ("auto", "crew", "flow")


def _native(reason: str) -> Support:
    return Support(Level.NATIVE, reason)


def _kernel(reason: str) -> Support:
    return Support(Level.EMULATED, reason)


def _later(what: str) -> Support:
    return Support(Level.NOT_YET, f"{what} with a later version")


class CrewAIAdapter(Adapter[Compiled]):
    """Run workflows as CrewAI's crews and flows."""

    name = "crewai"
    options: ClassVar[Mapping[str, str]] = {
        "style": "auto, crew or flow: what the workflow becomes. auto makes a Crew of a sequence of"
        " agents, and a Flow of all else",
    }
    delays = "CrewAI begins what comes after a task some turns of the event loop later"
    features: ClassVar[Mapping[Feature, Support]] = {
        Feature.AGENT: _native("an Agent with a Task, fresh for each attempt"),
        Feature.AGENT_TOOLS: _native("a BaseTool for each, called by the agent's own loop"),
        Feature.CONTEXT: _native("the Task's context"),
        Feature.OUTPUT: _native("the model's response_format; checked by the kernel"),
        Feature.TASKS: _native("a Crew or Flow within the task"),
        Feature.WORKFLOW: _native("a Crew or Flow within the task"),
        Feature.SEQUENTIAL: _native("a Crew's sequential process, or a chain of Flow methods"),
        Feature.PARALLEL: _native("start methods of a Flow"),
        Feature.TOOL: _native("a method of the Flow"),
        Feature.VALUE: _native("a method of the Flow"),
        Feature.FOR_EACH: _kernel(
            "CrewAI has no map; the items run side by side within the Flow's method"
        ),
        Feature.TRIGGER: _kernel(
            "judged within the task; after a Flow's router, joins would never fire"
        ),
        Feature.WHEN: _kernel(
            "judged within the task; a ConditionalTask sees the last output only"
        ),
        Feature.LOOP: _kernel("repeated within the task; a Flow's own loop stops at 100 calls"),
        Feature.FALLBACK: _kernel("CrewAI has none"),
        Feature.RETRY: _kernel("CrewAI's own retries cannot be told by error, and are off"),
        Feature.TIMEOUT: _kernel("CrewAI's max_execution_time waits for the call that runs"),
        Feature.ASK: _kernel(
            "the run asks; CrewAI's human_feedback forgets finished tasks beside it"
        ),
        Feature.PRIORITY: _kernel("CrewAI has none; methods stand in its order"),
        Feature.MAX_PARALLEL: _kernel("CrewAI has none"),
        Feature.ON_FAILURE: _kernel("CrewAI stops at the first error and lets siblings run on"),
        Feature.LIMITS: _kernel("counted before each model call"),
        Feature.TEAM: _later("teams come"),
        Feature.HIERARCHICAL: _later("hierarchical processes come"),
        Feature.POOL: _later("pools come"),
        Feature.CAPABILITIES: _later("choosing an agent by capabilities comes"),
        Feature.APPROVE: _later("approving tool calls comes"),
        Feature.ON_RESUME: _later("resuming a run comes"),
    }

    def compile(self, plan: Plan, options: Options) -> Compiled:
        """Build a class of flows, or a maker of crews: call it, and `kickoff` what it gives.

        Raises `UsageError` for options it does not know, and `UnsupportedError` where a crew is
        wanted of what cannot be one.
        """
        wanted = _style(options)
        if wanted == "crew":
            _refuse_as_crew(plan)
        parts: dict[int, Compiled] = {}
        for inner in plan.plans():
            # What is inside follows its own structure: a crew is wanted of the whole.
            style = wanted if inner is plan or wanted == "flow" else "auto"
            parts[id(inner)] = _make(inner, style, options, parts)
        return parts[id(plan)]

    async def execute(self, compiled: Compiled | Driver, run: Run) -> None:
        """Drive the run by a crew or flow made for it, or by one that its user has kicked off."""
        from talea_crewai.framework import quiet

        driver = compiled() if callable(compiled) else compiled
        token = around.set(compiled.blueprint.parts)
        try:
            with quiet():
                await driver.drive(run)
        finally:
            around.reset(token)

    async def nested(self, child: Run) -> None:
        """Run a block or sub-workflow by the crew or flow that was made for it with the whole."""
        await around.get()[id(child.plan)]().drive(child)

    async def answer(self, call: AgentCall) -> AgentAnswer:
        """Let a fresh agent answer."""
        from talea_crewai.agent import answer

        return await answer(call)

    def settle(self) -> None:
        """Wait for those who listen to CrewAI's events: they are on threads, and a Flow waits."""
        from talea_crewai.framework import crewai_event_bus

        crewai_event_bus.flush()
        time.sleep(0.001)  # It returns when a result is set, a moment before its waiter is told.

    @asynccontextmanager
    async def session(self, run: Run) -> AsyncIterator[Any]:
        """Share one HTTP pool among all agents of a run; it is made when the first one asks."""
        from talea_crewai.clients import Clients

        async with Clients() as clients:
            yield clients

    def describe(self, plan: Plan, options: Options) -> Mapping[str, str]:
        """Say what each task becomes, and what it costs."""
        style = _chosen(plan, _style(options))
        if style == "crew":
            _refuse_as_crew(plan)
            told = {step.id: _told_in_crew(step) for step in plan.steps}
            words = "a Crew with a sequential process"
            if not _is_sequence(plan):
                words += "; tasks that could run side by side run one after another"
            return {"": words} | told
        stages = cut(plan)
        if len(plan.steps) <= MOST_METHODS:
            told = {step.id: _told_in_flow(step) for step in plan.steps}
            return {"": f"a Flow with {len(stages)} methods"} | told
        words = (
            f"a Flow with {len(stages)} methods for {len(plan.steps)} tasks: CrewAI's dispatch is"
            " quadratic in methods, so that each carries out a stage of the plan by talea's own"
            " schedule; stages are cut where nothing waits for it"
        )
        told = {
            plan.steps[i].id: f"stage {at}, {_told_in_flow(plan.steps[i])}"
            for at, stage in enumerate(stages)
            for i in stage.tasks
        }
        return {"": words} | told


def _style(options: Options) -> str:
    for name, value in options.items():
        if name != "style":
            raise UsageError(f"framework 'crewai' has no option {name!r}", "it has: style")
        if value not in _STYLES:
            raise UsageError(f"style is {value!r}", f"it is one of {', '.join(_STYLES)}")
    return options.get("style", "auto")


def _chosen(plan: Plan, style: str) -> str:
    if style != "auto":
        return style
    agents = all(step.kind == "agent" and step.for_each is None for step in plan.steps)
    return "crew" if plan.steps and agents and _is_sequence(plan) else "flow"


def _is_sequence(plan: Plan) -> bool:
    """Say whether each task needs the one before it, so that no two could run side by side."""
    order = plan.order
    return all(before in plan.steps[i].dependencies for before, i in pairwise(order))


def _refuse_as_crew(plan: Plan) -> None:
    """Raise `UnsupportedError` that names every task that cannot be one of a crew."""
    reason = "a Crew's task needs an agent; `style=flow` runs it"
    lacks = [Lack(step.id, step.kind, reason) for step in plan.steps if step.kind != "agent"]
    if not plan.steps:
        lacks = [Lack(plan.name, "tasks", "a Crew needs a task; `style=flow` runs it")]
    if lacks:
        raise UnsupportedError("crewai", lacks)


def _make(plan: Plan, style: str, options: Options, parts: Mapping[int, Compiled]) -> Compiled:
    blueprint = Blueprint(plan, options, parts)
    if _chosen(plan, style) == "crew":
        from talea_crewai.crew import CrewFactory

        return CrewFactory(blueprint)
    from talea_crewai.flow import make_flow

    return make_flow(blueprint)


def _told_in_crew(step: Step) -> str:
    words = f"a Task of the agent {step.agents[0]!r}, a fresh Agent for each attempt"
    return words + _emulated(step)


def _told_in_flow(step: Step) -> str:
    if step.kind == "agent":
        words = f"a Flow method that has a fresh Agent {step.agents[0]!r} carry out a Task"
    elif step.plan is not None:
        inner = "a Crew" if _chosen(step.plan, "auto") == "crew" else "a Flow"
        words = f"a Flow method that kicks off {inner} for what is inside"
    else:
        words = "a Flow method, without an agent"
    return words + _emulated(step)


def _emulated(step: Step) -> str:
    """Name what the kernel does for a task, since CrewAI has nothing for it or does it wrong."""
    task = step.task
    done = [
        name
        for name, present in (
            ("trigger", task.trigger is not None),
            ("when", step.when is not None),
            ("for_each", step.for_each is not None),
            ("fallback", step.fallback is not None),
            ("loop", step.loop is not None),
            ("retry", step.retry is not None),
            ("timeout", step.timeout is not None),
        )
        if present
    ]
    return f"; by talea's kernel: {', '.join(done)}" if done else ""
