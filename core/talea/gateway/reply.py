"""A turn as OpenAI's chat completion: whole, or as the chunks of a stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

from talea.gateway.cassette import Turn
from talea.gateway.chat import Call
from talea.gateway.wording import worded

_CHARACTERS_PER_TOKEN = 4
"""A usual rule of thumb, for turns that do not say what they used."""
_PIECE = 16
_MOST_PIECES = 32


@dataclass(slots=True, frozen=True)
class Reply:
    """What one call is answered. The same call is always answered in the same bytes."""

    id: str
    model: str
    text: str | None
    refusal: str | None
    tool_calls: tuple[tuple[str, str, str], ...]
    """Id, name and arguments of each."""
    input_tokens: int
    output_tokens: int
    cost: float | None

    @property
    def finish_reason(self) -> str:
        """Why the model stopped."""
        return "tool_calls" if self.tool_calls else "stop"

    @property
    def usage(self) -> dict[str, Any]:
        """OpenAI's usage object; a cost stands in it as OpenRouter writes it."""
        counted: dict[str, Any] = {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
        }
        return counted if self.cost is None else {**counted, "cost": self.cost}

    def completion(self) -> bytes:
        """Give the whole answer."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": self.text,
            "refusal": self.refusal,
        }
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
                for id, name, arguments in self.tool_calls
            ]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self.finish_reason,
        }
        return self._encode("chat.completion", choices=[choice], usage=self.usage)

    def chunks(self, *, with_usage: bool) -> Iterator[bytes]:
        """Give the answer piece by piece, without the end mark of a stream."""
        yield self._chunk({"role": "assistant", "content": ""})
        for name, text in (("content", self.text), ("refusal", self.refusal)):
            for piece in pieces(text or ""):
                yield self._chunk({name: piece})
        for index, (id, name, arguments) in enumerate(self.tool_calls):
            function = {"name": name, "arguments": ""}
            call = {"index": index, "id": id, "type": "function", "function": function}
            yield self._chunk({"tool_calls": [call]})
            for piece in pieces(arguments):
                more = {"index": index, "function": {"arguments": piece}}
                yield self._chunk({"tool_calls": [more]})
        yield self._chunk({}, self.finish_reason)
        if with_usage:
            yield self._encode("chat.completion.chunk", choices=[], usage=self.usage)

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._encode("chat.completion.chunk", choices=[choice])

    def _encode(self, kind: str, **fields: Any) -> bytes:
        whole = {"id": self.id, "object": kind, "created": 0, "model": self.model, **fields}
        return json.dumps(whole, ensure_ascii=True, separators=(",", ":")).encode()


def make_reply(call: Call, turn: Turn) -> Reply:
    """Word a turn as the answer to a call; tokens that the turn does not give are estimated."""
    whose = f"{call.address}\n{call.agent}\n{call.turn}"
    digest = hashlib.sha256(whose.encode("utf-8", "replace")).hexdigest()[:20]
    fault, usage = turn.fault, turn.usage
    text = "" if fault is not None and fault.empty else turn.text
    refusal = fault.refusal if fault is not None else None
    calls = tuple(
        (f"call_{digest}{index}", called.name, called.arguments_text)
        for index, called in enumerate(worded(turn, call.wording).calls)
    )
    written = len(text or "") + len(refusal or "") + sum(len(n) + len(a) for _, n, a in calls)
    read = call.request.prompt_characters
    return Reply(
        id=f"chatcmpl-{digest}",
        model=call.request.model,
        text=text,
        refusal=refusal,
        tool_calls=calls,
        input_tokens=_estimate(read) if usage.input_tokens is None else usage.input_tokens,
        output_tokens=_estimate(written) if usage.output_tokens is None else usage.output_tokens,
        cost=usage.cost,
    )


def _estimate(characters: int) -> int:
    return ceil(characters / _CHARACTERS_PER_TOKEN)


def pieces(text: str) -> Iterator[str]:
    """Cut a text as a model streams it; a long one into larger pieces, not into more."""
    size = max(_PIECE, ceil(len(text) / _MOST_PIECES))
    for start in range(0, len(text), size):
        yield text[start : start + size]
