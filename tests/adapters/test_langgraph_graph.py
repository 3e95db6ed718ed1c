"""The compiled objects as a user of LangGraph has them: without talea's `run`."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import stat
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TypedDict

import pytest

pytest.importorskip("langgraph")
pytest.importorskip("talea_langgraph")

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command

import talea
from talea.adapter import Endpoint
from talea.errors import InputError, RunError, UsageError
from talea.events import Answered, Status
from talea.ir import Workflow
from talea.plan import make_plan
from talea.plugins import get_adapter

MODES = pytest.mark.parametrize("mode", ["graph", "dataflow"])
THREAD: Any = {"configurable": {"thread_id": "1"}}


def build(tasks: Mapping[str, Any], **more: Any) -> Workflow:
    tools = {"t": {}} if '"tool"' in json.dumps(tasks) else {}
    return Workflow.model_validate(
        {"name": "test", "tools": tools, "agents": {"w": {}}, "tasks": tasks, **more}
    )


def make(tasks: Mapping[str, Any], options: Mapping[str, Any] | None = None, **more: Any) -> Any:
    return talea.compile(build(tasks, **more), "langgraph", options)


class Counting:
    """A tool that counts its calls by what it is given."""

    def __init__(self) -> None:
        self.calls = Counter[Any]()

    def context(self, **more: Any) -> dict[str, Any]:
        async def t(x: Any = None) -> Any:
            self.calls[json.dumps(x)] += 1
            return x

        return {"tools": {"t": t}, **more}


def statuses(state: Mapping[str, Any]) -> dict[str, str]:
    return {name: one["status"] for name, one in state["results"].items() if "status" in one}


# What it is


def test_it_is_a_compiled_state_graph_that_draws() -> None:
    graph = make(
        {
            "a": {"tool": "t"},
            "b": {"tool": "t", "depends_on": ["a"]},
            "c": {"for_each": [1, 2], "tool": "t", "depends_on": ["a"]},
            "d": {"tasks": {"x": {"tool": "t"}}, "depends_on": ["b", "c"]},
        }
    )
    assert isinstance(graph, CompiledStateGraph)
    drawn = graph.get_graph()
    assert set(drawn.nodes) == {"__start__", "a", "b", "c", "c.item", "c.end", "d", "__end__"}
    edges = {(edge.source, edge.target) for edge in drawn.edges}
    assert {("a", "b"), ("c", "c.item"), ("c.item", "c.end"), ("b", "d"), ("c.end", "d")} <= edges
    assert "subgraph d" in graph.get_graph(xray=True).draw_mermaid()


def test_joins_are_edges_of_many() -> None:
    graph = make(
        {"a": {"tool": "t"}, "b": {"tool": "t"}, "c": {"tool": "t", "depends_on": ["a", "b"]}}
    )
    assert graph.builder.waiting_edges == {(("a", "b"), "c")}


def test_the_recursion_limit_is_the_plans() -> None:
    tasks = {
        f"t{i}": {"value": i, **({"depends_on": [f"t{i - 1}"]} if i else {})} for i in range(40)
    }
    graph = make(tasks)
    assert 40 < graph.config["recursion_limit"] < 80
    found = asyncio.run(graph.ainvoke({"inputs": {}}))
    assert found["results"]["t39"]["output"] == 39
    found = asyncio.run(make({"a": {"tasks": tasks}}).ainvoke({}))
    assert found["results"]["a"]["output"]["t39"] == 39


def test_ids_that_langgraph_keeps_for_itself_are_renamed() -> None:
    tasks = {name: {"value": name} for name in ("inputs", "results", "outputs", "start", "end")}
    found = asyncio.run(make(tasks, outputs={"x": "{{ tasks.results.output }}"}).ainvoke({}))
    assert {name: found["results"][name]["output"] for name in tasks} == {n: n for n in tasks}
    assert found["outputs"] == {"x": "results"}


def test_options_are_checked() -> None:
    for options in ({"mode": "fast"}, {"speed": "high"}, {"checkpointer": "file"}, {"maps": "x"}):
        with pytest.raises(UsageError):
            make({"a": {"value": 1}}, options)


def test_the_form_follows_the_structure() -> None:
    even = {
        "a": {"tool": "t"},
        "b": {"tool": "t", "depends_on": ["a"]},
        "c": {"tool": "t", "depends_on": ["a"]},
        "d": {"tool": "t", "depends_on": ["b", "c"]},
    }
    uneven = {**even, "b2": {"tool": "t", "depends_on": ["b"]}}
    assert isinstance(make(even, {"mode": "auto"}), CompiledStateGraph)
    assert not isinstance(make(uneven, {"mode": "auto"}), CompiledStateGraph)


def test_importing_the_package_imports_no_framework() -> None:
    code = (
        "import sys, talea_langgraph, talea.plugins as p\n"
        "assert any(f.name == 'langgraph' and f.status == 'ready' for f in p.frameworks())\n"
        "names = ('langgraph', 'langchain', 'langchain_core', 'langchain_openai', 'openai')\n"
        "assert not [n for n in names if n in sys.modules]\n"
        "from talea_langgraph.adapter import LangGraphAdapter\n"
        "assert LangGraphAdapter.features and not [n for n in names if n in sys.modules]\n"
        "import os; assert os.environ['LANGGRAPH_STRICT_MSGPACK'] == 'true'\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "LANGGRAPH_STRICT_MSGPACK"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# By itself


@MODES
def test_it_runs_by_itself(mode: str) -> None:
    flow = make(
        {
            "a": {"tool": "t", "with": {"x": "{{ inputs.n }}"}},
            "b": {"value": "{{ tasks.a.output }}"},
        },
        {"mode": mode},
        inputs={"n": {"type": "integer", "default": 3}},
        outputs={"n": "{{ tasks.b.output }}"},
    )
    assert isinstance(flow, Pregel)
    for given, expected in (({"inputs": {"n": 5}}, 5), ({"inputs": {}}, 3)):
        found = asyncio.run(flow.ainvoke(given, context=Counting().context()))
        assert found["inputs"] == {"n": expected}
        assert found["outputs"] == {"n": expected}
        assert found["results"]["a"] == {"status": "succeeded", "output": expected, "attempts": 1}


@MODES
def test_what_is_wrong_is_raised(mode: str) -> None:
    flow = make(
        {"a": {"tool": "t", "with": {"x": "{{ inputs.n }}"}}},
        {"mode": mode},
        inputs={"n": {"type": "integer"}},
    )
    with pytest.raises(InputError, match="missing"):
        asyncio.run(flow.ainvoke({"inputs": {}}, context=Counting().context()))
    with pytest.raises(UsageError, match="unknown settings"):
        asyncio.run(flow.ainvoke({"inputs": {"n": 1}}, context={"tool": 1}))

    def t(x: int) -> int:
        raise ValueError("no luck")

    with pytest.raises(RunError, match="no luck"):
        asyncio.run(flow.ainvoke({"inputs": {"n": 1}}, context={"tools": [t]}))


@pytest.mark.parametrize(
    "stream_mode", ["values", "updates", "messages", "custom", "tasks", "debug", "checkpoints"]
)
def test_it_streams_in_every_mode(stream_mode: str) -> None:
    async def main() -> list[Any]:
        graph = make(
            {
                "a": {"agent": "w", "prompt": "Go"},
                "b": {"for_each": [1, 2], "tool": "t", "with": {"x": "{{ item }}"}},
                "c": {"tasks": {"x": {"value": 1}}, "depends_on": ["a", "b"]},
            },
            {"checkpointer": InMemorySaver()},
        )

        async def t(x: Any) -> Any:
            get_stream_writer()({"at": x})
            return x

        parts = graph.astream(
            {"inputs": {}},
            THREAD,
            context={"tools": [t], "offline": True},
            stream_mode=stream_mode,
            subgraphs=True,
        )
        return [part async for part in parts]

    parts = asyncio.run(main())
    if stream_mode == "updates":
        names = [name for _, part in parts for name in part]
        assert Counter(names) == {
            "a": 1,
            "b": 1,
            "b.item": 2,
            "b.end": 1,
            "c": 1,
            "x": 1,
            "model": 1,
        }
    elif stream_mode == "values":
        assert set(parts[-1][1]["results"]) == {"a", "b", "b[0]", "b[1]", "c"}
    elif stream_mode == "messages":
        assert "".join(message.text for _, (message, _) in parts)
    elif stream_mode == "custom":
        assert sorted(part["at"] for _, part in parts) == [1, 2]
    else:
        assert parts


def test_several_modes_at_once_and_leaving_early() -> None:
    async def main() -> None:
        graph = make({"a": {"tool": "t"}, "b": {"tool": "t", "depends_on": ["a"]}})
        kinds = [
            kind
            async for kind, _ in graph.astream(
                {}, context=Counting().context(), stream_mode=["values", "updates"]
            )
        ]
        assert set(kinds) == {"values", "updates"}
        tool = Counting()
        stream = graph.astream({}, context=tool.context(), stream_mode="updates")
        async for part in stream:
            assert "a" in part
            break
        await stream.aclose()
        assert sum(tool.calls.values()) == 1

    asyncio.run(main())


def test_events_of_langchain_are_told() -> None:
    async def main() -> set[str]:
        graph = make({"a": {"agent": "w", "prompt": "Go"}})
        events = graph.astream_events({}, context={"offline": True}, version="v2")
        return {event["event"] async for event in events}

    assert {"on_chain_start", "on_chat_model_start", "on_chat_model_end"} <= asyncio.run(main())


@MODES
def test_eight_executions_at_once_do_not_touch_each_other(mode: str) -> None:
    flow = make(
        {
            "a": {"tool": "t", "with": {"x": "{{ inputs.n }}"}},
            "b": {
                "for_each": "range(inputs.n)",
                "tasks": {"x": {"tool": "t", "with": {"x": "{{ [inputs.n, item] }}"}}},
                "depends_on": ["a"],
            },
        },
        {"mode": mode},
        inputs={"n": {"type": "integer"}},
        outputs={"a": "{{ tasks.a.output }}", "b": "{{ tasks.b.output }}"},
    )

    async def t(x: Any) -> Any:
        await asyncio.sleep(0.001)
        return x

    async def main() -> list[Any]:
        return await asyncio.gather(
            *(flow.ainvoke({"inputs": {"n": n}}, context={"tools": [t]}) for n in range(8))
        )

    for n, found in enumerate(asyncio.run(main())):
        expected = [{"x": [n, k]} for k in range(n)]
        assert found["outputs"] == {"a": n, "b": expected}


def test_it_is_a_node_of_a_users_own_graph() -> None:
    inner = make({"a": {"tool": "t", "with": {"x": "{{ inputs.n }}"}}}, inputs={"n": {}})

    async def call(state: dict[str, Any]) -> dict[str, Any]:
        context = Counting().context()
        found = await inner.ainvoke({"inputs": {"n": state["n"]}}, context=context)
        return {"n": found["results"]["a"]["output"] + 1}

    outer: Any = StateGraph(dict)
    outer.add_node("call", call)
    outer.add_edge(START, "call")
    outer.add_edge("call", END)
    assert asyncio.run(outer.compile().ainvoke({"n": 1})) == {"n": 2}


class Around(TypedDict, total=False):
    n: int
    inputs: dict[str, Any]
    outputs: dict[str, Any]


def add_to_a_users_graph(flow: Any, **compile: Any) -> Any:
    async def before(state: Around) -> dict[str, Any]:
        return {"inputs": {"n": state["n"]}}

    async def after(state: Around) -> dict[str, Any]:
        return {"n": len(state["outputs"])}

    outer: Any = StateGraph(Around, context_schema=dict)
    outer.add_node("before", before)
    outer.add_node("flow", flow)
    outer.add_node("after", after)
    for one, other in pairwise([START, "before", "flow", "after", END]):
        outer.add_edge(one, other)
    return outer.compile(**compile)


INSIDE: Mapping[str, Any] = {
    "a": {"tool": "t", "with": {"x": "{{ inputs.n }}"}},
    "q": {"ask": "More than {{ tasks.a.output }}?"},
    "r": {"ask": "Less?", "depends_on": ["a"]},
}
INSIDE_MORE: Mapping[str, Any] = {
    "inputs": {"n": {}},
    "outputs": {"q": "{{ tasks.q.output }}", "r": "{{ tasks.r.output }}"},
}


@MODES
def test_it_is_a_subgraph_of_a_users_own_graph(mode: str) -> None:
    """Its questions interrupt the graph around, whose saver and context are its own as well."""

    async def main() -> None:
        flow = make(INSIDE, {"mode": mode}, **INSIDE_MORE)
        graph = add_to_a_users_graph(flow, checkpointer=InMemorySaver())
        assert "flow" in graph.get_graph(xray=True).draw_mermaid()
        tool = Counting()
        context = tool.context(of_the_users_own=1)
        found = await graph.ainvoke({"n": 7}, THREAD, context=context)
        asked = {one.id: one.value["address"] for one in found["__interrupt__"]}
        assert set(asked.values()) == {"q", "r"}
        answers = {id: f"re {address}" for id, address in asked.items()}
        found = await graph.ainvoke(Command(resume=answers), THREAD, context=context)
        assert found["outputs"] == {"q": "re q", "r": "re r"}
        assert found["n"] == 2
        assert tool.calls == {"7": 1}

    asyncio.run(main())


@MODES
def test_in_a_graph_that_saves_nothing_somebody_must_be_there(mode: str) -> None:
    graph = add_to_a_users_graph(make(INSIDE, {"mode": mode}, **INSIDE_MORE))
    with pytest.raises(UsageError, match="nobody is there"):
        asyncio.run(graph.ainvoke({"n": 7}, context=Counting().context()))
    context = Counting().context(answers={"q": "yes", "r": "no"})
    found = asyncio.run(graph.ainvoke({"n": 7}, context=context))
    assert found["outputs"] == {"q": "yes", "r": "no"}


def test_what_is_not_async_is_refused() -> None:
    graph = make({"a": {"value": 1}})
    with pytest.raises(UsageError, match="async"):
        graph.invoke({})


@MODES
def test_durability_without_a_checkpointer_is_nothing_to_warn_of(mode: str) -> None:
    flow = make({"a": {"value": 1}}, {"mode": mode, "durability": "sync"})
    assert asyncio.run(flow.ainvoke({}))["results"]["a"]["output"] == 1


# Joins and maps


@MODES
def test_joins_wait_for_parents_that_are_skipped(mode: str) -> None:
    tool = Counting()
    flow = make(
        {
            "a": {"tool": "t", "when": "1 == 2"},
            "b": {"tool": "t"},
            "c": {"tool": "t", "depends_on": ["a", "b"], "trigger": "none_failed"},
            "d": {"tool": "t", "depends_on": ["a", "b"]},
            "e": {"tool": "t", "depends_on": ["c", "d"], "trigger": "all_done"},
        },
        {"mode": mode},
    )
    found = asyncio.run(flow.ainvoke({}, context=tool.context()))
    assert statuses(found) == {
        "a": "skipped",
        "b": "succeeded",
        "c": "succeeded",
        "d": "skipped",
        "e": "succeeded",
    }
    assert sum(tool.calls.values()) == 3


@pytest.mark.parametrize("maps", ["send", "node"])
def test_maps_of_none_and_of_many(maps: str) -> None:
    flow = make(
        {
            "none": {"for_each": [], "tool": "t"},
            "skipped": {"for_each": [1], "tool": "t", "when": "1 == 2"},
            "many": {"for_each": "range(20)", "tool": "t", "with": {"x": "{{ item }}"}},
            "after": {"value": "{{ tasks.many.output }}", "depends_on": ["none"]},
        },
        {"maps": maps},
    )
    tool = Counting()
    found = asyncio.run(flow.ainvoke({}, context=tool.context()))["results"]
    assert found["none"]["output"] == []
    assert found["skipped"]["status"] == "skipped"
    assert found["after"]["output"] == list(range(20))
    assert set(tool.calls.values()) == {1}
    assert ("many[3]" in found) == (maps == "send")


@pytest.mark.parametrize("mode", ["graph", "dataflow"])
def test_branches_wait_for_each_other_in_a_graph_only(mode: str) -> None:
    """`b2` begins while `c` is still at work, or does not."""
    order: list[str] = []

    async def t(x: str) -> None:
        order.append(x)
        for _ in range(100 if x == "c" else 1):
            await asyncio.sleep(0)
        order.append(f"{x} ended")

    tasks = {
        name: {"tool": "t", "with": {"x": name}, "depends_on": before}
        for name, before in {"a": [], "b": ["a"], "c": ["a"], "b2": ["b"], "d": ["b2", "c"]}.items()
    }
    result = talea.run(build(tasks), framework="langgraph", tools=[t], options={"mode": mode})
    assert result.succeeded
    assert (order.index("b2") < order.index("c ended")) == (mode == "dataflow")


# Checkpoints, interrupts


ASKING = {
    "before": {"tool": "t", "with": {"x": "before"}},
    "q": {"ask": "Go on, {{ tasks.before.output }}?", "output": {"type": "boolean"}},
    "beside": {"tool": "t", "with": {"x": "beside"}, "depends_on": ["before"]},
    "after": {"tool": "t", "with": {"x": "{{ tasks.q.output }}"}, "depends_on": ["beside"]},
}


@MODES
def test_a_question_interrupts_and_the_answer_resumes(mode: str) -> None:
    async def main() -> None:
        flow = make(
            ASKING,
            {"mode": mode, "checkpointer": InMemorySaver()},
            outputs={"q": "{{ tasks.q.output }}"},
        )
        tool = Counting()
        found = await flow.ainvoke({"inputs": {}}, THREAD, context=tool.context())
        (interrupt,) = found["__interrupt__"]
        assert interrupt.value == {
            "address": "q",
            "ask": "Go on, before?",
            "schema": {"type": "boolean"},
        }
        assert (await flow.aget_state(THREAD)).interrupts == (interrupt,)
        found = await flow.ainvoke(Command(resume=True), THREAD, context=tool.context())
        assert "__interrupt__" not in found
        assert found["outputs"] == {"q": True}
        assert set(statuses(found).values()) == {"succeeded"}
        assert tool.calls == {'"before"': 1, '"beside"': 1, "true": 1}

    asyncio.run(main())


def test_a_call_to_allow_interrupts_and_the_word_resumes() -> None:
    async def main() -> None:
        flow = make(
            {
                "a": {"tool": "s", "with": {"x": 1}},
                "b": {
                    "for_each": [2, 3],
                    "tool": "s",
                    "with": {"x": "{{ item }}"},
                    "depends_on": ["a"],
                },
            },
            {"mode": "graph", "checkpointer": InMemorySaver()},
            tools={"s": {"approve": True}},
        )
        tool = Counting()
        context = {"tools": {"s": tool.context()["tools"]["t"]}}
        found = await flow.ainvoke({"inputs": {}}, THREAD, context=context)
        (interrupt,) = found["__interrupt__"]
        assert interrupt.value["address"] == "a/s"
        assert interrupt.value["ask"] == "Call s with these arguments?\n  x: 1"
        word = {"arguments": {"x": 7}}
        found = await flow.ainvoke(Command(resume=word), THREAD, context=context)
        asked = {one.value["address"]: one.id for one in found["__interrupt__"]}
        while asked:
            words = dict.fromkeys(asked.values(), True)
            found = await flow.ainvoke(Command(resume=words), THREAD, context=context)
            asked = {one.value["address"]: one.id for one in found.get("__interrupt__", ())}
        assert set(statuses(found).values()) == {"succeeded"}
        assert tool.calls == {"7": 1, "2": 1, "3": 1}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("mode", "task"),
    [
        ("graph", {"agent": "w", "prompt": "Go"}),
        ("dataflow", {"agent": "w", "prompt": "Go"}),
        ("dataflow", {"tool": "s"}),
    ],
)
def test_calls_that_no_interrupt_is_bound_to_need_somebody_to_allow_them(
    mode: str, task: dict[str, Any]
) -> None:
    async def main() -> None:
        flow = make(
            {"a": task},
            {"mode": mode, "checkpointer": InMemorySaver()},
            tools={"s": {"approve": True}},
            agents={"w": {"model": "openai/test", "tools": ["s"]}},
        )
        context = {"tools": {"s": Counting().context()["tools"]["t"]}, "offline": True}
        with pytest.raises(UsageError, match="a person must allow calls of tools"):
            await flow.ainvoke({"inputs": {}}, THREAD, context=context)
        # The stand-in for a model calls no tool.
        context["answers"] = {"a/s": True}
        found = await flow.ainvoke({"inputs": {}}, THREAD, context=context)
        assert statuses(found) == {"a": "succeeded"}

    asyncio.run(main())


@MODES
def test_an_answer_that_does_not_fit_is_asked_for_again(mode: str) -> None:
    async def main() -> None:
        flow = make(ASKING, {"mode": mode, "checkpointer": "memory"})
        context = Counting().context()
        await flow.ainvoke({"inputs": {}}, THREAD, context=context)
        found = await flow.ainvoke(Command(resume="perhaps"), THREAD, context=context)
        assert found["__interrupt__"][0].value["address"] == "q"
        found = await flow.ainvoke(Command(resume=False), THREAD, context=context)
        assert found["results"]["q"]["output"] is False

    asyncio.run(main())


@MODES
@pytest.mark.parametrize("maps", ["send", "node"])
def test_several_questions_at_once_are_answered_by_their_ids(mode: str, maps: str) -> None:
    async def main() -> None:
        flow = make(
            {
                "a": {"for_each": ["x", "y"], "ask": "Which, {{ item }}?"},
                "b": {"ask": "And this?"},
                "c": {
                    "tasks": {
                        "x": {"tool": "t", "with": {"x": "inner"}},
                        "y": {"ask": "Inside?", "depends_on": ["x"]},
                        "z": {"tool": "t", "with": {"x": "{{ tasks.y.output }}"}},
                    }
                },
                "d": {"value": "{{ [tasks.a.output, tasks.b.output, tasks.c.output.z] }}"},
            },
            {"mode": mode, "maps": maps, "checkpointer": InMemorySaver()},
        )
        tool = Counting()
        found = await flow.ainvoke({"inputs": {}}, THREAD, context=tool.context())
        asked = {one.id: one.value["address"] for one in found["__interrupt__"]}
        rounds = 0
        while asked:
            rounds += 1
            assert rounds < 5
            answers = {id: f"re {address}" for id, address in asked.items()}
            found = await flow.ainvoke(Command(resume=answers), THREAD, context=tool.context())
            asked = {one.id: one.value["address"] for one in found.get("__interrupt__", ())}
        assert found["results"]["d"]["output"] == [["re a[0]", "re a[1]"], "re b", "re c/y"]
        assert tool.calls == {'"inner"': 1, '"re c/y"': 1}

    asyncio.run(main())


ONE_AFTER_ANOTHER: Mapping[str, Any] = {
    "a chain": {
        "a": {"ask": "A?"},
        "t": {"tool": "t", "with": {"x": "{{ tasks.a.output }}"}},
        "b": {"ask": "B?", "depends_on": ["t"]},
        "c": {"ask": "C?", "depends_on": ["b"]},
    },
    "side by side": {"a": {"ask": "A?"}, "b": {"ask": "B?"}, "c": {"ask": "C?"}},
    "items": {"a": {"for_each": ["x", "y", "z"], "max_parallel": 1, "ask": "{{ item }}?"}},
    "rounds": {
        "a": {
            "loop": {"max": 3, "exhausted": "keep"},
            "tasks": {
                "q": {"ask": "{{ loop.index }}?"},
                "r": {"ask": "{{ loop.index }}, {{ tasks.q.output }}?"},
            },
        },
        "b": {"ask": "B?", "depends_on": ["a"]},
    },
}


@MODES
@pytest.mark.parametrize("name", ONE_AFTER_ANOTHER)
@pytest.mark.parametrize("by_id", [True, False], ids=["by id", "by turn"])
def test_no_answer_is_given_to_two_questions(mode: str, name: str, by_id: bool) -> None:
    async def main() -> None:
        workflow = build(ONE_AFTER_ANOTHER[name])
        seen = Answers()
        options = {"mode": mode, "checkpointer": InMemorySaver()}
        flow = talea.compile(workflow, "langgraph", options)
        tool, given = Counting(), dict[str, str]()
        context = tool.context(sinks=[seen])
        found = await flow.ainvoke({"inputs": {}}, THREAD, context=context)
        while asked := {one.id: one.value["address"] for one in found.get("__interrupt__", ())}:
            id, address = next(iter(asked.items()))
            assert address not in given
            word: Any = given.setdefault(address, f"{len(given)}: {address}")
            answer = {id: word} if by_id or len(asked) > 1 else word
            found = await flow.ainvoke(Command(resume=answer), THREAD, context=context)
        assert seen.given == given
        assert all(calls == 1 for calls in tool.calls.values())

    asyncio.run(main())


class Answers:
    """A sink that notes which answer each question got last."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def __call__(self, event: Any) -> None:
        if isinstance(event, Answered):
            self.given[event.address] = event.answer


