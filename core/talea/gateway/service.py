"""What the gateway does with a request: whose call it is, who answers, and how that is sent."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from asyncio import StreamWriter
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote, unquote

from talea.adapter import Endpoint
from talea.gateway.cassette import Fault, TokenUsage, Turn
from talea.gateway.chat import Call, ChatRequest, Rejection
from talea.gateway.forms import end_mark, make_body, make_stream, read_request
from talea.gateway.http1 import Request, format_chunk, format_head
from talea.gateway.meter import Exchange, Meter
from talea.gateway.reply import Reply, make_reply
from talea.gateway.responses import Conversations, ResponsesRequest
from talea.gateway.upstream import Broken, Upstream

ADDRESS, AGENT = "call", "model"
"""Whose a call is where its path does not say so."""

_ROUTE = re.compile(
    r"/run/([\w-]+)/(?:(log)|(?:at/([^/]+)/agent/([^/]+)/)?v1/(chat/completions|responses|models))"
)
_METHODS = {"chat/completions": "POST", "responses": "POST", "models": "GET", "log": "GET"}
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


@dataclass(slots=True, eq=False)
class Passage:
    """What a secret token of a path stands for: a run, and where its agents are really asked."""

    run: str | None
    targets: Mapping[str, Endpoint]
    log: list[Exchange] = field(default_factory=list[Exchange])


class Service:
    """Answers requests; it lives in the gateway's own thread."""

    def __init__(self, source: Answerer | Upstream, meter: Meter) -> None:
        self.source = source
        self.meter = meter
        self.passages: dict[str, Passage] = {}
        self._conversations = Conversations()
        self._turns: Counter[tuple[str | None, str, str]] = Counter()

    def open(self, run: str | None, targets: Mapping[str, Endpoint]) -> str:
        """Let a run in; give its token."""
        token = secrets.token_urlsafe(24)
        self.passages[token] = Passage(run, targets)
        return token

    async def close(self) -> None:
        """Leave nothing open."""
        if isinstance(self.source, Upstream):
            await self.source.close()

    async def answer(self, request: Request, writer: StreamWriter) -> bool:
        """Answer a request; say whether all of the answer was sent. Raises Rejection."""
        route = _ROUTE.fullmatch(request.path)
        if route is None or route[1] not in self.passages:
            raise Rejection(404, "not_found", "no such path; a run's secret token is part of it")
        passage, form = self.passages[route[1]], route[2] or route[5]
        if request.method != _METHODS[form]:
            raise Rejection(405, "method_not_allowed", f"{form} takes {_METHODS[form]}")
        if form == "models":
            await send(writer, 200, json.dumps(_MODELS).encode())
            return True
        if form == "log":
            log = [exchange.as_json() for exchange in passage.log]
            await send(writer, 200, json.dumps(log).encode())
            return True
        chat = read_request(form, request.body)
        if isinstance(chat, ResponsesRequest) and not isinstance(self.source, Upstream):
            chat = self._conversations.recall(passage.run, chat)
        address, agent = unquote(route[3] or ADDRESS), unquote(route[4] or AGENT)
        whose = (passage.run, address, agent)
        self._turns[whose] += 1
        call = Call(*whose, self._turns[whose], chat, form, request.body)
        exchange = self.meter.begin(call, request.headers.get("user-agent", ""))
        passage.log.append(exchange)
        try:
            return await self._answer(call, exchange, passage, writer)
        except Rejection as rejection:
            exchange.error = exchange.error or rejection.message
            fault = Fault(status=rejection.status)
            self.meter.end(exchange, rejection.status, Turn(fault=fault))
            raise

    async def _answer(
        self, call: Call, exchange: Exchange, passage: Passage, writer: StreamWriter
    ) -> bool:
        """Send an answer, or what comes in its place; say whether all of it was sent."""
        if isinstance(self.source, Upstream):
            endpoint = _target(passage, call)
            return await self._pass_on(self.source, call, endpoint, exchange, writer)
        turn = self._ask(self.source, call)
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
        if isinstance(call.request, ResponsesRequest):
            self._conversations.keep(call.run, call.request, reply)
        used = TokenUsage(
            input_tokens=reply.input_tokens, output_tokens=reply.output_tokens, cost=reply.cost
        )
        turn = turn.model_copy(update={"usage": used})
        exchange.begin_answer()
        exchange.tell(turn)
        if exchange.stream:
            events = _events(call.request, reply, fault)
            return await self._send_stream(writer, exchange, turn, events, dropped=fault.drop)
        body = _body(call.request, reply, fault)
        self.meter.end(exchange, 200, turn)
        await send(writer, 200, body, sent=len(body) // 2 if fault.drop else None)
        return not fault.drop

    def _ask(self, source: Answerer, call: Call) -> Turn:
        try:
            turn = source.answer(call)
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

    async def _pass_on(
        self,
        upstream: Upstream,
        call: Call,
        endpoint: Endpoint,
        exchange: Exchange,
        writer: StreamWriter,
    ) -> bool:
        """Let the model's own server answer, piece by piece."""
        async with upstream.forward(call, endpoint) as answer:
            exchange.begin_answer()
            head = {**answer.headers, "transfer-encoding": "chunked"}
            writer.write(format_head(answer.status, head))
            try:
                async for piece in answer.pieces:
                    writer.write(format_chunk(piece))
                    await writer.drain()
            except Broken as broken:
                exchange.error = str(broken)
                self._end(exchange, answer.status, answer.turn)
                return False
            # It comes before the last byte, so that a client finds the record whole.
            self._end(exchange, answer.status, answer.turn)
            writer.write(format_chunk(b""))
            await writer.drain()
        return True

    def _end(self, exchange: Exchange, status: int, turn: Turn) -> None:
        exchange.tell(turn)
        if turn.fault is not None and turn.fault.garbage:
            exchange.error = exchange.error or "the model's server sent no chat completion"
        self.meter.end(exchange, status, turn)

    async def _send_stream(
        self,
        writer: StreamWriter,
        exchange: Exchange,
        turn: Turn,
        events: Iterable[bytes],
        *,
        dropped: bool,
    ) -> bool:
        """Send server-sent events, each as a chunk of its own; say whether the end was sent."""
        head = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        writer.write(format_head(200, head))
        for event in events:
            writer.write(format_chunk(event))
            await writer.drain()
        self.meter.end(exchange, 200, turn)
        if not dropped:
            writer.write(format_chunk(b""))
            await writer.drain()
        return not dropped


def _target(passage: Passage, call: Call) -> Endpoint:
    found = passage.targets.get(call.agent) or passage.targets.get("")
    if found is None:
        raise Rejection(404, "unknown_agent", f"no model is known for agent {call.agent!r}")
    return found


def path_of(token: str, address: str, agent: str) -> str:
    """Give the path of the `base_url` for one agent at one task address."""
    return f"/run/{token}/at/{quote(address, safe='')}/agent/{quote(agent, safe='')}/v1"


def _body(request: ChatRequest, reply: Reply, fault: Fault) -> bytes:
    if fault.garbage:
        return _GARBAGE
    body = make_body(request, reply)
    return body[: len(body) // 2] if fault.truncated else body


def _events(request: ChatRequest, reply: Reply, fault: Fault) -> Iterator[bytes]:
    if fault.garbage:
        return iter([b"data: %b\n\n" % _GARBAGE])
    events = list(make_stream(request, reply))
    if fault.drop or fault.truncated:
        events = events[: len(events) // 2 + 1]
    if fault.truncated:
        events[-1] = events[-1][: len(events[-1]) // 2] + b"\n\n"
    return iter(events if fault.drop else [*events, *end_mark(request)])


async def send(
    writer: StreamWriter,
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


async def send_error(writer: StreamWriter, rejection: Rejection, *, last: bool = False) -> None:
    """Send an error as OpenAI's clients read it."""
    error = {"message": rejection.message, "type": rejection.code, "code": rejection.code}
    body = json.dumps({"error": {**error, "param": None}}).encode()
    headers = {**rejection.headers, **({"connection": "close"} if last else {})}
    await send(writer, rejection.status, body, headers)
