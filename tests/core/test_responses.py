"""The Responses API through the real `openai` client: whole, streamed, parsed, with tools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from talea.endpoint import find_upstream
from talea.gateway.answers import ResponseStream, read_response
from talea.gateway.cassette import Cassette, Player, Turn
from talea.gateway.chat import Call, Rejection
from talea.gateway.reply import make_reply
from talea.gateway.responses import make_events, make_response, read_responses
from talea.gateway.server import Answerer, Gateway
from talea.gateway.standin import StandIn
from talea.gateway.upstream import Upstream

TEXT = "A text that is long enough to be streamed in several pieces, with ünïcode 🐈."
TOOL: Any = {
    "type": "function",
    "name": "search",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
    "strict": False,
}
SEARCH = {"name": "search", "arguments": {"query": "cats " * 20}}


class Mood(BaseModel):
    mood: str
    level: int


def player(*turns: dict[str, Any]) -> Player:
    """Play these turns at the address `notes`."""
    data = {"talea_cassette": 1, "tasks": {"notes": list(turns)}}
    return Player(Cassette.model_validate(data))


@contextmanager
def ready(answerer: Answerer) -> Iterator[tuple[Gateway, OpenAI]]:
    """Give a gateway and a client of it, as the agent `writer` at `notes`."""
    with Gateway(answerer) as gateway:
        url = gateway.base_url("notes", "writer")
        with OpenAI(api_key="none", base_url=url, max_retries=0, timeout=20) as client:
            yield gateway, client


def ask(client: OpenAI, input: Any = "Say hello.", **more: Any) -> Any:
    return client.responses.create(model="m", input=input, **more)


def test_answers_with_text_and_usage() -> None:
    usage = {"input_tokens": 50, "output_tokens": 12, "cost": 0.25}
    with ready(player({"content": TEXT, "usage": usage})) as (gateway, client):
        answer = ask(client, instructions="Be kind.", metadata={"a": "b"}, temperature=0.5)
    assert answer.output_text == TEXT
    assert (answer.status, answer.object, answer.model) == ("completed", "response", "m")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (50, 12)
    assert answer.usage.total_tokens == 62
    assert answer.usage.input_tokens_details.cached_tokens == 0
    assert answer.usage.output_tokens_details.reasoning_tokens == 0
    assert answer.usage.cost == 0.25
    assert (answer.instructions, answer.metadata, answer.temperature) == (
        "Be kind.",
        {"a": "b"},
        0.5,
    )
    (seen,) = gateway.log
    assert (seen.address, seen.agent, seen.turn, seen.status) == ("notes", "writer", 1, 200)
    assert (seen.form, seen.model, seen.stream) == ("responses", "m", False)
    assert (seen.input_tokens, seen.output_tokens, seen.cost) == (50, 12, 0.25)
    assert seen.prompt_characters == len("Be kind.") + len("Say hello.")


def test_streams_text_and_calls() -> None:
    with (
        ready(player({"content": TEXT, "tool_calls": [SEARCH, SEARCH]})) as (gateway, client),
        client.responses.stream(model="m", input="Hi", tools=[TOOL]) as stream,
    ):
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(pieces) == TEXT == final.output_text
    assert len(pieces) > 2
    called = [item for item in final.output if item.type == "function_call"]
    assert [(one.name, json.loads(one.arguments)) for one in called] == [
        ("search", SEARCH["arguments"])
    ] * 2
    assert len({one.call_id for one in called}) == 2
    kinds = list(dict.fromkeys(event.type for event in events))
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.completed",
    ]
    (seen,) = gateway.log
    assert (seen.stream, seen.status, seen.tools_called) == (True, 200, ("search", "search"))
    assert seen.tools_offered == ("search",)


def test_is_the_same_asynchronously() -> None:
    async def main() -> tuple[str, str]:
        async with Gateway(player({"content": TEXT}, {"content": TEXT})) as gateway:
            url = gateway.base_url("notes", "writer")
            async with AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client:
                plain = await client.responses.create(model="m", input="Hi")
                async with client.responses.stream(model="m", input="Hi") as stream:
                    final = await stream.get_final_response()
                return plain.output_text, final.output_text

    assert asyncio.run(main()) == (TEXT, TEXT)


def test_parses_what_fits_a_schema() -> None:
    with ready(StandIn()) as (_, client):
        plain = client.responses.parse(model="m", input="How?", text_format=Mood)
        with client.responses.stream(model="m", input="How?", text_format=Mood) as stream:
            streamed = stream.get_final_response()
        free = ask(client, text={"format": {"type": "json_object"}})
    assert isinstance(plain.output_parsed, Mood)
    assert streamed.output_parsed == plain.output_parsed
    assert free.output_text == "{}"


def test_goes_on_with_what_tools_gave() -> None:
    """As people write it: each response's items go back with the outputs of its calls."""
    turns = [{"tool_calls": [SEARCH]}, {"tool_calls": [SEARCH, SEARCH]}, {"content": "Done."}]
    with ready(player(*turns)) as (gateway, client):
        items: list[Any] = [{"role": "user", "content": "Find cats."}]
        while True:
            answer = ask(client, items, tools=[TOOL])
            items += answer.output
            called = [item for item in answer.output if item.type == "function_call"]
            if not called:
                break
            for item in called:
                output = {"call_id": item.call_id, "output": "sixteen hours"}
                items.append({"type": "function_call_output", **output})
    assert answer.output_text == "Done."
    told = [len("Find cats.") + count * len("sixteen hours") for count in (0, 1, 3)]
    assert [seen.prompt_characters for seen in gateway.log] == told


