"""Fault rules: their format with every mistake placed, and which calls each of them befalls."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI

from talea.adapter import Endpoint
from talea.errors import DocumentError
from talea.gateway.cassette import Cassette, Fault, Player, Turn
from talea.gateway.chat import Call, ChatRequest
from talea.gateway.faults import FaultRules, in_place_of_answer, load_faults, loads_faults
from talea.gateway.recorder import Recorder
from talea.gateway.server import Gateway
from talea.gateway.upstream import Upstream

WHOLE = """\
talea_faults: 1
seed: 7
rules:
  - {at: notes, turns: [1, 3], fault: {status: 429, retry_after: 0}}
  - at: polish#1/brief
    agent: writer
    first: 2
    fault: {drip: 200ms}
  - {at: "*", probability: 0.25, fault: {garbage: true}}
  - {every: 3, fault: {delay: 1s}}
"""
QUERY = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}


def call(address: str = "a", agent: str = "writer", turn: int = 1, *tools: dict[str, Any]) -> Call:
    offered = [{"type": "function", "function": tool} for tool in tools]
    asked = {"model": "m", "messages": [{"role": "user"}], "tools": offered}
    return Call(None, address, agent, turn, ChatRequest.model_validate(asked))


def rules(*given: dict[str, Any], seed: int = 0) -> FaultRules:
    return FaultRules.model_validate({"talea_faults": 1, "seed": seed, "rules": given})


def befallen(rule: dict[str, Any], *calls: Call, seed: int = 0) -> list[bool]:
    made = rules({"fault": {"empty": True}, **rule}, seed=seed)
    return [made.fault_for(one) is not None for one in calls]


# The format


def test_reads_every_form() -> None:
    made = loads_faults(WHOLE)
    first = made.fault_for(call("notes[2]", turn=3))
    assert first is not None
    assert (first.status, first.retry_after) == (429, 0)
    second = made.fault_for(call("polish#1/brief", turn=2))
    assert second is not None
    assert (second.drip, second.name) == (0.2, "drip")


def test_reads_files_of_both_spellings(tmp_path: Path) -> None:
    plain, spelled = tmp_path / "faults.yaml", tmp_path / "faults.json"
    plain.write_text(WHOLE, "utf-8")
    whole = load_faults(plain)
    spelled.write_text(whole.model_dump_json(exclude_unset=True), "utf-8")
    assert load_faults(str(spelled)) == whole


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"nowhere\.yaml.*the fault rules cannot be read"):
        load_faults(tmp_path / "nowhere.yaml")


HEAD = "talea_faults: 1\nrules:\n"
FAULT = "fault: {status: 500}"
WRONG = {
    "an unknown key": (HEAD + "  - {turn: 1, " + FAULT + "}\n", "turn", (3, 6)),
    "an unknown fault": (HEAD + "  - fault: {stats: 500}\n", "stats", (3, 13)),
    "no fault": (HEAD + "  - at: a\n", "fault", (3, 5)),
    "two times": (HEAD + "  - {turns: [1], first: 2, " + FAULT + "}\n", "cannot have both", (3, 5)),
    "an address that is none": (HEAD + "  - {at: Notes, " + FAULT + "}\n", "task address", (3, 10)),
    "the zeroth call": (HEAD + "  - {turns: [0], " + FAULT + "}\n", "1", (3, 14)),
    "no calls": (HEAD + "  - {turns: [], " + FAULT + "}\n", "never", (3, 5)),
    "a number that is text": (HEAD + '  - {every: "2", ' + FAULT + "}\n", "number", (3, 13)),
    "more than certain": (HEAD + "  - {probability: 1.5, " + FAULT + "}\n", "1", (3, 19)),
    "two faults": (HEAD + "  - fault: {empty: true, hang: true}\n", "exclude each other", (3, 12)),
    "words without status": (HEAD + "  - fault: {empty: true, message: x}\n", "status", (3, 12)),
    "a slow silence": (HEAD + "  - fault: {hang: true, drip: 1}\n", "none is sent", (3, 12)),
    "a header of two lines": (
        HEAD + '  - fault: {content_type: "a\\r\\nb: c"}\n', "content_type", (3, 27),
    ),
    "another version": ("talea_faults: 2\nrules: []\n", "1", (1, 15)),
    "no rules": ("talea_faults: 1\n", "rules", (1, 1)),
    "an alias": (HEAD + "  - fault: &x {hang: true}\n  - fault: *x\n", "anchor", (3, 12)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_places_a_mistake(name: str) -> None:
    text, words, place = WRONG[name]
    with pytest.raises(DocumentError) as caught:
        loads_faults(text, name="faults.yaml")
    first = caught.value.issues[0]
    assert words in first.message
    assert (first.file, first.line, first.col) == ("faults.yaml", *place)


def test_says_what_was_meant() -> None:
    with pytest.raises(DocumentError) as caught:
        loads_faults(HEAD + "  - fault: {stats: 500}\n  - {trun: 1, fault: {hang: yes}}\n")
    assert len(caught.value.issues) == 3
    assert caught.value.issues[0].hint is not None
    assert "status" in caught.value.issues[0].hint


# Which calls a rule befalls


def test_a_rule_without_numbers_befalls_each_call_at_its_place() -> None:
    calls = [call("a"), call("a", turn=9), call("b"), call("a/b"), call("a[1]"), call("a[1]#2")]
    assert befallen({"at": "a"}, *calls) == [True, True, False, False, True, True]
    assert befallen({"at": "a[1]"}, *calls) == [False] * 4 + [True, True]
    assert befallen({"at": "a#2"}, *calls) == [False] * 5 + [True]
    assert befallen({"at": "*"}, *calls) == befallen({}, *calls) == [True] * 6
    assert befallen({"agent": "writer"}, call(), call(agent="reader")) == [True, False]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"turns": [1, 4]}, [1, 4]),
        ({"first": 2}, [1, 2]),
        ({"every": 2}, [2, 4, 6]),
        ({"probability": 0}, []),
        ({"probability": 1}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_numbers_say_which_calls(when: dict[str, Any], expected: list[int]) -> None:
    calls = [call(turn=turn) for turn in range(1, 7)]
    found = befallen(when, *calls)
    assert [turn for turn, hit in enumerate(found, 1) if hit] == expected


def test_the_first_rule_that_befalls_a_call_is_taken() -> None:
    made = rules(
        {"at": "a", "turns": [1], "fault": {"status": 500}},
        {"at": "a", "fault": {"status": 503}},
        {"fault": {"empty": True}},
    )
    found = [made.fault_for(one) for one in (call(), call(turn=2), call("b"))]
    assert [(one.status, one.empty) for one in found if one] == [
        (500, False), (503, False), (None, True),
    ]  # fmt: skip


@given(st.integers(), st.randoms(use_true_random=False))
def test_chance_is_the_same_in_any_order(seed: int, shuffle: random.Random) -> None:
    calls = [call(f"a[{n}]", agent, turn) for n in range(4) for agent in "xy" for turn in (1, 2)]
    order = calls.copy()
    shuffle.shuffle(order)
    chance = {"probability": 0.5}
    found = dict(
        zip([repr(one) for one in order], befallen(chance, *order, seed=seed), strict=True)
    )
    assert [found[repr(one)] for one in calls] == befallen(chance, *calls, seed=seed)


def test_chance_is_as_likely_as_it_says_and_differs_by_seed_and_rule() -> None:
    calls = [call(f"a[{n}]") for n in range(2000)]
    one, other = (befallen({"probability": 0.3}, *calls, seed=seed) for seed in (1, 2))
    assert 500 < sum(one) < 700
    assert 300 < sum(a != b for a, b in zip(one, other, strict=True)) < 1200
    second = rules(
        {"probability": 0.3, "fault": {"status": 500}},
        {"probability": 0.3, "fault": {"empty": True}},
        seed=1,
    )
    drawn = [second.fault_for(one) for one in calls]
    # Of the calls that the first rule leaves, the second takes its own share.
    assert 300 < sum(one is not None and one.empty for one in drawn) < 550


# What a call is answered


@pytest.mark.parametrize("kind", ["hang", "reset", "garbage", "empty"])
def test_what_comes_in_an_answers_place_needs_nobody(kind: str) -> None:
    fault = Fault.model_validate({kind: True})
    assert in_place_of_answer(fault, call()) == Turn(fault=fault)


@pytest.mark.parametrize("fault", [{"drop": True}, {"truncated": True}, {"delay": 1}, {"drip": 1}])
def test_what_breaks_an_answer_needs_one(fault: dict[str, Any]) -> None:
    assert in_place_of_answer(Fault.model_validate(fault), call()) is None


def called(kind: str, *tools: dict[str, Any]) -> tuple[str, str]:
    turn = in_place_of_answer(Fault.model_validate({kind: True}), call("a", "b", 1, *tools))
    assert turn is not None
    (found,) = turn.tool_calls
    return found.name, found.arguments_text


def test_tools_are_called_wrongly() -> None:
    offered = ({"name": "search", "parameters": QUERY}, {"name": "other"})
    name, text = called("bad_arguments", *offered)
    assert name == "search"
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(text)
    assert called("unknown_tool", *offered) == ("no_such_tool", "{}")
    name, text = called("endless_tools", *offered)
    assert name == "search"
    assert isinstance(json.loads(text)["query"], str)
    assert called("endless_tools", {"name": "now"}) == ("now", "{}")


@pytest.mark.parametrize("kind", ["bad_arguments", "unknown_tool", "endless_tools"])
def test_where_no_tool_is_offered_an_unknown_one_is_called(kind: str) -> None:
    assert called(kind)[0] == "no_such_tool"


def test_in_a_cassette_endless_tools_answer_every_further_call() -> None:
    turn = {"fault": {"endless_tools": True}}
    player = Player(Cassette.model_validate({"talea_cassette": 1, "tasks": {"a": [turn]}}))
    assert [player.answer(call(turn=n)).fault for n in (1, 2, 3)] == [Fault(endless_tools=True)] * 3
    with pytest.raises(ValueError, match="would never come"):
        Cassette.model_validate({"talea_cassette": 1, "tasks": {"a": [turn, {"content": "x"}]}})


# Over HTTP, whoever answers

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Say hello."}]}
TEXT = "A text that is long enough to be streamed in several pieces, with ünïcode 🐈."
TOOL = {"type": "function", "function": {"name": "search", "parameters": QUERY}}


def player(*texts: str) -> Player:
    turns = [{"content": text, "usage": {"output_tokens": 7}} for text in texts]
    return Player(Cassette.model_validate({"talea_cassette": 1, "tasks": {"a": turns}}))


@asynccontextmanager
async def disturbed(
    source: Player, *given: dict[str, Any], upstream: bool = False
) -> AsyncIterator[tuple[Gateway, Gateway, AsyncOpenAI]]:
    """Give a gateway with faults, the one that really answers, and a client of the former."""
    async with AsyncExitStack() as stack:
        real = outer = Gateway(source, faults=None if upstream else rules(*given))
        await stack.enter_async_context(real)
        url = real.base_url("a", "writer")
        if upstream:
            outer = Gateway(Upstream(), faults=rules(*given))
            await stack.enter_async_context(outer)
            target = Endpoint("local", "m", url, lambda: None)
            url = outer.open("run", {"": target}).base_url("a", "writer")
        client = AsyncOpenAI(api_key="none", base_url=url, max_retries=0, timeout=20)
        yield outer, real, await stack.enter_async_context(client)


async def ask(client: AsyncOpenAI, *, stream: bool) -> str:
    """Give the text of an answer. Raises what the client raises."""
    if not stream:
        return (await client.chat.completions.create(**ASKED)).choices[0].message.content or ""
    chunks = await client.chat.completions.create(**ASKED, stream=True)
    texts = [chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices]
    return "".join(texts)


def test_what_comes_in_an_answers_place_takes_no_turn_of_a_cassette() -> None:
    async def work() -> None:
        async with disturbed(player("one"), {"first": 1, "fault": {"status": 503}}) as (
            gateway, _, client,
        ):  # fmt: skip
            with pytest.raises(openai.InternalServerError):
                await ask(client, stream=False)
            assert await ask(client, stream=False) == "one"
            assert [(seen.status, seen.fault) for seen in gateway.log] == [
                (503, "status"),
                (200, None),
            ]

    asyncio.run(work())


def test_an_error_has_its_code_its_words_and_its_headers() -> None:
    fault = {"status": 429, "code": "slow_down", "message": "Too fast.", "retry_after": 0.5}

    async def work() -> None:
        async with disturbed(player(), {"fault": fault}) as (_, _, client):
            with pytest.raises(openai.RateLimitError) as caught:
                await ask(client, stream=False)
            assert caught.value.code == "slow_down"
            assert "Too fast." in caught.value.message
            assert caught.value.response.headers["retry-after"] == "0.5"
            assert "x-should-retry" not in caught.value.response.headers

    asyncio.run(work())


BREAKS: dict[str, tuple[dict[str, Any], type[Exception] | tuple[type[Exception], ...]]] = {
    "reset": ({"reset": True}, openai.APIConnectionError),
    "drop": ({"drop": True}, (openai.APIConnectionError, httpx.RemoteProtocolError)),
    "truncated": ({"truncated": True}, ValueError),
    "garbage": ({"garbage": True}, ValueError),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("upstream", [False, True])
@pytest.mark.parametrize("name", BREAKS)
def test_an_answer_breaks_in_the_same_way_whoever_gives_it(
    name: str, upstream: bool, stream: bool
) -> None:
    fault, error = BREAKS[name]

    async def work() -> None:
        async with disturbed(player(TEXT), {"fault": fault}, upstream=upstream) as (
            gateway, real, client,
        ):  # fmt: skip
            with pytest.raises(error):
                await ask(client, stream=stream)
            assert [seen.fault for seen in gateway.log] == [name]
            asked = name in ("drop", "truncated")
            if upstream:
                assert len(real.log) == asked
            if asked:
                assert gateway.log[0].output_tokens == 7

    asyncio.run(work())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("upstream", [False, True])
@pytest.mark.parametrize("fault", [{"drip": 0.01}, {"delay": 0.05}, {"content_type": "text/html"}])
def test_a_slow_or_misnamed_answer_is_whole(
    fault: dict[str, Any], upstream: bool, stream: bool
) -> None:
    async def work() -> None:
        async with disturbed(player(TEXT), {"fault": fault}, upstream=upstream) as (
            gateway, _, client,
        ):  # fmt: skip
            assert await ask(client, stream=stream) == TEXT
            (seen,) = gateway.log
            assert (seen.status, seen.fault) == (200, next(iter(fault)))
            assert seen.first_byte is not None
            assert seen.first_byte >= fault.get("delay", 0)
            # Seven events at least, or sixteen slices.
            assert seen.duration >= 6 * fault.get("drip", 0)

    asyncio.run(work())


def test_faults_befall_the_responses_api_as_well() -> None:
    async def work() -> None:
        given = [{"turns": [1], "fault": {"bad_arguments": True}}, {"fault": {"drop": True}}]
        async with disturbed(player(TEXT), *given) as (_, _, client):
            tool = {"type": "function", **TOOL["function"], "strict": False}
            asked: dict[str, Any] = {"model": "m", "input": "Say hello.", "tools": [tool]}
            (called,) = (await client.responses.create(**asked)).output
            assert called.type == "function_call"
            assert (called.name, called.arguments) == ("search", '{"query": ')
            with pytest.raises(openai.APIConnectionError):
                await client.responses.create(**asked)

    asyncio.run(work())


def test_a_recorded_run_breaks_again_in_its_replay() -> None:
    given = [
        {"turns": [1], "fault": {"status": 429, "retry_after": 0}},
        {"turns": [2], "fault": {"unknown_tool": True}},
        {"turns": [3], "fault": {"drop": True}},
        {"turns": [4], "fault": {"empty": True}},
    ]

    async def outcomes(client: AsyncOpenAI) -> list[str]:
        found: list[str] = []
        for _ in range(5):
            try:
                answer = await client.chat.completions.create(**ASKED, tools=[TOOL])
                message = answer.choices[0].message
                called = [one.function.name for one in message.tool_calls or ()]
                found.append(str(called or message.content))
            except openai.APIError as error:
                found.append(type(error).__name__)
        return found

    async def work() -> None:
        recorder = Recorder()
        async with disturbed(player("one", "two"), *given) as (gateway, _, client):
            gateway.subscribe(recorder)
            first = await outcomes(client)
        assert first == ["RateLimitError", "['no_such_tool']", "APIConnectionError", "", "two"]
        async with disturbed(Player(recorder.cassette())) as (_, _, client):
            assert await outcomes(client) == first

    asyncio.run(work())
