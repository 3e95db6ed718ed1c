"""Where functions run that are not the kernel's: blocking ones on threads, all in own contexts."""

from __future__ import annotations

import asyncio
import threading
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any

MAX_THREADS = 256
"""A bound on threads at once; functions beyond it wait for a thread."""

_Job = tuple["asyncio.Future[Any]", Callable[[], Any]]
_Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]


@types.coroutine
def in_own_context(
    coroutine: Coroutine[Any, Any, Any],
) -> Generator[Any, Any, Any]:
    """Drive a coroutine in a copy of the context while staying in the current asyncio task.

    A scheduler runs many tasks' bodies in one asyncio task; without this, a context variable that
    one body sets would be seen by those that follow.
    """
    context = copy_context()
    send: Callable[..., Any] = coroutine.send
    value: Any = None
    while True:
        try:
            yielded = context.run(send, value)
        except StopIteration as end:
            return end.value
        except (SystemExit, GeneratorExit) as error:
            raise _as_exception(error) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise _as_exception(error) from error  # Nobody cancelled it: it raised this by itself.
        send = coroutine.send
        try:
            value = yield yielded
        except GeneratorExit:
            context.run(coroutine.close)
            raise
        except BaseException as error:
            send, value = coroutine.throw, error


class Threads:
    """Daemon threads for blocking functions: the end of the process does not wait for them.

    Completions are handed to the event loop in batches: one wake-up for all that ended meanwhile.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._done: deque[_Outcome] = deque()
        self._lock = threading.Lock()
        self._waking = False
        self._idle = 0
        self._alive = 0

    def submit(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run a function on a thread, in a copy of the caller's context.

        The future ends when the function does; a caller that gives up must not cancel it (use
        `asyncio.shield`), so that somebody can still see when the function has come back.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        context: Context = copy_context()
        with self._lock:
            grow = self._idle <= self._jobs.qsize() and self._alive < MAX_THREADS
            self._alive += grow
        self._jobs.put((future, lambda: context.run(function)))
        if grow:
            threading.Thread(target=self._work, name="talea-tool", daemon=True).start()
        return future

    def close(self) -> None:
        """Let idle threads end; those at work end when their function comes back."""
        for _ in range(self._alive):
            self._jobs.put(None)

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            job = self._jobs.get()
            with self._lock:
                self._idle -= 1
            if job is None:
                return
            future, function = job
            try:
                outcome: _Outcome = (future, function(), None)
            except BaseException as error:
                outcome = (future, None, error)
            if not self._hand_over(outcome):
                return

    def _hand_over(self, outcome: _Outcome) -> bool:
        with self._lock:
            self._done.append(outcome)
            if self._waking:
                return True
            self._waking = True
        try:
            self._loop.call_soon_threadsafe(self._collect)
        except RuntimeError:  # The loop is closed: nobody waits any more.
            return False
        return True

    def _collect(self) -> None:
        with self._lock:
            self._waking = False
            done, self._done = self._done, deque()
        for future, value, error in done:
            if future.done():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(_as_exception(error))
            if error is not None:
                future.exception()  # Seen, even if the caller has given up.


def _as_exception(error: BaseException) -> Exception:
    """Give what a function raised as an error that ends its own task, and nothing around it.

    One that Python's own machinery acts on (`SystemExit`, a cancellation that nobody asked for,
    `StopIteration`, which a coroutine would take for its own end) becomes a plain one.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(f"the function raised {error!r}")
