"""What a picture of a plan shows: boxes, boxes inside them, and arrows; for every format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from talea import ir
from talea.plan.graph import Plan, Step

LINE_LIMIT = 44
"""Characters of a line in a box; the rest is left out."""
BOX_LIMIT = 2000
"""Boxes of a picture. A workflow that is called from many places is drawn at each of them, and such
calls nest, so that pictures could grow beyond all measure: inner boxes are then left out."""

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\uffff\ud800-\udfff]"
)


@dataclass(slots=True, frozen=True)
class Box:
    """A task: its id, lines that say what it does and when, and what is inside of it."""

    key: str
    title: str
    lines: tuple[str, ...]
    kind: str
    many: bool
    inside: Scene | None


@dataclass(slots=True, frozen=True)
class Arrow:
    """One dependency. `label` is the trigger that looks at it, where it is not the usual one.

    It is faint where the trigger does not look: the task is merely mentioned.
    """

    source: int
    target: int
    label: str | None
    faint: bool


@dataclass(slots=True, frozen=True)
class Scene:
    """The tasks of one workflow or block."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def make_scene(plan: Plan) -> Scene:
    """Give what a picture of a plan shows."""
    return _scene(plan, "n", [BOX_LIMIT - len(plan.steps)])


def _scene(plan: Plan, prefix: str, room: list[int]) -> Scene:
    boxes = tuple(_box(plan, step, f"{prefix}{step.index}", room) for step in plan.steps)
    arrows = tuple(arrow for step in plan.steps for arrow in _arrows(step))
    return Scene(boxes, arrows)


def _box(plan: Plan, step: Step, key: str, room: list[int]) -> Box:
    lines = [clip(line) for line in _lines(plan, step)]
    inside = None
    if step.plan is not None:
        if len(step.plan.steps) <= room[0]:
            room[0] -= len(step.plan.steps)
            inside = _scene(step.plan, f"{key}_", room)
        else:
            lines.append(f"({len(step.plan.steps)} tasks inside)")
    return Box(key, step.id, tuple(lines), step.kind, step.for_each is not None, inside)


def _arrows(step: Step) -> Iterator[Arrow]:
    label = None if step.trigger is ir.Trigger.ALL_SUCCESS else str(step.trigger)
    for index in step.dependencies:
        watched = index in step.watched
        faint = not watched and index != step.previous
        yield Arrow(index, step.index, label if watched else None, faint)


def _lines(plan: Plan, step: Step) -> Iterator[str]:
    task = step.task
    yield _work(plan, step)
    if step.when is not None:
        yield f"when {_source(step.when)}"
    if step.for_each is not None:
        yield f"for each of {_source(step.for_each)}"
    if not isinstance(task, ir.RepeatableTask):
        return
    if task.loop is not None:
        until = "" if step.until is None else f"until {_source(step.until)}, "
        yield f"↻ {until}at most {task.loop.max} ×"
    extras = [
        f"{task.retry.max_attempts} attempts" if task.retry else "",
        f"within {task.timeout:g} s" if task.timeout is not None else "",
        "fallback" if step.fallback is not None else "",
    ]
    if any(extras):
        yield ", ".join(extra for extra in extras if extra)


def _work(plan: Plan, step: Step) -> str:
    """Say what the task does, in a few words."""
    match step.task:
        case ir.AgentTask() as task:
            if plan.process is ir.Process.HIERARCHICAL and plan.manager:
                doer = task.agent or task.pool or ", ".join(task.capabilities or ())
                return f"manager {plan.manager}, for {doer}"
            if task.capabilities is not None:
                return f"any agent for {', '.join(task.capabilities)}"
            return f"agent {task.agent}" if task.agent else f"pool {task.pool}"
        case ir.ToolTask() as task:
            return f"tool {task.tool}"
        case ir.ValueTask():
            return "value"
        case ir.WorkflowTask() as task:
            return f"workflow {task.workflow}"
        case ir.BlockTask():
            return "block"
        case ir.TeamTask() as task:
            return f"team {_team(task.team)}"
        case ir.AskTask() as task:
            return f"asks “{task.ask}”"


def _team(team: str | ir.Team) -> str:
    if isinstance(team, str):
        return team
    return f"{team.manager or team.start} with {', '.join(team.members)}"


def _source(value: object) -> str:
    source = getattr(value, "source", None)
    return source if isinstance(source, str) else json.dumps(value, ensure_ascii=False)


def clip(text: str, limit: int = LINE_LIMIT) -> str:
    """Put a text on one line of bounded length, without characters that hide or turn others."""
    words = " ".join(_UNSEEN.sub(" ", text[: 4 * limit]).split())
    return words if len(words) <= limit else f"{words[: limit - 1].rstrip()}…"
