"""A run's events as OpenTelemetry spans, named as the conventions for GenAI do: `talea[otel]`.

    from talea.otel import Tracing

    talea.run(workflow, inputs, sinks=[Tracing()])

    invoke_workflow brief           the run
    └─ task notes                   a task, from its beginning to its end
       ├─ invoke_agent writer       an agent's attempt: of an item, of an iteration, of a retry
       │  ├─ chat gpt-5-mini
       │  └─ execute_tool search
       └─ block notes               what is inside, or invoke_workflow NAME: its tasks are below it

Times are those of the events. What goes into models and tools, what comes out of them, and the
words of errors are in no span unless they are asked for; names, addresses, counts and the types of
errors are.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from talea import __version__
from talea.errors import ErrorType, UsageError
from talea.events import (
    AgentContent,
    AgentEnded,
    AgentStarted,
    Answered,
    Asked,
    AttemptFailed,
    Content,
    Event,
    Failure,
    InnerEnded,
    InnerStarted,
    ModelCalled,
    Recovered,
    RunEnded,
    RunMetered,
    RunStarted,
    Status,
    TaskEnded,
    TaskStarted,
    TaskWaiting,
    ToolCalled,
    ToolContent,
    Usage,
)
from talea.failures import hide_secrets

try:
    from opentelemetry import context, trace
    from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider
except ModuleNotFoundError as missing:
    raise UsageError("OpenTelemetry is not installed", "pip install 'talea[otel]'") from missing

_PROVIDERS = {"google": "gcp.gemini", "mistral": "mistral_ai", "xai": "x_ai"}
"""Providers whose name in the conventions is another one."""
_PLACE = re.compile(r"(?:\[\d+\])?(?:#\d+)?$")
"""What an address has behind the task: the item, the iteration."""
_SPANS_AT_ONCE = 65_536
"""How many spans wait to be sent; the default of 2,048 would lose some of a wide map's."""


class Tracing:
    """A sink that follows a run with spans. Runs at the same time need one each.

    `provider` takes the place of the process's own. With `content`, spans hold prompts, answers,
    arguments, results, outputs and the words of errors too, without the secrets that talea read.
    `conversation` is what `gen_ai.conversation.id` says, for runs that belong to one.

    A span that is current when the run begins is the parent of its spans, and the run's span is
    current for what it calls: the spans of a tool's own code are in the same trace.
    """

    text = False
    """No span holds pieces of answers, so none are streamed for it."""

    def __init__(
        self,
        provider: TracerProvider | None = None,
        *,
        content: bool = False,
        conversation: str | None = None,
    ) -> None:
        self.content = content
        self._tracer = trace.get_tracer("talea", __version__, provider)
        self._conversation = conversation
        self._run: _Run | None = None

    def __call__(self, event: Event | Content) -> None:
        """Take an event in. Raises `UsageError` for the beginning of a second run at once."""
        if isinstance(event, RunStarted):
            if self._run is not None:
                raise UsageError("this Tracing follows a run already", "give each run its own")
            self._run = _Run(self._tracer, event, self._conversation, content=self.content)
        elif self._run is not None:
            self._run.take(event)
            if isinstance(event, RunEnded):
                self._run = None


@contextmanager
def exporting(*, content: bool = False) -> Generator[Tracing]:
    """Give a `Tracing` for this process's own provider, and send what is left on leaving.

    Where the process has none, it gets one that sends by OTLP over HTTP, as the variables
    `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME` and the others of the SDK say. Raises
    `UsageError` where the SDK or its exporter is not installed.
    """
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        provider = _from_environment()
        trace.set_tracer_provider(provider)
    try:
        yield Tracing(provider, content=content)
    finally:
        flush = getattr(provider, "force_flush", None)
        if flush is not None:
            flush()


def _from_environment() -> TracerProvider:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk import trace as sdk
        from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as missing:
        raise UsageError(
            "what sends traces is not installed",
            "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http",
        ) from missing
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "talea"}))
    provider = sdk.TracerProvider(resource=resource)
    size = None if OTEL_BSP_MAX_QUEUE_SIZE in os.environ else _SPANS_AT_ONCE
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=size))
    return provider


