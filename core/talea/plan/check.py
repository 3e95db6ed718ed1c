"""Everything that can be known to be wrong before a workflow runs, all of it at once.

The shape of the document (keys, types, ranges) has been checked when it was read. Here are the
rules that need the whole of it: names that must exist, paths, cycles, triggers, arguments.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from talea import ir
from talea.errors import ExpressionError, Issue, Severity
from talea.expr import compile_template
from talea.plan.draft import Drafter
from talea.plan.graph import Plan, Step
from talea.plan.paths import Names, Paths, place_of, visible
from talea.plan.problems import Place, Problems
from talea.plan.shape import CAUGHT, INTEGER, RUN, of_inputs
from talea.schema import Schema, SchemaError, can_have, compile_schema
from talea.source import blanks

_DESCRIBING = ("role", "goal", "backstory")
_MODEL = re.compile(ir.MODEL_PATTERN)
_GIVES_TEXT = frozenset({"agent", "team"})
_PER_PROPERTY = frozenset({"$defs", "definitions", "properties"})
"""What of a tool's parameters speaks of one argument alone."""


def check(workflow: ir.Workflow) -> list[Issue]:
    """Give every problem of a workflow, warnings too, in document order."""
    return examine(workflow)[1]


def examine(workflow: ir.Workflow) -> tuple[Plan, list[Issue]]:
    """Give the plan of a workflow as far as it can be made, and every problem."""
    problems = Problems()
    drafter = Drafter(workflow, problems)
    examination = _Examination(problems)
    for plan in drafter.workflows:
        if plan.written is plan.workflow:
            examination.document(plan)
        examination.workflow(plan)
    return drafter.root, problems.in_order()


