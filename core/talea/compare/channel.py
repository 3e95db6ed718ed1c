"""JSON, one message a line, between the comparison and a framework's process.

It has a socket of its own, so that nothing that a framework prints can get between. A tool that
writes to every descriptor that it finds still disturbs nothing: each message has a line of its own,
which begins with a mark that only the two sides know, and any other line is passed over.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

_CHUNK = 1 << 16


class Gone(Exception):
    """The other side has ended."""


class Late(Exception):
    """It did not go on in time."""


class Channel:
    """One side's end. Threads may send while another one receives, all without a timeout."""

    def __init__(self, end: socket.socket, mark: str) -> None:
        self._end = end
        self._mark = mark.encode()
        self._sending = threading.Lock()
        self._read = bytearray()
        self._searched = 0

    def send(self, message: Any, timeout: float | None = None) -> None:
        """Send a message. Raises `Late` where the other side takes nothing in for that many
        seconds, and `Gone`."""
        try:
            with self._sending:
                self._end.settimeout(timeout)
                self._end.sendall(b"\n" + self._mark + _encoded(message) + b"\n")
        except TimeoutError:
            raise Late from None
        except OSError as error:
            raise Gone from error

    def receive(self, timeout: float | None = None) -> Any:
        """Wait for a message. Raises `Late` after `timeout` seconds, `Gone` if none can come, and
        ValueError for one that somebody wrote into."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            end = self._read.find(b"\n", self._searched)
            if end < 0:
                self._take_in(until)
                continue
            line = bytes(self._read[:end])
            del self._read[: end + 1]
            self._searched = 0
            if line.startswith(self._mark):
                return json.loads(line[len(self._mark) :])

    def close(self) -> None:
        """Let go of the socket."""
        self._end.close()

    def _take_in(self, until: float | None) -> None:
        """Read more of a line; what is no message's is not kept, however long it gets."""
        if len(self._read) >= len(self._mark) and not self._read.startswith(self._mark):
            self._read.clear()
        self._searched = len(self._read)
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            raise Late
        try:
            self._end.settimeout(left)
            more = self._end.recv(_CHUNK)
        except TimeoutError:
            raise Late from None
        except OSError as error:
            raise Gone from error
        if not more:
            raise Gone
        self._read += more


def _encoded(message: Any) -> bytes:
    """Write JSON. Half of a surrogate pair is no character, and becomes U+FFFD."""
    text = json.dumps(message, allow_nan=False, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
