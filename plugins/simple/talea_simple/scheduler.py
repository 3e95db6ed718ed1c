"""The in-process schedule: a task starts the moment the last of its dependencies has ended.

The run itself counts dependencies down and says what is ready. One worker takes ready tasks and
does them one after the other in its asyncio task; further workers are started by one call per turn
of the event loop, and more of them only as fast as the bodies really suspend: a wide fan whose
bodies never wait is drained by a few.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

from talea.adapter import Run
from talea.plan import Plan

_RAMP = 16
"""How many workers are started at once at first; then as many as there are already."""
_FAIRNESS = 128
"""Tasks after which a worker lets the event loop turn, even if none of them has waited."""


@dataclass(slots=True, frozen=True)
class Schedule:
    """A plan as the scheduler reads it: the native object of this framework."""

    plan: Plan
    priorities: tuple[int, ...] | None
    """None where all are the same, and ready tasks simply start in order."""

    @classmethod
    def of(cls, plan: Plan) -> Schedule:
        """Read a plan."""
        priorities = tuple(step.priority for step in plan.steps)
        return cls(plan, priorities if any(priorities) else None)

    def queue(self, ready: deque[int]) -> deque[int] | ByPriority:
        """Give the ready tasks in the order in which they are to start."""
        return ready if self.priorities is None else ByPriority(ready, self.priorities)


class ByPriority:
    """Ready tasks, the highest priority first, then in document order."""

    def __init__(self, ready: deque[int], priorities: tuple[int, ...]) -> None:
        self._ready = ready
        self._priorities = priorities
        self._heap: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._heap) + len(self._ready)

    def popleft(self) -> int:
        """Take the task that comes first."""
        while self._ready:
            i = self._ready.popleft()
            heappush(self._heap, (-self._priorities[i], i))
        return heappop(self._heap)[1]


async def drive(schedule: Schedule, run: Run) -> None:
    """Run every task once its dependencies have ended; return when all that can has ended."""
    loop = asyncio.get_running_loop()
    workers: set[asyncio.Task[Any]] = set()
    idle: asyncio.Future[None] | None = None
    failure: BaseException | None = None
    starting = False
    ready, task = schedule.queue(run.ready), run.task

    async def work() -> None:
        nonlocal starting
        turns = 0
        while ready:
            i = ready.popleft()
            if ready and not starting:
                starting = True
                loop.call_soon(start_workers)
            await task(i)
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
        while ready or workers or starting:
            await work()
            if workers:
                idle = loop.create_future()
                await idle
            elif starting:
                await asyncio.sleep(0)
    except BaseException:
        run.stop("interrupted")
        for worker in list(workers):
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        raise
    if failure is not None:
        raise failure
