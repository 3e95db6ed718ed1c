"""The model's real server: a call is passed on to it with the key, and read on its way back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from talea.adapter import Endpoint
from talea.errors import TaskError, UsageError
from talea.failures import UNREACHABLE, root_of
from talea.gateway.answers import (
    GARBAGE,
    begin_stream,
    read_answer,
    read_failure,
    read_json,
)
from talea.gateway.cassette import Fault, Turn
from talea.gateway.chat import CHAT, Call, Rejection
from talea.gateway.passing import EVENT_STREAM, Answer, Broken, is_end, one_by_one

if TYPE_CHECKING:
    import httpx

_PASSED = ("content-type", "retry-after", "x-should-retry", "x-request-id")
"""Headers of an answer that reach the client."""
_CONNECT = 30.0
"""Seconds to reach a server; how long its answer may take, the client knows."""
_LARGEST = 32 * 1024 * 1024
"""Bytes of an answer, or of a stream's event, that are kept."""
_LONGEST_WAIT = 86_400.0
_SHORTEST_KEY = 8
"""A shorter one would blot out words that only look like it."""
_WITHOUT_BODY = (204, 205)
_EVENT_END = re.compile(rb"\n\r?\n|\r\r")
_LOCAL = ("all://127.0.0.1", "all://localhost", "all://[::1]")


class Upstream:
    """Passes calls on. Its connections belong to the gateway's event loop."""

    def __init__(self) -> None:
        try:
            import httpx
        except ImportError as error:
            raise UsageError(
                "the gateway cannot ask a model's server: httpx is not installed",
                "pip install 'talea[gateway]'",
            ) from error
        self._httpx = httpx
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @property
    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            httpx = self._httpx
            # What is on this machine is reached directly, whatever proxy the environment names.
            direct: dict[str, httpx.AsyncBaseTransport | None] = dict.fromkeys(_LOCAL)
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(None, connect=_CONNECT),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=50),
                follow_redirects=False,  # They would lead prompts and the key elsewhere.
                mounts=direct,
            )
        return self._client

    @asynccontextmanager
    async def forward(self, call: Call, endpoint: Endpoint) -> AsyncGenerator[Answer]:
        """Pass a call on. Raises Rejection where the server cannot be reached, or answers with
        nothing that a client could read."""
        key = _key(endpoint)
        request = self._request(call, endpoint, key)
        host = urlsplit(str(request.url)).netloc
        try:
            response = await self._http.send(request, stream=True)
        except self._httpx.HTTPError as error:
            message = f"the model's server at {host} cannot be reached: {root_of(error)}"
            raise Rejection(502, UNREACHABLE, message) from error
        try:
            if 300 <= response.status_code < 400:
                message = f"the model's server at {host} redirects, which is not followed"
                raise Rejection(502, "redirected", message)
            if response.status_code in _WITHOUT_BODY:
                message = f"the model's server at {host} answered without a word"
                raise Rejection(502, "no_answer", message)
            yield self._answer(call, response, key)
        finally:
            await response.aclose()

    def _request(self, call: Call, endpoint: Endpoint, key: str | None) -> httpx.Request:
        """Make the request: the client's own body, and no header of the client's but its kind."""
        assert endpoint.base_url is not None
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        headers |= endpoint.headers
        if key:
            headers["authorization"] = f"Bearer {key}"
        url = f"{endpoint.base_url.rstrip('/')}/{call.form}"
        return self._http.build_request("POST", url, headers=headers, content=_body(call))

    def _answer(self, call: Call, response: httpx.Response, key: str | None) -> Answer:
        headers = {
            name: value if key is None else value.replace(key, "***")
            for name in _PASSED
            if (value := response.headers.get(name)) and value.isascii()
        }
        answer = Answer(response.status_code, headers, one_by_one(()), GARBAGE, call.wording)
        pieces = self._bytes(response)
        if not response.is_success:
            answer.pieces = _failure(pieces, answer, key)
        elif headers.get("content-type", "").lower().startswith(EVENT_STREAM):
            answer.pieces = _events(pieces, answer, call, key)
        else:
            answer.pieces = _whole(pieces, answer, call, key)
        return answer

    async def _bytes(self, response: httpx.Response) -> AsyncGenerator[bytes]:
        try:
            async for piece in response.aiter_bytes():
                yield piece
        except self._httpx.HTTPError as error:
            raise Broken(f"the model's server broke off: {error}") from error


