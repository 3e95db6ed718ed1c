"""A gateway in front of a model's server that behaves as servers do, well or badly."""

from __future__ import annotations

import asyncio
import gzip
import json
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from socket import SHUT_WR, socket
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from talea.adapter import Endpoint
from talea.errors import ErrorType, TaskError, UsageError
from talea.gateway import upstream
from talea.gateway.cassette import Cassette, Player, Turn
from talea.gateway.meter import Exchange
from talea.gateway.passing import one_by_one
from talea.gateway.server import Door, Gateway
from talea.gateway.standin import StandIn
from talea.gateway.upstream import Upstream

KEY = "sk-canary-83b1f0c2d9"
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Say hello."}]}
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
Script = Callable[[socket], None]


class Model(socketserver.ThreadingTCPServer):
    """A server that answers every request by the same script, byte for byte."""

    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.script = script
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.left = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Conversation(socketserver.StreamRequestHandler):
    server: Model

    def handle(self) -> None:
        with suppress(OSError):
            while self.rfile.readline():
                lines = iter(lambda: self.rfile.readline().decode().strip(), "")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
                body = json.loads(self.rfile.read(int(headers["content-length"])))
                self.server.requests.append((headers, body))
                self.server.script(self.connection)
        self.server.left.set()


@contextmanager
def model(*pieces: bytes, waits: bool = False) -> Iterator[Model]:
    """Serve these bytes; then the connection ends, or is left open in silence."""

    def script(connection: socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
        if waits:
            connection.recv(1)
        else:
            connection.shutdown(SHUT_WR)

    with Model(script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def answer(body: bytes, status: int = 200, kind: str = "application/json", **more: str) -> bytes:
    headers = {"content-type": kind, "content-length": str(len(body)), **more}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status} So", *lines, "", ""]).encode() + body


def completion(text: str = "Hello.", **more: Any) -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    head = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
    return json.dumps({**head, "choices": [choice], "usage": USAGE, **more}).encode()


def chunk(text: str | None, finish: str | None = None, **more: Any) -> bytes:
    delta = {} if text is None else {"content": text}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    return b"data: " + json.dumps({**head, "choices": choices, **more}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
CHUNKED = STREAM.replace(b"connection: close", b"transfer-encoding: chunked")


class Way:
    """The way from a client over a gateway to a server, and what was heard on it."""

    def __init__(self, gateway: Gateway, door: Door) -> None:
        self.gateway = gateway
        self.door = door
        self.heard: list[tuple[Exchange, Turn | None]] = []
        self.loops: set[asyncio.AbstractEventLoop] = set()
        gateway.subscribe(self._hear)

    def _hear(self, exchange: Exchange, turn: Turn | None) -> None:
        self.loops.add(asyncio.get_running_loop())
        self.heard.append((exchange, turn))

    def client(self, timeout: float = 20) -> OpenAI:
        url = self.door.base_url("notes", "writer")
        return OpenAI(api_key="the-clients-own", base_url=url, max_retries=0, timeout=timeout)

    def ask(self, timeout: float = 20, **more: Any) -> Any:
        with self.client(timeout) as client:
            return client.chat.completions.create(**ASKED, **more)

    def stream(self, timeout: float = 20, **more: Any) -> list[Any]:
        with self.client(timeout) as client:
            return list(client.chat.completions.create(**ASKED, stream=True, **more))

    def told(self) -> tuple[Exchange, Turn | None]:
        """Give the one call that was heard, however late its end comes."""
        wait(lambda: bool(self.heard))
        (one,) = self.heard
        assert [seen.as_json() for seen in self.door.log()] == [one[0].as_json()]
        return one


def wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not until():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def way(url: str, key: Callable[[], str | None] = lambda: KEY) -> Iterator[Way]:
    with Gateway(Upstream()) as gateway:
        yield Way(gateway, gateway.open("run", {"": Endpoint("p", "m", url, key)}))


def text_of(chunks: list[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_passes_a_call_on_with_the_real_key() -> None:
    sent = answer(completion(), x_request_id="r1", set_cookie="a=b", server="secret")
    with model(sent) as server, way(server.url) as on, on.client() as client:
        raw = client.chat.completions.with_raw_response.create(**ASKED, temperature=0.5)
        assert raw.parse().choices[0].message.content == "Hello."
        exchange, turn = on.told()
    ((headers, body),) = server.requests
    assert body == {**ASKED, "temperature": 0.5}
    assert headers["authorization"] == f"Bearer {KEY}"
    assert "the-clients-own" not in str(headers)
    assert not any(name.startswith("x-stainless") for name in headers)
    assert raw.headers["x-request-id"] == "r1"
    assert not {"set-cookie", "server"} & raw.headers.keys()
    assert turn == Turn.model_validate(
        {"content": "Hello.", "usage": {"input_tokens": 9, "output_tokens": 2}}
    )
    assert (exchange.status, exchange.error, exchange.run) == (200, None, "run")
    assert (exchange.input_tokens, exchange.output_tokens, exchange.cost) == (9, 2, None)
    assert exchange.first_byte is not None
    assert 0 < exchange.first_byte <= exchange.duration


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("asked", [False, True])
def test_streams_event_by_event_and_learns_what_was_used(
    *, end: bytes, size: int, asked: bool
) -> None:
    usage = b"data: " + json.dumps({"id": "x", "choices": [], "usage": USAGE}).encode() + b"\n\n"
    events = (
        b": a comment\n\n" + chunk("Hel") + chunk("lo 🐈.") + chunk(None, "stop") + usage + DONE
    )
    events = events.replace(b"\n", end)
    pieces = [events[start : start + size] for start in range(0, len(events), size)]
    options = {"stream_options": {"include_usage": True}} if asked else {}
    with model(STREAM, *pieces) as server, way(server.url) as on:
        chunks = on.stream(**options)
        exchange, turn = on.told()
    assert text_of(chunks) == "Hello 🐈."
    assert [c.usage.total_tokens for c in chunks if c.usage] == ([11] if asked else [])
    assert server.requests[0][1]["stream_options"] == {"include_usage": True}
    assert (exchange.status, exchange.error, exchange.output_tokens) == (200, None, 2)
    assert turn is not None
    assert turn.content == "Hello 🐈."


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_an_events_end_may_come_in_parts(end: bytes, size: int) -> None:
    events = [b"data: 1\ndata: 2\n\n", b": so\n\n", b"data: 3\n\n", b"data: cut"]
    sent = [event.replace(b"\n", end) for event in events]
    body = b"".join(sent)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    async def split() -> list[bytes]:
        return [event async for event in upstream._split(one_by_one(pieces))]

    found = asyncio.run(split())
    assert [event.strip() for event in found] == [event.strip() for event in sent]
    assert b"".join(found) == body


def test_a_client_that_leaves_with_the_end_mark_has_had_all() -> None:
    sent = (STREAM, chunk("Hello."), chunk(None, "stop"), DONE)
    with model(*sent, waits=True) as server, way(server.url) as on:
        assert text_of(on.stream()) == "Hello."
        exchange, turn = on.told()
        assert server.left.wait(20)
    assert (exchange.status, exchange.error) == (200, None)
    assert turn is not None
    assert turn.content == "Hello."


ERRORS = [
    (429, '{"error": {"message": "Slow.", "code": "rate_limit"}}', "7", openai.RateLimitError, 7.0),
    (429, "{}", "999999999", openai.RateLimitError, 86_400.0),
    (429, "{}", "nan", openai.RateLimitError, None),
    (401, '{"error": {"message": "No.", "code": 5}}', None, openai.AuthenticationError, None),
    (503, "<html>Bad gateway</html>", None, openai.InternalServerError, None),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "body", "after", "kind", "seconds"), ERRORS)
def test_passes_errors_on(
    *,
    status: int,
    body: str,
    after: str | None,
    kind: type[openai.APIStatusError],
    seconds: float | None,
    stream: bool,
) -> None:
    more = {} if after is None else {"retry_after": after}
    sent = answer(body.encode(), status, "text/html", x_should_retry="true", **more)
    with model(sent) as server, way(server.url) as on:
        with pytest.raises(kind) as caught:
            on.ask(stream=stream)
        exchange, turn = on.told()
    assert caught.value.response.text == body
    assert caught.value.response.headers.get("retry-after") == after
    assert caught.value.response.headers["x-should-retry"] == "true"
    assert exchange.status == status
    assert turn is not None
    assert turn.fault is not None
    assert (turn.fault.status, turn.fault.retry_after) == (status, seconds)
    known = {"Slow.": ("rate_limit", "Slow."), "No.": (None, "No.")}
    said = next((told for word, told in known.items() if word in body), (None, None))
    assert (turn.fault.code, turn.fault.message) == said


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ([], "cannot be reached"),
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], "cannot be reached"),
        ([b"HTTP/1.1 204 No\r\n\r\n"], "without a word"),
    ],
)
def test_a_server_that_gives_no_answer_is_told(sent: list[bytes], told: str) -> None:
    with model(*sent) as server, way(server.url) as on:
        with pytest.raises(openai.InternalServerError, match=told) as caught:
            on.ask()
        exchange, _ = on.told()
    assert caught.value.status_code == 502
    assert server.url.split("/")[2] in caught.value.message
    assert exchange.status == 502
    assert told in (exchange.error or "")