class _Examination:
    """Goes through documents from top to bottom."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._paths = Paths(problems)
        self._arguments: dict[int, Schema | None] = {}
        """By the identity of a tool, which its document keeps alive: what single arguments fit."""

    # What the root of a document names.

    def document(self, plan: Plan) -> None:
        """Check the agents, pools, teams, tools and models of a plan's document."""
        root = plan.workflow
        self._blanks(root)
        self._model(root, root.model, ("model",))
        for name, tool in root.tools.items():
            self._parameters(root, ("tools", name, "parameters"), tool.parameters)
        names = {"inputs": of_inputs(plan)}
        for name, agent in root.agents.items():
            self._model(root, agent.model, ("agents", name, "model"))
            for index, tool in enumerate(agent.tools):
                if tool not in root.tools:
                    self._tool(root, tool, ("agents", name, "tools", index))
            beside = [key for key in _DESCRIBING if getattr(agent, key) is not None]
            if beside and agent.instructions is not None:
                self._problems.tell(
                    root,
                    f"`instructions` are the whole prompt, and {_listed(beside)} would be lost",
                    ("agents", name, "instructions"),
                    key=True,
                    hint="write all of it in `instructions`, or leave them out",
                )
            for key in (*_DESCRIBING, "instructions"):
                self._agent_text(root, ("agents", name, key), getattr(agent, key), names)
        for name, pool in root.pools.items():
            for index, agent in enumerate(pool.agents):
                if agent not in root.agents:
                    path = ("pools", name, "agents", index)
                    self._problems.unknown(root, "agent", agent, root.agents, path)
                elif agent in pool.agents[:index]:
                    path = ("pools", name, "agents", index)
                    hint = "its `weight` says how much of the work it gets"
                    self._problems.tell(root, f"{agent!r} is in this pool already", path, hint=hint)
        for name, team in root.teams.items():
            if name in root.agents:
                self._problems.tell(
                    root,
                    f"{name!r} is an agent already; agents and teams share one name space",
                    ("teams", name),
                    key=True,
                )
            self._team(root, team, ("teams", name))
        self._nested_teams(root)

    def _blanks(self, root: ir.Workflow) -> None:
        """Warn of text that a comma has cut, where any key may stand."""
        source = root._source  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        for path, message, hint in blanks(source) if source is not None else ():
            warning = Severity.WARNING
            self._problems.tell(root, message, path, key=True, hint=hint, severity=warning)

    def _model(self, root: ir.Workflow, model: str | None, path: Place) -> None:
        if model is None or model in root.models or _MODEL.fullmatch(model):
            return
        hint = "name one of `models`, or write provider/name"
        self._problems.unknown(root, "model", model, root.models, path, hint=hint)

    def _tool(self, root: ir.Workflow, tool: str, path: Place) -> None:
        hint = "name it under `tools:`; `{}` is enough"
        self._problems.unknown(root, "tool", tool, root.tools, path, hint=hint)

    def _agent_text(self, root: ir.Workflow, path: Place, text: str | None, names: Names) -> None:
        if text is None or "{" not in text:
            return
        try:
            template = compile_template(text)
        except ExpressionError as error:
            self._problems.broken(root, path, error)
            return
        self._paths.agent_text(root, path, template, names)

    def _team(self, root: ir.Workflow, team: ir.Team, path: Place) -> None:
        known = ChainMap[str, Any]({}, root.agents, root.teams)
        if (team.manager is None) == (team.start is None):
            self._problems.tell(root, "a team has either a manager or a start", path)
        if team.manager is not None and team.manager not in root.agents:
            self._problems.unknown(root, "agent", team.manager, root.agents, (*path, "manager"))
        if team.start is not None and team.start not in team.members:
            hint = self._problems.meant(team.start, dict.fromkeys(team.members))
            message = f"{team.start!r} is not one of the members"
            self._problems.tell(root, message, (*path, "start"), hint=hint)
        for index, member in enumerate(team.members):
            if member not in known:
                self._problems.unknown(
                    root, "agent or team", member, known, (*path, "members", index)
                )

    def _nested_teams(self, root: ir.Workflow) -> None:
        inner = {
            name: [
                member
                for member in team.members
                if member in root.teams and member not in root.agents
            ]
            for name, team in root.teams.items()
        }
        for cycle in _cycles(inner):
            path = ("teams", cycle[0])
            chain = " → ".join([*cycle, cycle[0]])
            self._problems.tell(root, f"a team is inside itself: {chain}", path, key=True)

    def _parameters(self, root: ir.Workflow, path: Place, schema: dict[str, Any] | None) -> None:
        if schema is None:
            return
        try:
            compile_schema(schema)
        except SchemaError as error:
            self._problems.tell(root, error.message, (*path, *error.path))
            return
        if schema.get("type", "object") != "object":
            message = "the parameters of a tool are an object, with a property for each"
            self._problems.tell(root, message, (*path, "type"))

    # A workflow and its tasks.

    def workflow(self, plan: Plan) -> None:
        """Check a workflow: its inputs, outputs and all tasks inside it."""
        for name, spec in plan.inputs.items():
            if spec.schema is not None and not spec.required:
                complaint = spec.schema.check(spec.default)
                if complaint is not None:
                    self._problems.tell(
                        plan.workflow,
                        f"the default does not fit: {complaint}",
                        (*plan.path, "inputs", name, "default"),
                    )
        names: Names = {"inputs": of_inputs(plan), "run": RUN}
        if plan.manager is not None and plan.manager not in plan.workflow.agents:
            path = (*plan.path, "manager")
            self._problems.unknown(plan.workflow, "agent", plan.manager, plan.workflow.agents, path)
        self._tasks(plan, names)
        if plan.manager is not None and not any(map(_is_hierarchical, _with_blocks(plan))):
            self._problems.tell(
                plan.workflow,
                "nothing here is hierarchical, so this manager manages nothing",
                (*plan.path, "manager"),
                key=True,
                hint="write `process: hierarchical` beside it",
                severity=Severity.WARNING,
            )

    def _tasks(self, plan: Plan, names: Names) -> None:
        """Check the tasks of a workflow or block, in which these names apply."""
        if _is_hierarchical(plan) and plan.manager is None:
            where = "beside it" if plan.scope is None else "in the workflow around this block"
            self._problems.tell(
                plan.workflow,
                "process hierarchical needs a manager",
                (*plan.path, "process"),
                hint=f"write `manager: <agent>` {where}",
            )
        if plan.scope is not None:
            self._redefined(plan, plan.scope)
        for step in plan.steps:
            self._step(plan, step, names)
        self._paths.structure(plan, None, (*plan.path, "outputs"), plan.outputs, names)
        graph = {step.id: [plan.steps[at].id for at in step.dependencies] for step in _left(plan)}
        for cycle in _cycles(graph):
            self._cycle(plan, cycle)

    def _step(self, plan: Plan, step: Step, around: Names) -> None:
        task = step.task
        inside = around
        if task.for_each is not None:
            inside = {**inside, "item": self._paths.item(plan, step, around), "index": INTEGER}
        mapped = inside
        if isinstance(task, ir.RepeatableTask):
            if task.loop is not None:
                inside = {**inside, "loop": self._paths.loop(step)}
                self._paths.expression(plan, step, ("loop", "until"), step.until, inside)
                if task.loop.until is None and task.loop.exhausted is ir.Exhausted.FAIL:
                    self._problems.tell(
                        plan.workflow,
                        "this loop can only fail: it has no `until`",
                        place_of(plan, step, "loop"),
                        key=True,
                        hint="write `until`, or `exhausted: keep`",
                    )
            if step.fallback is not None:
                caught = {**mapped, "error": CAUGHT}
                self._paths.structure(
                    plan, step, place_of(plan, step, "fallback"), step.fallback, caught
                )
                self._fallback(plan, step, task.fallback)
        if step.when is not None:
            self._paths.expression(plan, step, ("when",), step.when, around)
        if step.for_each is not None:
            self._paths.expression(plan, step, ("for_each",), step.for_each, around)
        if task.max_parallel is not None and task.for_each is None:
            self._problems.tell(
                plan.workflow,
                "`max_parallel` bounds the items of a `for_each`, and there is none",
                place_of(plan, step, "max_parallel"),
                key=True,
                severity=Severity.WARNING,
            )
        if isinstance(task.for_each, list) and not _constant(task.for_each):
            self._problems.tell(
                plan.workflow,
                "a list stands for itself here: its texts are not rendered",
                place_of(plan, step, "for_each"),
                hint='write it as an expression, such as "[inputs.a, inputs.b]"',
                severity=Severity.WARNING,
            )
        self._order(plan, step)
        self._kind(plan, step, inside)

    def _kind(self, plan: Plan, step: Step, names: Names) -> None:
        """Check what only some kinds of task have."""
        root = plan.workflow
        match step.task:
            case ir.AgentTask() as task:
                self._answered(plan, step, task, names)
                self._who(plan, step, task)
            case ir.TeamTask() as task:
                self._answered(plan, step, task, names)
                path = place_of(plan, step, "team")
                if isinstance(task.team, ir.Team):
                    self._team(root, task.team, path)
                elif task.team not in root.teams:
                    self._problems.unknown(root, "team", task.team, root.teams, path)
            case ir.ToolTask() as task:
                self._paths.structure(
                    plan, step, place_of(plan, step, "with"), step.arguments, names
                )
                if task.tool not in root.tools:
                    self._tool(root, task.tool, place_of(plan, step, "tool"))
                else:
                    self._tool_arguments(plan, step, task, root.tools[task.tool])
            case ir.WorkflowTask() as task:
                self._paths.structure(
                    plan, step, place_of(plan, step, "with"), step.arguments, names
                )
                if step.plan is not None:
                    self._workflow_arguments(plan, step, task, step.plan)
            case ir.ValueTask():
                self._paths.structure(plan, step, place_of(plan, step, "value"), step.value, names)
            case ir.BlockTask():
                if step.plan is not None:
                    self._tasks(step.plan, names)
            case ir.AskTask():
                self._paths.text(plan, step, "ask", step.ask, names)

    def _answered(
        self, plan: Plan, step: Step, task: ir.AgentTask | ir.TeamTask, names: Names
    ) -> None:
        self._paths.text(plan, step, "prompt", step.prompt, names)
        if task.expected_output is not None:
            key = "expected_output"
            self._paths.text(plan, step, key, step.expected_output, names)
        for index, name in enumerate(task.context):
            path = place_of(plan, step, "context", index)
            if name == step.id:
                self._paths.itself(plan, step, path)
            else:
                self._paths.task(plan, name, path, None)

    def _who(self, plan: Plan, step: Step, task: ir.AgentTask) -> None:
        root = plan.workflow
        if task.agent is not None and task.agent not in root.agents:
            path = place_of(plan, step, "agent")
            self._problems.unknown(root, "agent", task.agent, root.agents, path)
        elif task.pool is not None and task.pool not in root.pools:
            self._problems.unknown(
                root, "pool", task.pool, root.pools, place_of(plan, step, "pool")
            )
        elif task.capabilities is not None and not step.named:
            wanted = ", ".join(map(repr, task.capabilities))
            known = dict.fromkeys(c for agent in root.agents.values() for c in agent.capabilities)
            strange = [c for c in task.capabilities if c not in known]
            self._problems.tell(
                root,
                f"no agent has the capabilities {wanted}" if wanted else "there are no agents",
                place_of(plan, step, "capabilities"),
                hint=self._problems.meant(strange[0], known)
                if strange
                else _nearest(root, task.capabilities),
            )

    # Order: what a task waits for.

    def _order(self, plan: Plan, step: Step) -> None:
        task = step.task
        for index, name in enumerate(task.depends_on or ()):
            if name in plan.ids and name != step.id:
                continue
            path = place_of(plan, step, "depends_on", index)
            if name == step.id:
                self._paths.itself(plan, step, path)
                continue
            if visible(plan, name) is None:
                self._paths.task(plan, name, path)
                continue
            self._problems.tell(
                plan.workflow,
                f"task {name!r} is not in this block",
                path,
                hint="`depends_on` names tasks beside this one; the block itself may depend on it",
            )
        if plan.process is ir.Process.PARALLEL and step.dependencies:
            first = plan.steps[step.dependencies[0]].id
            self._problems.tell(
                plan.workflow,
                f"process is parallel, but {step.id!r} depends on {first!r}",
                place_of(plan, step),
                key=True,
                hint="leave `process` out, and tasks wait only for what they depend on",
            )
        if not step.watched and task.trigger in (ir.Trigger.ONE_SUCCESS, ir.Trigger.ONE_FAILED):
            self._problems.tell(
                plan.workflow,
                f"{task.trigger} can never be met: the task depends on nothing",
                place_of(plan, step, "trigger"),
                hint="name the tasks to look at in `depends_on`",
            )

    def _itself(
        self, plan: Plan, step: Step, path: Place, start: int | None = None, end: int | None = None
    ) -> None:
        looped = isinstance(step.task, ir.RepeatableTask) and step.task.loop is not None
        self._problems.tell(
            plan.workflow,
            f"task {step.id!r} depends on itself",
            path,
            start=start,
            end=end,
            hint="`loop.output` is what the last iteration gave" if looped else None,
        )

    def _cycle(self, plan: Plan, cycle: list[str]) -> None:
        """Tell a cycle from its first task in the document on."""
        steps = [plan.steps[plan.ids[name]] for name in cycle]
        forced = [
            f"{step.id!r} comes after {after.id!r} because process is sequential"
            for step, after in zip(steps, [*steps[1:], steps[0]], strict=True)
            if step.previous == after.index and after.index not in step.watched
        ]
        chain = " → ".join([*cycle, cycle[0]])
        self._problems.tell(
            plan.workflow,
            f"tasks wait for each other: {chain}" + (f" ({'; '.join(forced)})" if forced else ""),
            place_of(plan, steps[0]),
            key=True,
            hint="each one depends on the next; let one of them go without",
        )

    def _redefined(self, plan: Plan, outer: Plan) -> None:
        for step in plan.steps:
            if visible(outer, step.id) is not None:
                self._problems.tell(
                    plan.workflow,
                    f"there is a task {step.id!r} around this block already",
                    place_of(plan, step),
                    key=True,
                    hint="a block sees the names around it, so its own must differ",
                )

    # Arguments and fallbacks: constants are checked now.

    def _fallback(self, plan: Plan, step: Step, value: Any) -> None:
        if step.fallback is None or not step.fallback.constant:
            return
        place = place_of(plan, step, "fallback")
        if step.output is not None:
            complaint = step.output.check(value)
            if complaint is not None:
                message = f"the fallback does not fit `output`: {complaint}"
                self._problems.tell(plan.workflow, message, place)
        elif step.task.output is None and step.kind in _GIVES_TEXT and not isinstance(value, str):
            self._problems.tell(
                plan.workflow,
                f"the fallback must be text, as all that this {step.kind} gives without `output`",
                place,
                hint="quote it, or declare `output`",
            )

    def _tool_arguments(self, plan: Plan, step: Step, task: ir.ToolTask, tool: ir.Tool) -> None:
        key = id(tool)
        if key not in self._arguments:
            self._arguments[key] = _one_by_one(tool.parameters)
        each, schema = self._arguments[key], cast("dict[str, Any]", tool.parameters)
        if each is None:
            return
        path = place_of(plan, step, "with")
        for name in schema.get("required", ()):
            if name not in task.with_:
                self._missing(plan, step, f"tool {task.tool!r} needs {name!r}", bool(task.with_))
        properties: dict[str, Any] = schema.get("properties", {})
        for name, value in task.with_.items():
            if can_have(schema, (name,)) is not None:
                self._problems.unknown(
                    plan.workflow, "argument", name, properties, (*path, name), key=True
                )
            elif name in properties and _constant(value):
                complaint = each.check({name: value})
                if complaint is not None:
                    message = f"{name!r} does not fit: {complaint}"
                    self._problems.tell(plan.workflow, message, (*path, name))

    def _workflow_arguments(
        self, plan: Plan, step: Step, task: ir.WorkflowTask, called: Plan
    ) -> None:
        path = place_of(plan, step, "with")
        for name, spec in called.inputs.items():
            if spec.required and name not in task.with_:
                message = f"workflow {called.name!r} needs the input {name!r}"
                self._missing(plan, step, message, bool(task.with_))
        for name, value in task.with_.items():
            spec = called.inputs.get(name)
            if spec is None:
                self._problems.unknown(
                    plan.workflow, "input", name, called.inputs, (*path, name), key=True
                )
            elif spec.schema is not None and _constant(value):
                complaint = spec.schema.check(value)
                if complaint is not None:
                    message = f"{name!r} does not fit: {complaint}"
                    self._problems.tell(plan.workflow, message, (*path, name))

    def _missing(self, plan: Plan, step: Step, message: str, some: bool) -> None:
        path = place_of(plan, step, "with") if some else place_of(plan, step)
        self._problems.tell(plan.workflow, message, path, key=True, hint="give it in `with`")