@MODES
def test_without_a_checkpointer_somebody_must_be_there(mode: str) -> None:
    flow = make(ASKING, {"mode": mode})
    with pytest.raises(UsageError, match="checkpointer"):
        asyncio.run(flow.ainvoke({"inputs": {}}, context=Counting().context()))
    context = Counting().context(answers={"q": True})
    assert asyncio.run(flow.ainvoke({"inputs": {}}, context=context))["results"]["q"]["output"]


def test_any_checkpointer_is_given_as_to_any_graph() -> None:
    async def main() -> None:
        graph = make(ASKING).builder.compile(checkpointer=InMemorySaver())
        found = await graph.ainvoke({"inputs": {}}, THREAD, context=Counting().context())
        assert found["__interrupt__"]
        history = [state async for state in graph.aget_state_history(THREAD)]
        assert len(history) == 3

    asyncio.run(main())


def test_a_thread_takes_a_new_run_after_a_finished_one() -> None:
    async def main() -> None:
        graph = make(
            {
                "a": {"tool": "t", "with": {"x": "{{ inputs.n }}"}},
                "q": {"ask": "{{ tasks.a.output }}"},
            },
            {"checkpointer": "memory"},
            inputs={"n": {}},
        )
        for n in (1, 2):
            context = Counting().context()
            await graph.ainvoke({"inputs": {"n": n}}, THREAD, context=context)
            found = await graph.ainvoke(Command(resume="ok"), THREAD, context=context)
            assert found["results"]["a"]["output"] == n

    asyncio.run(main())