def test_a_server_that_is_not_there_is_told() -> None:
    with model() as gone:
        pass
    words = f"{gone.url.split('/')[2]} cannot be reached: "
    with way(gone.url) as on, pytest.raises(openai.InternalServerError, match=words) as caught:
        on.ask()
    assert (caught.value.status_code, caught.value.code) == (502, "talea_unreachable")


def test_a_redirect_is_not_followed() -> None:
    with model(answer(completion())) as other:
        sent = answer(b"", 307, location=f"{other.url}/chat/completions")
        with (
            model(sent) as server,
            way(server.url) as on,
            pytest.raises(openai.InternalServerError, match="redirects"),
        ):
            on.ask()
        assert (len(server.requests), other.requests) == (1, [])


@pytest.mark.parametrize(
    ("sent", "stream", "said"),
    [
        (answer(completion())[:-20], False, None),
        (answer(b"nothing", content_encoding="gzip"), False, None),
        (STREAM + chunk("Hel"), True, "Hel"),
        (CHUNKED + b"%x\r\n%b\r\n" % (len(chunk("Hel")), chunk("Hel")), True, "Hel"),
        (STREAM, True, None),
    ],
    ids=["whole", "encoding", "closed stream", "chunked stream", "empty stream"],
)
def test_a_server_that_dies_cuts_the_client_off(
    *, sent: bytes, stream: bool, said: str | None
) -> None:
    with model(sent) as server, way(server.url) as on:
        with pytest.raises(Exception, match=r"(?i)connection"):
            on.stream() if stream else on.ask()
        exchange, turn = on.told()
    assert (exchange.error or "").startswith("the model's server ")
    assert turn is not None
    assert turn.fault is not None
    assert (turn.fault.kinds, turn.content) == (("drop",), said)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_measure_is_broken_off(
    *, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "_LARGEST", 1000)
    long = "x" * 2000
    sent = STREAM + chunk(long) + chunk(None, "stop") + DONE if stream else answer(completion(long))
    # Without its end the event can only be kept.
    sent = sent.replace(b"\n\n", b"\n") if stream else sent
    with model(sent) as server, way(server.url) as on:
        with pytest.raises(Exception, match=r"(?i)connection"):
            on.stream() if stream else on.ask()
        exchange, _ = on.told()
    assert "more than 1000 bytes" in (exchange.error or "")


