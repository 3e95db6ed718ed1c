"""The names and paths in expressions: which apply at a place, and whether they lead anywhere."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any, cast

from talea import ir
from talea.errors import Severity
from talea.expr import Expression, Path, Structure, Template
from talea.plan.graph import Plan, Step
from talea.plan.problems import Place, Problems
from talea.plan.shape import (
    BOOLEAN,
    ERROR,
    INTEGER,
    TEXT,
    UNKNOWN,
    Object,
    Shape,
    Shapes,
    follow,
    items_of,
    of_data,
)

Names = Mapping[str, Shape]
"""The names that apply at a place, besides `tasks`, and what is known of their values."""

_BRACED = re.compile(r"(?<!\{)\{([a-z][a-z0-9_]*)\}(?!\})")
_ATTRIBUTES = {"output": UNKNOWN, "status": TEXT, "error": ERROR, "recovered": BOOLEAN}
_NOT_HERE = {
    "item": ("there is no `item` here", "a task with `for_each` has one"),
    "index": ("there is no `index` here", "a task with `for_each` has one"),
    "loop": ("there is no `loop` here", "a task with `loop` has one"),
    "error": ("there is no `error` here", "only `fallback` has one"),
    "tasks": ("there are no `tasks` here", "an agent is described by `inputs` alone"),
    "run": ("there is no `run` here", "an agent is described by `inputs` alone"),
}
_YAML_1_1 = {"yes": "true", "on": "true", "no": "false", "off": "false"}


class Paths:
    """Checks what expressions mention, against all that is known of it."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._shapes = Shapes()
        self._skippable: dict[Plan, set[int]] = {}
        self._inner: dict[Plan, dict[str, str]] = {}
        self._asked: dict[Template, set[str | None]] = {}

    # The three forms in which expressions are written.

    def expression(self, plan: Plan, step: Step, key: Place, expression: Any, names: Names) -> None:
        """Check a bare expression; anything else stands for itself."""
        if isinstance(expression, Expression):
            for path in expression.paths:
                self._path(plan, step, place_of(plan, step, *key), path, names)

    def text(
        self, plan: Plan, step: Step, key: str, template: Template | None, names: Names
    ) -> None:
        """Check a text with holes, which is always text."""
        if template is None or "{" not in template.text:
            return
        ids, here, skipped = plan.ids, step.index, self._skipped(plan)
        inputs = names.get("inputs")
        known = inputs.fields if isinstance(inputs, Object) else dict[str, Shape]()
        for hole in template.holes:
            for path in hole.expression.paths:
                # The two commonest forms first: with them nothing can be wrong any more.
                root, steps = path[:2]
                if root == "tasks":
                    if len(steps) == 2 and steps[1] == "output":
                        at = ids.get(cast("str", steps[0]), here)
                        if at != here and at not in skipped:
                            continue
                elif root == "inputs" and len(steps) == 1 and steps[0] in known:
                    continue
                place = place_of(plan, step, key)
                shifted = path.shifted(hole.start + 2)
                self._path(plan, step, place, shifted, names)
                self._null(plan, step, place, shifted, template)
        if template.text.count("{") != 2 * len(template.holes):
            self._braces(plan.workflow, place_of(plan, step, key), template, plan.inputs)

    def structure(
        self, plan: Plan, step: Step | None, place: Place, structure: Structure | None, names: Names
    ) -> None:
        """Check a structure of texts, of which those that are one hole keep their type."""
        if structure is None or structure.constant:
            return
        for inner, template in structure.templates:
            for path in template.paths:
                self._path(plan, step, (*place, *inner), path, names)
                if not template.lone:
                    self._null(plan, step, (*place, *inner), path, template)

    def agent_text(self, root: ir.Workflow, place: Place, template: Template, names: Names) -> None:
        """Check a text that describes an agent."""
        for path in template.paths:
            self._name(root, place, path, names, None)
        self._braces(root, place, template, root.inputs)

    # The names that a task brings.

    def item(self, plan: Plan, step: Step, around: Names) -> Shape:
        """Tell what `item` is, where the list is known; refuse what can never be a list."""
        if isinstance(step.for_each, list):
            return items_of(of_data(step.for_each))[0]
        if step.for_each is None or len(step.for_each.paths) != 1:
            return UNKNOWN
        (path,) = step.for_each.paths
        if step.for_each.source[path.start : path.end] != step.for_each.source.strip():
            return UNKNOWN
        if path.root == "tasks":
            owner = visible(plan, str(path.steps[0]))
            if owner is None or path.steps[1:2] != ("output",):
                return UNKNOWN
            other = owner.steps[owner.ids[str(path.steps[0])]]
            if other is step or any(other.plan is scope for scope in scopes(plan)):
                return UNKNOWN
            shape, complaint = follow(self._shapes.output(other), path.steps[2:])
        else:
            shape, complaint = follow(around.get(path.root, UNKNOWN), path.steps)
        if complaint is not None:
            return UNKNOWN
        shape, complaint = items_of(shape)
        if complaint is not None:
            self._problems.tell(
                plan.workflow,
                complaint,
                place_of(plan, step, "for_each"),
                start=path.start,
                end=path.end,
            )
        return shape

    def loop(self, step: Step) -> Shape:
        """Tell what `loop` is in a task that has one."""
        return Object({"index": INTEGER, "output": self._shapes.single(step)})

    # One path.

    def task(self, plan: Plan, name: str, place: Place, path: Path | None = None) -> Plan | None:
        """Give the plan that has a task that is mentioned; tell if there is none."""
        start, end = (path.start, path.end) if path else (None, None)
        owner = visible(plan, name)
        if owner is None:
            block = self._block_with(plan, name)
            if block is not None:
                self._problems.tell(
                    plan.workflow,
                    f"task {name!r} is inside the block {block!r}, and not seen from here",
                    place,
                    start=start,
                    end=end,
                    hint=f"what the block gives is `tasks.{block}.output`",
                )
                return None
            known = ChainMap[str, int](*(scope.ids for scope in scopes(plan)))
            self._problems.unknown(plan.workflow, "task", name, known, place, start=start, end=end)
            return None
        inner = plan
        while inner is not owner and inner.scope is not None:
            if inner.scope is owner and inner.path[-1] == name:
                self._problems.tell(
                    plan.workflow,
                    f"this stands inside the block {name!r}, and so cannot wait for it",
                    place,
                    start=start,
                    end=end,
                    hint="`loop.output` is what the block's last iteration gave",
                )
                return None
            inner = inner.scope
        return owner

    def _block_with(self, plan: Plan, name: str) -> str | None:
        """Give the id of a visible block that has such a task."""
        for scope in scopes(plan):
            inner = self._inner.get(scope)
            if inner is None:
                inner = self._inner[scope] = {
                    id: step.id
                    for step in scope.steps
                    if step.plan is not None and step.plan.scope is scope
                    for id in step.plan.ids
                }
            if name in inner:
                return inner[name]
        return None

    def itself(self, plan: Plan, step: Step, place: Place, path: Path | None = None) -> None:
        """Tell that a task depends on itself."""
        looped = isinstance(step.task, ir.RepeatableTask) and step.task.loop is not None
        self._problems.tell(
            plan.workflow,
            f"task {step.id!r} depends on itself",
            place,
            start=path.start if path else None,
            end=path.end if path else None,
            hint="`loop.output` is what the last iteration gave" if looped else None,
        )

    def _path(self, plan: Plan, step: Step | None, place: Place, path: Path, names: Names) -> None:
        if path.root != "tasks":
            self._name(plan.workflow, place, path, names, plan)
            return
        name = path.task or ""
        owner = plan if name in plan.ids else self.task(plan, name, place, path)
        if owner is None:
            return
        found = owner.steps[owner.ids[name]]
        if found is step:
            self.itself(plan, found, place, path)
            return
        if len(path.steps) < 2:
            return
        attribute, rest = path.steps[1], path.steps[2:]
        if attribute not in _ATTRIBUTES:
            self._problems.tell(
                plan.workflow,
                f"a task has no {attribute!r}, but output, status, error and recovered",
                place,
                start=path.start,
                end=path.end,
                hint=f"what it gave is `tasks.{name}.output`",
            )
        elif rest:
            known = attribute == "output"
            shape = self._shapes.output(found) if known else _ATTRIBUTES[attribute]
            self._nowhere(plan.workflow, place, path, follow(shape, rest)[1])

    def _name(
        self, root: ir.Workflow, place: Place, path: Path, names: Names, plan: Plan | None
    ) -> None:
        """Check a path from `inputs`, `item` and the like; `plan` is whose tasks are in scope."""
        shape = names.get(path.root)
        if shape is None:
            message, hint = _NOT_HERE.get(path.root, (f"unknown name {path.root!r}", None))
            hint = hint or _in_full(path.root, names.get("inputs"), plan)
            hint = hint or self._problems.meant(path.root, names)
            if place[-1] == "when" and path.root in ("item", "index"):
                hint = "`when` decides on the whole task, before its items"
            self._problems.tell(root, message, place, start=path.start, end=path.end, hint=hint)
        elif path.steps:
            name = path.steps[0]
            if path.root == "inputs" and isinstance(shape, Object) and isinstance(name, str):
                if name not in shape.fields:
                    self._problems.unknown(
                        root, "input", name, shape.fields, place, start=path.start, end=path.end
                    )
                    return
                if len(path.steps) == 1:
                    return
            self._nowhere(root, place, path, follow(shape, path.steps)[1])

    def _nowhere(self, root: ir.Workflow, place: Place, path: Path, complaint: str | None) -> None:
        """Tell of a path that leads nowhere. A guarded one does no harm, but is hardly meant."""
        if complaint is not None:
            self._problems.tell(
                root,
                f"this path cannot exist: {complaint}",
                place,
                start=path.start,
                end=path.end,
                severity=Severity.WARNING if path.guarded else Severity.ERROR,
            )

    # Warnings about text.

    def _null(
        self, plan: Plan, step: Step | None, place: Place, path: Path, template: Template
    ) -> None:
        """Warn of a task in text that may be skipped: its output is null then, and reads `null`."""
        if path.root != "tasks" or path.guarded or path.steps[1:2] != ("output",):
            return
        name = path.task or ""
        waiting = step
        owner: Plan | None = plan
        while owner is not None and name not in owner.ids:
            outer = owner.scope
            waiting = outer.steps[outer.ids[str(owner.path[-1])]] if outer else None
            owner = outer
        if owner is None:
            return
        at = owner.ids[name]
        if at not in self._skipped(owner):
            return
        if waiting and waiting.trigger is ir.Trigger.ALL_SUCCESS and at in waiting.watched:
            return
        asked = self._asked.get(template)
        if asked is None:
            asked = {other.task for other in template.paths if other.steps[1:2] == ("status",)}
            self._asked[template] = asked
        if name in asked:
            return
        spelled = template.text[path.start : path.end]
        then = "fails" if len(path.steps) > 2 else "says `null`"
        self._problems.tell(
            plan.workflow,
            f"{name!r} may be skipped, and this text then {then}",
            place,
            start=path.start,
            end=path.end,
            hint=f"write `default({spelled}, '…')`",
            severity=Severity.WARNING,
        )

    def _skipped(self, plan: Plan) -> set[int]:
        """Give the tasks that may be skipped: by their own condition, or by those they watch."""
        found = self._skippable.get(plan)
        if found is not None:
            return found
        found = self._skippable[plan] = set()
        for index in plan.order:
            step = plan.steps[index]
            if _may_be_skipped(step, found):
                found.add(index)
        return found

    def _braces(
        self,
        root: ir.Workflow,
        place: Place,
        template: Template,
        inputs: Mapping[str, object],
    ) -> None:
        """Warn of `{topic}` where `{{ inputs.topic }}` was meant."""
        if _BRACED.search(template.text) is None:
            return
        ends = [0, *(hole.end for hole in template.holes)]
        starts = [*(hole.start for hole in template.holes), len(template.text)]
        for begin, end in zip(ends, starts, strict=True):
            for match in _BRACED.finditer(template.text, begin, end):
                if match[1] not in inputs:
                    continue
                self._problems.tell(
                    root,
                    f"{match[0]} is plain text here",
                    place,
                    start=match.start(),
                    end=match.end(),
                    hint=f"write `{{{{ inputs.{match[1]} }}}}` for the input",
                    severity=Severity.WARNING,
                )


