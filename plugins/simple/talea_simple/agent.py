"""One agent, as one would write it by hand on the openai SDK: ask, call tools, ask again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, cast

from talea.adapter import AgentAnswer, AgentCall, AgentTool, Endpoint
from talea.errors import ErrorType, TaskError
from talea.events import Usage
from talea.opening import opening
from talea.response_format import ResponseFormat
from talea.tools import call_at_once

if TYPE_CHECKING:
    import ssl

    import httpx
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

Message = dict[str, Any]

_LOCAL = ("all://127.0.0.1", "all://localhost", "all://[::1]")
_NO_KEY = "none"
"""Sent where no key is needed: the SDK refuses to work without one."""
_NO_COMPLETION = "the model's server sent no chat completion"


class Clients:
    """The model clients of one run: all on one pool of connections, made when the first asks.

    Redirects are not followed: they would lead prompts to hosts that nobody has allowed. What is on
    this machine is reached directly, whatever proxy the environment names.
    """

    def __init__(self) -> None:
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.aclose()

    @property
    def http(self) -> httpx.AsyncClient:
        """The connections."""
        if self._http is None:
            from openai import DefaultAsyncHttpxClient

            local: dict[str, httpx.AsyncBaseTransport | None] = dict.fromkeys(_LOCAL)
            self._http = DefaultAsyncHttpxClient(
                verify=_tls_context(), follow_redirects=False, mounts=local
            )
        return self._http

    def client(self, endpoint: Endpoint) -> AsyncOpenAI:
        """Make a client for one endpoint (0.05 ms, on connections that are there)."""
        from openai import AsyncOpenAI

        client = AsyncOpenAI(
            api_key=endpoint.key() or _NO_KEY,
            base_url=endpoint.base_url,
            max_retries=0,  # The kernel retries.
            http_client=self.http,
        )
        # The SDK takes these from OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS, and
        # would send them to any host; the last has no public name.
        client.organization = client.project = None
        client._custom_headers = dict(endpoint.headers)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        return client


@cache
def _tls_context() -> ssl.SSLContext:
    """Make the TLS context once in a process: it takes 25 ms, and a client that has it 0.1.

    It is that of the SDK's own HTTP library: httpx, or httpx2 from openai 3 on.
    """
    from openai import DefaultAsyncHttpxClient

    base = next(one for one in DefaultAsyncHttpxClient.__mro__ if one.__name__ == "AsyncClient")
    return import_module(base.__module__.partition(".")[0]).create_ssl_context()


async def answer(call: AgentCall) -> AgentAnswer:
    """Let an agent answer. Raises `TaskError`, or the openai client's own error."""
    clients: Clients = call.session
    client = clients.client(call.endpoint)
    wanted = None if call.schema is None else ResponseFormat.of(call.schema)
    request = _request(call, wanted)
    messages: list[Message] = _opening(call) if call.conversation is None else [*call.conversation]
    if call.feedback is not None:
        messages.append({"role": "user", "content": call.feedback})
    tools = {tool.name: tool for tool in call.tools}
    for turn in range(call.max_turns):
        await call.begin_turn()
        reply = await _ask(call, client, {**request, "messages": messages})
        call.end_turn(reply.usage)
        if reply.refusal:
            return AgentAnswer(output=None, refusal=reply.refusal)
        _check_finished(reply, has_schema=wanted is not None)
        messages.append(reply.message())
        if not reply.tool_calls:
            text = reply.text if wanted is None or reply.text is None else wanted.read(reply.text)
            return AgentAnswer(output=text, conversation=messages)
        if turn + 1 < call.max_turns:
            messages += await _call_tools(call, tools, reply.tool_calls)
    raise TaskError(
        ErrorType.TURNS_EXHAUSTED,
        f"max_turns is {call.max_turns}, and the last answer still calls tools",
    )


