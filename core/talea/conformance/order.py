"""Rules that the events of every run keep, whatever its outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from talea import ir
from talea.conformance.scenario import plain
from talea.events import (
    AgentEnded,
    AgentStarted,
    Event,
    InnerEnded,
    InnerStarted,
    RunEnded,
    RunStarted,
    TaskEnded,
    TaskStarted,
    TaskWaiting,
)
from talea.plan import Plan, Step, make_plan


def problems(workflow: ir.Workflow, events: list[Event]) -> list[str]:
    """Tell which rules of order the events of a run break."""
    return [*_problems(workflow, events), *_unpaired(workflow, events)]


def _unpaired(workflow: ir.Workflow, events: list[Event]) -> Iterator[str]:
    """Attempts of agents and blocks begin and end in turn, one at a time at each address; of a
    team's agents, several may be at work."""
    at_work: Counter[tuple[str, str]] = Counter()
    teams = {address for address, _, step in _steps(workflow) if step.kind == "team"}
    for event in events:
        if isinstance(event, AgentStarted | InnerStarted | AgentEnded | InnerEnded):
            most, kind = 1, "inside"
            if isinstance(event, AgentStarted | AgentEnded):
                kind = "agent"
                if _pattern(event.address) in teams:
                    most, kind = len(events), f"agent {event.agent}"
            place = kind, event.address
            at_work[place] += 1 if isinstance(event, AgentStarted | InnerStarted) else -1
            if not 0 <= at_work[place] <= most:
                yield f"{event} out of turn"
    for (kind, address), count in at_work.items():
        if count:
            yield f"{address} ({kind}) began and never ended"


def _problems(workflow: ir.Workflow, events: list[Event]) -> Iterator[str]:
    if not isinstance(events[0], RunStarted) or not isinstance(events[-1], RunEnded):
        yield f"the run starts with {events[0]} and ends with {events[-1]}"
    before = dependencies(workflow)
    started: set[str] = set()
    ended: set[str] = set()
    time = 0.0
    for event in events:
        if event.time < time:
            yield f"{event} goes back in time"
        time = event.time
        if isinstance(event, InnerStarted):
            inside = f"{event.address}/"
            started = {address for address in started if not address.startswith(inside)}
            ended = {address for address in ended if not address.startswith(inside)}
        if not isinstance(event, TaskStarted | TaskEnded | TaskWaiting):
            continue
        address = event.address
        if address in ended:
            yield f"{event} after its end"
        around = _around(address)
        if around is not None and (around not in started or around in ended):
            yield f"{event} while {around} is not at work"
        if isinstance(event, TaskStarted):
            place = address.rpartition("/")[0]
            for name in before[_pattern(address)]:
                other = f"{place}/{name}" if place else name
                if other not in ended:
                    yield f"{address} started before {other} had ended"
            started.add(address)
        elif isinstance(event, TaskEnded):
            ended.add(address)
            is_work = event.status in {"succeeded", "failed"}
            if is_work and address not in started and not _is_condition_error(event):
                yield f"{address} ended without having started"


def _is_condition_error(event: TaskEnded) -> bool:
    """Say whether a task's own condition or list failed."""
    error = event.error
    return error is not None and error.type == "expression" and error.address == event.address


def dependencies(workflow: ir.Workflow) -> dict[str, tuple[str, ...]]:
    """Give the dependencies of every task, by its address without `[i]` and `#n`."""
    return {
        address: tuple(plan.steps[i].id for i in step.dependencies)
        for address, plan, step in _steps(workflow)
    }


def _steps(workflow: ir.Workflow) -> Iterator[tuple[str, Plan, Step]]:
    """Give every task by its address without `[i]` and `#n`, with the plan that it stands in."""
    waiting = [("", make_plan(workflow))]
    while waiting:
        place, plan = waiting.pop()
        for step in plan.steps:
            yield place + step.id, plan, step
            if step.plan is not None:
                waiting.append((f"{place}{step.id}/", step.plan))


def _pattern(address: str) -> str:
    return "/".join(part.partition("[")[0] for part in plain(address).split("/"))


def _around(address: str) -> str | None:
    """Give the address of the task around, without its own `[i]` and `#n`."""
    place = address.rpartition("/")[0]
    if not place:
        return None
    head, _, name = place.rpartition("/")
    name = name.partition("[")[0].partition("#")[0]
    return f"{head}/{name}" if head else name
