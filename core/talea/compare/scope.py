"""The names over which a check's expressions stand: what a run gives them, and what is known of it
before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from talea.compare.record import Case, RunRecord
from talea.expr import Path
from talea.plan import Plan
from talea.plan.shape import (
    BOOLEAN,
    ERROR,
    INTEGER,
    NUMBER,
    TEXT,
    UNKNOWN,
    Object,
    Shape,
    Shapes,
    follow,
    of_inputs,
    of_structure,
)

_TASK = {"output": UNKNOWN, "status": TEXT, "error": ERROR, "recovered": BOOLEAN}
_RUN = {
    "framework": TEXT,
    "status": TEXT,
    "error": ERROR,
    "duration": NUMBER,
    "model_calls": INTEGER,
    "input_tokens": INTEGER,
    "output_tokens": INTEGER,
    "prompt_characters": INTEGER,
    "cost": NUMBER,
    "retries": INTEGER,
}


def names_of(run: RunRecord, case: Case) -> dict[str, Any]:
    """Give the names that a check's expressions are evaluated over."""
    tasks = {
        address: {
            "output": task.output,
            "status": task.status,
            "error": task.error and task.error.model_dump(),
            "recovered": task.recovered,
        }
        for address, task in run.tasks.items()
        if "/" not in address
    }
    told = {
        "framework": run.framework,
        "status": run.status,
        "error": run.error and run.error.model_dump(),
        "duration": run.duration,
        "model_calls": run.used.model_calls,
        "input_tokens": run.used.input_tokens,
        "output_tokens": run.used.output_tokens,
        "prompt_characters": run.prompt_characters,
        "cost": run.used.cost,
        "retries": run.retries,
    }
    return {"outputs": run.outputs, "inputs": case.inputs, "tasks": tasks, "run": told}


class Scope:
    """What is known of these names, for one workflow."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shapes = Shapes()
        self._names: dict[str, Shape] = {
            "outputs": Object(dict(_outputs(plan, self._shapes))),
            "inputs": of_inputs(plan),
            "run": Object(_RUN),
        }

    def problem(self, path: Path, more: Mapping[str, Shape]) -> tuple[str, str | None] | None:
        """Say why a path can lead nowhere, with a hint; None if it may."""
        if path.root != "tasks":
            names = {**self._names, **more}
            shape = names.get(path.root)
            if shape is None:
                return f"unknown name {path.root!r}", self._in_full(path.root, names)
            complaint = follow(shape, path.steps)[1]
            hint = None
            if path.root == "outputs" and not self._plan.outputs:
                hint = "the workflow gives no outputs; there is `tasks.x.output`"
            return (f"this path cannot exist: {complaint}", hint) if complaint else None
        name, rest = path.task or "", path.steps[1:]
        if name not in self._plan.ids:
            return f"unknown task {name!r}", meant(name, self._plan.ids)
        if rest and rest[0] not in _TASK:
            given = "a task has no {!r}, but output, status, error and recovered"
            return given.format(rest[0]), f"what it gave is `tasks.{name}.output`"
        if len(rest) < 2:
            return None
        step = self._plan.steps[self._plan.ids[name]]
        shape = self._shapes.output(step) if rest[0] == "output" else _TASK[str(rest[0])]
        complaint = follow(shape, rest[1:])[1]
        return (f"this path cannot exist: {complaint}", None) if complaint else None

    def _in_full(self, name: str, names: Mapping[str, Shape]) -> str | None:
        """Give what to write for an output, an input or a task that is named alone."""
        for root in ("outputs", "inputs"):
            shape = names[root]
            if isinstance(shape, Object) and name in shape.fields:
                return f"write `{root}.{name}`"
        if name in self._plan.ids:
            return f"write `tasks.{name}.output`"
        return meant(name, [*names, "tasks"])


def meant(name: str, known: Iterable[str]) -> str | None:
    """Give a hint at the name that was meant, or all names if they are few."""
    words = list(known)
    close = get_close_matches(name, words, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there is {', '.join(map(repr, words))}" if 0 < len(words) <= 8 else None


def _outputs(plan: Plan, shapes: Shapes) -> Iterator[tuple[str, Shape]]:
    """Tell what is known of each of the workflow's outputs."""
    for name, written in (plan.written.outputs or {}).items():
        yield name, _given_on(plan, shapes, written) or of_structure(written)


def _given_on(plan: Plan, shapes: Shapes, written: Any) -> Shape | None:
    """Tell the shape of an output that is a task's, `{{ tasks.x.output }}`; None for others."""
    if not (isinstance(written, str) and written.strip().startswith("{{")):
        return None
    for structure_place, template in plan.outputs.templates if plan.outputs else ():
        if template.text == written and template.lone and len(structure_place) == 1:
            hole = template.holes[0].expression
            path = hole.paths[0] if len(hole.paths) == 1 else None
            if path is None or hole.source[path.start : path.end] != hole.source.strip():
                return None
            if path.task in plan.ids and path.steps[1:2] == ("output",):
                step = plan.steps[plan.ids[path.task]]
                return follow(shapes.output(step), path.steps[2:])[0]
    return None
