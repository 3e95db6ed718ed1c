"""What a run looks like as OpenTelemetry spans."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

import talea
from talea.adapter import Unanswered
from talea.events import MeteredCall, ModelCalled, RunEnded, RunMetered, RunStarted, Status, Usage
from talea.failures import remember_secret
from talea.gateway.cassette import loads_cassette

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)
from opentelemetry.trace import SpanKind, StatusCode

from talea.otel import Tracing

HEAD = """\
talea: 1
name: brief
model: openai/gpt-5-mini
inputs: {topic: {type: string, default: cats}}
tools: {search: {}, broken: {}}
agents:
  worker: {instructions: You work., tools: [search, broken], max_turns: 3}
tasks:
"""
CANARY = "canary-in-the-mine"


def search(query: str) -> str:
    """Look something up."""
    return f"found {query}"


def broken() -> str:
    """Fail."""
    raise ValueError(f"no way, {CANARY}")


class Traced:
    """A run, and the spans that it came to."""

    def __init__(
        self, tasks: str, turns: str = "", *, head: str = HEAD, content: bool = False, **more: Any
    ) -> None:
        provider, exporter = _provider()
        settings: dict[str, Any] = {"tools": {"search": search, "broken": broken}, **more}
        if turns:
            settings["replay"] = loads_cassette(f"talea_cassette: 1\ntasks:\n{turns}")
        else:
            settings["offline"] = True
        self.before = time.time_ns()
        self.result = talea.run(
            talea.loads(head + tasks),
            sinks=[Tracing(provider, content=content, conversation="talk-1")],
            **settings,
        )
        self.after = time.time_ns()
        self.spans = sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        _check(self.spans)

    @property
    def tree(self) -> list[str]:
        """Draw the spans by their parents, each with its error."""
        return _tree(self.spans)

    def named(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def all_named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]


def _check(spans: list[ReadableSpan]) -> None:
    """One trace, one root, children within the time of their parents, errors with their types."""
    by_id = {span.context.span_id: span for span in spans if span.context}
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    assert [span.name.split()[0] for span in spans if span.parent is None] == ["invoke_workflow"]
    for span in spans:
        failed = span.status.status_code is StatusCode.ERROR
        assert failed == ("error.type" in attributes(span)), span.name
        assert attributes(span)["gen_ai.conversation.id"] == "talk-1"
        if span.parent is not None:
            around = by_id[span.parent.span_id]
            assert (around.start_time or 0) <= (span.start_time or 0) <= (span.end_time or 0)


def _tree(spans: Iterable[ReadableSpan]) -> list[str]:
    listed = list(spans)
    lines: list[str] = []

    def draw(parent: int | None, indent: str) -> None:
        for span in listed:
            if (span.parent and span.parent.span_id) != parent or span.context is None:
                continue
            found = attributes(span).get("error.type", "")
            lines.append(f"{indent}{span.name} {found}".rstrip())
            draw(span.context.span_id, indent + "  ")

    draw(None, "")
    return lines


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def uncosted(span: ReadableSpan) -> dict[str, Any]:
    """Leave out the cost, which is there if prices are installed."""
    return {key: told for key, told in attributes(span).items() if key != "talea.usage.cost"}


def events_of(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, dict(event.attributes or {})) for event in span.events]


def test_an_agent_its_models_and_its_tools() -> None:
    traced = Traced(
        "  a: {agent: worker, prompt: 'Find {{ inputs.topic }}'}\n",
        """\
  a:
    - tool_calls: [{name: search, arguments: {query: one}}]
      usage: {input_tokens: 10, output_tokens: 4}
    - {content: Found., usage: {input_tokens: 30, output_tokens: 6}}
