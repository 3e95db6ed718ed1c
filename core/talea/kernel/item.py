"""One item of a task, layer by layer: fallback, loop, retry, place and timeout, the work itself.

The layers nest as the language says, a function each: `_recovered`, `_looped`, `_retried`,
`_attempt`. A task without `for_each` is one item.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from talea import ir
from talea.adapter import Via
from talea.errors import (
    NEVER_RECOVERED,
    NEVER_RETRIED,
    RETRIED_BY_DEFAULT,
    ErrorType,
    ExpressionError,
    TaskError,
)
from talea.events import (
    AgentChosen,
    AttemptFailed,
    Failure,
    InnerEnded,
    InnerStarted,
    Recovered,
    Status,
)
from talea.expr import to_text
from talea.failures import to_task_error
from talea.kernel.desks import FAILING_OVER, Desk
from talea.kernel.leaves import LEAVES
from talea.kernel.outputs import fit
from talea.kernel.past import Past
from talea.kernel.places import Places, Wish
from talea.kernel.snapshots import save_item
from talea.kernel.work import INSIDE, Cell, Halt, Progress, Waits, count_busy
from talea.result import plain_address

_Value = TypeVar("_Value")
_PLACED = frozenset({"agent", "tool", "team"})
_TOLD = frozenset({"agent", "team"}) | INSIDE
"""The kinds whose attempts the sinks are told of."""
_KEPT = _TOLD | _PLACED
"""The kinds whose attempts are kept as begun, in case the run is cut off."""
_TEXTUAL = frozenset({"agent", "team"})
_FAIRNESS = 64
"""Iterations of a loop after which it lets the event loop turn, even if nothing in it waits."""


async def do_item(cell: Cell, via: Via | None) -> None:
    """Do an item that has not been done. How it ended is stored in its cell.

    Raises what cancels its driver, and the framework's own control flow: then it may be done again.
    """
    if cell.progress is not Progress.NEW and cell.progress is not Progress.WAITING:
        return
    step = cell.step
    execution = cell.run.execution
    counts = execution.counts_people and step.kind not in INSIDE
    cell.progress = Progress.BUSY
    if counts:
        count_busy(execution, cell, +1)
    try:
        if cell.cause is not None:
            raise cell.take_cause()
        if via is None:
            via = execution.via
        if step.is_plain:
            cell.output = await _tried_once(cell, 1, via)
        elif step.fallback is not None:
            cell.output = await _recovered(cell, via)
        else:
            cell.output = await _repeated(cell, via)
        cell.progress = Progress.DONE
    except TaskError as error:
        cell.progress, cell.failure = Progress.FAILED, error
    except Halt:
        cell.progress = Progress.CANCELLED
    except Waits:
        cell.progress = Progress.WAITING
    except (asyncio.CancelledError, *execution.passes):
        cell.progress = Progress.NEW
        raise
    except Exception as error:
        cell.progress, cell.failure = Progress.FAILED, to_task_error(error)
    finally:
        if counts:
            count_busy(execution, cell, -1)
    if execution.journal is not None and cell.k is not None:
        saved = save_item(cell)
        if saved is not None:
            execution.journal.done(cell.address, saved, cell.run.so_far(step.index))


async def _recovered(cell: Cell, via: Via) -> Any:
    """Do the item; give the fallback in place of a failure."""
    step = cell.step
    try:
        return await _repeated(cell, via)
    except TaskError as error:
        if error.type in NEVER_RECOVERED:
            raise
        assert step.fallback is not None
        names = cell.scope() | {"error": {"type": error.type.value, "message": error.message}}
        try:
            output = step.fallback.render(names)
        except ExpressionError as broken:
            raise TaskError(ErrorType.EXPRESSION, f"fallback: {broken}") from error
        if step.output is not None:
            output = fit(output, step.output)
        elif step.kind in _TEXTUAL and not isinstance(output, str):
            raise TaskError(ErrorType.INVALID_OUTPUT, "the fallback must be text") from error
        cell.recovered = True
        execution = cell.run.execution
        if execution.sinks:
            failure = cell.run.failure(error, step, cell)
            execution.tell(Recovered(execution.now, cell.address, failure))
        return output


def _repeated(cell: Cell, via: Via) -> Coroutine[Any, Any, Any]:
    """Give the outermost layer below `fallback` that the task has."""
    if cell.step.loop is not None:
        return _looped(cell, cell.step.loop, via)
    return _tried(cell, via)


def _tried(cell: Cell, via: Via) -> Coroutine[Any, Any, Any]:
    """Give the outermost layer below `loop` that the task has."""
    if cell.step.retry is not None:
        return _retried(cell, cell.step.retry, via)
    return _tried_once(cell, 1, via)


async def _looped(cell: Cell, loop: ir.Loop, via: Via) -> Any:
    """Repeat until the condition holds."""
    run = cell.run
    past, journal = run.execution.past, run.execution.journal
    output: Any = None
    first = 0
    try:
        kept = past.take_iteration(cell.address) if past else None
        if kept is not None:
            cell.iteration, output = kept
            cell.loop = {"index": cell.iteration, "output": output}
            if _is_done(cell):
                return output
            first = cell.iteration + 1
        for n in range(first, loop.max):
            cell.iteration, cell.calls = n, 0
            cell.loop = {"index": n, "output": output}
            output = await _tried(cell, via)
            cell.loop = {"index": n, "output": output}
            if journal is not None:
                journal.done(cell.address, {"output": output}, run.so_far(cell.step.index))
            if _is_done(cell):
                return output
            if n % _FAIRNESS == _FAIRNESS - 1:
                await asyncio.sleep(0)
                cell.check()
    finally:
        cell.loop = None
        if cell.child is None:
            cell.iteration = None
    if loop.exhausted is ir.Exhausted.KEEP:
        return output
    raise TaskError(
        ErrorType.LOOP_EXHAUSTED, f"`until` did not become true in {loop.max} iterations"
    )


def _is_done(cell: Cell) -> bool:
    until = cell.step.until
    if until is None or isinstance(until, bool):
        return bool(until)
    try:
        return until.decide(cell.scope())
    except ExpressionError as error:
        raise TaskError(ErrorType.EXPRESSION, f"until: {error}", cell.address) from error


async def _retried(cell: Cell, retry: ir.Retry, via: Via) -> Any:
    """Attempt the work, again where the error's type and the number of attempts allow it."""
    cell.feedback = cell.conversation = cell.avoids = None
    past = cell.run.execution.past
    number = past.take_failed(cell.address) if past else 0
    while True:
        number += 1
        try:
            return await _tried_once(cell, number, via)
        except TaskError as error:
            if number >= retry.max_attempts or not _is_retried(retry, error.type):
                raise
            if error.type is not ErrorType.INVALID_OUTPUT:
                cell.feedback = cell.conversation = None
                cell.avoids = cell.agent_id if cell.step.balance is not None else None
            _keep_retry(cell, number)
            await _pause(cell, number, retry, error)


