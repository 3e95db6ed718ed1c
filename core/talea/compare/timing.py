"""Where the time of a run went: from its events and calls to spans, from these to shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from talea.compare.record import Kind, Span, Split
from talea.events import (
    Answered,
    Asked,
    AttemptFailed,
    Event,
    Failure,
    MeteredCall,
    RunEnded,
    TaskEnded,
    TaskStarted,
    ToolCalled,
    Waited,
)

_ORDER: tuple[str, ...] = ("model", "tool", "waiting")
"""What a moment counts for where several things go on: the first of these that does."""


class Watch:
    """A sink that keeps what a run's time is told by."""

    text = False
    """Models answer in one piece, as in a run to which nobody listens: to stream costs."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.retries = 0
        self.under_way: dict[str, None] = {}
        """Tasks that have started and not ended, by address."""
        self._asked: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        match event:
            case TaskStarted(_, address):
                self.under_way[address] = None
            case TaskEnded(_, address):
                self.under_way.pop(address, None)
            case ToolCalled(time, address, tool, duration, error):
                self._add("tool", address, time - duration, duration, tool, error)
            case AttemptFailed(time, address, _, error, retry_in):
                self.retries += 1
                self._add("retry", address, time, retry_in, "", error)
            case Waited(time, address, duration):
                self._add("place", address, time - duration, duration)
            case Asked(time, address):
                self._asked.setdefault(address, time)
            case Answered(time, address, None) if address in self._asked:
                began = self._asked.pop(address)
                self._add("person", address, began, time - began)
            case RunEnded(time):
                for address, began in self._asked.items():
                    self._add("person", address, began, time - began)
            case _:
                pass

    def _add(  # noqa: PLR0917 - a span has as many parts
        self,
        kind: Kind,
        address: str,
        began: float,
        duration: float,
        label: str = "",
        error: Failure | None = None,
    ) -> None:
        self.spans.append(
            Span(
                kind=kind,
                address=address,
                began=max(0.0, began),
                duration=max(0.0, duration),
                label=label,
                error=error and f"{error.type}: {error.message}",
            )
        )

    def all(self, calls: Iterable[MeteredCall]) -> tuple[Span, ...]:
        """Give every span, those of model calls as the gateway saw them, in order of time."""
        asked = [
            Span(
                kind="model",
                address=call.address,
                began=max(0.0, call.began),
                duration=call.duration,
                label=call.agent,
                error=call.error,
            )
            for call in calls
        ]
        return tuple(sorted([*self.spans, *asked], key=lambda span: span.began))


def split(began: float, ended: float, spans: Sequence[Span]) -> Split:
    """Share a stretch of time out. Each moment counts once, so that the shares add up to it."""
    marks: list[tuple[float, int, str]] = []
    for span in spans:
        kind = span.kind if span.kind in _ORDER else "waiting"
        start, end = max(began, span.began), min(ended, span.began + span.duration)
        if end > start:
            marks += [(start, 1, kind), (end, -1, kind)]
    shares: dict[str, float] = dict.fromkeys((*_ORDER, "framework"), 0.0)
    open_now: dict[str, int] = dict.fromkeys(_ORDER, 0)
    before = began
    for time, change, kind in sorted(marks):
        shares[_what(open_now)] += time - before
        open_now[kind] += change
        before = time
    shares["framework"] += max(0.0, ended - before)
    return Split(**shares)


def _what(open_now: dict[str, int]) -> str:
    return next((kind for kind in _ORDER if open_now[kind]), "framework")


def is_within(address: str, task: str) -> bool:
    """Say whether a full address belongs to a task, given by its plain address."""
    return address == task or (address.startswith(task) and address[len(task)] in "/[#")
