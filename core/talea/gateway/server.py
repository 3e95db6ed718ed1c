"""The gateway: a loopback server that stands between every framework's model client and a model.

It speaks OpenAI's API, so that each framework's own client is what runs. The path of a request says
whose call it is: `/run/<token>/at/<task address>/agent/<agent>/v1/chat/completions`.

The HTTP is its own (`http1`), small enough to be read in one sitting: an offline run has to work
where nothing but the core is installed, and the core needs no web framework for anything else.
"""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Self

from talea.adapter import Endpoint
from talea.gateway.account import Account
from talea.gateway.chat import Rejection
from talea.gateway.faults import FaultRules
from talea.gateway.http1 import HEAD_LIMIT, ProtocolError, read_request
from talea.gateway.meter import Exchange, Listener, Meter
from talea.gateway.service import Answerer, Service, path_of, send_error
from talea.gateway.upstream import Upstream

READ_TIMEOUT = 60.0
"""Seconds in which a client has to send a request, its silence before it included."""
FAREWELL = 1.0
"""Seconds a client is given to read the last answer before its connection is cut."""


@dataclass(slots=True, frozen=True)
class Door:
    """A run's way into a gateway, in this process or another one: an address with a secret."""

    origin: str
    token: str

    @property
    def url(self) -> str:
        """The address under which any client may call, as nobody in particular."""
        return f"{self.origin}/run/{self.token}/v1"

    @classmethod
    def at(cls, url: str) -> Door:
        """Find the door again by its address."""
        origin, _, rest = url.partition("/run/")
        return cls(origin, rest.partition("/")[0])

    def base_url(self, address: str, agent: str) -> str:
        """Give the `base_url` for the model client of one agent at one task address."""
        return self.origin + path_of(self.token, address, agent)

    def log(self) -> list[Exchange]:
        """Ask the gateway what came in by this door. Raises OSError if it is gone."""
        address = f"{self.origin}/run/{self.token}/log"
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(address, timeout=READ_TIMEOUT) as answer:
            return [Exchange.from_json(one) for one in json.load(answer)]


@dataclass(slots=True, frozen=True)
class _Running:
    """What the gateway's thread tells the others once it listens."""

    thread: threading.Thread
    port: int
    stop: Callable[[], object]


class Gateway:
    """A server on a loopback port, with a thread and an event loop of its own.

    So code that blocks the caller's loop does not starve it. Use it as a context manager, plain or
    async, or call `start` and `close`, as often as needed. `log` has every call in the order of
    arrival. `faults` say at which calls something goes wrong, whoever answers. `port` 0 is any that
    is free.
    """

    def __init__(
        self,
        source: Answerer | Upstream,
        *,
        faults: FaultRules | None = None,
        save_prompts: bool = False,
        port: int = 0,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self.meter = Meter(save_prompts=save_prompts)
        self._service = Service(source, self.meter, faults)
        self._port = port
        self._read_timeout = read_timeout
        self._doors: dict[str | None, Door] = {}
        self._running: _Running | None = None

    @property
    def log(self) -> list[Exchange]:
        """Every call, in the order of arrival."""
        return self.meter.log

    def subscribe(self, listener: Listener) -> None:
        """Have something told of each call that has ended, in the gateway's thread."""
        self.meter.subscribe(listener)

    def start(self) -> None:
        """Listen. Raises RuntimeError if it does already, OSError if the port cannot be had."""
        if self._running is not None:
            raise RuntimeError("the gateway is running already")
        ready: Future[_Running] = Future()
        threading.Thread(
            target=self._live, args=(ready,), name="talea-gateway", daemon=True
        ).start()
        self._running = ready.result()

    def close(self) -> None:
        """Cut every connection and wait for the thread to end; harmless when it has ended."""
        running, self._running = self._running, None
        self._doors.clear()
        if running is not None:
            running.stop()
            running.thread.join()

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

    def open(
        self,
        run: str | None = None,
        targets: Mapping[str, Endpoint] | None = None,
        account: Account | None = None,
    ) -> Door:
        """Let a run in. `targets` say, for an upstream, where each agent is really asked; `""` is
        for all others. `account` bounds what the run may use, by all of its doors. Raises
        RuntimeError if the gateway is not running."""
        if self._running is None:
            raise RuntimeError("the gateway is not running")
        token = self._service.open(run, targets or {}, account)
        return Door(f"http://127.0.0.1:{self._running.port}", token)

    def base_url(self, address: str, agent: str, run: str | None = None) -> str:
        """Give the `base_url` for one agent at one task address, by one door for each run."""
        if run not in self._doors:
            self._doors[run] = self.open(run)
        return self._doors[run].base_url(address, agent)

    def seen(self, door: Door) -> list[Exchange]:
        """List what came in by a door."""
        return list(self._service.passages[door.token].log)

    def _live(self, ready: Future[_Running]) -> None:
        """Be the gateway's thread."""
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, ready: Future[_Running]) -> None:
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

        server = await loop.create_server(lambda: _Connection(greet), "127.0.0.1", self._port)
        port = server.sockets[0].getsockname()[1]

        def stop() -> None:
            loop.call_soon_threadsafe(stopped.set)

        ready.set_result(_Running(threading.current_thread(), port, stop))
        await stopped.wait()
        server.close()
        for connection in connections:
            connection.writer.transport.abort()  # Its end cancels the conversation.
        await asyncio.gather(*connections.values(), return_exceptions=True)
        await self._service.close()
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
            await send_error(writer, rejection, last=True)
            return False
        try:
            whole = await self._service.answer(request, writer)
        except Rejection as rejection:
            await send_error(writer, rejection)
            whole = True
        return whole and request.keeps_alive


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
