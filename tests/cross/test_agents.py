"""Agents over real HTTP: every framework's own client against the loopback model, one cassette.

Each case is a workflow, its tools and what the model answers; every installed framework must come to
the same result, and count the tokens that the server saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

import talea
from talea.events import Event, ModelCalled, TextStreamed, ToolCalled
from talea.gateway.cassette import Player, loads_cassette
from talea.gateway.server import Gateway
from talea.run import prepare

QUIET = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Of CrewAI's own code.
FRAMEWORKS = [
    pytest.param(name, marks=QUIET if name == "crewai" else ())
    for name in ("simple", "langgraph", "crewai")
    if find_spec(f"talea_{name}") and (name == "simple" or find_spec(name))
]
HEAD = """\
talea: 1
name: agents
model: openai/gpt-5-mini
inputs: {topic: {type: string, default: cats}}
tools: {search: {description: Search.}, broken: {}}
agents:
  worker: {role: Worker, goal: "Know {{ inputs.topic }}", tools: [search, broken], max_turns: 3}
  plain: {instructions: "Answer on {{ inputs.topic }}."}
tasks:
"""


def search(query: str) -> str:
    """Search for something.

    Args:
        query: what to look for.
    """
    return f"found {query}"


def broken() -> str:
    """Always break."""
    raise ValueError("no luck")


TOOLS: dict[str, Callable[..., Any]] = {"search": search, "broken": broken}


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    """Give each framework that is installed."""
    return str(request.param)


def run(
    tasks: str, turns: str, framework: str, head: str = HEAD, **more: Any
) -> tuple[talea.Result, list[Event]]:
    """Run a workflow against a cassette; give the result and the events."""
    events: list[Event] = []
    result = talea.run(
        talea.loads(head + tasks),
        framework=framework,
        tools=TOOLS,
        replay=loads_cassette(f"talea_cassette: 1\ntasks:\n{turns}"),
        sinks=[events.append],
        **more,
    )
    return result, events


def test_an_agent_calls_tools_over_several_turns(framework: str) -> None:
    result, events = run(
        "  a: {agent: worker, prompt: 'Find {{ inputs.topic }}'}",
        """\
  a:
    - tool_calls: [{name: search, arguments: {query: one}}, {name: search, arguments: {query: two}}]
      usage: {input_tokens: 10, output_tokens: 4}
    - {content: Both found., usage: {input_tokens: 30, output_tokens: 6}}
""",
        framework,
    )
    assert result.tasks["a"].output == "Both found."
    assert result.tasks["a"].agent == "worker"
    assert (result.usage.model_calls, result.usage.input_tokens, result.usage.output_tokens) == (
        2, 40, 10,
    )  # fmt: skip
    assert [e.tool for e in events if isinstance(e, ToolCalled) and e.error is None] == [
        "search"
    ] * 2
    assert len([e for e in events if isinstance(e, ModelCalled)]) == 2


def test_what_goes_wrong_with_a_tool_is_told_to_the_model_and_counted(framework: str) -> None:
    result, events = run(
        "  a: {agent: worker, prompt: Go}",
        """\
  a:
    - tool_calls:
        - {name: broken, arguments: {}}
        - {name: search, arguments: {wrong: 1}}
        - {name: nowhere, arguments: {}}
        - {name: search, arguments: "no json"}
    - content: I give up.
