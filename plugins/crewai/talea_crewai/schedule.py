"""The tasks of one stage, each begun the moment the last of its dependencies has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from heapq import heappop, heappush

from talea.adapter import Run

_FAIRNESS = 128
"""Tasks after which a worker lets the event loop turn, even if none of them has waited."""


async def drive(run: Run, tasks: Sequence[int]) -> None:
    """Carry out tasks whose dependencies are among them or have ended."""
    if len(tasks) == 1:
        await run.task(tasks[0])
        return
    steps = run.plan.steps
    inside = set(tasks)
    waits_for = {i: sum(d in inside for d in steps[i].dependencies) for i in tasks}
    ready: list[tuple[int, int]] = []
    for i in tasks:
        if not waits_for[i]:
            heappush(ready, (-steps[i].priority, i))

    async def work(group: asyncio.TaskGroup) -> None:
        """Take ready tasks, and have others take the rest while this one waits."""
        begun = 0
        while ready:
            _, i = heappop(ready)
            if ready:
                group.create_task(work(group))
            if not (await run.task(i)).ended:
                continue  # It waits for a person, and so does all that comes after it.
            for s in steps[i].successors:
                if s in inside:
                    waits_for[s] -= 1
                    if not waits_for[s]:
                        heappush(ready, (-steps[s].priority, s))
            begun += 1
            if begun % _FAIRNESS == 0:
                await asyncio.sleep(0)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(work(group))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
