"""Runs the real thing on a scenario, in virtual time, and compares it with the oracle.

observe(workflow, inputs, scenario, framework) ──▶ Observation(outcome, problems)
determined(workflow, inputs, scenario)         ──▶ what the oracle says for certain
differences(expected, outcome)                 ──▶ what is not so
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from random import Random
from typing import Any, cast

from talea import ir
from talea.adapter import Adapter, AgentAnswer, AgentCall, AskCall, Options, Run, Unanswered
from talea.errors import TaskError
from talea.events import Event, RunEnded, TaskEnded, Usage
from talea.plan import Plan
from talea.result import Result
from talea.run import prepare
from talea.tools import ToolContext

from . import order
from .interpreter import Outcome, TaskOutcome, interpret, take_answer
from .looptime import run_in_virtual_time
from .scenario import MICROSECONDS, Scenario, microseconds, plain
from .schemas import Misfit

_CONTEXT = "talea_context"


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
        self.numbers = Counter[str]()
        self.refused: set[tuple[str, int]] = set()

    async def call(self, address: str, *, echo: Any) -> tuple[Any, int]:
        """Let a call go as the scenario says. Gives its result and the tokens it used."""
        self.calls.append(address)
        number = self.numbers[plain(address)]
        self.numbers[plain(address)] += 1
        behaviour = self.scenario.behaviour(address, number)
        if behaviour.hang:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(self.scenario.delay(address, number) / MICROSECONDS)
        if behaviour.error:
            raise TaskError(behaviour.error, "as the scenario says")
        return (echo if behaviour.echo else behaviour.result), behaviour.tokens

    def tool(self, arguments: set[str]) -> Callable[..., Any]:
        """Make a tool that takes these arguments, all optional."""

        async def tool(**given: Any) -> Any:
            """Follow the scenario."""
            context: ToolContext = given.pop(_CONTEXT)
            result, _ = await self.call(context.address, echo=given)
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
        schema = call.schema.schema if call.schema else {"type": "string"}
        try:
            take_answer(answer.value, cast("Any", schema))
        except Misfit:
            if self.scenario.is_last_answer(address, number):
                self.refused.add((address, number + 1))
        return answer.value


class Agents(Adapter[None]):
    """Agents that follow a scenario, on whatever framework's schedule."""

    name = "scenario"
    features = {}

    def __init__(self, world: World) -> None:
        self.world = world

    def compile(self, plan: Plan, options: Options) -> None:
        """Refuse: only agents are here."""
        raise NotImplementedError

    async def execute(self, compiled: None, run: Run) -> None:
        """Refuse: only agents are here."""
        raise NotImplementedError

    async def answer(self, call: AgentCall) -> AgentAnswer:
        """Answer with one model call."""
        call.begin_turn()
        result, tokens = await self.world.call(call.address, echo=call.prompt)
        call.end_turn(Usage(input_tokens=tokens))
        text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
        return AgentAnswer(text)


def observe(
    workflow: ir.Workflow,
    inputs: Mapping[str, Any],
    scenario: Scenario,
    framework: str = "simple",
    options: Mapping[str, str] | None = None,
) -> Observation:
    """Run a workflow for real, in virtual time. Raises InputError if the inputs do not fit."""
    return run_in_virtual_time(observe_here(workflow, inputs, scenario, framework, options))


async def observe_here(
    workflow: ir.Workflow,
    inputs: Mapping[str, Any],
    scenario: Scenario,
    framework: str = "simple",
    options: Mapping[str, str] | None = None,
) -> Observation:
    """Run a workflow for real, on the event loop that is there."""
    world = World(scenario)
    events: list[Event] = []
    arguments = arguments_of(workflow)
    prepared = prepare(
        workflow,
        inputs,
        framework=framework,
        options=options,
        tools={name: world.tool(arguments) for name in workflow.tools},
        ask=world.ask,
        sinks=[events.append],
    )
    prepared.agents = Agents(world)
    result = await prepared.run()
    outcome = outcome_of(result, events, world.calls)
    return Observation(outcome, order.problems(workflow, events), result, events)


