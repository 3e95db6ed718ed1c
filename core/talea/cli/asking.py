"""Questions to the person at the terminal."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from talea.adapter import Approval, AskCall, Unanswered
from talea.cli.board import Board
from talea.cli.terminal import clean, say
from talea.cli.words import answers_that_fit
from talea.expr import parse_json

_HELP = "Type y to allow the call, n to refuse it, or c to change its arguments."
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
        self._shown: tuple[str, str] | None = None

    async def __call__(self, call: AskCall) -> Any:
        """Put a question. Raises `Unanswered` at the end of the input."""
        async with self._turn:
            self._pause()
            try:
                self._put(call)
                if call.approval is not None:
                    return await self._word(call.approval)
                answer = await self._line()
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
        # Once more, where another question was put since: nobody must take one for the other.
        if self._shown != (call.address, call.text):
            self._shown = call.address, call.text
            say(clean(f"\n{call.address} asks:\n{call.text}"))
        if call.approval is None:
            fits = answers_that_fit(call.schema.schema if call.schema is not None else None)
            _prompt(f"[{fits}]" if fits else "")
            return
        # What was typed before the call was shown is no word on it.
        self._read = b""
        with suppress(termios.error):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)

    async def _word(self, approval: Approval) -> Any:
        """Hear what is to become of a tool's call: one key, or JSON for those who know it."""
        while True:
            _prompt("[y / n / c]")
            typed = await self._line()
            if typed.startswith("{"):
                return typed
            match _YES_AND_NO.get(typed.lower(), typed.lower()):
                case "true":
                    return True
                case "false":
                    _prompt("Why not?")
                    return {"refuse": await self._line()}
                case "c" | "change":
                    _prompt("Which arguments, as JSON? Others stay.")
                    changed = _read_object(await self._line())
                    if changed is not None:
                        return {"arguments": {**approval.arguments, **changed}}
                    say('That is no JSON object, such as {"to": "ann"}.')
                case _:
                    say(_HELP)

    async def _line(self) -> str:
        """Read a line, without the space around it. Raises `Unanswered` at the end of the input."""
        while b"\n" not in self._read:
            await _until_readable(sys.stdin.fileno())
            piece = os.read(sys.stdin.fileno(), 65_536)
            if not piece:
                say()
                raise Unanswered
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return line.decode(errors="replace").strip()


def _prompt(words: str) -> None:
    sys.stderr.write(f"{words} > " if words else "> ")
    sys.stderr.flush()


def _read_object(text: str) -> Mapping[str, Any] | None:
    try:
        value = parse_json(text)
    except ValueError:
        return None
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else None


async def _until_readable(file: int) -> None:
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(file, lambda: readable.done() or readable.set_result(None))
    try:
        await readable
    finally:
        loop.remove_reader(file)