class _Run:
    """The spans of one run."""

    def __init__(
        self, tracer: trace.Tracer, began: RunStarted, conversation: str | None, *, content: bool
    ) -> None:
        self._tracer = tracer
        self._content = content
        self._zero = time.time_ns() - round(began.time * 1e9)
        self._common = {"gen_ai.conversation.id": conversation} if conversation else {}
        self._outside = context.get_current()
        self._tasks: dict[str, Span] = {}
        self._inner: dict[str, Span] = {}
        self._agents: dict[str, Span] = {}
        self._usages: dict[str, Usage] = {}
        self._told: Content | None = None
        self._metered: Usage | None = None
        self._root = self._begin(
            f"invoke_workflow {began.workflow}",
            None,
            began.time,
            {
                **_invoke_workflow(began.workflow),
                "talea.run.id": began.run,
                "talea.framework": began.framework,
            },
        )
        self._inside = trace.set_span_in_context(self._root)
        context.attach(self._inside)

    def take(self, event: Event | Content) -> None:
        """Begin, complete and end spans by an event."""
        match event:
            case TaskStarted():
                self._tasks[event.address] = self._task(event.address, event.time)
            case TaskEnded():
                self._task_ended(event)
            case InnerStarted():
                self._inner_started(event)
            case InnerEnded():
                self._end(self._inner, event.address, event.time, event.status, event.error)
            case AgentStarted():
                self._agent_started(event)
            case AgentEnded():
                self._agent_ended(event)
            case ModelCalled():
                self._model_called(event)
            case ToolCalled():
                self._tool_called(event)
            case AgentContent() | ToolContent():
                self._told = event
            case AttemptFailed():
                told = {"talea.attempt": event.attempt, "talea.retry_in": event.retry_in}
                self._note(event, "talea.retry", {**told, **self._words(event.error)})
            case Recovered():
                self._note(event, "talea.recovered", self._words(event.error))
            case Asked():
                asked = {"talea.question": hide_secrets(event.text)} if self._content else {}
                self._note(event, "talea.asked", asked)
            case Answered():
                self._note(event, "talea.answered", {"talea.refused": event.refusal is not None})
            case TaskWaiting():
                span = self._tasks.get(event.address, self._root)
                span.set_attribute("talea.status", str(Status.WAITING))
            case RunMetered():
                self._metered = Usage()
                for call in event.calls:
                    self._metered.begin_call()
                    self._metered.end_call(call.usage)
            case RunEnded():
                self._run_ended(event)
            case _:
                pass

    # Tasks, and what is inside of them ----------------------------------------------------------

    def _task(self, address: str, time: float) -> Span:
        around, _, name = address.rpartition("/")
        parent = self._inner.get(around) or self._tasks.get(_task_of(around), self._root)
        return self._begin(f"task {name}", parent, time, {"talea.task.address": address})

    def _task_ended(self, event: TaskEnded) -> None:
        if event.address not in self._tasks or event.started is None:
            # It never began here, and a span without duration says so.
            self._tasks[event.address] = self._task(event.address, event.time)
        span = self._tasks[event.address]
        span.set_attribute("talea.task.attempts", event.attempts)
        if event.reason is not None:
            span.set_attribute("talea.task.reason", event.reason)
        if event.recovered:
            span.set_attribute("talea.task.recovered", True)
        if self._content and event.status is Status.SUCCEEDED:
            span.set_attribute("talea.task.output", _as_text(event.output))
        self._end(self._tasks, event.address, event.time, event.status, event.error)

    def _inner_started(self, event: InnerStarted) -> None:
        parent = self._of_task(event.address)
        attributes: dict[str, Any] = {
            "talea.task.address": event.address,
            "talea.attempt": event.attempt,
        }
        if event.workflow is None:
            name = f"block {_task_of(event.address).rpartition('/')[2]}"
        else:
            name = f"invoke_workflow {event.workflow}"
            attributes |= _invoke_workflow(event.workflow)
        self._inner[event.address] = self._begin(name, parent, event.time, attributes)

    # Agents, models, tools ----------------------------------------------------------------------

    def _agent_started(self, event: AgentStarted) -> None:
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            **_model(event),
            "gen_ai.agent.name": event.agent,
            "talea.task.address": event.address,
            "talea.attempt": event.attempt,
        }
        parent = self._of_task(event.address)
        name = f"invoke_agent {event.agent}"
        self._agents[event.address] = self._begin(name, parent, event.time, attributes)
        self._usages[event.address] = Usage()

    def _agent_ended(self, event: AgentEnded) -> None:
        span = self._agents.get(event.address, self._root)
        span.set_attributes(_usage(self._usages.pop(event.address, Usage())))
        told, self._told = self._told, None
        if isinstance(told, AgentContent):
            if told.instructions:
                instructions = [_part(told.instructions)]
                span.set_attribute("gen_ai.system_instructions", _as_text(instructions))
            asked = [{"role": "user", "parts": [_part(told.prompt)]}]
            span.set_attribute("gen_ai.input.messages", _as_text(asked))
            if told.answer is not None:
                said = {"role": "assistant", "parts": [_part(told.answer)], "finish_reason": "stop"}
                span.set_attribute("gen_ai.output.messages", _as_text([said]))
        self._end(self._agents, event.address, event.time, event.status, event.error)
        self._agents.pop(event.address, None)

    def _model_called(self, event: ModelCalled) -> None:
        attributes = {
            "gen_ai.operation.name": "chat",
            **_model(event),
            "gen_ai.agent.name": event.agent,
        }
        began = event.time - event.duration
        parent = self._agents.get(event.address) or self._of_task(event.address)
        span = self._begin(f"chat {event.model}", parent, began, attributes, SpanKind.CLIENT)
        span.set_attributes(_usage(event.usage))
        if event.address in self._usages:
            total = self._usages[event.address]
            total.begin_call()
            total.end_call(event.usage)
        self._close(span, event.time, None, event.error)

    def _tool_called(self, event: ToolCalled) -> None:
        # What a model makes up is not a tool's name, but text of its own.
        invented = event.error is not None and event.error.type == ErrorType.UNKNOWN_TOOL
        name = "" if invented and not self._content else event.tool
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.type": "function"}
        if name:
            attributes["gen_ai.tool.name"] = name
        began = event.time - event.duration
        parent = self._agents.get(event.address) or self._of_task(event.address)
        span = self._begin(f"execute_tool {name}".strip(), parent, began, attributes)
        told, self._told = self._told, None
        if isinstance(told, ToolContent):
            span.set_attribute("gen_ai.tool.call.arguments", _as_text(told.arguments))
            if event.error is None:
                span.set_attribute("gen_ai.tool.call.result", _as_text(told.result))
        self._close(span, event.time, None, event.error)

    # The run ------------------------------------------------------------------------------------

    def _run_ended(self, event: RunEnded) -> None:
        for spans in (self._agents, self._inner, self._tasks):
            for span in spans.values():
                if span.is_recording():  # It waits for a person, who may come to a later run.
                    span.end(self._at(event.time))
        root, used = self._root, self._metered or event.usage
        root.set_attribute("talea.usage.model_calls", used.model_calls)
        root.set_attribute("talea.usage.input_tokens", used.input_tokens)
        root.set_attribute("talea.usage.output_tokens", used.output_tokens)
        if used.cost is not None:
            root.set_attribute("talea.usage.cost", used.cost)
        if self._content and event.status is Status.SUCCEEDED:
            root.set_attribute("talea.outputs", _as_text(event.outputs))
        self._close(root, event.time, event.status, event.error)
        if context.get_current() is self._inside:
            context.attach(self._outside)

    # Spans --------------------------------------------------------------------------------------

    def _begin(
        self,
        name: str,
        parent: Span | None,
        time: float,
        attributes: Mapping[str, Any],
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Span:
        around = self._outside
        if parent is not None:
            around = trace.set_span_in_context(parent, around)
        return self._tracer.start_span(
            name, around, kind, {**self._common, **attributes}, start_time=self._at(time)
        )

    def _end(
        self,
        spans: dict[str, Span],
        address: str,
        time: float,
        status: Status,
        error: Failure | None,
    ) -> None:
        """End a span; what is told of its children later still finds whose they are."""
        span = spans.get(address)
        if span is not None:
            spans[address] = trace.NonRecordingSpan(span.get_span_context())
            self._close(span, time, status, error)

    def _close(self, span: Span, time: float, status: Status | None, error: Failure | None) -> None:
        if status is not None:
            span.set_attribute("talea.status", str(status))
        if error is not None:
            span.set_attributes(self._words(error))
            description = hide_secrets(error.message) if self._content else None
            span.set_status(StatusCode.ERROR, description)
        span.end(self._at(time))

    def _note(self, event: Any, name: str, attributes: Mapping[str, Any]) -> None:
        told = {"talea.task.address": event.address, **attributes}
        self._of_task(event.address).add_event(name, told, self._at(event.time))

    def _words(self, error: Failure) -> dict[str, Any]:
        place = {} if error.address is None else {"talea.error.address": error.address}
        return {"error.type": error.type, **place}

    def _of_task(self, address: str) -> Span:
        return self._tasks.get(_task_of(address), self._root)

    def _at(self, time: float) -> int:
        return self._zero + round(time * 1e9)


def _task_of(address: str) -> str:
    """Leave the item and the iteration out of the end of an address."""
    return _PLACE.sub("", address)


def _invoke_workflow(name: str) -> dict[str, Any]:
    # The conventions' first edition of their own names a workflow as they do an agent.
    return {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": name,
        "gen_ai.agent.name": name,
    }


def _model(event: AgentStarted | ModelCalled) -> dict[str, Any]:
    provider = _PROVIDERS.get(event.provider, event.provider)
    return {"gen_ai.provider.name": provider, "gen_ai.request.model": event.model}


def _usage(usage: Usage) -> dict[str, Any]:
    """Give what was used, as far as it is known: no call uses nothing."""
    found: dict[str, Any] = {}
    if usage.input_tokens or usage.output_tokens:
        found["gen_ai.usage.input_tokens"] = usage.input_tokens
        found["gen_ai.usage.output_tokens"] = usage.output_tokens
    if usage.cost is not None:
        found["talea.usage.cost"] = usage.cost
    return found


def _part(text: str) -> dict[str, Any]:
    return {"type": "text", "content": text}


def _as_text(value: Any) -> str:
    return hide_secrets(json.dumps(value, ensure_ascii=False, default=str))
