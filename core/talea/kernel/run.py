"""What one task means: its trigger, condition, items, attempts, output and end.

This is the single place for it. Whoever drives a run calls `Run.task` once a task's dependencies
have ended: from a scheduler, a graph's node, a flow's method; in any order that the plan allows, on
as many tasks at once as it likes, and again for a task that it has called before.

A task is `open` (trigger, when, for_each), then its items (`item.py`), then `close`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

from talea import ir
from talea.adapter import Via
from talea.errors import ErrorType, ExpressionError, InputError, TaskError
from talea.events import Failure, Status, TaskEnded, TaskStarted, TaskWaiting, Usage
from talea.expr import type_name
from talea.failures import harmless
from talea.kernel.execution import Execution
from talea.kernel.failure_rules import can_be_handled, is_handled, unmet
from talea.kernel.item import do_item, wait
from talea.kernel.past import Totals, ended_of
from talea.kernel.snapshots import item_of, read_error, read_usage, save_ended, save_item
from talea.kernel.work import Cell, Halt, Map, Progress, Record, Single
from talea.plan import Plan, Step, check_inputs
from talea.result import plain_address

_EVERYWHERE = frozenset({"limit", "interrupted"})


class Run:
    """One execution of a plan. A block, a sub-workflow and each iteration has a run of its own.

    `ready` holds the tasks whose dependencies have ended, in the order in which that came about: a
    scheduler takes them from there; a framework with joins of its own leaves it alone.

    `around` is the cell that it runs inside of, None for the root. `prefix` stands before its
    tasks' ids in addresses. `scope` is the run whose tasks a block sees besides its own.
    """

    _turned_away: frozenset[int] = frozenset()
    """Tasks that could not begin when a framework came to them, since something waited."""

    def __init__(
        self,
        execution: Execution,
        plan: Plan,
        inputs: dict[str, Any],
        *,
        around: Cell | None = None,
        scope: Run | None = None,
    ) -> None:
        self.execution = execution
        self.plan = plan
        self.inputs = inputs
        self.around = around
        self.scope = scope
        self.records: list[Record | TaskEnded | None] = [None] * len(plan.steps)
        self.prefix = f"{around.address}/" if around else ""
        self.names: dict[str, Any] = {
            "inputs": inputs,
            "tasks": _Views(self),
            "run": {"id": execution.run_id},
        }
        if scope is not None and around is not None:
            outer = around.scope()
            self.names.update({k: outer[k] for k in ("item", "index", "loop") if k in outer})
        self.document_inputs: dict[str, Any] = inputs
        if around is not None and plan.workflow is around.run.plan.workflow:
            self.document_inputs = around.run.document_inputs
        self.halted: str | None = None
        self.stopped = False
        self._crossing: Cell | None = None
        self.tools = execution.tools.get(id(plan.workflow), {})
        self._steps = plan.steps
        self.ready = deque(plan.roots)
        self._waits_for = [len(step.dependencies) for step in plan.steps]
        self._clean = True
        self._failed: list[int] = []
        self._stops = plan.on_failure is ir.OnFailure.STOP

    @property
    def session(self) -> Any:
        """What the adapter's `session` gave for this run."""
        return self.execution.session

    @property
    def id(self) -> str:
        """The run's id, which nested runs share."""
        return self.execution.run_id

    # A task, whole ----------------------------------------------------------------------------

    async def task(self, i: int, via: Via | None = None) -> Record | TaskEnded:
        """Do the whole of a task; a failed one is a record like any other.

        Raises RuntimeError if its dependencies have not ended and nothing waits for a person.
        """
        record = self.records[i]
        if record is not None:
            if isinstance(record, TaskEnded):
                return record
            if record.driven:
                return await self._share(i, record)
        if self.open(i) is None:
            return self.records[i] or Record()
        record = self.records[i]
        try:
            if isinstance(record, Single):
                await self._do(record, record, via)
            elif isinstance(record, Map):
                await self._all_items(record, via)
        finally:
            if isinstance(record, Record) and record.others:
                _release(record)
        return self.close(i)

    async def _share(self, i: int, record: Record) -> Record | TaskEnded:
        """Wait for the one who carries the task out already."""
        ended = asyncio.get_running_loop().create_future()
        if record.others is None:
            record.others = []
        record.others.append(ended)
        await ended
        return self.records[i] or record

    async def _all_items(self, record: Map, via: Via | None) -> None:
        """Do all items, at most `max_parallel` of them at once, begun in their order."""
        cells = record.cells
        if not cells:
            return
        bound = cells[0].step.task.max_parallel or len(cells)
        waiting = iter(cells)

        async def work() -> None:
            for cell in waiting:
                await self._do(record, cell, via)

        workers = [asyncio.create_task(work()) for _ in range(min(bound, len(cells)))]
        with record.driving():
            try:
                await asyncio.gather(*workers)
            except BaseException:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
                raise

    # Opening ----------------------------------------------------------------------------------

    def open(self, i: int) -> Sequence[Any] | None:
        """Begin a task: its trigger, its condition, its list. None if it has ended, or cannot begin
        because something before it waits for a person."""
        record = self.records[i]
        if record is not None:
            return None if isinstance(record, TaskEnded) else record.items
        step = self._steps[i]
        if self._waits_for[i]:
            return self._refuse_opening(step)
        records = self.records
        record = records[i] = Single(self, step)
        if self.halted is not None:
            self._end(i, record, Status.CANCELLED, self.halted)
            return None
        if not self._clean or step.trigger is ir.Trigger.ONE_FAILED:
            found = unmet(step, records)
            if found is not None:
                self._end(i, record, found[0], self._steps[found[1]].id)
                return None
        if step.when is not None or step.for_each is not None:
            chosen = self._decide(i, record, step)
            if chosen is None:
                return None
            record = records[i] = chosen
        execution = self.execution
        record.started = execution.clock.time() - execution.began
        if execution.past is not None and self.around is None:
            before = self.totals(i)
            record.attempts, record.usage = before.attempts, before.usage
        if execution.sinks:
            execution.tell(TaskStarted(record.started, self.prefix + step.id))
        return record.items

    def _refuse_opening(self, step: Step) -> None:
        records = self.records
        waits = any(record is not None and record.status is Status.WAITING for record in records)
        # What was turned away, since something waited, is not made up for by that one's end: a stop
        # may end the question while the framework goes on to what comes later.
        if waits or not self._turned_away.isdisjoint(step.dependencies):
            self._turned_away = self._turned_away | {step.index}
            return
        for d in step.dependencies:
            before = records[d]
            if before is None or not before.ended:
                name = self._steps[d].id
                message = f"{step.id!r} was started before its dependency {name!r} had ended"
                raise RuntimeError(message)

    def _decide(self, i: int, record: Record, step: Step) -> Record | None:
        """Evaluate `when` and `for_each`; give the record to go on with, None if it has ended."""
        try:
            when = step.when
            if when is not None and not (
                when if isinstance(when, bool) else when.decide(self.names)
            ):
                self._end(i, record, Status.SKIPPED, "when")
                return None
            items = step.for_each
            if items is None:
                return record
            listed = items if isinstance(items, list) else items.evaluate(self.names)
            if not isinstance(listed, list):
                raise ExpressionError(f"for_each needs a list, and this is {type_name(listed)}")
        except ExpressionError as error:
            record.error = self.failure(TaskError(ErrorType.EXPRESSION, str(error)), step)
            self._end(i, record, Status.FAILED)
            return None
        return Map(self, step, cast("list[Any]", listed))

    # One item, layer by layer -----------------------------------------------------------------

    async def item(self, i: int, k: int, via: Via | None = None) -> None:
        """Do one item of an opened task. A failure is stored, and its siblings are cancelled where
        the workflow stops on failures."""
        record = self.records[i]
        if record is None or isinstance(record, TaskEnded):
            return
        cell = record.cells[k]
        bound = self._steps[i].task.max_parallel
        if bound is None or not isinstance(record, Map):
            await self._do(record, cell, via)
            return
        if record.turns is None:
            record.turns = asyncio.Semaphore(bound)
        try:
            await wait(cell, record.turns.acquire())
        except Halt:
            cell.progress = Progress.CANCELLED
            return
        try:
            await self._do(record, cell, via)
        finally:
            record.turns.release()

    async def _do(self, record: Record, cell: Cell, via: Via | None) -> None:
        await do_item(cell, via)
        if cell.failure is not None:
            self._cancel_siblings(record, cell)

    def _cancel_siblings(self, record: Record, failed: Cell) -> None:
        if self._stops:
            for sibling in record.cells:
                if sibling is not failed:
                    sibling.cancel(Halt("outer"))

    def child(self, cell: Cell) -> Run:
        """Make the run of what is inside a block or sub-workflow. Raises `TaskError`."""
        step = cell.step
        plan = step.plan
        assert plan is not None
        if isinstance(step.task, ir.BlockTask):
            return Run(self.execution, plan, self.inputs, around=cell, scope=self)
        template = step.arguments
        values: dict[str, Any] = template.render(cell.scope()) if template else {}
        try:
            return Run(self.execution, plan, check_inputs(plan, values), around=cell)
        except InputError as error:
            raise TaskError(ErrorType.INVALID_ARGUMENTS, error.message) from error

    # What a task came to ----------------------------------------------------------------------

    def count_attempt(self, i: int) -> None:
        """Count an attempt that begins."""
        record = self.records[i]
        if record is None or isinstance(record, TaskEnded):
            return
        if self.around is None:
            record.attempts += 1
            return
        totals = self.totals(i)
        totals.attempts += 1
        record.attempts = totals.attempts

    def totals(self, i: int) -> Totals:
        """Give what an inner task came to over all its executions so far."""
        address = plain_address(self.prefix) + self._steps[i].id
        return self.execution.totals.setdefault(address, Totals())

    def so_far(self, i: int) -> Totals:
        """Give what a task came to over all its executions so far, of whatever run it is."""
        if self.around is not None:
            return self.totals(i)
        record = self.records[i]
        return Totals(record.attempts, record.usage) if record is not None else Totals()

    # The end ----------------------------------------------------------------------------------

    def close(self, i: int) -> Record | TaskEnded:
        """End a task whose items are all done, or leave it waiting for a person."""
        record = self.records[i]
        if record is None:
            return Record()
        if isinstance(record, TaskEnded):
            return record
        if isinstance(record, Single) and record.progress == Progress.DONE:
            return self._end(i, record, Status.SUCCEEDED)
        step = self._steps[i]
        cells = record.cells
        stands = {cell.progress for cell in cells}
        if Progress.NEW in stands or Progress.BUSY in stands:
            raise RuntimeError(f"{step.id!r} was closed before all of its items were done")
        failed = next((cell for cell in cells if cell.failure is not None), None)
        if self._crossing in cells:
            failed = self._crossing  # A crossed limit outranks whatever else failed.
        if Progress.WAITING in stands and (failed is None or not self._stops):
            return self._leave_waiting(record, step)
        if failed is not None and failed.failure is not None:
            record.error = self.failure(failed.failure, step, failed)
            return self._end(i, record, Status.FAILED)
        if Progress.CANCELLED in stands:
            return self._end(i, record, Status.CANCELLED, self.halted or "stopped")
        record.output = [cell.output for cell in cells]
        record.recovered = any(cell.recovered for cell in cells)
        return self._end(i, record, Status.SUCCEEDED)

    def _leave_waiting(self, record: Record, step: Step) -> Record:
        record.status = Status.WAITING
        execution = self.execution
        execution.record(
            TaskWaiting(execution.now, self.prefix + step.id, record.attempts, record.started)
        )
        _release(record)
        return record

    def failure(self, error: TaskError, step: Step, cell: Cell | None = None) -> Failure:
        """Make data of an error, with the address where it began."""
        address = error.address or (cell.address if cell else self.prefix + step.id)
        return Failure(error.type.value, error.message, address, harmless(error.__cause__))

    def _end(self, i: int, record: Record, status: Status, reason: str | None = None) -> TaskEnded:
        """Give a task its one end."""
        step = self._steps[i]
        succeeded = status is Status.SUCCEEDED
        if self.around is not None:
            totals = self.totals(i)
            record.attempts, record.usage = totals.attempts, totals.usage
        execution = self.execution
        ended = TaskEnded(
            execution.clock.time() - execution.began,
            self.prefix + step.id,
            status,
            reason,
            record.output if succeeded else None,
            record.error,
            succeeded and record.recovered,
            record.attempts,
            record.agent,
            record.started,
            record.usage,
        )
        if execution.journal is not None and reason != "interrupted":
            items = len(record.cells) if isinstance(record, Map) else None
            execution.journal.ended(ended, items)
        return self._tell_end(i, record, ended)

    def _tell_end(self, i: int, record: Record, ended: TaskEnded) -> TaskEnded:
        """Tell of a task's end, and see what follows from it for the others."""
        step, execution = self._steps[i], self.execution
        self.records[i] = ended
        execution.ledger.append(ended)
        if execution.sinks:
            execution.tell(ended)
        waits_for = self._waits_for
        for s in step.successors:
            waits_for[s] -= 1
            if not waits_for[s]:
                self.ready.append(s)
        if record.others:
            _release(record)
        if ended.status is not Status.SUCCEEDED:
            self._clean = False
            if ended.status is Status.FAILED:
                self._failed.append(i)
        if self._failed and self._stops:
            self._stop_if_unhandled()
        return ended

    def _stop_if_unhandled(self) -> None:
        if self.stopped or self.halted is not None:
            return
        records, steps = self.records, self._steps
        if not all(can_be_handled(f, steps, records) for f in self._failed):
            self._stop_rest()

    def _stop_rest(self) -> None:
        """Cancel all that has not ended, but for the handlers."""
        self.stopped = True
        for step in self._steps:
            if not step.handler:
                self._cancel(step.index, "stopped")

    def _cancel(self, i: int, reason: str, spared: Cell | None = None) -> None:
        record = self.records[i] or Record()
        if isinstance(record, TaskEnded):
            return
        # Inside, a limit or the user's interrupt is the reason; else it is the end of this task.
        inside = reason if reason in _EVERYWHERE else "outer"
        for cell in record.cells:
            if cell is not spared:
                cell.cancel(Halt(inside))
        if spared is None:
            self._end(i, record, Status.CANCELLED, reason)

    def halt(self, reason: str, spared: dict[int, Cell] | None = None) -> None:
        """Cancel all that has not ended, handlers too, but for the cells in `spared` (by run)."""
        if self.halted is not None:
            return
        self.halted = reason
        chosen = self._crossing = spared.get(id(self)) if spared else None
        for step in self._steps:
            mine = chosen is not None and chosen.step is step
            self._cancel(step.index, reason, chosen if mine else None)
        if chosen is not None and chosen.child is not None:
            chosen.child.halt(reason, spared)

    def stop(self, reason: str) -> None:
        """Cancel all that has not ended; whoever drives the run then comes to its end."""
        self.halt(reason)

    # What an earlier execution came to --------------------------------------------------------

    def snapshot(self, i: int, k: int | None = None) -> dict[str, Any] | None:
        """Give a task that has ended, or an item that is done, as JSON data for `adopt`."""
        record = self.records[i]
        if isinstance(record, TaskEnded):
            return save_ended(record) if k is None else None
        return None if k is None or record is None else save_item(record.cells[k])

    def adopt(self, snapshots: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over what an earlier execution came to, by `id`, or `id[k]` for an item.

        What has begun here already stays as it is.
        """
        # Nothing is stopped before everything is known: what came after a failure had its end.
        stops, self._stops = self._stops, False
        for i in self.plan.order:
            saved = snapshots.get(self._steps[i].id)
            if saved is not None and self.records[i] is None:
                self._adopt_task(i, saved)
        self._stops = stops
        for name, saved in snapshots.items():
            found = item_of(name)
            if found is not None and (i := self.plan.ids.get(found[0])) is not None:
                self._adopt_item(i, found[1], saved)
        if self._failed and stops:
            self._stop_if_unhandled()

    def _adopt_task(self, i: int, saved: Mapping[str, Any]) -> None:
        record = self.records[i] = Record()
        past = self.execution.past
        if past is not None and "time" in saved:
            address = self.prefix + self._steps[i].id
            self._tell_end(i, record, ended_of(address, saved))
            self.execution.ledger.extend(past.events(address))
            return
        record.output, record.error = saved["output"], read_error(saved)
        record.recovered, record.agent = saved.get("recovered", False), saved.get("agent")
        record.attempts = saved.get("attempts", 0)
        if self.around is not None:
            self.totals(i).attempts += record.attempts
        if (used := read_usage(saved)) is not None:
            totals = self.usages(i)
            if record.agent is not None:
                totals.append(self.execution.agents.setdefault(record.agent, Usage()))
            for total in totals:
                total.model_calls += used.model_calls
                total.end_call(used)
        self._end(i, record, Status(saved["status"]), saved.get("reason"))

    def _adopt_item(self, i: int, k: int, saved: Mapping[str, Any]) -> None:
        if self.records[i] is None and not self._waits_for[i]:
            self.open(i)
        record = self.records[i]
        if not isinstance(record, Map) or k >= len(record.cells):
            return
        cell = record.cells[k]
        if cell.progress is not Progress.NEW:
            return
        error = read_error(saved)
        if error is None:
            cell.progress, cell.output = Progress.DONE, saved["output"]
            cell.recovered = saved.get("recovered", False)
            if self.execution.past is not None:
                self.execution.ledger.extend(self.execution.past.events(cell.address))
        else:
            cell.progress = Progress.FAILED
            cell.failure = TaskError(error.type, error.message, error.address)
            self._cancel_siblings(record, cell)
        if self.execution.journal is not None:  # It may know of it from elsewhere, or not at all.
            self.execution.journal.done(cell.address, saved, self.so_far(i))

    def usages(self, i: int) -> list[Usage]:
        """Give where a model call of a task is counted: there, at tasks around it, for the run."""
        found = [self.execution.usage]
        run, index = self, i
        while True:
            record = run.records[index]
            if record is None or isinstance(record, TaskEnded):
                return found
            if run.around is not None:
                totals = run.totals(index)
                record.usage = totals.usage = totals.usage or Usage()
            elif record.usage is None:
                record.usage = Usage()
            found.append(record.usage)
            if run.around is None:
                return found
            run, index = run.around.run, run.around.step.index

    def outcome(self) -> tuple[Status, Any, Failure | None]:
        """Say how the run stands, once its driver has come to its end: (status, outputs, error)."""
        execution = self.execution
        if execution.crossed is not None:
            return Status.FAILED, None, execution.crossed
        if self.halted is not None:
            return Status.CANCELLED, None, None
        open_steps = [
            step for step in self._steps if (r := self.records[step.index]) is None or not r.ended
        ]
        if open_steps:
            waits = [
                step
                for step in open_steps
                if (r := self.records[step.index]) is not None and r.status is Status.WAITING
            ]
            if waits:
                return Status.WAITING, None, None
            names = ", ".join(repr(step.id) for step in open_steps[:5])
            message = f"the framework came to its end without these tasks: {names}"
            return Status.FAILED, None, Failure(ErrorType.INTERNAL, message, None)
        for f in sorted(self._failed):
            if not is_handled(f, self._steps, self.records):
                record = self.records[f]
                return Status.FAILED, None, record.error if record else None
        try:
            return Status.SUCCEEDED, self._outputs(), None
        except ExpressionError as error:
            failure = Failure(ErrorType.EXPRESSION, f"outputs: {error}", None, error)
            return Status.FAILED, None, failure

    def _outputs(self) -> Any:
        if self.plan.outputs is None:
            return {
                step.id: record.output
                for step, record in zip(self._steps, self.records, strict=True)
                if record is not None
            }
        return self.plan.outputs.render(self.names)


class _Views:
    """`tasks` as expressions see it: the run's own, then those of the runs around a block."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getitem__(self, name: str) -> dict[str, Any]:
        run: Run | None = self._run
        while run is not None:
            i = run.plan.ids.get(name)
            if i is not None:
                record = run.records[i]
                return _view(record or Record())
            run = run.scope
        raise KeyError(name)


def _view(record: Record | TaskEnded) -> dict[str, Any]:
    """Give what expressions see under `tasks.<id>`."""
    return {
        "output": record.output,
        "status": record.status.value,
        "error": record.error.as_json() if record.error else None,
        "recovered": record.recovered,
    }


def _release(record: Record) -> None:
    others, record.others = record.others or [], None
    for other in others:
        if not other.done():
            other.set_result(None)
