"""LangChain's client of OpenAI-compatible servers, with what it leaves out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI

from talea.errors import ErrorType, TaskError

_NO_COMPLETION = "the model's server sent no chat completion"
ARGUMENTS = "talea_arguments"
"""Where a streamed message keeps the text of its calls' arguments, by place, and their ids."""


class ChatModel(ChatOpenAI):
    """ChatOpenAI that says whose fault an unreadable answer is, and keeps all that is streamed.

    Of a stream it would drop a refusal and the cost, and repair arguments that are no JSON.
    """

    def _create_chat_result(self, response: Any, generation_info: Any = None) -> ChatResult:
        plain: Any = super()
        try:
            result: ChatResult = plain._create_chat_result(response, generation_info)  # noqa: SLF001
            _ = result.generations[0].message
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise TaskError(ErrorType.SERVER_ERROR, _NO_COMPLETION) from error
        return result

    async def _astream(self, *args: Any, **more: Any) -> AsyncIterator[ChatGenerationChunk]:
        """Stream; what ends in order without a single chunk was no answer of a model's."""
        begun = False
        async for chunk in super()._astream(*args, **more):
            begun = True
            yield chunk
        if not begun:
            raise TaskError(ErrorType.SERVER_ERROR, _NO_COMPLETION)

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: Any
    ) -> ChatGenerationChunk | None:
        plain: Any = super()
        found: ChatGenerationChunk | None = plain._convert_chunk_to_generation_chunk(  # noqa: SLF001
            chunk, default_chunk_class, base_generation_info
        )
        if found is None:
            return None
        choices: list[Any] = chunk.get("choices") or []
        delta: Any = (choices[0].get("delta") or {}) if choices else {}
        kept = found.message.additional_kwargs
        if refusal := delta.get("refusal"):
            kept["refusal"] = refusal
        if calls := delta.get("tool_calls"):
            kept[ARGUMENTS] = _pieces(calls)
        usage: Any = chunk.get("usage") or {}
        if (cost := usage.get("cost")) is not None:
            found.message.response_metadata["token_usage"] = {"cost": cost}
        return found


def _pieces(calls: list[Any]) -> dict[str, dict[str, str]]:
    """Give the text of each call in a piece; LangChain joins the texts of all pieces."""
    found: dict[str, dict[str, str]] = {}
    for call in calls:
        function: Any = call.get("function") or {}
        text = function.get("arguments") or ""
        found[str(call.get("index"))] = {"id": call.get("id") or "", "text": text}
    return found
