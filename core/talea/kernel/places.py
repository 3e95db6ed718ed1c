"""Places: how many attempts may be at work at once, and who is next.

Only attempts of agent, tool and team tasks hold a place. Among those that wait, priority decides,
then document order, level by level from the outside. That the agent can take it is a second
condition; where any agent of a pool will do, one is chosen in the moment the place is given.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count

from talea.balance import Candidate, Request
from talea.errors import ErrorType, TaskError
from talea.kernel.desks import Desk, Pool
from talea.kernel.rates import EARLY, Allowance

Rank = tuple[tuple[int, int, int], ...]
"""(-priority, index of the task, index of the item), from the outermost task to the inner one."""


@dataclass(slots=True, frozen=True)
class Wish:
    """Any agent of a pool; those in `without` only where there is no other."""

    pool: Pool
    request: Request
    without: frozenset[str] = frozenset()


@dataclass(slots=True)
class Grant:
    """A place that was given at some time. `loads` is what the pool had at work then."""

    began: float
    desk: Desk | None = None
    loads: dict[str, int] | None = None
    allowances: list[Allowance] = field(default_factory=list[Allowance])
    """What the attempt's agents may ask their models; the place's own agent comes first."""
    round: int = 0
    """The round of giving in which it was given: a later one than the first, after a wait."""

    def allowance(self, desk: Desk, time: Callable[[], float]) -> Allowance | None:
        """Give what an agent at work in this place may ask; None where it has no rates."""
        if not desk.rates:
            return None
        if desk is not self.desk:
            self.allowances.append(Allowance(desk.rates, time))
            return self.allowances[-1]
        return self.allowances[0]


_Waiter = tuple[Rank, int, "asyncio.Future[Grant]", Request | None]


@dataclass(slots=True)
class _Line:
    """Attempts that wait for the same: a desk, one of a pool, or, with neither, just a place."""

    desk: Desk | None = None
    pool: Pool | None = None
    among: tuple[Candidate, ...] | None = None
    """Those of the pool that will do; None for all."""
    waiters: list[_Waiter] = field(default_factory=list[_Waiter])

    def can_move(self, now: float) -> bool:
        """Say whether its first attempt could be given a place."""
        if self.pool is not None:
            return bool(self.free())
        return self.desk is None or self.desk.is_open(now)

    def free(self) -> Sequence[Candidate]:
        """Give those of the pool that can take an attempt now."""
        assert self.pool is not None
        free = self.pool.free
        return free if self.among is None else [one for one in self.among if one in free]


class Places:
    """The places of one run. Not for several threads: all calls come from the run's event loop.

    `total` bounds all attempts; None is unbounded. `desks` are the agents that are counted. With
    `tells`, a place comes with a pool's loads.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        total: int | None,
        desks: Iterable[Desk],
        *,
        tells: bool = False,
    ) -> None:
        self._loop = loop
        self._total = total
        self._tells = tells
        self._taken = 0
        self._lines: dict[Hashable, _Line] = {}
        self._number = count()
        self._granting = False
        self.rounds = 0
        """How often free places were given."""
        self._timers: dict[Desk, asyncio.TimerHandle] = {}
        for desk in desks:
            for rate in desk.rates:
                rate.changed.append(partial(self._look, desk))

    async def acquire(self, rank: Rank, wanted: Desk | Wish | None = None) -> Grant:
        """Wait for a place. It is given at the end of the loop's turn, to the best of all ranks, so
        that the order in which a framework starts its nodes does not decide.

        Raises `TaskError` where a pool's strategy fails.
        """
        request = wanted.request if isinstance(wanted, Wish) else None
        place: asyncio.Future[Grant] = self._loop.create_future()
        heappush(self._line(wanted).waiters, (rank, next(self._number), place, request))
        self._grant_soon()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.release(place.result(), TaskError(ErrorType.INTERRUPTED, "not begun"))
            place.cancel()
            raise

    def release(self, grant: Grant, failure: TaskError | None = None) -> None:
        """Give a place back; `failure` says how the attempt failed, or that it was interrupted."""
        self._taken -= 1
        for allowance in grant.allowances:
            allowance.end(None)
        if grant.desk is not None:
            grant.desk.release(grant.began, self._loop.time(), failure)
            self._look(grant.desk)
        self._grant_soon()

    def close(self) -> None:
        """Forget all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _line(self, wanted: Desk | Wish | None) -> _Line:
        if not isinstance(wanted, Wish):
            return self._lines.setdefault(wanted, _Line(desk=wanted))
        among = self._among(wanted)
        return self._lines.setdefault((wanted.pool, among), _Line(pool=wanted.pool, among=among))

    def _among(self, wish: Wish) -> tuple[Candidate, ...] | None:
        """Give those of a pool that will do; None for all. With a strategy that binds it is one."""
        pool = wish.pool
        if not (wish.without or pool.strategy.binds):
            return None
        left = [one for one in pool.members if one.name not in wish.without] or pool.members
        if not pool.strategy.binds:
            return tuple(left)
        now = self._loop.time()
        awake = [one for one in left if pool.desks[one.name].rests_until <= now + EARLY]
        return (pool.choose(awake or left, wish.request),)

    def _grant_soon(self) -> None:
        if not self._granting:
            self._granting = True
            self._loop.call_soon(self._grant)

    def _grant(self) -> None:
        while (self._total is None or self._taken < self._total) and (line := self._next()):
            _, _, place, request = heappop(line.waiters)
            try:
                place.set_result(self._give(line, request))
                self._taken += 1
            except TaskError as error:
                place.set_exception(error)
        self._granting = False
        self.rounds += 1

    def _give(self, line: _Line, request: Request | None) -> Grant:
        now = self._loop.time()
        desk, loads = line.desk, None
        if line.pool is not None:
            assert request is not None
            chosen = line.pool.choose(line.free(), request)
            desk = line.pool.desks[chosen.name]
            loads = line.pool.loads() if self._tells else None
        if desk is None:
            return Grant(now, round=self.rounds)
        grant = Grant(now, desk, loads, round=self.rounds)
        if desk.rates:
            grant.allowances.append(Allowance(desk.rates, self._loop.time, is_given=True))
        desk.take()
        self._look(desk)
        return grant

    def _next(self) -> _Line | None:
        """Find the line whose first waiter ranks best among those that may be given a place."""
        best: _Waiter | None = None
        found = None
        now = self._loop.time()
        empty: list[Hashable] = []
        for key, line in self._lines.items():
            waiters = line.waiters
            while waiters and waiters[0][2].done():
                heappop(waiters)
            if not waiters:
                empty.append(key)
            elif (best is None or waiters[0][:2] < best[:2]) and line.can_move(now):
                best, found = waiters[0], line
        for key in empty:
            del self._lines[key]
        return found

    def _look(self, desk: Desk) -> None:
        """See whether a desk can take an attempt, and when to look again."""
        now = self._loop.time()
        at = desk.opens_at(now)
        soon = now + EARLY
        desk.free(at <= soon and desk.rests_until <= soon)
        if desk.is_free:
            self._grant_soon()
        timer = self._timers.pop(desk, None)
        if timer is not None:
            timer.cancel()
        later = [time for time in (at, desk.rests_until) if soon < time < math.inf]
        if later:
            self._timers[desk] = self._loop.call_at(min(later), self._ring, desk)

    def _ring(self, desk: Desk) -> None:
        del self._timers[desk]
        self._look(desk)
        self._grant_soon()
