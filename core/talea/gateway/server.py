"""The gateway: a loopback server that stands between every framework's model client and a model.

It speaks OpenAI's chat completions, so that each framework's own client is what runs. The path of a
request says whose call it is:
`/run/<token>/at/<task address>/agent/<agent>/v1/chat/completions`.

The HTTP is its own (`http1`), small enough to be read in one sitting: an offline run has to work
where nothing but the core is installed, and the core needs no web framework for anything else.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, Self
from urllib.parse import quote, unquote

from pydantic import ValidationError

from talea.gateway.cassette import Fault, Turn
from talea.gateway.chat import Call, ChatRequest, Rejection
from talea.gateway.http1 import (
    HEAD_LIMIT,
    ProtocolError,
    Request,
    format_chunk,
    format_head,
    read_request,
)
from talea.gateway.reply import Reply, make_reply

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
_NO_FAULT = Fault.model_construct()


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
    `cost` is in US dollars, None where it is not known.
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
    cost: float | None = None
    duration: float = 0.0
    began: float = field(default_factory=time.monotonic, repr=False)

    def tell(self, reply: Reply) -> None:
        """Note what the answer holds."""
        self.tools_called = tuple(name for _, name, _ in reply.tool_calls)
        self.input_tokens, self.output_tokens = reply.input_tokens, reply.output_tokens
        self.cost = reply.cost

    def end(self, status: int) -> None:
        """Complete the record. It comes before the last byte, so that a client finds it whole."""
        self.status = status
        self.duration = time.monotonic() - self.began


@dataclass(slots=True, frozen=True)
class _Service:
    """What the gateway's thread tells the others once it listens."""

    thread: threading.Thread
    port: int
    stop: Callable[[], object]


