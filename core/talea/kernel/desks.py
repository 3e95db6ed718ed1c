"""Desks: the agents of a run that are counted, and the pools of them.

    Desk    one agent: what it has at work, its bound, its rates, and whether it rests
    Pool    several desks, and the strategy that chooses among those that can take an attempt

An agent has a desk where something is to be counted: it has a bound or a rate, or a pool that the
workflow uses names it. A desk counts all of the agent's attempts, also those of tasks that name it.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from random import Random

from talea import ir
from talea.balance import Candidate, Request, Strategy
from talea.errors import ErrorType, TaskError
from talea.kernel.rates import EARLY, Rate, ready_at
from talea.plan import Plan, Step

FAILING_OVER = frozenset({ErrorType.RATE_LIMIT, ErrorType.SERVER_ERROR})
"""What lets an agent rest, and its attempt go to another one of the pool."""
FIRST_REST = 1.0
LONGEST_REST = 30.0
"""Seconds. Each rest is twice as long as the one before, until a call succeeds."""


class Desk:
    """An agent in one run. `bound` is how many attempts it does at once; None without one."""

    def __init__(self, key: str, name: str, bound: int | None, rates: Sequence[Rate]) -> None:
        self.key = key
        self.name = name
        self.bound = bound
        self.rates = rates
        self.taken = 0
        self.rests_until = 0.0
        self.is_free = True
        """Whether a pool may choose it."""
        self.seats: list[tuple[Pool, Candidate]] = []
        """Its part in each pool."""
        self._rested = 0
        self._last_rest = 0.0

    def opens_at(self, now: float) -> float:
        """Give the time from which it can take an attempt; infinity where one has to end first."""
        if self.bound is not None and self.taken >= self.bound:
            return math.inf
        return ready_at(self.rates, now) if self.rates else now

    def is_open(self, now: float) -> bool:
        """Say whether it can take an attempt, though it might rest."""
        return self.opens_at(now) <= now + EARLY

    def take(self) -> None:
        """Count an attempt that begins."""
        self.taken += 1
        for pool, candidate in self.seats:
            candidate.count(self.taken)
            pool.began(candidate)

    def release(self, began: float, now: float, failure: TaskError | None) -> None:
        """Count an attempt that has ended; `failure` is of type `interrupted` if it was cancelled.

        With a failure of the model's server it rests: longer each time, until a call succeeds. Of
        calls that were at work together, only the first that fails makes the rest longer.
        """
        self.taken -= 1
        for pool, candidate in self.seats:
            candidate.count(self.taken)
            pool.ended(candidate, now - began, failure and failure.type)
        if failure is None:
            self._rested = 0
        elif failure.type in FAILING_OVER:
            if began >= self._last_rest:
                self._rested += 1
                self._last_rest = now
            seconds = FIRST_REST * 2 ** min(self._rested - 1, 10)
            seconds = min(max(seconds, failure.retry_after or 0.0), LONGEST_REST)
            self.rests_until = max(self.rests_until, now + seconds)

    def free(self, is_free: bool) -> None:
        """Note whether pools may choose it."""
        if is_free is not self.is_free:
            self.is_free = is_free
            for pool, candidate in self.seats:
                if is_free:
                    insort(pool.free, candidate, key=_place)
                else:
                    pool.free.remove(candidate)


class Pool:
    """The agents of a pool, or all that have certain capabilities; `name` is None for those."""

    def __init__(self, name: str | None, desks: Sequence[Desk], strategy: Strategy) -> None:
        self.name = name
        self.strategy = strategy
        self.desks: dict[str, Desk] = {desk.name: desk for desk in desks}
        self.members: list[Candidate] = []
        self.free: list[Candidate] = []
        """Those that can take an attempt, in the pool's order."""
        self._broken: Exception | None = None

    def seat(self, agents: Mapping[str, ir.Agent]) -> None:
        """Give each agent its part in the pool."""
        bounds = [desk.bound for desk in self.desks.values() if desk.bound is not None]
        unbounded = max(bounds, default=1)
        for place, desk in enumerate(self.desks.values()):
            agent = agents[desk.name]
            candidate = Candidate(
                desk.name,
                place,
                desk.bound or unbounded,
                agent.weight,
                frozenset(agent.capabilities),
            )
            self.members.append(candidate)
            desk.seats.append((self, candidate))
        self.free = list(self.members)

    def choose(self, candidates: Sequence[Candidate], request: Request) -> Candidate:
        """Have the strategy choose. Raises `TaskError` where it fails, or chooses a stranger."""
        who = f"the strategy {type(self.strategy).__name__} of pool {self.name!r}"
        try:
            if self._broken is not None:
                raise self._broken
            chosen = self.strategy.choose(candidates, request)
        except Exception as error:
            raise TaskError(ErrorType.INTERNAL, f"{who} failed: {error!r}") from error
        if chosen not in candidates:
            message = f"{who} chose {chosen!r}, which was not to be chosen"
            raise TaskError(ErrorType.INTERNAL, message)
        return chosen

    def began(self, candidate: Candidate) -> None:
        """Tell the strategy that an agent has begun; `choose` tells of its faults."""
        try:
            self.strategy.began(candidate)
        except Exception as error:
            self._broken = error

    def ended(self, candidate: Candidate, seconds: float, failure: ErrorType | None) -> None:
        """Tell the strategy that an agent is done."""
        try:
            self.strategy.ended(candidate, seconds, failure)
        except Exception as error:
            self._broken = error

    def request(self, address: str, random: Random, find_key: Callable[[], str]) -> Request:
        """Ask for an agent."""
        return Request(address, self.members, random, find_key)

    def loads(self) -> dict[str, int]:
        """Say how many attempts each agent has at work."""
        return {candidate.name: candidate.in_flight for candidate in self.members}


