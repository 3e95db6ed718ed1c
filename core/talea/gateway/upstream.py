"""The model's real server: a call is passed on to it with the key, and read on its way back."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from talea.adapter import Endpoint
from talea.errors import TaskError, UsageError
from talea.gateway.answers import GARBAGE, begin_stream, read_answer
from talea.gateway.cassette import Fault, Turn
from talea.gateway.chat import CHAT, Call, Rejection
from talea.gateway.passing import EVENT_STREAM, Answer, Broken, is_end, one_by_one

if TYPE_CHECKING:
    import httpx

_PASSED = ("content-type", "retry-after", "x-should-retry", "x-request-id")
"""Headers of an answer that reach the client."""
_CONNECT = 30.0
"""Seconds to reach a server; how long its answer may take, the client knows."""
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

    async def ask(self, call: Call, endpoint: Endpoint) -> Turn:
        """Give the answer to a call as a turn, once it is whole. Raises Rejection."""
        async with self.forward(call, endpoint) as answer:
            try:
                async for _ in answer.pieces:
                    pass
            except Broken:
                return answer.turn
            return answer.turn

    @asynccontextmanager
    async def forward(self, call: Call, endpoint: Endpoint) -> AsyncGenerator[Answer]:
        """Pass a call on. Raises Rejection where the server cannot be reached or redirects."""
        request = self._request(call, endpoint)
        host = urlsplit(str(request.url)).netloc
        try:
            response = await self._http.send(request, stream=True)
        except self._httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            message = f"the model's server at {host} cannot be reached: {why}"
            raise Rejection(502, "unreachable", message) from error
        try:
            if 300 <= response.status_code < 400:
                message = f"the model's server at {host} redirects, which is not followed"
                raise Rejection(502, "redirected", message)
            yield self._answer(call, response)
        finally:
            await response.aclose()

    def _request(self, call: Call, endpoint: Endpoint) -> httpx.Request:
        """Make the request: the client's own body, and no header of the client's but its kind."""
        assert endpoint.base_url is not None
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        headers |= endpoint.headers
        try:
            key = endpoint.key()
        except TaskError as error:
            raise Rejection(401, "no_key", error.message) from error
        if key:
            headers["authorization"] = f"Bearer {key}"
        url = f"{endpoint.base_url.rstrip('/')}/{call.form}"
        return self._http.build_request("POST", url, headers=headers, content=_body(call))

    def _answer(self, call: Call, response: httpx.Response) -> Answer:
        headers = {name: value for name in _PASSED if (value := response.headers.get(name))}
        answer = Answer(response.status_code, headers, one_by_one(()), GARBAGE)
        if response.status_code != 200:
            answer.turn = _failure(response)
            answer.pieces = self._bytes(response)
        elif headers.get("content-type", "").startswith(EVENT_STREAM):
            answer.pieces = self._events(response, answer, call)
        else:
            answer.pieces = self._whole(response, answer, call)
        return answer

    async def _bytes(self, response: httpx.Response) -> AsyncGenerator[bytes]:
        try:
            async for piece in response.aiter_bytes():
                yield piece
        except self._httpx.HTTPError as error:
            raise Broken(f"the model's server broke off: {error}") from error

    async def _whole(
        self, response: httpx.Response, answer: Answer, call: Call
    ) -> AsyncGenerator[bytes]:
        body = bytearray()
        async with aclosing(self._bytes(response)) as pieces:
            answer.turn = Turn(fault=Fault(drop=True))  # Until it is whole.
            async for piece in pieces:
                body += piece
        try:
            answer.turn = read_answer(call.form, json.loads(body)) or GARBAGE
        except ValueError:
            answer.turn = GARBAGE
        yield bytes(body)

    async def _events(
        self, response: httpx.Response, answer: Answer, call: Call
    ) -> AsyncGenerator[bytes]:
        """Give server-sent events one by one, and leave out what the client has not asked for."""
        stream = begin_stream(call.form)
        asked = call.request.include_usage
        try:
            async with aclosing(_split(self._bytes(response))) as events:
                async for event in events:
                    data = _data(event)
                    stream.add(data)
                    if is_end(event):
                        answer.turn = stream.turn()
                    if asked or not _is_usage_alone(data):
                        yield event
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


def _failure(response: httpx.Response) -> Turn:
    after = response.headers.get("retry-after", "")
    try:
        seconds = max(0.0, float(after))
    except ValueError:
        seconds = None
    status = min(max(response.status_code, 400), 599)
    return Turn(fault=Fault(status=status, retry_after=seconds))


async def _split(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Cut a stream into its events, each with the empty line that ends it."""
    kept = b""
    async with aclosing(pieces):
        async for piece in pieces:
            kept = (kept + piece).replace(b"\r\n", b"\n")
            *events, kept = kept.split(b"\n\n")
            for event in events:
                yield event + b"\n\n"
    if kept:
        yield kept


def _data(event: bytes) -> Any:
    """Read what an event carries; None where it is no JSON."""
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    try:
        return json.loads(b"\n".join(lines))
    except ValueError:
        return None


def _is_usage_alone(data: Any) -> bool:
    if not isinstance(data, dict):
        return False
    chunk = cast("dict[str, Any]", data)
    return chunk.get("usage") is not None and not chunk.get("choices")
