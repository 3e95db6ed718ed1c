"""How a run stands at this moment: a fold over its events, for those who watch it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from talea.events import (
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

    def _called(self, event: ModelCalled) -> None:
        own = self._own(event.address)
        rows = [own] if event.address not in self.inner else [own, self.inner[event.address]]
        for usage in (self.usage, *(row.usage for row in rows)):
            usage.begin_call()
            usage.end_call(event.usage)
        for row in rows:
            if row.address in self.inner or "/" not in event.address:
                row.agent = event.agent  # A block is not the work of one agent.

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
        own.status, own.ended, own.note = event.status, event.time, event.reason or ""
        own.agent, own.usage = event.agent or own.agent, event.usage or own.usage


def _is_of(address: str, task: str) -> bool:
    """Say whether an address is a task's, one of its items' or of something inside."""
    return address.startswith(task) and address[len(task) :][:1] in ("", "[", "#", "/")