def test_breakpoints_of_langgraph_pause_and_go_on() -> None:
    async def main() -> None:
        graph = make(
            {"a": {"tool": "t"}, "b": {"tool": "t", "depends_on": ["a"]}},
            {"checkpointer": "memory"},
        )
        tool = Counting()
        await graph.ainvoke({}, THREAD, context=tool.context(), interrupt_before=["b"])
        assert sum(tool.calls.values()) == 1
        found = await graph.ainvoke(None, THREAD, context=tool.context())
        assert statuses(found) == {"a": "succeeded", "b": "succeeded"}
        assert sum(tool.calls.values()) == 2

    asyncio.run(main())


KILLED = """
import asyncio, json, os, sys
import talea
from talea.ir import Workflow

document, options, calls, alone = json.loads(sys.argv[1])
workflow = Workflow.model_validate(document)


async def t(x):
    with open(calls, "a") as file:
        print(x, file=file)
    if x == "b":
        await asyncio.sleep(0.2)  # What has ended is being written meanwhile.
        os._exit(9)
    return x


if alone:
    flow = talea.compile(workflow, "langgraph", options)
    thread = {"configurable": {"thread_id": "1"}}
    asyncio.run(flow.ainvoke({"inputs": {}}, thread, context={"tools": [t]}))
else:
    talea.run(workflow, framework="langgraph", options=options, run_id="r1", tools=[t])
"""


