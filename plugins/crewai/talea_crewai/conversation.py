"""What one agent says and hears in one attempt, whichever of CrewAI's objects it passes through.

CrewAI's loop runs on a thread and asks its model and its tools by blocking calls. Both come back
here, onto the run's event loop: so a model call is an asyncio task that a cancellation really ends,
and the kernel hears of every turn. How the attempt ended is read here too, since CrewAI's loop
turns exhausted turns, refusals and failures into ordinary answers.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from talea.adapter import AgentCall, AgentTool
from talea.delegation import Wording
from talea.errors import ErrorType, TaskError
from talea.response_format import ResponseFormat
from talea_crewai.reply import Message, Reply

CALL_ID = "talea_call"
"""The argument by which a tool finds what the model really sent."""
_BRACE = "\ufdd0"
"""Stands for `{` in texts inside CrewAI, which takes some `{words}` for placeholders. It is a
Unicode noncharacter: no text that is meant to be exchanged holds it."""

T = TypeVar("T")


@dataclass(slots=True, frozen=True)
class Piece:
    """A piece of work as a manager worded it: CrewAI gives a member its parts in two places."""

    whole: str
    """What the kernel hands on."""
    words: str
    context: str
    depth: int
    """How many managers wait for it."""

    @classmethod
    def of(
        cls, read: dict[str, Any] | str, said: Mapping[str, Any], names: Sequence[str], depth: int
    ) -> Piece | None:
        """Give the piece of work of a call, by what it means and what was said."""
        words, context = (said.get(name, "") for name in names[1:])
        if isinstance(read, str) or not (isinstance(words, str) and isinstance(context, str)):
            return None
        return cls(read["task"], words, context, depth)


handed_on: ContextVar[Piece | None] = ContextVar("talea_crewai_piece", default=None)
"""The piece of work that is being handed to a member, in the context of its manager's call."""


class Over(Exception):
    """The attempt is over; what ended it stands in the conversation.

    Its words and class are such that CrewAI takes it neither for a throttled call, which it would
    make again, nor for a context that is too long, which it would have summarised.
    """


def hide_braces(text: str) -> str:
    """Write a text so that CrewAI finds no placeholder in it."""
    return text.replace("{", _BRACE)


def show_braces(text: str) -> str:
    """Give a text back as it was before `hide_braces`."""
    return text.replace(_BRACE, "{")