""",
        run_id="run-1",
    )
    assert traced.tree == [
        "invoke_workflow brief",
        "  task a",
        "    invoke_agent worker",
        "      chat gpt-5-mini",
        "      execute_tool search",
        "      chat gpt-5-mini",
    ]
    assert uncosted(traced.spans[0]) == {
        "gen_ai.conversation.id": "talk-1",
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "brief",
        "gen_ai.agent.name": "brief",
        "talea.run.id": "run-1",
        "talea.framework": "simple",
        "talea.status": "succeeded",
        "talea.usage.model_calls": 2,
        "talea.usage.input_tokens": 40,
        "talea.usage.output_tokens": 10,
    }
    assert attributes(traced.named("task a")) == {
        "gen_ai.conversation.id": "talk-1",
        "talea.task.address": "a",
        "talea.task.attempts": 1,
        "talea.status": "succeeded",
    }
    agent = traced.named("invoke_agent worker")
    assert agent.kind is SpanKind.INTERNAL
    assert uncosted(agent) == {
        "gen_ai.conversation.id": "talk-1",
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.agent.name": "worker",
        "gen_ai.usage.input_tokens": 40,
        "gen_ai.usage.output_tokens": 10,
        "talea.task.address": "a",
        "talea.attempt": 1,
        "talea.status": "succeeded",
    }
    first, second = traced.all_named("chat gpt-5-mini")
    assert first.kind is SpanKind.CLIENT
    assert uncosted(first) == {
        "gen_ai.conversation.id": "talk-1",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.agent.name": "worker",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 4,
    }
    assert attributes(second)["gen_ai.usage.input_tokens"] == 30
    tool = traced.named("execute_tool search")
    assert tool.kind is SpanKind.INTERNAL
    assert attributes(tool) == {
        "gen_ai.conversation.id": "talk-1",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.name": "search",
    }
    scope = tool.instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.version) == ("talea", talea.__version__)


def test_spans_have_the_times_of_the_events_and_not_of_the_export() -> None:
    async def slow() -> None:
        await asyncio.sleep(0.05)

    traced = Traced(
        "  a: {tool: slow}\n  b: {value: 1, depends_on: [a]}\n",
        head="talea: 1\nname: brief\ntools: {slow: {}}\ntasks:\n",
        tools={"slow": slow},
    )
    root, task, tool, after = traced.spans
    assert [span.name for span in traced.spans] == [
        "invoke_workflow brief", "task a", "execute_tool slow", "task b",
    ]  # fmt: skip
    assert traced.before <= (root.start_time or 0)
    assert (root.end_time or 0) <= traced.after + 1_000_000
    for span, started, ended in (
        (root, 0.0, traced.result.duration),
        (task, traced.result.tasks["a"].started, traced.result.tasks["a"].ended),
        (after, traced.result.tasks["b"].started, traced.result.tasks["b"].ended),
    ):
        assert started is not None
        assert ended is not None
        zero = root.start_time or 0
        assert (span.start_time or 0) - zero == pytest.approx(started * 1e9, abs=1_000)
        assert (span.end_time or 0) - zero == pytest.approx(ended * 1e9, abs=1_000)
    assert (tool.end_time or 0) - (tool.start_time or 0) >= 50_000_000


def test_items_iterations_and_blocks_have_their_own_parents() -> None:
    traced = Traced(
        """\
  notes:
    for_each: [x, y]
    tasks:
      draft: {agent: worker, prompt: "Write {{ item }}"}
      polish:
        agent: worker
        prompt: "Polish {{ tasks.draft.output }}"
        loop: {until: loop.index == 1, max: 3}
  last: {agent: worker, prompt: End, for_each: [p, q], depends_on: [notes]}
