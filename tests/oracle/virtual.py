"""A virtual clock and the processes that live on it.

A process is a generator that yields what it waits for. Time passes only when nothing is left to do
at the present instant; places are given and timers set right before that. Of things that are due at
one instant the one that was scheduled first goes first, unless `ties` shuffles them: what differs
between two shuffles is what the language leaves to time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random
from typing import Any, Protocol


class Need(Enum):
    """What a process waits for."""

    TIME = auto()
    PLACE = auto()
    PERSON = auto()
    OTHERS = auto()


@dataclass(slots=True, frozen=True)
class Wait:
    """Wait for a need; after so many microseconds it is met, or, with None, when somebody says."""

    need: Need
    after: int | None = None


Steps = Generator[Wait, None, Any]


class Cancelled(BaseException):
    """Thrown into a process that must end at once. It ends without yielding again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TimedOut(BaseException):
    """Thrown into a process whose timer has run down."""


@dataclass(slots=True, eq=False)
class Process:
    """A running generator; `then` is called when it has ended by itself."""

    clock: Clock
    steps: Steps
    then: Callable[[], None]
    children: list[Process] = field(default_factory=lambda: list[Process]())
    wait: Wait | None = None
    turn: int = 0
    over: bool = False

    def resume(self, thrown: BaseException | None = None) -> None:
        """Let it go on to its next wait, or to its end."""
        before, self.clock.current = self.clock.current, self
        self.clock.touched = self.clock.now
        self.turn += 1
        try:
            self.wait = self.steps.throw(thrown) if thrown else next(self.steps)
        except (StopIteration, Cancelled):
            self.over = True
        finally:
            self.clock.current = before
        if self.over:
            if not isinstance(thrown, Cancelled):
                self.clock.follow(self.then)
        elif self.wait and self.wait.after is not None:
            turn = self.turn
            self.clock.schedule(self.wait.after, lambda: self.wake(turn))

    def wake(self, turn: int) -> None:
        """Go on, unless something else has ended that wait."""
        if not self.over and self.turn == turn:
            self.resume()

    def cancel(self, reason: str) -> None:
        """End it at once."""
        if not self.over:
            self.resume(Cancelled(reason))

    def needs(self) -> set[Need]:
        """Give what it and all below it wait for, apart from one another."""
        return {wait.need for wait in self.waits()}

    def waits(self) -> set[Wait]:
        """Give all waits of it and of all below it, apart from those for one another."""
        self.children = [child for child in self.children if not child.over]
        below = {wait for child in self.children for wait in child.waits()}
        own = self.wait or Wait(Need.TIME, 0)
        return below if own.need is Need.OTHERS else below | {own}


@dataclass(slots=True, eq=False)
class Timer:
    """Throws `TimedOut` into its process; stands still while only a person's answer is missing."""

    process: Process
    left: int
    since: int | None = None
    turn: int = 0


class Choice(Protocol):
    """One of several kinds of places that will do, whichever is free."""

    def options(self) -> list[str]:
        """Give those that are free."""
        ...

    def choose(self, options: list[str]) -> str:
        """Choose one of them."""
        ...


@dataclass(slots=True, eq=False)
class Waiter:
    """A process that waits for a place of each of some kinds; the lowest rank comes first."""

    rank: tuple[Any, ...]
    kinds: tuple[str, ...]
    process: Process
    choice: Choice | None = None