class Desks:
    """The desks and pools of one run; `strategies` makes the strategies by name, and `model` is
    that of agents that name none."""

    def __init__(
        self,
        plan: Plan,
        strategies: Mapping[str, Callable[[], Strategy]],
        model: str | None = None,
    ) -> None:
        self._model = model
        self._agents: dict[str, Desk] = {}
        self._pools: dict[tuple[int, str | None, tuple[str, ...]], Pool] = {}
        self._rates: dict[str, Rate] = {}
        documents = {id(inner.workflow): inner.workflow for inner in plan.plans()}
        for document in documents.values():
            for name, agent in document.agents.items():
                if agent.max_parallel is not None or self._rates_of(document, name):
                    self._desk(document, name)
        for inner in plan.plans():
            for step in inner.steps:
                if step.balance is not None and _key(inner.workflow, step) not in self._pools:
                    self._add_pool(inner.workflow, step, strategies[step.balance])

    def __bool__(self) -> bool:
        return bool(self._agents)

    def __iter__(self) -> Iterator[Desk]:
        return iter(self._agents.values())

    def of(self, workflow: ir.Workflow, agent: str) -> Desk | None:
        """Give an agent's desk, if it has one."""
        return self._agents.get(f"{id(workflow)}/{agent}")

    def pool(self, workflow: ir.Workflow, step: Step) -> Pool:
        """Give the pool that chooses for a step."""
        return self._pools[_key(workflow, step)]

    def _add_pool(
        self, workflow: ir.Workflow, step: Step, strategy: Callable[[], Strategy]
    ) -> None:
        desks = [self._desk(workflow, name) for name in step.agents]
        pool = Pool(getattr(step.task, "pool", None), desks, strategy())
        pool.seat(workflow.agents)
        self._pools[_key(workflow, step)] = pool

    def _desk(self, workflow: ir.Workflow, name: str) -> Desk:
        key = f"{id(workflow)}/{name}"
        if key not in self._agents:
            agent = workflow.agents[name]
            rates = [
                self._rates.setdefault(f"{id(workflow)}/{whose}", Rate(limits))
                for whose, limits in self._rates_of(workflow, name).items()
            ]
            self._agents[key] = Desk(key, name, agent.max_parallel, rates)
        return self._agents[key]

    def _rates_of(self, workflow: ir.Workflow, name: str) -> dict[str, ir.Rates]:
        """Give the rates that an agent is held to, its own and its model's, by what they belong
        to."""
        agent = workflow.agents[name]
        model = agent.model or workflow.model or self._model or ""
        given = {f"agents/{name}": agent.limits}
        if model in workflow.models:
            given[f"models/{model}"] = workflow.models[model].limits
        return {whose: limits for whose, limits in given.items() if limits is not None}


def _key(workflow: ir.Workflow, step: Step) -> tuple[int, str | None, tuple[str, ...]]:
    return id(workflow), getattr(step.task, "pool", None), step.agents


_place = attrgetter("place")
