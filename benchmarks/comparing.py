"""The row of `run` that holds the figures of `talea.compare` against those of the other rows.

The same workflow is measured three times on each framework, and these take turns run by run: by
`talea.compare`; by hand, in a process of its own, as a comparison measures; and in one process with
the hand-written peer, as the other rows measure. One gateway's process answers all, at once and the
same. What a framework costs must then be the same, whoever measures it.

CPU is that of the framework's process. The overhead is a run's time without that in model calls, as
the gateway saw them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from against_crewai import alike, crew_each_time, flow_of_crews, notes
from against_langgraph import agents_by_hand
from measuring import Row, cpu_awaited
from model import ANSWER
from peers import ask_by_hand, noop
from shapes import SHAPES, Graph

Once = Callable[[], Coroutine[Any, Any, Any]]

_ROUNDS = 15
"""The least number of rounds, since these ratios are to be near 1."""
_WITHIN = 0.15
_FRAMEWORKS = ("simple", "langgraph", "crewai")
_STEP = re.compile(r"(\w+): (?:\S+, )?(run \d+ of \d+|warming up)")
"""What a comparison tells of each run before it makes it."""


@dataclass(slots=True, frozen=True)
class Kind:
    """A workflow that is measured: agent tasks, each of which may call a tool that does nothing."""

    title: str
    shape: str
    size: int
    calls_tool: bool = False

    @property
    def graph(self) -> Graph:
        """What each task comes after."""
        return SHAPES[self.shape](self.size)

    @property
    def tools(self) -> Sequence[Callable[..., Any]]:
        """The functions that agents are given."""
        return [noop] if self.calls_tool else []

    def workflow(self, url: str) -> Any:
        """Give it for talea."""
        return notes(self.graph, url, [tool.__name__ for tool in self.tools])

    def turns(self, times: int) -> list[dict[str, Any]]:
        """Say what a model answers to so many tasks."""
        if not self.calls_tool:
            return [{"content": ANSWER, "repeat": True}]
        return [{"tool_calls": [{"name": noop.__name__}]}, {"content": ANSWER}] * times


KINDS = {
    "agents": Kind("10 agents in turn", "chain", 10),
    "fan": Kind("10 agents, 8 at once", "fan", 10),
    "tools": Kind("4 agents with a tool", "chain", 4, calls_tool=True),
}


@dataclass(slots=True, frozen=True)
class Figures:
    """What a run came to: seconds of CPU, and of its time without model calls."""

    cpu: float
    overhead: float


def comparing(rounds: int) -> Iterator[Row]:
    """What a comparison tells of a framework's cost, against what the other rows tell of it."""
    frameworks = [name for name in _FRAMEWORKS if find_spec(f"talea_{name}") is not None]
    for name, kind in KINDS.items():
        compared, beside = _measure(name, kind, frameworks, max(rounds, _ROUNDS))
        for framework in frameworks:
            yield from _rows(f"{framework}, {kind.title}", compared[framework], beside[framework])


def _rows(
    title: str, compared: Sequence[Figures], beside: Mapping[str, Sequence[Figures]]
) -> Iterator[Row]:
    """Give the rows of a framework: what two measures say of talea, and what they make of a peer."""
    alone, ours, peer = (beside[name] for name in ("alone", "ours", "peer"))
    for what in ("cpu", "overhead"):
        told = f"{_median(compared, what):.1f} ms, {_median(ours, what):.1f}"
        ratio = _ratio(compared, ours, what)
        yield Row(f"{title}: {what}", ratio, 1.0, within=_WITHIN, note=told)
        by_hand, paired = _ratio(compared, alone, what), _ratio(ours, peer, what)
        told = f"{by_hand:.2f}, {paired:.2f} in one process; {_median(alone, what):.1f} ms by hand"
        bar = 1.0 if what == "cpu" else None  # Times of processes that rest in between vary more.
        ratio = by_hand / paired
        yield Row(f"{title}: {what} / by hand", ratio, bar, within=bar and _WITHIN, note=told)


def _median(runs: Sequence[Figures], what: str) -> float:
    """Give the median, in milliseconds."""
    return statistics.median(getattr(run, what) for run in runs) * 1e3


def _ratio(runs: Sequence[Figures], others: Sequence[Figures], what: str) -> float:
    """Give the median of the ratios within pairs."""
    pairs = zip(runs, others, strict=True)
    return statistics.median(getattr(one, what) / getattr(other, what) for one, other in pairs)


