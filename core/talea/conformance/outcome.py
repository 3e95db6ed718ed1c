"""How a run ended, in the plain terms in which cases and the oracle speak of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from talea.conformance.scenario import microseconds, plain
from talea.events import Delegated, Event, RunEnded, TaskEnded
from talea.result import Result


@dataclass(slots=True)
class TaskOutcome:
    """How one task ended, or stands. `error_address` is the full one, with every `#n`."""

    status: str = "pending"
    reason: str | None = None
    output: Any = None
    error_type: str | None = None
    error_address: str | None = None
    recovered: bool = False
    attempts: int = 0
    agent: str | None = None


@dataclass(slots=True)
class Outcome:
    """How a run ended. `tasks` is by address without `#n`; times are in microseconds.

    `calls` holds the full address of every call of a tool or agent, in the order in which they
    began, and `asked` the agents of those that were calls of agents. `delegated` holds (full
    address, agent, to whom, error) of what was delegated or handed over, in the order in which it
    was done. `ends` holds (time, full address, status) of every task that ended.
    """

    status: str
    error_type: str | None
    error_address: str | None
    outputs: Any
    tasks: dict[str, TaskOutcome]
    calls: list[str]
    asked: list[str]
    delegated: list[tuple[str, str, str, str | None]]
    ends: list[tuple[int, str, str]]
    duration: int


def outcome_of(result: Result, events: list[Event], calls: list[str], asked: list[str]) -> Outcome:
    """Tell a result as the oracle tells it, with the full addresses that events hold."""
    addresses: dict[str, str | None] = {}
    ends: list[tuple[int, str, str]] = []
    delegated: list[tuple[str, str, str, str | None]] = []
    final: RunEnded | None = None
    for event in events:
        if isinstance(event, TaskEnded):
            addresses[plain(event.address)] = event.error.address if event.error else None
            ends.append((microseconds(event.time), event.address, str(event.status)))
        elif isinstance(event, Delegated):
            error_type = str(event.error.type) if event.error else None
            delegated.append((event.address, event.agent, event.to, error_type))
        elif isinstance(event, RunEnded):
            final = event
    tasks = {
        address: TaskOutcome(
            str(task.status),
            task.reason,
            task.output,
            str(task.error.type) if task.error else None,
            addresses.get(address) if task.error else None,
            task.recovered,
            task.attempts,
            task.agent,
        )
        for address, task in result.tasks.items()
    }
    assert final
    error = final.error
    return Outcome(
        str(result.status),
        str(error.type) if error else None,
        error.address if error else None,
        result.outputs,
        tasks,
        calls,
        asked,
        delegated,
        ends,
        microseconds(result.duration),
    )
