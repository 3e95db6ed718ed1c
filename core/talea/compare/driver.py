"""A framework's process, from outside: started, asked, and killed where it does not answer."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from importlib import metadata
from typing import IO, Any

from talea.compare.channel import Channel, Gone, Late
from talea.errors import UsageError

IMPORTING = "TALEA_COMPARE_IMPORTING"
"""Stands in the environment of a framework's process while it imports the caller's files."""
_KEPT = 20_000
"""Characters of what a process prints that are kept: the last ones, to tell why it ended."""
_CHUNK = 1 << 16
_TOLD = 400
_TO_TELL = 1.0
"""Seconds in which a process that hangs may say where."""
_NAMED = 5
_FAREWELL = 5.0
"""Seconds a process is given to end by itself."""
_LAST_READ = 1.0
"""Seconds to read what it printed; what it has started may hold its output open for ever."""


class WorkerEnded(Exception):
    """The process ended, or had to be ended. `type` is that of the run's problem."""

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type
        self.message = message


class Driver:
    """One framework's process. What it prints is read all the time, so that it never waits.

    Raises `WorkerEnded` where the Python cannot be started, and `UsageError` in the middle of an
    import for another one, which would start a third, and so on.
    """

    def __init__(self, environment: Mapping[str, str], python: str | None = None) -> None:
        if IMPORTING in os.environ:
            raise UsageError(
                "a file of tools compares frameworks when it is imported, as each of them does",
                'put what it does under `if __name__ == "__main__":`',
            )
        mark = secrets.token_hex(8)
        here, there = socket.socketpair()
        self._channel = Channel(here, mark)
        self._life, its_life = socket.socketpair()
        executable = python or sys.executable
        with there, its_life:
            numbers = [there.fileno(), its_life.fileno()]
            arguments = [*map(str, numbers), mark, metadata.version("talea")]
            try:
                self._process = subprocess.Popen(  # noqa: S603 - talea itself, on a Python of the caller's
                    [executable, "-P", "-m", "talea.compare.worker", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    pass_fds=numbers,
                    start_new_session=True,
                )
            except OSError as error:
                self._channel.close()
                self._life.close()
                why = f"{executable} cannot be started: {error.strerror}"
                raise WorkerEnded("worker_died", why) from error
        self._said: deque[str] = deque()
        self._size = 0
        self._over = False
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._drain, args=(self._process.stdout,), daemon=True
        )
        self._reader.start()

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def ask(self, what: str, timeout: float, **given: Any) -> dict[str, Any]:
        """Send a message and wait for the answer. Raises `WorkerEnded`; then it is gone."""
        until = time.monotonic() + timeout
        try:
            self._channel.send({"do": what, "with": given}, timeout)
            return self._channel.receive(until - time.monotonic())
        except Late:
            where = self._under_way()
            self.kill()
            why = f"no answer came within {timeout:g} s, so its process was killed{where}"
            raise WorkerEnded("worker_hung", why) from None
        except (Gone, ValueError):
            raise WorkerEnded("worker_died", self._last_words()) from None

    def kill(self) -> None:
        """End the process, and all that it has started, at once."""
        self._kill_group()
        self.close()

    def close(self) -> None:
        """Let the process end, and make sure that it does, with all that it has started."""
        self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_FAREWELL)
        self._kill_group()
        self._process.wait()
        self._life.close()
        self._reader.join(_LAST_READ)
        self._over = True

    def _under_way(self) -> str:
        """Say which tasks are under way; nothing where the process cannot even tell that."""
        try:
            self._channel.send({"do": "where"}, _TO_TELL)
            tasks = self._channel.receive(_TO_TELL).get("under_way")
        except (Late, Gone, ValueError):
            return ""
        shown = ", ".join(tasks[:_NAMED]) if tasks else ""
        more = f" and {len(tasks) - _NAMED} more" if tasks and len(tasks) > _NAMED else ""
        return f"; under way was {shown}{more}" if shown else ""

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _last_words(self) -> str:
        """Say how the process ended, with the last of what it printed."""
        self.close()
        code = self._process.returncode
        how = f"with exit code {code}" if code >= 0 else f"by {_name_of(-code)}"
        said = "".join(self._said).strip()
        if len(said) > _TOLD:
            # The first line that is whole, if any is.
            said = said[-_TOLD:].partition("\n")[2].strip() or said[-_TOLD:]
        return f"its process ended {how}" + (f"; it said last: {said}" if said else "")

    def _drain(self, output: IO[bytes]) -> None:
        with output:
            while (more := os.read(output.fileno(), _CHUNK)) and not self._over:
                text = more.decode("utf-8", "replace")
                self._said.append(text)
                self._size += len(text)
                while self._size > _KEPT and len(self._said) > 1:
                    self._size -= len(self._said.popleft())


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
