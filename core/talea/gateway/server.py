"""The gateway: a loopback server that stands between every framework's model client and a model.

It speaks OpenAI's chat completions, so that each framework's own client is what runs. The path of a
request says whose call it is:
`/run/<token>/at/<task address>/agent/<agent>/v1/chat/completions`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, Self
from urllib.parse import quote, unquote

from pydantic import ValidationError

from talea.gateway.cassette import Turn
from talea.gateway.chat import NO_RETRY, Call, ChatRequest, Rejection
from talea.gateway.http1 import (
    HEAD_LIMIT,
    ProtocolError,
    Request,
    format_chunk,
    format_head,
    read_request,
)

READ_TIMEOUT = 60.0
"""Seconds in which a client has to send a request, its silence before it included."""
FAREWELL = 1.0
"""Seconds a client is given to read the last answer before its connection is cut."""

_ROUTE = re.compile(r"/run/([\w-]+)/at/([^/]+)/agent/([^/]+)/v1/(chat/completions|models)")
_METHODS = {"chat/completions": "POST", "models": "GET"}
_MODELS = {
    "object": "list",
    "data": [{"id": "talea", "object": "model", "created": 0, "owned_by": "talea"}],
}
_GARBAGE = b"<html><body>502 Bad Gateway {{{"
_CHARACTERS_PER_TOKEN = 4


class Answerer(Protocol):
    """What gives the answers. It is called in the gateway's own thread, and must not block."""

    def answer(self, call: Call) -> Turn:
        """Answer a call; raises Rejection to have an HTTP error sent instead."""
        ...


@dataclass(slots=True)
class Exchange:
    """A call as the gateway saw it; it is logged as it arrives and completed as it is answered.

    `turn` counts from 1 for each run, address and agent. `status` is 0 while there is no answer,
    and stays so if the client leaves first. `duration` is in seconds, up to the answer's end.
    """

    run: str | None
    address: str
    agent: str
    turn: int
    model: str
    stream: bool
    user_agent: str
    prompt_characters: int
    tools_offered: tuple[str, ...]
    tools_called: tuple[str, ...] = ()
    status: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    duration: float = 0.0
    began: float = field(default_factory=time.monotonic, repr=False)

    def end(self, status: int) -> None:
        """Complete the record. It comes before the last byte, so that a client finds it whole."""
        self.status = status
        self.duration = time.monotonic() - self.began


@dataclass(slots=True, frozen=True)
class _Service:
    """What the gateway's thread tells the others once it listens."""

    port: int
    stop: Callable[[], object]


