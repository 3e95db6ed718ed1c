"""What talea is measured against: the same work as a competent user writes it by hand."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

from shapes import Graph


async def noop() -> None:
    """Do nothing."""


async def run_task_group(graph: Graph, body: Callable[[], Awaitable[Any]] = noop) -> list[Any]:
    """Do every node in a task of its own that waits for those it depends on."""
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in graph]

    async def node(i: int) -> None:
        for dependency in graph[i]:
            await done[dependency]
        done[i].set_result(await body())

    async with asyncio.TaskGroup() as group:
        for i in range(len(graph)):
            group.create_task(node(i))
    return [future.result() for future in done]


def compile_langgraph(graph: Graph, body: Callable[[], Awaitable[Any]] = noop) -> Any:
    """Build the StateGraph of these nodes; joins are LangGraph's own."""
    from langgraph.graph import END, START, StateGraph

    class State(TypedDict):
        done: Annotated[dict[str, Any], operator.or_]

    builder: Any = StateGraph(State)
    followed = {dependency for dependencies in graph for dependency in dependencies}

    def make_node(i: int) -> Callable[[State], Awaitable[dict[str, Any]]]:
        async def node(state: State) -> dict[str, Any]:
            return {"done": {f"t{i}": await body()}}

        return node

    for i, dependencies in enumerate(graph):
        builder.add_node(f"t{i}", make_node(i))
        match dependencies:
            case ():
                builder.add_edge(START, f"t{i}")
            case (one,):
                builder.add_edge(f"t{one}", f"t{i}")
            case _:
                builder.add_edge([f"t{d}" for d in dependencies], f"t{i}")
        if i not in followed:
            builder.add_edge(f"t{i}", END)
    return builder.compile()


async def run_langgraph(compiled: Any, size: int) -> None:
    """Run a compiled StateGraph, however many steps it takes."""
    await compiled.ainvoke({"done": {}}, {"recursion_limit": size + 10})
