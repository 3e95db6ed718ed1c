"""Teams: an attempt in which several agents answer, each through the framework's own agent.

A manager has, besides its own tools, one to delegate: its call is the member's whole answer. In a
team without a manager the member who has the conversation has one to hand it over: that ends its
own answer, and the next member goes on. So every framework runs teams with what it has: agents
that call tools.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from talea import ir
from talea.adapter import AgentAnswer, Unanswered, Via
from talea.delegation import DELEGATE
from talea.errors import ErrorType, TaskError
from talea.events import Delegated, Failure, Status
from talea.failures import to_task_error
from talea.kernel.calls import Call, read_arguments
from talea.kernel.people import Approvals, Permits
from talea.kernel.work import Cell, Talk

if TYPE_CHECKING:
    from talea.plan import Step

HAND_OVER = "hand_over"
"""The name of the tool of members without a manager, as cassettes know it."""

_ENDS_ALL = frozenset({ErrorType.LIMIT_EXCEEDED, ErrorType.REPLAY_EXHAUSTED, ErrorType.INTERRUPTED})
"""Errors of a member that end the attempt; any other is told to the manager."""


@dataclass(slots=True)
class Budget:
    """How many model calls a team still has, those of the teams in it included. `manager` is the
    team's, None where it has none."""

    team: str
    most: int
    manager: str | None
    around: Budget | None = None
    used: int = 0

    def chain(self) -> Sequence[Budget]:
        """Give this budget, and those of the teams around."""
        return [self, *(self.around.chain() if self.around else ())]


class Handover(NamedTuple):
    """That a conversation goes to another member, with what it is told."""

    to: str
    message: str


class MemberCall(Call):
    """The call of one agent of a team."""

    def __init__(
        self, work: Work, name: str, prompt: str, budget: Budget, *, is_manager: bool
    ) -> None:
        super().__init__(work.cell.run, work.cell, work.number, name, work.via)
        self.prompt = prompt
        self.budget = budget
        around = budget.chain()[1:] if is_manager else budget.chain()
        self.by = next((one.manager for one in around if one.manager), None)
        self.handover: Handover | None = None
        # Also where it needs nobody's word: a question at another one waits until it is done.
        self.permits = Permits(work.approvals, name, self.asked) if work.asks else None
        if is_manager:
            self.max_turns = budget.most  # The team's own bound takes the place of its agent's.

    async def begin_turn(self) -> None:
        """Announce a model call; it counts for the team, and for those around."""
        self.check_budget()
        for budget in self.budget.chain():
            budget.used += 1  # At once: members who work side by side share what is left.
        try:
            await super().begin_turn()
        except BaseException:
            for budget in self.budget.chain():
                budget.used -= 1  # It was not made.
            raise

    def check_tool_turn(self) -> None:
        """Refuse a tool call after the last allowed model call, be it the agent's or the team's."""
        super().check_tool_turn()
        self.check_budget()

    def check_budget(self) -> None:
        """Refuse what no model call of the team is left for."""
        for budget in self.budget.chain():
            if budget.used >= budget.most:
                raise self.end(
                    TaskError(
                        ErrorType.TURNS_EXHAUSTED,
                        f"max_turns of the team {budget.team!r} is {budget.most}",
                        self.address,
                    )
                )

    def end(self, error: TaskError) -> TaskError:
        """Have the call end with an error, whatever the framework makes of it."""
        self.failure = self.failure or error
        return self.failure


