"""The adapter: a plan becomes a Crew or a Flow, and an agent a fresh CrewAI agent with one task."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
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
from talea.plan import Plan
from talea_crewai.blueprint import Blueprint, Compiled, Driver, around
from talea_crewai.styles import HELP, read_style, style_inside, style_of


def _native(reason: str) -> Support:
    return Support(Level.NATIVE, reason)


def _kernel(reason: str) -> Support:
    return Support(Level.EMULATED, reason)


class CrewAIAdapter(Adapter[Compiled]):
    """Run workflows as CrewAI's crews and flows."""

    name = "crewai"
    options: ClassVar[Mapping[str, str]] = HELP
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
        Feature.APPROVE: _kernel("asked within the tool's call; CrewAI asks no person about one"),
        Feature.PRIORITY: _kernel("CrewAI has none; methods stand in its order"),
        Feature.MAX_PARALLEL: _kernel("CrewAI has none"),
        Feature.ON_FAILURE: _kernel("CrewAI stops at the first error and lets siblings run on"),
        Feature.LIMITS: _kernel("counted before each model call"),
        Feature.TEAM: _native(
            "a Crew with the hierarchical process; the manager's tools are CrewAI's own, and lead"
            " through talea's kernel. Members who hand over are emulated: CrewAI has no such thing"
        ),
        Feature.HIERARCHICAL: _native(
            "a Crew with the hierarchical process, as for a team with a manager"
        ),
        Feature.POOL: _kernel("chosen by talea's kernel when the attempt gets its place"),
        Feature.CAPABILITIES: _kernel("chosen by talea's kernel when the attempt gets its place"),
        Feature.ON_RESUME: _kernel("judged when the run goes on, from the journal"),
    }

    def load(self) -> None:
        """Import the framework, and what asks models."""
        for room in ("framework", "agent", "crew", "flow", "model"):
            import_module(f"talea_crewai.{room}")
        import_module("openai.resources.chat.completions")

    def compile(self, plan: Plan, options: Options) -> Compiled:
        """Build a class of flows, or a maker of crews: call it, and `kickoff` what it gives.

        Raises `UsageError` for options it does not know, and `UnsupportedError` where a crew is
        wanted of what cannot be one.
        """
        wanted = read_style(plan, options)
        parts: dict[int, Compiled] = {}
        for inner in plan.plans():
            style = style_of(inner, wanted if inner is plan else style_inside(wanted))
            parts[id(inner)] = _make(inner, style, parts)
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
    async def session(self, run: Run) -> AsyncGenerator[Any]:
        """Share one HTTP pool among all agents of a run; it is made when the first one asks."""
        from talea_crewai.clients import Clients

        async with Clients() as clients:
            yield clients

    def describe(self, plan: Plan, options: Options) -> Mapping[str, str]:
        """Say what each task becomes, and what it costs."""
        from talea_crewai.describing import describe

        return describe(plan, read_style(plan, options))


def _make(plan: Plan, style: str, parts: Mapping[int, Compiled]) -> Compiled:
    blueprint = Blueprint(plan, parts)
    if style == "crew":
        from talea_crewai.crew import CrewFactory

        return CrewFactory(blueprint)
    from talea_crewai.flow import make_flow

    return make_flow(blueprint)
