"""A run of a scenario on a real framework: its schedule, with tools, agents and a person made up.

What a framework's agents do with a model is no matter of these runs: the model they would ask is
not there.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from talea import ir
from talea.adapter import (
    Adapter,
    AgentAnswer,
    AgentCall,
    AskCall,
    Feature,
    Options,
    Run,
    Support,
    Unanswered,
)
from talea.conformance import order
from talea.conformance.looptime import run_in_virtual_time
from talea.conformance.outcome import Outcome, outcome_of
from talea.conformance.scenario import MICROSECONDS, Behaviour, Scenario, plain
from talea.errors import TaskError
from talea.events import Event, Usage
from talea.kernel.outputs import read_answer
from talea.kernel.people import read_approval
from talea.kernel.team import MemberCall
from talea.plan import Plan
from talea.plugins import get_adapter
from talea.result import Result
from talea.run import prepare
from talea.tools import ToolContext, call_at_once

_CONTEXT = "talea_context"
_SAID = "said"
"""Stands for the conversation of a team's agent, whose answer may be refused."""


@dataclass(slots=True)
class Observation:
    """What a real run came to, and which rules of order its events break."""

    outcome: Outcome
    problems: list[str]
    result: Result
    events: list[Event]


class World:
    """The scenario as code: tools, agents and a person that follow it."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.calls: list[str] = []
        self.asked: list[str] = []
        self.numbers = Counter[str]()
        self.refused: set[tuple[str, int]] = set()

    async def call(self, address: str, *, echo: Any) -> tuple[Any, Behaviour]:
        """Let a call go as the scenario says. Gives its result, and how it went."""
        self.calls.append(address)
        number = self.numbers[plain(address)]
        self.numbers[plain(address)] += 1
        behaviour = self.scenario.behaviour(address, number)
        if behaviour.hang:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(self.scenario.delay(address, number) / MICROSECONDS)
        if behaviour.error:
            raise TaskError(behaviour.error, "as the scenario says")
        return (echo if behaviour.echo else behaviour.result), behaviour

    def tool(self, name: str, arguments: set[str]) -> Callable[..., Any]:
        """Make a tool that takes these arguments, all optional."""

        async def tool(**given: Any) -> Any:
            """Follow the scenario."""
            context: ToolContext = given.pop(_CONTEXT)
            place = context.address
            if context.agent is not None:
                place = f"{place}@{context.agent}/{name}"
            result, _ = await self.call(place, echo=given)
            return result

        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter(name, keyword, default=None, annotation=Any) for name in arguments
        ]
        own = inspect.Parameter(_CONTEXT, keyword, annotation=ToolContext)
        cast("Any", tool).__signature__ = inspect.Signature([*parameters, own])
        return tool

    async def ask(self, call: AskCall) -> Any:
        """Answer a question as the scenario says."""
        address = plain(call.address)
        number = self.numbers[address]
        answer = self.scenario.answer(address, number)
        if answer is None or (address, number) in self.refused:
            raise Unanswered
        await asyncio.sleep(answer.delay)
        self.numbers[address] += 1
        if call.approval is not None and call.schema is not None:
            _, refusal = read_approval(answer.value, call.schema)
        else:
            _, refusal = read_answer(answer.value, call.schema)
        if refusal is not None and self.scenario.is_last_answer(address, number):
            self.refused.add((address, number + 1))
        return answer.value


class Agents(Adapter[None]):
    """Agents that follow a scenario, on whatever framework's schedule.

    A run takes them beside the framework that is tested, which compiles and executes: these answer
    alone, so they have neither and offer no feature.
    """

    name = "scenario"
    features: ClassVar[Mapping[Feature, Support]] = {}

    def __init__(self, world: World) -> None:
        self.world = world

    def compile(self, plan: Plan, options: Options) -> None:
        """Raise NotImplementedError: the framework that is tested compiles."""
        raise NotImplementedError

    async def execute(self, compiled: None, run: Run) -> None:
        """Raise NotImplementedError: the framework that is tested executes."""
        raise NotImplementedError

    async def answer(self, call: AgentCall) -> AgentAnswer:
        """Answer with one model call, or call tools as the scenario says, and go on."""
        is_in_team = isinstance(call, MemberCall)
        place = f"{call.address}@{call.name}" if is_in_team else call.address
        told = call.prompt
        while True:
            await call.begin_turn()
            self.world.asked.append(call.name)
            result, behaviour = await self.world.call(place, echo=told)
            call.end_turn(Usage(input_tokens=behaviour.tokens))
            if not behaviour.uses:
                text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
                return AgentAnswer(text, conversation=_SAID if is_in_team else None)
            told = await _use(call, behaviour.uses)


async def _use(call: AgentCall, uses: Sequence[Mapping[str, Mapping[str, Any]]]) -> str:
    """Call tools at once. Gives their texts, and raises the first error."""
    tools = {tool.name: tool for tool in call.tools}

    async def use(name: str, arguments: Mapping[str, Any]) -> str:
        text = await tools[name].call(arguments) if name in tools else call.unknown_tool(name)
        return "failed" if text.startswith("Error: ") else text

    return "\n".join(await call_at_once(use(*item) for one in uses for item in one.items()))


def observe(
    workflow: ir.Workflow,
    inputs: Mapping[str, Any],
    scenario: Scenario,
    framework: str | Adapter[Any] = "simple",
    options: Mapping[str, str] | None = None,
) -> Observation:
    """Run a workflow for real, in virtual time. Raises InputError if the inputs do not fit."""
    adapter = get_adapter(framework) if isinstance(framework, str) else framework
    running = observe_here(workflow, inputs, scenario, adapter, options)
    return run_in_virtual_time(running, adapter.settle)


async def observe_here(
    workflow: ir.Workflow,
    inputs: Mapping[str, Any],
    scenario: Scenario,
    framework: str | Adapter[Any] = "simple",
    options: Mapping[str, str] | None = None,
) -> Observation:
    """Run a workflow for real, on the event loop that is there."""
    world = World(scenario)
    events: list[Event] = []
    arguments = arguments_of(workflow) | scenario.arguments
    prepared = prepare(
        workflow,
        inputs,
        framework=framework,
        options=options,
        tools={name: world.tool(name, arguments) for name in workflow.tools},
        ask=world.ask,
        sinks=[events.append],
    )
    prepared.agents = Agents(world)
    result = await prepared.run()
    outcome = outcome_of(result, events, world.calls, world.asked)
    return Observation(outcome, order.problems(workflow, events), result, events)


def arguments_of(workflow: ir.Workflow) -> set[str]:
    """Give the names of all arguments that the tools of a workflow take, or are given."""
    found: set[str] = set()
    for tool in workflow.tools.values():
        declared = cast("dict[str, Any]", (tool.parameters or {}).get("properties") or {})
        found |= declared.keys()
    plans: list[Mapping[str, ir.TaskModel]] = [workflow.tasks]
    plans += [inner.tasks for inner in workflow.workflows.values()]
    for tasks in plans:
        for task in tasks.values():
            if isinstance(task, ir.BlockTask):
                plans.append(task.tasks)
            elif isinstance(task, ir.ToolTask):
                found |= task.with_.keys()
    return found
