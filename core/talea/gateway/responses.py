"""OpenAI's Responses API: a request of its form, and a reply as a response, whole or in events.

What gives the answers knows one kind of request; here this form is read as that, and what it says
besides is kept, because a response repeats it.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, TypeAdapter, ValidationError
from pydantic_core import from_json

from talea.gateway.chat import (
    ChatRequest,
    Function,
    Lenient,
    Message,
    NamedSchema,
    OfferedTool,
    Rejection,
    ResponseFormat,
    invalid,
)
from talea.gateway.reply import Reply, pieces

_REMEMBERED = 10_000
"""Responses that can be continued; of more, the oldest are forgotten."""


class _Format(Lenient):
    """`text.format`: the schema stands beside its name, not within."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    schema_: dict[str, JsonValue] | bool | None = Field(default=None, alias="schema")


class _Text(Lenient):
    format: _Format | None = None


class _Tool(Lenient):
    """A function, or a tool of the provider's own, which has no name that is read here."""

    type: str
    name: str | None = None
    parameters: JsonValue = None


class _Item(Lenient):
    """An item of the conversation: a message, a call, a call's output, or another."""

    type: str = "message"
    role: str | None = None
    content: JsonValue = None
    output: JsonValue = None

    @property
    def message(self) -> Message:
        """The item as chat completions would have it."""
        if self.type == "message":
            return Message(role=self.role or "user", content=self.content)
        if self.type.endswith("_output"):
            return Message(role="tool", content=self.output)
        return Message(role="assistant")


class _Body(Lenient):
    model: str
    input: str | Annotated[tuple[_Item, ...], Field(min_length=1)]
    instructions: str | None = None
    text: _Text | None = None
    tools: tuple[_Tool, ...] | None = None
    stream: bool | None = None
    store: bool | None = None
    background: Literal[False] | None = None
    previous_response_id: str | None = None


class ResponsesRequest(ChatRequest):
    """The body of `POST responses`, as what gives the answers understands it."""

    said: tuple[Message, ...]
    """The conversation without the instructions: those of an earlier response do not go on."""
    given: dict[str, JsonValue]
    """The body as it came."""

    @property
    def instructions(self) -> str | None:
        """What stands above the conversation."""
        text = self.given.get("instructions")
        return text if isinstance(text, str) else None

    @property
    def previous(self) -> str | None:
        """The id of the response that this request goes on from."""
        id = self.given.get("previous_response_id")
        return id if isinstance(id, str) else None

    def after(self, earlier: tuple[Message, ...]) -> ResponsesRequest:
        """Give the request with what was said before it."""
        said = (*earlier, *self.said)
        messages = _with_instructions(self.instructions, said)
        return self.model_copy(update={"said": said, "messages": messages})


_BODY = TypeAdapter(dict[str, JsonValue])


def read_responses(body: bytes) -> ResponsesRequest:
    """Read the body of a request; raises Rejection, of status 400, for what is none."""
    try:
        given = _BODY.validate_python(from_json(body, allow_inf_nan=False))
        read = _Body.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from None
    except ValueError as error:
        raise Rejection(400, "invalid_request", f"the body is no JSON: {error}") from None
    if isinstance(read.input, str):
        said = (Message(role="user", content=read.input),)
    else:
        said = tuple(item.message for item in read.input)
    tools = [OfferedTool(function=_function(tool)) for tool in read.tools or ()]
    return ResponsesRequest(
        model=read.model,
        messages=_with_instructions(read.instructions, said),
        tools=tuple(tools) or None,
        response_format=_response_format(read.text),
        stream=read.stream,
        said=said,
        given=given,
    )


def _with_instructions(instructions: str | None, said: tuple[Message, ...]) -> tuple[Message, ...]:
    return (Message(role="system", content=instructions), *said) if instructions else said


def _function(tool: _Tool) -> Function | None:
    if tool.type != "function" or not tool.name:
        return None
    return Function(name=tool.name, parameters=tool.parameters)


def _response_format(text: _Text | None) -> ResponseFormat | None:
    if text is None or text.format is None:
        return None
    schema = text.format.schema_
    return ResponseFormat(
        type=text.format.type, json_schema=None if schema is None else NamedSchema(schema=schema)
    )


