"""Calls that leave the kernel: of a tool's code, and of an agent with the tools it is handed."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

from talea import ir
from talea.adapter import AgentTool, Endpoint, Unanswered, Via
from talea.errors import ErrorType, TaskError
from talea.events import (
    AgentContent,
    AgentEnded,
    AgentStarted,
    Failure,
    ModelCalled,
    Status,
    ToolCalled,
    ToolContent,
    Usage,
)
from talea.expr import compile_template, parse_json, to_text
from talea.failures import said_by
from talea.kernel.people import Approvals, Permits, changed_note
from talea.kernel.rates import Allowance
from talea.kernel.threads import in_own_context
from talea.kernel.work import Record
from talea.schema import Schema
from talea.tools import BoundTool, ToolContext, read_result

if TYPE_CHECKING:
    from talea.kernel.run import Run
    from talea.kernel.work import Cell

_SHORT = 100_000
"""Characters of text that need no look at how long they are as JSON."""
_AGENT_TEXTS = ("role", "goal", "backstory", "instructions")


async def call_tool(
    cell: Cell, tool: BoundTool, arguments: Mapping[str, Any], agent: str | None = None
) -> Any:
    """Call a tool's code, tell of it, and give its result as JSON data. Raises `TaskError`."""
    execution = cell.run.execution
    began = execution.clock.time()
    failure: TaskError | None = None
    result: Any = None
    try:
        result = read_tool(tool, await start_tool(cell, tool, arguments, agent))
        return result
    except asyncio.CancelledError:
        failure = TaskError(ErrorType.INTERRUPTED, "the call was cancelled")
        raise
    except Exception as error:
        failure = tool_failure(tool, error)
        raise failure from error
    finally:
        told = failure and Failure(failure.type.value, failure.message, cell.address)
        duration = execution.clock.time() - began
        if execution.tells_content:
            content = ToolContent(execution.now, cell.address, tool.name, arguments, result)
            execution.tell_content(content)
        execution.tell(ToolCalled(execution.now, cell.address, tool.name, duration, told))


def start_tool(
    cell: Cell, tool: BoundTool, arguments: Mapping[str, Any], agent: str | None = None
) -> Awaitable[Any]:
    """Start a tool's code; a blocking function on a thread. A tape may stand in for it."""
    tape = cell.run.execution.tape
    if tape is not None:

        async def make() -> Any:
            try:
                return read_tool(tool, await _start_code(cell, tool, arguments, agent))
            except Exception as error:
                raise tool_failure(tool, error) from error

        return tape.call(cell.address, tool.name, arguments, make)
    return _start_code(cell, tool, arguments, agent)


def _start_code(
    cell: Cell, tool: BoundTool, arguments: Mapping[str, Any], agent: str | None
) -> Awaitable[Any]:
    cell.calls += 1
    if arguments:
        arguments = copy_json(arguments)
    context = _context(cell, agent) if tool.signature.wants_context else None
    keywords = tool.prepare(arguments, context)
    if tool.is_async:
        return in_own_context(tool.function(**keywords))
    return _run_blocking(cell, functools.partial(tool.function, **keywords))


def read_tool(tool: BoundTool, value: Any) -> Any:
    """Give a tool's result as JSON data."""
    if value is None or (type(value) is str and len(value) < _SHORT):
        return value
    return read_result(tool.name, value)


def tool_failure(tool: BoundTool, error: Exception) -> TaskError:
    """Name what a tool raised: it may choose the type, but not claim to be somebody else."""
    if isinstance(error, TaskError):
        return TaskError(error.type, error.message, retry_after=error.retry_after)
    message = f"tool {tool.name!r} raised {type(error).__name__}: {said_by(error)}"
    return TaskError(ErrorType.TOOL_ERROR, message.rstrip(": "))


async def _run_blocking(cell: Cell, function: Callable[[], Any]) -> Any:
    """Run a function on a thread. One that is given up is left to come back by itself."""
    running = cell.run.execution.threads.submit(function)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if not running.done():
            cell.abandoned = [*(cell.abandoned or ()), running]
        raise


def _context(cell: Cell, agent: str | None) -> ToolContext:
    run_id = cell.run.execution.run_id
    key = f"{run_id}/{cell.address}/{cell.calls}"
    return ToolContext(run_id, cell.address, agent, key)