def test_goes_on_from_an_earlier_response() -> None:
    with ready(player({"content": "One."}, {"content": "Two."}, {"content": "Three."})) as (
        gateway,
        client,
    ):
        first = ask(client, "Say one.", instructions="Briefly.")
        second = ask(client, "And two.", previous_response_id=first.id)
        third = ask(client, "And three.", previous_response_id=second.id, store=False)
        assert (second.previous_response_id, third.output_text) == (first.id, "Three.")
        # Instructions do not go on; what was said and answered does.
        assert [seen.prompt_characters for seen in gateway.log] == [
            len("Briefly.Say one."),
            len("Say one.One.And two."),
            len("Say one.One.And two.Two.And three."),
        ]
        for unknown in (third.id, "resp_nobody"):  # One was not to be stored.
            with pytest.raises(openai.BadRequestError, match="no response") as caught:
                ask(client, previous_response_id=unknown)
            assert caught.value.code == "previous_response_not_found"


def test_a_run_cannot_go_on_from_anothers_response() -> None:
    with Gateway(StandIn()) as gateway:
        one, other = (
            OpenAI(api_key="none", base_url=gateway.base_url("notes", "writer", run), max_retries=0)
            for run in ("one", "other")
        )
        with one, other:
            first = ask(one)
            with pytest.raises(openai.BadRequestError):
                ask(other, previous_response_id=first.id)
            assert ask(one, previous_response_id=first.id).status == "completed"


def test_refuses_in_the_models_words() -> None:
    turn = {"fault": {"refusal": "I cannot help with that."}}
    with ready(player(turn, turn)) as (_, client):
        (message,) = ask(client).output
        with client.responses.stream(model="m", input="Hi") as stream:
            pieces = [event.delta for event in stream if event.type == "response.refusal.delta"]
    assert message.content[0].refusal == "I cannot help with that."
    assert "".join(pieces) == "I cannot help with that."


def test_an_empty_answer_is_an_empty_text() -> None:
    with ready(player({"fault": {"empty": True}})) as (_, client):
        assert ask(client).output_text == ""


