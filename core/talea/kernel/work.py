"""The pieces of a task: a record of how it stands, and a cell for each item of it.

A cell is one item's execution (a task without `for_each` has one), and the unit that is cancelled.
What unwinds it is one of two exceptions, which never leave the kernel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from talea.errors import ErrorType, TaskError
from talea.events import Failure, Status, Usage
from talea.ir import format_duration

if TYPE_CHECKING:
    from talea.kernel.calls import Call
    from talea.kernel.clock import Clock
    from talea.kernel.execution import Execution
    from talea.kernel.places import Grant
    from talea.kernel.run import Run
    from talea.plan import Step
    from talea.tools import BoundTool


INSIDE = frozenset({"tasks", "workflow"})
"""The kinds of task that have other tasks inside."""


class Halt(Exception):
    """The item was cancelled. Its text is the reason that tasks inside give for their end."""


class Waits(Exception):
    """The item waits for a person who is not there."""


class Talk(NamedTuple):
    """How far a conversation has come: who has it, and what was said at every handover."""

    speaker: str
    said: tuple[str, ...] = ()


class Progress:
    """How far an item has come."""

    NEW = 0
    BUSY = 1
    DONE = 2
    FAILED = 3
    CANCELLED = 4
    WAITING = 5


class Record:
    """How a task that has not ended stands; once it has, its `TaskEnded` is its record.

    Defaults live on the class: most tasks need few of them.
    """

    status = Status.PENDING
    reason: str | None = None
    output: Any = None
    error: Failure | None = None
    recovered = False
    attempts = 0
    agent: str | None = None
    started: float | None = None
    usage: Usage | None = None
    others: list[asyncio.Future[None]] | None = None
    """Those who asked for the same task meanwhile."""

    @property
    def ended(self) -> bool:
        """It has not."""
        return False

    @property
    def driven(self) -> bool:
        """Whether somebody is carrying it out at the moment."""
        return False

    @property
    def cells(self) -> Sequence[Cell]:
        """Its items; none before it is opened."""
        return ()

    @property
    def items(self) -> Sequence[Any]:
        """What `for_each` gave; one null for a task without it."""
        return (None,)


class Cell:
    """One item's execution. Defaults live on the class: most items need few of them."""

    progress = Progress.NEW
    output: Any = None
    recovered = False
    failure: TaskError | None = None
    iteration: int | None = None
    loop: dict[str, Any] | None = None
    """`loop` as expressions see it, while one runs."""
    waiter: asyncio.Task[Any] | None = None
    """The asyncio task inside an attempt or a pause; it is what a cancellation hits."""
    cause: Halt | TaskError | None = None
    """Why it is being cancelled: it is raised in the cancellation's place."""
    child: Run | None = None
    """The run inside, which a cancellation stops instead: its driver then ends by itself."""
    deadline: float | None = None
    left: float | None = None
    """Seconds that its clock still has while it stands still."""
    busy = 0
    """How many items at work are in it, those that only wait for a person left out."""
    asking = 0
    """How many items in it wait for a person who may answer at any moment."""
    abandoned: list[asyncio.Future[Any]] | None = None
    """Blocking functions that were given up and have not come back."""
    grant: Grant | None = None
    """The place of the attempt that is at work, or was last, where places are counted."""
    avoids: str | None = None
    """The agent that failed in the last attempt: a pool gives another one, if it has one."""
    tried: Sequence[str] = ()
    """The agents of a pool whose model's servers failed in this attempt."""
    call: Call | None = None
    """The agent's attempt that is at work."""
    tool: BoundTool | None = None
    """The tool that a tool task calls."""
    told: Callable[[Status, Failure | None], None] | None = None
    """Tells the sinks how the attempt ended, where they were told that it began."""
    feedback: str | None = None
    conversation: Any = None
    talks: Mapping[int, Talk] = MappingProxyType({})
    """Who has the conversation in a team without a manager, by how deep it stands in others."""
    calls = 0
    """How many tool calls it has made in this attempt, or in the conversation it goes on with."""
    k: int | None = None
    item: Any = None

    def __init__(self, run: Run, step: Step) -> None:
        self.run = run
        self.step = step

    @property
    def address(self) -> str:
        """The full address, such as `outer[0]#2/inner[1]`."""
        address = self.run.prefix + self.step.id
        if self.k is not None:
            address = f"{address}[{self.k}]"
        return address if self.iteration is None else f"{address}#{self.iteration}"

    @property
    def agent_id(self) -> str:
        """The agent of the attempt: the one that the task names, or that its pool has chosen."""
        grant = self.grant
        return grant.desk.name if grant is not None and grant.desk else self.step.agents[0]

    def scope(self) -> dict[str, Any]:
        """Give the names that its expressions see."""
        names = self.run.names
        if self.k is None and self.loop is None:
            return names
        names = dict(names)
        if self.k is not None:
            names["item"], names["index"] = self.item, self.k
        if self.loop is not None:
            names["loop"] = self.loop
        return names

    def cancel(self, cause: Halt | TaskError) -> None:
        """Cancel what runs at the moment; a stop outranks a timeout that came first."""
        if self.progress > Progress.BUSY and self.progress is not Progress.WAITING:
            return
        first = self.cause is None
        if first or isinstance(cause, Halt):
            self.cause = cause
        if self.child is not None:
            self.child.halt(str(cause) if isinstance(cause, Halt) else "outer")
        elif first and self.waiter is not None:
            self.waiter.cancel()

    def expire(self) -> None:
        """End the attempt, whose time is over."""
        limit = format_duration(self.step.timeout or 0.0)
        self.cancel(TaskError(ErrorType.TIMEOUT, f"the attempt took longer than {limit}"))

    def check(self) -> None:
        """Raise the cause if it has been cancelled."""
        if self.cause is not None:
            raise self.take_cause()

    def take_cause(self) -> Halt | TaskError:
        """Give the cause, and forget it if it ends only the attempt."""
        cause = self.cause
        assert cause is not None
        if not isinstance(cause, Halt):
            self.cause = None
        return cause

    def own(self, error: asyncio.CancelledError, waiter: asyncio.Task[Any]) -> BaseException:
        """Give what a CancelledError stands for: the own cause, or itself if it is not ours."""
        if self.cause is None or waiter.uncancel() > 0:
            return error
        return self.take_cause()

    async def settle(self, waiter: asyncio.Task[Any]) -> None:
        """Take back an own cancellation that came too late to be raised inside; raise its cause.

        `Task.cancel` on a task that is running, or whose body swallows the error, leaves a request
        behind that would hit whatever comes next in the same asyncio task.
        """
        caught: asyncio.CancelledError | None = None
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            caught = error
        if waiter.uncancel() > 0:
            raise caught or asyncio.CancelledError
        raise self.take_cause()


