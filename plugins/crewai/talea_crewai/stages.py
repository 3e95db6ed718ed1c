"""A plan cut into as many parts as a Flow can have methods, without making anything wait for more.

A method costs CrewAI a turn of a thread and some 0.3 ms of CPU time, ten times as much as a task of
a stage. A plan may be cut at a task that all before it lead to and all after it need: whoever comes
after could not have begun earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

from talea.plan import Plan

MOST_METHODS = 100
"""Methods up to which each task has its own."""
_PARTS = 25
"""Methods of a plan with more tasks than that."""


@dataclass(slots=True, frozen=True)
class Stage:
    """Tasks that one method of a flow carries out, in topological order."""

    tasks: tuple[int, ...]
    after: tuple[int, ...]
    """The stages that must have ended first."""


def cut(plan: Plan) -> list[Stage]:
    """Cut a plan into stages, in topological order: one for each task if there are few."""
    if len(plan.steps) <= MOST_METHODS:
        place = {i: at for at, i in enumerate(plan.order)}
        return [
            Stage((i,), tuple(sorted(place[d] for d in plan.steps[i].dependencies)))
            for i in plan.order
        ]
    stages: list[Stage] = []
    for tasks in _gathered(plan, _necks(plan)):
        stages.append(Stage(tasks, (len(stages) - 1,) if stages else ()))
    return stages


def _necks(plan: Plan) -> list[int]:
    """Find the places in the topological order, after which the plan may be cut, in linear time."""
    order, steps = plan.order, plan.steps
    place = [0] * len(order)
    for at, i in enumerate(order):
        place[i] = at
    # What stands after a place may need nothing that stands before it, and must need something.
    first_needed = [len(order)] * (len(order) + 1)
    for at in range(len(order) - 1, -1, -1):
        needed = [place[d] for d in steps[order[at]].dependencies]
        first_needed[at] = min(first_needed[at + 1], min(needed, default=-1))
    found: list[int] = []
    open_ends = 0
    for at, i in enumerate(order):
        # Until here, only this task may lead to what follows, or to nothing.
        if not open_ends and first_needed[at + 1] >= at:
            found.append(at)
        open_ends += not steps[i].successors
    return found


def _gathered(plan: Plan, necks: list[int]) -> list[tuple[int, ...]]:
    """Cut at so many of the places that about the wanted number of parts comes of it."""
    wanted = max(1, len(plan.order) // _PARTS)
    parts: list[tuple[int, ...]] = []
    begun = 0
    for at in necks:
        if at + 1 - begun >= wanted:
            parts.append(plan.order[begun : at + 1])
            begun = at + 1
    if begun < len(plan.order):
        parts.append(plan.order[begun:])
    return parts
