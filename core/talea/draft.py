"""From documents to plans: every expression is compiled once, and what cannot be is noted.

A draft is complete as far as the document allows: names that lead nowhere are left out of the
graph, and a cycle out of the order. `check.py` tells what is wrong; `plan.py` gives out a draft with
which nothing is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from talea import ir
from talea.errors import ExpressionError, Issue, Severity
from talea.expr import (
    Expression,
    Structure,
    Template,
    compile_expression,
    compile_structure,
    compile_template,
)
from talea.graph import InputSpec, Plan, Step
from talea.schema import Schema, SchemaError, compile_schema

Place = tuple[str | int, ...]


def locate(
    workflow: ir.Workflow,
    message: str,
    path: Place,
    *,
    key: bool = False,
    start: int | None = None,
    end: int | None = None,
    hint: str | None = None,
    severity: Severity = Severity.ERROR,
) -> Issue:
    """Make an issue with its position, where the workflow was read from text."""
    source = workflow._source  # pyright: ignore[reportPrivateUsage]
    if source is None:
        return Issue(message, ".".join(map(str, path)), hint, severity)
    return source.issue(
        message, path, key=key, start=start, end=end, hint=hint, severity=severity
    )


class Drafter:
    """Turns one document, and those it calls, into plans."""

    def __init__(self, root: ir.Workflow) -> None:
        self.issues: list[Issue] = []
        self.plans: list[Plan] = []
        """Every plan once, blocks included, in the order they are met."""
        self._made: dict[int, Plan] = {}
        self._open: dict[int, str] = {}
        self.root = self._workflow(root, root, root.name, ())
        self._unused(root)

    def _unused(self, root: ir.Workflow) -> None:
        """Draft the workflows that nothing calls as well: their problems count too."""
        for name, workflow in root.workflows.items():
            if id(workflow) not in self._made:
                self._workflow(root, workflow, name, ("workflows", name))

    def _workflow(
        self, root: ir.Workflow, workflow: ir.InlineWorkflow, name: str, path: Place
    ) -> Plan:
        plan = Plan(
            name=name,
            workflow=root,
            path=path,
            scope=None,
            process=workflow.process,
            on_failure=workflow.on_failure,
            inputs=self._inputs(root, workflow.inputs, path),
            manager=workflow.manager,
            limits=workflow.limits if isinstance(workflow, ir.Workflow) else None,
        )
        self._made[id(workflow)] = plan
        self._open[id(workflow)] = name
        self._fill(plan, workflow.tasks)
        plan.outputs = self._structure(plan, (), "outputs", dict(workflow.outputs))
        del self._open[id(workflow)]
        return plan

    def _inputs(
        self, root: ir.Workflow, declared: Mapping[str, dict[str, Any] | bool], path: Place
    ) -> dict[str, InputSpec]:
        found: dict[str, InputSpec] = {}
        for name, schema in declared.items():
            optional = isinstance(schema, dict) and "default" in schema
            found[name] = InputSpec(
                schema=self._schema(root, (*path, "inputs", name), schema),
                default=schema["default"] if isinstance(schema, dict) and optional else None,
                required=not optional,
                declared=schema,
            )
        return found

    def _fill(self, plan: Plan, tasks: Mapping[str, ir.Task]) -> dict[str, None]:
        """Make the steps of a plan and join them. Gives the names that are not the plan's own."""
        self.plans.append(plan)
        plan.ids = ids = {name: index for index, name in enumerate(tasks)}
        sequential = plan.process is ir.Process.SEQUENTIAL
        free: dict[str, None] = {}
        steps: list[Step] = []
        successors: list[list[int]] = [[] for _ in ids]
        for index, (name, task) in enumerate(tasks.items()):
            step = Step(index, name, task.kind, task)
            mentioned = self._compile(plan, step)
            own: set[int] = set()
            for other in mentioned:
                at = ids.get(other)
                if at is None:
                    free[other] = None
                else:
                    own.add(at)
            named = {ids[other] for other in task.depends_on or () if other in ids}
            own |= named
            own.discard(index)
            if task.trigger is not None:
                step.trigger = task.trigger
            if task.trigger is not None and task.depends_on is not None:
                named.discard(index)
                step.watched = tuple(sorted(named))
            else:
                step.watched = tuple(sorted(own))
            if sequential and index:
                step.previous = index - 1
                own.add(index - 1)
            step.dependencies = tuple(sorted(own))
            if step.dependencies == step.watched:
                step.dependencies = step.watched
            for at in step.dependencies:
                successors[at].append(index)
            steps.append(step)
        for step, after in zip(steps, successors, strict=True):
            step.successors = tuple(after)
        plan.steps = tuple(steps)
        plan.roots = tuple(step.index for step in steps if not step.dependencies)
        plan.order = _topological(plan.steps, plan.roots)
        for index in plan.order:
            step = steps[index]
            step.handler = step.trigger in (ir.Trigger.ALL_DONE, ir.Trigger.ONE_FAILED) or (
                bool(step.dependencies) and all(steps[at].handler for at in step.dependencies)
            )
        return free

    def _compile(self, plan: Plan, step: Step) -> Iterable[str]:
        """Compile all that one task writes. Gives the ids of the tasks it mentions, in order."""
        task, name = step.task, step.id
        mentioned: dict[str, None] = {}
        step.priority = task.priority
        if task.when is not None:
            step.when = self._condition(plan, name, ("when",), task.when)
            _note(mentioned, step.when)
        if task.for_each is not None:
            if isinstance(task.for_each, str):
                step.for_each = self._expression(plan, name, ("for_each",), task.for_each)
                _note(mentioned, step.for_each)
            else:
                step.for_each = task.for_each
        if task.output is not None:
            step.output = self._schema(
                plan.workflow, (*plan.path, "tasks", name, "output"), task.output
            )
        if isinstance(task, ir.RepeatableTask):
            if task.has_fallback:
                step.fallback = self._structure(plan, ("tasks", name), "fallback", task.fallback)
                _note(mentioned, step.fallback)
            if task.loop is not None and task.loop.until is not None:
                step.until = self._condition(plan, name, ("loop", "until"), task.loop.until)
                _note(mentioned, step.until)
        match task:
            case ir.AgentTask() | ir.TeamTask():
                step.prompt = self._template(plan, name, "prompt", task.prompt)
                _note(mentioned, step.prompt)
                if task.expected_output is not None:
                    step.expected_output = self._template(
                        plan, name, "expected_output", task.expected_output
                    )
                    _note(mentioned, step.expected_output)
                step.context = task.context
                mentioned.update(dict.fromkeys(task.context))
                step.agents = agents_of(plan, task)
            case ir.ToolTask():
                step.arguments = self._structure(plan, ("tasks", name), "with", task.with_)
                _note(mentioned, step.arguments)
            case ir.ValueTask():
                step.value = self._structure(plan, ("tasks", name), "value", task.value)
                _note(mentioned, step.value)
            case ir.WorkflowTask():
                step.arguments = self._structure(plan, ("tasks", name), "with", task.with_)
                _note(mentioned, step.arguments)
                step.plan = self._called(plan, name, task.workflow)
            case ir.BlockTask():
                step.plan, free = self._block(plan, name, task)
                mentioned.update(free)
            case ir.AskTask():
                step.ask = self._template(plan, name, "ask", task.ask)
                _note(mentioned, step.ask)
        return mentioned

    def _block(
        self, outer: Plan, name: str, task: ir.BlockTask
    ) -> tuple[Plan, dict[str, None]]:
        plan = Plan(
            name=name,
            workflow=outer.workflow,
            path=(*outer.path, "tasks", name),
            scope=outer,
            process=task.process,
            on_failure=task.on_failure or outer.on_failure,
            inputs=outer.inputs,
            manager=outer.manager,
        )
        free = self._fill(plan, task.tasks)
        if task.outputs is not None:
            plan.outputs = self._structure(plan, (), "outputs", dict(task.outputs))
            if plan.outputs is not None:
                free.update((other, None) for other in plan.outputs.tasks if other not in plan.ids)
        return plan, free

    def _called(self, plan: Plan, name: str, workflow: str) -> Plan | None:
        root = plan.workflow
        inline = root.workflows.get(workflow)
        if inline is None:
            return None
        if id(inline) in self._open:
            return None
        found = self._made.get(id(inline))
        return found or self._workflow(root, inline, workflow, ("workflows", workflow))

    # What is compiled, and what is noted where that fails.

    def _condition(
        self, plan: Plan, name: str, key: Place, source: str | bool
    ) -> Expression | bool | None:
        return source if isinstance(source, bool) else self._expression(plan, name, key, source)

    def _expression(self, plan: Plan, name: str, key: Place, source: str) -> Expression | None:
        try:
            return compile_expression(source)
        except ExpressionError as error:
            self._broken(plan, (*plan.path, "tasks", name, *key), error)
            return None

    def _template(self, plan: Plan, name: str, key: str, text: str) -> Template | None:
        try:
            return compile_template(text)
        except ExpressionError as error:
            self._broken(plan, (*plan.path, "tasks", name, key), error)
            return None

    def _structure(self, plan: Plan, place: Place, key: str, value: Any) -> Structure | None:
        try:
            return compile_structure(value)
        except ExpressionError:
            self._leaves(plan, (*plan.path, *place, key), value)
            return None

    def _leaves(self, plan: Plan, path: Place, value: Any) -> None:
        """Note each text of a structure that cannot be compiled, not just the first."""
        if isinstance(value, str):
            try:
                compile_template(value)
            except ExpressionError as error:
                self._broken(plan, path, error)
        elif isinstance(value, dict):
            for key, inner in value.items():
                self._leaves(plan, (*path, key), inner)
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                self._leaves(plan, (*path, index), inner)

    def _broken(self, plan: Plan, path: Place, error: ExpressionError) -> None:
        self.issues.append(
            locate(
                plan.workflow,
                error.message,
                path,
                start=error.start,
                end=error.end,
                hint=error.hint,
            )
        )

    def _schema(
        self, workflow: ir.Workflow, path: Place, schema: dict[str, Any] | bool
    ) -> Schema | None:
        try:
            return compile_schema(schema)
        except SchemaError as error:
            self.issues.append(locate(workflow, error.message, (*path, *error.path)))
            return None


