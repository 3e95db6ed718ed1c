"""CrewAI's agents over real HTTP: the gateway answers from a cassette, and sees what is sent."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("talea_crewai.framework")

from talea.errors import TaskError
from talea.events import TextStreamed, ToolCalled
from talea.gateway.cassette import Cassette, Player
from talea.gateway.server import Exchange, Gateway
from talea.gateway.standin import StandIn
from talea.ir import Workflow
from talea.result import Result
from talea.run import Prepared, prepare

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of CrewAI's own code
STYLES = pytest.mark.parametrize("style", ["crew", "flow"])
BOTH = pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
LEVEL = {
    "type": "object",
    "properties": {"level": {"enum": ["low", "high"]}},
    "required": ["level"],
}
SEARCH = {
    "description": "Search the archive.",
    "parameters": {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
        "required": ["query"],
    },
}


@dataclass
class Seen:
    """What came of a run: its result, the gateway's log, and the messages of each call."""

    result: Result
    log: Sequence[Exchange]
    sent: list[Any]

    @property
    def messages(self) -> list[list[dict[str, Any]]]:
        return [
            [json.loads(m.model_dump_json(exclude_none=True)) for m in s.messages]
            for s in self.sent
        ]


class Ear:
    """Notes the requests that an answerer gets."""

    def __init__(self, answerer: Any) -> None:
        self.answerer = answerer
        self.sent: list[Any] = []

    def answer(self, call: Any) -> Any:
        self.sent.append(call.request)
        return self.answerer.answer(call)


