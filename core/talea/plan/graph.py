"""What a document becomes before it runs: tasks as an int-indexed graph with compiled expressions.

A workflow, a block and a sub-workflow are each one `Plan`; a task is a `Step` of it. Nothing here
changes once `plan.make_plan` has given it out, so that runs and threads may share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from talea import ir
from talea.errors import Issue
from talea.expr import Expression, Structure, Template
from talea.schema import Schema


class Feature(StrEnum):
    """What a workflow may need of a framework. A plan lists what it needs; a framework what it has.

    The names are the document's own keys, so that a refusal names what its reader wrote.
    """

    AGENT = "agent"
    TOOL = "tool"
    VALUE = "value"
    WORKFLOW = "workflow"
    TASKS = "tasks"
    TEAM = "team"
    ASK = "ask"
    POOL = "pool"
    CAPABILITIES = "capabilities"
    AGENT_TOOLS = "agents.tools"
    APPROVE = "approve"
    CONTEXT = "context"
    TRIGGER = "trigger"
    WHEN = "when"
    FOR_EACH = "for_each"
    FALLBACK = "fallback"
    LOOP = "loop"
    RETRY = "retry"
    TIMEOUT = "timeout"
    OUTPUT = "output"
    PRIORITY = "priority"
    ON_RESUME = "on_resume"
    MAX_PARALLEL = "max_parallel"
    SEQUENTIAL = "process: sequential"
    PARALLEL = "process: parallel"
    HIERARCHICAL = "process: hierarchical"
    ON_FAILURE = "on_failure"
    LIMITS = "limits"


class Need(NamedTuple):
    """One feature that a task needs; the task is an address such as `polish/brief`, or `""`."""

    task: str
    feature: Feature


@dataclass(slots=True)
class InputSpec:
    """One declared input: what it must fit, and what stands in when the caller gives none."""

    schema: Schema | None
    """None where the declared schema is itself invalid, which refuses the document."""
    default: Any
    required: bool
    declared: dict[str, Any] | bool
    """The schema as the document writes it."""


@dataclass(slots=True, eq=False)
class Step:
    """One task: what the document says of it, compiled, and its place in the graph.

    Tasks are spoken of by index. `dependencies` are all that must have ended first, in document
    order; `watched` are those the trigger looks at; `previous` is the task above where the process
    is sequential. Only what the task's kind has is set.
    """

    index: int
    id: str
    kind: str
    """How it is carried out: as its kind says, but `team` where a manager answers an agent task."""
    task: ir.Task
    trigger: ir.Trigger = ir.Trigger.ALL_SUCCESS
    priority: int = 0
    dependencies: tuple[int, ...] = ()
    watched: tuple[int, ...] = ()
    previous: int | None = None
    successors: tuple[int, ...] = ()
    handler: bool = False
    """Whether a stop spares it: it waits for failures, or only for tasks that do."""
    when: Expression | bool | None = None
    for_each: Expression | list[Any] | None = None
    loop: ir.Loop | None = None
    until: Expression | bool | None = None
    retry: ir.Retry | None = None
    timeout: float | None = None
    """Seconds for one attempt."""
    fallback: Structure | None = None
    prompt: Template | None = None
    expected_output: Template | None = None
    arguments: Structure | None = None
    value: Structure | None = None
    ask: Template | None = None
    context: tuple[str, ...] = ()
    """Ids of tasks, of this plan or of one around it."""
    agents: tuple[str, ...] = ()
    """Ids of every agent that may come to answer: the one, the pool's, the team's."""
    balance: str | None = None
    """The strategy that chooses one of them for each attempt; None where there is no choice."""
    team: ir.Team | None = None
    """The team that answers: the task's own, or the manager of a hierarchical process with all
    other agents."""
    named: tuple[str, ...] = ()
    """Ids of the agents that an agent task names; where a team answers it, its manager is told."""
    output: Schema | None = None
    is_plain: bool = True
    """Whether it has none of `fallback`, `loop` and `retry`."""
    plan: Plan | None = None
    """What is inside: a block's own plan, or the plan of the workflow that is called."""


