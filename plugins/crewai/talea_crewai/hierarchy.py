"""A manager and its members as CrewAI has them: a `Crew` with the hierarchical process.

CrewAI makes the manager's two tools, words them, and offers them; what the model says with them is
carried out by the kernel, as `delegate`. By itself CrewAI would have a member answer outside of
the team's budget, tell nobody but the model that it failed, and send two members of one role to
the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from pydantic import PrivateAttr

from talea import ir
from talea.adapter import AgentCall
from talea.delegation import Wording
from talea_crewai.conversation import CALL_ID, Conversation, hide_braces
from talea_crewai.framework import (
    AgentTools,
    AskQuestionTool,
    BaseAgentTool,
    BaseTool,
    Crew,
    DelegateWorkTool,
    Process,
)
from talea_crewai.fresh import FreshAgent, Step
from talea_crewai.shown import NoLog, ShownAgent

_TOOLS = {
    "delegate_work_to_coworker": ("coworker", "task", "context"),
    "ask_question_to_coworker": ("coworker", "question", "context"),
}
"""CrewAI's names of a manager's tools, and of their arguments."""


class _Led(BaseAgentTool):
    """A tool of a manager's whose calls the kernel carries out."""

    _conversation: Conversation = PrivateAttr()

    def follow(self, conversation: Conversation) -> None:
        """Learn which conversation the tool is called in."""
        self._conversation = conversation

    def run(self, *_: Any, **arguments: Any) -> str:
        """Have the kernel carry a call out, whatever its arguments are."""
        conversation = self._conversation
        return conversation.await_result(conversation.call_tool(arguments[CALL_ID]))


class _DelegateWork(DelegateWorkTool, _Led):
    """CrewAI's tool to delegate work."""


class _AskQuestion(AskQuestionTool, _Led):
    """CrewAI's tool to ask a question."""


_LED: Mapping[type[BaseTool], Callable[..., _Led]] = {
    DelegateWorkTool: _DelegateWork,
    AskQuestionTool: _AskQuestion,
}


class Manager(FreshAgent):
    """A manager of CrewAI's for one attempt."""

    _conversation: Conversation = PrivateAttr()

    def follow(self, conversation: Conversation) -> None:
        """Learn which conversation the manager has."""
        self._conversation = conversation

    @property
    def conversation(self) -> Conversation:
        """The manager's conversation."""
        return self._conversation

    def get_delegation_tools(self, agents: Sequence[Any]) -> list[BaseTool]:
        """Give CrewAI's own tools, led through the kernel."""
        made: list[BaseTool] = []
        for tool in AgentTools(agents=agents).tools():
            led = _LED[type(tool)](agents=agents, description=tool.description)
            led.follow(self._conversation)
            made.append(led)
        return made


class _OnlyTask(Step):
    """The one task of a team's crew: its context is what the attempt has been given."""

    given: str | None = None

    async def aexecute_sync(self, agent: Any = None, context: Any = None, tools: Any = None) -> Any:
        """Carry the task out."""
        return await self.attempt(agent, self.given, tools)


class TeamCrew(Crew):
    """The crew of one attempt of a team."""

    _task_output_handler: Any = PrivateAttr(default_factory=NoLog)


async def lead(
    manager: Manager, step: Step, context: str | None, tools: list[BaseTool], *, has_crew: bool
) -> None:
    """Have a manager carry out a task: in the crew that the task is in, or in one of its own."""
    call = manager.conversation.call
    members: list[Any] = list(shown_members(call.members).values())
    if has_crew:
        own = [*tools, *manager.get_delegation_tools(members)]
        await step.attempt(manager, context, own)
        return
    # A manager of CrewAI's may have no tools of its own: they are its task's.
    task = _OnlyTask(
        name=step.name,
        description=step.description,
        expected_output=step.expected_output,
        tools=tools,
    )
    task.given = context
    crew = TeamCrew(
        name=call.address,
        agents=members,
        tasks=[task],
        process=Process.hierarchical,
        manager_agent=manager,
        verbose=False,
        cache=False,
        tracing=False,
    )
    await cast("Any", crew).akickoff()


def shown_members(
    members: Mapping[str, ir.Agent | ir.Team], models: Mapping[str, str] | None = None
) -> dict[str, ShownAgent]:
    """Make the agents that a manager's crew shows, by id."""
    found: dict[str, ShownAgent] = {}
    for role, (id, member) in zip(_roles(members), members.items(), strict=True):
        agent = member if isinstance(member, ir.Agent) else _as_agent(member)
        model = (models or {}).get(id, "talea")
        found[id] = ShownAgent.of(id, agent, model, role=hide_braces(role))
    return found


def wording_of(call: AgentCall) -> Wording | None:
    """Say how a manager delegates; None for an agent that is none."""
    if not call.members:
        return None
    return Wording(_TOOLS, dict(zip(_roles(call.members), call.members, strict=True)))


def _roles(members: Mapping[str, ir.Agent | ir.Team]) -> list[str]:
    """Give the members' roles, by which CrewAI tells them apart: each has one of its own."""
    found: dict[str, str] = {}
    for id, member in members.items():
        role = (member.role if isinstance(member, ir.Agent) else None) or id
        plain = " ".join(role.split()).replace('"', "").casefold()
        if plain in found:
            role = f"{role} ({id})"
            plain = role.casefold()
        found[plain] = role
    return list(found.values())


def _as_agent(team: ir.Team) -> ir.Agent:
    return ir.Agent(goal=f"Have {', '.join(team.members)} complete the task together.")