def test_goes_wrong_as_the_cassette_says() -> None:
    turns: list[dict[str, Any]] = [
        {"fault": {"status": 429, "retry_after": 0}},
        {"content": TEXT, "fault": {"drop": True}},
        {"content": TEXT, "fault": {"drop": True}},
        {"content": TEXT, "fault": {"truncated": True}},
        {"fault": {"garbage": True}},
    ]
    with ready(player(*turns)) as (gateway, client):
        with pytest.raises(openai.RateLimitError):
            ask(client)
        with pytest.raises(openai.APIConnectionError):
            ask(client)
        with (
            pytest.raises((httpx.RemoteProtocolError, openai.APIConnectionError)),
            client.responses.stream(model="m", input="Hi") as stream,
        ):
            stream.get_final_response()
        with pytest.raises(json.JSONDecodeError):
            ask(client)
        with pytest.raises(json.JSONDecodeError):
            ask(client)
        with pytest.raises(openai.ConflictError, match="extra model call"):
            ask(client)
    assert [seen.turn for seen in gateway.log] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "the body is no JSON"),
        (b"[]", "dict"),
        (b'{"model": "m"}', "input"),
        (b'{"model": "m", "input": []}', "input"),
        (b'{"input": "x"}', "model"),
        (b'{"model": "m", "input": "x", "background": true}', "background"),
        (b'{"model": "m", "input": "x", "temperature": NaN}', "no JSON"),
    ],
)
def test_says_what_is_wrong_with_a_request(body: bytes, told: str) -> None:
    with pytest.raises(Rejection) as caught:
        read_responses(body)
    assert caught.value.status == 400
    assert told in caught.value.message


def test_reads_every_kind_of_item() -> None:
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Cats?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "c", "name": "search", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [{"type": "input_text", "text": "hm"}],
        },
        {"type": "item_reference", "id": "msg_1"},
    ]
    tools = [TOOL, {"type": "web_search"}]
    body = {"model": "m", "input": items, "tools": tools, "stream": True}
    read = read_responses(json.dumps(body).encode())
    assert [(message.role, message.text) for message in read.messages] == [
        ("developer", "Be brief."),
        ("user", "Cats?"),
        ("assistant", ""),
        ("assistant", ""),
        ("tool", "hm"),
        ("assistant", ""),
    ]
    assert (read.tool_names, read.stream) == (("search",), True)


_RESPONSE, _EVENT = TypeAdapter(Response), TypeAdapter[Any](ResponseStreamEvent)
_TURNS = st.builds(
    lambda text, calls: {"content": text, "tool_calls": calls},
    st.none() | st.text(max_size=200),
    st.lists(st.fixed_dictionaries({"name": st.just("f"), "arguments": st.text(max_size=80)})),
)


@given(_TURNS)
def test_a_stream_and_a_whole_answer_say_the_same(turn: dict[str, Any]) -> None:
    """Held against OpenAI's own types, strictly."""
    request = read_responses(b'{"model": "m", "input": "x"}')
    reply = make_reply(Call("run", "notes", "writer", 1, request), Turn.model_validate(turn))
    whole = make_response(request, reply)
    _RESPONSE.validate_json(whole, strict=True)
    events: list[dict[str, Any]] = []
    for event in make_events(request, reply):
        name, data = event.decode().strip().split("\n")
        _EVENT.validate_json(data.removeprefix("data: "))
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    assert events[-1]["response"] == json.loads(whole)
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == json.loads(whole)["output"]
    for kind in ("output_text", "function_call_arguments"):
        pieces: dict[str, str] = {}
        for event in events:
            if event["type"] == f"response.{kind}.delta":
                pieces[event["item_id"]] = pieces.get(event["item_id"], "") + event["delta"]
            if event["type"] == f"response.{kind}.done":
                text = event["text" if kind == "output_text" else "arguments"]
                assert pieces.get(event["item_id"], "") == text


# Through an upstream: a second gateway stands for the provider.


