"""The server of `talea view`: a folder's comparisons, read alone, on this machine alone.

Nothing that is in a file is served as it is. A report's data is taken out and rendered anew, so
that a report from a stranger runs no script of its own here. Other sites reach nothing: a request
whose Host is not this server's own address is refused, which is what DNS rebinding would need.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from typing import Any, ClassVar, cast
from urllib.parse import parse_qs, urlsplit

from talea.compare.page import Page, document, header, tag
from talea.compare.report import make_report
from talea.compare.shelf import Shelf
from talea.compare.sides import Named, make_list, make_sides
from talea.errors import UsageError

HOST = "127.0.0.1"
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Refusal(Exception):
    """A request that is not answered with what it asked for."""

    def __init__(self, status: HTTPStatus, words: str) -> None:
        super().__init__(words)
        self.status = status


class Viewer(ThreadingHTTPServer):
    """A server for a folder, on a port of loopback; 0 takes any that is free.

    Raises `UsageError` where the folder cannot be read or the port cannot be had.
    """

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # Elsewhere it lets others take the port over.

    def __init__(self, folder: str, port: int = 0) -> None:
        self.shelf = Shelf(folder)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UsageError(f"port {port} cannot be had: {error.strerror}") from error
        own = self.server_address[1]
        self.hosts = frozenset({f"{HOST}:{own}", f"localhost:{own}"})
        self.url = f"http://{HOST}:{own}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Tell of what went wrong here; that a browser has gone is nothing to tell."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(cast("Any", request), client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection, and gives up one that says nothing for a while."""

    protocol_version = "HTTP/1.1"
    server_version = f"talea/{metadata.version('talea')}"
    sys_version = ""
    timeout = 20
    pages: ClassVar[Mapping[str, Callable[[Shelf, Mapping[str, str]], Page]]]

    def do_GET(self) -> None:
        """Answer with a page."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer as to GET, without the page."""
        self._answer()

    def _answer(self) -> None:
        server = cast("Viewer", self.server)
        try:
            if self.headers.get_all("Host", []) not in [[host] for host in server.hosts]:
                raise _Refusal(HTTPStatus.MISDIRECTED_REQUEST, "This server has another name.")
            parts = urlsplit(self.path)
            make = self.pages.get(parts.path)
            if make is None:
                raise _Refusal(HTTPStatus.NOT_FOUND, "There is no such page.")
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self._send(HTTPStatus.OK, make(server.shelf, query))
        except _Refusal as refusal:
            self._send(refusal.status, _message(str(refusal)))
        except UsageError as error:
            self._send(HTTPStatus.UNPROCESSABLE_ENTITY, _message(error.message))
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - a stranger's figures may break any sum
            words = f"Its figures make no sense: {type(error).__name__}."
            self._send(HTTPStatus.UNPROCESSABLE_ENTITY, _message(words))

    def _send(self, status: HTTPStatus, page: Page) -> None:
        body = page.html.encode("utf-8", "replace")
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        policy = f"{page.policy}; frame-ancestors 'none'"
        self.send_header("Content-Security-Policy", policy)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of requests: they are the reader's own."""


def _list(shelf: Shelf, query: Mapping[str, str]) -> Page:
    search = query.get("search", "")
    return make_list(shelf.name, shelf.entries(search), search, shelf.repeated())


def _report(shelf: Shelf, query: Mapping[str, str]) -> Page:
    name, comparison = _named(shelf, query, "name")
    return make_report(comparison, back="/", file=name)


def _sides(shelf: Shelf, query: Mapping[str, str]) -> Page:
    return make_sides(_named(shelf, query, "a"), _named(shelf, query, "b"))


def _named(shelf: Shelf, query: Mapping[str, str], key: str) -> Named:
    name = query.get(key, "")
    try:
        return name, shelf.read(name)
    except KeyError:
        raise _Refusal(HTTPStatus.NOT_FOUND, "There is no such comparison.") from None


_Handler.pages = {"/": _list, "/report": _report, "/sides": _sides}


def _message(words: str) -> Page:
    above = tag("a", "All comparisons", href="/")
    main = tag("main", tag("p", words), class_="wide", id="main")
    return document("talea view", header("That cannot be shown", above, None, {}), main)