@dataclass(slots=True)
class Clock:
    """The virtual time in microseconds, what is due, and the places of calls.

    `capacity` bounds the places of a kind; a kind that is not in it has no bound. What is in `idle`
    is asked right before time passes whether it can still do something at this instant. `touched` is
    the last time at which a process went on.
    """

    capacity: dict[str, int] = field(default_factory=dict[str, int])
    ties: Random | None = None
    held: Callable[[str], bool] = lambda _: False
    now: int = 0
    touched: int = 0
    taken: Counter[str] = field(default_factory=Counter[str])
    current: Process | None = None
    idle: list[Callable[[], bool]] = field(default_factory=lambda: list[Callable[[], bool]]())
    due: list[tuple[int, Callable[[], None]]] = field(
        default_factory=lambda: list[tuple[int, Callable[[], None]]]()
    )
    waiters: list[Waiter] = field(default_factory=lambda: list[Waiter]())
    timers: list[Timer] = field(default_factory=lambda: list[Timer]())

    def schedule(self, after: int, action: Callable[[], None]) -> None:
        """Let something happen after so many microseconds."""
        self.due.append((self.now + after, action))

    def follow(self, action: Callable[[], None]) -> None:
        """Let a consequence happen: at once, or, where ties are shuffled, perhaps after others."""
        if self.ties and self.ties.random() < 0.5:
            self.schedule(0, action)
        else:
            action()

    def start(
        self, steps: Steps, then: Callable[[], None], below: Process | None = None
    ) -> Process:
        """Start a process at this instant, below another one."""
        process = Process(self, steps, then)
        if below:
            below.children.append(process)
        self.schedule(0, lambda: process.wake(0))
        return process

    def run(self) -> None:
        """Let everything happen, until nothing is left that could.

        Shuffled runs differ in their habits, since real schedules are not as random as dice: how
        soon places are given, and whether mostly the oldest or the newest of what is due goes on.
        """
        early, leaning, end = 0.0, 0.0, 0
        if self.ties:
            early = self.ties.choice((0.0, 0.3, 0.9))
            leaning, end = self.ties.choice((0.0, 0.5, 0.9, 1.0)), self.ties.choice((0, -1))
        while True:
            if self.ties and self.ties.random() < early and self.give_place():
                continue
            if present := [entry for entry in self.due if entry[0] == self.now]:
                entry = self.ties.choice(present) if self.ties else present[0]
                if self.ties and self.ties.random() < leaning:
                    entry = present[end]
                self.due.remove(entry)
                entry[1]()
            elif not self.give_place() and not any(do() for do in list(self.idle)):
                self.set_timers()
                if not self.due:
                    return
                self.now = min(time for time, _ in self.due)

    def acquire(
        self, rank: tuple[Any, ...], kinds: tuple[str, ...], choice: Choice | None = None
    ) -> Generator[Wait, None, tuple[str, ...]]:
        """Wait for a place of each kind, and of one of a choice, all at once; among waiters the
        lowest rank comes first. Gives the kinds."""
        assert self.current
        waiter = Waiter(rank, kinds, self.current, choice)
        self.waiters.append(waiter)
        try:
            yield Wait(Need.PLACE)
        finally:
            self.waiters.remove(waiter)
        if choice:
            kinds = (*kinds, choice.choose(choice.options()))
        self.taken.update(kinds)
        return kinds

    def release(self, kinds: tuple[str, ...]) -> None:
        """Give a place of each kind back."""
        self.taken.subtract(kinds)

    def give_place(self) -> bool:
        """Give free places to the first waiter that can have them; say whether there was one."""
        able = [
            waiter
            for waiter in self.waiters
            if all(map(self.is_free, waiter.kinds))
            and (not waiter.choice or waiter.choice.options())
        ]
        if not able:
            return False
        min(able, key=lambda waiter: waiter.rank).process.resume()
        return True

    def is_free(self, kind: str) -> bool:
        """Say whether a place of this kind is free, and nothing else holds it up."""
        if self.held(kind):
            return False
        return kind not in self.capacity or self.taken[kind] < self.capacity[kind]

    def set_timer(self, microseconds: int) -> Timer:
        """Set a timer on the running process."""
        assert self.current
        timer = Timer(self.current, microseconds)
        self.timers.append(timer)
        return timer

    def stop_timer(self, timer: Timer) -> None:
        """Forget a timer, whether or not it has fired."""
        self.timers.remove(timer)

    def set_timers(self) -> None:
        """Let timers run or stand still, as what their processes wait for has changed."""
        for timer in self.timers:
            runs = timer.process.needs() != {Need.PERSON}
            if runs and timer.since is None:
                timer.since = self.now
                timer.turn += 1
                self.schedule(timer.left, lambda t=timer, turn=timer.turn: self.fire(t, turn))
            elif not runs and timer.since is not None:
                timer.left -= self.now - timer.since
                timer.since = None

    def fire(self, timer: Timer, turn: int) -> None:
        """Tell the process of a timer that its time is over."""
        if timer in self.timers and timer.since is not None and timer.turn == turn:
            timer.process.resume(TimedOut())
