"""What was recorded through a gateway is replayed with the same answers."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from talea.adapter import Endpoint
from talea.failures import remember_secret
from talea.gateway.cassette import Cassette, Player, load_cassette
from talea.gateway.faults import FaultRules
from talea.gateway.recorder import Recorder, write_cassette
from talea.gateway.server import Door, Gateway
from talea.gateway.upstream import Upstream

KEY = "sk-canary-51d0c7a9e2"
ASKED: list[Any] = [{"role": "user", "content": "Say something."}]
TOOL: Any = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
TURNS: list[dict[str, Any]] = [
    {"content": "Plain, ünïcode 🐈,\nand two lines.\n", "usage": {"input_tokens": 5, "cost": 0.5}},
    {"content": "First.", "tool_calls": [{"name": "search", "arguments": {"q": ["x", 1.5]}}]},
    {"tool_calls": [{"name": "a", "arguments": "{"}, {"name": "b"}], "usage": {"output_tokens": 7}},
    {"content": ""},
    {"content": {"level": 3}},
    {"fault": {"refusal": "I will not."}},
    {"fault": {"status": 429, "code": "slow_down", "message": "Too much.", "retry_after": 2}},
    {"fault": {"status": 500}},
    {"fault": {"garbage": True}},
    {"fault": {"drop": True}, "content": "Never comes to its end, not at all."},
    {"content": "no"},
]


def asked(url: str, *, stream: bool) -> list[Any]:
    """Ask as often as there are turns; give what a program sees of each answer."""

    async def one(client: AsyncOpenAI) -> Any:
        try:
            answer: Any = await client.chat.completions.create(
                model="m", messages=ASKED, tools=[TOOL], stream=stream,
                **({"stream_options": {"include_usage": True}} if stream else {}),
            )  # fmt: skip
            if not stream:
                return _seen(answer.choices[0].message, answer.usage)
            chunks = [chunk async for chunk in answer]
            deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
            text = "".join(delta.content or "" for delta in deltas)
            calls = [
                (call.index, call.function.name, call.function.arguments)
                for delta in deltas
                for call in delta.tool_calls or ()
            ]
            refused = "".join(delta.refusal or "" for delta in deltas)
            return text, calls, refused, chunks[-1].usage.model_dump()
        except openai.APIStatusError as error:
            return error.status_code, error.body, error.response.headers.get("retry-after")
        except Exception as error:
            return type(error).__name__

    async def main() -> list[Any]:
        async with AsyncOpenAI(api_key="x", base_url=url, max_retries=0, timeout=20) as client:
            return [await one(client) for _ in TURNS]

    return asyncio.run(main())


def _seen(message: Any, usage: Any) -> Any:
    calls = [(c.function.name, c.function.arguments) for c in message.tool_calls or ()]
    return message.content or "", calls, message.refusal, usage.model_dump()


def player(**tasks: Any) -> Player:
    return Player(Cassette.model_validate({"talea_cassette": 1, "tasks": tasks}))


@contextmanager
def recording(
    source: Player, address: str, faults: FaultRules | None = None
) -> Iterator[tuple[Door, Recorder]]:
    """Give a door to a gateway that asks a provider, which answers as one task's cassette says."""
    recorder = Recorder()
    with Gateway(source) as provider, Gateway(Upstream(), faults=faults) as gateway:
        gateway.subscribe(recorder)
        url = provider.base_url(address, "anyone")
        yield gateway.open("run", {"": Endpoint("p", "m", url, lambda: KEY)}), recorder


@pytest.mark.parametrize("stream", [False, True])
def test_a_record_replays_as_it_was(*, tmp_path: Path, stream: bool) -> None:
    path = tmp_path / "record.yaml"
    with recording(player(notes=TURNS), "notes") as (door, recorder):
        first = asked(door.base_url("notes", "writer"), stream=stream)
        seen = door.log()
        assert recorder.calls == len(TURNS)
        write_cassette(recorder.cassette(), path)
    with Gateway(Player(load_cassette(path))) as gateway:
        again = asked(gateway.base_url("notes", "writer"), stream=stream)
        replayed = gateway.log
    assert again == first
    assert len({str(one) for one in first}) == len(TURNS)
    for one, other in zip(seen, replayed, strict=True):
        assert one.tools_called == other.tools_called
        if one.status == 200 and one.error is None and one.output_tokens:
            assert (one.input_tokens, one.output_tokens, one.cost) == (
                other.input_tokens,
                other.output_tokens,
                other.cost,
            )


def test_structured_answers_replay(tmp_path: Path) -> None:
    class Shape(BaseModel):
        level: int

    def ask(url: str) -> Shape | None:
        with OpenAI(api_key="x", base_url=url, max_retries=0) as client:
            done = client.chat.completions.parse(model="m", messages=ASKED, response_format=Shape)
            return done.choices[0].message.parsed

    with recording(player(notes=[{"content": {"level": 3}}]), "notes") as (door, recorder):
        assert ask(door.base_url("notes", "writer")) == Shape(level=3)
        write_cassette(recorder.cassette(), tmp_path / "record.yaml")
    with Gateway(Player(load_cassette(tmp_path / "record.yaml"))) as gateway:
        assert ask(gateway.base_url("notes", "writer")) == Shape(level=3)


