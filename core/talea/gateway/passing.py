"""An answer on its way to a client, and what a fault makes of it on that way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

from talea.delegation import Wording
from talea.gateway.cassette import Fault, Turn

GARBAGE = b"<html><body>502 Bad Gateway {{{"
EVENT_STREAM = "text/event-stream"
_ENDS = (b"data: [DONE]", b"event: response.completed")
_SLICES = 16
"""Into so many pieces a whole answer is cut where it drips."""


class Broken(Exception):
    """The answer ended in its midst."""


class Dropped(Broken):
    """It did so on purpose."""


@dataclass(slots=True)
class Answer:
    """An answer on its way. `turn` is complete when `pieces` has given its last."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]
    """The body; of a stream, event by event."""
    turn: Turn
    wording: Wording | None = None
    """The words in which the model delegates, where they are not a cassette's."""
    is_over: bool = False
    """Whether the piece that comes now is one with which a client leaves: it tells an error, or
    cannot be read."""

    def disturb(self, fault: Fault) -> None:
        """Have a fault slow the answer down, break it off or give it another name."""
        stream = self.headers.get("content-type", "").startswith(EVENT_STREAM)
        if fault.drop or fault.truncated:
            self.pieces = _broken(self, self.pieces, fault, stream=stream)
        if fault.drip:
            self.pieces = _dripping(self.pieces, fault.drip, stream=stream)
        if fault.content_type is not None:
            self.headers = {**self.headers, "content-type": fault.content_type}


def is_end(event: bytes) -> bool:
    """Say whether a client takes an event for the end of a stream, and may leave with it."""
    return event.startswith(_ENDS)


async def one_by_one(pieces: Iterable[bytes]) -> AsyncGenerator[bytes]:
    """Give pieces that are all there."""
    for piece in pieces:
        yield piece


async def _broken(
    answer: Answer, pieces: AsyncIterator[bytes], fault: Fault, *, stream: bool
) -> AsyncGenerator[bytes]:
    """Give the first half, which can be told only once the whole is there."""
    known = [piece async for piece in pieces]
    if not stream:
        body = b"".join(known)
        yield body[: len(body) // 2]
    else:
        *first, last = known[: len(known) // 2 + 1]
        for piece in first:
            yield piece
        answer.is_over = fault.truncated
        yield last[: len(last) // 2] + b"\n\n" if fault.truncated else last
        if fault.truncated and is_end(known[-1]):
            yield known[-1]
    if fault.drop:
        raise Dropped


async def _dripping(
    pieces: AsyncIterator[bytes], seconds: float, *, stream: bool
) -> AsyncGenerator[bytes]:
    """Give an answer piece by piece, and wait before each but the first."""
    first = True
    async for piece in pieces:
        for part in [piece] if stream else _slices(piece):
            if not first:
                await asyncio.sleep(seconds)
            first = False
            yield part


def _slices(body: bytes) -> list[bytes]:
    size = -(-len(body) // _SLICES) or 1
    return [body[start : start + size] for start in range(0, len(body), size)]