def _request(call: AgentCall, wanted: ResponseFormat | None) -> dict[str, Any]:
    """Give what is the same in all turns."""
    request: dict[str, Any] = {"model": call.endpoint.model}
    if call.tools:
        request["tools"] = [_offer(tool) for tool in call.tools]
    if wanted is not None:
        request["response_format"] = wanted.as_json()
    if call.streams:
        request["stream"] = True
        request["stream_options"] = {"include_usage": True}
    if call.endpoint.parameters:
        request["extra_body"] = dict(call.endpoint.parameters)
    return request


def _offer(tool: AgentTool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}


def _opening(call: AgentCall) -> list[Message]:
    """Begin a conversation: who the agent is, and what it is asked."""
    system, asked = opening(call)
    user: Message = {"role": "user", "content": asked}
    return [{"role": "system", "content": system}, user] if system else [user]


@dataclass(slots=True)
class _Reply:
    """What a model answered in one turn, streamed or whole."""

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


async def _ask(call: AgentCall, client: AsyncOpenAI, request: Mapping[str, Any]) -> _Reply:
    """Make one model call."""
    # The SDK's overloads tell a stream by literal arguments, which a request built before is not.
    create = cast("Any", client.chat.completions.create)
    answered = await create(**request)
    return await _collect(call, answered) if call.streams else _read(answered)


def _read(completion: ChatCompletion) -> _Reply:
    # The SDK gives text where a server sent no JSON, and does not check what it parses.
    choices = getattr(completion, "choices", None)
    if not choices or choices[0].message is None:
        raise TaskError(ErrorType.SERVER_ERROR, _NO_COMPLETION)
    choice = completion.choices[0]
    message = choice.message
    calls = [tool_call.model_dump(exclude_none=True) for tool_call in message.tool_calls or ()]
    return _Reply(
        text=message.content,
        refusal=getattr(message, "refusal", None),
        tool_calls=calls,
        finish=choice.finish_reason,
        usage=_usage(completion.usage),
    )


async def _collect(call: AgentCall, stream: AsyncStream[ChatCompletionChunk]) -> _Reply:
    """Put a stream together, and pass its text on as it comes."""
    reply = _Reply()
    text, refusal = list[str](), list[str]()
    calls = dict[int, Message]()
    begun = False
    async with stream:
        async for chunk in stream:
            begun = True
            reply.usage = _usage(getattr(chunk, "usage", None)) or reply.usage
            for choice in getattr(chunk, "choices", None) or ():
                delta = choice.delta
                if delta.content:
                    text.append(delta.content)
                    call.stream_text(delta.content)
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
    empty: Message = {
        "id": "",
        "type": "function",
        "function": {"name": "", "arguments": ""},
    }
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


def _check_finished(reply: _Reply, *, has_schema: bool) -> None:
    """Refuse an answer that the model did not bring to its end."""
    if reply.finish == "content_filter":
        raise TaskError(ErrorType.REFUSED, "the model's content filter stopped the answer")
    if reply.finish == "length":
        # Half a JSON text is an output that does not fit; half a text would pass for a whole one.
        kind = ErrorType.INVALID_OUTPUT if has_schema else ErrorType.MODEL_ERROR
        raise TaskError(kind, "the answer was cut off at the token limit; raise `max_tokens`")


async def _call_tools(
    call: AgentCall, tools: Mapping[str, AgentTool], wanted: Sequence[Message]
) -> list[Message]:
    """Call tools side by side, and give their answers in the order in which they were called."""
    if len(wanted) == 1:
        return [await _call_tool(call, tools, wanted[0])]
    return await call_at_once(_call_tool(call, tools, one) for one in wanted)


async def _call_tool(call: AgentCall, tools: Mapping[str, AgentTool], wanted: Message) -> Message:
    function = wanted.get("function") or {"name": wanted["type"], "arguments": ""}
    tool = tools.get(function["name"])
    if tool is None:
        content = call.unknown_tool(function["name"])
    else:
        content = await tool.call(function["arguments"])
    return {"role": "tool", "tool_call_id": wanted["id"], "content": content}
