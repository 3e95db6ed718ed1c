"""One agent, as one would build it on LangChain: create_agent, with tools and a response format.

An agent is built once for each set of tools. Who it is, which model it asks and whose tools it
calls is handed to it as its runtime context, for each call anew.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from langchain.agents import create_agent  # pyright: ignore[reportUnknownVariableType]
from langchain.agents.middleware import AgentMiddleware
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatResult
from langchain_core.tools import StructuredTool
from langgraph.runtime import get_runtime

from talea.adapter import AgentAnswer, AgentCall, AgentTool
from talea.errors import ErrorType, TaskError
from talea.events import Usage
from talea.opening import opening
from talea.response_format import ResponseFormat
from talea_langgraph.clients import Clients
from talea_langgraph.model import ARGUMENTS

_UNREADABLE = "unreadable arguments"
"""Stands for arguments that are no JSON object, with their text."""
_Offer = tuple[str, str, str]
"""A tool's name, description and parameters, the last as JSON text."""


@dataclass(slots=True)
class Answering:
    """One call of an agent, as its runtime context."""

    call: AgentCall
    model: BaseChatModel
    system: SystemMessage | None
    settings: Mapping[str, Any]
    tools: Mapping[str, AgentTool]
    turns: int = 0
    refusal: str | None = None


async def answer(call: AgentCall) -> AgentAnswer:
    """Let an agent answer. Raises `TaskError`, or the model client's own error."""
    clients: Clients = call.session
    wanted = None if call.schema is None else ResponseFormat.of(call.schema)
    model = clients.model(call.endpoint, streams=call.streams)
    system, opening = _opening(call)
    # By the request's own parameter, as a provider's structured output is asked for. LangChain's
    # ProviderStrategy sends the same, but makes every tool strict, which is to change its schema,
    # and raises on an answer that does not fit, where the kernel wants to see it.
    settings = {} if wanted is None else {"extra_body": _body(call, wanted)}
    agent = _agent(tuple(_offer(tool) for tool in call.tools))
    messages: list[BaseMessage] = opening if call.conversation is None else [*call.conversation]
    if call.feedback is not None:
        messages.append(HumanMessage(call.feedback))
    answering = Answering(call, model, system, settings, {tool.name: tool for tool in call.tools})
    config: dict[str, Any] = {"recursion_limit": 2 * call.max_turns + 5}
    if call.streams:
        config["callbacks"] = [_Ear(call)]
    found = await agent.ainvoke({"messages": messages}, config, context=answering)
    if answering.refusal is not None:
        return AgentAnswer(output=None, refusal=answering.refusal)
    conversation: list[BaseMessage] = found["messages"]
    text = str(conversation[-1].text)  # A plain text, not LangChain's own kind of one.
    return AgentAnswer(wanted.read(text) if wanted else text, conversation=conversation)


def _body(call: AgentCall, wanted: ResponseFormat) -> dict[str, Any]:
    return {**call.endpoint.parameters, "response_format": wanted.as_json()}


def _opening(call: AgentCall) -> tuple[SystemMessage | None, list[BaseMessage]]:
    """Begin a conversation: who the agent is, and what it is asked."""
    system, asked = opening(call)
    return SystemMessage(system) if system else None, [HumanMessage(asked)]


# The agent, built once


def _offer(tool: AgentTool) -> _Offer:
    return tool.name, tool.description, json.dumps(tool.parameters)


@lru_cache(maxsize=256)
def _agent(offers: tuple[_Offer, ...]) -> Any:
    """Build the agent that has these tools. It saves nothing: prompts are no graph's state."""
    tools = [
        StructuredTool(
            name=name,
            description=description,
            args_schema=json.loads(parameters),
            coroutine=_not_called,
        )
        for name, description, parameters in offers
    ]
    return create_agent(
        _ModelAtHand(tools=tools),
        tools,
        middleware=[_ToolsAtHand()] if tools else [],
        context_schema=cast("Any", Answering),
        checkpointer=cast("Any", False),
    )


async def _not_called(**_: Any) -> str:
    raise NotImplementedError  # `_ToolsAtHand` calls the tool of the task at hand.