def arguments_of(workflow: ir.Workflow) -> set[str]:
    """Give the names of all arguments that the tools of a workflow take, or are given."""
    found: set[str] = set()
    for tool in workflow.tools.values():
        found |= (tool.parameters or {}).get("properties", {}).keys()  # type: ignore[union-attr]
    plans: list[Mapping[str, ir.TaskModel]] = [workflow.tasks]
    plans += [inner.tasks for inner in workflow.workflows.values()]
    for tasks in plans:
        for task in tasks.values():
            if isinstance(task, ir.BlockTask):
                plans.append(task.tasks)
            elif isinstance(task, ir.ToolTask):
                found |= task.with_.keys()
    return found


def outcome_of(result: Result, events: list[Event], calls: list[str]) -> Outcome:
    """Tell a result as the oracle tells it, with the full addresses that events hold."""
    addresses: dict[str, str | None] = {}
    ends: list[tuple[int, str, str]] = []
    final: RunEnded | None = None
    for event in events:
        if isinstance(event, TaskEnded):
            addresses[plain(event.address)] = event.error.address if event.error else None
            ends.append((microseconds(event.time), event.address, str(event.status)))
        elif isinstance(event, RunEnded):
            final = event
    tasks = {
        address: TaskOutcome(
            str(task.status),
            task.reason,
            task.output,
            str(task.error.type) if task.error else None,
            addresses.get(address) if task.error else None,
            task.recovered,
            task.attempts,
        )
        for address, task in result.tasks.items()
    }
    assert final
    error = final.error
    return Outcome(
        str(result.status),
        str(error.type) if error else None,
        error.address if error else None,
        result.outputs,
        tasks,
        calls,
        ends,
        microseconds(result.duration),
    )


Facts = dict[str, Any]
"""What is so, by what it is about: `run.status`, `a[0]/b.attempts`."""


def facts(outcome: Outcome) -> Facts:
    """Give what an outcome says, apart from times and the order of calls."""
    found: Facts = {
        "run.status": outcome.status,
        "run.error": (outcome.error_type, outcome.error_address),
        "run.outputs": outcome.outputs,
        "tasks": set(outcome.tasks),
    }
    for address, task in outcome.tasks.items():
        for field in fields(task):
            # Whether an attempt had begun in the very instant of a stop is left to time.
            if field.name != "attempts" or task.status != "cancelled":
                found[f"{address}.{field.name}"] = getattr(task, field.name)
    return found


def determined(
    workflow: ir.Workflow,
    inputs: Mapping[str, Any],
    scenario: Scenario,
    *,
    rounds: int = 500,
    spread: float = 0.01,
) -> Iterator[Facts]:
    """Give the facts of the oracle's run, then ever fewer: those that hold in shaken runs as well.

    What is left is not what time decides.
    """
    certain = facts(interpret(workflow, inputs, scenario))
    yield certain
    for seed in range(rounds):
        wide = spread if seed % 2 else 0.0
        shaken = interpret(workflow, inputs, scenario, ties=Random(seed), spread=wide)
        other = facts(shaken)
        certain = {key: value for key, value in certain.items() if other.get(key, other) == value}
        yield certain


def wrong(
    workflow: ir.Workflow,
    inputs: Mapping[str, Any],
    scenario: Scenario,
    outcome: Outcome,
    *,
    spread: float = 0.01,
) -> list[str]:
    """Tell what of a real outcome is not as the oracle says for certain.

    Before anything counts as wrong, the oracle is shaken until it is hardly by chance.
    """
    found: list[str] = []
    for certain in determined(workflow, inputs, scenario, spread=spread):
        if not (found := differences(certain, outcome)):
            break
    return found


def differences(certain: Facts, outcome: Outcome) -> list[str]:
    """Tell what of an outcome is not as it must be."""
    found = facts(outcome)
    return [
        f"{key}: {found.get(key)!r}, expected {value!r}"
        for key, value in certain.items()
        if (key not in found or found[key] != value)
        and not (key not in found and key.rpartition(".")[0] not in outcome.tasks and not value)
    ]
