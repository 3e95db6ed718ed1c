"""Every way in which a workflow is run here: a framework with its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

import pytest

_BARRIER = "the nodes of a superstep wait for its slowest one before what comes next begins"
_LATER = "what comes after a task begins some turns of the event loop later"
_BEHIND = {"a successor of higher priority goes before who waits": _LATER}
_HELD_UP = _BEHIND | {
    "a failure whose handler failed stops the rest": _BARRIER,
    "a failure whose handler is skipped stops the rest": _BARRIER,
    "values hold no place": _BARRIER,
    "a crossed limit ends everything, under continue too": _BARRIER,
    "a graph runs in parallel": _BARRIER,
}


@dataclass(frozen=True)
class Way:
    """A framework and its options. `late` are the cases of exact times that it does not keep, each
    with the reason; `holds_up` says that branches wait for each other, so that time differs
    wherever something rests on it."""

    framework: str
    options: Mapping[str, str] = field(default_factory=dict)
    late: Mapping[str, str] = field(default_factory=dict)
    holds_up: bool = False

    def __str__(self) -> str:
        chosen = "".join(f",{key}={value}" for key, value in self.options.items())
        return f"{self.framework}{chosen}"


CREWAI = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""Said of CrewAI's own code, where nobody else can mend it."""
WAYS = [
    Way("simple"),
    Way("langgraph", {}, _HELD_UP, holds_up=True),
    Way("langgraph", {"maps": "node"}, _HELD_UP, holds_up=True),
    Way("langgraph", {"mode": "dataflow"}, _BEHIND),
    Way("crewai", {}, _BEHIND),
    Way("crewai", {"style": "flow"}, _BEHIND),
]


def params(ways: list[Way]) -> list[object]:
    """Give ways as parameters; those of a framework that is not installed are skipped."""
    return [pytest.param(way, id=str(way), marks=_marks(way)) for way in ways]


def is_installed(way: Way) -> bool:
    """Say whether the framework of a way is here."""
    return way.framework == "simple" or find_spec(way.framework) is not None


def _marks(way: Way) -> list[pytest.MarkDecorator]:
    missing = not is_installed(way)
    marks = [pytest.mark.skipif(missing, reason=f"{way.framework} is not installed")]
    return [*marks, CREWAI] if way.framework == "crewai" else marks
