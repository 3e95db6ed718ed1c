"""What the gateway does with a request: whose call it is, who answers, and how that is sent."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from asyncio import StreamWriter
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast
from urllib.parse import quote, unquote

from talea.adapter import Endpoint
from talea.delegation import HEADER, Wording
from talea.gateway.account import Account
from talea.gateway.cassette import Fault, TokenUsage, Turn, split_address
from talea.gateway.chat import Call, ChatRequest, Rejection
from talea.gateway.faults import FaultRules, in_place_of_answer
from talea.gateway.forms import end_mark, make_body, make_stream, read_request
from talea.gateway.http1 import Request, format_chunk, format_head
from talea.gateway.meter import Exchange, Meter
from talea.gateway.passing import EVENT_STREAM, GARBAGE, Answer, Broken, is_end, one_by_one
from talea.gateway.reply import Reply, make_reply
from talea.gateway.responses import Conversations, ResponsesRequest
from talea.gateway.upstream import Upstream
from talea.gateway.wording import unworded

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
_JSON = "application/json"
_NO_FAULT = Fault.model_construct()
_HANGING = Turn(fault=Fault(hang=True))


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
    account: Account
    """That of the run, which may have other passages."""
    log: list[Exchange] = field(default_factory=list[Exchange])


class Service:
    """Answers requests; it lives in the gateway's own thread."""

    def __init__(
        self, source: Answerer | Upstream, meter: Meter, faults: FaultRules | None = None
    ) -> None:
        self.source = source
        self.meter = meter
        self._faults = faults
        self.passages: dict[str, Passage] = {}
        self._conversations = Conversations()
        self._turns: Counter[tuple[str | None, str, str]] = Counter()

    def open(
        self, run: str | None, targets: Mapping[str, Endpoint], account: Account | None = None
    ) -> str:
        """Let a run in; give its token."""
        token = secrets.token_urlsafe(24)
        self.passages[token] = Passage(run, targets, account or Account())
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
        if not split_address(address):
            raise Rejection(
                404,
                "not_found",
                f"{address!r} is not a task address, such as notes, notes[0] or polish#1/brief",
            )
        passage.account.check()
        whose = (passage.run, address, agent)
        self._turns[whose] += 1
        wording = _wording(request)
        call = Call(*whose, self._turns[whose], chat, form, request.body, wording)
        exchange = self.meter.begin(call, request.headers.get("user-agent", ""))
        passage.log.append(exchange)
        passage.account.begin(exchange, passage.targets.get(agent))
        try:
            return await self._answer(call, exchange, passage, writer)
        except Rejection as rejection:
            exchange.error = exchange.error or rejection.message
            # With its code and its words a replay fails as this call did.
            fault = Fault(status=rejection.status, code=rejection.code, message=rejection.message)
            self.meter.end(exchange, rejection.status, Turn(fault=fault))
            raise
        except asyncio.CancelledError:
            if not exchange.status:
                exchange.error = exchange.error or "the client left before it had the whole answer"
                self.meter.end(exchange, 0, _HANGING if exchange.fault == "hang" else None)
            raise

    async def _answer(
        self, call: Call, exchange: Exchange, passage: Passage, writer: StreamWriter
    ) -> bool:
        """Send an answer, or what comes in its place; say whether all of it was sent."""
        fault = self._faults.fault_for(call) if self._faults is not None else None
        turn = None
        if fault is not None:  # Where it answers, nobody is asked, and nothing is paid.
            turn = in_place_of_answer(fault, call, TokenUsage(cost=0.0))
        if turn is None and isinstance(self.source, Upstream):
            endpoint = _target(passage, call)
            if fault is not None:
                exchange.fault = fault.name
                await asyncio.sleep(fault.delay)
            async with self.source.forward(call, endpoint) as answer:
                return await self._pass_on(answer, fault, exchange, writer)
        if turn is None:
            turn = self._ask(cast("Answerer", self.source), call)
            if (own := turn.fault) is not None:
                fault, turn = own, in_place_of_answer(own, call, turn.usage) or turn
            else:
                turn = _befallen(turn, fault)
        if fault is not None:
            exchange.fault = fault.name
            await _wait(fault)
            if fault.status is not None:
                self.meter.end(exchange, fault.status, turn)
                await send_error(writer, _rejection(fault))
                return True
            if fault.reset:
                self.meter.end(exchange, 0, turn)
                return False
        return await self._send(call, turn, exchange, writer)

    async def _send(self, call: Call, turn: Turn, exchange: Exchange, writer: StreamWriter) -> bool:
        """Send a turn as the answer to a call; say whether all of it was sent."""
        fault = turn.fault or _NO_FAULT
        reply = make_reply(call, turn)
        if isinstance(call.request, ResponsesRequest):
            self._conversations.keep(call.run, call.request, reply)
        used = TokenUsage(
            input_tokens=reply.input_tokens, output_tokens=reply.output_tokens, cost=reply.cost
        )
        turn = turn.model_copy(update={"usage": used})
        if not exchange.stream and not (fault.drop or fault.truncated or fault.drip):
            body = GARBAGE if fault.garbage else make_body(call.request, reply)
            exchange.begin_answer()
            exchange.tell(turn)
            self.meter.end(exchange, 200, turn)
            await send(writer, 200, body, {"content-type": fault.content_type or _JSON})
            return True
        pieces = _pieces(call.request, reply, fault, stream=exchange.stream)
        kind = EVENT_STREAM if exchange.stream else _JSON
        answer = Answer(200, {"content-type": kind}, one_by_one(pieces), turn)
        return await self._pass_on(answer, turn.fault, exchange, writer)

    def _ask(self, source: Answerer, call: Call) -> Turn:
        try:
            turn = source.answer(call)
        except Rejection:
            raise
        except Exception as error:
            # Without an answer the client would try again and again, and never say why.
            message = f"the answerer failed: {type(error).__name__}: {error}"
            raise Rejection(500, "internal", message) from error
        return turn

    async def _pass_on(
        self, answer: Answer, fault: Fault | None, exchange: Exchange, writer: StreamWriter
    ) -> bool:
        """Send an answer piece by piece, or what a fault makes of it; say whether its end was
        sent."""
        if fault is not None:
            answer.disturb(fault)
        exchange.begin_answer()
        head = {**answer.headers, "transfer-encoding": "chunked"}
        writer.write(format_head(answer.status, head))
        try:
            async for piece in answer.pieces:
                if answer.is_over or is_end(piece):
                    self._end(exchange, answer, fault)
                writer.write(format_chunk(piece))
                await writer.drain()
        except Broken as broken:
            exchange.error = str(broken) or None
            self._end(exchange, answer, fault)
            return False
        self._end(exchange, answer, fault)
        writer.write(format_chunk(b""))
        await writer.drain()
        return True

    def _end(self, exchange: Exchange, answer: Answer, fault: Fault | None) -> None:
        """Complete the record, if it is not, before a client has all: then it finds it whole."""
        if exchange.status:
            return
        turn = _befallen(unworded(answer.turn, answer.wording), fault)
        exchange.tell(turn)
        if turn.fault is not None and turn.fault.garbage:
            exchange.error = exchange.error or "the model's server sent no chat completion"
        self.meter.end(exchange, answer.status, turn)