def copy_json(value: Any) -> Any:
    """Copy JSON data, so that code that changes what it is given changes nothing else."""
    if isinstance(value, dict):
        return {key: copy_json(part) for key, part in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [copy_json(part) for part in cast("list[Any]", value)]
    return value


class Tool:
    """A tool in an agent's hands: whatever goes wrong with it is told to the model as text."""

    def __init__(self, call: Call, tool: BoundTool) -> None:
        self.name = tool.name
        self.description = tool.description
        self.parameters = tool.parameters
        self._call = call
        self._tool = tool

    async def call(self, arguments: Mapping[str, Any] | str) -> str:
        """Call the tool and give its answer as text for the model."""
        call = self._call
        call.check_tool_turn()
        permits = call.permits
        with permits.call() if permits is not None else nullcontext():
            try:
                read = allowed = read_arguments(arguments)
                if permits is not None:
                    allowed = await permits.allow(self._tool, read)
            except TaskError as error:
                return call.refuse_tool(self.name, error)
            try:
                text = to_text(await call_tool(call.cell, self._tool, allowed, call.name))
            except TaskError as error:
                text = f"Error: {error.message}"
            return text if allowed == read else text + changed_note(allowed)


def read_arguments(arguments: Mapping[str, Any] | str) -> Mapping[str, Any]:
    """Read what a model gave a tool. Raises `TaskError` where it is no JSON object."""
    if not isinstance(arguments, str):
        return arguments
    try:
        read: Any = parse_json(arguments) if arguments.strip() else {}
    except ValueError as error:
        message = f"the arguments are no JSON: {error}"
        raise TaskError(ErrorType.INVALID_ARGUMENTS, message) from error
    if not isinstance(read, dict):
        raise TaskError(ErrorType.INVALID_ARGUMENTS, "the arguments must be a JSON object")
    return cast("dict[str, Any]", read)


class Call:
    """One attempt of an agent at a task: `adapter.AgentCall`, as the kernel keeps it."""

    def __init__(self, run: Run, cell: Cell, attempt: int, name: str, via: Via) -> None:
        step = cell.step
        execution = run.execution
        assert step.prompt is not None
        names = cell.scope()
        workflow = run.plan.workflow
        self.run = run
        self.cell = cell
        self.note_agent(name)
        self.address = cell.address
        self.attempt = attempt
        self.name = name
        self.agent: ir.Agent = _rendered(workflow.agents[name], run.document_inputs)
        self.prompt = step.prompt.render(names)
        self.context: Sequence[tuple[str, str]] = _context_of(step.context, names)
        self.expected_output = (
            step.expected_output.render(names) if step.expected_output is not None else None
        )
        self.tools: Sequence[AgentTool] = tuple(
            Tool(self, run.tools[name]) for name in self.agent.tools
        )
        self.members: Mapping[str, ir.Agent | ir.Team] = {}
        self.asked = frozenset(name for name in self.agent.tools if workflow.tools[name].approve)
        """The tools that a person must allow to be called."""
        self.permits = Permits(Approvals(cell, via), name, self.asked) if self.asked else None
        # For free text the model is not asked for JSON, in which it would quote it.
        free = step.output is None or step.output.schema == {"type": "string"}
        self.schema: Schema | None = None if free else step.output
        self.max_turns = self.agent.max_turns
        assert execution.endpoint is not None
        self.endpoint: Endpoint = execution.endpoint(workflow, name, self.address)
        self.deadline = cell.deadline
        self.idempotency_key = f"{execution.run_id}/{self.address}"
        self.feedback = cell.feedback
        self.conversation = cell.conversation
        self.session = execution.session
        self.streams = execution.streams
        self.failure: TaskError | None = None
        """What ends the attempt, kept in case the framework swallows it."""
        self.answer: str | None = None
        """The raw text that it came to."""
        self.by: str | None = None
        """The manager who has the agent work."""
        self._turns = 0
        self._turn_began: float | None = None
        desk = execution.desks.of(workflow, name) if execution.desks else None
        self._allowance: Allowance | None = None
        if desk is not None and cell.grant is not None:
            self._allowance = cell.grant.allowance(desk, execution.clock.time)

    @property
    def unanswered(self) -> bool:
        """Whether the attempt is over, since nobody is there to allow a call of a tool."""
        return self.permits is not None and self.permits.approvals.unanswered

    def lead(self, members: Sequence[str], delegate: AgentTool) -> None:
        """Make the agent the manager of others, with the tool by which it delegates to them."""
        workflow, inputs = self.run.plan.workflow, self.run.document_inputs
        self.tools = (*self.tools, delegate)
        self.members = {
            name: _rendered(workflow.agents[name], inputs)
            if name in workflow.agents
            else workflow.teams[name]
            for name in members
        }

    def note_agent(self, name: str) -> None:
        """Note in the task's record who answers."""
        record = self.run.records[self.cell.step.index]
        if isinstance(record, Record):
            record.agent = name

    def tell_started(self, *, for_task: bool = True) -> None:
        """Tell the sinks that the attempt begins; and, if it is the task's, how it has ended."""
        execution, at = self.run.execution, self.endpoint
        execution.tell(
            AgentStarted(
                execution.now,
                self.address,
                self.attempt,
                self.name,
                at.provider,
                at.model,
                self.by,
            )
        )
        if for_task:
            self.cell.told = self.tell_ended

    def tell_ended(self, status: Status, error: Failure | None) -> None:
        """Tell the sinks how the attempt ended."""
        execution = self.run.execution
        if self._turn_began is not None and status is not Status.SUCCEEDED:
            gone = Failure(ErrorType.INTERRUPTED.value, "nobody waits any more", self.address)
            self._tell_turn(Usage(1), error or gone)
        if execution.tells_content:
            execution.tell_content(self._content())
        execution.tell(
            AgentEnded(execution.now, self.address, self.attempt, self.name, status, error)
        )

    def _content(self) -> AgentContent:
        agent = self.agent
        words = (agent.role, agent.goal, agent.backstory, agent.instructions)
        asked = [*(text for _, text in self.context), self.prompt]
        return AgentContent(
            self.run.execution.now,
            self.address,
            self.name,
            "\n\n".join(text for text in words if text),
            "\n\n".join(asked),
            self.answer,
        )

    async def begin_turn(self) -> None:
        """Announce a model call, and wait for as long as the agent's rates hold it up. Raises
        `TaskError` where it must not be made."""
        execution = self.run.execution
        if self._allowance is not None:
            began = execution.now
            await self._allowance.begin()
            execution.tell_wait(self.address, began)
        if self.unanswered:
            raise Unanswered
        if self.failure is not None:
            raise self.failure
        if self.cell.cause is not None:
            raise self._fail(ErrorType.INTERRUPTED, "the attempt is over")
        if self._turns >= self.max_turns:
            raise self._fail(ErrorType.TURNS_EXHAUSTED, f"max_turns is {self.max_turns}")
        refusal = execution.refuses_model_call()
        if refusal is not None:
            execution.cross(self.cell, refusal)
            raise self._fail(ErrorType.LIMIT_EXCEEDED, refusal)
        self._turns += 1
        self._turn_began = execution.clock.time()
        for total in self._totals():
            total.begin_call()

    def end_turn(self, usage: Usage | None) -> None:
        """Report what the model call used; None if the framework does not tell."""
        execution = self.run.execution
        used = usage or Usage()
        if self._allowance is not None:
            self._allowance.end(used.input_tokens + used.output_tokens)
        if used.cost is None and execution.price is not None:
            used.cost = execution.price(self.endpoint, used)
        for total in self._totals():
            total.end_call(used)
        if execution.sinks:
            self._tell_turn(Usage(1, used.input_tokens, used.output_tokens, used.cost), None)

    def _totals(self) -> list[Usage]:
        """Give where a model call is counted: for its task, those around, the run and the agent."""
        agent = self.run.execution.agents.setdefault(self.name, Usage())
        return [*self.run.usages(self.cell.step.index), agent]

    def _tell_turn(self, used: Usage, error: Failure | None) -> None:
        execution, at = self.run.execution, self.endpoint
        now = execution.clock.time()
        duration = 0.0 if self._turn_began is None else now - self._turn_began
        self._turn_began = None
        execution.tell(
            ModelCalled(
                now - execution.began,
                self.address,
                self.name,
                at.provider,
                at.model,
                used,
                duration,
                error,
            )
        )

    def stream_text(self, text: str) -> None:
        """Pass a piece of the answer on to whoever listens."""
        if text and self.cell.cause is None:
            self.run.execution.stream_text(self.address, self.name, text)

    def unknown_tool(self, name: str) -> str:
        """Give the text that tells the model that it called a tool it does not have."""
        known = ", ".join(tool.name for tool in self.tools) or "none"
        message = f"there is no tool {name!r}; the tools are: {known}"
        return self.refuse_tool(name, TaskError(ErrorType.UNKNOWN_TOOL, message))

    def refuse_tool(self, name: str, error: TaskError) -> str:
        """Count a tool call that comes to nothing, and give the text that tells the model why."""
        execution = self.run.execution
        if execution.sinks:
            failure = Failure(error.type.value, error.message, self.address)
            execution.tell(ToolCalled(execution.now, self.address, name, 0.0, failure))
        return f"Error: {error.message}"

    def check_tool_turn(self) -> None:
        """Refuse a tool call after the last allowed model call: nobody could read its answer."""
        if self._turns >= self.max_turns:
            raise self._fail(
                ErrorType.TURNS_EXHAUSTED,
                f"max_turns is {self.max_turns}, and the last answer calls tools",
            )

    def _fail(self, type: ErrorType, message: str) -> TaskError:
        self.failure = TaskError(type, message, self.address)
        return self.failure


def _context_of(ids: Sequence[str], names: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give the outputs of earlier tasks as text; those that have none are left out."""
    views = [(name, names["tasks"][name]) for name in ids]
    return [(name, to_text(view["output"])) for name, view in views if view["output"] is not None]


def _rendered(agent: ir.Agent, inputs: Mapping[str, Any]) -> ir.Agent:
    texts = {key: text for key in _AGENT_TEXTS if (text := getattr(agent, key)) and "{{" in text}
    if not texts:
        return agent
    rendered = {
        key: compile_template(text).render({"inputs": inputs}) for key, text in texts.items()
    }
    return agent.model_copy(update=rendered)
