"""Agents as a crew shows them: fresh ones answer in their place."""

from __future__ import annotations

from typing import Any

from talea import ir
from talea_crewai.conversation import hide_braces
from talea_crewai.framework import Agent
from talea_crewai.model import Mute

_GOAL = "Complete the task."


class ShownAgent(Agent):
    """An agent as a crew shows it; a fresh one answers in its place."""

    def create_agent_executor(self, *args: Any, **more: Any) -> None:
        """Make no loop for it: it is never asked."""

    @classmethod
    def of(cls, name: str, agent: ir.Agent, model: str = "talea", **more: Any) -> ShownAgent:
        """Make what is shown of an agent."""
        return cls(
            **texts(name, agent) | more,
            llm=Mute.of(model),
            max_retry_limit=0,
            allow_delegation=False,
            cache=False,
            verbose=False,
        )


class NoLog:
    """In place of CrewAI's log of outputs, a database in the user's data directory."""

    def ignore(self, *_: object) -> None:
        """Keep nothing."""

    update = add = reset = load = ignore


def texts(name: str, agent: ir.Agent) -> dict[str, str]:
    """Give an agent's role, goal and backstory; CrewAI needs words for each."""
    return {
        "role": hide_braces(agent.role or name),
        "goal": hide_braces(agent.goal or _GOAL),
        "backstory": hide_braces(agent.backstory or ""),
    }