def _wording(request: Request) -> Wording | None:
    """Read how the framework that asks delegates. Raises Rejection for what is no such header."""
    header = request.headers.get(HEADER)
    if header is None:
        return None
    try:
        return Wording.loads(header)
    except ValueError as error:
        raise Rejection(400, "invalid_request", f"the header {HEADER}: {error}") from error


def _target(passage: Passage, call: Call) -> Endpoint:
    found = passage.targets.get(call.agent) or passage.targets.get("")
    if found is None:
        raise Rejection(404, "unknown_agent", f"no model is known for agent {call.agent!r}")
    return found


def path_of(token: str, address: str, agent: str) -> str:
    """Give the path of the `base_url` for one agent at one task address."""
    return f"/run/{token}/at/{quote(address, safe='')}/agent/{quote(agent, safe='')}/v1"


def _befallen(turn: Turn, fault: Fault | None) -> Turn:
    """Give an answer with the fault that befalls it on its way, where it has none of its own."""
    if fault is None or turn.fault is not None:
        return turn
    return turn.model_copy(update={"fault": fault})


async def _wait(fault: Fault) -> None:
    """Wait as long as a fault lets a client wait for the first byte."""
    if fault.delay:
        await asyncio.sleep(fault.delay)
    if fault.hang:
        await asyncio.Event().wait()  # Until the client leaves or the gateway is closed.


def _rejection(fault: Fault) -> Rejection:
    assert fault.status is not None
    headers = {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}
    if fault.content_type is not None:
        headers["content-type"] = fault.content_type
    words = fault.message or "a fault that was asked for"
    return Rejection(fault.status, fault.code or "injected", words, headers)


def _pieces(request: ChatRequest, reply: Reply, fault: Fault, *, stream: bool) -> list[bytes]:
    """Give the body; of a stream, event by event."""
    if not stream:
        return [GARBAGE if fault.garbage else make_body(request, reply)]
    if fault.garbage:
        # Said to be something else, it is no stream either.
        return [GARBAGE if fault.content_type else b"data: %b\n\n" % GARBAGE]
    return [*make_stream(request, reply), *end_mark(request)]


async def send(
    writer: StreamWriter, status: int, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """Send an answer."""
    announced = {"content-type": _JSON, "content-length": str(len(body)), **(headers or {})}
    writer.write(format_head(status, announced) + body)
    await writer.drain()


async def send_error(writer: StreamWriter, rejection: Rejection, *, last: bool = False) -> None:
    """Send an error as OpenAI's clients read it."""
    error = {"message": rejection.message, "type": rejection.code, "code": rejection.code}
    body = json.dumps({"error": {**error, "param": None}}).encode()
    headers = {**rejection.headers, **({"connection": "close"} if last else {})}
    await send(writer, rejection.status, body, headers)