def _note(mentioned: dict[str, None], part: Any) -> None:
    """Add the tasks that a compiled part mentions; literals and broken parts mention none."""
    if part is not None and not isinstance(part, bool):
        for name in part.tasks:
            mentioned[name] = None


def _topological(steps: tuple[Step, ...], roots: tuple[int, ...]) -> tuple[int, ...]:
    """Order steps so that each comes after all it depends on; those in or after a cycle are left
    out (Kahn, 1962)."""
    missing = [len(step.dependencies) for step in steps]
    ready = deque(roots)
    order: list[int] = []
    while ready:
        index = ready.popleft()
        order.append(index)
        for after in steps[index].successors:
            missing[after] -= 1
            if not missing[after]:
                ready.append(after)
    return tuple(order)


def agents_of(plan: Plan, task: ir.AgentTask | ir.TeamTask) -> tuple[str, ...]:
    """Give every agent that may answer a task, of those that exist."""
    root = plan.workflow
    if isinstance(task, ir.TeamTask):
        team = root.teams.get(task.team) if isinstance(task.team, str) else task.team
        return tuple(_members(root, team)) if team else ()
    if plan.process is ir.Process.HIERARCHICAL:
        return tuple(root.agents)
    if task.agent is not None:
        return (task.agent,) if task.agent in root.agents else ()
    if task.pool is not None:
        pool = root.pools.get(task.pool)
        return tuple(name for name in pool.agents if name in root.agents) if pool else ()
    wanted = set(task.capabilities or ())
    return tuple(
        name for name, agent in root.agents.items() if wanted.issubset(agent.capabilities)
    )


def _members(root: ir.Workflow, team: ir.Team) -> dict[str, None]:
    """Give the agents of a team and of the teams in it, each once."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    waiting = [team]
    while waiting:
        team = waiting.pop()
        for name in (team.manager, team.start, *team.members):
            if name in root.agents:
                found[name] = None
            elif name in root.teams and name not in seen:
                seen.add(name)
                waiting.append(root.teams[name])
    return found
