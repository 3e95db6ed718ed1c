"""How a run stands at this moment: a fold over its events, for those who watch it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from talea.events import (
    AgentEnded,
    AgentStarted,
    Answered,
    Asked,
    AttemptFailed,
    Event,
    ModelCalled,
    RunEnded,
    RunStarted,
    Status,
    TaskEnded,
    TaskStarted,
    TaskWaiting,
    Usage,
)

_OWN = re.compile(r"[a-z0-9_]+")


@dataclass(slots=True)
class Row:
    """One task of the workflow, or one inside of it, as it stands."""

    address: str
    status: Status = Status.PENDING
    started: float | None = None
    ended: float | None = None
    agent: str | None = None
    note: str = ""
    retries: int = 0
    usage: Usage = field(default_factory=Usage)
    members: list[Member] = field(default_factory=list["Member"])
    """Of a team: those who work, or have worked, for others in it."""


@dataclass(slots=True)
class Member:
    """A member of a team who works for another one, in a task or in an item of it: all the pieces
    of work that it got from that one are one row."""

    address: str
    agent: str
    by: str
    started: float
    ended: float | None = None
    status: Status = Status.RUNNING
    at_work: int = 0
    times: int = 0
    usage: Usage = field(default_factory=Usage)

    def begin(self) -> None:
        """Note a piece of work that begins."""
        self.at_work += 1
        self.times += 1
        self.status, self.ended = Status.RUNNING, None

    def end(self, event: AgentEnded) -> None:
        """Note one that has ended."""
        self.at_work -= 1
        if not self.at_work:
            self.status, self.ended = event.status, event.time


@dataclass(slots=True)
class Question:
    """A question that has not been answered. `refusal` says why the last answer did not do; `tool`
    is there where the question is whether it may be called."""

    text: str
    schema: Any
    refusal: str | None = None
    tool: str | None = None


@dataclass
class Board:
    """A sink. `rows` are the workflow's own tasks; `inner` those at work inside of one of them."""

    tasks: Iterable[str]
    workflow: str = ""
    framework: str = ""
    usage: Usage = field(default_factory=Usage)
    rows: dict[str, Row] = field(init=False)
    inner: dict[str, Row] = field(default_factory=dict[str, Row])
    questions: dict[str, Question] = field(default_factory=dict[str, Question])
    ended: bool = False

    def __post_init__(self) -> None:
        self.name(self.tasks)

    def name(self, tasks: Iterable[str]) -> None:
        """Give a row to each of the workflow's own tasks."""
        self.rows = {name: Row(name) for name in tasks}

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        match event:
            case RunStarted():
                self.workflow, self.framework = event.workflow, event.framework
            case TaskStarted():
                row = self._row(event.address)
                row.status, row.started = Status.RUNNING, event.time
            case AgentStarted():
                self._agent_started(event)
            case AgentEnded():
                if (member := self._member(event.address, event.agent)) is not None:
                    member.end(event)
            case ModelCalled():
                self._called(event)
            case AttemptFailed():
                own = self._own(event.address)
                own.note = f"attempt {event.attempt} failed: {event.error.type}"
                own.retries += 1
            case Asked():
                self.questions[event.address] = Question(event.text, event.schema, tool=event.tool)
                self._row(event.address).status = Status.WAITING
            case Answered():
                self._answered(event)
            case TaskWaiting():
                self._row(event.address).status = Status.WAITING
            case TaskEnded():
                self._ended(event)
            case RunEnded():
                self.ended, self.usage = True, event.usage
            case _:
                pass

    def _own(self, address: str) -> Row:
        """Give the row of the workflow's own task that an address lies in."""
        found = _OWN.match(address)
        name = found[0] if found else address
        return self.rows.setdefault(name, Row(name))

    def _row(self, address: str) -> Row:
        own = self._own(address)
        return own if own.address == address else self.inner.setdefault(address, Row(address))

    def _agent_started(self, event: AgentStarted) -> None:
        row = self._nearest(event.address)
        if event.by is None:
            self._note_agent(row, event.address, event.agent)
            return
        whose = (event.address, event.agent, event.by)
        for member in row.members:
            if (member.address, member.agent, member.by) == whose:
                member.begin()
                return
        row.members.append(Member(*whose, event.time))
        row.members[-1].begin()

    def _called(self, event: ModelCalled) -> None:
        own, nearest = self._own(event.address), self._nearest(event.address)
        member = self._member(event.address, event.agent)
        told = [self.usage, own.usage]
        told += [nearest.usage] if nearest is not own else []
        told += [member.usage] if member is not None else []
        for usage in told:
            usage.begin_call()
            usage.end_call(event.usage)
        if member is None:
            self._note_agent(nearest, event.address, event.agent)

    def _note_agent(self, row: Row, address: str, agent: str) -> None:
        if row.address in self.inner or "/" not in address:
            row.agent = agent  # A block is not the work of one agent.

    def _nearest(self, address: str) -> Row:
        """Give the row that stands for an address: of the task inside others, or of the own one."""
        at = address
        while "/" in at:
            if at in self.inner:
                return self.inner[at]
            bare = at.removesuffix("]").rpartition("[")[0] if at.endswith("]") else ""
            if bare in self.inner:
                return self.inner[bare]
            at = at.rpartition("#")[0] if "#" in at.rpartition("/")[2] else at.rpartition("/")[0]
        return self._own(address)

    def _member(self, address: str, agent: str) -> Member | None:
        """Give a member who is at work, the one that began last."""
        for member in reversed(self._nearest(address).members):
            if member.at_work and (member.address, member.agent) == (address, agent):
                return member
        return None

    def _answered(self, event: Answered) -> None:
        question = self.questions.get(event.address)
        if question is not None and event.refusal is not None:
            question.refusal = event.refusal
            return
        self.questions.pop(event.address, None)
        if question is not None and question.tool is not None:
            self.inner.pop(event.address, None)  # The call itself is no task.
            return
        self._row(event.address).status = Status.RUNNING

    def _ended(self, event: TaskEnded) -> None:
        for address in [at for at in self.questions if _is_of(at, event.address)]:
            del self.questions[address]  # It was stopped: nobody waits for an answer any more.
        own = self._own(event.address)
        if own.address != event.address:
            self.inner.pop(event.address, None)
            return
        for address in [at for at in self.inner if self._own(at) is own]:
            del self.inner[address]
        own.members.clear()
        own.status, own.ended, own.note = event.status, event.time, event.reason or ""
        own.agent, own.usage = event.agent or own.agent, event.usage or own.usage


def _is_of(address: str, task: str) -> bool:
    """Say whether an address is a task's, one of its items' or of something inside."""
    return address.startswith(task) and address[len(task) :][:1] in ("", "[", "#", "/")
