"""Questions to the person at the terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

from talea.adapter import AskCall, Unanswered
from talea.cli.board import Board
from talea.cli.terminal import clean, say
from talea.cli.words import answers_that_fit

_YES_AND_NO = {"y": "true", "yes": "true", "n": "false", "no": "false"}


class Asker:
    """Asks one question at a time, while the live view steps aside.

    Lines are read by the event loop: a thread that reads could not be called off by Ctrl-C.
    """

    def __init__(
        self, board: Board, pause: Callable[[], None], proceed: Callable[[], None]
    ) -> None:
        self._board = board
        self._pause, self._proceed = pause, proceed
        self._turn = asyncio.Lock()
        self._read = b""

    async def __call__(self, call: AskCall) -> Any:
        """Put a question. Raises `Unanswered` at the end of the input."""
        async with self._turn:
            self._pause()
            try:
                self._put(call)
                answer = (await self._line()).strip()
            finally:
                self._proceed()
        schema = call.schema.schema if call.schema is not None else None
        if schema == {"type": "boolean"}:
            return _YES_AND_NO.get(answer.lower(), answer)
        return answer

    def _put(self, call: AskCall) -> None:
        question = self._board.questions.get(call.address)
        if question is not None and question.refusal is not None:
            say(clean(f"That does not fit: {question.refusal}"))
        else:
            say(clean(f"\n{call.address} asks:\n{call.text}"))
        fits = answers_that_fit(call.schema.schema if call.schema is not None else None)
        sys.stderr.write(f"[{fits}] > " if fits else "> ")
        sys.stderr.flush()

    async def _line(self) -> str:
        while b"\n" not in self._read:
            await _until_readable(sys.stdin.fileno())
            piece = os.read(sys.stdin.fileno(), 65_536)
            if not piece:
                say()
                raise Unanswered
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return line.decode(errors="replace")


async def _until_readable(file: int) -> None:
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(file, lambda: readable.done() or readable.set_result(None))
    try:
        await readable
    finally:
        loop.remove_reader(file)