def _is_hierarchical(plan: Plan) -> bool:
    return plan.process is ir.Process.HIERARCHICAL


def _with_blocks(plan: Plan) -> Iterator[Plan]:
    """Give the plan of a workflow, and those of the blocks in it."""
    yield plan
    for step in plan.steps:
        if step.plan is not None and step.plan.scope is plan:
            yield from _with_blocks(step.plan)


def _listed(keys: list[str]) -> str:
    return " and ".join(f"`{key}`" for key in keys)


def _constant(value: Any) -> bool:
    """Say whether a structure has no holes."""
    if isinstance(value, str):
        return "{{" not in value
    if isinstance(value, dict):
        return all(map(_constant, cast("dict[str, Any]", value).values()))
    if isinstance(value, list):
        return all(map(_constant, cast("list[Any]", value)))
    return True


def _one_by_one(parameters: dict[str, Any] | None) -> Schema | None:
    """Give a schema for single arguments of a tool: what is not known yet must not count.

    None where nothing can be checked.
    """
    if parameters is None:
        return None
    try:
        compile_schema(parameters)
    except SchemaError:
        return None
    return compile_schema({k: v for k, v in parameters.items() if k in _PER_PROPERTY})


def _nearest(root: ir.Workflow, wanted: Iterable[str]) -> str | None:
    """Say who lacks the least of the capabilities that are asked for, and what."""
    missing = {
        name: [one for one in dict.fromkeys(wanted) if one not in agent.capabilities]
        for name, agent in root.agents.items()
    }
    if not missing:
        return None
    name = min(missing, key=lambda name: len(missing[name]))
    return f"{name!r} lacks only {', '.join(map(repr, missing[name]))}"