@MODES
@pytest.mark.parametrize("alone", [True, False])
def test_after_a_crash_no_finished_task_runs_again(tmp_path: Path, mode: str, alone: bool) -> None:
    """The process is ended in the midst; another one goes on from the file."""
    pytest.importorskip("langgraph.checkpoint.sqlite")
    path, calls = tmp_path / "state.db", tmp_path / "calls"
    tasks = {
        "a": {"tool": "t", "with": {"x": "a"}},
        "m": {
            "for_each": ["m0", "m1"],
            "tool": "t",
            "with": {"x": "{{ item }}"},
            "depends_on": ["a"],
        },
        "b": {"tool": "t", "with": {"x": "b"}, "depends_on": ["m"]},
        "c": {"tool": "t", "with": {"x": "c"}, "depends_on": ["b"]},
    }
    options = {"mode": mode, "checkpointer": f"sqlite:{path}", "durability": "sync"}
    document = {"name": "test", "tools": {"t": {}}, "tasks": tasks}
    told = json.dumps([document, options, str(calls), alone])
    done = subprocess.run([sys.executable, "-c", KILLED, told], stderr=subprocess.PIPE, check=False)
    assert done.returncode == 9, done.stderr.decode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(calls.read_text().split()) == ["a", "b", "m0", "m1"]

    tool, workflow = Counting(), build(tasks)
    if alone:
        flow = talea.compile(workflow, "langgraph", options)
        found = asyncio.run(flow.ainvoke(None, THREAD, context=tool.context()))
        assert statuses(found) == dict.fromkeys(tasks, "succeeded")
    else:
        result = talea.run(
            workflow, framework="langgraph", options=options, run_id="r1", **tool.context()
        )
        assert result.succeeded
        assert {name: task.status for name, task in result.tasks.items()} == dict.fromkeys(
            tasks, Status.SUCCEEDED
        )
    assert tool.calls == {'"b"': 1, '"c"': 1}


