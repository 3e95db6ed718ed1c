"""The tasks of a flow's methods, each begun once its method has and its dependencies have ended.

A method of CrewAI's comes to its end even where a task of it waits for a person. What such a task
held back may become free all the same, when a stop ends the question; it is then caught up with
beside the flow.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from talea.adapter import Run


class Schedule:
    """How far a flow has come with a run."""

    def __init__(self, run: Run, beside: asyncio.TaskGroup) -> None:
        self._run = run
        self._beside = beside
        self._reached = bytearray(len(run.plan.steps))
        """Which tasks' methods have been called."""
        self._held: set[int] = set()
        """Tasks that are ready before their method has been called."""

    async def carry_out(self, tasks: Sequence[int]) -> None:
        """Do what a method is there for: tasks whose dependencies are among them or have ended."""
        inside = frozenset(tasks)
        for i in tasks:
            self._reached[i] = True
        ready = self._sort(inside)
        if len(tasks) == 1:
            for i in ready:
                await self._run.task(i)
            self._sort(inside)
        elif ready:
            async with _plain_errors() as group:
                self._begin(ready, group, inside)

    async def _do(self, i: int, group: asyncio.TaskGroup, inside: frozenset[int]) -> None:
        await self._run.task(i)
        self._begin(self._sort(inside), group, inside)

    def _sort(self, inside: frozenset[int]) -> list[int]:
        """Give those of a method's tasks that are ready; see to the others that have become so."""
        held, ready = self._held, self._run.ready
        while ready:
            i = ready.popleft()
            if i in inside or not self._reached[i]:
                held.add(i)
            else:
                self._beside.create_task(self._do(i, self._beside, frozenset()))
        own = sorted(held & inside)
        held.difference_update(own)
        return own

    def _begin(
        self, tasks: Sequence[int], group: asyncio.TaskGroup, inside: frozenset[int]
    ) -> None:
        steps = self._run.plan.steps
        for i in sorted(tasks, key=lambda i: -steps[i].priority):
            group.create_task(self._do(i, group, inside))


@asynccontextmanager
async def scheduled(run: Run) -> AsyncGenerator[Schedule]:
    """Have a schedule for a run; in the end, wait for what is done beside the flow."""
    async with _plain_errors() as beside:
        yield Schedule(run, beside)


@asynccontextmanager
async def _plain_errors() -> AsyncGenerator[asyncio.TaskGroup]:
    """Open a group of asyncio's tasks; the first error is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
