"""One agent: a fresh CrewAI `Agent` carries out a CrewAI `Task`, once for each attempt.

A manager's task is the only one of a hierarchical CrewAI `Crew`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr

from talea.adapter import AgentAnswer, AgentCall, AgentTool
from talea.response_format import ResponseFormat
from talea_crewai.clients import places
from talea_crewai.conversation import CALL_ID, UNKNOWN, Conversation, handed_on, hide_braces
from talea_crewai.framework import BaseTool, quiet
from talea_crewai.fresh import FreshAgent, Step
from talea_crewai.hierarchy import Manager, lead, wording_of
from talea_crewai.model import Model
from talea_crewai.shown import texts

_DIVIDER = "\n\n----------\n\n"
"""What CrewAI puts between the outputs of earlier tasks."""


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="allow")
    talea_call: str


class _Tool(BaseTool):
    """A tool in CrewAI's hands: it hops onto the event loop, where the kernel carries it out."""

    args_schema: type[BaseModel] = _Arguments
    _conversation: Conversation = PrivateAttr()

    @classmethod
    def of(cls, name: str, description: str, conversation: Conversation) -> _Tool:
        tool = cls(name=name, description=description)
        tool._conversation = conversation
        return tool

    def _run(self, **arguments: Any) -> str:
        conversation = self._conversation
        return conversation.await_result(conversation.call_tool(arguments[CALL_ID]))


async def answer(
    call: AgentCall, step: Step | None = None, count: Callable[[Model], None] | None = None
) -> AgentAnswer:
    """Let an agent answer. `step` is the task of a crew, where it belongs to one; `count` is told
    of the model once it has been used.

    Raises `TaskError`, or the model client's own error.
    """
    wanted = None if call.schema is None else ResponseFormat.of(call.schema)
    piece = handed_on.get()
    depth = 0 if piece is None else piece.depth
    conversation = Conversation(call, wanted, wording_of(call), depth)
    if piece is not None and piece.whole != call.prompt:
        piece = None  # It was for another one, who has handed over.
    own = step or Step(name=call.address, description="-", expected_output="-")
    own.fill(call, piece)
    context = _DIVIDER.join(text for _, text in call.context) if piece is None else piece.context
    shown = hide_braces(context) or None
    broken: Exception | None = None
    model = Model.of(conversation)
    async with places(depth):
        try:
            with quiet():
                agent, tools = _agent(conversation, model), _tools(conversation)
                if isinstance(agent, Manager):
                    await lead(agent, own, shown, tools, has_crew=step is not None)
                else:
                    await own.attempt(agent, shown, tools)
        except Exception as error:
            broken = error
        finally:
            await conversation.close()
            if count is not None:
                count(model)
    reply = conversation.result(broken)
    if reply.refusal:
        return AgentAnswer(output=None, refusal=reply.refusal)
    text = reply.text
    if wanted is not None and text is not None:
        text = wanted.read(text)
    return AgentAnswer(output=text, conversation=conversation.history)


def _agent(conversation: Conversation, model: Model) -> FreshAgent:
    call = conversation.call
    kind = Manager if call.members else FreshAgent
    agent = kind(
        **texts(call.name, call.agent),
        llm=model,
        # The kernel counts turns, and ends the attempt before CrewAI asks for a last answer.
        max_iter=call.max_turns + 1,
        max_retry_limit=0,
        allow_delegation=False,
        cache=False,
        respect_context_window=False,
        verbose=False,
    )
    if isinstance(agent, Manager):
        agent.follow(conversation)
    return agent


def _tools(conversation: Conversation) -> list[BaseTool]:
    """Give an agent's tools under names that CrewAI leaves alone, and one for those made up.

    A manager's `delegate` is not among them: CrewAI has its own.
    """
    offered: Sequence[AgentTool] = conversation.own_tools
    if not conversation.call.tools:
        return []
    names = (
        {} if conversation.wording is None else {name: name for name in conversation.wording.tools}
    )
    taken = {UNKNOWN, *names}
    for tool in offered:
        plain = re.sub(r"[^a-z0-9]+", "_", tool.name.lower()).strip("_") or "tool"
        while plain in taken:
            plain += "_x"
        names[tool.name] = plain
        taken.add(plain)
    conversation.name_tools(names)
    tools = [_Tool.of(names[tool.name], tool.description, conversation) for tool in offered]
    return [*tools, _Tool.of(UNKNOWN, "Stands for tools that do not exist.", conversation)]
