"""Turns in a framework's own words: a cassette says `delegate`, and any framework understands."""

from __future__ import annotations

from collections.abc import Callable

from talea.delegation import DELEGATE, Wording
from talea.gateway.cassette import ToolCall, Turn


def worded(turn: Turn, wording: Wording | None) -> Turn:
    """Give a cassette's turn as the framework that asks has to read it."""
    if wording is None or not any(call.name == DELEGATE for call in turn.calls):
        return turn

    def say(call: ToolCall) -> ToolCall:
        if call.name != DELEGATE:
            return call
        tool, arguments = wording.say(call.arguments)
        return ToolCall(name=tool, arguments=arguments)

    return _with_calls(turn, say)


def unworded(turn: Turn, wording: Wording | None) -> Turn:
    """Give what a model answered to a framework as a cassette has it."""
    if wording is None or not any(call.name in wording.tools for call in turn.calls):
        return turn

    def read(call: ToolCall) -> ToolCall:
        if call.name not in wording.tools:
            return call
        return ToolCall(name=DELEGATE, arguments=wording.read(call.name, call.arguments))

    return _with_calls(turn, read)


def _with_calls(turn: Turn, change: Callable[[ToolCall], ToolCall]) -> Turn:
    calls = tuple(change(call) for call in turn.calls)
    return turn.model_copy(update={"tool_calls": calls, "delegate": None})