@contextmanager
def forwarding(answerer: Answerer) -> Iterator[tuple[Gateway, Gateway, list[Turn | None], OpenAI]]:
    """Give a gateway, the provider that it asks, the turns that it heard, and a client."""
    with Gateway(answerer) as provider, Gateway(Upstream()) as gateway:
        heard: list[Turn | None] = []
        gateway.subscribe(lambda _, turn: heard.append(turn))
        target = find_upstream(provider.base_url("notes", "writer"))
        url = gateway.open("run", {"": target}).base_url("notes", "writer")
        with OpenAI(api_key="none", base_url=url, max_retries=0, timeout=20) as client:
            yield gateway, provider, heard, client


def test_an_upstreams_responses_are_counted_and_heard() -> None:
    usage = {"input_tokens": 50, "output_tokens": 12, "cost": 0.25}
    turns = [
        {"content": TEXT, "tool_calls": [SEARCH], "usage": usage},
        {"fault": {"refusal": "I cannot."}, "usage": usage},
    ]
    with forwarding(player(*(turn for turn in turns for _ in "ab"))) as (
        gateway,
        provider,
        heard,
        client,
    ):
        for _ in turns:
            ask(client, tools=[TOOL])
            with client.responses.stream(model="m", input="Hi", tools=[TOOL]) as stream:
                stream.until_done()
    assert [turn and turn.model_dump(exclude_defaults=True) for turn in heard] == [
        Turn.model_validate(turn).model_dump(exclude_defaults=True) for turn in turns for _ in "ab"
    ]
    for seen, really in zip(gateway.log, provider.log, strict=True):
        assert (seen.form, seen.status, seen.stream) == ("responses", 200, really.stream)
        assert (seen.input_tokens, seen.output_tokens, seen.cost) == (50, 12, 0.25)
        assert (seen.tools_offered, seen.tools_called) == (("search",), really.tools_called)
        assert seen.prompt_characters == really.prompt_characters


def test_an_upstream_knows_its_own_earlier_responses() -> None:
    with forwarding(StandIn()) as (_, provider, _heard, client):
        first = ask(client, "Say one.")
        ask(client, "And two.", previous_response_id=first.id)
        with pytest.raises(openai.BadRequestError, match="no response"):
            ask(client, previous_response_id="resp_nobody")
    assert provider.log[1].prompt_characters > len("Say one.And two.")


def test_a_response_that_breaks_off_is_heard_as_such() -> None:
    turn = {"content": TEXT, "fault": {"drop": True}}
    with forwarding(player(turn, turn)) as (gateway, _provider, heard, client):
        with pytest.raises(openai.APIConnectionError):
            ask(client)
        with (
            pytest.raises((httpx.RemoteProtocolError, openai.APIConnectionError)),
            client.responses.stream(model="m", input="Hi") as stream,
        ):
            stream.until_done()
    whole, streamed = heard
    assert whole is not None
    assert whole.fault is not None
    assert whole.fault.drop
    assert streamed is not None
    assert streamed.fault is not None
    assert streamed.fault.drop
    assert TEXT.startswith(streamed.text or "")
    assert all(seen.error for seen in gateway.log)


def test_what_a_provider_says_of_its_failure_is_heard() -> None:
    error = {"code": "server_error", "message": "It broke."}
    for stream in (
        {"type": "response.failed", "response": {"output": [], "error": error}},
        {"type": "error", **error},
    ):
        heard = ResponseStream()
        heard.add({"type": "response.output_text.delta", "delta": "Half"})
        heard.add(stream)
        assert heard.is_whole
        fault = heard.turn().fault
        assert fault is not None
        assert (fault.status, fault.code, fault.message) == (500, "server_error", "It broke.")


@pytest.mark.parametrize(
    "data", [None, [], {}, {"output": 3}, {"output": [{"type": "message"}]}, {"output": [{}]}]
)
def test_what_is_no_response_is_none(data: Any) -> None:
    assert read_response(data) is None
    heard = ResponseStream()
    for event in (data, {"type": "response.completed", "response": data}):
        heard.add(event)
    assert not heard.is_whole
