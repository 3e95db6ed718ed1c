"""Who of several agents gets a task: the strategies of pools.

A strategy sees the agents that could take an attempt at this moment, and chooses one of them. It is
told of every call of the pool's agents that begins and ends, whoever made it. There is one strategy
for each pool in a run, so that whatever it remembers is of this pool and this run alone. All that
is left to chance comes from the run's own `Random`: with the same seed it chooses the same.

A strategy of one's own is a plugin: see `talea_strategies` in hookspecs.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from operator import attrgetter
from random import Random
from typing import ClassVar, TypeVar

from talea.errors import ErrorType

BY_CAPABILITY = "capability_based"
"""The strategy of tasks that ask for capabilities and name no pool."""

_Value = TypeVar("_Value")
_EXPLORED = 0.1
"""The share of calls by which `fastest` learns of agents that it would not choose."""
_NEWEST = 0.3
"""How much the last call counts for what the next one is expected to take."""
_UNKNOWN = 1e9
"""Seconds, beyond what any call takes: an agent at work for the first time is not chosen again
while another one is known."""
_RANK_BITS = 20


@dataclass(slots=True, eq=False)
class Candidate:
    """An agent of a pool, as its strategy sees it.

    `capacity` is how many calls it takes at once; without a bound, as many as the pool's agent with
    the highest one, or 1. `place` counts from 0 in the pool's order.
    """

    name: str
    place: int = 0
    capacity: int = 1
    weight: float = 1.0
    capabilities: frozenset[str] = frozenset()
    in_flight: int = 0
    """Attempts at work, those of other pools and of tasks that name the agent included."""
    load: float = 0.0
    """`in_flight / capacity`."""

    def count(self, in_flight: int) -> None:
        """Set how many attempts are at work."""
        self.in_flight, self.load = in_flight, in_flight / self.capacity


@dataclass(eq=False)
class Request:
    """An attempt that needs an agent.

    `address` is the task's full one, `pool` all of the pool's agents, `random` the run's chance.
    """

    address: str
    pool: Sequence[Candidate]
    random: Random
    find_key: Callable[[], str]

    @cached_property
    def key(self) -> str:
        """What belongs together: the item as JSON, or, without one, the address without `#n`."""
        return self.find_key()


class Strategy(ABC):
    """Chooses an agent for each attempt. Nothing but `choose` has to be written."""

    binds: ClassVar[bool] = False
    """Whether it chooses before any agent is free: the attempt then waits for the one chosen."""

    @abstractmethod
    def choose(self, candidates: Sequence[Candidate], request: Request) -> Candidate:
        """Choose one of the agents that could take it: at least one, in the pool's order."""

    def began(self, candidate: Candidate) -> None:  # noqa: B027 - most have nothing to remember
        """Take note that an agent has begun; its load is already the new one."""

    def ended(  # noqa: B027 - as above
        self, candidate: Candidate, seconds: float, failure: ErrorType | None
    ) -> None:
        """Take note that an agent is done; `failure` is `interrupted` where it was cancelled."""


class _ByDefault(dict[Candidate, _Value]):
    """Holds a value for each agent, computed where none is there yet."""

    def __init__(self, default: Callable[[Candidate], _Value]) -> None:
        self._default = default

    def __missing__(self, candidate: Candidate) -> _Value:
        value = self[candidate] = self._default(candidate)
        return value


class RoundRobin(Strategy):
    """In turn; one that could not take it is passed over."""

    def __init__(self) -> None:
        self._last = -1

    def choose(self, candidates: Sequence[Candidate], request: Request) -> Candidate:
        """Choose the next one behind the last."""
        at = bisect_right(candidates, self._last, key=_place)
        chosen = candidates[at if at < len(candidates) else 0]
        self._last = chosen.place
        return chosen


class LeastLoaded(Strategy):
    """The one with the least in flight, by its capacity."""

    def choose(self, candidates: Sequence[Candidate], request: Request) -> Candidate:
        """Choose the first of those with the least load."""
        return min(candidates, key=_load)


class Weighted(Strategy):
    """By weight, evenly spread: with weights 2 and 1 it is a, b, a, a, b, a and not a, a, b.

    Start-time fair queueing (Goyal et al., 1996): an agent is due again after 1 / weight, counted
    from when it was due, and is owed nothing for turns that it could not take.
    """

    def __init__(self) -> None:
        self._due: dict[Candidate, float] = _ByDefault(lambda one: 0.5 / one.weight)
        self._now = 0.0

    def choose(self, candidates: Sequence[Candidate], request: Request) -> Candidate:
        """Choose the one that is due first."""
        chosen = min(candidates, key=self._due.__getitem__)
        self._now = max(self._now, self._due[chosen])
        self._due[chosen] = self._now + 1 / chosen.weight
        return chosen


class PowerOfTwo(Strategy):
    """The less loaded of two that chance picks (Mitzenmacher, 2001)."""

    def choose(self, candidates: Sequence[Candidate], request: Request) -> Candidate:
        """Choose the less loaded of two."""
        if len(candidates) == 1:
            return candidates[0]
        count = len(candidates)
        one = int(request.random.random() * count)
        other = int(request.random.random() * (count - 1))
        first, second = candidates[one], candidates[other + (other >= one)]
        return first if first.load <= second.load else second


