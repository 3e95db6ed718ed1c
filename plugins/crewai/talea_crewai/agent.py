"""One agent: a fresh CrewAI `Agent` carries out a CrewAI `Task`, once for each attempt.

Fresh, because an agent's executor cannot run twice at once and its retry counter is never reset
(crewai issue 7332), and because usage is exact for a model that nobody shares (issue 7259).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr

from talea.adapter import AgentAnswer, AgentCall, AgentTool
from talea.response_format import ResponseFormat
from talea_crewai.clients import places
from talea_crewai.conversation import CALL_ID, UNKNOWN, Conversation, hide_braces
from talea_crewai.framework import (
    Agent,
    AgentExecutor,
    AgentExecutorState,
    BaseTool,
    Task,
    quiet,
)
from talea_crewai.model import Model

_DIVIDER = "\n\n----------\n\n"
"""What CrewAI puts between the outputs of earlier tasks."""
EXPECTED = "A complete answer."
_GOAL = "Complete the task."


class Step(Task):
    """A task of CrewAI's whose texts stand as they are: no `{word}` in them is a placeholder."""

    def prompt(self) -> str:
        """Give the prompt of description and expected output."""
        return hide_braces(super().prompt())

    async def attempt(self, agent: Agent, context: str | None) -> None:
        """Have an agent carry the task out, CrewAI's own way."""
        await super().aexecute_sync(agent, context, agent.tools)

    def fill(self, call: AgentCall) -> None:
        """Take on what an attempt is asked for."""
        self.description = call.prompt if call.prompt.strip() else "(no words)"
        self.expected_output = call.expected_output or EXPECTED


class _Loop(AgentExecutor):
    """CrewAI's loop of asking the model and calling tools: a flow, whose methods it is made of."""

    @classmethod
    def flow_definition(cls) -> Any:
        """Give the loop's methods, which CrewAI does not look for in what a class inherits."""
        return AgentExecutor.flow_definition()

    def _create_initial_state(self) -> AgentExecutorState:
        """Give the state as it is: CrewAI makes a class for it each time, in a fifth of the whole
        time of an agent, and throws it away."""
        return AgentExecutorState()


class FreshAgent(Agent):
    """An agent of CrewAI's for one attempt."""

    executor_class: Any = _Loop

    def _use_trained_data(self, task_prompt: str) -> str:
        """Read no pickle from the working directory, whatever lies there."""
        return task_prompt


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


async def answer(call: AgentCall, step: Step | None = None) -> AgentAnswer:
    """Let an agent answer. `step` is the task of a crew, where it belongs to one.

    Raises `TaskError`, or the model client's own error.
    """
    wanted = None if call.schema is None else ResponseFormat.of(call.schema)
    conversation = Conversation(call, wanted)
    if step is None:
        step = Step(name=call.address, description="-", expected_output="-")
    step.fill(call)
    context = _DIVIDER.join(text for _, text in call.context)
    broken: Exception | None = None
    async with places():
        try:
            with quiet():
                agent = _agent(conversation)
                await step.attempt(agent, hide_braces(context) or None)
        except Exception as error:
            broken = error
        finally:
            await conversation.close()
    reply = conversation.result(broken)
    if reply.refusal:
        return AgentAnswer(output=None, refusal=reply.refusal)
    text = reply.text
    if wanted is not None and text is not None:
        text = wanted.read(text)
    return AgentAnswer(output=text, conversation=conversation.history)


def _agent(conversation: Conversation) -> FreshAgent:
    call = conversation.call
    return FreshAgent(
        **texts(call.name, call.agent),
        llm=Model.of(conversation),
        tools=_tools(conversation),
        # The kernel counts turns, and ends the attempt before CrewAI asks for a last answer.
        max_iter=call.max_turns + 1,
        max_retry_limit=0,
        allow_delegation=False,
        cache=False,
        respect_context_window=False,
        verbose=False,
    )


def texts(name: str, agent: Any) -> dict[str, str]:
    """Give an agent's role, goal and backstory; CrewAI needs words for each."""
    return {
        "role": hide_braces(agent.role or name),
        "goal": hide_braces(agent.goal or _GOAL),
        "backstory": hide_braces(agent.backstory or ""),
    }


def _tools(conversation: Conversation) -> list[BaseTool]:
    """Give an agent's tools under names that CrewAI leaves alone, and one for those made up."""
    offered: Sequence[AgentTool] = conversation.call.tools
    if not offered:
        return []
    names: dict[str, str] = {}
    taken = {UNKNOWN}
    for tool in offered:
        plain = re.sub(r"[^a-z0-9]+", "_", tool.name.lower()).strip("_") or "tool"
        while plain in taken:
            plain += "_x"
        names[tool.name] = plain
        taken.add(plain)
    conversation.name_tools(names)
    tools = [_Tool.of(names[tool.name], tool.description, conversation) for tool in offered]
    return [*tools, _Tool.of(UNKNOWN, "Stands for tools that do not exist.", conversation)]
