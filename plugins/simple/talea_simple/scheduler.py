"""The in-process schedule: a task starts the moment the last of its dependencies has ended.

Dependencies are counted down on integers. The first task that an ended one makes ready runs on in
the same asyncio task; further workers are started by one call per turn of the event loop, and
more of them only as fast as the bodies really suspend: a wide fan whose bodies never wait is
drained by a few.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

from talea.adapter import Run
from talea.plan import Plan

_RAMP = 16
"""How many workers are started at once at first; then as many as there are already."""
_FAIRNESS = 128
"""Tasks after which a worker lets the event loop turn, even if none of them has waited."""


class Ready(Protocol):
    """The tasks whose dependencies have ended, in the order in which they are to start."""

    def push(self, i: int) -> None: ...
    def pop(self) -> int: ...
    def __len__(self) -> int: ...


class InOrder(deque[int]):
    """Ready tasks, first come, first served."""

    push = deque[int].append
    pop = deque[int].popleft  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]


class ByPriority:
    """Ready tasks by priority, then in document order."""

    def __init__(self, roots: tuple[int, ...], priorities: tuple[int, ...]) -> None:
        self._priorities = priorities
        self._heap = [(-priorities[i], i) for i in roots]
        heapify(self._heap)

    def push(self, i: int) -> None:
        """Add a task."""
        heappush(self._heap, (-self._priorities[i], i))

    def pop(self) -> int:
        """Take the task that comes first."""
        return heappop(self._heap)[1]

    def __len__(self) -> int:
        return len(self._heap)


@dataclass(slots=True, frozen=True)
class Schedule:
    """A plan as the scheduler reads it: the native object of this framework."""

    plan: Plan
    roots: tuple[int, ...]
    waits_for: tuple[int, ...]
    """For each task, how many must have ended first."""
    successors: tuple[tuple[int, ...], ...]
    priorities: tuple[int, ...] | None
    """None where all are the same."""

    @classmethod
    def of(cls, plan: Plan) -> Schedule:
        """Read a plan."""
        steps = plan.steps
        priorities = tuple(step.priority for step in steps)
        return cls(
            plan,
            plan.roots,
            tuple(len(step.dependencies) for step in steps),
            tuple(step.successors for step in steps),
            priorities if any(priorities) else None,
        )

    def ready(self) -> Ready:
        """Give the tasks that may start at once."""
        if self.priorities is None:
            return InOrder(self.roots)
        return ByPriority(self.roots, self.priorities)


async def drive(schedule: Schedule, run: Run) -> None:
    """Run every task once its dependencies have ended; return when all that can has ended."""
    waits_for = list(schedule.waits_for)
    successors = schedule.successors
    ready = schedule.ready()
    ordered = schedule.priorities is not None
    loop = asyncio.get_running_loop()
    idle: asyncio.Future[None] | None = None
    failure: BaseException | None = None
    workers: set[asyncio.Task[Any]] = set()
    starting = False
    task, push, pop = run.task, ready.push, ready.pop

    async def work() -> None:
        nonlocal starting
        following = -1
        turns = 0
        while following >= 0 or ready:
            i = following if following >= 0 else pop()
            following = -1
            if ready and not starting:
                starting = True
                loop.call_soon(start_workers)
            if not (await task(i)).ended:
                continue  # It waits for a person, and so does all that comes after it.
            for s in successors[i]:
                waits_for[s] -= 1
                if not waits_for[s]:
                    if following < 0 and not ordered:
                        following = s
                    else:
                        push(s)
            turns += 1
            if turns == _FAIRNESS:
                turns = 0
                await asyncio.sleep(0)

    def start_workers() -> None:
        nonlocal starting
        starting = False
        for _ in range(min(len(ready), max(_RAMP, len(workers)))):
            worker = loop.create_task(work())
            workers.add(worker)
            worker.add_done_callback(ended)

    def ended(worker: asyncio.Task[Any]) -> None:
        nonlocal failure
        workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None and not failure:
            failure = error
            run.stop("interrupted")
        if not workers and idle is not None and not idle.done():
            idle.set_result(None)

    try:
        await work()
        while workers or starting:
            idle = loop.create_future()
            if not workers:
                loop.call_soon(idle.set_result, None)
            await idle
    except BaseException:
        run.stop("interrupted")
        for worker in list(workers):
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        raise
    if failure is not None:
        raise failure
