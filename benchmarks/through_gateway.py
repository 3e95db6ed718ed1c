"""What the gateway costs: CPU time of its own thread, for calls of the real client."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

from measuring import Row

CALLS = 200
WARMING = 20
AT_ONCE = CALLS
TEXT = "A sentence of an ordinary answer, as long as such sentences are. " * 6
ASKED: Any = {"model": "m", "messages": [{"role": "user", "content": TEXT * 5}]}


def gateway(rounds: int) -> Iterator[Row]:
    """CPU time of the gateway's own thread for each call, replayed or passed on to a provider."""
    if find_spec("openai") is None:
        return
    for passed_on in (False, True):
        word, most = ("passed on", 3.0) if passed_on else ("replayed", 1.0)

        def median(work: Any, passed_on: bool = passed_on) -> tuple[float, float]:
            found = [_measure(work, passed_on=passed_on) for _ in range(rounds)]
            return statistics.median(spent for spent, _ in found), found[0][1]

        spent, _ = median(_one_after_another)
        yield Row(f"gateway: a call, {word}", spent, most, unit="ms CPU")
        spent, chunks = median(_stream_by_stream)
        bar, note = 3 + 0.6 * chunks, f"{chunks:.0f} chunks"
        yield Row(f"gateway: a stream, {word}", spent, bar, unit="ms CPU", note=note)
        spent, chunks = median(_streams_at_once)
        title = f"gateway: a stream of {AT_ONCE} at once, {word}"
        yield Row(title, spent, 3 + 0.6 * chunks, unit="ms CPU", note="none lost")


def _measure(work: Callable[..., Awaitable[int]], *, passed_on: bool) -> tuple[float, float]:
    """Give the CPU milliseconds of the gateway's thread for each call, and the chunks of each."""
    from talea.adapter import Endpoint
    from talea.gateway.cassette import Cassette, Player
    from talea.gateway.server import Gateway
    from talea.gateway.upstream import Upstream

    turns = [{"content": TEXT, "repeat": True}]
    player = Player(Cassette.model_validate({"talea_cassette": 1, "tasks": {"notes": turns}}))
    with ExitStack() as stack:
        server = stack.enter_context(Gateway(player))
        if passed_on:
            target = Endpoint("p", "m", server.base_url("notes", "writer"), lambda: "a-key-of-some")
            server = stack.enter_context(Gateway(Upstream()))
            url = server.open("run", {"": target}).base_url("notes", "writer")
        else:
            url = server.base_url("notes", "writer")
        assert server._running is not None
        clock = time.pthread_getcpuclockid(server._running.thread.ident or 0)

        async def run() -> tuple[float, int]:
            await work(url, WARMING)
            start = time.clock_gettime(clock)
            chunks = await work(url, CALLS)
            return time.clock_gettime(clock) - start, chunks

        spent, chunks = asyncio.run(run())
        ended = [seen for seen in server.log if seen.status == 200 and seen.error is None]
        assert len(ended) == WARMING + CALLS
    return spent / CALLS * 1e3, chunks / CALLS


async def _one_after_another(url: str, count: int) -> int:
    async with _client(url) as client:
        for _ in range(count):
            answer = await client.chat.completions.create(**ASKED)
            assert answer.choices[0].message.content == TEXT
    return 0


async def _stream_by_stream(url: str, count: int) -> int:
    async with _client(url) as client:
        return sum([await _stream(client) for _ in range(count)])


async def _streams_at_once(url: str, count: int) -> int:
    async with _client(url) as client:
        return sum(await asyncio.gather(*(_stream(client) for _ in range(count))))


async def _stream(client: Any) -> int:
    stream = await client.chat.completions.create(**ASKED, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    return len(chunks)


def _client(url: str) -> Any:
    from openai import AsyncOpenAI

    return AsyncOpenAI(api_key="none", base_url=url, max_retries=0, timeout=60)
