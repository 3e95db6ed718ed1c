"""An event loop whose sleeps take no time: its clock jumps to the next timer when all is idle."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")
_PATIENCE = 1.0
"""Real seconds after which nothing will come of other threads any more."""


class Deadlock(Exception):
    """Nothing is left that could happen, and the run has not come to its end."""


class _Selector(selectors.SelectSelector):
    """Lets the loop's clock jump instead of waiting."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._loop.settle()
        found = super().select(0)
        if not found and timeout is None:
            found = super().select(_PATIENCE)
        if not found and timeout is None:
            raise Deadlock("nothing is left to happen")
        if not found and timeout:
            self._loop.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, from 0.

    What is given to its executor is done at once, and `settle` waits for threads of others.
    """

    def __init__(self, settle: Callable[[], None] = lambda: None) -> None:
        self.now = 0.0
        self.settle = settle
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Give the virtual time in seconds."""
        return self.now

    def run_in_executor(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call a function here and now: a thread of its own would take time."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is the caller's to see
            done.set_exception(error)
        return done


def run_in_virtual_time(
    main: Coroutine[Any, Any, _Result], settle: Callable[[], None] = lambda: None
) -> _Result:
    """Run a coroutine to its end on a loop of its own. Raises Deadlock where it has none."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(settle)) as runner:
        return runner.run(main)