class Work:
    """One attempt of a team task."""

    def __init__(self, cell: Cell, number: int, via: Via) -> None:
        self.cell = cell
        self.number = number
        self.via = via
        self.teams = cell.run.plan.workflow.teams
        self.approvals = Approvals(cell, via)
        self.asks = any(tool.approve for tool in cell.run.plan.workflow.tools.values())

    async def answer(self) -> AgentAnswer:
        """Have the team answer. Raises `TaskError`, or a framework's own error."""
        step = self.cell.step
        assert step.team is not None
        assert step.prompt is not None
        named = step.task.team if isinstance(step.task, ir.TeamTask) else None
        name, team = named if isinstance(named, str) else step.id, step.team
        budget = Budget(name, team.max_turns, team.manager)
        prompt = step.prompt.render(self.cell.scope()) + _meant_for(step)
        return await self._team(team, prompt, budget, is_whole=True)

    async def _team(
        self, team: ir.Team, prompt: str, budget: Budget, *, is_whole: bool
    ) -> AgentAnswer:
        if team.manager is not None:
            call = MemberCall(self, team.manager, prompt, budget, is_manager=True)
            call.lead(team.members, Delegation(self, call, team))
            return await self._answer(call, is_whole=is_whole)
        assert team.start is not None
        cell, depth = self.cell, len(budget.chain())
        talk = Talk(team.start)
        if is_whole and cell.conversation is not None:
            talk = cell.talks.get(depth, talk)  # It goes on where its output was refused.
        while True:
            speaker, said = talk
            asked = "\n\n".join([prompt, *said])
            if is_whole:
                cell.talks = {**cell.talks, depth: talk}
            if speaker not in cell.run.plan.workflow.agents:
                return await self._inner(speaker, asked, budget, is_whole=is_whole)
            call = MemberCall(self, speaker, asked, budget, is_manager=False)
            others = [member for member in team.members if member != speaker]
            if others:
                call.tools = (*call.tools, HandingOver(self, call, others))
            try:
                return await self._answer(call, is_whole=is_whole)
            except Exception:
                if call.handover is None:
                    raise
            to, message = call.handover
            talk = Talk(to, (*said, f"{speaker} handed over to {to}. {message}".rstrip()))
            if is_whole:
                cell.conversation = cell.feedback = None

    async def ask(self, member: str, task: str, budget: Budget) -> str:
        """Have a member do a piece of work; give its answer as text. Raises `TaskError`."""
        if member in self.cell.run.plan.workflow.agents:
            call = MemberCall(self, member, task, budget, is_manager=False)
            answer = await self._answer(call, is_whole=False)
        else:
            answer = await self._inner(member, task, budget, is_whole=False)
        if answer.refusal:
            raise TaskError(ErrorType.REFUSED, f"the model refused: {answer.refusal}")
        if not answer.output or not answer.output.strip():
            raise TaskError(ErrorType.INVALID_OUTPUT, "the model gave an empty answer")
        return answer.output

    async def _inner(self, name: str, task: str, budget: Budget, *, is_whole: bool) -> AgentAnswer:
        team = self.teams[name]
        inner = Budget(name, team.max_turns, team.manager, budget)
        return await self._team(team, task, inner, is_whole=is_whole)

    async def _answer(self, call: MemberCall, *, is_whole: bool) -> AgentAnswer:
        """Have one agent answer. `is_whole` says that its answer is that of the whole task."""
        cell = self.cell
        told = bool(cell.run.execution.sinks)
        if is_whole:
            cell.call = call
        else:
            call.schema, call.expected_output, call.context = None, None, ()
            call.feedback = call.conversation = None
            call.note_agent(self.cell.call.name if self.cell.call else call.name)
        if told:
            call.tell_started(for_task=is_whole)
        ending, failure = Status.CANCELLED, None
        try:
            with call.permits.work() if call.permits is not None else nullcontext():
                answer = await self.via.answer(call)
            call.answer = answer.output
            if call.unanswered:
                raise Unanswered
            if call.failure is not None:
                raise call.failure
            ending = Status.SUCCEEDED
            return answer
        except Unanswered:
            raise
        except Exception as error:
            if call.unanswered:
                raise Unanswered from error
            raised = call.failure or to_task_error(error)
            ending = Status.FAILED if call.handover is None else Status.SUCCEEDED
            failure = Failure(raised.type.value, raised.message, call.address)
            raise raised from error
        finally:
            if told and not (is_whole and call.handover is None):
                call.tell_ended(ending, None if ending is Status.SUCCEEDED else failure)

    def tell(self, call: MemberCall, to: str, task: str, error: TaskError | None) -> None:
        """Tell the sinks who gave what to whom."""
        execution = self.cell.run.execution
        if execution.sinks:
            failure = error and Failure(error.type.value, error.message, call.address)
            execution.tell(Delegated(execution.now, call.address, call.name, to, task, failure))

    def describe(self, members: Sequence[str]) -> str:
        """Tell a model who the members are."""
        return "\n".join(f"- {member}: {self._word(member)}" for member in members)

    def _word(self, member: str) -> str:
        agent = self.cell.run.plan.workflow.agents.get(member)
        if agent is None:
            return f"a team of {', '.join(self.teams[member].members)}"
        words = (agent.role, agent.goal, agent.instructions)
        return ". ".join(text for text in words if text) or "an agent"