def test_turns_are_kept_by_address_and_by_agent_where_there_are_several() -> None:
    turns = [{"content": str(number)} for number in range(5)]
    asking = [("a[0]", "x"), ("b#1/c", "x"), ("b#1/c", "y"), ("a[0]", "x"), ("b#1/c", "x")]
    with recording(player(notes=turns), "notes") as (door, recorder):
        for address, agent in asking:
            with OpenAI(api_key="x", base_url=door.base_url(address, agent)) as client:
                client.chat.completions.create(model="m", messages=ASKED)
    tasks: Any = recorder.cassette().tasks
    assert [turn.content for turn in tasks["a[0]"]] == ["0", "3"]
    assert {agent: [turn.content for turn in its] for agent, its in tasks["b#1/c"].items()} == {
        "x": ["1", "4"],
        "y": ["2"],
    }


def test_calls_at_once_are_kept_in_the_order_in_which_they_were_asked() -> None:
    turns = [{"content": "slow", "fault": {"delay": 0.3}}, {"content": "quick"}]

    async def main(url: str) -> None:
        async with AsyncOpenAI(api_key="x", base_url=url, max_retries=0) as client:
            asking = client.chat.completions.create(model="m", messages=ASKED)
            slow = asyncio.ensure_future(asking)
            await asyncio.sleep(0.1)
            await client.chat.completions.create(model="m", messages=ASKED)
            assert not slow.done()
            await slow

    # The provider's fault is not said by it, so it is not in the record either.
    with recording(player(notes=turns), "notes") as (door, recorder):
        asyncio.run(main(door.base_url("notes", "writer")))
    kept: Any = recorder.cassette().tasks["notes"]
    assert [(turn.content, turn.fault) for turn in kept] == [("slow", None), ("quick", None)]


FAULTS = [
    {"status": 429, "retry_after": 0},
    {"bad_arguments": True},
    {"unknown_tool": True},
    {"endless_tools": True},
    {"empty": True},
    {"refusal": "No."},
    {"garbage": True},
    {"truncated": True},
    {"drop": True},
    {"reset": True},
    {"content_type": "text/html"},
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: next(iter(fault)))
def test_what_went_wrong_by_rule_goes_wrong_again(fault: dict[str, Any], tmp_path: Path) -> None:
    rules = FaultRules.model_validate(
        {"talea_faults": 1, "rules": [{"turns": [1], "fault": fault}]}
    )

    def outcome(url: str) -> Any:
        with OpenAI(api_key="x", base_url=url, max_retries=0) as client:
            try:
                done = client.chat.completions.create(model="m", messages=ASKED, tools=[TOOL])
                return _seen(done.choices[0].message, done.usage)[:3]
            except Exception as error:
                return type(error).__name__

    turns = [{"content": "Never seen, or seen in part."}]
    with recording(player(notes=turns), "notes", rules) as (door, recorder):
        first = outcome(door.base_url("notes", "writer"))
        write_cassette(recorder.cassette(), tmp_path / "record.yaml")
    with Gateway(Player(load_cassette(tmp_path / "record.yaml"))) as gateway:
        assert outcome(gateway.base_url("notes", "writer")) == first


def test_no_secret_is_written(tmp_path: Path) -> None:
    another = "correct-horse-battery"  # One of this process, which is not the provider's.
    remember_secret(another)
    said = f"Your key is {KEY}, and {another} as well."
    turns = [
        {"content": said, "tool_calls": [{"name": another, "arguments": {another: [KEY]}}]},
        {"fault": {"status": 401, "message": said, "code": another}},
    ]
    with recording(player(notes=turns), "notes") as (door, recorder):
        with OpenAI(
            api_key="own-key", base_url=door.base_url("notes", "w"), max_retries=0
        ) as client:
            client.chat.completions.create(model="m", messages=ASKED)
            with pytest.raises(openai.AuthenticationError):
                client.chat.completions.create(model="m", messages=ASKED)
        assert recorder.calls == 2
        write_cassette(recorder.cassette(), tmp_path / "record.yaml")
    text = (tmp_path / "record.yaml").read_text()
    assert "Your key is ***, and *** as well." in text
    for never in (
        KEY,
        another,
        "own-key",
        door.token,
        "uthorization",
        "user_agent",
        "Say something.",
    ):
        assert never not in text


def test_a_record_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.yaml"
    cassette = Cassette.model_validate({"talea_cassette": 1, "tasks": {"a": [{"content": "x"}]}})
    write_cassette(cassette, path)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    path.chmod(0o640)
    before = path.read_text()

    def fail(_: object) -> str:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("talea.gateway.recorder.dumps_cassette", fail)
        with pytest.raises(OSError, match="disk full"):
            write_cassette(cassette, path)
    assert (path.read_text(), os.listdir(tmp_path)) == (before, ["record.yaml"])
    write_cassette(cassette, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