class Gateway:
    """A server on a random loopback port, with a thread and an event loop of its own.

    So code that blocks the caller's loop does not starve it. Use it as a context manager, plain or
    async, or call `start` and `close`, as often as needed. `log` has every call in the order of
    arrival.
    """

    def __init__(self, answerer: Answerer, *, read_timeout: float = READ_TIMEOUT) -> None:
        self.log: list[Exchange] = []
        self._answerer = answerer
        self._read_timeout = read_timeout
        self._tokens: dict[str | None, str] = {}
        self._runs: dict[str, str | None] = {}
        self._turns: Counter[tuple[str | None, str, str]] = Counter()
        self._service: _Service | None = None

    def start(self) -> None:
        """Listen. Raises RuntimeError if it does already, OSError if no port can be had."""
        if self._service is not None:
            raise RuntimeError("the gateway is running already")
        ready: Future[_Service] = Future()
        threading.Thread(
            target=self._live, args=(ready,), name="talea-gateway", daemon=True
        ).start()
        self._service = ready.result()

    def close(self) -> None:
        """Cut every connection and wait for the thread to end; harmless when it has ended."""
        service, self._service = self._service, None
        if service is not None:
            service.stop()
            service.thread.join()

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

    def _live(self, ready: Future[_Service]) -> None:
        """Be the gateway's thread."""
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, ready: Future[_Service]) -> None:
        """Listen until told to stop, then leave nothing open."""
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        connections: dict[_Connection, asyncio.Task[None]] = {}

        def greet(connection: _Connection) -> None:
            if stopped.is_set():
                connection.writer.transport.abort()
                return
            conversation = self._converse(connection.reader, connection.writer)
            connections[connection] = task = connection.begin(conversation)
            task.add_done_callback(lambda _: connections.pop(connection))

        server = await loop.create_server(lambda: _Connection(greet), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        def stop() -> None:
            loop.call_soon_threadsafe(stopped.set)

        ready.set_result(_Service(threading.current_thread(), port, stop))
        await stopped.wait()
        server.close()
        for connection in connections:
            connection.writer.transport.abort()  # Its end cancels the conversation.
        await asyncio.gather(*connections.values(), return_exceptions=True)
        await server.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
            async with asyncio.timeout(self._read_timeout):
                request = await read_request(reader, writer)
        except ProtocolError as error:
            rejection = Rejection(error.status, "malformed_request", error.message)
            await _send_error(writer, rejection, last=True)
            return False
        try:
            whole = await self._route(request, writer)
        except Rejection as rejection:
            await _send_error(writer, rejection)
            whole = True
        return whole and request.keeps_alive

    async def _route(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer a request; say whether all of the answer was sent. Raises Rejection."""
        route = _ROUTE.fullmatch(request.path)
        if route is None or route[1] not in self._runs:
            raise Rejection(404, "not_found", "no such path; a run's secret token is part of it")
        token, address, agent, endpoint = route.groups()
        if request.method != _METHODS[endpoint]:
            raise Rejection(405, "method_not_allowed", f"{endpoint} takes {_METHODS[endpoint]}")
        if endpoint == "models":
            await _send(writer, 200, json.dumps(_MODELS).encode())
            return True
        chat = _read_chat(request.body)
        whose = (self._runs[token], unquote(address), unquote(agent))
        self._turns[whose] += 1
        call = Call(*whose, self._turns[whose], chat)
        exchange = self._log(call, request.headers.get("user-agent", ""))
        try:
            return await self._answer(call, exchange, writer)
        except Rejection as rejection:
            exchange.end(rejection.status)
            raise

    def _log(self, call: Call, user_agent: str) -> Exchange:
        chat = call.request
        exchange = Exchange(
            run=call.run,
            address=call.address,
            agent=call.agent,
            turn=call.turn,
            model=chat.model,
            stream=bool(chat.stream),
            user_agent=user_agent,
            prompt_characters=chat.prompt_characters,
            tools_offered=chat.tool_names,
        )
        self.log.append(exchange)
        return exchange

    async def _answer(self, call: Call, exchange: Exchange, writer: asyncio.StreamWriter) -> bool:
        """Send an answer, or what comes in its place; say whether all of it was sent."""
        turn = self._ask(call)
        fault = turn.fault or _NO_FAULT
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.hang:
            await asyncio.Event().wait()  # Until the client leaves or the gateway is closed.
        if fault.status is not None:
            after = fault.retry_after
            headers = {} if after is None else {"retry-after": f"{after:g}"}
            raise Rejection(fault.status, "injected", "a fault of the cassette", headers)
        reply = make_reply(call, turn)
        exchange.tell(reply)
        if exchange.stream:
            events = _events(reply, fault, with_usage=call.request.include_usage)
            return await _send_stream(writer, exchange, events, dropped=fault.drop)
        body = _body(reply, fault)
        exchange.end(200)
        await _send(writer, 200, body, sent=len(body) // 2 if fault.drop else None)
        return not fault.drop

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


class _Connection(asyncio.StreamReaderProtocol):
    """A client's connection. Its conversation is cancelled as soon as the client has gone."""

    writer: asyncio.StreamWriter

    def __init__(self, greet: Callable[[_Connection], None]) -> None:
        self.reader = asyncio.StreamReader(HEAD_LIMIT)
        self._greet = greet
        self._conversation: asyncio.Task[None] | None = None
        super().__init__(self.reader, self._connected)

    def _connected(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._greet(self)

    def begin(self, conversation: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Hold a conversation with the client."""
        self._conversation = asyncio.get_running_loop().create_task(conversation)
        return self._conversation

    def eof_received(self) -> bool:
        """Take a client that has nothing more to say as gone: none waits with a half-open line."""
        super().eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the client."""
        super().connection_lost(exc)
        if self._conversation is not None:
            self._conversation.cancel()


def _read_chat(body: bytes) -> ChatRequest:
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = f"{place}: {first['msg']}" if place else first["msg"]
        raise Rejection(400, "invalid_request", message) from None


def _body(reply: Reply, fault: Fault) -> bytes:
    if fault.garbage:
        return _GARBAGE
    body = reply.completion()
    return body[: len(body) // 2] if fault.truncated else body


def _events(reply: Reply, fault: Fault, *, with_usage: bool) -> Iterator[bytes]:
    if fault.garbage:
        return iter([_GARBAGE])
    chunks = list(reply.chunks(with_usage=with_usage))
    if fault.drop or fault.truncated:
        chunks = chunks[: len(chunks) // 2 + 1]
    if fault.truncated:
        chunks[-1] = chunks[-1][: len(chunks[-1]) // 2]
    return iter(chunks if fault.drop else [*chunks, b"[DONE]"])


async def _send(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    sent: int | None = None,
) -> None:
    """Send an answer, or of its body no more than the first `sent` bytes."""
    announced = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    writer.write(format_head(status, announced) + body[:sent])
    await writer.drain()


async def _send_stream(
    writer: asyncio.StreamWriter, exchange: Exchange, events: Iterable[bytes], *, dropped: bool
) -> bool:
    """Send server-sent events, each as a chunk of its own; say whether the end was sent."""
    head = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
    writer.write(format_head(200, head))
    for event in events:
        writer.write(format_chunk(b"data: " + event + b"\n\n"))
        await writer.drain()
    exchange.end(200)
    if not dropped:
        writer.write(format_chunk(b""))
        await writer.drain()
    return not dropped


async def _send_error(
    writer: asyncio.StreamWriter, rejection: Rejection, *, last: bool = False
) -> None:
    error = {"message": rejection.message, "type": rejection.code, "code": rejection.code}
    body = json.dumps({"error": {**error, "param": None}}).encode()
    headers = {**rejection.headers, **({"connection": "close"} if last else {})}
    await _send(writer, rejection.status, body, headers)