"""
    )
    assert traced.result.succeeded
    assert sorted(traced.tree) == sorted([
        "invoke_workflow brief",
        "  task notes",
        *2 * [
            "    block notes",
            "      task draft",
            "        invoke_agent worker",
            "          chat gpt-5-mini",
            "      task polish",
            *2 * [
                "        invoke_agent worker",
                "          chat gpt-5-mini",
            ],
        ],
        "  task last",
        *2 * [
            "    invoke_agent worker",
            "      chat gpt-5-mini",
        ],
    ])  # fmt: skip
    by_id = {span.context.span_id: span for span in traced.spans if span.context}

    def around(span: ReadableSpan) -> Any:
        assert span.parent is not None
        return attributes(by_id[span.parent.span_id]).get("talea.task.address")

    places = {(around(s), attributes(s)["talea.task.address"]) for s in traced.spans if s.parent
              and s.name.split()[0] in ("task", "block", "invoke_agent")}  # fmt: skip
    assert places == {
        (None, "notes"),
        (None, "last"),
        ("last", "last[0]"),
        ("last", "last[1]"),
        *(
            pair
            for k in (0, 1)
            for pair in (
                ("notes", f"notes[{k}]"),
                (f"notes[{k}]", f"notes[{k}]/draft"),
                (f"notes[{k}]", f"notes[{k}]/polish"),
                (f"notes[{k}]/draft", f"notes[{k}]/draft"),
                (f"notes[{k}]/polish", f"notes[{k}]/polish#0"),
                (f"notes[{k}]/polish", f"notes[{k}]/polish#1"),
            )
        ),
    }


def test_a_sub_workflow_is_a_workflow() -> None:
    traced = Traced(
        """\
  deep: {workflow: research, with: {query: cats}}
workflows:
  research:
    inputs: {query: {type: string}}
    tasks:
      look: {tool: search, with: {query: "{{ inputs.query }}"}}
"""
    )
    assert traced.tree == [
        "invoke_workflow brief",
        "  task deep",
        "    invoke_workflow research",
        "      task look",
        "        execute_tool search",
    ]
    inner = attributes(traced.named("invoke_workflow research"))
    assert inner["gen_ai.workflow.name"] == "research"
    assert inner["talea.status"] == "succeeded"


def test_every_attempt_is_a_span_and_every_retry_a_note() -> None:
    traced = Traced(
        "  a: {agent: worker, prompt: Go, retry: {max_attempts: 3, initial_interval: 0s}}\n",
        "  a: [{fault: {status: 429, retry_after: 0}}, {fault: {status: 503}}, {content: Well.}]\n",
    )
    assert traced.result.succeeded, traced.result.error
    assert traced.tree == [
        "invoke_workflow brief",
        "  task a",
        "    invoke_agent worker rate_limit",
        "      chat gpt-5-mini rate_limit",
        "    invoke_agent worker server_error",
        "      chat gpt-5-mini server_error",
        "    invoke_agent worker",
        "      chat gpt-5-mini",
    ]
    attempts = traced.all_named("invoke_agent worker")
    assert [attributes(span)["talea.attempt"] for span in attempts] == [1, 2, 3]
    task = traced.named("task a")
    assert attributes(task)["talea.task.attempts"] == 3
    assert [
        (name, told["talea.attempt"], told["error.type"]) for name, told in events_of(task)
    ] == [
        ("talea.retry", 1, "rate_limit"),
        ("talea.retry", 2, "server_error"),
    ]


def test_a_block_that_is_tried_again_has_a_span_for_each_attempt() -> None:
    calls: list[int] = []

    def search(query: str) -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("not yet")
        return query

    traced = Traced(
        """\
  both:
    retry: {max_attempts: 2, initial_interval: 0s}
    tasks:
      one: {value: 1}
      two: {tool: search, with: {query: x}, depends_on: [one]}
""",
        tools={"search": search, "broken": broken},
    )
    assert traced.tree == [
        "invoke_workflow brief",
        "  task both",
        "    block both tool_error",
        "      task one",
        "      task two tool_error",
        "        execute_tool search tool_error",
        "    block both",
        "      task one",
        "      task two",
        "        execute_tool search",
    ]
    first, second = traced.all_named("block both")
    assert attributes(first)["talea.error.address"] == "both/two"
    assert [attributes(span)["talea.attempt"] for span in (first, second)] == [1, 2]


def test_a_failed_run_and_what_it_left_undone() -> None:
    traced = Traced(
        """\
  a: {tool: broken}
  b: {value: 1, depends_on: [a]}
  c: {value: 1, when: false}
  d: {tool: broken, fallback: instead}
