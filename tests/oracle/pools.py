"""Pools once more: who may take an attempt, who is chosen, and who rests.

Only what a document determines: agents in turn, by load, by weight. Other strategies are taken for
the one by load; whoever compares leaves out whom they choose.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction

from talea import ir
from talea.conformance.scenario import MICROSECONDS

from .virtual import Clock

MINUTE = 60 * MICROSECONDS
SHORTEST, LONGEST = 1 * MICROSECONDS, 30 * MICROSECONDS


@dataclass(slots=True)
class Seat:
    """Who has an item's attempt, and whether the next one goes on in the same conversation."""

    agent: str | None = None
    keeps: bool = False
    talks: dict[int, tuple[str, tuple[str, ...]]] = field(
        default_factory=dict[int, tuple[str, tuple[str, ...]]]
    )
    """Of teams without a manager, by depth: who has the conversation, and what was said."""


@dataclass(slots=True)
class Pool:
    """Agents in the pool's order."""

    agents: list[str]
    balance: str
    last: int = -1
    due: dict[str, Fraction] = field(default_factory=dict[str, Fraction])
    now: Fraction = Fraction(0)


@dataclass(slots=True)
class Rest:
    """How an agent rests: until when, how often in a row, and when that was last said."""

    until: int = 0
    times: int = 0
    said: int = 0


class Bench:
    """The agents of a run."""

    def __init__(self, workflow: ir.Workflow, clock: Clock) -> None:
        self.agents = workflow.agents
        self.clock = clock
        self.pools = {
            name: Pool(list(pool.agents), pool.balance) for name, pool in workflow.pools.items()
        }
        self.capable: dict[frozenset[str], Pool] = {}
        self.rests = defaultdict[str, Rest](Rest)
        self.begun = defaultdict[str, list[int]](list)
        self.whose = {
            name: [f"agent {name}", f"model {agent.model or workflow.model}"]
            for name, agent in workflow.agents.items()
        }
        self.rates: dict[str, int] = {}
        for kind, named in (("agent", workflow.agents), ("model", workflow.models)):
            for name, one in named.items():
                if one.limits and one.limits.requests_per_minute:
                    self.rates[f"{kind} {name}"] = one.limits.requests_per_minute
        clock.held = self.is_held

    def pool_of(self, task: ir.TaskModel) -> Pool | None:
        """Give the pool that chooses for a task, also that of all agents with capabilities."""
        if not isinstance(task, ir.AgentTask) or task.agent is not None:
            return None
        if task.pool is not None:
            return self.pools[task.pool]
        wanted = frozenset(task.capabilities or ())
        able = [name for name, one in self.agents.items() if wanted <= set(one.capabilities)]
        return self.capable.setdefault(wanted, Pool(able, "capability_based"))

    def choice_for(self, pool: Pool | None, seat: Seat, without: list[str]) -> Choice | None:
        """Give the choice that an attempt has; None where there is none."""
        if not pool or seat.keeps:
            return None
        others = [name for name in pool.agents if name not in without]
        return Choice(self, pool, others or pool.agents)

    def is_held(self, kind: str) -> bool:
        """Say whether the rates of an agent, or of its model, allow it no call now."""
        name = kind.removeprefix("agent ")
        return name in self.whose and any(
            whose in self.rates and len(self.recent(whose)) >= self.rates[whose]
            for whose in self.whose[name]
        )

    def recent(self, whose: str) -> list[int]:
        """Give the calls of the last minute."""
        return [time for time in self.begun[whose] if time > self.clock.now - MINUTE]

    def begin(self, agent: str | None) -> None:
        """Note that an attempt begins, and with it a call."""
        for whose in self.whose[agent or ""]:
            if whose in self.rates:
                self.begun[whose].append(self.clock.now)
                self.clock.schedule(MINUTE, lambda: None)

    def end(self, agent: str | None, began: int, error: str | None) -> None:
        """Note how an attempt ended: an agent whose model's server failed it rests."""
        if agent is None:
            return
        rest = self.rests[agent]
        if error is None:
            rest.times = 0
        elif error in ("rate_limit", "server_error"):
            if began >= rest.said:
                rest.times += 1
                rest.said = self.clock.now
            pause = min(LONGEST, SHORTEST * 2 ** (rest.times - 1))
            rest.until = max(rest.until, self.clock.now + pause)
            self.clock.schedule(pause, lambda: None)


@dataclass(slots=True)
class Choice:
    """One of some agents of a pool."""

    bench: Bench
    pool: Pool
    agents: list[str]

    def options(self) -> list[str]:
        """Give those that have a place free and do not rest."""
        clock = self.bench.clock
        return [
            f"agent {name}"
            for name in self.agents
            if clock.is_free(f"agent {name}") and self.bench.rests[name].until <= clock.now
        ]

    def choose(self, options: list[str]) -> str:
        """Choose as the pool's strategy does."""
        pool = self.pool
        names = [option.removeprefix("agent ") for option in options]
        if pool.balance == "round_robin":
            order = [*range(pool.last + 1, len(pool.agents)), *range(pool.last + 1)]
            pool.last = next(at for at in order if pool.agents[at] in names)
            return f"agent {pool.agents[pool.last]}"
        if pool.balance == "weighted":
            steps = {name: 1 / Fraction(self.bench.agents[name].weight) for name in names}
            chosen = min(names, key=lambda name: pool.due.get(name, steps[name] / 2))
            pool.now = max(pool.now, pool.due.get(chosen, steps[chosen] / 2))
            pool.due[chosen] = pool.now + steps[chosen]
            return f"agent {chosen}"
        return f"agent {min(names, key=self.load)}"

    def load(self, name: str) -> Fraction:
        """Give what an agent has at work, by what it can have."""
        bounds = [self.bench.agents[one].max_parallel or 0 for one in self.pool.agents]
        most = self.bench.agents[name].max_parallel or max(bounds) or 1
        return Fraction(self.bench.clock.taken[f"agent {name}"], most)
