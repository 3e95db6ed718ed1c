"""An event loop whose sleeps take no time: its clock jumps to the next timer when all is idle."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class Deadlock(Exception):
    """Nothing is left that could happen, and the run has not come to its end."""


class _Selector(selectors.SelectSelector):
    """Lets the loop's clock jump instead of waiting."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout is None:
            raise Deadlock("nothing is left to happen")
        if not found and timeout:
            self._loop.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, from 0. Threads have no part in it."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Give the virtual time in seconds."""
        return self.now


def run_in_virtual_time(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine to its end on a loop of its own. Raises Deadlock where it has none."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