@dataclass(slots=True, eq=False)
class Plan:
    """One workflow, or one block, ready to be compiled for a framework."""

    name: str
    workflow: ir.Workflow
    """The document in force: its tools, agents, models, pools and teams."""
    written: ir.InlineWorkflow | ir.BlockTask
    """What it was made from."""
    path: tuple[str | int, ...]
    """Where that stands in the document; () for the document itself."""
    scope: Plan | None
    """For a block the plan around it, whose names it sees; None for a workflow."""
    process: ir.Process
    on_failure: ir.OnFailure
    inputs: dict[str, InputSpec]
    """The inputs in force; a block has those of the workflow around it."""
    manager: str | None = None
    limits: ir.Limits | None = None
    """None for what is not a document of its own."""
    steps: tuple[Step, ...] = ()
    ids: dict[str, int] = field(default_factory=dict[str, int])
    roots: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    """A topological order of all steps."""
    outputs: Structure | None = None
    """None for a block that writes none: its output is `{id: output}` of all its tasks."""
    warnings: tuple[Issue, ...] = ()
    """The issues that do not refuse the document; kept by the plan that `make_plan` gives."""

    _features: frozenset[Feature] | None = None

    @property
    def features(self) -> frozenset[Feature]:
        """Give every feature that is needed here and inside."""
        if self._features is None:
            self._features = frozenset(need.feature for need in self.needs)
        return self._features

    def plans(self) -> Iterator[Plan]:
        """Give this plan and every plan inside it once, outer ones first."""
        for plan, _ in _walk(self):
            yield plan

    @property
    def needs(self) -> tuple[Need, ...]:
        """List every feature that is needed here and inside, with the task that needs it.

        A workflow that several tasks call is listed under the first of them.
        """
        found: list[Need] = []
        facts: dict[int, _AgentFacts] = {}
        for plan, prefix in _walk(self):
            around = prefix.rstrip("/")
            found += [Need(around, feature) for feature in _plan_features(plan)]
            for step in plan.steps:
                key = id(step.agents)  # tasks that ask the same agents share them
                if key not in facts:
                    facts[key] = _agent_facts(plan.workflow, step.agents)
                address = prefix + step.id
                found += [
                    Need(address, feature) for feature in _step_features(plan, step, facts[key])
                ]
        return tuple(found)


def _walk(plan: Plan) -> Iterator[tuple[Plan, str]]:
    """Give each plan once, with the address that stands before its tasks."""
    seen = {id(plan)}
    waiting = [(plan, "")]
    while waiting:
        plan, prefix = waiting.pop()
        yield plan, prefix
        inner: list[tuple[Plan, str]] = []
        for step in plan.steps:
            if step.plan is not None and id(step.plan) not in seen:
                seen.add(id(step.plan))
                inner.append((step.plan, f"{prefix}{step.id}/"))
        waiting += reversed(inner)


_PROCESS = {
    ir.Process.SEQUENTIAL: Feature.SEQUENTIAL,
    ir.Process.PARALLEL: Feature.PARALLEL,
    ir.Process.HIERARCHICAL: Feature.HIERARCHICAL,
}


def _plan_features(plan: Plan) -> Iterator[Feature]:
    """Give what the workflow or block as a whole needs, by what is written."""
    if plan.process in _PROCESS:
        yield _PROCESS[plan.process]
    if plan.on_failure is not (plan.scope.on_failure if plan.scope else ir.OnFailure.STOP):
        yield Feature.ON_FAILURE
    if plan.limits is not None and plan.limits.model_dump(exclude_none=True):
        yield Feature.LIMITS


class _AgentFacts(NamedTuple):
    """What is asked of a framework by the agents that may answer a task."""

    tools: bool
    approve: bool
    max_parallel: bool
    limits: bool


def _agent_facts(root: ir.Workflow, names: tuple[str, ...]) -> _AgentFacts:
    agents = [root.agents[name] for name in names]
    tools = {tool for agent in agents for tool in agent.tools}
    return _AgentFacts(
        tools=bool(tools),
        approve=any(_approved(root, tool) for tool in tools),
        max_parallel=any(agent.max_parallel is not None for agent in agents),
        limits=any(agent.limits is not None or _is_limited(root, agent) for agent in agents),
    )


def _is_limited(root: ir.Workflow, agent: ir.Agent) -> bool:
    """Say whether the model of an agent has limits of its own."""
    model = root.models.get(agent.model or root.model or "")
    return model is not None and model.limits is not None


def _approved(root: ir.Workflow, tool: str) -> bool:
    """Say whether each call of a tool is a question to a person."""
    return tool in root.tools and root.tools[tool].approve


def _step_features(plan: Plan, step: Step, agents: _AgentFacts) -> Iterator[Feature]:
    """Give what one task needs, by what is written: a default that is spelled out needs nothing."""
    task = step.task
    yield Feature(task.kind)
    if isinstance(task, ir.AgentTask):
        if task.pool is not None:
            yield Feature.POOL
        if task.capabilities is not None:
            yield Feature.CAPABILITIES
    if agents.tools:
        yield Feature.AGENT_TOOLS
    if agents.approve or (isinstance(task, ir.ToolTask) and _approved(plan.workflow, task.tool)):
        yield Feature.APPROVE
    if step.context:
        yield Feature.CONTEXT
    if task.trigger is not None:
        yield Feature.TRIGGER
    if step.when is not None:
        yield Feature.WHEN
    if step.for_each is not None:
        yield Feature.FOR_EACH
    if task.output is not None:
        yield Feature.OUTPUT
    if task.priority:
        yield Feature.PRIORITY
    if task.max_parallel is not None or agents.max_parallel:
        yield Feature.MAX_PARALLEL
    if agents.limits:
        yield Feature.LIMITS
    if isinstance(task, ir.RepeatableTask):
        if step.fallback is not None:
            yield Feature.FALLBACK
        if task.loop is not None:
            yield Feature.LOOP
        if task.retry is not None:
            yield Feature.RETRY
        if task.timeout is not None:
            yield Feature.TIMEOUT
        if task.on_resume is not ir.OnResume.RERUN:
            yield Feature.ON_RESUME
