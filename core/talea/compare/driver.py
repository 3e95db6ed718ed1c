"""A framework's process, from outside: started, asked, and killed where it does not answer."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from typing import IO, Any

from talea.compare.channel import Channel, Gone, Late

_KEPT = 20_000
"""Characters of what a process prints that are kept: the last ones, to tell why it ended."""
_CHUNK = 1 << 16
_TOLD = 400
_FAREWELL = 5.0
"""Seconds a process is given to end by itself."""


class WorkerEnded(Exception):
    """The process ended, or had to be ended. `type` is that of the run's problem."""

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type
        self.message = message


class Driver:
    """One framework's process. What it prints is read all the time, so that it never waits."""

    def __init__(self, environment: Mapping[str, str], python: str | None = None) -> None:
        here, there = socket.socketpair()
        with there:
            number = there.fileno()
            self._process = subprocess.Popen(  # noqa: S603 - talea itself, on a Python of the caller's
                [python or sys.executable, "-P", "-m", "talea.compare.worker", str(number)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                pass_fds=[number],
                start_new_session=True,
            )
        self._channel = Channel(here)
        self._said: deque[str] = deque()
        self._size = 0
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
        try:
            self._channel.send({"do": what, "with": given})
            return self._channel.receive(timeout)
        except Late:
            self.kill()
            raise WorkerEnded(
                "worker_hung", f"no answer came within {timeout:g} s, so its process was killed"
            ) from None
        except (Gone, ValueError):
            raise WorkerEnded("worker_died", self._last_words()) from None

    def kill(self) -> None:
        """End the process, and all that it has started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Let the process end, and make sure that it does."""
        self._channel.close()
        try:
            self._process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_FAREWELL)

    def _last_words(self) -> str:
        """Say how the process ended, with the last of what it printed."""
        self.close()
        code = self._process.returncode
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        said = "".join(self._said).strip()[-_TOLD:]
        return f"its process ended {how}" + (f"; it said last: {said}" if said else "")

    def _drain(self, output: IO[bytes]) -> None:
        with output:
            while more := os.read(output.fileno(), _CHUNK):
                text = more.decode("utf-8", "replace")
                self._said.append(text)
                self._size += len(text)
                while self._size > _KEPT and len(self._said) > 1:
                    self._size -= len(self._said.popleft())
