"""The tasks of a flow's methods, each begun once its method has and its dependencies have ended.

A method of CrewAI's comes to its end even where a task of it waits for a person. What such a task
held back may become free all the same, when a stop ends the question; it is then caught up with
beside the flow.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
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
        async with _plain_errors() as group:
            self._sort(group, inside)
            self._begin(sorted(self._held & inside), group, inside)

    async def _do(self, i: int, group: asyncio.TaskGroup, inside: frozenset[int]) -> None:
        await self._run.task(i)
        self._sort(group, inside)

    def _sort(self, group: asyncio.TaskGroup, inside: frozenset[int]) -> None:
        """Begin what has become ready, where its method has been called."""
        ready = self._run.ready
        own: list[int] = []
        while ready:
            i = ready.popleft()
            if i in inside:
                own.append(i)
            elif self._reached[i]:
                self._beside.create_task(self._do(i, self._beside, frozenset()))
            else:
                self._held.add(i)
        self._begin(own, group, inside)

    def _begin(
        self, tasks: Sequence[int], group: asyncio.TaskGroup, inside: frozenset[int]
    ) -> None:
        steps = self._run.plan.steps
        self._held.difference_update(tasks)
        for i in sorted(tasks, key=lambda i: (-steps[i].priority, i)):
            group.create_task(self._do(i, group, inside))


@asynccontextmanager
async def scheduled(run: Run) -> AsyncIterator[Schedule]:
    """Have a schedule for a run; in the end, wait for what is done beside the flow."""
    async with _plain_errors() as beside:
        yield Schedule(run, beside)


@asynccontextmanager
async def _plain_errors() -> AsyncIterator[asyncio.TaskGroup]:
    """Open a group of asyncio's tasks; the first error is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
