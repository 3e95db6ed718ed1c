"""As much of an HTTP/1.1 server as the gateway needs, on asyncio's streams (RFC 9112)."""

from __future__ import annotations

import re
from asyncio import LimitOverrunError, StreamReader, StreamWriter
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 32 * 1024 * 1024

_REQUEST_LINE = re.compile(r"([A-Z]+) (/[!-~]*) HTTP/(\d\.\d)")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class ProtocolError(Exception):
    """A request that cannot be read: it is answered with `status`, and the connection ends."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(slots=True, frozen=True)
class Request:
    """A request; `headers` have lower-case names, `path` is without the query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        """Say whether the client may send another request on this connection."""
        return "close" not in self.headers.get("connection", "").lower()


async def read_request(reader: StreamReader, writer: StreamWriter) -> Request:
    """Read one request, and tell a client that waits for it to go on.

    Raises ProtocolError, and IncompleteReadError where the client has gone.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except LimitOverrunError as error:
        raise ProtocolError(431, "the header is too large") from error
    first, *fields = head.decode("latin-1").strip("\r\n").split("\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise ProtocolError(400, "malformed request line")
    if line[3] != "1.1":
        raise ProtocolError(505, "only HTTP/1.1 is spoken here")
    headers = _read_headers(fields)
    body = await _read_body(reader, writer, headers)
    return Request(line[1], line[2].partition("?")[0], headers, body)


def _read_headers(fields: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for field in fields:
        match = _FIELD.fullmatch(field)
        if match is None:
            raise ProtocolError(400, "malformed header")
        name, value = match[1].lower(), match[2].rstrip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if "," in headers.get("host", ","):
        raise ProtocolError(400, "one Host header is needed")
    return headers


async def _read_body(
    reader: StreamReader, writer: StreamWriter, headers: Mapping[str, str]
) -> bytes:
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None and length is not None:
        # Two lengths are how requests are smuggled past a proxy.
        raise ProtocolError(400, "Content-Length beside Transfer-Encoding")
    if coding is not None and coding.lower() != "chunked":
        raise ProtocolError(501, "no transfer coding but chunked is understood")
    if length is not None and re.fullmatch(r"\d{1,18}", length, re.ASCII) is None:
        raise ProtocolError(400, "malformed Content-Length")
    size = int(length or 0)
    _check_size(size)
    await _meet_expectation(writer, headers.get("expect"))
    try:
        return await (_read_chunks(reader) if coding else reader.readexactly(size))
    except LimitOverrunError as error:
        raise ProtocolError(400, "malformed chunk") from error


async def _meet_expectation(writer: StreamWriter, expectation: str | None) -> None:
    if expectation is None:
        return
    if expectation.lower() != "100-continue":
        raise ProtocolError(417, "no expectation but 100-continue is met")
    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    await writer.drain()


async def _read_chunks(reader: StreamReader) -> bytes:
    body = bytearray()
    while size := await _read_chunk_size(reader):
        _check_size(len(body) + size)
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise ProtocolError(400, "malformed chunk")
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # Trailers: nothing here needs any.
    return bytes(body)


async def _read_chunk_size(reader: StreamReader) -> int:
    match = _CHUNK_SIZE.fullmatch(await reader.readuntil(b"\r\n"))
    if match is None:
        raise ProtocolError(400, "malformed chunk size")
    return int(match[1], 16)


def _check_size(size: int) -> None:
    if size > BODY_LIMIT:
        raise ProtocolError(413, f"the body is larger than {BODY_LIMIT} bytes")


def format_head(status: int, headers: Mapping[str, str]) -> bytes:
    """Write a status line and headers, up to and with the empty line."""
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def format_chunk(data: bytes) -> bytes:
    """Write one chunk of a chunked body; an empty one ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
