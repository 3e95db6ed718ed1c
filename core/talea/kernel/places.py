"""Places: how many attempts may be at work at once, and who is next.

Only attempts of agent, tool and team tasks hold a place. Among those that wait, priority decides,
then document order, level by level from the outside; an agent's own bound is a second condition.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from heapq import heappop, heappush
from itertools import count

Rank = tuple[tuple[int, int, int], ...]
"""(-priority, index of the task, index of the item), from the outermost task to the inner one."""


class Places:
    """The places of one run. Not for several threads: all calls come from the run's event loop.

    `total` bounds all attempts, `agents` those of an agent; None, or an agent not named, is
    unbounded.
    """

    def __init__(self, total: int | None, agents: Mapping[str, int]) -> None:
        self._total = total
        self._bounds = agents
        self._taken = 0
        self._taken_by: Counter[str] = Counter()
        self._queues: dict[str, list[tuple[Rank, int, asyncio.Future[None]]]] = {}
        self._number = count()
        self._granting = False

    async def acquire(self, rank: Rank, agent: str = "") -> None:
        """Wait for a place. It is given at the end of the loop's turn, to the best of all ranks, so
        that the order in which a framework starts its nodes does not decide."""
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        queue = self._queues.setdefault(agent if agent in self._bounds else "", [])
        heappush(queue, (rank, next(self._number), place))
        self._grant_soon(loop)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release(agent)
            place.cancel()
            raise

    def release(self, agent: str = "") -> None:
        """Give a place back."""
        self._taken -= 1
        if agent in self._bounds:
            self._taken_by[agent] -= 1
        self._grant_soon(asyncio.get_running_loop())

    def _grant_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._granting:
            self._granting = True
            loop.call_soon(self._grant)

    def _grant(self) -> None:
        self._granting = False
        while self._total is None or self._taken < self._total:
            agent = self._next()
            if agent is None:
                return
            place = heappop(self._queues[agent])[2]
            self._taken += 1
            if agent:
                self._taken_by[agent] += 1
            place.set_result(None)

    def _next(self) -> str | None:
        """Find the queue whose first waiter ranks best among those that may be given a place."""
        best: tuple[Rank, int] | None = None
        found = None
        for agent, queue in self._queues.items():
            while queue and queue[0][2].done():
                heappop(queue)
            if not queue or (agent and self._taken_by[agent] >= self._bounds[agent]):
                continue
            if best is None or queue[0][:2] < best:
                best, found = queue[0][:2], agent
        return found