""",
        framework,
    )
    assert result.tasks["a"].output == "I give up.", result.error
    types = sorted(e.error.type for e in events if isinstance(e, ToolCalled) and e.error)
    assert types == ["invalid_arguments", "invalid_arguments", "tool_error", "unknown_tool"]


def test_turns_run_out_and_the_last_tools_are_not_run(framework: str) -> None:
    turn = "    - tool_calls: [{name: search, arguments: {query: x}}]\n"
    result, events = run("  a: {agent: worker, prompt: Go}", "  a:\n" + turn * 5, framework)
    assert result.tasks["a"].error is not None
    assert result.tasks["a"].error.type == "turns_exhausted"
    assert result.usage.model_calls == 3
    assert len([e for e in events if isinstance(e, ToolCalled)]) == 2


def test_structured_output_is_checked_and_asked_again_in_the_same_conversation(
    framework: str,
) -> None:
    result, _ = run(
        "  a:\n"
        "    agent: plain\n"
        "    prompt: Rate it\n"
        "    output: {type: object, properties: {n: {type: integer}}, required: [n]}\n"
        "    retry: {max_attempts: 2, initial_interval: 1ms}\n",
        "  a: [{content: {n: many}}, {content: {n: 3}}]",
        framework,
    )
    assert result.tasks["a"].output == {"n": 3}
    assert result.tasks["a"].attempts == 2


@pytest.mark.parametrize(
    ("output", "answer", "expected"),
    [
        ("{enum: [low, high]}", "high", "high"),
        ("{type: array, items: {type: integer}}", "[1, 2]", [1, 2]),
        ("{type: boolean}", "true", True),
        ("{type: string}", '"quoted"', '"quoted"'),
    ],
)
def test_outputs_of_other_shapes(framework: str, output: str, answer: str, expected: Any) -> None:
    result, _ = run(
        f"  a: {{agent: plain, prompt: x, output: {output}}}",
        f"  a: [{{content: '{answer}'}}]",
        framework,
    )
    assert result.tasks["a"].error is None
    assert result.tasks["a"].output == expected


@pytest.mark.parametrize(
    ("turn", "type"),
    [
        ("fault: {status: 429, retry_after: 0}", "rate_limit"),
        ("fault: {status: 500}", "server_error"),
        ("fault: {status: 401}", "authentication"),
        ("fault: {status: 400}", "model_error"),
        ("fault: {refusal: I will not.}", "refused"),
        ("fault: {empty: true}", "invalid_output"),
        ("fault: {garbage: true}", "server_error"),
    ],
)
def test_a_model_that_misbehaves(framework: str, turn: str, type: str) -> None:
    result, _ = run("  a: {agent: plain, prompt: x}", f"  a: [{{{turn}}}]", framework)
    assert result.tasks["a"].error is not None
    assert result.tasks["a"].error.type == type
    assert result.usage.model_calls == 1


def test_a_call_beyond_the_cassette_is_never_retried(framework: str) -> None:
    result, _ = run(
        "  a: {agent: plain, prompt: x, fallback: never, retry: {max_attempts: 3, retry_on: [any]}}",
        "  b: [{content: x}]",
        framework,
    )
    assert result.error is not None
    assert result.error.type == "replay_exhausted"
    assert result.tasks["a"].attempts == 1


def test_context_of_any_kind_reaches_the_agent(framework: str) -> None:
    workflow = talea.loads(
        HEAD
        + "  n: {value: {k: [1, 2]}}\n"
        + "  t: {value: some text}\n"
        + "  off: {value: x, when: 1 == 2}\n"
        + "  a: {agent: plain, context: [n, t, off], trigger: none_failed, prompt: Use it,"
        + " expected_output: 'Two words on {{ inputs.topic }}'}"
    )
    seen: list[str] = []

    class Watching(Player):
        def answer(self, call: Any) -> Any:
            seen.append("\n".join(message.text for message in call.request.messages))
            return super().answer(call)

    prepared = prepare(workflow, framework=framework, tools=TOOLS, offline=True)
    prepared.route.source = Watching(
        loads_cassette("talea_cassette: 1\ntasks:\n  a: [{content: fine}]")
    )
    result = asyncio.run(prepared.run())
    assert result.succeeded, result.error
    for part in ('{"k": [1, 2]}', "some text", "Use it", "Two words on cats", "Answer on cats."):
        assert part in seen[0]


def test_text_streams_as_it_is_written(framework: str) -> None:
    result, events = run(
        "  a: {agent: plain, prompt: x}", "  a: [{content: One two three four.}]", framework
    )
    pieces = [e.text for e in events if isinstance(e, TextStreamed)]
    assert result.tasks["a"].output == "One two three four."
    assert "".join(pieces) in ("", "One two three four.")
    if framework == "simple":
        assert len(pieces) > 1


def test_limits_count_what_the_server_saw(framework: str) -> None:
    result, _ = run(
        "  a: {agent: plain, prompt: x}\n  b: {agent: plain, prompt: y, depends_on: [a]}",
        "  a: [{content: x, usage: {input_tokens: 60, output_tokens: 50}}]\n  b: [{content: y}]",
        framework,
        HEAD.replace("tasks:", "limits: {max_tokens: 100}\ntasks:"),
    )
    assert result.error is not None
    assert (result.error.type, result.error.address) == ("limit_exceeded", "b")
    assert result.tasks["a"].output == "x"
    assert result.usage.model_calls == 1


def test_a_timeout_ends_the_attempt(framework: str) -> None:
    result, _ = run(
        "  a: {agent: plain, prompt: x, timeout: 300ms, fallback: late}",
        "  a: [{fault: {hang: true}}]",
        framework,
    )
    assert result.tasks["a"].output == "late"
    assert result.tasks["a"].recovered


def test_a_map_of_agents_runs_side_by_side(framework: str) -> None:
    """Calls are open at once: the server answers none before half a second."""
    workflow = talea.loads(
        HEAD + "  a: {for_each: 'range(8)', agent: plain, prompt: 'n {{ item }}'}"
    )
    prepared = prepare(workflow, framework=framework, tools=TOOLS, offline=True)
    prepared.route.source = Player(
        loads_cassette("talea_cassette: 1\ntasks:\n  a: [{content: ok, fault: {delay: 0.5}}]")
    )
    result = asyncio.run(prepared.run())
    assert result.tasks["a"].output == ["ok"] * 8
    assert result.calls is not None
    spans = [(call.began, call.began + call.duration) for call in result.calls]
    assert max(sum(a <= began < b for a, b in spans) for began, _ in spans) > 1


def test_runs_of_one_workflow_at_once_do_not_touch_each_other(framework: str) -> None:
    workflow = talea.loads(
        HEAD
        + "  a: {agent: plain, prompt: '{{ inputs.topic }}'}\n"
        + "  b: {agent: worker, prompt: '{{ tasks.a.output }}'}\noutputs: {b: '{{ tasks.b.output }}'}"
    )

    async def main() -> list[talea.Result]:
        return await asyncio.gather(
            *(
                talea.arun(
                    workflow, {"topic": f"t{n}"}, framework=framework, tools=TOOLS, offline=True
                )
                for n in range(8)
            )
        )

    outputs = [result.outputs for result in asyncio.run(main())]
    assert all(f"t{n}" in (found or {})["b"] for n, found in enumerate(outputs))


def test_any_server_that_speaks_chat_completions_is_reached_by_its_base_url(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_KEY", "k-123")
    cassette = loads_cassette(
        "talea_cassette: 1\ntasks:\n  any:\n"
        "    - tool_calls: [{name: search, arguments: {query: owls}}]\n"
        "    - content: {found: true}\n"
        "      usage: {input_tokens: 12, output_tokens: 3}\n"
    )
    events: list[Event] = []
    with Gateway(Player(cassette)) as server:
        # A plain server, as far as the run can tell: it is neither offline nor a replay.
        address = server.base_url("any", "anyone")
        workflow = talea.loads(
            HEAD.replace(
                "tools: {search",
                f"models: {{local: {{model: local/owl, base_url: '{address}',"
                " api_key: {env: LOCAL_KEY}, temperature: 0.5}}\ntools: {search",
            ).replace("model: openai/gpt-5-mini", "model: local")
            + "  a:\n    agent: worker\n    prompt: Find owls\n"
            "    output: {type: object, properties: {found: {type: boolean}}, required: [found]}\n"
        )
        result = talea.run(workflow, framework=framework, tools=TOOLS, sinks=[events.append])
        log = list(server.log)
    assert result.tasks["a"].error is None
    assert result.tasks["a"].output == {"found": True}
    assert [exchange.model for exchange in log] == ["owl", "owl"]
    assert sum(exchange.input_tokens for exchange in log) == result.usage.input_tokens
    assert sum(exchange.output_tokens for exchange in log) == result.usage.output_tokens
    assert [e.tool for e in events if isinstance(e, ToolCalled)] == ["search"]
    assert "k-123" not in repr(events) + repr(result)