class _Expected:
    """What a call of each agent is expected to take, in seconds: a moving average.

    A failed call counts as one that took twice as long as expected, so that an agent which fails
    fast does not look like a fast one. A cancelled one says nothing.
    """

    def __init__(self) -> None:
        self.seconds: dict[Candidate, float] = _ByDefault(lambda _: 0.0)
        self._known: set[Candidate] = set()

    def began(self, candidate: Candidate) -> None:
        if candidate not in self._known:
            self.seconds[candidate] = _UNKNOWN + candidate.in_flight

    def ended(self, candidate: Candidate, seconds: float, failure: ErrorType | None) -> None:
        known = candidate in self._known
        if failure is ErrorType.INTERRUPTED:
            if not known:
                self.seconds[candidate] = _UNKNOWN + candidate.in_flight
            return
        before = self.seconds[candidate] if known else seconds
        if failure is not None:
            seconds = max(seconds, 2 * before)
        self.seconds[candidate] = before + _NEWEST * (seconds - before) if known else seconds
        self._known.add(candidate)


class Fastest(Strategy):
    """The one whose calls take the least time by a moving average; new ones are tried first.

    Every tenth call, by chance, goes to any of them, so that one that has become faster is found.
    """

    def __init__(self) -> None:
        self._expected = _Expected()

    def choose(self, candidates: Sequence[Candidate], request: Request) -> Candidate:
        """Choose the one that is expected to be done first, or, now and then, any."""
        if request.random.random() < _EXPLORED:
            return request.random.choice(candidates)
        return min(candidates, key=self._expected.seconds.__getitem__)

    def began(self, candidate: Candidate) -> None:
        """Expect the worst of one that is at work for the first time."""
        self._expected.began(candidate)

    def ended(self, candidate: Candidate, seconds: float, failure: ErrorType | None) -> None:
        """Learn how long it took."""
        self._expected.ended(candidate, seconds, failure)


class Sticky(Strategy):
    """The same key, the same agent: good for a provider's cache of prompts.

    By rendezvous hashing (Thaler and Ravishankar, 1996), so that it is the same one in every run
    too. A key whose agent cannot take it goes to its second best, and all other keys stay.
    """

    binds = True

    def __init__(self) -> None:
        self._homes: dict[str, Candidate] = {}

    def choose(self, candidates: Sequence[Candidate], request: Request) -> Candidate:
        """Choose the key's own agent, or the next best."""
        home = self._homes.get(request.key)
        if home is None:
            home = self._homes[request.key] = _best(request.key, request.pool)
        return home if home in candidates else _best(request.key, candidates)


class ContractNet(Strategy):
    """Agents bid for the task, and the lowest bid wins; of equal ones, the first by id.

    A bid is when the agent would be done: what a call takes it, times what it already has to do
    (Smith, 1980). One of which nothing is known yet bids lowest, until it has its first call.
    """

    def __init__(self) -> None:
        self._expected = _Expected()
        self._ranks: dict[Candidate, int] = {}
        self._bids: dict[Candidate, int] = _ByDefault(self._rank)

    def choose(self, candidates: Sequence[Candidate], request: Request) -> Candidate:
        """Give it to the lowest bidder."""
        if not self._ranks:
            by_id = sorted(request.pool, key=attrgetter("name"))
            self._ranks = {candidate: rank for rank, candidate in enumerate(by_id)}
            for candidate in request.pool:
                self._bid(candidate)
        return min(candidates, key=self._bids.__getitem__)

    def began(self, candidate: Candidate) -> None:
        """Let it bid anew, with more to do."""
        self._expected.began(candidate)
        self._bid(candidate)

    def ended(self, candidate: Candidate, seconds: float, failure: ErrorType | None) -> None:
        """Let it bid anew, by how long it took."""
        self._expected.ended(candidate, seconds, failure)
        self._bid(candidate)

    def _bid(self, candidate: Candidate) -> None:
        done_by = self._expected.seconds[candidate] * (1 + candidate.load)
        self._bids[candidate] = (int(done_by * 1e9) << _RANK_BITS) + self._rank(candidate)

    def _rank(self, candidate: Candidate) -> int:
        """Give its rank by id, which stands in a bid's last bits: one number, fast to compare."""
        return self._ranks.get(candidate, 0)


STRATEGIES: Mapping[str, Callable[[], Strategy]] = {
    "round_robin": RoundRobin,
    "least_loaded": LeastLoaded,
    BY_CAPABILITY: LeastLoaded,  # Who lacks a capability is no candidate.
    "weighted": Weighted,
    "power_of_two": PowerOfTwo,
    "fastest": Fastest,
    "sticky": Sticky,
    "contract_net": ContractNet,
}
"""The strategies that talea brings; plugins bring others."""

_place = attrgetter("place")
_load = attrgetter("load")


def _best(key: str, candidates: Sequence[Candidate]) -> Candidate:
    """Give the agent that a key ranks highest."""
    return max(
        candidates,
        key=lambda one: blake2b(f"{key}\n{one.name}".encode("utf-8", "surrogatepass")).digest(),
    )
