"""The rows of `run` that measure the CrewAI plugin against what CrewAI's users write by hand.

CrewAI's telemetry, traces and panels are off for both sides, and a hand-written flow has no memory
of its own, which would cost it more.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

from measuring import Row, compare_awaited, cpu_awaited
from model import ANSWER, served
from peers import noop
from shapes import SHAPES, Graph, critical_path, unequal
from workflows import build, build_waiting, wait

Once = Callable[[], Coroutine[Any, Any, Any]]

_ROLES = (
    ("analyst", "Find what matters", "You read slowly."),
    ("writer", "Write plain notes", "You like short words."),
    ("editor", "Mend what others wrote", "You are strict."),
)


def crewai(rounds: int) -> Iterator[Row]:
    """CrewAI's crews and flows of a workflow, against those that a user writes by hand."""
    if find_spec("crewai") is None or find_spec("talea_crewai") is None:
        return
    with alike():
        yield from _times(rounds)
        yield from _agents(rounds)
        yield from _scheduling(rounds)


@contextmanager
def alike() -> Iterator[None]:
    """Keep CrewAI from telling of its work, by network or by terminal, on both sides."""
    switches = {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false"}
    before = dict(os.environ)
    with ExitStack() as undo:
        folder = undo.enter_context(tempfile.TemporaryDirectory())
        undo.callback(lambda: (os.environ.clear(), os.environ.update(before)))
        undo.callback(logging.disable, logging.root.manager.disable)
        os.environ.update(switches, CREWAI_STORAGE_DIR=folder)
        logging.disable(logging.WARNING)
        from talea_crewai.framework import quiet

        undo.enter_context(quiet())
        yield


def _on_crewai(workflow: Any) -> Once:
    """Give what runs a workflow, planning and compiling included; it must succeed."""
    import talea

    async def once() -> Any:
        result = await talea.arun(workflow, framework="crewai", tools={"noop": noop})
        return result.raise_for_failure()

    return once


def _of_agents(tasks: dict[str, Any], url: str, tools: Sequence[str] = ()) -> Any:
    """Build a workflow of agent tasks, whose agents have the peers' roles."""
    from talea.ir import Workflow

    agents = {
        role: {"role": role, "goal": goal, "backstory": backstory, "tools": list(tools)}
        for role, goal, backstory in _ROLES
    }
    models = {"m": {"model": "local/m", "base_url": url}}
    data = {"name": "bench", "model": "m", "models": models, "agents": agents, "tasks": tasks}
    return Workflow.model_validate({**data, "tools": {name: {} for name in tools}})


# Times


def _times(rounds: int) -> Iterator[Row]:
    """What somebody waits for: whether tasks that could run side by side do."""
    from talea.run import prepare

    def seconds(make: Callable[[], Once]) -> float:
        """Time a run of what has been planned and compiled."""

        async def once() -> float:
            ready = make()
            gc.collect()
            start = time.perf_counter()
            await ready()
            return time.perf_counter() - start

        asyncio.run(once())
        return statistics.median(asyncio.run(once()) for _ in range(rounds))

    def prepared(workflow: Any) -> Once:
        ready = prepare(workflow, framework="crewai", tools={"wait": wait})

        async def once() -> None:
            (await ready.run()).raise_for_failure()

        return once

    graph, each = unequal()
    best = critical_path(graph, each)

    async def step(flow: Any, i: int) -> None:
        await wait(each[i])
        flow.state[f"t{i}"] = None

    workflow, by_hand = build_waiting(graph, each), _flow_by_hand(graph, step)
    took, theirs = seconds(lambda: prepared(workflow)), seconds(lambda: by_hand)
    note = f"{best:.2f} s; a Flow by hand {theirs / best:.2f}"
    yield Row("unequal branches: time / longest path", took / best, 1.15, note=note)
    with served(delay=0.2) as url:
        task = {"agent": _ROLES[0][0], "prompt": "Go {{ item }}.", "for_each": list(range(20))}
        workflow = _of_agents({"t": task}, url)
        took = seconds(lambda: prepared(workflow))
        yield Row("map of 20 items, a model of 0.2 s", took, 2.0, unit="s")


# Agents


def _agents(rounds: int) -> Iterator[Row]:
    """Ten agent tasks on a model that answers at once."""
    with served() as url:
        graph = SHAPES["chain"](10)
        yield _compared("a Crew by hand: sequence", graph, url, crew_each_time, rounds)
        yield _compared("that, made once: sequence", graph, url, _crew_made_once, rounds, bar=None)
        for name in ("grid", "tree"):
            graph = SHAPES[name](10)
            yield _compared(f"a Flow of Crews by hand: {name}", graph, url, flow_of_crews, rounds)
        peer = _flow_of_crews_made_once
        yield _compared(f"that, Crews made once: {name}", graph, url, peer, rounds, bar=None)


def _compared(
    title: str,
    graph: Graph,
    url: str,
    peer: Callable[[Graph, str], Once],
    rounds: int,
    *,
    bar: float | None = 1.05,
) -> Row:
    ours = _on_crewai(notes(graph, url))
    ratio, mine, theirs = asyncio.run(compare_awaited(ours, peer(graph, url), rounds))
    note = f"{mine / len(graph) * 1e3:.1f} ms a task, {theirs / len(graph) * 1e3:.1f}"
    return Row(f"{title}, {len(graph)}", ratio, bar, note=note)


def notes(graph: Graph, url: str, tools: Sequence[str] = ()) -> Any:
    """Build a workflow in which each task is given what those before it wrote."""
    tasks: dict[str, Any] = {}
    for i, dependencies in enumerate(graph):
        tasks[f"t{i}"] = {
            "agent": _ROLES[i % len(_ROLES)][0],
            "prompt": f"Write note number {i}.",
            "expected_output": "A note.",
            "context": [f"t{d}" for d in dependencies],
        }
    return _of_agents(tasks, url, tools)


def _model(url: str) -> Any:
    from crewai import LLM

    return LLM(model="openai/m", base_url=url, api_key="none")


def _agent(i: int, llm: Any, tools: Sequence[Any] = ()) -> Any:
    from crewai import Agent

    role, goal, backstory = _ROLES[i % len(_ROLES)]
    words = {"role": role, "goal": goal, "backstory": backstory}
    return Agent(**words, llm=llm, tools=list(tools), allow_delegation=False)


def _crew(size: int, llm: Any, tools: Sequence[Any] = ()) -> Any:
    """Write the sequence as a crew: an agent for each role."""
    from crewai import Crew, Process, Task

    agents = [_agent(i, llm, tools) for i in range(len(_ROLES))]
    tasks: list[Any] = []
    for i in range(size):
        tasks.append(
            Task(
                description=f"Write note number {i}.",
                expected_output="A note.",
                agent=agents[i % len(agents)],
                context=tasks[-1:],
            )
        )
    return Crew(agents=agents, tasks=tasks, process=Process.sequential)


def crew_each_time(graph: Graph, url: str, functions: Sequence[Callable[..., Any]] = ()) -> Once:
    """Make the crew for each run, as in CrewAI's templates; its model and tools are made once."""
    from crewai.tools import tool

    llm, tools = _model(url), [tool(function) for function in functions]

    async def once() -> None:
        _checked(await _crew(len(graph), llm, tools).akickoff())

    return once


def _crew_made_once(graph: Graph, url: str) -> Once:
    """Kick off one crew again and again, which its usage does not survive."""
    crew = _crew(len(graph), _model(url))

    async def once() -> None:
        _checked(await crew.akickoff())

    return once


def _step_crew(i: int, llm: Any) -> Any:
    """Write a step's crew of one task; what was found before is its input."""
    from crewai import Crew, Task

    agent = _agent(i, llm)
    description = f"Write note number {i}.\n\nWhat was found before:\n{{found}}"
    task = Task(description=description, expected_output="A note.", agent=agent)
    return Crew(agents=[agent], tasks=[task])


def flow_of_crews(graph: Graph, url: str) -> Once:
    """Write the graph as a flow, each step of which makes its crew, as in CrewAI's templates."""
    llm = _model(url)
    return _flow_of(graph, lambda i: _step_crew(i, llm))


def _flow_of_crews_made_once(graph: Graph, url: str) -> Once:
    """Kick off the same crews in each run: no two runs can then go on at once."""
    llm = _model(url)
    crews = [_step_crew(i, llm) for i in range(len(graph))]
    return _flow_of(graph, crews.__getitem__)


def _flow_of(graph: Graph, crew_of: Callable[[int], Any]) -> Once:
    async def step(flow: Any, i: int) -> None:
        found = "\n".join(flow.state[f"t{d}"] for d in graph[i])
        flow.state[f"t{i}"] = _checked(await crew_of(i).akickoff(inputs={"found": found}))

    return _flow_by_hand(graph, step)


def _flow_by_hand(graph: Graph, step: Callable[[Any, int], Awaitable[None]]) -> Once:
    """Write a flow with a method for each node; its joins are CrewAI's own."""
    from crewai.flow.flow import Flow, and_, listen, start

    def method(i: int) -> Any:
        async def body(self: Any) -> None:
            await step(self, i)

        body.__name__ = f"t{i}"
        match graph[i]:
            case ():
                return start()(body)
            case (one,):
                return listen(f"t{one}")(body)
            case many:
                return listen(and_(*(f"t{d}" for d in many)))(body)

    methods = {f"t{i}": method(i) for i in range(len(graph))}
    by_hand: Any = type("ByHand", (Flow,), {**methods, "_skip_auto_memory": True})

    async def once() -> None:
        flow = by_hand(suppress_flow_events=True)
        await flow.kickoff_async()
        assert len(flow.state) == len(graph) + 1  # CrewAI adds an id.

    return once


def _checked(output: Any) -> str:
    assert output.raw == ANSWER, output.raw
    return ANSWER


# Scheduling


def _scheduling(rounds: int) -> Iterator[Row]:
    """Tasks that do nothing: what is left is planning, compiling and CrewAI's dispatch."""

    async def cost(work: Once) -> float:
        await work()
        return statistics.median([await cpu_awaited(work) for _ in range(rounds)])

    async def step(flow: Any, i: int) -> None:
        flow.state[f"t{i}"] = None

    for size in (500, 5_000):
        for name in ("chain", "grid", "fan"):
            graph = SHAPES[name](size)
            spent = asyncio.run(cost(_on_crewai(build(graph, "value")))) / len(graph)
            title = f"a Flow's values: {name}, {size:,}"
            yield Row(title, spent * 1e3, 0.3, unit="ms CPU a task")
    for size in (50, 100, 300):
        graph = SHAPES["chain"](size)
        ours, peer = _on_crewai(build(graph, "value")), _flow_by_hand(graph, step)
        ratio, mine, theirs = asyncio.run(compare_awaited(ours, peer, rounds))
        note = f"{mine / size * 1e3:.2f} ms a task, {theirs / size * 1e3:.2f}"
        yield Row(f"a Flow by hand, values: chain, {size}", ratio, note=note)
