"""The model of one agent in one attempt: CrewAI's OpenAI provider, with the calls in our own hands.

What CrewAI's provider would do beyond one HTTP call per question is left out: its retries of
throttled calls, its second tries with other parameters or another API, its two clients with a TLS
context each, and its log of errors on the console.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from openai import AsyncOpenAI
from pydantic import PrivateAttr

from talea.adapter import AgentTool
from talea.delegation import HEADER
from talea.events import Usage
from talea_crewai.clients import Clients
from talea_crewai.conversation import Conversation, Over, show_braces
from talea_crewai.framework import LLMCallType, OpenAICompletion, llm_call_context
from talea_crewai.reply import Message, Reply, collect, read

_UNLIMITED = 1_000_000_000
"""Tokens: CrewAI puts what is large beside it into files, or has it summarised by more calls."""


class Model(OpenAICompletion):
    """CrewAI's OpenAI provider for one attempt: asynchronous calls on the run's own connections."""

    _conversation: Conversation = PrivateAttr()

    @classmethod
    def of(cls, conversation: Conversation) -> Model:
        """Make the model of an attempt."""
        call = conversation.call
        endpoint = call.endpoint
        model = cls(
            model=endpoint.model,
            provider=endpoint.provider,
            api_key="kept by the client",
            base_url=endpoint.base_url,
            max_retries=0,
            custom_openai=endpoint.base_url is not None,
            stream=call.streams,
            additional_params=_parameters(conversation),
        )
        model._conversation = conversation
        clients: Clients = call.session
        model._async_client = clients.client(endpoint)
        return model

    def call(self, messages: Any, tools: Any = None, *args: Any, **more: Any) -> Any:
        """Ask the model from CrewAI's thread; the call itself is made on the event loop."""
        conversation = self._conversation
        return conversation.await_result(self.acall(messages, tools, *args, **more))

    async def acall(  # noqa: PLR0917 - the framework's own signature
        self,
        messages: str | list[Any],
        tools: list[Any] | None = None,
        callbacks: list[Any] | None = None,
        available_functions: dict[str, Any] | None = None,
        from_task: Any = None,
        from_agent: Any = None,
        response_model: Any = None,
    ) -> Any:
        """Ask the model: a text is the agent's answer, a list the tool calls it wants."""
        conversation = self._conversation
        if conversation.is_over:
            raise Over("the attempt is over")
        with llm_call_context():
            self._emit_call_started_event(
                messages, tools, from_task=from_task, from_agent=from_agent
            )
            try:
                reply = await self._converse(self._format_messages(messages), tools or ())
            except Exception as error:
                words = f"the model call failed: {type(error).__name__}"
                self._emit_call_failed_event(words, from_task, from_agent)
                raise
            given = self._for_crew(reply)
            self._emit_call_completed_event(
                given,
                LLMCallType.TOOL_CALL if reply.tool_calls else LLMCallType.LLM_CALL,
                from_task,
                from_agent,
                messages,
                _usage_for_crew(reply.usage),
                reply.finish,
                reply.id,
            )
        return given

    async def _converse(self, messages: Sequence[Any], tools: Sequence[Message]) -> Reply:
        """Have the model answer; go on where it calls tools though it has been given none."""
        conversation = self._conversation
        call = conversation.call
        said = conversation.messages_for_model(messages)
        to_delegate = [*_to_delegate(conversation, tools)]
        while True:
            reply = conversation.reply = await self._ask(said, to_delegate)
            said.append(reply.message())
            conversation.history = said
            if not reply.tool_calls or call.tools:
                return reply
            for asked in reply.tool_calls:
                text = await conversation.answer_tool_call(asked)
                said.append({"role": "tool", "tool_call_id": asked["id"], "content": text})

    async def _ask(self, said: list[Message], to_delegate: list[Message]) -> Reply:
        """Make one model call."""
        conversation = self._conversation
        call = conversation.call
        # What CrewAI offers itself is worded by CrewAI, to the last word.
        params = self._prepare_completion_params(cast("Any", said), to_delegate or None)
        if call.tools:
            own = map(_offer, conversation.own_tools)
            params["tools"] = [*own, *params.get("tools", ())]
        if conversation.wording is not None and call.endpoint.is_gateway:
            params["extra_headers"] = {HEADER: conversation.wording.dumps()}
        client: AsyncOpenAI = self._get_async_client()
        await call.begin_turn()
        create = cast("Any", client.chat.completions.create)
        answered = await create(**params)
        reply = await collect(answered, call.stream_text) if call.streams else read(answered)
        call.end_turn(reply.usage)
        self._track_token_usage_internal(_usage_for_crew(reply.usage))
        if not reply.refusal:
            reply.check_finished(has_schema=conversation.wanted is not None)
        return reply

    def _for_crew(self, reply: Reply) -> Any:
        """Give a reply as CrewAI's loop reads it."""
        conversation = self._conversation
        if reply.refusal:
            reply.tool_calls = []
        if reply.tool_calls:
            return conversation.tool_calls_for_crew(reply)
        # Without tools CrewAI looks for its own format of a thought and an action, in any text.
        return reply.text or "" if conversation.call.tools else f"Final Answer: {reply.text or ''}"

    def _build_sync_client(self) -> Any:
        """Make none: no call is made on CrewAI's thread."""

    def _build_async_client(self) -> Any:
        """Make none: it comes from the run's session."""

    def supports_function_calling(self) -> bool:
        """Say yes: tools are always offered as such, and never described in the prompt."""
        return True

    def supports_stop_words(self) -> bool:
        """Say no: an answer may hold the word that CrewAI stops at."""
        return False

    def get_input_tokens_count(self, *args: Any, **more: Any) -> int:
        """Count nothing, since nothing depends on it."""
        return 0

    def get_context_window_size(self) -> int:
        """Give a size that nothing reaches."""
        return _UNLIMITED


def _parameters(conversation: Conversation) -> dict[str, Any]:
    """Give what goes with every request of an attempt."""
    found: dict[str, Any] = {}
    if conversation.wanted is not None:
        found["response_format"] = conversation.wanted.as_json()
    parameters: Mapping[str, Any] = conversation.call.endpoint.parameters
    if parameters:
        found["extra_body"] = dict(parameters)
    return found


def _offer(tool: AgentTool) -> dict[str, Any]:
    """Offer a tool with the schema it declares; CrewAI's own way would require every argument."""
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}


def _to_delegate(conversation: Conversation, tools: Sequence[Message]) -> Iterator[Message]:
    """Give CrewAI's own tools of a manager."""
    wording = conversation.wording
    for tool in tools if wording is not None else ():
        function = tool["function"]
        if wording is not None and function["name"] in wording.tools:
            words = show_braces(function["description"])
            yield {**tool, "function": {**function, "description": words}}


def _usage_for_crew(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        return {"total_tokens": 0}
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


class Mute(OpenAICompletion):
    """The model of an agent that only stands for its fresh copies: it is never asked."""

    @classmethod
    def of(cls, name: str) -> Mute:
        """Make the stand-in for a model of that name."""
        return cls(model=name, api_key="none")

    def call(self, *args: Any, **more: Any) -> Any:
        """Refuse."""
        raise Over("this agent stands for the fresh ones that answer in its place")

    def count(self, model: Any) -> None:
        """Count what another model has used as its own."""
        if isinstance(model, OpenAICompletion):
            for name, used in model._token_usage.items():
                self._token_usage[name] = self._token_usage.get(name, 0) + used

    def _build_sync_client(self) -> Any:
        """Make none."""

    def _build_async_client(self) -> Any:
        """Make none."""