def _keep_retry(cell: Cell, failed: int) -> None:
    """Begin what is inside anew, answers of people included, and let the journal know of it."""
    execution = cell.run.execution
    execution.earlier.forget(cell.address)
    if execution.past is not None:
        execution.past.forget_inside(cell.address)
    if execution.journal is not None:
        execution.journal.retries(cell.address, failed, cell.run.so_far(cell.step.index))


def _is_retried(retry: ir.Retry, error: ErrorType) -> bool:
    if error in NEVER_RETRIED:
        return False
    if retry.retry_on is None:
        return error in RETRIED_BY_DEFAULT
    return error in retry.retry_on or "any" in retry.retry_on


async def _pause(cell: Cell, number: int, retry: ir.Retry, error: TaskError) -> None:
    """Wait before the next attempt. No place is held meanwhile."""
    execution = cell.run.execution
    # The exponent is bounded, since a float overflows long before a thousand attempts.
    growth = retry.backoff_factor ** min(number - 1, 60)
    seconds = min(retry.max_interval, retry.initial_interval * growth)
    if retry.jitter:
        seconds *= 0.5 + execution.chance(f"{cell.address}/{number}").random() / 2
    if error.retry_after is not None:
        seconds = max(seconds, min(error.retry_after, retry.max_interval))
    if execution.sinks:
        told = cell.run.failure(error, cell.step, cell)
        execution.tell(AttemptFailed(execution.now, cell.address, number, told, seconds))
    counts = execution.counts_people and cell.step.kind in INSIDE
    if counts:
        count_busy(execution, cell, +1)
    try:
        await wait(cell, asyncio.sleep(seconds))
        for function in cell.abandoned or ():
            # Two copies of one blocking function never run at once.
            await wait(cell, asyncio.wait([function]))
        cell.abandoned = None
    finally:
        if counts:
            count_busy(execution, cell, -1)


async def wait(cell: Cell, awaitable: Awaitable[_Value]) -> _Value:
    """Await something that the cell's cancellation ends. Raises `Halt` then."""
    waiter = cell.waiter = asyncio.current_task()
    assert waiter is not None
    try:
        value = await awaitable
        if cell.cause is not None:
            await cell.settle(waiter)
        return value
    except asyncio.CancelledError as error:
        raise cell.own(error, waiter) from None
    finally:
        cell.waiter = None


