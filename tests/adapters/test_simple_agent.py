"""The plain agent loop: the real openai client, over the real gateway, with a call made by hand."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from talea import ir
from talea.adapter import AgentAnswer, AgentTool, Endpoint
from talea.errors import ErrorType, TaskError
from talea.events import Usage
from talea.failures import to_task_error
from talea.gateway.cassette import Cassette, Player
from talea.gateway.server import Answerer, Gateway
from talea.gateway.standin import StandIn
from talea.response_format import ResponseFormat, fits_strict
from talea.schema import Schema, compile_schema
from talea_simple.agent import Clients, answer

CANARY = "sk-canary-0123456789abcdef"
LEVEL = {
    "type": "object",
    "properties": {"level": {"enum": ["low", "high"]}},
    "required": ["level"],
    "additionalProperties": False,
}
BOTH = pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])


@dataclass
class Tool:
    """A tool that answers with its own arguments, or as it is told."""

    name: str
    work: Callable[[str], Awaitable[str]] | None = None
    description: str = "Does something."
    parameters: Mapping[str, Any] = field(
        default_factory=lambda: {"type": "object", "properties": {"q": {"type": "string"}}}
    )
    called: list[str] = field(default_factory=list[str])

    async def call(self, arguments: Mapping[str, Any] | str) -> str:
        assert isinstance(arguments, str)
        self.called.append(arguments)
        return await self.work(arguments) if self.work else f"{self.name}: {arguments}"


@dataclass
class Call:
    """An `AgentCall` made by hand. It keeps what the adapter reports."""

    endpoint: Endpoint
    session: Clients
    agent: ir.Agent = field(default_factory=ir.Agent)
    prompt: str = "Say hello."
    context: Sequence[tuple[str, str]] = ()
    expected_output: str | None = None
    tools: Sequence[AgentTool] = ()
    schema: Schema | None = None
    max_turns: int = 10
    streams: bool = False
    feedback: str | None = None
    conversation: Any = None
    address: str = "notes"
    attempt: int = 1
    name: str = "writer"
    deadline: float | None = None
    idempotency_key: str = "run/notes"
    turns: int = 0
    usages: list[Usage | None] = field(default_factory=list["Usage | None"])
    heard: list[str] = field(default_factory=list[str])

    async def begin_turn(self) -> None:
        self.turns += 1
        assert self.turns <= self.max_turns

    def end_turn(self, usage: Usage | None) -> None:
        self.usages.append(usage)

    def stream_text(self, text: str) -> None:
        self.heard.append(text)

    def unknown_tool(self, name: str) -> str:
        return f"Error: no tool {name}"


@dataclass
class Outcome:
    """What came of a call: the answer, the call, and the bodies and headers that were sent."""

    answer: AgentAnswer
    call: Call
    sent: list[dict[str, Any]]
    headers: list[Mapping[str, str]]


async def converse(
    answerer: Answerer, endpoint: Mapping[str, Any], calls: Sequence[Mapping[str, Any]]
) -> list[Outcome]:
    """Answer calls one after the other; each goes on with the conversation of the one before."""
    outcomes = list[Outcome]()
    conversation: Any = None
    with Gateway(answerer) as gateway:
        async with Clients() as clients:
            requests = list[Any]()

            async def note(request: Any) -> None:
                requests.append((json.loads(request.content), dict(request.headers)))

            clients.http.event_hooks = {"request": [note]}
            whole = {"provider": "openai", "model": "m", "key": lambda: CANARY, **endpoint}
            where = Endpoint(**{"base_url": gateway.base_url("notes", "writer"), **whole})
            for given in calls:
                call = Call(where, clients, conversation=conversation, **given)
                requests.clear()
                answered = await answer(call)
                conversation = answered.conversation
                sent = [body for body, _ in requests]
                outcomes.append(Outcome(answered, call, sent, [head for _, head in requests]))
    return outcomes


def play(*turns: Mapping[str, Any]) -> Player:
    data = {"talea_cassette": 1, "tasks": {"notes": list(turns)}}
    return Player(Cassette.model_validate(data))


def run(
    answerer: Answerer | Mapping[str, Any],
    *more: Mapping[str, Any],
    endpoint: Mapping[str, Any] | None = None,
    **call: Any,
) -> Outcome:
    """Have one call answered, by turns of a cassette or by an answerer."""
    chosen = play(answerer, *more) if isinstance(answerer, Mapping) else answerer
    return asyncio.run(converse(chosen, endpoint or {}, [call]))[0]


def fail(*turns: Mapping[str, Any], **call: Any) -> TaskError:
    """Have a call fail, and give the failure as the kernel will tell it."""
    with pytest.raises(Exception) as caught:
        run(*turns, **call)
    assert not isinstance(caught.value, AssertionError)
    return to_task_error(caught.value)


def tool_calls(*calls: tuple[str, Any]) -> dict[str, Any]:
    return {"tool_calls": [{"name": name, "arguments": arguments} for name, arguments in calls]}


# What is asked


def test_the_prompt_holds_who_what_and_the_context() -> None:
    outcome = run(
        {"content": "Hello."},
        agent=ir.Agent(role="Analyst", goal="Find it", backstory="Years of it."),
        prompt="Say {x}.",
        context=[("a", "one"), ("b", "two")],
        expected_output="A word.",
    )
    system, user = outcome.sent[0]["messages"]
    assert system == {
        "role": "system",
        "content": "You are Analyst.\n\nYour goal: Find it\n\nYears of it.",
    }
    assert user["content"] == (
        '<context task="a">\none\n</context>\n\n<context task="b">\ntwo\n</context>\n\n'
        "Say {x}.\n\nExpected output: A word."
    )


def test_a_bare_agent_has_no_system_prompt_and_instructions_stand_alone() -> None:
    assert [m["role"] for m in run({"content": "Hello."}).sent[0]["messages"]] == ["user"]
    outcome = run({"content": "Hello."}, agent=ir.Agent(instructions="Be brief."))
    assert outcome.sent[0]["messages"][0] == {"role": "system", "content": "Be brief."}


def test_parameters_go_to_the_provider_as_they_are() -> None:
    given = {"temperature": 0.2, "max_tokens": 8, "provider_only": {"a": 1}}
    body = run({"content": "Hello."}, endpoint={"parameters": given}).sent[0]
    assert {key: body[key] for key in given} == given
    assert {"tools", "response_format", "stream", "stream_options"}.isdisjoint(body)


def test_only_what_the_endpoint_says_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "foreign-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Mine: foreign-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://foreign-secret.example")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    headers = run({"content": "Hello."}, endpoint={"headers": {"X-Ours": "1"}}).headers[0]
    assert headers["authorization"] == f"Bearer {CANARY}"
    assert headers["x-ours"] == "1"
    assert "foreign-secret" not in str(headers)
    headers = run({"content": "Hello."}, endpoint={"key": lambda: None}).headers[0]
    assert "foreign-secret" not in str(headers)


def test_a_missing_key_fails_before_anything_is_sent() -> None:
    def missing() -> str:
        raise TaskError(ErrorType.AUTHENTICATION, "not set")

    async def work() -> None:
        with Gateway(StandIn()) as gateway:
            async with Clients() as clients:
                url = gateway.base_url("notes", "writer")
                with pytest.raises(TaskError, match="not set"):
                    await answer(Call(Endpoint("openai", "m", url, missing), clients))
            assert gateway.log == []

    asyncio.run(work())


# Answers


@BOTH
def test_a_text_is_answered_and_its_usage_told(streams: bool) -> None:
    text = "Hello, wörld. A text of several pieces 🐈."
    usage = {"input_tokens": 7, "output_tokens": 5, "cost": 0.25}
    outcome = run({"content": text, "usage": usage}, streams=streams)
    assert outcome.answer.output == text
    assert outcome.call.usages == [Usage(1, 7, 5, 0.25)]
    assert "".join(outcome.call.heard) == (text if streams else "")
    assert (len(outcome.call.heard) > 1) is streams


@BOTH
def test_tools_are_called_and_their_answers_given_back(streams: bool) -> None:
    search = Tool("search")
    outcome = run(
        tool_calls(("search", {"q": "cats"})),
        tool_calls(("search", "{not json"), ("absent", {})),
        {"content": "Done."},
        tools=[search],
        streams=streams,
    )
    assert outcome.answer.output == "Done."
    assert outcome.call.turns == len(outcome.call.usages) == 3
    assert search.called == ['{"q": "cats"}', "{not json"]
    offered = outcome.sent[0]["tools"]
    assert offered == [
        {
            "type": "function",
            "function": {
                "name": "search",
                "description": "Does something.",
                "parameters": search.parameters,
            },
        }
    ]
    _, asked, told, again, *both = outcome.sent[2]["messages"]
    assert asked["tool_calls"][0]["function"] == {"name": "search", "arguments": '{"q": "cats"}'}
    assert told == {
        "role": "tool",
        "tool_call_id": asked["tool_calls"][0]["id"],
        "content": 'search: {"q": "cats"}',
    }
    assert [m["content"] for m in both] == ["search: {not json", "Error: no tool absent"]
    assert [m["tool_call_id"] for m in both] == [c["id"] for c in again["tool_calls"]]


@BOTH
def test_tools_of_one_answer_run_side_by_side_and_keep_their_order(streams: bool) -> None:
    both_run = asyncio.Barrier(2)

    async def first(arguments: str) -> str:
        await both_run.wait()
        await asyncio.sleep(0)
        return "first"

    async def second(arguments: str) -> str:
        await both_run.wait()
        return "second"

    outcome = run(
        tool_calls(("a", {}), ("b", {})),
        {"content": "Done."},
        tools=[Tool("a", first), Tool("b", second)],
        streams=streams,
    )
    assert [m["content"] for m in outcome.sent[1]["messages"][2:]] == ["first", "second"]


def test_a_tool_that_ends_the_attempt_stops_the_others() -> None:
    stopped = list[str]()

    async def ends(arguments: str) -> str:
        raise TaskError(ErrorType.LIMIT_EXCEEDED, "enough")

    async def hangs(arguments: str) -> str:
        try:
            return await asyncio.Future[str]()
        finally:
            stopped.append("stopped")

    with pytest.raises(TaskError, match="enough"):
        run(tool_calls(("h", {}), ("e", {})), tools=[Tool("h", hangs), Tool("e", ends)])
    assert stopped == ["stopped"]


def test_calls_in_the_last_allowed_answer_are_not_run() -> None:
    tool = Tool("a")
    error = fail(*[tool_calls(("a", {}))] * 3, tools=[tool], max_turns=2)
    assert error.type is ErrorType.TURNS_EXHAUSTED
    assert len(tool.called) == 1


def test_the_kernels_word_against_a_turn_ends_the_call() -> None:
    class Limited(Call):
        async def begin_turn(self) -> None:
            raise TaskError(ErrorType.LIMIT_EXCEEDED, "max_model_calls is 0")

    async def work() -> None:
        with Gateway(StandIn()) as gateway:
            async with Clients() as clients:
                url = gateway.base_url("notes", "writer")
                await answer(Limited(Endpoint("openai", "m", url, lambda: None), clients))
            assert gateway.log == []

    with pytest.raises(TaskError, match="max_model_calls"):
        asyncio.run(work())


@BOTH
def test_a_retry_goes_on_in_the_same_conversation(streams: bool) -> None:
    answerer = play({"content": "no"}, {"content": "yes"})
    calls = [{"streams": streams}, {"streams": streams, "feedback": "It must be yes."}]
    first, second = asyncio.run(converse(answerer, {}, calls))
    assert first.sent[0]["messages"] == [{"role": "user", "content": "Say hello."}]
    assert second.sent[0]["messages"] == [
        {"role": "user", "content": "Say hello."},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "It must be yes."},
    ]
    assert second.answer.output == "yes"
    assert len(first.answer.conversation) == 2


def test_feedback_without_a_conversation_follows_the_prompt() -> None:
    messages = run({"content": "yes"}, feedback="It was cut off.").sent[0]["messages"]
    assert [m["content"] for m in messages] == ["Say hello.", "It was cut off."]


# Structured output


@BOTH
def test_a_schema_is_asked_for_and_the_answer_left_to_the_kernel(streams: bool) -> None:
    outcome = run({"content": {"level": "low"}}, schema=compile_schema(LEVEL), streams=streams)
    assert json.loads(outcome.answer.output or "") == {"level": "low"}
    assert outcome.sent[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": LEVEL, "strict": True},
    }
    assert run({"content": "no JSON"}, schema=compile_schema(LEVEL)).answer.output == "no JSON"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "array", "items": {"type": "integer"}}, [1, 2]),
        ({"type": "boolean"}, True),
        ({"anyOf": [{"type": "object"}, {"type": "null"}]}, {"value": 1}),
        (True, None),
    ],
)
def test_what_is_no_object_is_asked_for_within_one(schema: Any, value: Any) -> None:
    asked = asked_schema(schema)
    assert asked["type"] == "object"
    assert compile_schema(asked).check({"value": value}) is None
    outcome = run({"content": {"value": value}}, schema=compile_schema(schema))
    assert json.loads(outcome.answer.output or "") == value


def test_what_was_answered_without_the_object_stays_as_it_is() -> None:
    numbers = compile_schema({"type": "array"})
    for content in ("[1, 2]", '{"value": 1, "more": 2}', "no JSON"):
        assert run({"content": content}, schema=numbers).answer.output == content


def asked_schema(schema: Any) -> Any:
    return ResponseFormat.of(compile_schema(schema)).as_json()["json_schema"]["schema"]


def test_a_choice_of_texts_comes_back_as_text() -> None:
    wanted = ResponseFormat.of(compile_schema({"enum": ["low", "high"]}))
    assert wanted.read('{"value": "low"}') == "low"
    assert wanted.read("low") == "low"


def test_references_still_lead_to_their_places_within_an_object() -> None:
    tree = {
        "type": "array",
        "items": {"$ref": "#/$defs/node"},
        "$defs": {"node": {"type": "object", "properties": {"below": {"$ref": "#"}}}},
    }
    asked = compile_schema(asked_schema(tree))
    assert asked.check({"value": [{"below": [{}]}]}) is None
    assert asked.check({"value": [{"below": [1]}]}) is not None


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        (LEVEL, True),
        ({**LEVEL, "additionalProperties": True}, False),
        ({**LEVEL, "required": []}, False),
        ({**LEVEL, "properties": {"level": {"type": "string", "minLength": 1}}}, False),
        ({**LEVEL, "properties": {"level": LEVEL}}, True),
        ({**LEVEL, "properties": {"level": {"type": "array"}}}, False),
        ({**LEVEL, "properties": {"level": {"type": "array", "items": LEVEL}}}, True),
        ({**LEVEL, "properties": {"level": {"anyOf": [LEVEL, {"type": "null"}]}}}, True),
        ({**LEVEL, "properties": {"level": {"allOf": [LEVEL]}}}, False),
        ({**LEVEL, "properties": {"level": True}}, False),
        ({**LEVEL, "properties": {"level": {"properties": {"a": {"type": "string"}}}}}, False),
        ({**LEVEL, "$defs": {"a": {"type": "object"}}}, False),
    ],
)
def test_strictness_is_asked_for_where_the_schema_is_of_the_subset(schema: Any, fits: bool) -> None:
    assert fits_strict(schema) is fits


def test_offline_answers_fit_whatever_the_schema_is() -> None:
    for schema in (LEVEL, {"type": "array", "minItems": 1, "items": LEVEL}, {"type": "boolean"}):
        compiled = compile_schema(schema)
        outcome = run(StandIn(), schema=compiled)
        assert compiled.check(json.loads(outcome.answer.output or "")) is None


# What goes wrong


@BOTH
def test_a_refusal_is_told_in_the_models_words(streams: bool) -> None:
    outcome = run({"fault": {"refusal": "I will not."}}, streams=streams)
    assert (outcome.answer.output, outcome.answer.refusal) == (None, "I will not.")
    assert len(outcome.call.usages) == 1


@BOTH
def test_an_empty_answer_has_no_text(streams: bool) -> None:
    assert not run({"fault": {"empty": True}}, streams=streams).answer.output


@BOTH
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"status": 429, "retry_after": 3}, ErrorType.RATE_LIMIT),
        ({"status": 500}, ErrorType.SERVER_ERROR),
        ({"status": 503}, ErrorType.SERVER_ERROR),
        ({"status": 401}, ErrorType.AUTHENTICATION),
        ({"status": 400}, ErrorType.MODEL_ERROR),
        ({"garbage": True}, ErrorType.SERVER_ERROR),
        ({"truncated": True}, ErrorType.SERVER_ERROR),
        ({"drop": True}, ErrorType.CONNECTION),
    ],
)
def test_every_fault_has_its_type_and_is_not_retried_here(
    fault: Any, expected: ErrorType, streams: bool
) -> None:
    error = fail({"fault": fault}, {"content": "a second call"}, streams=streams)
    assert error.type is expected
    assert error.retry_after == fault.get("retry_after")


@BOTH
def test_a_call_beyond_the_cassette_is_told(streams: bool) -> None:
    tool = Tool("a")
    error = fail(tool_calls(("a", {})), tools=[tool], streams=streams)
    assert error.type is ErrorType.REPLAY_EXHAUSTED


def test_nobody_there_is_a_connection_error() -> None:
    error = fail({"content": "x"}, endpoint={"base_url": "http://127.0.0.1:1/v1"})
    assert error.type is ErrorType.CONNECTION


@BOTH
def test_a_call_that_hangs_can_be_cancelled(streams: bool) -> None:
    async def work() -> None:
        with Gateway(play({"fault": {"hang": True}})) as gateway:
            async with Clients() as clients:
                url = gateway.base_url("notes", "writer")
                call = Call(Endpoint("openai", "m", url, lambda: None), clients, streams=streams)
                asked = asyncio.create_task(answer(call))
                while not gateway.log:
                    await asyncio.sleep(0.01)
                asked.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asked

    asyncio.run(work())


@pytest.mark.parametrize(
    ("finish", "schema", "expected"),
    [
        ("length", None, ErrorType.MODEL_ERROR),
        ("length", LEVEL, ErrorType.INVALID_OUTPUT),
        ("content_filter", None, ErrorType.REFUSED),
    ],
)
def test_an_answer_that_was_cut_off_is_no_output(
    finish: str, schema: Any, expected: ErrorType
) -> None:
    message = {"role": "assistant", "content": "Hal"}
    completion = {"choices": [{"index": 0, "finish_reason": finish, "message": message}]}
    wanted = compile_schema(schema) if schema else None
    assert served(json.dumps(completion), schema=wanted).type is expected


def test_a_stream_without_an_end_is_a_broken_connection() -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hal"}, "finish_reason": None}]}
    for end in ("", "data: [DONE]\n\n"):
        error = served(f"data: {json.dumps(chunk)}\n\n{end}", streams=True)
        assert error.type is ErrorType.CONNECTION


@pytest.mark.parametrize(
    "body", ["{}", '{"choices": []}', '{"choices": [{}]}', "[]", '"text"', "null", "<html>", ""]
)
def test_what_is_no_completion_is_the_servers_fault(body: str) -> None:
    assert served(body).type is ErrorType.SERVER_ERROR
    assert served(body, content_type="text/html").type is ErrorType.SERVER_ERROR


def test_a_redirect_is_not_followed() -> None:
    error = served("", status=307, headers={"location": "http://elsewhere.example/v1"})
    assert error.type is ErrorType.MODEL_ERROR
    assert "307" in error.message


def served(
    body: str,
    content_type: str = "application/json",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **call: Any,
) -> TaskError:
    """Have a call fail by an answer that the gateway never gives."""

    async def work() -> None:
        head = {"content-type": content_type, **(headers or {})}
        async with Clients() as clients:
            transport = httpx.MockTransport(
                lambda _: httpx.Response(status, headers=head, text=body)
            )
            clients.http._mounts = {}  # pyright: ignore[reportPrivateUsage]
            clients.http._transport = transport  # pyright: ignore[reportPrivateUsage]
            where = Endpoint("openai", "m", "http://127.0.0.1/v1", lambda: None)
            await answer(Call(where, clients, **call))

    with pytest.raises(Exception) as caught:
        asyncio.run(work())
    return to_task_error(caught.value)


@pytest.mark.parametrize(
    ("task", "imported"), [("{agent: w, prompt: hi}", True), ("{value: 1}", False)]
)
def test_importing_the_sdk_is_no_part_of_a_tasks_time(task: str, imported: bool) -> None:
    code = (
        "import asyncio, sys, talea\n"
        "from talea.events import TaskStarted\n"
        "seen = []\n"
        "def sink(event):\n"
        "    if isinstance(event, TaskStarted): seen.append('openai' in sys.modules)\n"
        f"text = 'talea: 1\\nname: x\\nagents: {{w: {{}}}}\\ntasks: {{a: {task}}}'\n"
        "talea.run(talea.loads(text), offline=True, sinks=[sink])\n"
        "print(seen)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"[{imported}]\n"
