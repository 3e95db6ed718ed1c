"""The adapter: a plan becomes a schedule, and an agent a plain loop on the openai SDK."""

from __future__ import annotations

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
from talea.errors import UsageError
from talea.plan import Plan
from talea_simple.scheduler import Schedule, drive

_WORK = {
    "agent": "the agent's own loop: a model call, its tools side by side, the next call",
    "tool": "a call of the tool",
    "team": "the agents of the team, each by its own loop; the manager has a tool to delegate",
    "value": "the value",
    "ask": "a question to the run's own person",
    "tasks": "a schedule of what is inside",
    "workflow": "a schedule of the workflow",
}


class SimpleAdapter(Adapter[Schedule]):
    """Run workflows in process, without a framework."""

    name = "simple"
    features: ClassVar[Mapping[Feature, Support]] = {
        feature: Support(Level.NATIVE, "the in-process scheduler and agent loop")
        for feature in Feature
    }

    def load(self) -> None:
        """Import the SDK that asks models."""
        import_module("openai.resources.chat.completions")

    def compile(self, plan: Plan, options: Options) -> Schedule:
        """Build the schedule of a plan."""
        if options:
            name = next(iter(options))
            raise UsageError(f"framework 'simple' has no option {name!r}", "it has none")
        return Schedule.of(plan)

    async def execute(self, compiled: Schedule, run: Run) -> None:
        """Drive the run by its schedule."""
        await drive(compiled, run)

    async def answer(self, call: AgentCall) -> AgentAnswer:
        """Let an agent answer by a plain loop of model calls and tools."""
        from talea_simple.agent import answer

        return await answer(call)

    def describe(self, plan: Plan, options: Options) -> Mapping[str, str]:
        """Say what each task becomes, and what it costs."""
        told = {
            step.id: _WORK[step.kind]
            + (", for all items side by side" if step.for_each is not None else "")
            for step in plan.steps
        }
        whole = "a schedule in this process; a task begins when what it depends on has ended"
        return {"": whole} | told

    @asynccontextmanager
    async def session(self, run: Run) -> AsyncGenerator[Any, None]:
        """Share one HTTP pool among all agents of a run; it is made when the first one asks.

        The SDK takes most of a second to import: that is no part of the first task's time.
        """
        from talea_simple.agent import Clients

        if Feature.AGENT in run.plan.features:
            self.load()
        async with Clients() as clients:
            yield clients
