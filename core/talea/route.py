"""How the agents of a run reach their models: straight, or through the gateway.

    find_route   what the caller wishes → a Route, found and checked; nothing is open
    Route.open   → an OpenRoute: each agent's endpoint, what the gateway saw, the tape of tools

The gateway stands between whenever a run is offline, a replay, metered, recorded or disturbed. It
is in this process, unless another one keeps it, and the keys, from the framework: then `doors` say
how it is reached.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talea import ir, prices
from talea.adapter import Endpoint
from talea.endpoint import PROVIDERS, find_endpoints
from talea.errors import TaskError, UsageError
from talea.events import MeteredCall, Usage

_SHORTEST_KEY = 8
"""A shorter one, such as `none` for a server that wants none, stands in values that hold no key."""

_WHY = "prices come with talea[prices], for models that are listed there"

if TYPE_CHECKING:
    from talea.gateway.account import Account
    from talea.gateway.cassette import Cassette
    from talea.gateway.server import Door, Gateway
    from talea.kernel.tape import Tape


@dataclass(slots=True, frozen=True)
class Wishes:
    """What the caller of a run wants of its models; parameters of `talea.run`.

    `doors` are the addresses of a gateway in another process, one for each document.
    """

    offline: bool = False
    replay: Any = None
    """A cassette, or the path of one."""
    meter: bool = False
    record: str | Path | None = None
    record_tools: bool = False
    faults: Any = None
    """Rules of faults, or the path of a file of them, which `run.route_of` reads."""
    save_prompts: bool = False
    doors: Sequence[str] = ()
    tape: str | None = None
    """With doors: the file for what tools gave, where it is recorded."""

    @property
    def asks_models(self) -> bool:
        """Whether models are asked for real, so that addresses and keys are needed."""
        return not self.offline and self.replay is None

    @property
    def through_gateway(self) -> bool:
        """Whether the gateway stands between."""
        given = (self.replay, self.record, self.faults)
        switched = self.offline or self.meter or self.save_prompts
        return switched or any(wish is not None for wish in given)

    def check(self) -> None:
        """Refuse what cannot be together. Raises `UsageError`."""
        if self.offline and self.replay is not None:
            raise UsageError("a run is either offline or a replay", "leave one of them out")
        if self.record_tools and self.record is None:
            raise UsageError("tools are to be recorded, and nothing says where", "record=FILE")
        if self.record is not None and not Path(self.record).absolute().parent.is_dir():
            raise UsageError(f"the folder of {str(self.record)!r} does not exist")


@dataclass(slots=True)
class Route:
    """The way to the models of one run. `documents` are those in force in it, the root first."""

    wishes: Wishes
    documents: Sequence[ir.Workflow]
    endpoints: Sequence[Mapping[str, Endpoint]]
    """Of each document, by agent."""
    source: Any = None
    """What answers in the gateway; None where none is in this process."""
    faults: Any = None
    player: Tape | None = None
    """What stands in for tools in a replay that has their results."""
    notes: list[str] = field(default_factory=list[str])
    """What went wrong beside the run."""
    before: Usage = field(default_factory=Usage)
    """What a run that goes on had used when it was cut off."""

    @property
    def warnings(self) -> list[str]:
        """What is wanted of the run that nobody can hold: a limit of costs that nobody knows."""
        if self.documents[0].limits.max_cost is None or not self.wishes.asks_models:
            return []
        used = Usage(1, 1, 1)
        models = {f"{one.provider}/{one.model}": cost_of(one, used) for one in _endpoints(self)}
        return [
            f"max_cost cannot hold calls of {name}, whose price is not known: {_WHY}"
            for name, cost in models.items()
            if cost is None
        ]

    @contextmanager
    def open(self, run_id: str) -> Generator[OpenRoute]:
        """Open the way for a run, and close it afterwards: what is recorded is written then."""
        if self.wishes.asks_models and any(self.endpoints):
            prices.warm()
        if not (self.source or self.wishes.doors):
            yield OpenRoute(self)
            return
        from talea.gateway.server import Door, Gateway

        if self.wishes.doors:
            with _taping(self.wishes.tape) as tape:
                doors = [Door.at(url) for url in self.wishes.doors]
                yield OpenRoute(self, doors, tape or self.player)
            return
        gateway = Gateway(self.source, faults=self.faults, save_prompts=self.wishes.save_prompts)
        with gateway, _recording(self, gateway) as tape:
            account = self._account()
            doors = [gateway.open(run_id, targets, account) for targets in self.endpoints]
            yield OpenRoute(self, doors, tape, gateway, account)

    def _account(self) -> Account:
        from talea.gateway.account import Account

        limits = self.documents[0].limits
        return Account(limits, self.before, None if limits.max_cost is None else cost_of)


def find_route(
    documents: Sequence[ir.Workflow],
    agents: Sequence[Sequence[str]],
    wishes: Wishes,
    *,
    model: str | None = None,
    allow_hosts: Sequence[str] = (),
) -> Route:
    """Find the way to the models of the agents of some documents.

    Raises `EndpointError` with every problem, `UsageError`, and `DocumentError` for a cassette that
    cannot be read.
    """
    wishes.check()
    if wishes.doors and len(wishes.doors) != len(documents):
        raise UsageError("the workflow has changed since the run began", "run it again")
    endpoints = [
        find_endpoints(
            document,
            used,
            model=model,
            allow_hosts=allow_hosts,
            offline=not wishes.asks_models or bool(wishes.doors),
        )
        for document, used in zip(documents, agents, strict=True)
    ]
    route = Route(wishes, documents, endpoints)
    if wishes.through_gateway and not wishes.doors:
        route.faults = wishes.faults
        _choose_source(route)
    elif wishes.replay is not None:
        _play_tools(route)  # Models are answered elsewhere.
    return route


class OpenRoute:
    """The way to the models of one run while it goes on."""

    def __init__(
        self,
        route: Route,
        doors: Sequence[Door] = (),
        tape: Tape | None = None,
        gateway: Gateway | None = None,
        account: Account | None = None,
    ) -> None:
        self.tape = tape
        self.account = account
        """What the run has used, where the gateway is in this process."""
        self.doors = doors
        self._gateway = gateway
        self._notes = route.notes
        self._began = time.time()
        self._places = {
            id(document): (endpoints, door)
            for document, endpoints, door in zip(
                route.documents,
                route.endpoints,
                doors or [None] * len(route.documents),
                strict=True,
            )
        }

    def endpoint(self, workflow: ir.Workflow, agent: str, address: str) -> Endpoint:
        """Say where an agent of a document is asked for a task."""
        endpoints, door = self._places[id(workflow)]
        found = endpoints[agent]
        if door is None:
            return found
        url = door.base_url(address, agent)
        return replace(found, base_url=url, key=_no_key, headers={}, is_gateway=True)

    def calls(self) -> tuple[MeteredCall, ...] | None:
        """Give every call that the gateway saw; None where it does not stand between, or is gone
        with its process: then a note says so."""
        if not self.doors:
            return None
        try:
            return self._metered()
        except OSError as error:
            self._notes.append(f"the gateway is gone, and its count with it: {error}")
            return None

    def _metered(self) -> tuple[MeteredCall, ...]:
        found: list[tuple[int, MeteredCall]] = []
        for endpoints, door in self._places.values():
            assert door is not None
            for exchange in self._gateway.seen(door) if self._gateway else door.log():
                call = exchange.as_metered(self._began)
                endpoint = endpoints.get(exchange.agent)
                if call.usage.cost is None and endpoint is not None and call.status == 200:
                    call.usage.cost = cost_of(endpoint, call.usage)
                found.append((exchange.number, call))
        return tuple(call for _, call in sorted(found, key=lambda pair: pair[0]))


def cost_of(endpoint: Endpoint, used: Usage) -> float | None:
    """Give what a call cost by published prices, in US dollars; None where nobody knows."""
    return prices.price(endpoint.provider, endpoint.model, used)


@contextmanager
def _taping(path: str | None) -> Generator[Tape | None]:
    """Keep what tools give for the process that has the gateway."""
    if path is None:
        yield None
        return
    from talea.gateway.tape import ToolRecorder

    recorder = ToolRecorder()
    try:
        yield recorder
    finally:
        recorder.write(path)


@contextmanager
def _recording(route: Route, gateway: Gateway) -> Generator[Tape | None]:
    """Write a cassette in the end, whatever becomes of the run."""
    wishes = route.wishes
    if wishes.record is None:
        yield route.player
        return
    from talea.gateway.recorder import Recorder, write_cassette
    from talea.gateway.tape import ToolRecorder

    recorder = Recorder()
    gateway.subscribe(recorder)
    tools = ToolRecorder() if wishes.record_tools else None
    try:
        yield tools or route.player
    finally:
        kept = None if tools is None else tools.tools
        try:
            write_cassette(recorder.cassette(kept), wishes.record)
        except OSError as error:
            route.notes.append(f"the cassette {str(wishes.record)!r} was not written: {error}")


def _choose_source(route: Route) -> None:
    """Find what answers, and what stands in for tools."""
    wishes = route.wishes
    if wishes.offline:
        from talea.gateway.standin import StandIn

        route.source = StandIn()
    elif wishes.replay is not None:
        from talea.gateway.cassette import Player

        route.source = Player(_play_tools(route))
    else:
        from talea.gateway.upstream import Upstream

        route.source = Upstream()


def _play_tools(route: Route) -> Cassette:
    """Let a cassette stand in for tools, where it has what they gave; give the cassette."""
    from talea.gateway.cassette import load_cassette
    from talea.gateway.tape import ToolPlayer

    given = route.wishes.replay
    cassette = load_cassette(given) if isinstance(given, str | Path) else given
    route.player = None if cassette.tools is None else ToolPlayer(cassette)
    return cassette


def _no_key() -> None:
    """Give no key: it is the gateway's."""


def without_keys(environment: Mapping[str, str], route: Route) -> dict[str, str]:
    """Leave out what holds a key: by its name, and by what stands in it."""
    names = {name for provider in PROVIDERS.values() for name in provider.variables}
    for document in route.documents:
        names |= {model.api_key.env for model in document.models.values() if model.api_key}
    held = {environment.get(name, "") for name in names}
    held |= {_key_of(endpoint) or "" for endpoint in _endpoints(route)}
    keys = {key for key in held if len(key) >= _SHORTEST_KEY}
    return {
        name: value
        for name, value in environment.items()
        if name not in names and not any(key in value for key in keys)
    }


def _endpoints(route: Route) -> Iterator[Endpoint]:
    for known in route.endpoints:
        yield from known.values()


def _key_of(endpoint: Endpoint) -> str | None:
    try:
        return endpoint.key()
    except TaskError:
        return None  # The run says so, where it asks that model.