@pytest.mark.parametrize(
    ("body", "more", "garbage"),
    [
        (b"<html>", {}, True),
        (b"", {}, True),
        (b"[" * 100_000, {}, True),
        (completion(), {"kind": "text/plain"}, False),
        (gzip.compress(completion()), {"content_encoding": "gzip"}, False),
        (completion(usage={"prompt_tokens": True, "cost": -1}), {}, False),
        (completion(usage=7), {"x_request_id": "€"}, False),
    ],
)
def test_whatever_is_answered_is_passed_on(
    *, body: bytes, more: dict[str, str], garbage: bool
) -> None:
    with model(answer(body, **more)) as server, way(server.url) as on, on.client() as client:
        raw = client.chat.completions.with_raw_response.create(**ASKED)
        assert raw.text == (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode()
        exchange, turn = on.told()
    assert exchange.status == 200
    assert (exchange.error is not None) == garbage
    assert turn is not None
    assert (turn.content == "Hello.") != garbage


STRANGE = [b'data: {"choices": [{"delta": 5}]}\n\n', b"data: [1]\n\n", b"data:\n\n: so\n\n"]


@pytest.mark.parametrize("unreadable", [b"", b"data: {\n\n"])
def test_strange_events_are_passed_on(unreadable: bytes) -> None:
    events = STREAM + b"".join(STRANGE) + unreadable + chunk("Hello.", "stop") + DONE
    with model(events) as server, way(server.url) as on, on.client() as client:
        with client.chat.completions.with_streaming_response.create(**ASKED, stream=True) as raw:
            assert raw.read() == events.removeprefix(STREAM)
        exchange, turn = on.told()
    assert turn is not None
    assert turn.content == (None if unreadable else "Hello.")
    assert (exchange.error is None) != bool(unreadable)


@pytest.mark.parametrize(
    ("sent", "content", "faults"),
    [(chunk("Hello."), "Hello.", ()), (b"", None, ("garbage",)), (STRANGE[1], None, ("garbage",))],
)
def test_a_stream_may_end_by_its_mark_alone(
    sent: bytes, content: str | None, faults: tuple[str, ...]
) -> None:
    with model(STREAM, sent, DONE) as server, way(server.url) as on, suppress(TypeError):
        on.stream()
    exchange, turn = on.heard[0]
    assert turn is not None
    assert turn.content == content
    assert (turn.fault.kinds if turn.fault else ()) == faults
    assert (exchange.status, exchange.error is None) == (200, not faults)


def test_an_error_within_a_stream_is_heard() -> None:
    error = b'data: {"error": {"message": "Overloaded.", "code": "server_error"}}\n\n'
    sent = (STREAM, chunk("Hel"), error)
    with model(*sent, waits=True) as server, way(server.url) as on:
        with pytest.raises(openai.APIError, match="Overloaded"):
            on.stream()
        exchange, turn = on.told()
    assert (exchange.status, exchange.error) == (200, None)
    assert turn is not None
    assert turn.fault is not None
    assert (turn.fault.code, turn.fault.message) == ("server_error", "Overloaded.")


# The key


def repeating(stream: bool) -> list[bytes]:
    if stream:
        return [STREAM + chunk(f"The key {KEY}.") + chunk(None, "stop") + DONE]
    told = json.dumps({"error": {"message": f"No such key: {KEY}", "code": KEY}}).encode()
    return [
        answer(completion(f"The key {KEY}."), x_request_id=KEY),
        answer(told, 401, x_request_id=KEY),
        answer(f"<b>{KEY}".encode(), 500, "text/html"),
    ]


@pytest.mark.parametrize("sent", repeating(stream=False) + repeating(stream=True))
def test_a_key_that_the_server_repeats_goes_no_further(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with model(sent) as server, way(server.url) as on, on.client() as client:
        more = {"stream": True} if sent.startswith(STREAM) else {}
        try:
            raw = client.chat.completions.with_raw_response.create(**ASKED, **more)
            told = str(raw.headers) + (text_of(list(raw.parse())) if more else raw.text)
        except openai.APIStatusError as error:
            told = f"{error!r} {error} {error.response.headers} {error.response.text}"
        wait(lambda: bool(on.heard))
        seen = repr((on.heard, on.gateway.log, on.door.log(), vars(on.gateway)))
    assert server.requests[0][0]["authorization"] == f"Bearer {KEY}"
    assert "***" in told
    for words in (told, seen, caplog.text):
        assert KEY not in words


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\r\nx: y", f"{KEY} ключ"])
def test_a_key_that_no_header_can_carry_is_not_told(key: str) -> None:
    with model(answer(completion())) as server, way(server.url, lambda: key) as on:
        with pytest.raises(openai.AuthenticationError, match="no header can carry") as caught:
            on.ask()
        assert KEY not in repr((caught.value, on.told()))
    assert server.requests == []


def test_a_missing_key_is_told() -> None:
    def key() -> str:
        raise TaskError(ErrorType.AUTHENTICATION, "the environment variable X is not set")

    with (
        model() as server,
        way(server.url, key) as on,
        pytest.raises(openai.AuthenticationError, match="variable X is not set"),
    ):
        on.ask()
    assert server.requests == []


def test_each_agent_is_asked_where_it_should_be() -> None:
    def ask(url: str) -> str:
        with OpenAI(api_key="x", base_url=url, max_retries=0) as client:
            return client.chat.completions.create(**ASKED).choices[0].message.content or ""

    with (
        model(answer(completion("one"))) as one,
        model(answer(completion("two"))) as two,
        Gateway(Upstream()) as gateway,
    ):
        urls = {"a": one.url, "b": two.url}
        targets = {name: Endpoint("p", "m", url, lambda: None) for name, url in urls.items()}
        door = gateway.open("run", targets)
        assert [ask(door.base_url("t", agent)) for agent in "ab"] == ["one", "two"]
        with pytest.raises(openai.NotFoundError, match="no model is known for agent 'c'"):
            ask(door.base_url("t", "c"))
    assert "authorization" not in one.requests[0][0]


# What is left behind


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_leaves_nothing_behind(*, stream: bool) -> None:
    pieces = [STREAM, chunk("Hel")] if stream else []
    with model(*pieces, waits=True) as server, way(server.url) as on:
        with pytest.raises(Exception, match=r"(?i)timed out"):
            on.stream(timeout=0.3) if stream else on.ask(timeout=0.3)
        assert server.left.wait(20)
        exchange, turn = on.told()
        assert exchange.error == "the client left before it had the whole answer"
        assert turn is None
        (loop,) = on.loops
        wait(lambda: len(asyncio.all_tasks(loop)) == 1)  # What listens.


def test_closing_ends_what_is_asked() -> None:
    with model(waits=True) as server:
        with way(server.url) as on, ThreadPoolExecutor() as pool:
            asking = pool.submit(on.ask)
            wait(lambda: bool(server.requests))
            on.gateway.close()
            with pytest.raises(openai.APIConnectionError):
                asking.result(20)
        assert server.left.wait(20)


def test_many_streams_at_once_are_neither_lost_nor_crossed() -> None:
    count = 200

    async def ask(on: Door, number: int) -> str:
        url = on.base_url(f"notes[{number}]", "writer")
        asked = [{"role": "user", "content": f"Number {number}. " + "Go on. " * 10}]
        async with AsyncOpenAI(api_key="x", base_url=url, max_retries=0, timeout=60) as client:
            stream = await client.chat.completions.create(
                model="m",
                messages=asked,
                stream=True,  # type: ignore[arg-type]
            )
            return text_of([c async for c in stream])

    async def main(door: Door) -> list[str]:
        return await asyncio.gather(*(ask(door, number) for number in range(count)))

    with Gateway(StandIn()) as provider, way(provider.base_url("notes", "writer")) as on:
        texts = asyncio.run(main(on.door))
        log = on.door.log()
        assert len(provider.log) == count
    for number, text in enumerate(texts):
        assert text.startswith(f"Offline answer to: Number {number}. Go on.")
    assert {seen.address for seen in log} == {f"notes[{number}]" for number in range(count)}
    assert {(seen.status, seen.error) for seen in log} == {(200, None)}
    assert sum(s.output_tokens for s in log) == sum(s.output_tokens for s in provider.log)


def test_an_upstream_is_reached_past_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with model(answer(completion())) as server, way(server.url) as on, on.client() as client:
        # The client read the environment when it was made, the upstream does at its first call.
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        assert client.chat.completions.create(**ASKED).choices[0].message.content == "Hello."
        assert len(on.door.log()) == 1


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(UsageError, match="httpx is not installed") as caught:
        Upstream()
    assert caught.value.hint == "pip install 'talea[gateway]'"


def test_is_reached_on_loopback_by_token_alone() -> None:
    def ask(door: Door) -> None:
        with OpenAI(api_key="x", base_url=door.base_url("t", "a"), max_retries=0) as client:
            client.chat.completions.create(**ASKED)

    with Gateway(Player(Cassette.model_validate({"talea_cassette": 1, "tasks": {}}))) as gateway:
        door, other = gateway.open("one"), gateway.open("two")
        assert door.token != other.token
        port = int(door.origin.rpartition(":")[2])
        with socket() as outside, pytest.raises(OSError):
            outside.settimeout(5)
            outside.connect(("127.0.0.2", port))  # Who listens everywhere is there too.
        for token in ("", "x", door.token[:-1], door.token + "x"):
            stranger = Door(door.origin, token)
            with pytest.raises(openai.NotFoundError, match="secret token"):
                ask(stranger)
            with pytest.raises(OSError, match="404"):
                stranger.log()
        assert gateway.log == []
        with pytest.raises(openai.ConflictError):
            ask(other)
        assert (door.log(), [seen.run for seen in other.log()]) == ([], ["two"])
        assert Door.at(door.url) == door