def ready(
    tasks: Mapping[str, Any],
    turns: Mapping[str, Any] | None = None,
    *,
    framework: str = "crewai",
    style: str = "auto",
    agents: Mapping[str, Any] | None = None,
    agents_of: str | None = None,
    document: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Prepared:
    data = {
        "name": "test",
        "agents": {"w": {}, **(agents or {})},
        "tasks": tasks,
        **(document or {}),
    }
    if framework == "crewai" and style != "auto":
        settings["options"] = {"style": style}
    prepared = prepare(
        Workflow.model_validate(data),
        settings.pop("inputs", {}),
        framework=framework,
        offline=True,
        agents=agents_of,
        **settings,
    )
    cassette = {"talea_cassette": 1, "tasks": turns}
    answerer = StandIn() if turns is None else Player(Cassette.model_validate(cassette))
    prepared.route.source = Ear(answerer)
    return prepared


async def go(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Seen:
    made: list[Gateway] = []

    class Listening(Gateway):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            made.append(self)

    monkeypatch.setattr("talea.gateway.server.Gateway", Listening)
    result = await prepared.run()
    return Seen(result, made[0].log, prepared.route.source.sent)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*args: Any, **more: Any) -> Seen:
        return asyncio.run(go(ready(*args, **more), monkeypatch))

    return run


def search(query: str, limit: int = 3) -> str:
    """Search."""
    return f"found {query}"


# What is sent


@STYLES
def test_the_prompt_is_crewais_own(play: Any, style: str) -> None:
    tasks = {
        "a": {"agent": "w", "prompt": "Write {x} {tools} {input} {role}."},
        "b": {"agent": "w", "prompt": "Go on.", "context": ["a"], "expected_output": "One {word}."},
    }
    agent = {"role": "A {goal} writer", "goal": "Write {backstory}", "backstory": "Born {role}."}
    seen = play(
        tasks,
        {"a": [{"content": "An {a}."}], "b": [{"content": "B"}]},
        agents={"w": agent},
        style=style,
    )
    system, user = seen.messages[1]
    assert system["content"] == (
        "You are A {goal} writer. Born {role}.\nYour personal goal is: Write {backstory}"
    )
    assert seen.messages[0][1]["content"].startswith(
        "\nCurrent Task: Write {x} {tools} {input} {role}."
    )
    assert (
        "Go on.\n\nThis is the expected criteria for your final answer: One {word}."
        in user["content"]
    )
    assert "This is the context you're working with:\nAn {a}." in user["content"]
    assert seen.result.tasks["a"].output == "An {a}."


def test_instructions_stand_in_for_the_role(play: Any) -> None:
    seen = play(
        {"a": {"agent": "w", "prompt": "Go."}}, agents={"w": {"instructions": "Be brief {x}."}}
    )
    assert [m["role"] for m in seen.messages[0]] == ["system", "user"]
    assert seen.messages[0][0]["content"] == "Be brief {x}."


def test_parameters_and_tools_go_to_the_model_as_they_are(play: Any) -> None:
    seen = play(
        {"a": {"agent": "w", "prompt": "Go.", "output": LEVEL}},
        {"a": [{"content": {"level": "low"}}]},
        agents={"w": {"model": "m", "tools": ["Find-It", "find_it"]}},
        document={
            "tools": {"Find-It": SEARCH, "find_it": {}},
            "models": {"m": {"model": "openai/some", "temperature": 0.3, "top_k": 4}},
        },
        tools={"Find-It": search, "find_it": lambda: ""},
    )
    request = seen.sent[0]
    assert (request.model, request.model_extra["temperature"], request.model_extra["top_k"]) == (
        "some",
        0.3,
        4,
    )
    assert request.tool_names == ("Find-It", "find_it")
    assert seen.log[0].tools_offered == ("Find-It", "find_it")
    assert seen.result.tasks["a"].output == {"level": "low"}


# What comes back


@STYLES
@BOTH
def test_tools_structure_and_turns_as_the_gateway_counts_them(
    play: Any, style: str, streams: bool
) -> None:
    tasks = {
        "look": {"agent": "w", "prompt": "Look."},
        "judge": {"agent": "w", "prompt": "Judge: {{ tasks.look.output }}", "output": LEVEL},
    }
    turns = {
        "look": [
            {
                "tool_calls": [
                    {"name": "search", "arguments": {"query": "cats"}},
                    {"name": "search", "arguments": {"query": "dogs"}},
                ],
                "usage": {"input_tokens": 11, "output_tokens": 5},
            },
            {"tool_calls": [{"name": "search", "arguments": "{broken"}, {"name": "nope"}]},
            {"content": "Cats."},
        ],
        "judge": [{"content": {"level": "high"}}],
    }
    events: list[Any] = []
    found = {}
    for framework in ("simple", "crewai"):
        events.clear()
        seen = play(
            tasks,
            turns,
            framework=framework,
            style=style,
            agents={"w": {"tools": ["search"]}},
            document={"tools": {"search": SEARCH}},
            tools=[search],
            sinks=[events.append] if streams else [],
        )
        assert seen.result.succeeded
        usage = seen.result.usage
        assert usage.model_calls == len(seen.log) == 4
        assert usage.input_tokens == sum(x.input_tokens for x in seen.log)
        assert usage.output_tokens == sum(x.output_tokens for x in seen.log)
        assert [x.stream for x in seen.log] == [streams] * 4
        told = sorted(m["content"] for m in seen.messages[2] if m["role"] == "tool")
        asked = [m.get("tool_calls") for m in seen.messages[2] if m["role"] == "assistant"]
        calls = sorted(
            (e.tool, e.error.type if e.error else "") for e in events if isinstance(e, ToolCalled)
        )
        text = "".join(
            e.text for e in events if isinstance(e, TextStreamed) and e.address == "look"
        )
        found[framework] = (
            told,
            asked,
            calls,
            text,
            {a: t.output for a, t in seen.result.tasks.items()},
        )
    assert found["crewai"] == found["simple"]
    assert found["crewai"][3] == ("Cats." if streams else "")


@pytest.mark.parametrize(
    "text",
    [
        'Thought: x\nAction: search\nAction Input: {"a": 1}',
        "Thought: done\nFinal Answer: short",
        "Observation: it goes on\nObservation: still",
        "```\ncode\n```",
        "  spaces around \n",
    ],
)
@pytest.mark.parametrize("tools", [[], ["search"]], ids=["bare", "with tools"])
def test_a_text_is_the_output_as_it_is(play: Any, text: str, tools: list[str]) -> None:
    seen = play(
        {"a": {"agent": "w", "prompt": "Go."}},
        {"a": [{"content": text}]},
        agents={"w": {"tools": tools}},
        document={"tools": {"search": SEARCH}},
        tools=[search],
    )
    assert seen.result.tasks["a"].output == text
    assert len(seen.log) == 1


def test_an_agent_without_tools_is_told_that_there_are_none(play: Any) -> None:
    seen = play(
        {"a": {"agent": "w", "prompt": "Go."}},
        {"a": [{"tool_calls": [{"name": "rm", "arguments": {}}]}, {"content": "ok"}]},
    )
    assert seen.result.tasks["a"].output == "ok"
    assert "there is no tool 'rm'" in seen.messages[1][-1]["content"]


def test_a_large_answer_of_a_tool_reaches_the_model_whole(play: Any) -> None:
    seen = play(
        {"a": {"agent": "w", "prompt": "Go."}},
        {"a": [{"tool_calls": [{"name": "big"}]}, {"content": "ok"}]},
        agents={"w": {"tools": ["big"]}},
        document={"tools": {"big": {}}},
        tools={"big": lambda: "x" * 200_000},
    )
    assert len(seen.messages[1][-1]["content"]) == 200_000


# How it goes wrong


@STYLES
@BOTH
@pytest.mark.parametrize(
    ("turn", "type"),
    [
        ({"fault": {"status": 429, "retry_after": 0}}, "rate_limit"),
        ({"fault": {"status": 500}}, "server_error"),
        ({"fault": {"status": 401}}, "authentication"),
        ({"fault": {"status": 404}}, "model_error"),
        ({"fault": {"status": 400}}, "model_error"),
        ({"fault": {"drop": True}}, "connection"),
        ({"fault": {"refusal": "No."}}, "refused"),
        ({"fault": {"empty": True}}, "invalid_output"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_failure_is_one_call_and_has_its_type(
    play: Any, style: str, streams: bool, turn: Any, type: str, capfd: pytest.CaptureFixture[str]
) -> None:
    turns = {"a": [turn, {"content": "a second call"}]}
    sinks = [lambda event: None] if streams else []
    seen = play({"a": {"agent": "w", "prompt": "Go."}}, turns, style=style, sinks=sinks)
    assert seen.result.error.type == type
    assert len(seen.log) == 1
    assert capfd.readouterr() == ("", "")


@STYLES
def test_the_kernel_retries_in_the_same_conversation(play: Any, style: str) -> None:
    retry = {"max_attempts": 3, "initial_interval": "1ms"}
    turns = {
        "a": [
            {"fault": {"status": 429, "retry_after": 0}},
            {"content": "no json"},
            {"content": {"level": "low"}},
        ]
    }
    seen = play(
        {"a": {"agent": "w", "prompt": "Go.", "output": LEVEL, "retry": retry}}, turns, style=style
    )
    assert seen.result.tasks["a"].attempts == 3 == len(seen.log)
    assert seen.messages[1] == seen.messages[0]
    opening, (answered, feedback) = seen.messages[2][:2], seen.messages[2][2:]
    assert opening == seen.messages[0]
    assert answered == {"role": "assistant", "content": "no json"}
    assert feedback["role"] == "user" and "JSON" in feedback["content"]


@STYLES
def test_exhausted_turns_are_a_failure(play: Any, style: str) -> None:
    used: list[str] = []
    for framework in ("simple", "crewai"):
        used.clear()
        seen = play(
            {"a": {"agent": "w", "prompt": "Go."}},
            {"a": [{"tool_calls": [{"name": "search", "arguments": {"query": "q"}}]}] * 20},
            framework=framework,
            style=style,
            agents={"w": {"tools": ["search"], "max_turns": 8}},
            document={"tools": {"search": SEARCH}},
            tools={"search": lambda query, limit=1: used.append(query) or "same"},
        )
        assert seen.result.error.type == "turns_exhausted"
        assert (len(seen.log), len(used)) == (8, 7)


def test_a_tool_that_raises_runs_once_and_is_told(play: Any) -> None:
    used: list[str] = []

    def broken(query: str) -> str:
        """Break."""
        used.append(query)
        raise ValueError("no archive")

    seen = play(
        {"a": {"agent": "w", "prompt": "Go."}},
        {
            "a": [
                {"tool_calls": [{"name": "broken", "arguments": {"query": "q"}}]},
                {"content": "ok"},
            ]
        },
        agents={"w": {"tools": ["broken"]}},
        document={"tools": {"broken": {}}},
        tools=[broken],
    )
    assert used == ["q"]
    assert "no archive" in seen.messages[1][-1]["content"]
    assert seen.result.tasks["a"].output == "ok"


def test_a_limit_ends_the_run_before_the_next_call(play: Any) -> None:
    seen = play(
        {"a": {"agent": "w", "prompt": "Go."}},
        {
            "a": [
                {"tool_calls": [{"name": "search", "arguments": {"query": "q"}}]},
                {"content": "ok"},
            ]
        },
        agents={"w": {"tools": ["search"]}},
        document={"tools": {"search": SEARCH}, "limits": {"max_model_calls": 1}},
        tools=[search],
    )
    assert seen.result.error.type == "limit_exceeded"
    assert len(seen.log) == 1


# Time


@STYLES
def test_a_timeout_ends_the_http_call(
    play: Any, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = ready(
        {"a": {"agent": "w", "prompt": "Go.", "timeout": "300ms"}},
        {"a": [{"fault": {"hang": True}}]},
        style=style,
    )
    gone = threading.Event()
    from talea.gateway import server
    from talea.gateway.service import Service

    converse = Service.answer

    async def watched(self: Any, *args: Any) -> bool:
        try:
            return await converse(self, *args)
        finally:
            gone.set()

    monkeypatch.setattr(Service, "answer", watched)
    ended_within: list[bool] = []

    async def main() -> Seen:
        task = asyncio.ensure_future(go(prepared, monkeypatch))
        # Well before the gateway closes: the client itself has hung up.
        while not prepared.route.source.sent:
            await asyncio.sleep(0.01)
        original = server.Gateway.close
        monkeypatch.setattr(
            server.Gateway,
            "close",
            lambda self: (ended_within.append(gone.wait(5)), original(self)),
        )
        return await task

    seen = asyncio.run(main())
    assert seen.result.error.type == "timeout"
    assert ended_within == [True]


def test_an_interrupt_ends_what_runs_and_leaves_no_thread_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared = ready(
        {"a": {"for_each": list(range(5)), "agent": "w", "prompt": "Go."}},
        {"a": [{"fault": {"hang": True}}]},
    )

    async def main() -> Seen:
        running = asyncio.ensure_future(go(prepared, monkeypatch))
        while len(prepared.route.source.sent) < 5:
            await asyncio.sleep(0.01)
        prepared.stop()
        return await running

    seen = asyncio.run(main())
    assert str(seen.result.status) == "cancelled"
    names = [thread.name for thread in threading.enumerate() if thread.is_alive()]
    assert not [name for name in names if name.startswith("talea-crewai")]


def test_a_map_runs_side_by_side(play: Any) -> None:
    seen = play(
        {"a": {"for_each": list(range(20)), "agent": "w", "prompt": "Go {{ item }}."}},
        {"a": [{"content": "ok", "fault": {"delay": 1}}]},
    )
    assert seen.result.tasks["a"].output == ["ok"] * 20
    # More were under way at once than the event loop's own executor has threads on two cores.
    spans = [(x.began, x.began + x.duration) for x in seen.log]
    assert max(sum(a <= began < b for a, b in spans) for began, _ in spans) > 6


@STYLES
def test_eight_runs_of_one_compiled_object_do_not_touch_each_other(
    style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = {
        "a": {"agent": "w", "prompt": "Say {{ inputs.n }}."},
        "b": {"agent": "w", "prompt": "Repeat: {{ tasks.a.output }}"},
    }
    document = {"inputs": {"n": {"type": "integer"}}, "outputs": {"b": "{{ tasks.b.output }}"}}
    all_prepared = [
        ready(
            tasks,
            {"a": [{"content": f"n{n}"}], "b": [{"content": f"m{n}"}]},
            style=style,
            document=document,
            inputs={"n": n},
        )
        for n in range(8)
    ]
    for prepared in all_prepared:
        prepared.compiled = all_prepared[0].compiled
        prepared.plan = all_prepared[0].plan
        prepared.route.documents = all_prepared[0].route.documents
        prepared.route.endpoints = all_prepared[0].route.endpoints
        prepared.tools = all_prepared[0].tools

    async def main() -> list[Result]:
        return await asyncio.gather(*(prepared.run() for prepared in all_prepared))

    results = asyncio.run(main())
    assert [result.outputs for result in results] == [{"b": f"m{n}"} for n in range(8)]
    assert [result.usage.model_calls for result in results] == [2] * 8
    for n, prepared in enumerate(all_prepared):
        assert f"Say {n}." in str(prepared.route.source.sent[0].messages)
        assert f"Repeat: n{n}" in str(prepared.route.source.sent[1].messages)


def test_crewais_agents_answer_on_another_schedule(play: Any) -> None:
    tasks = {"a": {"agent": "w", "prompt": "Go."}}
    settings = {"framework": "simple", "agents_of": "crewai"}
    seen = play(tasks, {"a": [{"content": "ok"}]}, **settings)
    assert "Current Task: Go." in seen.messages[0][1]["content"]
    assert seen.result.tasks["a"].output == "ok"


def test_another_frameworks_agents_answer_in_a_crew(play: Any) -> None:
    """Though a crew's tasks are its schedule, who answers is the caller's choice."""
    tasks = {"a": {"agent": "w", "prompt": "Go."}}
    seen = play(tasks, {"a": [{"content": "ok"}]}, style="crew", agents_of="simple")
    assert seen.messages[0] == [{"role": "user", "content": "Go."}]
    assert seen.result.tasks["a"].output == "ok"


def test_tools_may_choose_the_type_of_a_failure(play: Any) -> None:
    def deny(query: str) -> str:
        """Deny."""
        raise TaskError("denied", "not for you")

    seen = play(
        {"a": {"agent": "w", "prompt": "Go."}},
        {"a": [{"tool_calls": [{"name": "deny", "arguments": {"query": "q"}}]}, {"content": "ok"}]},
        agents={"w": {"tools": ["deny"]}},
        document={"tools": {"deny": {}}},
        tools=[deny],
    )
    assert "not for you" in seen.messages[1][-1]["content"]
