"""Agents at work once more: their model calls and tools, and who asks whom in a team.

Conversation    one agent, from what it is asked to its answer
Attempt         one attempt of a team, which is made of conversations
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from talea import ir
from talea.conformance.scenario import Behaviour

from . import schemas
from .expressions import render_text
from .failure import TaskFailed
from .schemas import Misfit
from .virtual import Clock, Need, Process, Steps, Wait

if TYPE_CHECKING:
    from .interpreter import Execution
    from .pools import Seat

FAILED = "failed"
"""What a scripted agent echoes of a call that was not done."""
_ENDS_ALL = ("limit_exceeded", "replay_exhausted", "interrupted")


class HandedOver(Exception):
    """A conversation goes to another member."""

    def __init__(self, to: str, message: str) -> None:
        super().__init__(to, message)
        self.to = to
        self.message = message


@dataclass(slots=True)
class Budget:
    """The model calls of one team in one attempt."""

    most: int
    used: int = 0

    @property
    def is_used_up(self) -> bool:
        """Whether no call is left."""
        return self.used >= self.most


@dataclass(slots=True)
class Conversation:
    """One agent at work. `place` is where the scenario has its calls.

    In a team it may delegate to `members`, or hand over to `others`.
    """

    execution: Execution
    agent: str
    address: str
    place: str
    most: int
    budgets: Sequence[Budget] = ()
    attempt: Attempt | None = None
    members: Sequence[str] = ()
    others: Sequence[str] = ()
    turns: int = 0

    def answer(self, prompt: str) -> Generator[Wait, None, str]:
        """Call the model until it answers. Raises TaskFailed, and HandedOver."""
        told = prompt
        while True:
            self.check_left()
            self.execution.begin_model_call(self.address)
            self.turns += 1
            for budget in self.budgets:
                budget.used += 1
            self.execution.asked.append(self.agent)
            result, behaviour = yield from self.execution.call(
                self.place, echo=told, error_at=self.address, by_model=True
            )
            if not behaviour.uses:
                is_text = isinstance(result, str)
                return result if is_text else json.dumps(result, ensure_ascii=False)
            told = yield from self.use_all(behaviour)

    def check_left(self, *, own: bool = True) -> None:
        """Fail where no model call is left, of the agent's own or of a team that it is in."""
        if (own and self.turns >= self.most) or any(one.is_used_up for one in self.budgets):
            raise TaskFailed("turns_exhausted", self.address)

    def use_all(self, behaviour: Behaviour) -> Generator[Wait, None, str]:
        """Call tools at once; give what they say, one below the other."""
        jobs = [self.use(*call) for one in behaviour.uses for call in one.items()]
        return "\n".join((yield from side_by_side(self.execution.clock, jobs)))

    def use(self, tool: str, arguments: Mapping[str, Any]) -> Generator[Wait, None, str]:
        """Call one tool."""
        if tool == "delegate" and self.members:
            return (yield from self.delegate(arguments))
        if tool == "hand_over" and self.others:
            return self.hand_over(arguments)
        workflow = self.execution.workflow
        if tool not in workflow.agents[self.agent].tools:
            return FAILED
        self.check_left()
        parameters = workflow.tools[tool].parameters
        try:
            schemas.check(arguments, True if parameters is None else parameters)
            result, _ = yield from self.execution.call(
                f"{self.address}@{self.agent}/{tool}", echo=arguments, error_at=self.address
            )
        except (Misfit, TaskFailed):
            return FAILED
        return render_text("{{ x }}", {"x": result})

    def delegate(self, arguments: Mapping[str, Any]) -> Generator[Wait, None, str]:
        """Have a member do a piece of work; what fails there is told."""
        assert self.attempt
        self.check_left()
        to, task = str(arguments.get("to")), arguments.get("task")
        if to not in self.members or not isinstance(task, str) or not task.strip():
            return FAILED
        error: str | None = "interrupted"
        try:
            answer = yield from self.attempt.ask(to, task, self.budgets)
            error = None
        except TaskFailed as failure:
            error = failure.type
            if error in _ENDS_ALL:
                raise
            answer = FAILED
        finally:
            self.execution.delegated.append((self.address, self.agent, to, error))
        self.check_left(own=False)
        return answer

    def hand_over(self, arguments: Mapping[str, Any]) -> str:
        """Have another one go on; where that one is not there, say so."""
        self.check_left(own=False)
        to, message = str(arguments.get("to")), arguments.get("message", "")
        if to not in self.others:
            return FAILED
        self.execution.delegated.append((self.address, self.agent, to, None))
        raise HandedOver(to, message)


