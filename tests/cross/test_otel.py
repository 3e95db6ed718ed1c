"""A run's spans are the same on every framework, and hold nothing that the frameworks would add."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import talea
from talea.gateway.cassette import loads_cassette

from .ways import WAYS, Way, params

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from talea.otel import Tracing

WORKFLOW = """\
talea: 1
name: brief
tools: {search: {}}
agents:
  worker: {instructions: You work., tools: [search], max_turns: 3}
tasks:
  facts: {agent: worker, prompt: canary-in-the-mine}
  notes:
    for_each: [x, y]
    depends_on: [facts]
    tasks:
      draft: {agent: worker, prompt: 'Draft {{ item }}'}
      check: {tool: search, with: {query: '{{ tasks.draft.output }}'}}
  side: {agent: worker, prompt: Aside, for_each: [p, q]}
  again:
    agent: worker
    prompt: Go
    retry: {max_attempts: 2, initial_interval: 0s}
    depends_on: [notes, side]
  never: {when: false, value: 1}
  late: {agent: worker, prompt: Fail, depends_on: [again]}
"""
TURNS = """\
talea_cassette: 1
tasks:
  facts:
    - {tool_calls: [{name: search, arguments: {query: owls}}], usage: {input_tokens: 9, output_tokens: 3}}
    - {content: canary-in-the-mine, usage: {input_tokens: 20, output_tokens: 5}}
  notes/draft: [{content: A draft.}]
  side: [{content: Aside.}]
  again: [{fault: {status: 503}}, {content: Well.}]
  late: [{fault: {status: 401}}]
"""


def search(query: str) -> str:
    """Look something up."""
    return f"found {query}"


def _paths(spans: tuple[ReadableSpan, ...]) -> list[str]:
    """Give each span as the names from the root down to it, each with its error."""
    by_id = {span.context.span_id: span for span in spans if span.context}

    def path(span: ReadableSpan) -> str:
        attributes: Mapping[str, Any] = span.attributes or {}
        own = f"{span.name} {attributes.get('error.type', '')}".strip()
        return f"{path(by_id[span.parent.span_id])} > {own}" if span.parent else own

    return sorted(path(span) for span in spans)


ROOT = "invoke_workflow brief authentication"
EXPECTED = sorted(
    f"{ROOT} > {path}" if path else ROOT
    for path, times in {
        "": 1,
        "task facts": 1,
        "task facts > invoke_agent worker": 1,
        "task facts > invoke_agent worker > chat offline": 2,
        "task facts > invoke_agent worker > execute_tool search": 1,
        "task notes": 1,
        "task notes > block notes": 2,
        "task notes > block notes > task draft": 2,
        "task notes > block notes > task draft > invoke_agent worker": 2,
        "task notes > block notes > task draft > invoke_agent worker > chat offline": 2,
        "task notes > block notes > task check": 2,
        "task notes > block notes > task check > execute_tool search": 2,
        "task side": 1,
        "task side > invoke_agent worker": 2,
        "task side > invoke_agent worker > chat offline": 2,
        "task again": 1,
        "task again > invoke_agent worker server_error": 1,
        "task again > invoke_agent worker server_error > chat offline server_error": 1,
        "task again > invoke_agent worker": 1,
        "task again > invoke_agent worker > chat offline": 1,
        "task never": 1,
        "task late authentication": 1,
        "task late authentication > invoke_agent worker authentication": 1,
        "task late authentication > invoke_agent worker authentication > chat offline authentication": 1,
    }.items()
    for _ in range(times)
)


@pytest.mark.parametrize("way", params(WAYS))
def test_every_framework_gives_the_same_spans(way: Way) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    result = talea.run(
        talea.loads(WORKFLOW),
        framework=way.framework,
        options=way.options,
        tools={"search": search},
        replay=loads_cassette(TURNS),
        sinks=[Tracing(provider)],
    )
    assert result.error is not None
    assert result.error.type == "authentication"
    spans = exporter.get_finished_spans()
    assert _paths(spans) == EXPECTED
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    assert "canary-in-the-mine" not in "".join(span.to_json() for span in spans)
    told = [dict(span.attributes or {}) for span in spans if span.name == "invoke_agent worker"]
    (facts,) = [one for one in told if one["talea.task.address"] == "facts"]
    assert facts["gen_ai.usage.input_tokens"] == 29
    assert facts["gen_ai.usage.output_tokens"] == 8
