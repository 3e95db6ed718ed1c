"""The gateway's HTTP on raw sockets: what a careless or hostile client may send."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from talea.gateway.cassette import Turn
from talea.gateway.chat import Call
from talea.gateway.http1 import BODY_LIMIT, HEAD_LIMIT
from talea.gateway.server import Gateway

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
HOST = b"Host: 127.0.0.1\r\n"


class Echo:
    """Answers each call with its number."""

    def answer(self, call: Call) -> Turn:
        return Turn(content=f"answer {call.turn}")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(Echo()) as gateway:
        yield gateway


def target(gateway: Gateway) -> tuple[int, bytes]:
    """Give the port, and the path of a chat completion."""
    match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/.*)", gateway.base_url("notes", "writer"))
    assert match
    return int(match[1]), match[2].encode() + b"/chat/completions"


def post(path: bytes, body: bytes = BODY, headers: bytes = HOST) -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + headers + length + b"\r\n" + body


def talk(gateway: Gateway, *pieces: bytes) -> bytes:
    """Send bytes and read until the server ends the connection."""
    port, _ = target(gateway)
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as client:
        for piece in pieces:
            client.sendall(piece)
        received = b""
        while data := client.recv(65536):
            received += data
        return received


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


CLOSE = HOST + b"Connection: close\r\n"


def test_answers_a_request_in_small_pieces(gateway: Gateway) -> None:
    _, path = target(gateway)
    request = post(path, headers=CLOSE)
    answer = talk(gateway, *(request[i : i + 7] for i in range(0, len(request), 7)))
    assert status(answer) == 200
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["object"] == "chat.completion"


def test_answers_pipelined_requests_in_order() -> None:
    with Gateway(Echo()) as gateway:
        _, path = target(gateway)
        answer = talk(gateway, post(path) + post(path) + post(path, headers=CLOSE))
    assert re.findall(rb"answer \d", answer) == [b"answer 1", b"answer 2", b"answer 3"]


def test_reads_a_chunked_body(gateway: Gateway) -> None:
    _, path = target(gateway)
    head = b"POST " + path + b" HTTP/1.1\r\n" + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n"
    half = len(BODY) // 2
    chunks = b"".join(
        b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in (BODY[:half], BODY[half:])
    )
    assert status(talk(gateway, head + chunks + b"0\r\nTrailer: x\r\n\r\n")) == 200


def test_tells_a_waiting_client_to_go_on(gateway: Gateway) -> None:
    _, path = target(gateway)
    answer = talk(gateway, post(path, headers=CLOSE + b"Expect: 100-continue\r\n"))
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


SMUGGLED = b"POST /x HTTP/1.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
REFUSED = {
    "two lengths": (400, b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    "the same length twice": (400, b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "length beside chunks": (400, b"Content-Length: 3\r\n" + CHUNKED + b"\r\n0\r\n\r\n"),
    "chunked twice": (501, CHUNKED + CHUNKED + b"\r\n0\r\n\r\n"),
    "a hidden coding": (501, b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "an empty coding": (501, b"Transfer-Encoding:\r\n\r\n0\r\n\r\n"),
    "a signed length": (400, b"Content-Length: +3\r\n\r\nabc"),
    "a length in other digits": (400, "Content-Length: ٣\r\n\r\nabc".encode()),
    "an endless length": (400, b"Content-Length: " + b"9" * 30 + b"\r\n\r\n"),
    "a large length": (413, b"Content-Length: %d\r\n\r\n" % (BODY_LIMIT + 1)),
    "a large chunk": (413, CHUNKED + b"\r\nFFFFFFFF\r\n"),
    "a long chunk size": (400, CHUNKED + b"\r\n000000003\r\nabc\r\n0\r\n\r\n"),
    "a signed chunk size": (400, CHUNKED + b"\r\n-1\r\n\r\n"),
    "a hexadecimal prefix": (400, CHUNKED + b"\r\n0x3\r\nabc\r\n0\r\n\r\n"),
    "a chunk longer than said": (400, CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n"),
    "a chunk size without end": (400, CHUNKED + b"\r\n3;" + b"x" * HEAD_LIMIT * 2),
    "a bare line feed in a chunk": (400, CHUNKED + b"\r\n3\nabc\r\n0\r\n\r\n"),
    "a space before the colon": (400, b"Content-Length : 3\r\n\r\nabc"),
    "a folded header": (400, b"A: b\r\n c\r\n\r\n"),
    "a bare line feed": (400, b"A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a bare carriage return": (400, b"A: b\rB: c\r\n\r\n"),
    "a null": (400, b"A: b\0c\r\n\r\n"),
    "a header without name": (400, b": b\r\n\r\n"),
    "two hosts": (400, HOST + b"\r\n"),
    "another expectation": (417, b"Expect: tea\r\n\r\n"),
    "a large header": (431, b"A: " + b"b" * HEAD_LIMIT * 2 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(gateway: Gateway, name: str) -> None:
    expected, rest = REFUSED[name]
    _, path = target(gateway)
    answer = talk(gateway, b"POST " + path + b" HTTP/1.1\r\n" + HOST + rest)
    assert status(answer) == expected
    assert answer.count(b"HTTP/1.1 ") == 1, "what follows must not be read as a request"
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "malformed_request"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET / HTTP/1.0", 505),
        (b"GET / HTTP/2.0", 505),
        (b"PRI * HTTP/2.0", 400),
        (b"GET http://127.0.0.1/ HTTP/1.1", 400),
        (b"CONNECT example.com:443 HTTP/1.1", 400),
        (b"get / HTTP/1.1", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET /\xc3\xa4 HTTP/1.1", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"", 400),
    ],
)
def test_refuses_a_request_line(gateway: Gateway, line: bytes, expected: int) -> None:
    assert status(talk(gateway, line + b"\r\n" + HOST + b"\r\n")) == expected


def test_refuses_a_request_without_host(gateway: Gateway) -> None:
    assert status(talk(gateway, b"GET / HTTP/1.1\r\n\r\n")) == 400


def test_cuts_a_client_that_sends_too_slowly() -> None:
    with Gateway(Echo(), read_timeout=0.05) as gateway:
        _, path = target(gateway)
        assert talk(gateway, post(path)[:-1]) == b"", "a body that never ends"
        assert talk(gateway, b"POST ") == b"", "a header that never ends"
        assert talk(gateway) == b"", "a client that says nothing"
    assert gateway.log == []


@pytest.mark.parametrize(
    ("method", "change", "expected"),
    [
        (b"GET", lambda path: path, 405),
        (b"POST", lambda path: path.replace(b"chat/completions", b"models"), 405),
        (b"GET", lambda path: path.replace(b"chat/completions", b"models"), 200),
        (b"GET", lambda path: path.replace(b"chat/completions", b"models?limit=1"), 200),
        (b"POST", lambda path: path + b"/", 404),
        (b"POST", lambda path: path.replace(b"/at/", b"/at/../at/"), 404),
        (b"POST", lambda path: re.sub(rb"/run/[^/]+", b"/run/guessed", path), 404),
        (b"POST", lambda path: b"/v1/chat/completions", 404),
    ],
)
def test_serves_only_its_own_paths(gateway: Gateway, method: bytes, change, expected) -> None:
    _, path = target(gateway)
    answer = talk(gateway, method + b" " + change(path) + b" HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert status(answer) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"model": "m"}',
        b'{"model": "m", "messages": []}',
        b'{"model": "m", "messages": [{"role": "user"}], "n": 2}',
        b'{"model": "m", "messages": [{"content": "Hi"}]}',
        b"[" * 100_000,
    ],
)
def test_refuses_what_is_no_chat_request(gateway: Gateway, body: bytes) -> None:
    _, path = target(gateway)
    answer = talk(gateway, post(path, body, CLOSE))
    assert status(answer) == 400
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_request"


def test_goes_on_after_a_refusal(gateway: Gateway) -> None:
    _, path = target(gateway)
    answer = talk(gateway, post(path, b"{}") + post(path, headers=CLOSE))
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"400", b"200"]


def test_listens_on_loopback_only(gateway: Gateway) -> None:
    port, _ = target(gateway)
    with closing(socket.socket()) as client:
        client.settimeout(5)
        # All of 127/8 is loopback: another address of it is refused unless all are listened on.
        with pytest.raises(OSError):
            client.connect(("127.0.0.2", port))