@dataclass(slots=True)
class Attempt:
    """One attempt of a team. `seat` keeps who has the conversation, for a retry that goes on."""

    execution: Execution
    address: str
    seat: Seat
    note_agent: Callable[[str], None]
    speaker: str | None = None
    """Whose answer is the whole team's."""

    def answer(
        self, team: ir.Team, prompt: str, around: Sequence[Budget] = (), *, whole: bool = True
    ) -> Generator[Wait, None, str]:
        """Have a team answer; `whole` says that its answer is that of the task."""
        agents, teams = self.execution.workflow.agents, self.execution.workflow.teams
        budgets = [Budget(team.max_turns), *around]
        if team.manager is not None:
            most, members = team.max_turns, team.members
            manager = self.one(team.manager, budgets, whole=whole, most=most, members=members)
            return (yield from manager.answer(prompt))
        assert team.start
        speaker, said = team.start, tuple[str, ...]()
        if whole and self.seat.keeps:
            speaker, said = self.seat.talks.get(len(budgets), (speaker, said))
        while True:
            if whole:
                self.seat.talks[len(budgets)] = speaker, said
            asked = "\n\n".join([prompt, *said])
            if speaker not in agents:
                return (yield from self.answer(teams[speaker], asked, budgets, whole=whole))
            others = [member for member in team.members if member != speaker]
            try:
                one = self.one(speaker, budgets, whole=whole, others=others)
                return (yield from one.answer(asked))
            except HandedOver as handover:
                said += (f"{speaker} handed over to {handover.to}. {handover.message}".rstrip(),)
                speaker = handover.to
                if whole:
                    self.seat.keeps = False

    def ask(self, member: str, task: str, budgets: Sequence[Budget]) -> Generator[Wait, None, str]:
        """Have a member, an agent or a team, do a piece of work."""
        workflow = self.execution.workflow
        if member in workflow.agents:
            return (yield from self.one(member, budgets, whole=False).answer(task))
        return (yield from self.answer(workflow.teams[member], task, budgets, whole=False))

    def one(
        self,
        agent: str,
        budgets: Sequence[Budget],
        *,
        whole: bool,
        most: int | None = None,
        members: Sequence[str] = (),
        others: Sequence[str] = (),
    ) -> Conversation:
        """Begin a conversation with one agent."""
        if whole:
            self.speaker = agent
        self.note_agent(self.speaker or agent)
        return Conversation(
            self.execution, agent, self.address, f"{self.address}@{agent}",
            most or self.execution.workflow.agents[agent].max_turns,
            budgets, self, members, others,
        )  # fmt: skip


def side_by_side(clock: Clock, jobs: Sequence[Steps]) -> Generator[Wait, None, list[Any]]:
    """Do several things at once; the first that fails ends the others."""
    if len(jobs) == 1:
        return [(yield from jobs[0])]
    parent = clock.current
    assert parent
    results: dict[int, Any] = {}
    failures: list[Exception] = []
    is_parked = False

    def run(at: int, job: Steps) -> Steps:
        try:
            results[at] = yield from job
        except (TaskFailed, HandedOver) as failure:
            failures.append(failure)

    def is_over() -> bool:
        return bool(failures) or len(results) == len(jobs)

    def tell() -> None:
        if is_parked and is_over():
            parent.resume()

    children: list[Process] = [
        clock.start(run(at, job), tell, parent) for at, job in enumerate(jobs)
    ]
    try:
        while not is_over():
            is_parked = True
            yield Wait(Need.OTHERS)
            is_parked = False
    finally:
        is_parked = False
        for child in children:
            child.cancel("outer")
    if failures:
        raise failures[0]
    return [results[at] for at in range(len(jobs))]
