"""The rows of `run` that measure the LangGraph plugin against graphs that are written by hand.

A run is timed as its user calls it, `talea.arun` against the graph's own `ainvoke`: planning and
checking the workflow is talea's own time, and only the compiled graph is there beforehand, on both
sides.
"""

from __future__ import annotations

import asyncio
import gc
import operator
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypedDict

from measuring import Row, compare, compare_awaited, cpu
from model import ANSWER, served
from peers import compile_langgraph, noop, run_langgraph
from shapes import SHAPES, Graph, critical_path, unequal
from workflows import build, build_waiting, realistic, wait

Once = Callable[[], Coroutine[Any, Any, Any]]

_BARS = {10: 1.20, 100: 1.10, 300: 1.10}
_PAIRS = 25
"""The least number of pairs, since these ratios are near their bars."""


def langgraph(rounds: int) -> Iterator[Row]:
    """LangGraph's graphs and agents of a workflow, against those that a user writes by hand."""
    if find_spec("langgraph") is None or find_spec("talea_langgraph") is None:
        return
    pairs = max(rounds, _PAIRS)
    yield from _tasks(pairs)
    yield from _maps(pairs)
    yield from _agents(pairs)
    yield from _compiling(pairs)
    yield from _from_files(rounds)
    yield from _times(rounds)


def _compiled(workflow: Any, **options: str) -> Any:
    import talea

    return talea.compile(workflow, "langgraph", options)


def _on_langgraph(workflow: Any, compiled: Any, **tools: Callable[..., Any]) -> Once:
    """Give what runs a workflow on its compiled graph; it must succeed."""
    import talea

    async def once() -> Any:
        result = await talea.arun(workflow, framework="langgraph", compiled=compiled, tools=tools)
        return result.raise_for_failure()

    return once


def _paired(title: str, ours: Once, peer: Once, pairs: int, *, size: int, bar: float | None) -> Row:
    ratio, mine, theirs = asyncio.run(compare_awaited(ours, peer, pairs))
    note = f"{mine / size * 1e3:.2f} ms a task, {theirs / size * 1e3:.2f}"
    return Row(f"{title}, {size}", ratio, bar, note=note)


# Tasks that do nothing


def _tasks(pairs: int) -> Iterator[Row]:
    for size, bar in _BARS.items():
        for name in ("chain", "fan", "grid"):
            graph = SHAPES[name](size)
            peer = partial(run_langgraph, compile_langgraph(graph), size)
            for kind in ("value", "tool"):
                workflow = build(graph, kind)
                ours = _on_langgraph(workflow, _compiled(workflow), noop=noop)
                yield _paired(f"{kind}s: {name}", ours, peer, pairs, size=size, bar=bar)


def _compiling(pairs: int) -> Iterator[Row]:
    """Compile a workflow, planning included, and build the graph by hand."""
    for size in (10, 100, 300):
        for name in ("chain", "fan", "grid"):
            graph = SHAPES[name](size)
            ours, peer = partial(_compiled, build(graph)), partial(compile_langgraph, graph)
            ratio, mine, theirs = compare(ours, peer, pairs)
            note = f"{mine * 1e3:.1f} ms, {theirs * 1e3:.1f}"
            yield Row(f"compile: {name}, {size}", ratio, 1.0, note=note)


# Maps


class _Doubled(TypedDict):
    doubled: Annotated[dict[int, int], operator.or_]
    result: list[int]


class _One(TypedDict):
    index: int
    item: int


async def _double(x: int) -> int:
    return 2 * x


def _map_by_hand(size: int) -> Once:
    """Write a map as LangGraph's guide does: a Send for each item, and a node that collects."""
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Send

    items = list(range(size))

    def send(state: _Doubled) -> list[Any]:
        return [Send("one", {"index": k, "item": item}) for k, item in enumerate(items)]

    async def one(state: _One) -> dict[str, Any]:
        return {"doubled": {state["index"]: await _double(state["item"])}}

    async def collect(state: _Doubled) -> dict[str, Any]:
        found = state["doubled"]
        return {"result": [found[k] for k in sorted(found)]}

    builder: Any = StateGraph(_Doubled)
    builder.add_node("one", one, input_schema=_One)
    builder.add_node("collect", collect)
    builder.add_conditional_edges(START, send, ["one"])
    builder.add_edge("one", "collect")
    builder.add_edge("collect", END)
    graph = builder.compile()

    async def once() -> None:
        found = await graph.ainvoke({"doubled": {}})
        assert found["result"][-1] == 2 * items[-1]

    return once


def _maps(pairs: int) -> Iterator[Row]:
    from talea.ir import Workflow

    for size in (10, 100, 300):
        task = {"for_each": list(range(size)), "tool": "double", "with": {"x": "{{ item }}"}}
        data = {"name": "bench", "tools": {"double": {}}, "tasks": {"t": task}}
        workflow = Workflow.model_validate(data)
        peer = _map_by_hand(size)
        for maps, bar in (("send", 1.15), ("node", None)):
            ours = _on_langgraph(workflow, _compiled(workflow, maps=maps), double=_double)
            title = f"a map by Send by hand: maps={maps}"
            yield _paired(title, ours, peer, pairs, size=size, bar=bar)


