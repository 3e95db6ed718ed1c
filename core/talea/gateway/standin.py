"""The model of an offline run: answers from the request alone, the same way each time."""

from __future__ import annotations

import json

from talea.gateway.cassette import TokenUsage, Turn
from talea.gateway.chat import Call, ChatRequest

_ECHOED = 120


class StandIn:
    """Answers text with an echo and a schema with a minimal instance; it never calls a tool."""

    def answer(self, call: Call) -> Turn:
        """Answer a call, at no cost."""
        return Turn(content=_content(call.request), usage=TokenUsage(cost=0.0))


def _content(request: ChatRequest) -> str:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return f"Offline answer to: {_last_prompt(request)}"
    if wanted.json_schema is None:
        return "{}"
    from talea.schema import minimal_instance

    return json.dumps(minimal_instance(wanted.json_schema.schema_), ensure_ascii=False)


def _last_prompt(request: ChatRequest) -> str:
    """Give the start of the last thing a user said, on one line."""
    said = [message for message in request.messages if message.role == "user"]
    words = " ".join((said or request.messages)[-1].text.split())
    return words if len(words) <= _ECHOED else f"{words[: _ECHOED - 1]}…"