def _key(endpoint: Endpoint) -> str | None:
    """Read the key. Raises Rejection for one that is missing, or that no header can carry."""
    try:
        key = endpoint.key()
    except TaskError as error:
        raise Rejection(401, "no_key", error.message) from error
    if key and not (key.isascii() and key.isprintable()):
        raise Rejection(401, "no_key", "the key holds characters that no header can carry")
    return key


def _without(key: str | None, data: bytes) -> bytes:
    """Blot the key out: a server may repeat it, and no client is to see it."""
    if key is None or len(key) < _SHORTEST_KEY:
        return data
    return data.replace(key.encode(), b"***")


async def _read(pieces: AsyncGenerator[bytes]) -> bytes:
    """Read a body to its end. Raises Broken."""
    body = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            body += piece
            if len(body) > _LARGEST:
                raise Broken(f"the model's server sent more than {_LARGEST} bytes")
    return bytes(body)


async def _failure(
    pieces: AsyncGenerator[bytes], answer: Answer, key: str | None
) -> AsyncGenerator[bytes]:
    after = _seconds(answer.headers.get("retry-after", ""))
    answer.turn = read_failure(answer.status, after, b"")  # Until its words are there.
    body = _without(key, await _read(pieces))
    answer.turn = read_failure(answer.status, after, body)
    yield body


async def _whole(
    pieces: AsyncGenerator[bytes], answer: Answer, call: Call, key: str | None
) -> AsyncGenerator[bytes]:
    answer.turn = Turn(fault=Fault(drop=True))  # Until it is whole.
    body = _without(key, await _read(pieces))
    try:
        answer.turn = read_answer(call.form, read_json(body)) or GARBAGE
    except ValueError:
        answer.turn = GARBAGE
    yield body


async def _events(
    pieces: AsyncGenerator[bytes], answer: Answer, call: Call, key: str | None
) -> AsyncGenerator[bytes]:
    """Give server-sent events one by one, and leave out what the client has not asked for."""
    stream = begin_stream(call.form)
    asked = call.request.include_usage
    try:
        async with aclosing(_split(pieces)) as events:
            async for raw in events:
                event = _without(key, raw)
                try:
                    data = _data(event)
                except ValueError:
                    data = None
                    answer.is_over = True
                    stream.spoil()
                else:
                    answer.is_over = _is_error(data)
                    stream.add(data)
                if is_end(event):
                    stream.end()
                if answer.is_over or is_end(event):
                    answer.turn = stream.turn()
                if asked or not _is_usage_alone(data):
                    yield event
        if not stream.is_whole:
            # Where only the connection's end ends a body, a server that dies looks like that.
            raise Broken("the model's server ended its stream before the answer's end")
    finally:
        answer.turn = stream.turn()


def _body(call: Call) -> bytes:
    """Give the request's body; of a stream, with the wish to be told what it used."""
    if not call.request.stream or call.request.include_usage or call.form != CHAT:
        return call.body
    asked: dict[str, Any] = json.loads(call.body)
    options = asked.get("stream_options")
    asked["stream_options"] = {
        **(options if isinstance(options, dict) else {}),
        "include_usage": True,
    }
    return json.dumps(asked, ensure_ascii=False).encode()


def _seconds(after: str) -> float | None:
    """Read how long a server asks to wait; None where it names a date, or nothing."""
    try:
        seconds = float(after)
    except ValueError:
        return None
    return min(max(0.0, seconds), _LONGEST_WAIT) if math.isfinite(seconds) else None


async def _split(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Cut a stream into its events, each with the empty line that ends it. Raises Broken."""
    kept, searched = bytearray(), 0
    async with aclosing(pieces):
        async for piece in pieces:
            kept += piece
            while end := _EVENT_END.search(kept, searched):
                length, searched = end.end(), 0
                del end  # It holds on to what is cut off.
                yield bytes(kept[:length])
                del kept[:length]
            searched = max(0, len(kept) - 2)
            if len(kept) > _LARGEST:
                raise Broken(f"the model's server sent an event of more than {_LARGEST} bytes")
    if kept:
        yield bytes(kept)


def _data(event: bytes) -> Any:
    """Read what an event carries; None where that is nothing. Raises ValueError for no JSON."""
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    text = b"\n".join(lines)
    return None if text in (b"", b"[DONE]") else read_json(text)


def _is_error(data: Any) -> bool:
    if not isinstance(data, dict):
        return False
    event = cast("dict[str, Any]", data)
    return bool(event.get("error")) or event.get("type") in ("error", "response.failed")


def _is_usage_alone(data: Any) -> bool:
    if not isinstance(data, dict):
        return False
    chunk = cast("dict[str, Any]", data)
    return chunk.get("usage") is not None and not chunk.get("choices")
