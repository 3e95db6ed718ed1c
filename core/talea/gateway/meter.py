"""What the gateway saw of each call: the one meter that is the same for every framework."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from talea.events import MeteredCall, Usage
from talea.gateway.cassette import Turn
from talea.gateway.chat import Call

Listener = Callable[["Exchange", Turn | None], object]
"""Is told of a call that has ended, and of what was answered, where that is known."""


@dataclass(slots=True)
class Exchange:
    """A call as the gateway saw it: logged as it arrives, completed as it is answered.

    `number` counts a gateway's calls from 1, `turn` those of each run, address and agent. `status`
    is 0 while there is no answer, and stays so if the client leaves first. `fault` names the one
    that was injected, `error` says what else went wrong. `cost` is in US dollars, None where it is
    not known. `began` is in seconds since 1970; `first_byte` and `duration` are seconds from there.
    `prompt` is kept on request alone.
    """

    number: int
    run: str | None
    address: str
    agent: str
    turn: int
    form: str
    model: str
    stream: bool
    user_agent: str
    prompt_characters: int
    tools_offered: tuple[str, ...]
    tools_called: tuple[str, ...] = ()
    status: int = 0
    fault: str | None = None
    error: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    began: float = field(default_factory=time.time)
    first_byte: float | None = None
    duration: float = 0.0
    prompt: Any = None
    _start: float = field(default_factory=time.monotonic, repr=False, compare=False)

    def begin_answer(self) -> None:
        """Note that the first byte of the answer is there."""
        if self.first_byte is None:
            self.first_byte = time.monotonic() - self._start

    def tell(self, turn: Turn) -> None:
        """Note what was answered."""
        self.tools_called = tuple(called.name for called in turn.calls)
        self.input_tokens = turn.usage.input_tokens or 0
        self.output_tokens = turn.usage.output_tokens or 0
        self.cost = turn.usage.cost

    def end(self, status: int) -> None:
        """Complete the record. It comes before the last byte, so that a client finds it whole."""
        self.status = status
        self.duration = time.monotonic() - self._start

    def as_json(self) -> dict[str, Any]:
        """Give the record as JSON data."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("_")}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Exchange:
        """Read what `as_json` gave."""
        tools: dict[str, Any] = {
            name: tuple(data[name]) for name in ("tools_offered", "tools_called")
        }
        return cls(**{**data, **tools})

    def as_metered(self, run_began: float) -> MeteredCall:
        """Give the call as a run's result holds it. `run_began` is in seconds since 1970."""
        return MeteredCall(
            address=self.address,
            agent=self.agent,
            turn=self.turn,
            model=self.model,
            status=self.status,
            usage=Usage(1, self.input_tokens, self.output_tokens, self.cost),
            began=self.began - run_began,
            first_byte=self.first_byte,
            duration=self.duration,
            prompt_characters=self.prompt_characters,
            tools_offered=self.tools_offered,
            tools_called=self.tools_called,
            client=self.user_agent,
            fault=self.fault,
            error=self.error,
        )


class Meter:
    """The log of a gateway, in the order of arrival; it lives in the gateway's own thread."""

    def __init__(self, *, save_prompts: bool = False) -> None:
        self.log: list[Exchange] = []
        self._listeners: list[Listener] = []
        self._save_prompts = save_prompts

    def subscribe(self, listener: Listener) -> None:
        """Have something told of each call that has ended. It must not block."""
        self._listeners.append(listener)

    def begin(self, call: Call, user_agent: str) -> Exchange:
        """Log a call that has arrived."""
        chat = call.request
        exchange = Exchange(
            number=len(self.log) + 1,
            run=call.run,
            address=call.address,
            agent=call.agent,
            turn=call.turn,
            form=call.form,
            model=chat.model,
            stream=bool(chat.stream),
            user_agent=user_agent,
            prompt_characters=chat.prompt_characters,
            tools_offered=chat.tool_names,
        )
        if self._save_prompts:
            exchange.prompt = [message.model_dump(mode="json") for message in chat.messages]
        self.log.append(exchange)
        return exchange

    def end(self, exchange: Exchange, status: int, turn: Turn | None = None) -> None:
        """Complete the record of a call, and tell of it."""
        exchange.end(status)
        for listener in self._listeners:
            listener(exchange, turn)