@dataclass(slots=True)
class _MemberTool:
    """A tool whose first argument is a member."""

    work: Work
    caller: MemberCall
    members: Sequence[str]
    name: str = ""
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def read(self, arguments: Mapping[str, Any] | str, text: str) -> tuple[str, str]:
        """Read the member, and the text under the other name. Raises `TaskError`."""
        read = read_arguments(arguments)
        to, told = read.get("to"), read.get(text, "")
        if unknown := read.keys() - {"to", text}:
            names = ", ".join(sorted(unknown))
            raise TaskError(ErrorType.INVALID_ARGUMENTS, f"unknown arguments: {names}")
        if not isinstance(to, str) or to not in self.members:
            close = get_close_matches(str(to), self.members, n=1)
            guess = f" (did you mean {close[0]!r}?)" if close else ""
            known = ", ".join(self.members)
            message = f"{to!r} is no member of the team{guess}; they are: {known}"
            raise TaskError(ErrorType.DELEGATION, message)
        if not isinstance(told, str):
            raise TaskError(ErrorType.INVALID_ARGUMENTS, f"`{text}` is a text")
        return to, told


class Delegation(_MemberTool):
    """The manager's tool: a member does a piece of work, and its answer comes back."""

    def __init__(self, work: Work, call: MemberCall, team: ir.Team) -> None:
        members = team.members
        words = (
            "Have a member of your team do a piece of work. You get its answer. It knows nothing"
            f" but what you tell it.\n{work.describe(members)}"
        )
        super().__init__(work, call, members, DELEGATE, words, _schema(members, "task", True))

    async def call(self, arguments: Mapping[str, Any] | str) -> str:
        """Delegate. What fails at the member is told as text."""
        manager = self.caller
        manager.check_tool_turn()
        try:
            to, task = self.read(arguments, "task")
            if not task.strip():
                raise TaskError(ErrorType.INVALID_ARGUMENTS, "`task` says what is to be done")
        except TaskError as error:
            return manager.refuse_tool(self.name, error)
        error: TaskError | None = TaskError(ErrorType.INTERRUPTED, "nobody waits for it any more")
        try:
            permits = manager.permits
            with permits.call(delegates=True) if permits is not None else nullcontext():
                answer = await self.work.ask(to, task, manager.budget)
            error = None
        except TaskError as failed:
            error = failed
            if failed.type in _ENDS_ALL:
                raise manager.end(failed) from failed
            answer = f"Error: {to} could not do it: {failed.message}"
        finally:
            self.work.tell(manager, to, task, error)
        manager.check_budget()  # Nobody could read it.
        return answer


class HandingOver(_MemberTool):
    """A member's tool in a team without a manager: another one goes on."""

    def __init__(self, work: Work, call: MemberCall, members: Sequence[str]) -> None:
        words = (
            "Hand the conversation over to another member of your team, who goes on in your place"
            f" and answers instead of you.\n{work.describe(members)}"
        )
        super().__init__(work, call, members, HAND_OVER, words, _schema(members, "message", False))

    async def call(self, arguments: Mapping[str, Any] | str) -> str:
        """Hand over; this ends the call of the agent that does it."""
        call = self.caller
        if call.failure is not None:
            raise call.failure  # Of several handovers at once the first counts.
        call.check_budget()
        try:
            to, message = self.read(arguments, "message")
        except TaskError as error:
            return call.refuse_tool(self.name, error)
        self.work.tell(call, to, message, None)
        call.handover = Handover(to, message)
        raise call.end(TaskError(ErrorType.DELEGATION, f"handed over to {to}", call.address))


def _schema(members: Sequence[str], text: str, required: bool) -> dict[str, Any]:
    what = (
        "What is to be done, with all that the member has to know."
        if required
        else "What the next one has to know."
    )
    return {
        "type": "object",
        "properties": {
            "to": {"type": "string", "enum": list(members), "description": "Who."},
            text: {"type": "string", "description": what},
        },
        "required": ["to", text] if required else ["to"],
        "additionalProperties": False,
    }


def _meant_for(step: Step) -> str:
    """Tell the manager of a hierarchical process which agents the task itself names."""
    assert step.team is not None
    others = [name for name in step.named if name != step.team.manager]
    if not others:
        return ""
    one = "" if len(others) == 1 else "one of "
    return f"\n\nThis task is meant for {one}{', '.join(others)}."