class Single(Cell, Record):
    """A task without `for_each`: record and cell in one."""

    @property
    def driven(self) -> bool:
        """Whether somebody is carrying it out at the moment."""
        return self.progress == Progress.BUSY

    @property
    def cells(self) -> Sequence[Cell]:
        """The task itself."""
        return (self,)


class Map(Record):
    """A task with `for_each`."""

    turns: asyncio.Semaphore | None = None
    """Bounds the items that a framework starts by itself."""

    def __init__(self, run: Run, step: Step, items: Sequence[Any]) -> None:
        self._driven = False
        self._items = items
        self._cells = [Cell(run, step) for _ in items]
        for k, cell in enumerate(self._cells):
            cell.k, cell.item = k, items[k]

    @property
    def driven(self) -> bool:
        """Whether somebody is carrying all of it out at the moment."""
        return self._driven

    @contextmanager
    def driving(self) -> Generator[None, None, None]:
        """Carry all of it out."""
        self._driven = True
        try:
            yield
        finally:
            self._driven = False

    @property
    def cells(self) -> Sequence[Cell]:
        """A cell for each item."""
        return self._cells

    @property
    def items(self) -> Sequence[Any]:
        """The list."""
        return self._items


class Pausable(Protocol):
    """What has a clock that stands still while only a person's answer is missing."""

    deadline: float | None
    left: float | None
    busy: int
    asking: int

    def expire(self) -> None:
        """Act on the deadline's having passed."""
        ...


def count_busy(execution: Execution, cell: Cell, busy: int, asking: int = 0) -> None:
    """Count work in a cell and in all around it, and let their clocks run or stand still."""
    at: Cell | None = cell
    while at is not None:
        _count(execution.clock, at, busy, asking)
        at = at.run.around
    _count(execution.clock, execution, busy, asking)


def _count(clock: Clock, target: Pausable, busy: int, asking: int) -> None:
    target.busy += busy
    target.asking += asking
    stands = target.asking > 0 and target.busy == 0
    if stands and target.deadline is not None:
        target.left = max(0.0, target.deadline - clock.time())
        target.deadline = None
    elif not stands and target.left is not None:
        clock.set(target, target.left)
        target.left = None
