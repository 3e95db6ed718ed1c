"""The work of the kinds that reach outside: a tool, an agent, a person.

Each is three functions, so that the kernel's one guarded place can call them: `start` gives what is
awaited, `finish` makes the output of it, and `fail` names what was raised.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from talea import ir
from talea.adapter import AgentAnswer, AskCall, Unanswered, Via
from talea.errors import ErrorType, ExpressionError, TaskError
from talea.failures import to_task_error
from talea.kernel.calls import Call, call_tool, read_tool, start_tool, tool_failure
from talea.kernel.outputs import fit, fit_text, read_answer
from talea.kernel.people import allow, put
from talea.kernel.team import Work
from talea.kernel.work import Cell, Waits, count_busy
from talea.tools import BoundTool


class Leaf(NamedTuple):
    """How one kind of work is done. `fail` gives the error itself where it says enough."""

    start: Callable[[Cell, int, Via], Awaitable[Any]]
    finish: Callable[[Cell, Any], Any]
    fail: Callable[[Cell, Exception], Exception]


def _start_tool(cell: Cell, number: int, via: Via) -> Awaitable[Any]:
    task = cell.step.task
    assert isinstance(task, ir.ToolTask)
    tool = cell.tool = cell.run.tools[task.tool]
    template = cell.step.arguments
    arguments: dict[str, Any] = template.render(cell.scope()) if template is not None else {}
    if cell.run.plan.workflow.tools[task.tool].approve:
        return _call_allowed(cell, via, tool, arguments)
    if cell.run.execution.sinks:
        return call_tool(cell, tool, arguments)
    return start_tool(cell, tool, arguments)


async def _call_allowed(cell: Cell, via: Via, tool: BoundTool, arguments: Mapping[str, Any]) -> Any:
    """Call a tool once a person has allowed it. Raises `Waits` where nobody is there."""
    allowed = await _of_person(cell, allow(cell, via, tool, arguments))
    return await call_tool(cell, tool, allowed)


async def _of_person(cell: Cell, answer: Awaitable[Any]) -> Any:
    """Await a person's answer, while clocks stand still. Raises `Waits` where nobody is there."""
    execution = cell.run.execution
    if execution.counts_people:
        count_busy(execution, cell, -1, +1)
    try:
        return await answer
    except Unanswered:
        raise Waits from None
    finally:
        if execution.counts_people:
            count_busy(execution, cell, +1, -1)


def _finish_tool(cell: Cell, value: Any) -> Any:
    assert cell.tool is not None
    output = read_tool(cell.tool, value)
    schema = cell.step.output
    if schema is None:
        return output
    return fit_text(output, schema) if isinstance(output, str) else fit(output, schema)


def _fail_tool(cell: Cell, error: Exception) -> Exception:
    if isinstance(error, Waits | ExpressionError):
        return error  # It is no word of the tool's.
    assert cell.tool is not None
    return tool_failure(cell.tool, error)


def _start_agent(cell: Cell, number: int, via: Via) -> Awaitable[AgentAnswer]:
    call = cell.call = Call(cell.run, cell, number, cell.agent_id, via)
    if cell.run.execution.sinks:
        call.tell_started()
    return via.answer(call)


def _start_team(cell: Cell, number: int, via: Via) -> Awaitable[AgentAnswer]:
    return Work(cell, number, via).answer()


def _finish_agent(cell: Cell, answer: AgentAnswer) -> Any:
    assert cell.call is not None
    cell.call.answer = answer.output
    if cell.call.unanswered:
        raise Waits
    if cell.call.failure is not None:
        raise cell.call.failure
    if answer.refusal:
        raise TaskError(ErrorType.REFUSED, f"the model refused: {answer.refusal}")
    schema = cell.step.output
    try:
        if not answer.output or not answer.output.strip():
            raise TaskError(ErrorType.INVALID_OUTPUT, "the model gave an empty answer")
        return answer.output if schema is None else fit_text(answer.output, schema)
    except TaskError as error:
        cell.feedback, cell.conversation = error.message, answer.conversation
        raise


def _fail_agent(cell: Cell, error: Exception) -> Exception:
    if cell.call is not None and cell.call.unanswered:
        return Waits()
    if isinstance(error, ExpressionError):
        return error
    # What the call itself says goes before whatever the framework made of it.
    failure = (cell.call and cell.call.failure) or to_task_error(error)
    if failure.type is ErrorType.LIMIT_EXCEEDED:
        cell.run.execution.cross(cell, failure.message)  # It may be the gateway's word.
    return failure


def _start_ask(cell: Cell, number: int, via: Via) -> Awaitable[Any]:
    execution, step = cell.run.execution, cell.step
    assert step.ask is not None
    text = step.ask.render(cell.scope())
    call = AskCall(cell.address, text, step.output, execution.ask_person)
    return _of_person(cell, put(execution, via, call, partial(read_answer, schema=step.output)))


def _fail_ask(cell: Cell, error: Exception) -> Exception:
    return error if isinstance(error, Waits | ExpressionError) else to_task_error(error)


def _finish_ask(cell: Cell, value: Any) -> Any:
    return value


LEAVES = {
    "tool": Leaf(_start_tool, _finish_tool, _fail_tool),
    "agent": Leaf(_start_agent, _finish_agent, _fail_agent),
    "team": Leaf(_start_team, _finish_agent, _fail_agent),
    "ask": Leaf(_start_ask, _finish_ask, _fail_ask),
}