def _in_full(name: str, inputs: Shape | None, plan: Plan | None) -> str | None:
    """Give what to write for an input or a task that is named alone, or for YAML 1.1's yes."""
    if isinstance(inputs, Object) and name in inputs.fields:
        return f"did you mean `inputs.{name}`?"
    if plan is not None and visible(plan, name) is not None:
        return f"did you mean `tasks.{name}.output`?"
    truth = _YAML_1_1.get(name.lower())
    return f"write {truth}" if truth else None


def _may_be_skipped(step: Step, skipped: set[int]) -> bool:
    """Say whether a task may end as skipped, given those before it that may."""
    if step.when is not None and step.when is not True:
        return True
    match step.trigger:
        case ir.Trigger.ONE_FAILED:
            return True
        case ir.Trigger.ALL_SUCCESS:
            return not skipped.isdisjoint(step.watched)
        case ir.Trigger.ONE_SUCCESS:
            return skipped.issuperset(step.watched)
        case _:
            return False


def place_of(plan: Plan, step: Step, *key: str | int) -> Place:
    """Give the path of a task, or of something in it, in its document."""
    return (*plan.path, "tasks", step.id, *key)


def scopes(plan: Plan) -> Iterator[Plan]:
    """Give a plan and those whose names it sees, the nearest first."""
    scope: Plan | None = plan
    while scope is not None:
        yield scope
        scope = scope.scope


def visible(plan: Plan, name: str) -> Plan | None:
    """Give the plan, this one or one around it, that has a task of this id."""
    return next((scope for scope in scopes(plan) if name in scope.ids), None)
