"""What a run came to: a fold over its events, so that a trace and a live run tell the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from talea.errors import RunError
from talea.events import (
    Event,
    Failure,
    InnerStarted,
    MeteredCall,
    RunEnded,
    RunMetered,
    RunStarted,
    Status,
    TaskEnded,
    TaskWaiting,
    Usage,
)

_ITERATION = re.compile(r"#\d+")


def plain_address(address: str) -> str:
    """Leave every `#n` out of an address: results hold the last iteration."""
    return _ITERATION.sub("", address) if "#" in address else address


@dataclass(slots=True)
class TaskResult:
    """How one task ended. Times are seconds since the run began; None if it never started."""

    status: Status = Status.PENDING
    reason: str | None = None
    output: Any = None
    error: Failure | None = None
    recovered: bool = False
    attempts: int = 0
    agent: str | None = None
    started: float | None = None
    ended: float | None = None
    usage: Usage | None = None
    """What its model calls used: as the gateway saw them, else as the framework reports them."""
    reported: Usage | None = None
    """What the framework reports, where the gateway saw the calls."""

    def as_json(self) -> dict[str, Any]:
        """Give the task as the object of `--json`."""
        return {
            "status": str(self.status),
            "reason": self.reason,
            "output": self.output,
            "error": self.error.as_json() if self.error else None,
            "recovered": self.recovered,
            "attempts": self.attempts,
            "agent": self.agent,
            "started": self.started,
            "ended": self.ended,
            "usage": (self.usage or Usage()).as_json(),
            "reported": self.reported and self.reported.as_json(),
        }


@dataclass(slots=True)
class Result:
    """How a run ended. A failed run is data until `raise_for_failure()`.

    `tasks` maps addresses without `#n` to results: the workflow's own tasks in document order, then
    those inside them, such as `notes[0]/draft`. `calls` holds each model call as the gateway saw
    it, None where it did not stand between; `usage` counts these then, and `reported` is what the
    framework says. `agents` is the part of `usage` that each agent used, by name, wherever it
    worked: in tasks that name it, from a pool, or in a team.
    """

    run: str
    framework: str
    workflow: str
    status: Status
    outputs: dict[str, Any] | None
    error: Failure | None
    tasks: dict[str, TaskResult]
    usage: Usage = field(default_factory=Usage)
    duration: float = 0.0
    calls: tuple[MeteredCall, ...] | None = None
    reported: Usage | None = None
    agents: dict[str, Usage] = field(default_factory=dict[str, Usage])
    notes: tuple[str, ...] = ()
    """What went wrong beside the run: a record that could not be written."""

    @property
    def succeeded(self) -> bool:
        """Say whether every task has run that the rules say, and no failure is left unhandled."""
        return self.status is Status.SUCCEEDED

    def raise_for_failure(self) -> Result:
        """Give the result itself, or raise `RunError` if the run did not succeed."""
        if self.succeeded:
            return self
        what = (
            f"{self.error.address or 'run'}: {self.error.type}: {self.error.message}"
            if (self.error)
            else "no task failed"
        )
        raise RunError(str(self.status), what) from (self.error.cause if self.error else None)

    def as_json(self) -> dict[str, Any]:
        """Give the result as plain JSON data."""
        return {
            "run": self.run,
            "framework": self.framework,
            "workflow": self.workflow,
            "status": str(self.status),
            "outputs": self.outputs,
            "tasks": {address: task.as_json() for address, task in self.tasks.items()},
            "usage": self.usage.as_json(),
            "reported": self.reported and self.reported.as_json(),
            "agents": {name: used.as_json() for name, used in self.agents.items()},
            "calls": self.calls and [call.as_json() for call in self.calls],
            "error": self.error.as_json() if self.error else None,
            "duration": self.duration,
            "notes": list(self.notes),
        }


def fold(events: Iterable[Event], tasks: Iterable[str] = ()) -> Result:
    """Build the result that a run's events tell.

    `tasks` names the workflow's own tasks, so that those which never came to anything are listed
    as pending, in document order. What is inside a task and began anew, in its next iteration or
    attempt, takes the place of all that was inside it before.
    """
    found: dict[str, TaskResult | None] = dict.fromkeys(tasks)
    result = Result("", "", "", Status.PENDING, None, None, {})
    inside = _Inside()
    metered: RunMetered | None = None
    for event in events:
        if isinstance(event, TaskEnded):
            address = event.address
            if "/" in address:
                address = plain_address(address)
                inside.note(address)
            found[address] = TaskResult(
                event.status,
                event.reason,
                event.output,
                event.error and _plain_failure(event.error),
                event.recovered,
                event.attempts,
                event.agent,
                event.started,
                event.time,
                event.usage,
            )
        elif isinstance(event, InnerStarted):
            inside.begin(plain_address(event.address))
        elif isinstance(event, TaskWaiting):
            address = plain_address(event.address)
            inside.note(address)
            found[address] = TaskResult(
                Status.WAITING, attempts=event.attempts, started=event.started
            )
        elif isinstance(event, RunStarted):
            result.run, result.workflow = event.run, event.workflow
            result.framework = event.framework
        elif isinstance(event, RunMetered):
            result.calls, metered = event.calls, event
        elif isinstance(event, RunEnded):
            result.status, result.outputs = event.status, event.outputs
            result.error = event.error and _plain_failure(event.error)
            result.usage, result.duration = event.usage, event.time
            result.agents = dict(event.agents)
    result.tasks = {
        address: task or TaskResult()
        for address, task in found.items()
        if "/" not in address or inside.is_current(address)
    }
    if metered is not None:
        _count(result, metered)
    return result


def _count(result: Result, metered: RunMetered) -> None:
    """Count calls as they were metered: at their tasks, at those around these, for their agents and
    for the run."""
    counts = {"": Usage()} | _copies(metered.earlier)
    agents = _copies(metered.earlier_agents)
    for call in metered.calls:
        totals = [counts.setdefault(address, Usage()) for address in _tasks_of(call.address)]
        for total in (*totals, agents.setdefault(call.agent, Usage())):
            total.begin_call()
            if not call.is_refused:
                total.end_call(call.usage)
    result.usage, result.reported, result.agents = counts[""], result.usage, agents
    for address, task in result.tasks.items():
        if task.usage is not None or address in counts:
            task.usage, task.reported = counts.get(address, Usage()), task.usage or Usage()


def _copies(counts: Mapping[str, Usage]) -> dict[str, Usage]:
    return {name: replace(used) for name, used in counts.items()}


def _tasks_of(address: str) -> Iterator[str]:
    """Name the results that a call counts for: `a[0]#1/b[2]` is of `a[0]/b`, of `a`, of the run."""
    place = plain_address(address)
    while place:
        around, _, name = place.rpartition("/")
        task = name.partition("[")[0]
        yield f"{around}/{task}" if around else task
        place = around
    yield ""


class _Inside:
    """Which tasks inside others belong to the last execution of all that is around them."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}
        self._noted: dict[str, int] = {}
        self._now = 0

    def begin(self, around: str) -> None:
        """What is inside this task, or item of one, begins anew."""
        self._now += 1
        self._begun[around] = self._now

    def note(self, address: str) -> None:
        """Something is told of a task."""
        if self._begun:
            self._noted[address] = self._now

    def is_current(self, address: str) -> bool:
        """Say whether nothing around the task has begun anew since something was told of it."""
        noted = self._noted.get(address, 0)
        place = address.find("/")
        while place >= 0:
            if self._begun.get(address[:place], 0) > noted:
                return False
            place = address.find("/", place + 1)
        return True


def _plain_failure(failure: Failure) -> Failure:
    if failure.address is None or "#" not in failure.address:
        return failure
    return Failure(failure.type, failure.message, plain_address(failure.address), failure.cause)
