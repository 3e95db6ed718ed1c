"""What CrewAI's objects of one workflow have in common, and how they run without talea's `run`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from talea.adapter import Run
from talea.plan import Plan
from talea.result import Result


class Driver(Protocol):
    """A crew or flow of CrewAI's: what a user kicks off, and what a run is driven by."""

    @property
    def blueprint(self) -> Blueprint:
        """What it was made from."""
        ...

    async def drive(self, run: Run) -> None:
        """Drive every task of a run to its end."""
        ...


class Compiled(Protocol):
    """A class of flows, or a maker of crews: it makes a new one for each run."""

    @property
    def blueprint(self) -> Blueprint:
        """What it was made from."""
        ...

    def __call__(self, **settings: Any) -> Driver:
        """Make a flow or crew; the settings are those of `talea.run`: tools, model, ask, …"""
        ...


@dataclass(slots=True)
class Blueprint:
    """A plan, and what the blocks and sub-workflows in it have become."""

    plan: Plan
    parts: Mapping[int, Compiled] = field(default_factory=dict[int, Compiled])
    """By the identity of the plan."""

    @property
    def class_name(self) -> str:
        """Name the workflow as a class."""
        words = re.findall(r"[A-Za-z0-9]+", self.plan.name)
        name = "".join(word[0].upper() + word[1:] for word in words)
        return name if name and not name[0].isdigit() else f"Workflow{name}"

    async def run_alone(
        self, driver: Driver, inputs: Mapping[str, Any] | None, settings: Mapping[str, Any]
    ) -> Result:
        """Run the whole workflow on an object of CrewAI's that its user has kicked off."""
        from talea.run import prepare

        prepared = prepare(
            self.plan.workflow, inputs, framework="crewai", compiled=driver, **settings
        )
        return await prepared.run()


around: ContextVar[Mapping[int, Compiled]] = ContextVar("talea_crewai_parts")
"""The parts of what is being executed."""

SETTINGS = frozenset(
    {"tools", "model", "answers", "ask", "offline", "replay", "allow_hosts", "sinks", "run_id"}
)
"""What a flow or crew of its own is told beyond what CrewAI knows."""
