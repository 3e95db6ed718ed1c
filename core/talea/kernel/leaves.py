"""The work of the kinds that reach outside: a tool, an agent, a person.

Each is three functions, so that the kernel's one guarded place can call them: `start` gives what is
awaited, `finish` makes the output of it, and `fail` names what was raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from talea import ir
from talea.adapter import AgentAnswer, AskCall, Unanswered, Via
from talea.errors import ErrorType, ExpressionError, TaskError
from talea.events import Answered, Asked
from talea.failures import to_task_error
from talea.kernel.calls import Call, call_tool, read_tool, start_tool, tool_failure
from talea.kernel.outputs import fit, fit_text, read_answer
from talea.kernel.work import Cell, Waits, count_busy

_REFUSALS = 100
"""Unfit answers after which a question counts as one that nobody answers."""


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
    if cell.run.execution.sinks:
        return call_tool(cell, tool, arguments)
    return start_tool(cell, tool, arguments)


def _finish_tool(cell: Cell, value: Any) -> Any:
    assert cell.tool is not None
    output = read_tool(cell.tool, value)
    schema = cell.step.output
    if schema is None:
        return output
    return fit_text(output, schema) if isinstance(output, str) else fit(output, schema)


def _fail_tool(cell: Cell, error: Exception) -> Exception:
    if isinstance(error, ExpressionError):
        return error  # Of the template of its arguments.
    assert cell.tool is not None
    return tool_failure(cell.tool, error)


def _start_agent(cell: Cell, number: int, via: Via) -> Awaitable[AgentAnswer]:
    call = cell.call = Call(cell.run, cell, number, cell.agent_id)
    if cell.run.execution.sinks:
        call.tell_started()
    return via.answer(call)


def _finish_agent(cell: Cell, answer: AgentAnswer) -> Any:
    assert cell.call is not None
    cell.call.answer = answer.output
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
    if cell.call is not None and cell.call.failure is not None:
        return cell.call.failure  # Whatever the framework made of it.
    return error if isinstance(error, ExpressionError) else to_task_error(error)


async def _start_ask(cell: Cell, number: int, via: Via) -> Any:
    """Ask until an answer fits. Raises `Waits` where nobody is there."""
    execution = cell.run.execution
    step = cell.step
    assert step.ask is not None
    address = cell.address
    call = AskCall(address, step.ask.render(cell.scope()), step.output, execution.ask_person)
    if execution.sinks:
        schema = step.output.schema if step.output else None
        execution.tell(Asked(execution.now, address, call.text, schema))
    if execution.counts_people:
        count_busy(execution, cell, -1, +1)
    try:
        for _ in range(_REFUSALS):
            prepared, answer = execution.prepared_answer(address)
            if not prepared:
                _keep_question(cell, call)
                answer = await via.ask(call)
            elif execution.past is not None and not execution.past.is_shown(address, call.text):
                refusal = "the question is another one now than the one that was answered"
                if execution.sinks:
                    execution.tell(Answered(execution.now, address, refusal))
                continue
            value, refusal = read_answer(answer, step.output)
            if execution.sinks:
                execution.tell(Answered(execution.now, address, refusal))
            if refusal is None:
                return value
            await asyncio.sleep(0)
    except Unanswered:
        raise Waits from None
    finally:
        if execution.counts_people:
            count_busy(execution, cell, +1, -1)
    raise Waits


def _keep_question(cell: Cell, call: AskCall) -> None:
    """Let the journal know what a person is shown: an answer that comes later is bound to it."""
    execution = cell.run.execution
    if execution.journal is not None:
        schema = call.schema.schema if call.schema else None
        execution.journal.asked(cell.address, call.text, schema)
    if execution.past is not None:
        execution.past.questions.pop(cell.address, None)


def _fail_ask(cell: Cell, error: Exception) -> Exception:
    return error if isinstance(error, Waits | ExpressionError) else to_task_error(error)


def _finish_ask(cell: Cell, value: Any) -> Any:
    return value


LEAVES = {
    "tool": Leaf(_start_tool, _finish_tool, _fail_tool),
    "agent": Leaf(_start_agent, _finish_agent, _fail_agent),
    "ask": Leaf(_start_ask, _finish_ask, _fail_ask),
}
