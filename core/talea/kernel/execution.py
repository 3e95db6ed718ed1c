"""What all runs of one execution share: its sinks, clock, places, limits, tools and people."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from talea import ir
from talea.adapter import Adapter, AskCall, Endpoint, Unanswered, Via
from talea.events import Content, Event, Failure, Sink, TextStreamed, Usage, Waited
from talea.kernel.clock import Clock
from talea.kernel.desks import Desks
from talea.kernel.past import Journal, Past, Totals
from talea.kernel.people import Earlier
from talea.kernel.places import Places
from talea.kernel.tape import Tape
from talea.kernel.threads import Threads
from talea.limits import more_of, refuses_model_call
from talea.result import plain_address

if TYPE_CHECKING:
    from talea.kernel.run import Cell, Run
    from talea.tools import BoundTool

_TURN_OF_LOOP = 0.001
"""Seconds. A place that is free is given at the end of the loop's turn: that is no wait."""


class _Both:
    """One adapter's schedule with another one's agents."""

    def __init__(self, adapter: Adapter[Any], agents: Adapter[Any]) -> None:
        self.answer = agents.answer
        self.ask = adapter.ask
        self.nested = adapter.nested


EndpointFor = Callable[[ir.Workflow, str, str], Endpoint]
"""(document, agent, task address) → where this agent's model is asked for this task."""
Answers = Mapping[str, Sequence[Any]]
"""Prepared answers by address; each is used up in turn."""


