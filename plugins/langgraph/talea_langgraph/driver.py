"""What the nodes of a graph are handed at run time: the run that they carry out."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from talea.adapter import Record, Run
from talea.events import Status
from talea.plan import Step


@dataclass(slots=True, eq=False)
class Driver:
    """One execution of a compiled object, as LangGraph's runtime context.

    `resumed` says that the state may hold what an earlier execution came to; `interrupts` that a
    question to a person interrupts the graph.
    """

    run: Run
    resumed: bool = False
    interrupts: bool = False
    refused: set[int] = field(default_factory=set[int])
    """Tasks that could not begin when their node came, since something before them waits."""
    _known: set[str] = field(default_factory=set[str])

    def ending(self, step: Step, record: Record) -> dict[str, Any] | None:
        """Give what a task that has ended adds to the results."""
        if record.ended:
            return {step.id: self.run.snapshot(step.index)}
        if record.status is Status.PENDING:
            self.refused.add(step.index)
        return None

    def adopt(self, results: Mapping[str, Mapping[str, Any]] | None) -> None:
        """Take over what the state holds and this run does not know yet."""
        new = {name: saved for name, saved in (results or {}).items() if name not in self._known}
        if new:
            self._known.update(new)
            self.run.adopt(new)


class Part(Protocol):
    """What a block or sub-workflow was compiled to."""

    async def drive(self, driver: Driver) -> None:
        """Carry out a run of it, within a node."""
        ...


@dataclass(slots=True)
class Place:
    """Where the kernel calls the adapter back from: whose node, and what is inside of it."""

    driver: Driver
    part: Part | None


place: ContextVar[Place | None] = ContextVar("talea_langgraph_place", default=None)
"""Set while a node that asks a person, or has others inside, is at work."""
