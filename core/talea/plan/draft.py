"""From documents to plans: every expression is compiled once, and what cannot be is noted.

A draft is complete as far as the document allows: names that lead nowhere are left out of the
graph, and a cycle out of the order. `check.py` tells what is wrong; `plan.py` gives out a draft
with which nothing is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from talea import ir
from talea.balance import BY_CAPABILITY
from talea.errors import ExpressionError, UsageError
from talea.expr import (
    Expression,
    Structure,
    Template,
    compile_expression,
    compile_structure,
    compile_template,
    walk_texts,
)
from talea.plan.graph import InputSpec, Plan, Step
from talea.plan.problems import Place, Problems
from talea.schema import Schema, SchemaError, compile_schema
from talea.source import is_file_reference, workflow_file

_HANDLING = frozenset({ir.Trigger.ALL_DONE, ir.Trigger.ONE_FAILED})
MAX_DEPTH = 50
"""How deep blocks and called workflows may stand inside each other."""


class Drafter:
    """Turns one document, and those it calls, into plans."""

    def __init__(self, root: ir.Workflow, problems: Problems) -> None:
        self._problems = problems
        self.workflows: list[Plan] = []
        """The plan of every workflow once, in the order in which they are met."""
        self._made: dict[int, Plan] = {}
        self._open: dict[int, str] = {}
        self._depth = 0
        self._answering: dict[tuple[int, str, tuple[str, ...]], tuple[str, ...]] = {}
        self._teams: dict[tuple[int, str | None], ir.Team | None] = {}
        self.root = self._document(root)

    def _document(self, root: ir.Workflow) -> Plan:
        """Draft a document; the workflows in it that nothing calls as well, for their problems."""
        plan = self._workflow(root, root, root.name, ())
        for name, workflow in root.workflows.items():
            if id(workflow) not in self._made:
                self._workflow(root, workflow, name, ("workflows", name))
        return plan

    def _workflow(
        self, root: ir.Workflow, workflow: ir.InlineWorkflow, name: str, path: Place
    ) -> Plan:
        plan = Plan(
            name=name,
            workflow=root,
            written=workflow,
            path=path,
            scope=None,
            process=workflow.process,
            on_failure=workflow.on_failure,
            inputs=self._inputs(root, workflow.inputs, path),
            manager=workflow.manager,
            limits=workflow.limits if isinstance(workflow, ir.Workflow) else None,
        )
        self.workflows.append(plan)
        self._made[id(workflow)] = plan
        self._open[id(workflow)] = name
        self._fill(plan, workflow.tasks)
        plan.outputs = self._structure(plan, ("outputs",), dict(workflow.outputs))
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
            watched = own
            if task.depends_on is not None:
                named = {ids[other] for other in task.depends_on if other in ids}
                own |= named
                if task.trigger is not None:
                    watched = named
            if task.trigger is not None:
                step.trigger = task.trigger
            own.discard(index)
            watched.discard(index)
            step.watched = step.dependencies = tuple(sorted(watched))
            if sequential and index:
                step.previous = index - 1
                own.add(index - 1)
            if len(own) != len(step.watched):
                step.dependencies = tuple(sorted(own))
            for at in step.dependencies:
                successors[at].append(index)
            steps.append(step)
        for step, after in zip(steps, successors, strict=True):
            step.successors = tuple(after)
        plan.steps = tuple(steps)
        plan.roots = tuple(step.index for step in steps if not step.dependencies)
        plan.order = _topological(plan.steps, plan.roots)
        if any(step.trigger in _HANDLING for step in steps):
            for index in plan.order:
                step = steps[index]
                step.handler = step.trigger in _HANDLING or (
                    bool(step.dependencies) and all(steps[at].handler for at in step.dependencies)
                )
        return free

    def _compile(self, plan: Plan, step: Step) -> Iterable[str]:
        """Compile all that one task writes. Gives the ids of the tasks it mentions, in order."""
        task, place = step.task, ("tasks", step.id)
        mentioned: dict[str, None] = {}
        step.priority = task.priority
        if task.when is not None:
            step.when = self._condition(plan, (*place, "when"), task.when)
            _note(mentioned, step.when)
        if task.for_each is not None:
            if isinstance(task.for_each, str):
                step.for_each = self._expression(plan, (*place, "for_each"), task.for_each)
                _note(mentioned, step.for_each)
            else:
                step.for_each = task.for_each
        if task.output is not None:
            step.output = self._schema(plan.workflow, (*plan.path, *place, "output"), task.output)
        if isinstance(task, ir.RepeatableTask):
            step.loop, step.retry, step.timeout = task.loop, task.retry, task.timeout
            has_fallback = task.has_fallback
            step.is_plain = not (has_fallback or task.loop or task.retry)
            if has_fallback:
                step.fallback = self._structure(plan, (*place, "fallback"), task.fallback)
                _note(mentioned, step.fallback)
            if task.loop is not None and task.loop.until is not None:
                step.until = self._condition(plan, (*place, "loop", "until"), task.loop.until)
                _note(mentioned, step.until)
        match task:
            case ir.AgentTask() | ir.TeamTask():
                step.prompt = self._template(plan, (*place, "prompt"), task.prompt)
                _note(mentioned, step.prompt)
                if task.expected_output is not None:
                    step.expected_output = self._template(
                        plan, (*place, "expected_output"), task.expected_output
                    )
                    _note(mentioned, step.expected_output)
                step.context = task.context
                mentioned.update(dict.fromkeys(task.context))
                self._doers(plan, step, task)
            case ir.ToolTask():
                if task.with_:
                    step.arguments = self._structure(plan, (*place, "with"), task.with_)
                _note(mentioned, step.arguments)
            case ir.ValueTask():
                step.value = self._structure(plan, (*place, "value"), task.value)
                _note(mentioned, step.value)
            case ir.WorkflowTask():
                if task.with_:
                    step.arguments = self._structure(plan, (*place, "with"), task.with_)
                _note(mentioned, step.arguments)
                self._inside(plan, step)
            case ir.BlockTask():
                mentioned.update(self._inside(plan, step))
            case ir.AskTask():
                step.ask = self._template(plan, (*place, "ask"), task.ask)
                _note(mentioned, step.ask)
        return mentioned

    def _inside(self, plan: Plan, step: Step) -> dict[str, None]:
        """Make the plan of what is inside a task. Gives the outer names that it mentions."""
        free: dict[str, None] = {}
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._problems.tell(
                plan.workflow,
                f"blocks and workflows are nested more than {MAX_DEPTH} deep",
                (*plan.path, "tasks", step.id),
                key=True,
            )
        elif isinstance(step.task, ir.BlockTask):
            step.plan, free = self._block(plan, step.id, step.task)
        elif isinstance(step.task, ir.WorkflowTask):
            step.plan = self._called(plan, step, step.task.workflow)
        self._depth -= 1
        return free

    def _block(self, outer: Plan, name: str, task: ir.BlockTask) -> tuple[Plan, dict[str, None]]:
        plan = Plan(
            name=name,
            workflow=outer.workflow,
            written=task,
            path=(*outer.path, "tasks", name),
            scope=outer,
            process=task.process,
            on_failure=task.on_failure or outer.on_failure,
            inputs=outer.inputs,
            manager=outer.manager,
        )
        free = self._fill(plan, task.tasks)
        if task.outputs is not None:
            plan.outputs = self._structure(plan, ("outputs",), dict(task.outputs))
            if plan.outputs is not None:
                free.update((other, None) for other in plan.outputs.tasks if other not in plan.ids)
        return plan, free

    def _called(self, plan: Plan, step: Step, name: str) -> Plan | None:
        """Give the plan of a workflow of this document, or of a file that is a root of its own."""
        root = plan.workflow
        place = (*plan.path, "tasks", step.id, "workflow")
        workflow = root.workflows.get(name)
        if workflow is None and is_file_reference(name):
            try:
                workflow = workflow_file(root, name)
            except UsageError as error:
                self._problems.tell(root, error.message, place, hint=error.hint)
                return None
        if workflow is None:
            self._problems.unknown(root, "workflow", name, root.workflows, place)
            return None
        if id(workflow) in self._open:
            names = list(self._open.values())
            chain = [*names[list(self._open).index(id(workflow)) :], name]
            self._problems.tell(root, f"a workflow calls itself: {' → '.join(chain)}", place)
            return None
        found = self._made.get(id(workflow))
        if found is not None:
            return found
        if isinstance(workflow, ir.Workflow):
            return self._document(workflow)
        return self._workflow(root, workflow, name, ("workflows", name))

    def _doers(self, plan: Plan, step: Step, task: ir.AgentTask | ir.TeamTask) -> None:
        """Say who may come to answer a task, and how."""
        root = plan.workflow
        if isinstance(task, ir.TeamTask):
            if isinstance(task.team, ir.Team):
                step.team, step.agents = task.team, tuple(_members(root, task.team))
            else:
                step.team = root.teams.get(task.team)
                step.agents = self._answerers(root, "team", (task.team,))
            return
        if task.agent is not None:
            step.named = self._answerers(root, "agent", (task.agent,))
        elif task.pool is not None:
            step.named = self._answerers(root, "pool", (task.pool,))
        else:
            wanted = tuple(sorted(set(task.capabilities or ())))
            step.named = self._answerers(root, "capabilities", wanted)
        if plan.process is ir.Process.HIERARCHICAL:
            step.agents = self._answerers(root, "capabilities", ())
            step.team = self._led(root, plan.manager)
            step.kind = "team" if step.team is not None else step.kind
        else:
            step.agents = step.named
            step.balance = _balance(root, task)

    def _led(self, root: ir.Workflow, manager: str | None) -> ir.Team | None:
        """Give the team of a manager with all others; None where there is nobody else."""
        key = id(root), manager
        if key not in self._teams:
            others = tuple(name for name in root.agents if name != manager)
            led = manager in root.agents and others
            self._teams[key] = ir.Team(manager=manager, members=others) if led else None
        return self._teams[key]

    def _answerers(self, root: ir.Workflow, by: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """Give every agent that may come to answer, as one and the same tuple each time."""
        key = id(root), by, names
        found = self._answering.get(key)
        if found is None:
            found = self._answering[key] = _chosen(root, by, names)
        return found

    # What is compiled, and what is noted where that fails.

    def _condition(self, plan: Plan, place: Place, source: str | bool) -> Expression | bool | None:
        return source if isinstance(source, bool) else self._expression(plan, place, source)

    def _expression(self, plan: Plan, place: Place, source: str) -> Expression | None:
        try:
            return compile_expression(source)
        except ExpressionError as error:
            if source.lstrip().startswith("{{"):
                error.hint = f"`{place[-1]}` is an expression already: write it without {{{{ }}}}"
            self._problems.broken(plan.workflow, (*plan.path, *place), error)
            return None

    def _template(self, plan: Plan, place: Place, text: str) -> Template | None:
        try:
            return compile_template(text)
        except ExpressionError as error:
            self._problems.broken(plan.workflow, (*plan.path, *place), error)
            return None

    def _structure(self, plan: Plan, place: Place, value: Any) -> Structure | None:
        try:
            return compile_structure(value)
        except ExpressionError as error:
            compiled = [
                self._template(plan, (*place, *inner), text) for inner, text in walk_texts(value)
            ]
            if all(compiled):
                self._problems.tell(plan.workflow, error.message, (*plan.path, *place))
            return None

    def _schema(
        self, workflow: ir.Workflow, path: Place, schema: dict[str, Any] | bool
    ) -> Schema | None:
        try:
            return compile_schema(schema)
        except SchemaError as error:
            self._problems.tell(workflow, error.message, (*path, *error.path))
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


def _chosen(root: ir.Workflow, by: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Give every agent that may answer, of those that exist."""
    match by:
        case "agent":
            return tuple(name for name in names if name in root.agents)
        case "pool":
            pool = root.pools.get(names[0])
            return _chosen(root, "agent", pool.agents) if pool else ()
        case "team":
            team = root.teams.get(names[0])
            return tuple(_members(root, team)) if team else ()
        case _:
            wanted = frozenset(names)
            return tuple(
                name for name, agent in root.agents.items() if wanted.issubset(agent.capabilities)
            )


def _balance(root: ir.Workflow, task: ir.AgentTask) -> str | None:
    """Name the strategy that chooses who answers; None where there is no choice."""
    if task.pool is not None:
        pool = root.pools.get(task.pool)
        return pool.balance if pool else None
    return BY_CAPABILITY if task.capabilities is not None else None


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
