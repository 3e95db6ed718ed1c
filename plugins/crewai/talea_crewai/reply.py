"""A model's answer of one turn, read from the openai SDK's objects, streamed or whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from talea.errors import ErrorType, TaskError
from talea.events import Usage

if TYPE_CHECKING:
    from openai import AsyncStream
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

Message = dict[str, Any]

_NO_COMPLETION = "the model's server sent no chat completion"


@dataclass(slots=True)
class Reply:
    """What a model answered in one turn."""

    id: str | None = None
    text: str | None = None
    refusal: str | None = None
    tool_calls: list[Message] = field(default_factory=list[Message])
    """As they go back into the conversation."""
    finish: str | None = None
    usage: Usage | None = None

    def message(self) -> Message:
        """Give the answer as a message of the conversation."""
        if self.tool_calls:
            return {"role": "assistant", "content": self.text, "tool_calls": self.tool_calls}
        return {"role": "assistant", "content": self.text or ""}

    def check_finished(self, *, has_schema: bool) -> None:
        """Refuse an answer that the model did not bring to its end."""
        if self.finish == "content_filter":
            raise TaskError(ErrorType.REFUSED, "the model's content filter stopped the answer")
        if self.finish == "length":
            # Half a JSON text is an output that does not fit; half a text would pass for a whole.
            kind = ErrorType.INVALID_OUTPUT if has_schema else ErrorType.MODEL_ERROR
            raise TaskError(kind, "the answer was cut off at the token limit; raise `max_tokens`")


def read(completion: ChatCompletion) -> Reply:
    """Read a whole answer."""
    # The SDK gives text where a server sent no JSON, and does not check what it parses.
    choices = getattr(completion, "choices", None)
    if not choices or choices[0].message is None:
        raise TaskError(ErrorType.SERVER_ERROR, _NO_COMPLETION)
    choice = completion.choices[0]
    message = choice.message
    return Reply(
        id=completion.id,
        text=message.content,
        refusal=getattr(message, "refusal", None),
        tool_calls=[call.model_dump(exclude_none=True) for call in message.tool_calls or ()],
        finish=choice.finish_reason,
        usage=_usage(completion.usage),
    )


async def collect(stream: AsyncStream[ChatCompletionChunk], tell: Callable[[str], None]) -> Reply:
    """Put a stream together, and tell of its text as it comes."""
    reply = Reply()
    text, refusal = list[str](), list[str]()
    calls = dict[int, Message]()
    begun = False
    async with stream:
        async for chunk in stream:
            begun = True
            reply.id = reply.id or getattr(chunk, "id", None)
            reply.usage = _usage(getattr(chunk, "usage", None)) or reply.usage
            for choice in getattr(chunk, "choices", None) or ():
                delta = choice.delta
                if delta.content:
                    text.append(delta.content)
                    tell(delta.content)
                if delta.refusal:
                    refusal.append(delta.refusal)
                for piece in delta.tool_calls or ():
                    _add_piece(calls, piece)
                reply.finish = choice.finish_reason or reply.finish
    if not begun:
        raise TaskError(ErrorType.SERVER_ERROR, _NO_COMPLETION)
    if reply.finish is None:
        raise TaskError(ErrorType.CONNECTION, "the model's answer broke off in the midst")
    reply.text = "".join(text) or None
    reply.refusal = "".join(refusal) or None
    reply.tool_calls = [calls[index] for index in sorted(calls)]
    return reply


def _add_piece(calls: dict[int, Message], piece: Any) -> None:
    """Add a piece of a tool call to the call it belongs to."""
    empty: Message = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    whole = calls.setdefault(piece.index, empty)
    whole["id"] = piece.id or whole["id"]
    if piece.function is not None:
        whole["function"]["name"] += piece.function.name or ""
        whole["function"]["arguments"] += piece.function.arguments or ""


def _usage(usage: Any) -> Usage | None:
    """Read what a call used; the cost, where the provider tells it (OpenRouter does)."""
    if usage is None:
        return None
    cost = getattr(usage, "cost", None)
    return Usage(
        model_calls=1,
        input_tokens=usage.prompt_tokens or 0,
        output_tokens=usage.completion_tokens or 0,
        cost=float(cost) if isinstance(cost, int | float) else None,
    )