class Gateway:
    """A server on a random loopback port, with a thread and an event loop of its own.

    So code that blocks the caller's loop does not starve it. Use it as a context manager, plain or
    async, or call `start` and `close`. `log` has every call in the order of arrival.
    """

    def __init__(self, answerer: Answerer) -> None:
        self.log: list[Exchange] = []
        self._answerer = answerer
        self._tokens: dict[str | None, str] = {}
        self._runs: dict[str, str | None] = {}
        self._turns: Counter[tuple[str | None, str, str]] = Counter()
        self._thread: threading.Thread | None = None
        self._service: _Service | None = None

    def start(self) -> None:
        """Listen. Raises RuntimeError if it does already, OSError if no port can be had."""
        if self._thread is not None:
            raise RuntimeError("the gateway is running already")
        ready = Future[_Service]()
        thread = threading.Thread(target=_run, args=(self, ready), name="talea-gateway", daemon=True)
        thread.start()
        self._service = ready.result()
        self._thread = thread

    def close(self) -> None:
        """Cut every connection and wait for the thread to end; harmless when it has ended."""
        thread, service = self._thread, self._service
        self._thread = self._service = None
        if thread is not None and service is not None:
            service.stop()
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def base_url(self, address: str, agent: str, run: str | None = None) -> str:
        """Give the `base_url` for the model client of one agent at one task address.

        It holds the run's secret token. Raises RuntimeError if the gateway is not running.
        """
        if self._service is None:
            raise RuntimeError("the gateway is not running")
        token = self._tokens.setdefault(run, secrets.token_urlsafe(24))
        self._runs[token] = run
        whose = f"at/{quote(address, safe='')}/agent/{quote(agent, safe='')}"
        return f"http://127.0.0.1:{self._service.port}/run/{token}/{whose}/v1"

    async def serve(self, ready: Future[_Service]) -> None:
        """Listen on the running event loop until told to stop."""
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        clients: set[asyncio.Task[None]] = set()

        def greet(connection: _Connection) -> asyncio.Task[None] | None:
            if stopped.is_set():
                return None
            client = loop.create_task(self._converse(connection))
            clients.add(client)
            client.add_done_callback(clients.discard)
            return client

        server = await loop.create_server(lambda: _Connection(greet), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        ready.set_result(_Service(port, lambda: loop.call_soon_threadsafe(stopped.set)))
        await stopped.wait()
        server.close()
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await server.wait_closed()

    async def _converse(self, connection: _Connection) -> None:
        reader, writer = connection.reader, connection.writer
        try:
            while await self._serve_request(reader, writer):
                pass
            # A socket that is closed with unread data resets, and the client may lose the answer.
            writer.write_eof()
            async with asyncio.timeout(FAREWELL):
                while await reader.read(HEAD_LIMIT):
                    pass
        except (asyncio.IncompleteReadError, TimeoutError, OSError):
            pass  # The client went away, or was silent for too long.
        finally:
            writer.transport.abort()

    async def _serve_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request and say whether the connection goes on."""
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                request = await read_request(reader, writer)
        except ProtocolError as error:
            await _send_error(writer, Rejection(error.status, "malformed_request", error.message))
            return False
        try:
            whole = await self._route(request, writer)
        except Rejection as rejection:
            await _send_error(writer, rejection)
            whole = True
        return whole and request.keeps_alive

    async def _route(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        route = _ROUTE.fullmatch(request.path)
        if route is None or route[1] not in self._runs:
            raise Rejection(404, "not_found", "no such path; a run's secret token is part of it")
        token, address, agent, endpoint = route.groups()
        if request.method != _METHODS[endpoint]:
            raise Rejection(405, "method_not_allowed", f"{endpoint} takes {_METHODS[endpoint]}")
        if endpoint == "models":
            await _send_json(writer, 200, _MODELS)
            return True
        chat = _read_chat(request.body)
        call = Call(self._runs[token], unquote(address), unquote(agent), chat)
        exchange = self._record(call, request.headers.get("user-agent", ""))
        try:
            return await self._answer(call, exchange, writer)
        except Rejection as rejection:
            exchange.end(rejection.status)
            raise

    def _record(self, call: Call, user_agent: str) -> Exchange:
        whose = (call.run, call.address, call.agent)
        self._turns[whose] += 1
        chat = call.request
        exchange = Exchange(
            *whose,
            turn=self._turns[whose],
            model=chat.model,
            stream=bool(chat.stream),
            user_agent=user_agent,
            prompt_characters=chat.prompt_characters,
            tools_offered=tuple(tool.function.name for tool in chat.tools or ()),
        )
        self.log.append(exchange)
        return exchange

    async def _answer(self, call: Call, exchange: Exchange, writer: asyncio.StreamWriter) -> bool:
        """Send an answer, or what comes in its place; say whether all of it was sent."""
        turn = self._ask(call)
        fault = turn.fault
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.hang:
                await asyncio.Event().wait()  # Until the client leaves or the gateway is closed.
            if fault.status is not None:
                after = fault.retry_after
                headers = {} if after is None else {"retry-after": f"{after:g}"}
                raise Rejection(fault.status, "injected", "a fault of the cassette", headers)
        reply = _Reply(turn, call.request, exchange)
        if fault is not None and fault.garbage:
            pieces = [_GARBAGE]
        else:
            pieces = list(reply.events() if exchange.stream else reply.body())
        dropped = fault is not None and fault.drop
        send = _send_events if exchange.stream else _send_body
        await send(writer, exchange, pieces, dropped=dropped)
        return not dropped

    def _ask(self, call: Call) -> Turn:
        try:
            turn = self._answerer.answer(call)
        except Rejection:
            raise
        except Exception as error:
            # Without an answer the client would try again and again, and never say why.
            message = f"the answerer failed: {type(error).__name__}: {error}"
            raise Rejection(500, "internal", message) from error
        for name in ("delegate", "handoff"):
            if getattr(turn, name) is not None:
                raise Rejection(400, "not_supported", f"{name!r} in a cassette: not supported yet")
        return turn