def _tried_once(cell: Cell, number: int, via: Via) -> Coroutine[Any, Any, Any]:
    """Give an attempt, by one agent or by those of a pool."""
    execution = cell.run.execution
    if not execution.sinks and execution.places is None:
        return _work(cell, number, via)  # Nothing is to be told or counted: the most common case.
    if cell.step.balance is not None:
        return _failed_over(cell, number, via)
    return _seen(cell, number, via)


async def _failed_over(cell: Cell, number: int, via: Via) -> Any:
    """Make an attempt by agents of a pool: the next one where a model's server fails the last."""
    tried: list[str] = []
    cell.tried = tried
    while True:
        try:
            return await _seen(cell, number, via)
        except TaskError as error:
            if error.type not in FAILING_OVER:
                raise
            tried.append(cell.agent_id)
            if not set(cell.step.agents).difference(tried):
                raise
            execution = cell.run.execution
            if execution.sinks:
                told = cell.run.failure(error, cell.step, cell)
                execution.tell(AttemptFailed(execution.now, cell.address, number, told, 0.0))
            cell.feedback = cell.conversation = None
            cell.calls = 0
            _keep_retry(cell, number - 1)


def _seen(cell: Cell, number: int, via: Via) -> Coroutine[Any, Any, Any]:
    """Give an attempt, of whose end the sinks are told where they were of its beginning."""
    if cell.step.kind in _TOLD and cell.run.execution.sinks:
        return _told(cell, number, via)
    return _attempt(cell, number, via)


async def _told(cell: Cell, number: int, via: Via) -> Any:
    """Make an attempt, and tell the sinks how it ended."""
    cell.told = None
    status, error = Status.CANCELLED, None
    try:
        output = await _attempt(cell, number, via)
        status = Status.SUCCEEDED
        return output
    except (Waits, *cell.run.execution.passes):
        status = Status.WAITING
        raise
    except Halt:
        raise
    except Exception as raised:
        status, error = Status.FAILED, to_task_error(raised)
        raise
    finally:
        if cell.told is not None:
            cell.told(status, error and cell.run.failure(error, cell.step, cell))
            cell.told = None


def _attempt(cell: Cell, number: int, via: Via) -> Coroutine[Any, Any, Any]:
    """Give the work, and around it the place that it needs where places are counted."""
    places = cell.run.execution.places
    if places is not None and cell.step.kind in _PLACED:
        return _in_place(cell, number, via, places)
    return _work(cell, number, via)


async def _in_place(cell: Cell, number: int, via: Via, places: Places) -> Any:
    """Take a place, and do the work once."""
    cell.check()
    wanted = _wanted(cell, number)
    execution = cell.run.execution
    began, rounds = execution.now, places.rounds
    grant = cell.grant = await wait(cell, places.acquire(_rank(cell), wanted))
    if grant.round > rounds:
        execution.tell_wait(cell.address, began)
    if grant.loads is not None and isinstance(wanted, Wish):
        pool = wanted.pool.name
        execution.tell(AgentChosen(execution.now, cell.address, cell.agent_id, pool, grant.loads))
    failure: TaskError | None = TaskError(ErrorType.INTERRUPTED, "the attempt was cancelled")
    try:
        output = await _work(cell, number, via)
        failure = None
        return output
    except TaskError as error:
        failure = error
        raise
    finally:
        _give_back(cell, partial(places.release, grant, failure))


def _wanted(cell: Cell, number: int) -> Desk | Wish | None:
    """Say who may do an attempt: one agent, one of a pool, or nobody in particular."""
    step, desks = cell.step, cell.run.execution.desks
    if desks is None or step.kind != "agent":
        return None
    workflow = cell.run.plan.workflow
    if step.balance is None or cell.feedback is not None:
        return desks.of(workflow, cell.agent_id)  # A refused answer goes on with the same agent.
    pool = desks.pool(workflow, step)
    without = cell.tried or ([cell.avoids] if cell.avoids else [])
    chance = cell.run.execution.chance(f"{cell.address}/{number}/{len(cell.tried)}")
    request = pool.request(cell.address, chance, partial(_key, cell))
    return Wish(pool, request, frozenset(without))


def _key(cell: Cell) -> str:
    """Say what belongs together, for strategies that keep it so: the item, or else the task."""
    names = cell.scope()
    return to_text(names["item"]) if "item" in names else plain_address(cell.address)


