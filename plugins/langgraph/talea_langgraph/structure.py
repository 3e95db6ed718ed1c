"""What a plan looks like in supersteps: all nodes of one wait for the slowest before the next."""

from __future__ import annotations

from dataclasses import dataclass

from talea import ir
from talea.plan import Plan, Step

_INSTANT = frozenset({"value"})
"""Kinds of task that take no time worth waiting for."""
_SEND_STEPS = 3
"""Supersteps of a map by `Send`: the list, the items, the join."""


@dataclass(slots=True, frozen=True)
class Levels:
    """In which superstep each task ends, how many there are, and who waits for strangers."""

    ends: tuple[int, ...]
    depth: int
    held_up: tuple[int, ...]
    """Tasks that wait for one that they do not depend on, and that takes time."""


def may_interrupt(plan: Plan, step: Step) -> bool:
    """Say whether a task puts a question that can interrupt the graph."""
    if isinstance(step.task, ir.ToolTask):
        return plan.workflow.tools[step.task.tool].approve
    return step.kind == "ask"


def needs_asker(plan: Plan, step: Step, *, by_graphs: bool) -> bool:
    """Say whether a person must allow calls of a task, and an interrupt could not be told to be
    answered for the very same call: those of an agent, and all in the functional API."""
    document = plan.workflow
    if isinstance(step.task, ir.ToolTask):
        return not by_graphs and document.tools[step.task.tool].approve
    tools = [tool for agent in step.agents for tool in document.agents[agent].tools]
    return any(document.tools[tool].approve for tool in tools)


def is_sent(step: Step, maps: str) -> bool:
    """Say whether a task becomes a native map."""
    return step.for_each is not None and maps == "send"


def levels(plan: Plan, maps: str) -> Levels:
    """Put each task of a plan, at its own level, into the superstep that LangGraph runs it in."""
    ends = [0] * len(plan.steps)
    slow: dict[int, int] = {}
    for i in plan.order:
        step = plan.steps[i]
        before = max((ends[d] for d in step.dependencies), default=0)
        ends[i] = before + (_SEND_STEPS if is_sent(step, maps) else 1)
        if step.kind not in _INSTANT:
            for at in range(before + 1, ends[i] + 1):
                slow[at] = slow.get(at, 0) + 1
    held_up: list[int] = []
    for step in plan.steps:
        before = max((ends[d] for d in step.dependencies), default=0)
        own = sum(
            ends[d] == before and plan.steps[d].kind not in _INSTANT for d in step.dependencies
        )
        if step.kind not in _INSTANT and own < slow.get(before, 0):
            held_up.append(step.index)
    return Levels(tuple(ends), max(ends, default=0), tuple(held_up))
