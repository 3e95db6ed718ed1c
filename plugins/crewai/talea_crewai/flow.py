"""A plan as a class of CrewAI flows: a method for each task, or for each stage of a large plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from pydantic import PrivateAttr

from talea.adapter import Run
from talea.result import Result
from talea_crewai.blueprint import SETTINGS, Blueprint, Driver
from talea_crewai.framework import Flow, and_, listen, start
from talea_crewai.schedule import Schedule, scheduled
from talea_crewai.stages import Stage, cut

Method = Any
"""A method of a flow, as CrewAI's decorators give it."""
Listener = tuple[Any, Any, Any]
"""A method that listens, as CrewAI has it: its name, its definition and its condition."""


@dataclass(slots=True)
class _Audience:
    """Who listens to whom in a flow."""

    ended: str | None = None
    """The method whose listeners are being looked for."""
    listeners: dict[str, list[Listener]] | None = None
    """By the method that they listen to; None until somebody asks."""


class WorkflowFlow(Flow):  # pyright: ignore[reportMissingTypeArgument] - it has no state
    """A flow that carries out a workflow. `kickoff` takes its inputs and gives its outputs.

    Its methods carry out one task or stage each; what a task means is the kernel's. Made without
    memory, traces and events of its own, none of which a workflow asks for.
    """

    blueprint: ClassVar[Blueprint]
    _skip_auto_memory: bool = True  # CrewAI's name; else a flow imports its vector store (10 s).
    _schedule: Schedule | None = PrivateAttr(default=None)
    _settings: dict[str, Any] = PrivateAttr(default_factory=dict[str, Any])
    _result: Result | None = PrivateAttr(default=None)
    _audience: _Audience = PrivateAttr(default_factory=_Audience)

    def __init__(self, **data: Any) -> None:
        settings = {name: data.pop(name) for name in SETTINGS & data.keys()}
        quietly = {"suppress_flow_events": True, "tracing": False, "name": self.blueprint.plan.name}
        super().__init__(**quietly | data)
        self._settings = settings

    @property
    def result(self) -> Result | None:
        """How the last kickoff ended: statuses, outputs and usage of every task."""
        return self._result

    async def kickoff_async(
        self, inputs: dict[str, Any] | None = None, *args: Any, **more: Any
    ) -> Any:
        """Run the workflow; the result is its outputs. Raises `RunError` if it fails."""
        # Protocols know no class variable in the place of a property.
        own = cast("Driver", self)
        self._result = await self.blueprint.run_alone(own, inputs, self._settings)
        return self._result.raise_for_failure().outputs

    async def drive(self, run: Run) -> None:
        """Drive a run by the flow's methods."""
        if self._schedule is not None:
            # A flow has one state, and this one is being run.
            await type(self)().drive(run)
            return
        try:
            async with scheduled(run) as self._schedule:
                await cast("Any", super()).kickoff_async()
        finally:
            self._schedule = None

    async def carry_out(self, stage: Stage) -> None:
        """Do what one of the flow's methods is there for."""
        assert self._schedule is not None
        await self._schedule.carry_out(stage.tasks)

    # CrewAI looks through all methods at the end of each one, twice. These two let it look through
    # those that listen to it alone; in a CrewAI without them, a flow is merely slower.

    def _find_triggered_methods(self, trigger_method: Any, *args: Any, **more: Any) -> Any:
        """Find the methods that can begin, since one has ended."""
        audience = self._audience
        audience.ended = trigger_method
        try:
            return super()._find_triggered_methods(trigger_method, *args, **more)
        finally:
            audience.ended = None

    def _listener_methods(self) -> Iterator[Listener]:
        """Give the methods that listen, each with its definition and its condition."""
        audience = self._audience
        if audience.ended is None:
            return super()._listener_methods()
        if audience.listeners is None:
            audience.listeners = {}
            for listener in super()._listener_methods():
                for name in _heard(listener[2]):
                    audience.listeners.setdefault(name, []).append(listener)
        return iter(audience.listeners.get(audience.ended, ()))


def make_flow(blueprint: Blueprint) -> type[WorkflowFlow]:
    """Make the class of a plan's flows."""
    stages = cut(blueprint.plan)
    names = [_name(blueprint, at, stage) for at, stage in enumerate(stages)]
    steps = blueprint.plan.steps
    # CrewAI begins what is ready in the order of its methods.
    ranked = sorted(
        range(len(stages)), key=lambda at: (-steps[stages[at].tasks[0]].priority, stages[at].tasks)
    )
    members: dict[str, Method] = {
        names[at]: _method(names[at], stages[at], [names[before] for before in stages[at].after])
        for at in ranked
    }
    members |= {
        "__module__": __name__,
        "__doc__": blueprint.plan.workflow.description or "A workflow.",
        "blueprint": blueprint,
        "__annotations__": {"blueprint": ClassVar[Blueprint]},
    }
    made = type(blueprint.class_name, (WorkflowFlow,), members)
    made.flow_definition()  # Else the first run would take the time for it.
    return made


def _name(blueprint: Blueprint, at: int, stage: Stage) -> str:
    """Name a method so that it hides nothing that CrewAI's flows have."""
    if len(stage.tasks) == 1:
        return f"task_{blueprint.plan.steps[stage.tasks[0]].id}"
    return f"stage_{at}"


def _heard(condition: str | Mapping[str, list[str]]) -> Sequence[str]:
    """Give the methods that a condition of `_method` waits for."""
    return [condition] if isinstance(condition, str) else condition["and"]


def _method(name: str, stage: Stage, after: list[str]) -> Method:
    async def method(self: WorkflowFlow) -> None:
        await self.carry_out(stage)

    method.__name__ = method.__qualname__ = name
    if not after:
        return start()(method)
    return listen(after[0] if len(after) == 1 else and_(*after))(method)
