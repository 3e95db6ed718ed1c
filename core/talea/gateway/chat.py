"""One model call as it is asked: OpenAI's chat request, whose call it is, and a refusal of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from talea.delegation import Wording

CHAT, RESPONSES = "chat/completions", "responses"
"""The forms of a call: the ends of their paths."""
NO_RETRY = {"x-should-retry": "false"}
"""The header by which OpenAI's clients are told not to send a request again."""


class Rejection(Exception):
    """An error answer: its HTTP `status`, a `code` for programs and a message for people."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] = NO_RETRY
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


class Lenient(BaseModel):
    """A part of a request: what the gateway reads is checked, all else is let through."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Message(Lenient):
    """One message of the conversation."""

    role: str
    content: JsonValue = None

    @property
    def text(self) -> str:
        """The message's text; the texts of its parts where it has several."""
        if isinstance(self.content, list):
            parts = [part.get("text") for part in self.content if isinstance(part, dict)]
            return "\n".join(part for part in parts if isinstance(part, str))
        return self.content if isinstance(self.content, str) else ""


class Function(Lenient):
    """The function behind an offered tool."""

    name: str
    parameters: JsonValue = None
    """A JSON Schema of its arguments."""


class OfferedTool(Lenient):
    """A tool that the model may call; only functions have a name that is read here."""

    function: Function | None = None


class NamedSchema(Lenient):
    """A JSON Schema with the name that the client gave it."""

    schema_: dict[str, JsonValue] | bool = Field(default=True, alias="schema")


class ResponseFormat(Lenient):
    """What the answer has to look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class StreamOptions(Lenient):
    """What a stream carries besides the answer."""

    include_usage: bool = False


class ChatRequest(Lenient):
    """The body of `POST chat/completions`; what no answer depends on is kept as it came."""

    model_config = ConfigDict(extra="allow", frozen=True)

    model: str
    messages: tuple[Message, ...] = Field(min_length=1)
    tools: tuple[OfferedTool, ...] | None = None
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None

    @property
    def prompt_characters(self) -> int:
        """How many characters of text the messages hold."""
        return sum(len(message.text) for message in self.messages)

    @property
    def tool_names(self) -> tuple[str, ...]:
        """The functions that the model may call."""
        return tuple(tool.function.name for tool in self.tools or () if tool.function)

    @property
    def include_usage(self) -> bool:
        """Say whether a stream ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage


def read_chat(body: bytes) -> ChatRequest:
    """Read the body of `POST chat/completions`; raises Rejection for what is none."""
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None


def invalid(error: ValidationError) -> Rejection:
    """Say the first thing that is wrong with a request."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    message = f"{place}: {first['msg']}" if place else first["msg"]
    return Rejection(400, "invalid_request", message)


@dataclass(slots=True, frozen=True)
class Call:
    """A model call: which run's, at which task address, of which agent, and what it asks.

    `turn` counts from 1 for each run, address and agent. `form` is the API that it speaks, and
    `body` the request as it came. `wording` says how the framework that asks delegates, where it
    has words of its own.
    """

    run: str | None
    address: str
    agent: str
    turn: int
    request: ChatRequest
    form: str = CHAT
    body: bytes = b""
    wording: Wording | None = None