# Agents


class _Notes(TypedDict):
    notes: Annotated[dict[str, str], operator.or_]


def _agents(pairs: int) -> Iterator[Row]:
    """Agent tasks on a model that answers at once, over HTTP.

    A run has connections of its own, which the peer keeps: that is most of what one task costs more.
    """
    with served() as url:
        for size, bar in ((1, None), (10, 1.2)):
            yield _agents_paired("agents", url, pairs, size=size, bar=bar)
    with served(tool="noop") as url:
        yield _agents_paired("agents that call a tool", url, pairs, size=4, bar=1.2, tools=[noop])


def _agents_paired(
    title: str,
    url: str,
    pairs: int,
    *,
    size: int,
    bar: float | None,
    tools: Sequence[Callable[..., Any]] = (),
) -> Row:
    graph = SHAPES["chain"](size)
    by_name = {tool.__name__: tool for tool in tools}
    workflow = _of_agents(graph, url, tools=list(by_name))
    ours = _on_langgraph(workflow, _compiled(workflow), **by_name)
    peer = agents_by_hand(graph, url, tools)
    return _paired(f"{title}: chain", ours, peer, pairs, size=size, bar=bar)


def _of_agents(graph: Graph, url: str, tools: Sequence[str] = (), **more: Any) -> Any:
    from talea.ir import Workflow

    tasks = {
        f"t{i}": {
            "agent": "writer",
            "prompt": f"Write note number {i}.",
            "context": [f"t{d}" for d in dependencies],
            **more,
        }
        for i, dependencies in enumerate(graph)
    }
    return Workflow.model_validate(
        {
            "name": "bench",
            "model": "m",
            "models": {"m": {"model": "local/m", "base_url": url}},
            "tools": {name: {} for name in tools},
            "agents": {"writer": {"instructions": "You are a writer.", "tools": list(tools)}},
            "tasks": tasks,
        }
    )


def agents_by_hand(graph: Graph, url: str, tools: Sequence[Callable[..., Any]] = ()) -> Once:
    """Write a node for each note; the model and the agent are made once."""
    from langchain.agents import create_agent
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langgraph.graph import END, START, StateGraph
    from openai import DefaultAsyncHttpxClient

    # With a client of its own, since ChatOpenAI keeps its connections over event loops.
    client = DefaultAsyncHttpxClient()
    make_model: Any = ChatOpenAI
    model = make_model(model="m", base_url=url, api_key="none", http_async_client=client)
    make_agent: Any = create_agent
    agent = make_agent(model, [tool(one) for one in tools], system_prompt="You are a writer.")
    builder: Any = StateGraph(_Notes)

    def make_node(i: int) -> Callable[[_Notes], Coroutine[Any, Any, dict[str, Any]]]:
        async def node(state: _Notes) -> dict[str, Any]:
            found = "\n\n".join(state["notes"][f"t{d}"] for d in graph[i])
            message = {"role": "user", "content": f"{found}\n\nWrite note number {i}.".strip()}
            answer = await agent.ainvoke({"messages": [message]})
            return {"notes": {f"t{i}": answer["messages"][-1].text}}

        return node

    for i, dependencies in enumerate(graph):
        builder.add_node(f"t{i}", make_node(i))
        builder.add_edge([f"t{d}" for d in dependencies] or START, f"t{i}")
    builder.add_edge(f"t{len(graph) - 1}", END)
    compiled = builder.compile()

    async def once() -> None:
        found = await compiled.ainvoke({"notes": {}})
        assert found["notes"][f"t{len(graph) - 1}"] == ANSWER

    return once


# Files


def _from_files(rounds: int) -> Iterator[Row]:
    """From a file to a graph that can run: reading, checking, planning, compiling."""
    with tempfile.TemporaryDirectory() as folder:
        for size, bar in ((100, 50), (1_000, 600)):
            path = Path(folder) / f"{size}.yaml"
            path.write_text(realistic(size))
            _compiled(path)
            took = statistics.median(cpu(partial(_compiled, path)) for _ in range(rounds)) * 1e3
            note = f"{took / size:.2f} ms a task"
            yield Row(f"from file to graph: {size:,}", took, bar, unit="ms CPU", note=note)


# Times


def _times(rounds: int) -> Iterator[Row]:
    """What somebody waits for: whether tasks that could run side by side do."""

    def seconds(workflow: Any, **options: str) -> float:
        ready = _on_langgraph(workflow, _compiled(workflow, **options), wait=wait)

        async def once() -> float:
            gc.collect()
            start = time.perf_counter()
            await ready()
            return time.perf_counter() - start

        asyncio.run(once())
        return statistics.median(asyncio.run(once()) for _ in range(rounds))

    graph, each = unequal()
    best = critical_path(graph, each)
    for mode, bar in (("dataflow", 1.15), ("graph", None)):
        took = seconds(build_waiting(graph, each), mode=mode)
        title = f"unequal branches, mode={mode}: time / longest path"
        yield Row(title, took / best, bar, note=f"{best:.2f} s")
    with served(delay=0.2) as url:
        workflow = _of_agents([()], url, for_each=list(range(20)))
        yield Row("map of 20 items, a model of 0.2 s", seconds(workflow), 1.0, unit="s")
