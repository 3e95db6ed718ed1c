"""Rates: how many calls and tokens an agent, or a model that several share, may use in a minute.

What is beyond waits. A minute is any minute, not one of the clock: no provider's way of counting
finds more in it. What a call uses is known when it has ended; until then it counts as much as the
mean of those before, and while there is none, one call goes at a time.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence

from talea import ir

MINUTE = 60.0
EARLY = 1e-6
"""Seconds by which a timer may ring too soon: what is due by then is due."""


class Rate:
    """The calls and tokens of the last minute. Times are the event loop's, in seconds."""

    def __init__(self, limits: ir.Rates) -> None:
        self._limits = limits
        self._calls: deque[float] = deque()
        self._used: deque[tuple[float, int]] = deque()
        self._tokens = 0
        self._open = 0
        self._counted = 0
        self._mean = 0.0
        self.changed: list[Callable[[], None]] = []
        """Called whenever a call began or ended."""

    def ready_at(self, now: float) -> float:
        """Give the time from which the next call may be made; infinity where that rests on a call
        that has not ended."""
        self._forget(now)
        most, tokens = self._limits.requests_per_minute, self._limits.tokens_per_minute
        at = now
        if most is not None and len(self._calls) >= most:
            at = self._calls[-most] + MINUTE
        if tokens is None or (not self._open and self._tokens < tokens):
            return at
        if self._open and (not self._counted or self._open * self._mean >= tokens):
            return math.inf
        return max(at, self._room_at(now, tokens - self._open * self._mean))

    def _room_at(self, now: float, tokens: float) -> float:
        """Give the time from which less than so many tokens are in the last minute."""
        left = self._tokens
        for time, used in self._used:
            if left < tokens:
                break
            left -= used
            now = time + MINUTE
        return now

    def _forget(self, now: float) -> None:
        gone = now - MINUTE + EARLY
        while self._calls and self._calls[0] <= gone:
            self._calls.popleft()
        while self._used and self._used[0][0] <= gone:
            self._tokens -= self._used.popleft()[1]

    def begin(self, now: float) -> None:
        """Count a call."""
        self._calls.append(now)
        self._open += 1
        self._tell()

    def end(self, now: float, tokens: int | None) -> None:
        """Count what a call used; None where it came to nothing."""
        self._open -= 1
        if tokens is not None:
            self._counted += 1
            self._mean += (tokens - self._mean) / self._counted
            self._used.append((now, tokens))
            self._tokens += tokens
        self._tell()

    def _tell(self) -> None:
        for tell in list(self.changed):
            tell()


def ready_at(rates: Sequence[Rate], now: float) -> float:
    """Give the time from which all of some rates allow a call."""
    return max((rate.ready_at(now) for rate in rates), default=now)


class Allowance:
    """The model calls of one attempt of an agent.

    With `is_given` the first one is counted at once: whoever has a place need not wait for it.
    """

    def __init__(
        self, rates: Sequence[Rate], time: Callable[[], float], *, is_given: bool = False
    ) -> None:
        self._rates = rates
        self._time = time
        self._is_given = is_given
        self._is_open = False
        if is_given:
            self._count(time())

    def _count(self, now: float) -> None:
        self._is_open = True
        for rate in self._rates:
            rate.begin(now)

    async def begin(self) -> None:
        """Wait until a call may be made, and count it."""
        if self._is_given:
            self._is_given = False
            return
        self.end(None)
        while (at := ready_at(self._rates, now := self._time())) > now + EARLY:
            await self._wait(at - now)
        self._count(now)

    async def _wait(self, seconds: float) -> None:
        changed = asyncio.Event()
        for rate in self._rates:
            rate.changed.append(changed.set)
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await changed.wait()
        except TimeoutError:
            pass
        finally:
            for rate in self._rates:
                rate.changed.remove(changed.set)

    def end(self, tokens: int | None) -> None:
        """Count what the call used, if one is open; None where it came to nothing."""
        if self._is_open:
            self._is_open = False
            for rate in self._rates:
                rate.end(self._time(), tokens)
