"""What talea is measured against: the same work as a competent user writes it by hand."""

from __future__ import annotations

import asyncio
import json
import operator
from collections.abc import Awaitable, Callable, Sequence
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


def ask_by_hand(
    graph: Graph, url: str, functions: Sequence[Callable[..., Awaitable[Any]]] = ()
) -> Callable[[], Awaitable[None]]:
    """Ask a model for each note by OpenAI's client alone, once what it depends on is there."""
    from openai import AsyncOpenAI

    client: Any = AsyncOpenAI(base_url=url, api_key="none")
    by_name = {function.__name__: function for function in functions}
    offered = [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": function.__doc__,
                "parameters": {"type": "object", "properties": {}},
            },
        }
        for name, function in by_name.items()
    ]
    more = {"tools": offered} if offered else {}

    async def ask(prompt: str) -> str:
        messages: list[Any] = [
            {"role": "system", "content": "You are a writer."},
            {"role": "user", "content": prompt},
        ]
        while True:
            answer = await client.chat.completions.create(model="m", messages=messages, **more)
            message = answer.choices[0].message
            if not message.tool_calls:
                return message.content
            messages.append(message)
            for call in message.tool_calls:
                given = await by_name[call.function.name](**json.loads(call.function.arguments))
                messages.append(
                    {"role": "tool", "tool_call_id": call.id, "content": json.dumps(given)}
                )

    async def once() -> None:
        loop = asyncio.get_running_loop()
        done = [loop.create_future() for _ in graph]

        async def node(i: int) -> None:
            found = "\n\n".join([await done[d] for d in graph[i]])
            done[i].set_result(await ask(f"{found}\n\nWrite note number {i}.".strip()))

        async with asyncio.TaskGroup() as group:
            for i in range(len(graph)):
                group.create_task(node(i))

    return once
