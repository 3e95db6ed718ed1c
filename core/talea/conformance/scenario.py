"""What the world around a workflow does: plain data, the same for every executor.

A scenario says how each call of a tool or agent task goes, and what a person answers. It is looked
up by the address of the call without `#n`, such as `outer[0]/inner[2]`: first exactly, then with
every `[i]` left out. The entries of an address are used up call after call, and the last repeats.
A model call of an agent in a team is at `task@agent`; where any agent calls a tool, that call is at
`task@agent/tool`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any, TypeVar

MICROSECONDS = 1_000_000
_Entry = TypeVar("_Entry")
_ITEM = re.compile(r"\[\d+\]")
_ITERATION = re.compile(r"#\d+")


@dataclass(slots=True, frozen=True)
class Behaviour:
    """How one call of a tool or agent task goes.

    After `delay` seconds it gives `result`, or raises `error`, one of the language's error types.
    Text from an agent or tool is its raw answer; an agent gives any other result as JSON text. With
    `echo` a tool gives back its arguments and an agent its prompt. A call that hangs never ends by
    itself. `tokens` is the usage that an agent's answer reports.

    With `uses` an agent calls tools instead of answering, all at once: each a mapping of a tool's
    name to its arguments. Its next call has the next entry, and echoes what the tools gave, a text
    below the other, and `failed` for one that did not do it.
    """

    delay: float = 0.001
    result: Any = "ok"
    error: str | None = None
    hang: bool = False
    echo: bool = False
    tokens: int = 0
    uses: Sequence[Mapping[str, Mapping[str, Any]]] = ()


@dataclass(slots=True, frozen=True)
class Answer:
    """What a person answers, `delay` seconds after the question was put."""

    delay: float
    value: Any


@dataclass(slots=True, frozen=True)
class Scenario:
    """The behaviours of all calls and the answers to all questions, by address without `#n`.

    Calls that are not listed succeed with the text `ok`. A question that is not listed finds nobody
    to answer it, and so does one whose last answer did not fit.
    """

    calls: Mapping[str, Sequence[Behaviour]] = field(default_factory=dict[str, list[Behaviour]])
    answers: Mapping[str, Sequence[Answer]] = field(default_factory=dict[str, list[Answer]])

    def behaviour(self, address: str, number: int) -> Behaviour:
        """Give the behaviour of call `number` (from 0) at `address`, which may hold `#n`."""
        listed = _look_up(self.calls, address)
        return listed[min(number, len(listed) - 1)] if listed else Behaviour()

    def delay(self, address: str, number: int) -> int:
        """Give the whole microseconds that this call takes.

        Calls that share an entry differ by less than a millisecond, so that they do not tie.
        """
        base = microseconds(self.behaviour(address, number).delay)
        exact = plain(address)
        return base if exact in self.calls or not base else base + zlib.crc32(exact.encode()) % 997

    def answer(self, address: str, number: int) -> Answer | None:
        """Give answer `number` (from 0) to the question at `address`; None if nobody is there."""
        listed = _look_up(self.answers, address)
        return listed[min(number, len(listed) - 1)] if listed else None

    def is_last_answer(self, address: str, number: int) -> bool:
        """Say whether no other answer would follow this one."""
        return number >= len(_look_up(self.answers, address)) - 1

    @property
    def arguments(self) -> set[str]:
        """The names of all arguments that agents give to tools."""
        used = [call.uses for calls in self.calls.values() for call in calls]
        return {name for uses in used for use in uses for given in use.values() for name in given}

    def slowed(self, seed: int) -> Scenario:
        """Give the same scenario with other delays, up to 40 times as long."""
        random = Random(seed)
        return Scenario(
            {
                key: [replace(call, delay=call.delay * random.uniform(0.1, 40)) for call in calls]
                for key, calls in self.calls.items()
            },
            {
                key: [replace(one, delay=one.delay * random.uniform(0.1, 40)) for one in all_]
                for key, all_ in self.answers.items()
            },
        )

    def to_json(self) -> dict[str, Any]:
        """Give plain data that `from_json` reads back."""
        return {
            "calls": {key: [asdict(call) for call in calls] for key, calls in self.calls.items()},
            "answers": {key: [asdict(one) for one in all_] for key, all_ in self.answers.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scenario:
        """Build a scenario from the plain data of `to_json`."""
        return cls(
            {key: [Behaviour(**call) for call in calls] for key, calls in data["calls"].items()},
            {key: [Answer(**one) for one in all_] for key, all_ in data["answers"].items()},
        )


def _look_up(entries: Mapping[str, Sequence[_Entry]], address: str) -> Sequence[_Entry]:
    exact = plain(address)
    return entries.get(exact) or entries.get(_ITEM.sub("", exact)) or ()


def plain(address: str) -> str:
    """Leave every `#n` out of an address."""
    return _ITERATION.sub("", address)


def microseconds(seconds: float) -> int:
    """Give whole microseconds, the unit of the virtual clock."""
    return round(seconds * MICROSECONDS)