""",
        head=HEAD.replace("tasks:", "on_failure: continue\ntasks:"),
    )
    tree = traced.tree
    assert tree[0] == "invoke_workflow brief tool_error"
    assert sorted(tree[1:]) == [
        "    execute_tool broken tool_error",
        "    execute_tool broken tool_error",
        "  task a tool_error",
        "  task b",
        "  task c",
        "  task d",
    ]
    told = {span.name: attributes(span) for span in traced.spans}
    assert told["invoke_workflow brief"]["talea.error.address"] == "a"
    assert told["task b"]["talea.status"] == "upstream_failed"
    assert told["task b"]["talea.task.reason"] == "a"
    assert told["task c"]["talea.status"] == "skipped"
    assert told["task c"]["talea.task.reason"] == "when"
    skipped = traced.named("task c")
    assert skipped.start_time == skipped.end_time
    assert told["task d"]["talea.task.recovered"] is True
    ((name, words),) = events_of(traced.named("task d"))
    assert (name, words["error.type"]) == ("talea.recovered", "tool_error")


def test_a_timeout_ends_the_agent_and_its_call() -> None:
    traced = Traced(
        "  a: {agent: worker, prompt: Go, timeout: 200ms}\n", "  a: [{fault: {hang: true}}]\n"
    )
    assert traced.tree == [
        "invoke_workflow brief timeout",
        "  task a timeout",
        "    invoke_agent worker timeout",
        "      chat gpt-5-mini timeout",
    ]


def test_what_is_cancelled_is_no_error_of_its_own() -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    async def fail() -> None:
        await asyncio.sleep(0.05)
        raise ValueError

    traced = Traced(
        """\
  outer:
    tasks:
      a: {agent: worker, prompt: Go}
      b: {tool: search}
      c: {value: 1, depends_on: [a]}
  d: {tool: broken}
""",
        "  outer/a: [{fault: {hang: true}}]\n",
        tools={"search": hang, "broken": fail},
    )
    told = {span.name: attributes(span) for span in traced.spans}
    cancelled = {name for name, one in told.items() if one.get("talea.status") == "cancelled"}
    assert cancelled == {
        "task outer", "block outer", "task a", "invoke_agent worker", "task b", "task c",
    }  # fmt: skip
    # The calls were cut off, and say so.
    assert told["chat gpt-5-mini"]["error.type"] == "interrupted"
    assert told["execute_tool search"]["error.type"] == "interrupted"
    assert "error.type" not in told["invoke_agent worker"]
    assert told["task c"]["talea.task.reason"] == "outer"
    assert [line.strip() for line in traced.tree if "block outer" in line] == ["block outer"]


def test_what_waits_for_a_person_ends_with_the_run() -> None:
    def nobody(call: Any) -> Any:
        raise Unanswered

    traced = Traced(
        "  sure: {ask: 'Sure?', output: {type: boolean}}\n  then: {value: 1, when: tasks.sure.output}\n",
        ask=nobody,
    )
    root, task = traced.spans[:2]
    assert attributes(root)["talea.status"] == "waiting"
    assert attributes(task)["talea.status"] == "waiting"
    assert task.end_time == root.end_time
    assert [name for name, _ in events_of(task)] == ["talea.asked"]


def test_an_answered_question_is_a_note() -> None:
    traced = Traced(
        "  sure: {ask: 'Sure?', output: {type: boolean}}\n", answers=[("sure", "x"), ("sure", True)]
    )
    notes = events_of(traced.named("task sure"))
    assert [(name, told.get("talea.refused")) for name, told in notes] == [
        ("talea.asked", None),
        ("talea.answered", True),
        ("talea.answered", False),
    ]


SECRETIVE = """\
  a: {agent: worker, prompt: 'canary-in-the-mine {{ inputs.topic }}'}
  b: {tool: search, with: {query: canary-in-the-mine}}
  c: {value: canary-in-the-mine}
  d: {ask: 'canary-in-the-mine?'}
  e: {tool: broken, fallback: canary-in-the-mine}
  f: {agent: worker, prompt: Go, retry: {max_attempts: 2, initial_interval: 0s}}
