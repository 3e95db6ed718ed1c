"""JSON, one message a line, between the comparison and a framework's process.

It has a socket of its own, so that nothing that a framework prints can get between.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any

_CHUNK = 1 << 16


class Gone(Exception):
    """The other side has ended."""


class Late(Exception):
    """No answer came in time."""


class Channel:
    """One side's end. One thread may send while another one receives without a timeout."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._read = bytearray()
        self._searched = 0

    def send(self, message: Any) -> None:
        """Send a message. Raises `Gone`."""
        try:
            self._end.settimeout(None)
            self._end.sendall(json.dumps(message, allow_nan=False).encode() + b"\n")
        except OSError as error:
            raise Gone from error

    def receive(self, timeout: float | None = None) -> Any:
        """Wait for a message. Raises `Late` after `timeout` seconds, `Gone` if none can come, and
        ValueError for what is no JSON."""
        until = None if timeout is None else time.monotonic() + timeout
        while (end := self._read.find(b"\n", self._searched)) < 0:
            self._searched = len(self._read)
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise Late
            self._end.settimeout(left)
            try:
                more = self._end.recv(_CHUNK)
            except TimeoutError:
                raise Late from None
            except OSError as error:
                raise Gone from error
            if not more:
                raise Gone
            self._read += more
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        self._searched = 0
        return json.loads(line)

    def close(self) -> None:
        """Let go of the socket."""
        self._end.close()