def test_what_is_saved_is_json() -> None:
    async def main() -> None:
        saver = InMemorySaver()
        tasks = {
            "a": {"agent": "w", "prompt": "Go"},
            "b": {"for_each": [1], "tool": "t", "with": {"x": {"lc": 1}}, "fallback": None},
            "c": {"tasks": {"x": {"value": {"lc": 1, "type": "constructor", "id": ["os", "x"]}}}},
        }
        graph = make(tasks, {"checkpointer": saver}, outputs={"c": "{{ tasks.c.output }}"})
        await graph.ainvoke({"inputs": {}}, THREAD, context=Counting().context(offline=True))
        found = 0
        async for one in saver.alist(None):
            values = one.checkpoint["channel_values"]
            for name in ("inputs", "results", "outputs"):
                if name in values:
                    assert json.loads(json.dumps(values[name])) == values[name]
                    found += 1
            assert "messages" not in values  # A conversation is in no checkpoint.
        assert found

    asyncio.run(main())


# Models


def test_a_model_is_made_once_for_each_key() -> None:
    from talea_langgraph.clients import Clients

    keys = iter(["one", "one", "two"])
    endpoint = Endpoint("local", "m", "http://127.0.0.1:9/v1", lambda: next(keys))

    async def main() -> None:
        async with Clients() as clients:
            first, again, other = (clients.model(endpoint, streams=False) for _ in range(3))
            assert first is again
            assert first is not other
            found: Any = other
            assert found.root_async_client.api_key == "two"

    asyncio.run(main())