def _left(plan: Plan) -> list[Step]:
    """Give the steps that no order has a place for: those in a cycle, and those after one."""
    if len(plan.order) == len(plan.steps):
        return []
    placed = set(plan.order)
    return [step for step in plan.steps if step.index not in placed]


def _cycles(graph: Mapping[str, list[str]]) -> Iterator[list[str]]:
    """Find cycles, one at least if there are any, each from its first node in the graph on.

    Nodes that lead into no cycle are taken away first; from every other one there is always a
    next, and each is walked through once.
    """
    before: dict[str, list[str]] = {name: [] for name in graph}
    left = dict.fromkeys(graph, 0)
    for name, after in graph.items():
        for other in after:
            if other in graph:
                before[other].append(name)
                left[name] += 1
    ending = [name for name, count in left.items() if not count]
    while ending:
        name = ending.pop()
        del left[name]
        for other in before[name]:
            left[other] -= 1
            if not left[other]:
                ending.append(other)
    walked: dict[str, str] = {}
    place = {name: at for at, name in enumerate(graph)}
    for begin in left:
        trail: list[str] = []
        name = begin
        while name not in walked:
            walked[name] = begin
            trail.append(name)
            name = next(other for other in graph[name] if other in left)
        if walked[name] == begin:
            cycle = trail[trail.index(name) :]
            first = cycle.index(min(cycle, key=place.__getitem__))
            yield cycle[first:] + cycle[:first]
