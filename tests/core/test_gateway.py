"""The gateway through the real `openai` client: answers, faults, the log, and a clean end."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from talea.gateway.cassette import Cassette, Player, Turn
from talea.gateway.chat import Call
from talea.gateway.server import Answerer, Gateway
from talea.gateway.standin import StandIn

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Say hello."}]}
TEXT = "A text that is long enough to be streamed in several pieces, with ünïcode 🐈."


def player(*turns: dict[str, Any]) -> Player:
    """Play these turns at the address `notes`."""
    data = {"talea_cassette": 1, "tasks": {"notes": list(turns)}}
    return Player(Cassette.model_validate(data))


@asynccontextmanager
async def ready(answerer: Answerer) -> AsyncIterator[tuple[Gateway, AsyncOpenAI]]:
    """Give a gateway and a client of it, as the agent `writer` at `notes`."""
    async with Gateway(answerer) as gateway:
        url = gateway.base_url("notes", "writer")
        async with AsyncOpenAI(api_key="none", base_url=url, max_retries=0, timeout=20) as client:
            yield gateway, client


def use(answerer: Answerer, work: Callable[[Gateway, AsyncOpenAI], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with ready(answerer) as (gateway, client):
            return await work(gateway, client)

    return asyncio.run(main())


async def ask(client: AsyncOpenAI, **more: Any) -> Any:
    return await client.chat.completions.create(**ASKED, **more)


async def gather_stream(client: AsyncOpenAI, **more: Any) -> list[Any]:
    return [chunk async for chunk in await ask(client, stream=True, **more)]


def test_answers_plainly_and_logs_the_call() -> None:
    usage = {"input_tokens": 50, "output_tokens": 12, "cost": 0.25}

    async def work(gateway: Gateway, client: AsyncOpenAI) -> None:
        answer = await ask(client)
        assert answer.choices[0].message.content == TEXT
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.prompt_tokens == 50
        assert answer.usage.completion_tokens == 12
        assert answer.usage.total_tokens == 62
        assert answer.usage.cost == 0.25
        (seen,) = gateway.log
        assert (seen.run, seen.address, seen.agent, seen.turn) == (None, "notes", "writer", 1)
        assert (seen.model, seen.stream, seen.status) == ("m", False, 200)
        assert (seen.input_tokens, seen.output_tokens, seen.cost) == (50, 12, 0.25)
        assert seen.prompt_characters == len("Say hello.")
        assert seen.user_agent.startswith("AsyncOpenAI/")
        assert seen.duration > 0

    use(player({"content": TEXT, "usage": usage}), work)


def test_streams_the_same_answer() -> None:
    calls = [
        {"name": "search", "arguments": {"query": "cats " * 20}},
        {"name": "now", "arguments": {}},
    ]
    turn = {"content": TEXT, "tool_calls": calls, "usage": {"output_tokens": 3, "cost": 0.5}}

    async def work(gateway: Gateway, client: AsyncOpenAI) -> None:
        chunks = await gather_stream(client, stream_options={"include_usage": True})
        deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
        assert "".join(delta.content or "" for delta in deltas) == TEXT
        assert sum(bool(delta.content) for delta in deltas) > 2
        called: dict[int, list[str]] = {}
        for part in (part for delta in deltas for part in delta.tool_calls or ()):
            known = called.setdefault(part.index, [part.id, part.function.name, ""])
            known[2] += part.function.arguments
        assert [(name, json.loads(text)) for _, name, text in called.values()] == [
            (call["name"], call["arguments"]) for call in calls
        ]
        assert len({id for id, _, _ in called.values()}) == 2
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"
        assert chunks[-1].usage.completion_tokens == 3
        assert chunks[-1].usage.cost == 0.5
        assert len({chunk.id for chunk in chunks}) == 1
        assert gateway.log[0].stream
        assert gateway.log[0].tools_called == ("search", "now")

    use(player(turn), work)


def test_a_stream_has_no_usage_unless_asked() -> None:
    async def work(_: Gateway, client: AsyncOpenAI) -> None:
        assert [chunk.usage for chunk in await gather_stream(client) if chunk.usage] == []

    use(player({"content": TEXT}), work)


def test_calls_tools_and_goes_on() -> None:
    tool = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}

    async def work(gateway: Gateway, client: AsyncOpenAI) -> None:
        first = (await ask(client, tools=[tool])).choices[0]
        assert first.finish_reason == "tool_calls"
        assert first.message.content is None
        (called,) = first.message.tool_calls
        assert called.function.name == "search"
        assert json.loads(called.function.arguments) == {"query": "cats"}
        told = {"role": "tool", "tool_call_id": called.id, "content": "sixteen hours"}
        messages = [*ASKED["messages"], first.message.model_dump(exclude_none=True), told]
        second = await client.chat.completions.create(model="m", messages=messages, tools=[tool])
        assert second.choices[0].message.content == "Sixteen."
        assert [seen.turn for seen in gateway.log] == [1, 2]
        assert gateway.log[0].tools_offered == ("search",)
        assert gateway.log[0].tools_called == ("search",)

    called = {"tool_calls": [{"name": "search", "arguments": {"query": "cats"}}]}
    use(player(called, {"content": "Sixteen."}), work)


def test_sends_bad_arguments_and_unknown_tools_as_they_stand() -> None:
    async def work(_: Gateway, client: AsyncOpenAI) -> None:
        calls = (await ask(client)).choices[0].message.tool_calls
        assert [call.function.arguments for call in calls] == ['{"query": ', "not JSON", "{}"]

    names = [("search", '{"query": '), ("search", "not JSON"), ("nowhere", {})]
    use(player({"tool_calls": [{"name": n, "arguments": a} for n, a in names]}), work)


def test_sends_a_structure_as_json() -> None:
    async def work(_: Gateway, client: AsyncOpenAI) -> None:
        text = (await ask(client)).choices[0].message.content
        assert json.loads(text) == {"level": "high", "reasons": ["ä"]}

    use(player({"content": {"level": "high", "reasons": ["ä"]}}), work)


def test_estimates_tokens_that_are_not_given() -> None:
    async def work(_: Gateway, client: AsyncOpenAI) -> None:
        usage = (await ask(client)).usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (3, 2)
        assert not hasattr(usage, "cost")

    use(player({"content": "Hello"}), work)


def test_a_repeated_turn_never_ends() -> None:
    async def work(_: Gateway, client: AsyncOpenAI) -> None:
        answers = [(await ask(client)).choices[0] for _ in range(5)]
        assert [a.finish_reason for a in answers] == ["stop", *["tool_calls"] * 4]
        ids = [a.message.tool_calls[0].id for a in answers[1:]]
        assert len(set(ids)) == 4

    use(player({"content": "Hi"}, {"tool_calls": [{"name": "search"}], "repeat": True}), work)


# Faults


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, openai.AuthenticationError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_status(status: int, expected: type[openai.APIStatusError], *, stream: bool) -> None:
    async def work(gateway: Gateway, client: AsyncOpenAI) -> None:
        with pytest.raises(expected) as caught:
            await ask(client, stream=stream)
        assert caught.value.status_code == status
        assert caught.value.response.headers["retry-after"] == "1.5"
        assert gateway.log[0].status == status

    use(player({"fault": {"status": status, "retry_after": "1500ms"}}), work)


def test_a_client_that_retries_gets_the_next_turn() -> None:
    async def work(gateway: Gateway, client: AsyncOpenAI) -> None:
        answer = await ask(client.with_options(max_retries=1))
        assert answer.choices[0].message.content == "ok"
        assert [(seen.turn, seen.status) for seen in gateway.log] == [(1, 429), (2, 200)]

    use(player({"fault": {"status": 429, "retry_after": 0}}, {"content": "ok"}), work)


@pytest.mark.parametrize("stream", [False, True])
def test_a_hang(*, stream: bool) -> None:
    async def work(gateway: Gateway, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.APITimeoutError):
            await ask(client.with_options(timeout=0.05), stream=stream)
        assert gateway.log[0].status == 0

    use(player({"fault": {"hang": True}}), work)


def test_a_delay_that_is_waited_for_and_one_that_is_not() -> None:
    async def work(gateway: Gateway, client: AsyncOpenAI) -> None:
        assert (await ask(client)).choices[0].message.content == "late"
        assert gateway.log[0].duration >= 0.02
        with pytest.raises(openai.APITimeoutError):
            await ask(client.with_options(timeout=0.05))

    faults = ({"delay": 0.02}, {"delay": "1h"})
    use(player(*({"content": "late", "fault": fault} for fault in faults)), work)


@pytest.mark.parametrize("turn", [{"content": TEXT}, {}])
def test_a_drop(turn: dict[str, Any]) -> None:
    async def work(_: Gateway, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.APIConnectionError):
            await ask(client)
        text = ""
        with pytest.raises(Exception, match="peer closed connection"):
            async for chunk in await ask(client, stream=True):
                text += chunk.choices[0].delta.content or ""
        assert text == "" if not turn else TEXT.startswith(text) and 0 < len(text) < len(TEXT)

    use(player(*[{**turn, "fault": {"drop": True}}] * 2), work)


@pytest.mark.parametrize("fault", ["garbage", "truncated"])
def test_what_is_no_json(fault: str) -> None:
    async def work(_: Gateway, client: AsyncOpenAI) -> None:
        with pytest.raises(json.JSONDecodeError):
            await ask(client)
        with pytest.raises(json.JSONDecodeError):
            await gather_stream(client)

    use(player({"fault": {fault: True}}, {"fault": {fault: True}}), work)


def test_an_empty_answer() -> None:
    async def work(_: Gateway, client: AsyncOpenAI) -> None:
        choice = (await ask(client)).choices[0]
        assert (choice.message.content, choice.finish_reason) == ("", "stop")
        chunks = await gather_stream(client)
        assert not any(chunk.choices[0].delta.content for chunk in chunks)

    use(player({"fault": {"empty": True}}, {"fault": {"empty": True}}), work)


def test_a_refusal() -> None:
    async def work(_: Gateway, client: AsyncOpenAI) -> None:
        message = (await ask(client)).choices[0].message
        assert (message.content, message.refusal) == (None, "I will not do that, not even slowly.")
        deltas = [chunk.choices[0].delta for chunk in await gather_stream(client)]
        assert "".join(delta.refusal or "" for delta in deltas) == message.refusal

    use(player(*[{"fault": {"refusal": "I will not do that, not even slowly."}}] * 2), work)


@pytest.mark.parametrize(
    ("turn", "name", "arguments"),
    [
        (
            {"delegate": {"to": "writer", "task": "Draft"}},
            "delegate",
            {"to": "writer", "task": "Draft"},
        ),
        ({"handoff": {"to": "bob"}}, "hand_over", {"to": "bob"}),
    ],
)
def test_what_is_said_in_a_team_is_a_call_of_its_tool(
    turn: dict[str, Any], name: str, arguments: dict[str, Any]
) -> None:
    async def work(gateway: Gateway, client: AsyncOpenAI) -> None:
        message = (await ask(client)).choices[0].message
        (call,) = message.tool_calls
        assert call.function.name == name
        assert json.loads(call.function.arguments) == arguments
        assert gateway.log[0].tools_called == (name,)

    use(player(turn), work)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_too_many_is_refused_and_not_retried(*, stream: bool) -> None:
    async def work(gateway: Gateway, client: AsyncOpenAI) -> None:
        await ask(client)
        with pytest.raises(openai.ConflictError) as caught:
            await ask(client.with_options(max_retries=5), stream=stream)
        assert caught.value.code == "replay_exhausted"
        assert "the framework made an extra model call" in str(caught.value)
        assert [seen.status for seen in gateway.log] == [200, 409]

    use(player({"content": "only one"}), work)


def test_an_answerer_that_breaks_is_told_once() -> None:
    class Broken:
        def answer(self, call: Call) -> Turn:
            raise KeyError(call.address)

    async def work(gateway: Gateway, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.InternalServerError, match="KeyError: 'notes'"):
            await ask(client.with_options(max_retries=5))
        assert len(gateway.log) == 1

    use(Broken(), work)


# Offline


def test_offline_echoes_the_prompt() -> None:
    async def work(_: Gateway, client: AsyncOpenAI) -> None:
        answers = [await ask(client) for _ in range(2)]
        assert {a.choices[0].message.content for a in answers} == {"Offline answer to: Say hello."}
        assert answers[0].usage.cost == 0
        parts = [{"type": "text", "text": "word\n" * 100}]
        messages: Any = [{"role": "user", "content": parts}, {"role": "system", "content": "x"}]
        long = await client.chat.completions.create(model="m", messages=messages)
        text = long.choices[0].message.content or ""
        assert text.startswith("Offline answer to: word word word")
        assert len(text) < 150

    use(StandIn(), work)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {
                "type": "object",
                "properties": {"level": {"enum": ["low", "high"]}, "n": {"type": "integer"}},
                "required": ["level"],
            },
            '{"level": "low"}',
        ),
        ({"enum": ["low", "high"]}, '"low"'),
        ({"type": "boolean"}, "false"),
    ],
)
def test_offline_fits_the_schema(schema: dict[str, Any], expected: str) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}

    async def work(_: Gateway, client: AsyncOpenAI) -> None:
        plain = await ask(client, response_format=wanted)
        assert plain.choices[0].message.content == expected
        chunks = await gather_stream(client, response_format=wanted)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected

    use(StandIn(), work)


def test_offline_json_without_a_schema_is_an_object() -> None:
    async def work(_: Gateway, client: AsyncOpenAI) -> None:
        answer = await ask(client, response_format={"type": "json_object"})
        assert answer.choices[0].message.content == "{}"

    use(StandIn(), work)


# Runs, loops, threads, ends


def test_each_run_has_a_secret_of_its_own_and_plays_from_the_start() -> None:
    async def main() -> None:
        async with Gateway(player({"content": "first"}, {"content": "second"})) as gateway:
            urls = [gateway.base_url("notes", "writer", run) for run in ("one", "two")]
            assert urls[0] == gateway.base_url("notes", "writer", "one")
            assert urls[0].split("/run/")[1] != urls[1].split("/run/")[1]
            for url in urls:
                async with AsyncOpenAI(api_key="none", base_url=url) as client:
                    answers = [(await ask(client)).choices[0].message.content for _ in range(2)]
                    assert answers == ["first", "second"]
            assert [seen.run for seen in gateway.log] == ["one", "one", "two", "two"]

    asyncio.run(main())


@pytest.mark.parametrize("address", ["polish[3]#1/brief", "a/b/c", "notes"])
@pytest.mark.parametrize("agent", ["writer", "Ää/?#% ..", "../x"])
def test_address_and_agent_come_through_the_path(address: str, agent: str) -> None:
    async def main() -> None:
        async with Gateway(StandIn()) as gateway:
            url = gateway.base_url(address, agent)
            async with AsyncOpenAI(api_key="none", base_url=url) as client:
                await ask(client)
                assert [model.id async for model in client.models.list()] == ["talea"]
            assert [(seen.address, seen.agent) for seen in gateway.log] == [(address, agent)]

    asyncio.run(main())


def test_many_calls_at_once_from_several_loops() -> None:
    async def work(url: str, count: int) -> set[str]:
        async with AsyncOpenAI(api_key="none", base_url=url, timeout=20) as client:
            texts = await asyncio.gather(*(gather_stream(client) for _ in range(count)))
            return {"".join(c.choices[0].delta.content or "" for c in chunks) for chunks in texts}

    with Gateway(StandIn()) as gateway:
        found: list[set[str]] = []
        urls = [gateway.base_url(f"task{i}", "writer") for i in range(3)]
        threads = [
            threading.Thread(target=lambda url=url: found.append(asyncio.run(work(url, 20))))
            for url in urls
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [{"Offline answer to: Say hello."}] * 3
        assert [seen.status for seen in gateway.log] == [200] * 60


def test_a_blocking_client_on_the_same_thread_is_served() -> None:
    async def main() -> None:
        async with Gateway(StandIn()) as gateway:
            url = gateway.base_url("notes", "writer")
            with OpenAI(api_key="none", base_url=url, timeout=20) as client:
                answer = client.chat.completions.create(**ASKED)
                assert answer.choices[0].message.content == "Offline answer to: Say hello."

    asyncio.run(main())


def test_starts_and_closes_many_times() -> None:
    gateway = Gateway(StandIn())
    ports: set[str] = set()
    for _ in range(20):
        with gateway:
            url = gateway.base_url("notes", "writer")
            ports.add(url.split("/")[2])
            with OpenAI(api_key="none", base_url=url) as client:
                client.chat.completions.create(**ASKED)
    assert len(gateway.log) == 20
    assert len(ports) > 1
    assert not [thread for thread in threading.enumerate() if thread.name == "talea-gateway"]


def test_closing_ends_what_hangs() -> None:
    async def main() -> None:
        gateway = Gateway(player({"fault": {"hang": True}}))
        gateway.start()
        url = gateway.base_url("notes", "writer")
        async with AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client:
            call = asyncio.create_task(ask(client))
            while not gateway.log:
                await asyncio.sleep(0.001)
            gateway.close()
            gateway.close()
            with pytest.raises(openai.APIConnectionError):
                await call

    asyncio.run(main())


def test_says_what_is_wrong_with_its_use() -> None:
    gateway = Gateway(StandIn())
    with pytest.raises(RuntimeError, match="not running"):
        gateway.base_url("notes", "writer")
    with gateway, pytest.raises(RuntimeError, match="already"):
        gateway.start()
