"""Reading what a model's server answered, whole or streamed, as the turn of a cassette."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard, cast

from talea.gateway.cassette import Fault, TokenUsage, ToolCall, Turn
from talea.gateway.chat import CHAT

GARBAGE = Turn(fault=Fault(garbage=True))
"""An answer that nobody can read."""


def read_answer(form: str, data: Any) -> Turn | None:
    """Read a whole answer of an API; None if it is none."""
    return read_completion(data) if form == CHAT else read_response(data)


def begin_stream(form: str) -> Stream | ResponseStream:
    """Give what reads the events of an API's stream."""
    return Stream() if form == CHAT else ResponseStream()


def read_json(text: str | bytes) -> Any:
    """Read JSON from anybody. Raises ValueError for what is none, however deep it is nested."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_completion(data: Any) -> Turn | None:
    """Read a whole chat completion; None if it is none."""
    try:
        message = data["choices"][0]["message"]
        answer = _Answer(message.get("content"), message.get("refusal"))
        for called in message.get("tool_calls") or ():
            function = called["function"]
            answer.calls[len(answer.calls)] = [function["name"], function["arguments"]]
        answer.usage = _usage(data.get("usage"))
    except (LookupError, TypeError, AttributeError):
        return None
    return answer.turn() if answer.is_text else None


def read_failure(status: int, retry_after: float | None, body: bytes) -> Turn:
    """Read an HTTP error, with the code and the words that clients tell it by."""
    try:
        error = read_json(body)["error"]
        turn = failed(error, status)
    except (LookupError, TypeError, AttributeError, ValueError):
        turn = failed({}, status)
    assert turn.fault is not None
    return Turn(fault=turn.fault.model_copy(update={"retry_after": retry_after}))


@dataclass(slots=True)
class Stream:
    """A chat completion that arrives in chunks."""

    is_whole: bool = False
    """Whether the model has come to its end."""
    _answer: _Answer = field(default_factory=lambda: _Answer(None, None))
    _failure: Turn | None = None

    def add(self, chunk: Any) -> None:
        """Take a chunk in. What is no chunk says nothing."""
        if not isinstance(chunk, dict):
            return
        chunk = cast("dict[str, Any]", chunk)
        answer = self._answer
        if chunk.get("usage") is not None:
            answer.usage = _usage(chunk["usage"])
        if error := _mapping(chunk.get("error")):
            self._failure, self.is_whole = failed(error), True
        for choice in _mappings(chunk.get("choices")):
            delta = _mapping(choice.get("delta"))
            if text := _text(delta.get("content")):
                answer.text = (answer.text or "") + text
            if words := _text(delta.get("refusal")):
                answer.refusal = (answer.refusal or "") + words
            for piece in _mappings(delta.get("tool_calls")):
                function = _mapping(piece.get("function"))
                call = answer.call_at(piece.get("index"))
                call[0] += _text(function.get("name"))
                call[1] += _text(function.get("arguments"))
            self.is_whole = self.is_whole or choice.get("finish_reason") is not None

    def spoil(self) -> None:
        """Take in an event that nobody can read."""
        self._failure, self.is_whole = GARBAGE, True

    def end(self) -> None:
        """Take the mark by which a stream ends: some servers name no reason before it."""
        if not self.is_whole and not self._answer.says_something:
            self._failure = GARBAGE
        self.is_whole = True

    def turn(self) -> Turn:
        """Give what has arrived."""
        return self._failure or self._answer.turn(is_whole=self.is_whole)


def read_response(data: Any) -> Turn | None:
    """Read a whole response of the Responses API; None if it is none."""
    try:
        output, failure = data["output"], data.get("error")
        answer = _Answer(None, None, usage=_usage(data.get("usage")))
        for item in _mappings(output):
            answer.take_item(item)
    except (LookupError, TypeError, AttributeError):
        return None
    if isinstance(failure, dict):
        return failed(cast("dict[str, Any]", failure))
    return answer.turn() if isinstance(output, list) and answer.is_text else None


def failed(error: Mapping[str, Any], status: int = 500) -> Turn:
    """Give the turn for an error as OpenAI words it; one within an answer has no status."""
    code, message = error.get("code"), error.get("message")
    return Turn(
        fault=Fault(
            status=status,
            code=code if isinstance(code, str) else None,
            message=message if isinstance(message, str) else None,
        )
    )


_ENDS = ("response.completed", "response.incomplete", "response.failed")


@dataclass(slots=True)
class ResponseStream:
    """A response of the Responses API that arrives in events."""

    is_whole: bool = False
    """Whether the model has come to its end."""
    _answer: _Answer = field(default_factory=lambda: _Answer(None, None))
    _whole: Turn | None = None

    def add(self, event: Any) -> None:
        """Take an event in. What is none says nothing."""
        if not isinstance(event, dict):
            return
        event = cast("dict[str, Any]", event)
        answer, kind, delta = self._answer, event.get("type"), event.get("delta")
        if kind in _ENDS:
            self._whole = read_response(event.get("response"))
            self.is_whole = self._whole is not None
        elif kind == "error":
            self._whole, self.is_whole = failed(event), True
        elif kind == "response.output_item.added":
            item = _mapping(event.get("item"))
            if item.get("type") == "function_call":
                answer.call_at(event.get("output_index"))[0] = _text(item.get("name"))
        elif isinstance(delta, str):
            if kind == "response.output_text.delta":
                answer.text = (answer.text or "") + delta
            elif kind == "response.refusal.delta":
                answer.refusal = (answer.refusal or "") + delta
            elif kind == "response.function_call_arguments.delta":
                answer.call_at(event.get("output_index"))[1] += delta

    def spoil(self) -> None:
        """Take in an event that nobody can read."""
        self._whole, self.is_whole = GARBAGE, True

    def end(self) -> None:
        """Take the event by which a stream ends: what it should hold stands in it."""
        self._whole, self.is_whole = self._whole or GARBAGE, True

    def turn(self) -> Turn:
        """Give what has arrived."""
        return self._whole or self._answer.turn(is_whole=False)


@dataclass(slots=True)
class _Answer:
    text: str | None
    refusal: str | None
    calls: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    """Name and arguments of each, by its place."""
    usage: TokenUsage = field(default_factory=TokenUsage)

    @property
    def is_text(self) -> bool:
        """Whether all is text that should be."""
        said: list[object] = [self.text or "", self.refusal or ""]
        said += [word for call in self.calls.values() for word in call]
        return all(isinstance(word, str) for word in said)

    @property
    def says_something(self) -> bool:
        """Whether there is anything of an answer."""
        return bool(self.text or self.refusal or self.calls)

    def call_at(self, place: Any) -> list[str]:
        """Give the call at a place of a stream; a further one where no place is told."""
        known = place if isinstance(place, int) else len(self.calls)
        return self.calls.setdefault(known, ["", ""])

    def take_item(self, item: Mapping[str, Any]) -> None:
        """Take in an item of a response's output; what is neither said nor called is left out."""
        if item["type"] == "function_call":
            self.calls[len(self.calls)] = [item["name"], item["arguments"]]
        elif item["type"] == "message":
            for part in _mappings(item["content"]):
                if part["type"] == "output_text":
                    self.text = (self.text or "") + part["text"]
                elif part["type"] == "refusal":
                    self.refusal = (self.refusal or "") + part["refusal"]

    def turn(self, *, is_whole: bool = True) -> Turn:
        calls = tuple(
            ToolCall(name=name, arguments=_arguments(text)) for name, text in self.calls.values()
        )
        if not is_whole:
            more: dict[str, Any] = {}
            if self.text or calls:
                more = {"content": self.text, "tool_calls": calls}
            return Turn(fault=Fault(drop=True), usage=self.usage, **more)
        if self.refusal:
            return Turn(fault=Fault(refusal=self.refusal), usage=self.usage)
        if not calls:
            return Turn(content=self.text or "", usage=self.usage)
        if not self.text:
            return Turn(tool_calls=calls, usage=self.usage)
        return Turn(content=self.text, tool_calls=calls, usage=self.usage)


def _usage(usage: Any) -> TokenUsage:
    """Read OpenAI's usage object; a cost stands in it as OpenRouter writes it."""
    if not isinstance(usage, dict):
        return TokenUsage()
    told = cast("dict[str, Any]", usage)
    cost = told.get("cost")
    return TokenUsage(
        input_tokens=_count(told, "prompt_tokens", "input_tokens"),
        output_tokens=_count(told, "completion_tokens", "output_tokens"),
        cost=cost if _is_number(cost) and 0 <= cost < math.inf else None,
    )


def _count(usage: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if _is_number(value) and isinstance(value, int) and value >= 0:
            return value
    return None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _arguments(text: str) -> dict[str, Any] | str:
    """Give arguments as a structure, which reads best; as they came where they are no JSON."""
    try:
        read = read_json(text)
        json.dumps(read, allow_nan=False)
    except (ValueError, RecursionError):
        return text
    return cast("dict[str, Any]", read) if isinstance(read, dict) else text


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    for one in cast("list[Any]", value) if isinstance(value, list) else ():
        if isinstance(one, dict):
            yield cast("dict[str, Any]", one)
