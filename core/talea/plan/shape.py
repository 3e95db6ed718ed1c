"""What is known of a value before it exists, so that a path that leads nowhere is found early.

A shape is a declared JSON Schema, or what the document's own text shows: the keys of a `value`, the
tasks of a block. Where nothing is known, everything may exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

from talea import ir
from talea.expr import compile_template
from talea.plan.graph import Plan, Step
from talea.schema import can_have


@dataclass(slots=True, frozen=True)
class Declared:
    """A value inside an instance of a declared schema, at some steps."""

    schema: Any
    steps: tuple[str | int, ...] = ()


@dataclass(slots=True, frozen=True)
class Object:
    """An object with exactly these keys."""

    fields: Mapping[str, Shape]


@dataclass(slots=True, frozen=True)
class Items:
    """A list of any length, whose elements are alike."""

    item: Shape


@dataclass(slots=True, frozen=True)
class Elements:
    """A list of which each element is known, and what is known of any of them."""

    items: Sequence[Shape]
    each: Shape


@dataclass(slots=True, frozen=True)
class Either:
    """One of several; a path exists if one of them has it."""

    shapes: tuple[Shape, ...]


Shape = Declared | Object | Items | Elements | Either

_MOST_UNLIKE = 8
"""Elements of a list that are looked at one by one; more of them are taken for anything."""

UNKNOWN = Declared(True)
TEXT = Declared({"type": "string"})
NUMBER = Declared({"type": "number"})
INTEGER = Declared({"type": "integer"})
BOOLEAN = Declared({"type": "boolean"})
NULL = Declared({"type": "null"})
ERROR = Object({"type": TEXT, "message": TEXT, "address": TEXT})
CAUGHT = Object({"type": TEXT, "message": TEXT})
RUN = Object({"id": TEXT})


def follow(
    shape: Shape, steps: Sequence[str | int | None], *, within: bool = False
) -> tuple[Shape, str | None]:
    """Walk a path. Gives the shape it leads to, and None or a sentence why it cannot exist.

    A step that is None is not known, and with it where the path leads. `within` says that this is
    one alternative already: alternatives within it are not tried, since they would multiply.
    """
    for at, step in enumerate(steps):
        if step is None:
            return UNKNOWN, None
        match shape:
            case Declared():
                known = [*shape.steps]
                for rest in steps[at:]:
                    if rest is None:
                        return UNKNOWN, can_have(shape.schema, tuple(known))
                    known.append(rest)
                deeper = Declared(shape.schema, tuple(known))
                return deeper, can_have(shape.schema, deeper.steps)
            case Object():
                if not isinstance(step, str):
                    return UNKNOWN, f"[{step}] stands on an object, which has names"
                if step not in shape.fields:
                    return UNKNOWN, f"there is no {step!r} there{_meant(step, shape.fields)}"
                shape = shape.fields[step]
            case Items():
                if isinstance(step, str):
                    return UNKNOWN, f".{step} stands on a list, which has numbers"
                shape = shape.item
            case Elements():
                if isinstance(step, str):
                    return UNKNOWN, f".{step} stands on a list, which has numbers"
                if step == 0:  # it stands for any item where a comprehension goes over the list
                    shape = shape.each
                elif -len(shape.items) <= step < len(shape.items):
                    shape = shape.items[step]
                else:
                    return UNKNOWN, f"there is no [{step}] in a list of {len(shape.items)}"
            case Either():
                if within:
                    return UNKNOWN, None
                results = [follow(one, steps[at:], within=True) for one in shape.shapes]
                fitting = tuple(found for found, complaint in results if complaint is None)
                if not fitting:
                    return results[0]
                return (fitting[0] if len(fitting) == 1 else Either(fitting)), None
    return shape, None


def _meant(name: str, known: Mapping[str, Any]) -> str:
    if len(known) <= 8:
        return f"; it has {', '.join(known)}" if known else ""
    close = get_close_matches(name, list(known)[:200], 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def items_of(shape: Shape) -> tuple[Shape, str | None]:
    """Give what an element of a list is, and None or a sentence why it cannot be a list."""
    match shape:
        case Items():
            return shape.item, None
        case Elements():
            return shape.each, None
        case Object():
            return UNKNOWN, "this is an object, and for_each needs a list"
        case Either():
            found = [items_of(one) for one in shape.shapes]
            fitting = tuple(item for item, complaint in found if complaint is None)
            return (Either(fitting), None) if fitting else found[0]
        case Declared():
            first = Declared(shape.schema, (*shape.steps, 0))
            if can_have(shape.schema, first.steps) is not None:
                return UNKNOWN, "this is never a list, and for_each needs one"
            return first, None


def of_structure(value: Any) -> Shape:
    """Tell the shape of a structure as it is written; a lone hole may become anything."""
    return _of(value, _of_template)


def of_data(value: Any) -> Shape:
    """Tell the shape of data that stands for itself."""
    return _of(value, lambda _text: TEXT)


def _of_template(text: str) -> Shape:
    return UNKNOWN if "{{" in text and compile_template(text).lone else TEXT


def _of(value: Any, of_text: Callable[[str], Shape]) -> Shape:
    match value:
        case None:
            return NULL
        case bool():
            return BOOLEAN
        case int() | float():
            return NUMBER
        case str():
            return of_text(value)
        case dict():
            members = cast("dict[str, Any]", value)
            return Object({key: _of(inner, of_text) for key, inner in members.items()})
        case list():
            items = [_of(inner, of_text) for inner in cast("list[Any]", value)]
            unlike = tuple({id(item): item for item in items}.values())
            return Elements(items, Either(unlike) if 0 < len(unlike) <= _MOST_UNLIKE else UNKNOWN)
        case _:
            return UNKNOWN


def of_inputs(plan: Plan) -> Object:
    """Tell the shape of `inputs`; a schema that is itself invalid tells nothing."""
    return Object(
        {
            name: UNKNOWN if spec.schema is None else Declared(spec.declared)
            for name, spec in plan.inputs.items()
        }
    )


class Shapes:
    """The shapes of tasks' outputs, each found once."""

    def __init__(self) -> None:
        self._whole: dict[Step, Shape] = {}

    def output(self, step: Step) -> Shape:
        """Tell what `tasks.x.output` is: a list where the task has a `for_each`."""
        found = self._whole.get(step)
        if found is None:
            one = self.single(step)
            found = self._whole[step] = Items(one) if step.task.for_each is not None else one
        return found

    def single(self, step: Step) -> Shape:
        """Tell what one item, one iteration of a task gives."""
        task = step.task
        if task.output is not None:
            return Declared(task.output) if step.output is not None else UNKNOWN
        shape = self._made(step)
        if isinstance(task, ir.RepeatableTask) and task.has_fallback and step.fallback:
            return Either((shape, of_structure(task.fallback)))
        return shape

    def _made(self, step: Step) -> Shape:
        match step.task:
            case ir.AgentTask() | ir.TeamTask() | ir.AskTask():
                return TEXT
            case ir.ValueTask(value=value):
                return of_structure(value) if step.value is not None else UNKNOWN
            case ir.BlockTask(outputs=outputs) if step.plan is not None:
                if outputs is None:
                    return Object({inner.id: self.output(inner) for inner in step.plan.steps})
                return of_structure(outputs) if step.plan.outputs is not None else UNKNOWN
            case ir.WorkflowTask() if step.plan is not None and step.plan.outputs is not None:
                return of_structure(step.plan.written.outputs)
            case _:
                return UNKNOWN