class Execution:
    """The part of a run that nested runs share. All of it lives on one event loop.

    Create it inside that loop. `tools` and `endpoint` are bound by the caller of the run, and
    `agents` is the adapter whose agents answer, where it is not the one that schedules. `desks` are
    the agents that are counted, and `seed` makes what is left to chance repeat.
    """

    def __init__(
        self,
        adapter: Adapter[Any],
        *,
        run_id: str,
        limits: ir.Limits | None = None,
        desks: Desks | None = None,
        agents: Adapter[Any] | None = None,
        tools: Mapping[int, Mapping[str, BoundTool]] | None = None,
        endpoint: EndpointFor | None = None,
        answers: Answers | None = None,
        asker: Callable[[AskCall], Any] | None = None,
        tape: Tape | None = None,
        price: Callable[[Endpoint, Usage], float | None] | None = None,
        sinks: Sequence[Sink] = (),
        counts_people: bool = False,
        seed: int | None = None,
        earlier: Earlier | None = None,
        journal: Journal | None = None,
        past: Past | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.adapter = adapter
        self.via: Via = _Both(adapter, agents) if agents else adapter
        self.passes = adapter.passes
        self.run_id = run_id
        self.limits = limits or ir.Limits()
        self.tools = tools or {}
        self.endpoint = endpoint
        self.tape = tape
        self.price = price
        self.clock = Clock(loop)
        self.journal = journal
        self.past = past
        self.began = self.clock.time() - (past.elapsed if past else 0.0)
        self.usage = past.usage if past else Usage()
        """As the framework reports it."""
        self.agents: dict[str, Usage] = past.agents if past else {}
        """What each agent has used of it, by name."""
        self.metered: Callable[[], Usage] | None = None
        """What the gateway has seen, what was used before the run was cut off included."""
        self.ledger: list[Event] = []
        self.totals: dict[str, Totals] = past.totals if past else {}
        self.crossed: Failure | None = None
        self.root: Run | None = None
        self.deadline: float | None = None
        self.left: float | None = None
        self.busy = 0
        self.asking = 0
        self.session: Any = None
        self.counts_people = counts_people
        self.earlier = earlier or Earlier()
        self._random = random.Random(seed)
        self._seed = seed
        self.sinks: list[Sink] = list(sinks)
        self.broken_sinks: list[tuple[Sink, Exception]] = []
        self.desks = desks
        total = self.limits.max_parallel
        self.places: Places | None = None
        if desks or total is not None:
            self.places = Places(loop, total, desks or (), tells=bool(sinks))
        self._threads: Threads | None = None
        self.loop = loop
        self._answers = answers or {}
        self._used_answers: Counter[str] = Counter()
        self._asker = asker

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return self.clock.time() - self.began

    def chance(self, place: str) -> random.Random:
        """Give what chooses by chance at a place. With a seed it is the place's own, whatever came
        before: so a run that goes on chooses as it would have without having been cut off."""
        return self._random if self._seed is None else random.Random(f"{self._seed}/{place}")

    @property
    def threads(self) -> Threads:
        """The threads for blocking functions, made when the first one is called."""
        if self._threads is None:
            self._threads = Threads(self.loop)
        return self._threads

    def tell(self, event: Event) -> None:
        """Pass an event to the sinks. One that raises hears no more, and stops nothing."""
        self._tell(event, tuple(self.sinks))

    def _tell(self, event: Any, sinks: Sequence[Sink]) -> None:
        for sink in sinks:
            try:
                sink(event)
            except Exception as error:
                self.sinks.remove(sink)
                self.broken_sinks.append((sink, error))

    @property
    def tells_content(self) -> bool:
        """Whether any sink asks what goes into agents and tools, and what comes out."""
        return any(getattr(sink, "content", False) for sink in self.sinks)

    def tell_content(self, content: Content) -> None:
        """Pass on what went in and came out, to the sinks that ask for it alone."""
        self._tell(content, [sink for sink in self.sinks if getattr(sink, "content", False)])

    @property
    def streams(self) -> bool:
        """Whether any sink hears pieces of answers, so that models are asked to stream them."""
        return any(getattr(sink, "text", True) for sink in self.sinks)

    def record(self, event: Event) -> None:
        """Keep an event for the result, and pass it to the sinks."""
        self.ledger.append(event)
        if self.sinks:
            self.tell(event)

    def stream_text(self, address: str, agent: str, text: str) -> None:
        """Tell of a piece of an agent's answer."""
        hearing = [sink for sink in self.sinks if getattr(sink, "text", True)]
        if hearing:
            self._tell(TextStreamed(self.now, address, agent, text), hearing)

    def tell_wait(self, address: str, began: float) -> None:
        """Tell of a wait for a place or for rates that has ended, where it was one."""
        if self.sinks and (waited := self.now - began) > _TURN_OF_LOOP:
            self.tell(Waited(self.now, address, waited))

    def refuses_model_call(self) -> str | None:
        """Say why no further model call may be made; None if one may."""
        return refuses_model_call(self.limits, self.used())

    def used(self) -> Usage:
        """Give what the run has used: as the framework reports it or, where that is more, as the
        gateway has seen it."""
        return self.usage if self.metered is None else more_of(self.usage, self.metered())

    def start(self, root: Run) -> None:
        """Begin the run's own time limit."""
        self.root = root
        if self.limits.timeout is not None:
            left = self.limits.timeout - (self.past.used if self.past else 0.0)
            if left > 0:
                self.clock.set(self, left)
            else:
                self.expire()

    def time_used(self) -> float:
        """Give how much of the time limit is used up; all the time where there is none."""
        if self.limits.timeout is None:
            return self.now
        left = self.left
        if left is None:
            left = 0.0 if self.deadline is None else self.deadline - self.clock.time()
        return self.limits.timeout - left

    def expire(self) -> None:
        """End the run, whose time is over."""
        assert self.limits.timeout is not None
        self.cross(None, f"the run took longer than {ir.format_duration(self.limits.timeout)}")

    def cross(self, cell: Cell | None, message: str) -> None:
        """Cross a limit at a cell: it and the tasks around it go on to fail, all else ends."""
        if self.crossed is not None or self.root is None:
            return
        self.crossed = Failure("limit_exceeded", message, cell.address if cell else None)
        spared: dict[int, Cell] = {}
        while cell is not None:
            spared[id(cell.run)] = cell
            cell = cell.run.around
        self.root.halt("limit", spared)

    def prepared_answer(self, address: str) -> tuple[bool, Any]:
        """Give (True, answer) if one is prepared for a question and not used up yet."""
        if not self._answers:
            return False, None
        plain = plain_address(address)
        keys = (address, plain, strip_items(plain))
        for key in keys:
            # The counter is the place's own: without `[i]` each item uses the same answers anew.
            place = f"{key}@{address if key == address else plain}"
            listed = self._answers.get(key)
            if listed is not None and self._used_answers[place] < len(listed):
                self._used_answers[place] += 1
                return True, listed[self._used_answers[place] - 1]
        return False, None

    async def ask_person(self, call: AskCall) -> Any:
        """Have a person answer. Raises `Unanswered` where there is none."""
        if self._asker is None:
            raise Unanswered
        answer = self._asker(call)
        return await answer if asyncio.iscoroutine(answer) else answer

    def close(self) -> None:
        """Let go of timers and idle threads."""
        self.clock.close()
        if self.places is not None:
            self.places.close()
        if self._threads is not None:
            self._threads.close()


def strip_items(address: str) -> str:
    """Leave every `[i]` out of an address."""
    while (start := address.find("[")) >= 0:
        address = address[:start] + address[address.index("]", start) + 1 :]
    return address