class _ModelAtHand(BaseChatModel):
    """Stands for the model of the call at hand, and counts its turns.

    A middleware could choose the model, but LangChain sends each call of one through two threads.
    """

    tools: list[Any]

    @property
    def _llm_type(self) -> str:
        return "talea"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError  # The model at hand does.

    def bind(self, **_: Any) -> Any:
        """Stay unbound: what is asked for is known at the call."""
        return self

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        """Stay unbound."""
        return self

    async def ainvoke(self, input: Any, config: Any = None, **_: Any) -> AIMessage:
        """Make one model call."""
        at: Answering = get_runtime(Answering).context
        await at.call.begin_turn()
        at.turns += 1
        model = at.model.bind_tools(self.tools) if self.tools else at.model
        messages = input if at.system is None else [at.system, *input]
        said = await model.ainvoke(messages, config, **at.settings)
        at.call.end_turn(_usage(said))
        at.refusal = said.additional_kwargs.get("refusal") or None
        if at.refusal is not None:
            return AIMessage("")
        _check_finished(said, at)
        if said.invalid_tool_calls or ARGUMENTS in said.additional_kwargs:
            said = _with_unreadable(said)
        if said.tool_calls and at.turns >= at.call.max_turns:
            raise TaskError(
                ErrorType.TURNS_EXHAUSTED,
                f"max_turns is {at.call.max_turns}, and the last answer still calls tools",
            )
        return said


class _ToolsAtHand(AgentMiddleware[Any, Any, Any]):
    """Calls the tools of the call at hand."""

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Call one tool; what goes wrong with it is told to the model."""
        at: Answering = request.runtime.context
        wanted = request.tool_call
        tool = at.tools.get(wanted["name"])
        if tool is None:
            content = at.call.unknown_tool(wanted["name"])
        else:
            arguments = wanted["args"]
            content = await tool.call(arguments.get(_UNREADABLE, arguments))
        return ToolMessage(content, tool_call_id=wanted["id"], name=wanted["name"])


class _Ear(AsyncCallbackHandler):
    """Passes pieces of text on as they come."""

    run_inline = True

    def __init__(self, call: AgentCall) -> None:
        self._call = call

    async def on_llm_new_token(self, token: Any, **_: Any) -> None:
        """Hear a piece."""
        if isinstance(token, str) and token:
            self._call.stream_text(token)


def _usage(message: AIMessage) -> Usage | None:
    """Read what a call used; the cost, where the provider tells it (OpenRouter does)."""
    used = message.usage_metadata
    if used is None:
        return None
    told: Mapping[str, Any] = message.response_metadata.get("token_usage") or {}
    cost = told.get("cost")
    return Usage(
        model_calls=1,
        input_tokens=used["input_tokens"],
        output_tokens=used["output_tokens"],
        cost=float(cost) if isinstance(cost, int | float) else None,
    )


def _check_finished(message: AIMessage, at: Answering) -> None:
    """Refuse an answer that the model did not bring to its end."""
    finish = message.response_metadata.get("finish_reason")
    if finish == "content_filter":
        raise TaskError(ErrorType.REFUSED, "the model's content filter stopped the answer")
    if finish == "length":
        # Half a JSON text is an output that does not fit; half a text would pass for a whole one.
        kind = ErrorType.INVALID_OUTPUT if at.call.schema is not None else ErrorType.MODEL_ERROR
        raise TaskError(kind, "the answer was cut off at the token limit; raise `max_tokens`")
    if finish is None and at.call.streams:
        raise TaskError(ErrorType.CONNECTION, "the model's answer broke off in the midst")


def _with_unreadable(message: AIMessage) -> AIMessage:
    """Count a call whose arguments cannot be read among the calls: it is to be answered as well."""
    streamed: Mapping[str, Any] = message.additional_kwargs.pop(ARGUMENTS, {})
    texts = {one["id"]: one["text"] for one in streamed.values()}
    calls: list[Any] = [
        {**call, "args": {_UNREADABLE: texts[call["id"]]}}
        if call["id"] in texts and not _is_json(texts[call["id"]])
        else call
        for call in message.tool_calls
    ]
    calls += (
        {
            "name": call["name"] or "",
            "args": {_UNREADABLE: texts.get(call["id"], call["args"] or "")},
            "id": call["id"],
            "type": "tool_call",
        }
        for call in message.invalid_tool_calls
    )
    return message.model_copy(update={"tool_calls": calls, "invalid_tool_calls": []})


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