@dataclass(slots=True)
class Conversation:
    """One attempt of one agent. All but `await_result` is called on the run's event loop."""

    call: AgentCall
    wanted: ResponseFormat | None
    wording: Wording | None = None
    """How the agent delegates, if it is a manager."""
    depth: int = 0
    """How many managers wait for the agent."""
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    reply: Reply | None = None
    """The last answer of the model; the agent's own if it calls no tools."""
    failure: BaseException | None = None
    """What ended the attempt."""
    history: list[Message] = field(default_factory=list[Message])
    """The conversation as the model has it, its last answer included."""
    input_tokens: int = 0
    output_tokens: int = 0
    _tool_names: dict[str, str] = field(default_factory=dict[str, str])
    """The model's name of a tool → CrewAI's."""
    _asked: dict[str, Message] = field(default_factory=dict[str, Message])
    """Tool calls as the model sent them, by the id that CrewAI knows them by."""
    _begun: dict[str, asyncio.Task[str]] = field(default_factory=dict[str, asyncio.Task[str]])
    """Tool calls that have begun, by the same id."""
    _ids: itertools.count[int] = field(default_factory=itertools.count)
    _opening: int | None = None
    _running: set[asyncio.Task[Any]] = field(default_factory=set[asyncio.Task[Any]])
    _closed: bool = False

    @property
    def is_over(self) -> bool:
        """Say whether there is nothing more to be said."""
        ended = self.reply is not None and not self.reply.tool_calls
        return self._closed or self.failure is not None or ended

    @property
    def own_tools(self) -> Sequence[AgentTool]:
        """The agent's tools that CrewAI has none of its own for."""
        tools = self.call.tools
        return tools if self.wording is None else tools[:-1]

    def name_tools(self, names: Mapping[str, str]) -> None:
        """Learn under which names CrewAI has the agent's tools."""
        self._tool_names = dict(names)

    # Between CrewAI's thread and the event loop ----------------------------------------------

    def await_result(self, work: Coroutine[Any, Any, T]) -> T:
        """Have something done on the event loop, and wait for it on CrewAI's thread.

        Raises `Over` once the attempt is over, so that CrewAI's loop comes to its end.
        """
        if not self._closed:
            waiting = asyncio.run_coroutine_threadsafe(self._kept(work), self.loop)
            try:
                return waiting.result()
            except Exception:
                pass  # It is kept; raised here, CrewAI might make something of it.
        else:
            work.close()
        raise Over("the attempt is over")

    async def _kept(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something that `close` cancels; keep what it raises as the attempt's failure."""
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            if self._closed:
                work.close()
                raise Over("the attempt is over")
            return await work
        except (Over, asyncio.CancelledError):
            raise
        except Exception as error:
            self.failure = self.failure or error
            raise
        finally:
            self._running.discard(task)

    async def close(self) -> None:
        """End the model call and the tools that are running; nothing is begun any more."""
        self._closed = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    # What goes to the model ------------------------------------------------------------------

    def messages_for_model(self, messages: Sequence[Message]) -> list[Message]:
        """Give CrewAI's messages as the model is to see them.

        Its tool calls get back the names, arguments and ids that the model chose. Where an earlier
        answer was refused, the conversation goes on from there in place of a new opening.
        """
        if self._opening is None:
            self._opening = len(messages)
        call = self.call
        if call.conversation is not None:
            opening = [*call.conversation]
        elif call.agent.instructions is not None:
            # The document's own words, in the place of CrewAI's on the role.
            user = [said for said in messages[: self._opening] if said["role"] != "system"]
            opening = [{"role": "system", "content": call.agent.instructions}, *user]
        else:
            opening = list(messages[: self._opening])
        if call.feedback is not None:
            opening.append({"role": "user", "content": call.feedback})
        return [*map(self._as_sent, [*opening, *messages[self._opening :]])]

    def _as_sent(self, message: Message) -> Message:
        message = dict(message)
        content = message.get("content")
        if isinstance(content, str):
            message["content"] = show_braces(content)
        calls: Any = message.get("tool_calls")
        if calls and calls[0]["id"] in self._asked:
            message["tool_calls"] = [self._asked[one["id"]] for one in calls]
        if message["role"] == "tool" and message.get("tool_call_id") in self._asked:
            message.pop("name", None)
            message["tool_call_id"] = self._asked[message["tool_call_id"]]["id"]
        return message

    # What comes back from it -----------------------------------------------------------------

    def tool_calls_for_crew(self, reply: Reply) -> list[Message]:
        """Give a model's tool calls as CrewAI is to carry them out.

        Each carries an id of its own as its argument: by it the tool finds the text that the model
        sent, and CrewAI neither answers a call from its cache nor ends a run for repeating itself.
        """
        given: list[Message] = []
        for asked in reply.tool_calls:
            key = f"call_{next(self._ids)}"
            self._asked[key] = asked
            name = self._tool_names.get(_name(asked), UNKNOWN)
            # CrewAI counts whom a manager delegates to.
            said = self._said(asked) if self._delegates(asked) else {}
            function = {"name": name, "arguments": {**said, CALL_ID: key}}
            given.append({"id": key, "type": "function", "function": function})
        return given

    async def call_tool(self, key: str) -> str:
        """Carry out a tool call of the model's. Raises what `AgentTool.call` raises.

        CrewAI comes for the calls of one answer from a few threads, in no certain order. The first
        that comes begins them all in the model's order, since each may wait for a person.
        """
        if self.failure is not None:
            raise Over("the attempt is over")
        if key not in self._begun:
            for other in [one for one in self._asked if one not in self._begun]:
                begun = asyncio.create_task(self._kept(self.answer_tool_call(self._asked[other])))
                begun.add_done_callback(_hear_out)
                self._begun[other] = begun
        return await self._begun[key]

    async def answer_tool_call(self, asked: Message) -> str:
        """Give the text that answers a tool call."""
        name, arguments = _name(asked), asked["function"]["arguments"]
        if self.wording is not None and self._delegates(asked):
            read = self.wording.read(name, arguments)
            names = self.wording.tools[name]
            handed_on.set(Piece.of(read, self._said(asked), names, self.depth + 1))
            return await self.call.tools[-1].call(read)
        for tool in self.own_tools:
            if tool.name == name:
                return await tool.call(arguments)
        return self.call.unknown_tool(name)

    def _delegates(self, asked: Message) -> bool:
        return self.wording is not None and _name(asked) in self.wording.tools

    def _said(self, asked: Message) -> dict[str, Any]:
        """Give the arguments of a call as the model said them; none that nobody can read."""
        try:
            said = json.loads(asked["function"]["arguments"])
        except (ValueError, RecursionError):
            return {}
        return cast("dict[str, Any]", said) if isinstance(said, dict) else {}

    def result(self, broken: BaseException | None) -> Reply:
        """Give the agent's own answer. Raises what ended the attempt; `broken` is what CrewAI's
        loop itself came to."""
        if self.failure is not None:
            raise self.failure
        if self.reply is not None and not self.reply.tool_calls:
            return self.reply
        if broken is not None and not isinstance(broken, Over):
            raise broken
        raise TaskError(ErrorType.INTERNAL, "CrewAI ended the agent before it had answered")


def _hear_out(task: asyncio.Task[str]) -> None:
    """Take note of how a task ended, also where nobody waits for it any more."""
    if not task.cancelled():
        task.exception()


UNKNOWN = "unknown_tool"
"""CrewAI's name for a tool that the model made up."""


def _name(asked: Message) -> str:
    return (asked.get("function") or {"name": asked["type"]})["name"]
