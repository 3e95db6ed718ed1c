"""What an attempt of an agent is made of: a CrewAI `Task`, and an `Agent` that is made for it.

Fresh, because an agent's executor cannot run twice at once and its retry counter is never reset
(crewai issue 7332), and because usage is exact for a model that nobody shares (issue 7259).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from talea.adapter import AgentCall
from talea_crewai.conversation import Piece, hide_braces
from talea_crewai.framework import (
    MANAGER_REQUEST,
    Agent,
    AgentExecutor,
    AgentExecutorState,
    BaseTool,
    Task,
    TaskOutput,
)

EXPECTED = "A complete answer."


class Step(Task):
    """A task of CrewAI's whose texts stand as they are: no `{word}` in them is a placeholder."""

    def prompt(self) -> str:
        """Give the prompt of description and expected output."""
        return hide_braces(super().prompt())

    async def attempt(
        self, agent: Agent, context: str | None, tools: Sequence[BaseTool]
    ) -> TaskOutput:
        """Have an agent carry the task out, CrewAI's own way."""
        return await super().aexecute_sync(agent, context, [*tools])

    def fill(self, call: AgentCall, piece: Piece | None) -> None:
        """Take on what an attempt is asked for: of a member, the piece of work that it is given."""
        words = piece.words if piece is not None else call.prompt
        self.description = words if words.strip() else "(no words)"
        expected = EXPECTED if piece is None else MANAGER_REQUEST
        self.expected_output = call.expected_output or expected


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