def test_only_so_many_models_are_kept() -> None:
    from talea_langgraph.clients import Clients

    def endpoint(i: int) -> Endpoint:
        return Endpoint("local", "m", f"http://127.0.0.1:9/{i}", lambda: None)

    async def main() -> None:
        async with Clients() as clients:
            first = endpoint(0)
            model = weakref.ref(clients.model(first, streams=False))
            for i in range(200):
                made: Any = clients.model(endpoint(i), streams=False)
                assert made.openai_api_base == f"http://127.0.0.1:9/{i}"
            gc.collect()
            assert model() is None

    asyncio.run(main())


# What it says of itself


def test_it_describes_what_each_task_becomes() -> None:
    workflow = build(
        {
            "a": {"agent": "w", "prompt": "x"},
            "b": {"for_each": [1], "tool": "t", "depends_on": ["a"]},
            "c": {"tool": "t", "depends_on": ["a"], "retry": {"max_attempts": 2}},
            "d": {"tasks": {"x": {"value": 1}}, "depends_on": ["c"]},
            "q": {"ask": "?"},
        }
    )
    adapter = get_adapter("langgraph")
    told = adapter.describe(make_plan(workflow), {})
    assert set(told) == {"", "a", "b", "c", "d", "q"}
    assert "Send" in told["b"]
    assert "retry" in told["c"]
    assert "subgraph" in told["d"]
    assert "interrupt" in told["q"]
    assert "superstep" in told[""]
    assert "mode=dataflow" in told[""]
    told = adapter.describe(make_plan(workflow), {"mode": "dataflow"})
    assert "functional" in told[""]
    assert "@task" in told["a"]
