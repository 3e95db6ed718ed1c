"""What a compiled object was made from."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from talea.plan import Plan
from talea_langgraph.driver import Driver, Place, place
from talea_langgraph.options import Choices


@dataclass(slots=True)
class Blueprint:
    """A plan, how it is compiled, and what the blocks and sub-workflows in it have become."""

    plan: Plan
    choices: Choices
    parts: dict[int, Any]
    """By the identity of their plan."""
    may_interrupt: bool
    """Whether a person is asked, here or inside, by questions that can interrupt the graph."""
    needs_asker: bool
    """Whether a person must allow calls, here or inside, by questions that cannot."""

    async def do_rest(self, driver: Driver) -> None:
        """Do what became ready after its node had come, since a question before it was cut off."""
        run = driver.run

        async def do(i: int) -> None:
            place.set(Place(driver, self.parts.get(id(self.plan.steps[i].plan))))
            await run.task(i)

        while driver.refused and run.ready:
            ready = [i for i in run.ready if i in driver.refused]
            run.ready.clear()
            await asyncio.gather(*(asyncio.create_task(do(i)) for i in ready))
