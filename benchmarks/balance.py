"""Rows of load balancing: how soon unequal agents are done, and what a choice costs.

The ideal is all work, by what all agents can do together. Two kinds of agents are looked at: those
with a bound, each place of which takes its own time; and servers without one, which do one call
after the other, so that a call takes longer the more of them a strategy has put there.
"""

from __future__ import annotations

import asyncio
import statistics
import timeit
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import Any

from measuring import Row

from talea_simple.adapter import SimpleAdapter

TASKS = 1_000
SECONDS = (0.010, 0.015, 0.020, 0.025, 0.030, 0.040, 0.060, 0.080)
"""What a call of each of the 8 agents takes."""
AT_WORK = 32
BARS = {"least_loaded": 1.15, "power_of_two": 1.3}
CHOICE_BAR = 5.0

Work = Callable[[str], Awaitable[None]]


class Timed(SimpleAdapter):
    """Agents that take their time, and nothing else."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def answer(self, call: Any) -> Any:
        """Take the agent's time."""
        from talea.adapter import AgentAnswer

        await self.work(call.name)
        return AgentAnswer("ok")


def bounded(scale: float) -> Work:
    """Make agents each place of which takes its own time."""

    async def work(name: str) -> None:
        await asyncio.sleep(SECONDS[int(name[1:])] * scale)

    return work


def queueing(scale: float) -> Work:
    """Make servers that do one call after the other."""
    free_at = dict.fromkeys(range(len(SECONDS)), 0.0)

    async def work(name: str) -> None:
        agent, now = int(name[1:]), asyncio.get_running_loop().time()
        free_at[agent] = max(now, free_at[agent]) + SECONDS[agent] * scale
        await asyncio.sleep(free_at[agent] - now)

    return work


async def makespan(balance: str, work: Work, places: int | None, seed: int) -> float:
    """Give the seconds in which all tasks are done."""
    import talea
    from talea.run import prepare

    names = [f"a{at}" for at in range(len(SECONDS))]
    bound = {} if places is None else {"max_parallel": places}
    workflow = talea.Workflow.model_validate(
        {
            "name": "pool",
            "model": "openai/none",
            "agents": {name: {**bound, "weight": 0.01 / SECONDS[int(name[1:])]} for name in names},
            "pools": {"p": {"agents": names, "balance": balance}},
            "tasks": {"t": {"for_each": list(range(TASKS)), "pool": "p", "prompt": "x"}},
            "limits": {"max_parallel": AT_WORK},
        }
    )
    prepared = prepare(workflow, seed=seed, offline=True)
    prepared.agents = Timed(work)
    loop = asyncio.get_running_loop()
    async with prepared.opened() as root:
        start = loop.time()
        await prepared.adapter.execute(prepared.compiled, root)
        took = loop.time() - start
    assert prepared.result is not None
    prepared.result.raise_for_failure()
    return took


def balance(rounds: int) -> Iterator[Row]:
    """Pools of unequal agents: the time for 1,000 tasks, by the ideal; and the cost of a choice."""
    from talea.balance import STRATEGIES
    from talea.conformance.looptime import run_in_virtual_time

    rate = sum(1 / seconds for seconds in SECONDS)
    ideal = TASKS / rate
    names = [name for name in STRATEGIES if name not in ("capability_based", "sticky")]
    for name in names:
        ratios = [
            run_in_virtual_time(makespan(name, queueing(1), None, seed)) / ideal
            for seed in range(rounds)
        ]
        note = f"worst {max(ratios):.2f}; ideal {ideal:.2f} s"
        yield Row(
            f"servers, simulated: {name}", statistics.median(ratios), BARS.get(name), note=note
        )
    for name in names:
        took = run_in_virtual_time(makespan(name, bounded(4), 4, 1))
        yield Row(f"4 places each, simulated: {name}", took / ideal, BARS.get(name))
    for name in ("round_robin", "least_loaded", "power_of_two"):
        times = [
            asyncio.run(makespan(name, queueing(1), None, seed)) for seed in range(min(rounds, 3))
        ]
        took = statistics.median(times)
        note = f"{took:.2f} s, worst {max(times):.2f}"
        yield Row(f"servers, real time: {name}", took / ideal, BARS.get(name), note=note)
    yield from _choices()


def _choices() -> Iterator[Row]:
    """One choice among 100 agents, with the notes on its beginning and end."""
    from talea.balance import STRATEGIES, Candidate, Request

    for name, make in STRATEGIES.items():
        strategy, random = make(), Random(1)
        pool = [Candidate(f"a{at:02}", at, 4, 1.0 + at % 3) for at in range(100)]
        keys = [f"customer {at}" for at in range(50)]
        requests = [Request("t", pool, random, lambda key=key: key) for key in keys]
        count = 0

        def once(strategy: Any = strategy, pool: Any = pool, requests: Any = requests) -> None:
            nonlocal count
            count += 1
            chosen = strategy.choose(pool, requests[count % len(requests)])
            chosen.count(chosen.in_flight + 1)
            strategy.began(chosen)
            if count % 200:
                other = pool[count % 100]
                if other.in_flight:
                    other.count(other.in_flight - 1)
                    strategy.ended(other, 0.01 * (count % 7), None)

        timeit.timeit(once, number=500)
        cost = min(timeit.repeat(once, number=2_000, repeat=5)) / 2_000 * 1e6
        note = "for a key it has seen" if name == "sticky" else ""
        yield Row(f"a choice of 100 agents: {name}", cost, CHOICE_BAR, unit="µs", note=note)