async def _work(cell: Cell, number: int, via: Via) -> Any:
    """Start the clock, and do the work once."""
    step = cell.step
    run = cell.run
    execution = run.execution
    kind = step.kind
    if execution.past is not None:
        _refuse_interrupted(cell, execution.past)
    run.count_attempt(step.index)
    if number > 1 and cell.feedback is None:
        cell.calls = 0  # The same calls again, not further ones of the same conversation.
    if step.timeout is not None:
        execution.clock.set(cell, step.timeout)
    try:
        if execution.journal is not None and kind in _KEPT:
            fails = _fails_on_resume(cell)
            so_far = run.so_far(step.index)
            execution.journal.began(cell.address, number - 1, so_far, now=fails)
            cell.check()
        if kind == "value":
            assert step.value is not None
            output = step.value.render(cell.scope())
            return output if step.output is None else fit(output, step.output)
        if kind in INSIDE:
            return await _inside(cell, number, via)
        # What a cancellation hits is the work of an agent, a tool or a question.
        leaf = LEAVES[kind]
        waiter = cell.waiter = asyncio.current_task(execution.loop)
        assert waiter is not None
        try:
            output = leaf.finish(cell, await leaf.start(cell, number, via))
        except asyncio.CancelledError as error:
            raise cell.own(error, waiter) from None
        except execution.passes:
            raise
        except Exception as error:
            if cell.cause is not None:
                await cell.settle(waiter)
            failure = leaf.fail(cell, error)
            if failure is error:
                raise
            raise failure from error
        finally:
            cell.waiter = None
        if cell.cause is not None:
            await cell.settle(waiter)
        return output
    except ExpressionError as error:
        raise TaskError(ErrorType.EXPRESSION, str(error), cell.address) from error
    except TaskError as error:
        error.address = error.address or cell.address
        raise
    finally:
        cell.deadline = cell.left = None


def _refuse_interrupted(cell: Cell, past: Past) -> None:
    """Fail in place of an attempt that was cut off, where the task asks for that."""
    if past.take_running(cell.address) and _fails_on_resume(cell):
        message = "it was at work when the run was cut off, and is not to run again"
        raise TaskError(ErrorType.INTERRUPTED, message, cell.address)


def _fails_on_resume(cell: Cell) -> bool:
    task = cell.step.task
    return isinstance(task, ir.RepeatableTask) and task.on_resume is ir.OnResume.FAIL


def _tell_inner_ended(cell: Cell, number: int, status: Status, error: Failure | None) -> None:
    execution = cell.run.execution
    execution.tell(InnerEnded(execution.now, cell.address, number, status, error))


def _rank(cell: Cell) -> tuple[tuple[int, int, int], ...]:
    """Give what decides who gets a place, level by level from the outside."""
    rank: list[tuple[int, int, int]] = []
    at: Cell | None = cell
    while at is not None:
        rank.append((-at.step.priority, at.step.index, at.k or 0))
        at = at.run.around
    return tuple(reversed(rank))


def _give_back(cell: Cell, release: Callable[[], None]) -> None:
    """Give the place back once every blocking function of the attempt has come back."""
    at_work = [function for function in cell.abandoned or () if not function.done()]
    left = len(at_work)
    if not left:
        release()

    def ended(_: asyncio.Future[Any]) -> None:
        nonlocal left
        left -= 1
        if not left:
            release()

    for function in at_work:
        function.add_done_callback(ended)


async def _inside(cell: Cell, number: int, via: Via) -> Any:
    """Run a block or a sub-workflow. It is not cancelled but stopped: its driver then ends."""
    execution = cell.run.execution
    child = cell.run.child(cell)
    cell.child = child
    name = child.plan.name if child.scope is None else None
    execution.record(InnerStarted(execution.now, cell.address, number, name))
    if execution.sinks:
        cell.told = partial(_tell_inner_ended, cell, number)
    if execution.past is not None:
        child.adopt(execution.past.take_inside(cell.address))
    try:
        await via.nested(child)
    except execution.passes:
        cell.child = None
        raise
    except asyncio.CancelledError:
        child.halt("interrupted")
        cell.child = None
        raise
    except Exception as error:
        child.halt("outer")
        cell.child = None
        raise to_task_error(error) from error
    if cell.cause is not None:
        cell.child = None
        raise cell.take_cause()
    status, outputs, failure = child.outcome()
    if status is Status.WAITING:
        raise Waits  # `child` stays, so that a stop reaches the question inside.
    cell.child = None
    if status is not Status.SUCCEEDED:
        if failure is None:
            raise Halt("outer")
        raise TaskError(failure.type, failure.message, failure.address) from failure.cause
    schema = cell.step.output
    return outputs if schema is None else fit(outputs, schema)