outputs: {all: 'canary-in-the-mine'}
"""
SECRETIVE_TURNS = """\
  a:
    - tool_calls:
        - {name: search, arguments: {query: canary-in-the-mine}}
        - {name: canary-in-the-mine, arguments: {}}
        - {name: search, arguments: "canary-in-the-mine"}
        - {name: broken, arguments: {}}
    - {content: canary-in-the-mine}
  f: [{fault: {status: 429, message: canary-in-the-mine}}, {content: canary-in-the-mine}]
"""


def _secretive(**more: Any) -> Traced:
    head = HEAD.replace("You work.", f"{CANARY}.")
    traced = Traced(SECRETIVE, SECRETIVE_TURNS, head=head, answers={"d": CANARY}, **more)
    assert traced.result.succeeded, traced.result.error
    return traced


def test_no_span_tells_what_went_in_or_came_out() -> None:
    traced = _secretive()
    assert CANARY not in "".join(span.to_json() for span in traced.spans)
    assert len(traced.all_named("execute_tool")) == 1  # The model made the tool's name up.


def test_content_is_told_where_it_is_asked_for() -> None:
    traced = _secretive(content=True)
    told = attributes(traced.all_named("invoke_agent worker")[0])
    assert json.loads(told["gen_ai.system_instructions"]) == [
        {"type": "text", "content": f"{CANARY}."}
    ]
    assert json.loads(told["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": f"{CANARY} cats"}]}
    ]
    assert json.loads(told["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": CANARY}],
            "finish_reason": "stop",
        }
    ]
    tool = attributes(traced.all_named("execute_tool search")[0])
    assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"query": CANARY}
    assert json.loads(tool["gen_ai.tool.call.result"]) == f"found {CANARY}"
    assert len(traced.all_named(f"execute_tool {CANARY}")) == 1
    assert json.loads(attributes(traced.named("task c"))["talea.task.output"]) == CANARY
    assert json.loads(attributes(traced.spans[0])["talea.outputs"]) == {"all": CANARY}
    assert events_of(traced.named("task d"))[0][1]["talea.question"] == f"{CANARY}?"
    assert CANARY in (traced.all_named("execute_tool broken")[0].status.description or "")


def test_a_secret_is_told_nowhere_though_content_is_asked_for() -> None:
    secret = "sk-the-key-of-a-provider"
    remember_secret(secret)
    traced = Traced(
        f"  a: {{agent: worker, prompt: 'Use {secret}'}}\n  b: {{value: {secret}}}\n"
        f"  c: {{tool: search, with: {{query: {secret}}}}}\n",
        content=True,
    )
    told = "".join(span.to_json() for span in traced.spans)
    assert secret not in told
    assert "Use ***" in told


def test_content_goes_to_no_sink_that_did_not_ask() -> None:
    seen: list[Any] = []
    traced = Traced(SECRETIVE, SECRETIVE_TURNS, answers={"d": CANARY}, content=True)
    types = {"AgentContent", "ToolContent"}
    listening = Tracing(TracerProvider(), content=True)
    talea.run(
        talea.loads(HEAD + "  a: {tool: search, with: {query: x}}\n"),
        tools={"search": search, "broken": broken},
        sinks=[seen.append, listening],
        offline=True,
    )
    assert traced.result.succeeded
    assert seen
    assert not types & {type(event).__name__ for event in seen}


def _provider() -> tuple[TracerProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def test_a_run_is_part_of_the_trace_around_it_and_its_tools_of_its_own() -> None:
    provider, exporter = _provider()
    tracer = provider.get_tracer("app")

    def search(query: str) -> str:
        with tracer.start_as_current_span("inside"):
            return query

    async def main() -> None:
        workflow = talea.loads(HEAD + "  a: {tool: search, with: {query: x}}\n")
        with tracer.start_as_current_span("request") as request:
            await talea.arun(
                workflow,
                tools={"search": search, "broken": broken},
                sinks=[Tracing(provider)],
                offline=True,
            )
            assert trace.get_current_span() is request
            with tracer.start_as_current_span("afterwards"):
                pass

    asyncio.run(main())
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert _tree(exporter.get_finished_spans())[0] == "request"
    parents = {name: span.parent.span_id for name, span in spans.items() if span.parent}
    assert parents["invoke_workflow brief"] == spans["request"].context.span_id
    assert parents["inside"] == spans["invoke_workflow brief"].context.span_id
    assert parents["afterwards"] == spans["request"].context.span_id


def test_runs_at_the_same_time_need_one_each_and_runs_in_turn_do_not() -> None:
    provider, exporter = _provider()
    workflow = talea.loads(HEAD + "  a: {agent: worker, prompt: Go}\n")
    tools = {"search": search, "broken": broken}
    shared = Tracing(provider)
    for _ in range(2):
        talea.run(workflow, tools=tools, sinks=[shared], offline=True)
    assert len({span.context.trace_id for span in exporter.get_finished_spans()}) == 2
    exporter.clear()

    async def main() -> None:
        runs = [
            talea.arun(workflow, tools=tools, sinks=[Tracing(provider)], offline=True)
            for _ in range(8)
        ]
        await asyncio.gather(*runs)

    asyncio.run(main())
    by_trace: dict[int, list[ReadableSpan]] = {}
    for span in exporter.get_finished_spans():
        by_trace.setdefault(span.context.trace_id, []).append(span)
    assert len(by_trace) == 8
    for spans in by_trace.values():
        assert _tree(sorted(spans, key=lambda span: span.start_time or 0)) == [
            "invoke_workflow brief",
            "  task a",
            "    invoke_agent worker",
            "      chat gpt-5-mini",
        ]

    def overlap() -> None:
        shared(RunStarted(0.0, "r", "one", "simple"))
        with pytest.raises(talea.UsageError, match="follows a run already"):
            shared(RunStarted(0.0, "s", "two", "simple"))

    copy_context().run(overlap)


@pytest.mark.parametrize(
    ("model", "name"),
    [("google/gemini-2.5-flash", "gcp.gemini"), ("mistral/large", "mistral_ai"), ("xai/grok-3", "x_ai"), ("groq/llama", "groq")],
)  # fmt: skip
def test_providers_have_the_names_of_the_conventions(model: str, name: str) -> None:
    head = HEAD.replace("openai/gpt-5-mini", model)
    traced = Traced("  a: {agent: worker, prompt: Go}\n", head=head)
    assert attributes(traced.spans[-1])["gen_ai.provider.name"] == name


def test_a_run_tells_what_the_gateway_counted_where_it_stood_between() -> None:
    provider, exporter = _provider()
    used = Usage(1, 10, 4, 0.5)
    call = MeteredCall("a", "w", 1, "m", 200, used, 0.0, 0.0, 0.0, 1, (), (), "client")
    tracing = Tracing(provider)
    for event in (
        RunStarted(0.0, "r", "one", "simple"),
        RunMetered(1.0, (call, call)),
        RunEnded(2.0, Status.SUCCEEDED, {}, None, Usage(7, 7, 7)),
    ):
        tracing(event)
    (root,) = exporter.get_finished_spans()
    assert {key: told for key, told in attributes(root).items() if "usage" in key} == {
        "talea.usage.model_calls": 2,
        "talea.usage.input_tokens": 20,
        "talea.usage.output_tokens": 8,
        "talea.usage.cost": 1.0,
    }


def test_a_cost_is_told_where_it_is_known() -> None:
    provider, exporter = _provider()
    tracing = Tracing(provider)
    for event in (
        RunStarted(0.0, "r", "one", "simple"),
        ModelCalled(1.0, "a", "w", "openai", "known", Usage(1, 10, 4, 0.5), 0.5, None),
        ModelCalled(2.0, "a", "w", "openai", "unknown", Usage(1, 10, 4, None), 0.5, None),
        RunEnded(2.0, Status.SUCCEEDED, {}, None, Usage(2, 20, 8, None)),
    ):
        tracing(event)
    costs = {s.name: attributes(s).get("talea.usage.cost") for s in exporter.get_finished_spans()}
    assert costs == {"chat known": 0.5, "chat unknown": None, "invoke_workflow one": None}


# Over the wire.


class Receiver:
    """An OTLP receiver on this machine, which keeps what it is sent."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        received = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
                    ExportTraceServiceRequest,
                )

                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.path, ExportTraceServiceRequest.FromString(body)))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @contextmanager
    def listening(self) -> Iterator[Receiver]:
        thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            thread.join()
            self.server.server_close()

    @property
    def spans(self) -> list[Any]:
        return [
            (group.resource, scope.scope, span)
            for _, request in self.requests
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]