def _measure(
    name: str, kind: Kind, frameworks: Sequence[str], rounds: int
) -> tuple[dict[str, list[Figures]], dict[str, dict[str, list[Figures]]]]:
    """Give each framework's runs in a comparison, and those beside it."""
    import talea
    from talea.gateway.cassette import Cassette, Player
    from talea.gateway.server import Gateway

    def cassette(turns: Mapping[str, Any]) -> dict[str, Any]:
        return {"talea_cassette": 1, "tasks": turns}

    with ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory()), "cassette.json")
        path.write_text(json.dumps(cassette({f"t{i}": kind.turns(1) for i in range(kind.size)})))
        turns = kind.turns(kind.size * (rounds + 2))
        answers = Player(Cassette.model_validate(cassette({"any": turns})))
        gateway = stack.enter_context(Gateway(answers))
        beside = {
            framework: [
                stack.enter_context(Side(name, framework, sides, gateway))
                for sides in (["alone"], ["ours", "peer"])
            ]
            for framework in frameworks
        }
        found = {one: {"alone": [], "ours": [], "peer": []} for one in frameworks}

        def take_turns(step: str) -> None:
            """Before a run of the comparison, make those that stand beside it."""
            if (made := _STEP.fullmatch(step)) is None:
                return
            for side in beside[made[1]]:
                for one, figures in side.measure().items():
                    if made[2].startswith("run"):
                        found[made[1]][one].append(figures)

        comparison = talea.compare(
            kind.workflow("http://127.0.0.1:9/v1"),
            frameworks=frameworks,
            tools=kind.tools,
            replay=path,
            repeat=rounds,
            progress=take_turns,
        )
    for contender in comparison.contenders:
        assert contender.refused is None, contender.refused
    for run in comparison.runs:
        assert run.succeeded, run.error
    compared = {
        one: [Figures(run.cpu, run.split.framework) for run in comparison.of(one)]
        for one in frameworks
    }
    return compared, found


class Side:
    """A process in which runs are made, one of each side in turn, whenever it is told to."""

    def __init__(self, kind: str, framework: str, sides: Sequence[str], gateway: Any) -> None:
        self._gateway = gateway
        self._doors = {side: gateway.open(f"{framework}-{side}") for side in sides}
        self._seen = dict.fromkeys(sides, 0)
        urls = [f"{side}={door.base_url('any', 'any')}" for side, door in self._doors.items()]
        self._command = [sys.executable, __file__, kind, framework, *urls]

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # Its input ends, and so does it.

    def measure(self) -> dict[str, Figures]:
        """Have each side make a run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        return {side: self._figures(side, **figures) for side, figures in told.items()}

    def _figures(self, side: str, cpu: float, began: float, ended: float) -> Figures:
        from talea.compare.record import Span
        from talea.compare.timing import split

        calls = self._gateway.seen(self._doors[side])
        new, self._seen[side] = calls[self._seen[side] :], len(calls)
        spans = [
            Span(kind="model", address="", began=call.began - began, duration=call.duration)
            for call in new
        ]
        return Figures(cpu, split(0.0, ended - began, spans).framework)


# In a process of its own


def _make(kind: Kind, framework: str, side: str, url: str) -> Once:
    """Give what makes a run on one side: talea's, or the one that is written by hand."""
    if side == "ours":
        return _by_talea(kind, framework, url)
    match framework:
        case "simple":
            return ask_by_hand(kind.graph, url, kind.tools)
        case "langgraph":
            return agents_by_hand(kind.graph, url, kind.tools)
        case _ if kind.shape == "chain":
            return crew_each_time(kind.graph, url, kind.tools)
        case _:
            return flow_of_crews(kind.graph, url)


def _by_talea(kind: Kind, framework: str, url: str) -> Once:
    """Give what runs it; it is compiled beforehand, as a comparison tells that apart."""
    import talea

    workflow, tools = kind.workflow(url), {tool.__name__: tool for tool in kind.tools}
    compiled = talea.compile(workflow, framework)

    async def once() -> None:
        ready = talea.arun(workflow, framework=framework, compiled=compiled, tools=tools)
        (await ready).raise_for_failure()

    return once


def main() -> None:
    """Make a run of each side for each line that comes in."""
    name, framework, *urls = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What a framework prints is no answer.
    with ExitStack() as stack:
        if framework == "crewai":
            stack.enter_context(alike())
        sides = {
            side: _make(KINDS[name], framework, side, url)
            for side, _, url in (one.partition("=") for one in urls)
        }
        runner = stack.enter_context(asyncio.Runner())
        for _ in sys.stdin:
            print(json.dumps(runner.run(_turn(sides))), file=out, flush=True)


async def _turn(sides: Mapping[str, Once]) -> dict[str, dict[str, float]]:
    return {side: await _timed(once) for side, once in sides.items()}


async def _timed(once: Once) -> dict[str, float]:
    times: list[float] = []

    async def between() -> None:
        times.append(time.time())
        await once()
        times.append(time.time())

    spent = await cpu_awaited(between)
    return {"cpu": spent, "began": times[0], "ended": times[1]}


if __name__ == "__main__":
    main()
