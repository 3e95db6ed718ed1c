"""LangChain's client of OpenAI-compatible servers, with what a stream of it leaves out."""

from __future__ import annotations

from typing import Any

from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI


class ChatModel(ChatOpenAI):
    """ChatOpenAI that keeps a refusal in a stream, as it does in a whole answer."""

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: Any
    ) -> ChatGenerationChunk | None:
        plain: Any = super()
        found: ChatGenerationChunk | None = plain._convert_chunk_to_generation_chunk(  # noqa: SLF001
            chunk, default_chunk_class, base_generation_info
        )
        choices: list[dict[str, Any]] = chunk.get("choices") or []
        delta: dict[str, Any] = (choices[0].get("delta") or {}) if choices else {}
        refusal = delta.get("refusal")
        if found is not None and refusal:
            found.message.additional_kwargs["refusal"] = refusal
        return found