EXPORTING = """
import talea
from talea.otel import exporting

workflow = talea.loads('''
talea: 1
name: sent
agents: {worker: {instructions: Work.}}
tasks:
  a: {agent: worker, prompt: canary-in-the-mine, for_each: [1, 2]}
''')
with exporting() as tracing:
    assert talea.run(workflow, sinks=[tracing], offline=True).succeeded
"""


def export(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={"NO_PROXY": "*", "PATH": "", **environ},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_spans_reach_a_receiver_by_the_sdks_own_variables() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with Receiver().listening() as receiver:
        done = export(EXPORTING, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert {path for path, _ in receiver.requests} == {"/v1/traces"}
    names = sorted(span.name for _, _, span in receiver.spans)
    assert names == [
        *2 * ["chat offline"], *2 * ["invoke_agent worker"], "invoke_workflow sent", "task a",
    ]  # fmt: skip
    resource, scope, _ = receiver.spans[0]
    service = {one.key: one.value.string_value for one in resource.attributes}
    assert service["service.name"] == "talea"
    assert (scope.name, scope.version) == ("talea", talea.__version__)
    ids = {span.name: span.span_id for _, _, span in receiver.spans}
    for _, _, span in receiver.spans:
        around = {"task": "invoke_workflow sent", "invoke_agent": "task a"}.get(
            span.name.split()[0]
        )
        if around is not None:
            assert span.parent_span_id == ids[around]
        assert span.end_time_unix_nano >= span.start_time_unix_nano > 0
    assert CANARY not in str(receiver.requests)


def test_the_service_has_the_users_own_name_where_there_is_one() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with Receiver().listening() as receiver:
        done = export(EXPORTING, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_SERVICE_NAME="mine")
    assert done.returncode == 0, done.stderr
    resource, _, _ = receiver.spans[0]
    assert {"mine"} == {
        a.value.string_value for a in resource.attributes if a.key == "service.name"
    }


def test_a_process_with_a_provider_of_its_own_keeps_it() -> None:
    code = f"""
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
own = TracerProvider()
own.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(own)
{EXPORTING}
assert trace.get_tracer_provider() is own
assert len(exporter.get_finished_spans()) == 6
"""
    done = export(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("absent", "code", "hint"),
    [
        ("opentelemetry", "import talea.otel", "pip install 'talea[otel]'"),
        (
            "opentelemetry.sdk",
            "from talea.otel import exporting\nwith exporting(): pass",
            "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http",
        ),
    ],
)
def test_what_is_not_installed_is_named(absent: str, code: str, hint: str) -> None:
    done = export(
        f"""
import sys
sys.modules[{absent!r}] = None
import talea
try:
{"".join(f"    {line}{chr(10)}" for line in code.splitlines())}
except talea.UsageError as error:
    print(error.hint)
"""
    )
    assert done.stdout.strip() == hint, done.stderr


def test_talea_imports_nothing_of_it() -> None:
    done = export(
        "import sys, talea, talea.run, talea.cli\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    assert done.returncode == 0, done.stderr


def test_nothing_is_open_after_a_run() -> None:
    tracing = Tracing(_provider()[0])
    talea.run(
        talea.loads(HEAD + "  a: {agent: worker, prompt: Go}\n"),
        tools={"search": search, "broken": broken},
        sinks=[tracing],
        offline=True,
    )
    assert tracing._run is None
    assert not trace.get_current_span().is_recording()
