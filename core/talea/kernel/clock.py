"""The clock of a run: one heap of deadlines, with one timer on the event loop.

`asyncio.timeout` sets a timer for each task, which costs several times as much as a push on a heap.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count
from typing import Protocol


class Timed(Protocol):
    """What has a deadline: it counts only as long as `deadline` is still the time it was set to."""

    deadline: float | None

    def expire(self) -> None:
        """Act on the deadline's having passed."""
        ...


class Clock:
    """Deadlines on one event loop; times are the loop's, in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.time = loop.time
        self._loop = loop
        self._heap: list[tuple[float, int, Timed]] = []
        self._number = count()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, target: Timed, seconds: float) -> None:
        """Let `target` expire after so many seconds, in place of any deadline it had."""
        when = self.time() + seconds
        target.deadline = when
        heappush(self._heap, (when, next(self._number), target))
        if self._timer is None:
            self._timer = self._loop.call_at(when, self._ring)
        elif when < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(when, self._ring)

    def close(self) -> None:
        """Forget all deadlines."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        heap = self._heap
        now = self.time()
        # The loop may call a timer early, by less than its clock's resolution.
        while heap and (heap[0][0] <= now or heap[0][2].deadline != heap[0][0]):
            when, _, target = heappop(heap)
            if target.deadline == when:
                target.deadline = None
                target.expire()
        if heap and self._timer is None:
            self._timer = self._loop.call_at(heap[0][0], self._ring)