class Conversations:
    """What was said up to each response, so that `previous_response_id` can go on from it.

    A run knows its own responses alone.
    """

    def __init__(self) -> None:
        self._said: OrderedDict[tuple[str | None, str], tuple[Message, ...]] = OrderedDict()

    def recall(self, run: str | None, request: ResponsesRequest) -> ResponsesRequest:
        """Put in front of a request what was said before; raises Rejection if that is unknown."""
        if request.previous is None:
            return request
        earlier = self._said.get((run, request.previous))
        if earlier is None:
            message = (
                f"no response {request.previous!r} was given in this run, or it was not stored"
            )
            raise Rejection(400, "previous_response_not_found", message)
        return request.after(earlier)

    def keep(self, run: str | None, request: ResponsesRequest, reply: Reply) -> None:
        """Remember a response, unless the client said that it is not to be stored."""
        if request.given.get("store") is False:
            return
        answer = Message(role="assistant", content=reply.text)
        self._said[run, _id("resp", reply)] = (*request.said, answer)
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)


_REPEATED: Mapping[str, JsonValue] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, and what stands there if that does not say it."""


def make_response(request: ResponsesRequest, reply: Reply) -> bytes:
    """Give the whole answer."""
    return _encode(_response(request, reply, "completed", _output(reply), _usage(reply)))


def make_events(request: ResponsesRequest, reply: Reply) -> Iterator[bytes]:
    """Give the answer event by event, each as it travels in a stream."""
    for number, event in enumerate(_events(request, reply)):
        yield b"event: %b\ndata: %b\n\n" % (
            event["type"].encode(),
            _encode({**event, "sequence_number": number}),
        )


def _events(request: ResponsesRequest, reply: Reply) -> Iterator[dict[str, Any]]:
    begun = _response(request, reply, "in_progress", [], None)
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    output = _output(reply)
    for index, item in enumerate(output):
        yield from _item_events(index, item)
    whole = _response(request, reply, "completed", output, _usage(reply))
    yield {"type": "response.completed", "response": whole}


def _item_events(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    place = {"output_index": index, "item_id": item["id"]}
    if item["type"] == "function_call":
        begun = {**item, "status": "in_progress", "arguments": ""}
        whole = {**place, "name": item["name"], "arguments": item["arguments"]}
        kind = "response.function_call_arguments"
        inner = _text_events(kind, item["arguments"], place, whole)
    else:
        begun = {**item, "status": "in_progress", "content": list[Any]()}
        inner = _content_events(place, item["content"])
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    yield from inner
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _content_events(
    place: dict[str, Any], content: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for index, part in enumerate(content):
        here = {**place, "content_index": index}
        name, spoken = (
            ("text", here | {"logprobs": list[Any]()}) if "text" in part else ("refusal", here)
        )
        yield {"type": "response.content_part.added", **here, "part": {**part, name: ""}}
        whole = {**spoken, name: part[name]}
        yield from _text_events(f"response.{part['type']}", part[name], spoken, whole)
        yield {"type": "response.content_part.done", **here, "part": part}


def _text_events(
    kind: str, text: str, with_piece: dict[str, Any], with_whole: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for piece in pieces(text):
        yield {"type": f"{kind}.delta", "delta": piece, **with_piece}
    yield {"type": f"{kind}.done", **with_whole}


def _output(reply: Reply) -> list[dict[str, Any]]:
    """Give the items of an answer: its message, then its calls."""
    content: list[dict[str, Any]] = []
    if reply.text is not None:
        content.append(
            {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        )
    if reply.refusal is not None:
        content.append({"type": "refusal", "refusal": reply.refusal})
    message = {
        "id": _id("msg", reply),
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": content,
    }
    calls = [
        {
            "id": f"{_id('fc', reply)}{index}",
            "type": "function_call",
            "status": "completed",
            "call_id": id,
            "name": name,
            "arguments": arguments,
        }
        for index, (id, name, arguments) in enumerate(reply.tool_calls)
    ]
    return [message, *calls] if content else calls


def _response(
    request: ResponsesRequest,
    reply: Reply,
    status: str,
    output: list[dict[str, Any]],
    usage: dict[str, Any] | None,
) -> dict[str, Any]:
    given = {name: value for name, value in request.given.items() if value is not None}
    repeated = {name: given.get(name, usual) for name, usual in _REPEATED.items()}
    if isinstance(text := given.get("text"), dict):
        repeated["text"] = {"format": {"type": "text"}, **text}
    return {
        "id": _id("resp", reply),
        "object": "response",
        "created_at": 0,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": reply.model,
        "output": output,
        "usage": usage,
        **repeated,
    }


def _usage(reply: Reply) -> dict[str, Any]:
    """Give the usage object; a cost stands in it as OpenRouter writes it."""
    counted: dict[str, Any] = {
        "input_tokens": reply.input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": reply.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reply.input_tokens + reply.output_tokens,
    }
    return counted if reply.cost is None else {**counted, "cost": reply.cost}


def _id(kind: str, reply: Reply) -> str:
    """Give an id of OpenAI's form; a reply's own has another kind in front."""
    return f"{kind}_{reply.id.rpartition('-')[2]}"


def _encode(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()
