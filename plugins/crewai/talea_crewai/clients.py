"""What the agents of one run share: connections with one TLS context, and threads for CrewAI."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from talea.adapter import Endpoint

if TYPE_CHECKING:
    import ssl

    import httpx
    from openai import AsyncOpenAI

AGENTS_AT_ONCE = 128
"""Agents that CrewAI's loop runs at the same time on one event loop; more of them wait. As many
again may work for managers, who wait for them, and so on for the teams in teams."""
_MOST_THREADS = 16_384

_LOCAL = ("all://127.0.0.1", "all://localhost", "all://[::1]")
_NO_KEY = "none"
"""Sent where no key is needed: the SDK refuses to work without one."""


class _Threads(ThreadPoolExecutor):
    """Threads for CrewAI's loops, each of which blocks one while its model answers.

    CrewAI uses the event loop's default executor, which by default has six threads on two cores.
    Places bound the agents, and not the threads: some are left over for others, such as looking up
    a host's address, without which no model could answer.
    """

    def __init__(self) -> None:
        super().__init__(_MOST_THREADS, "talea-crewai")
        self._places: list[asyncio.Semaphore] = []

    def places(self, depth: int) -> asyncio.Semaphore:
        """Give what bounds the agents for whom that many managers wait.

        With one bound for all, managers could hold every place that their members wait for.
        """
        while len(self._places) <= depth:
            self._places.append(asyncio.Semaphore(AGENTS_AT_ONCE))
        return self._places[depth]


def places(depth: int) -> asyncio.Semaphore:
    """Give what bounds the agents on this event loop for whom that many managers wait; see that
    there are threads for them.

    The event loop keeps the wider executor until it closes, and shuts it down then.
    """
    loop = asyncio.get_running_loop()
    threads: Any = getattr(loop, "_default_executor", None)
    if not isinstance(threads, _Threads):
        threads = _Threads()
        loop.set_default_executor(threads)
    return threads.places(depth)


class Clients:
    """The model clients of one run: all on one pool of connections, made when the first asks.

    Redirects are not followed: they would lead prompts to hosts that nobody has allowed. What is on
    this machine is reached directly, whatever proxy the environment names.
    """

    def __init__(self) -> None:
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.aclose()

    @property
    def http(self) -> httpx.AsyncClient:
        """The connections."""
        if self._http is None:
            from openai import DefaultAsyncHttpxClient

            local: dict[str, httpx.AsyncBaseTransport | None] = dict.fromkeys(_LOCAL)
            self._http = DefaultAsyncHttpxClient(
                verify=_tls_context(), follow_redirects=False, mounts=local
            )
        return self._http

    def client(self, endpoint: Endpoint) -> AsyncOpenAI:
        """Make a client for one endpoint."""
        from openai import AsyncOpenAI

        client = AsyncOpenAI(
            api_key=endpoint.key() or _NO_KEY,
            base_url=endpoint.base_url,
            max_retries=0,  # The kernel retries.
            http_client=self.http,
        )
        # The SDK takes these from OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS, and
        # would send them to any host; the last has no public name.
        client.organization = client.project = None
        client._custom_headers = dict(endpoint.headers)  # pyright: ignore[reportPrivateUsage]
        return client


@cache
def _tls_context() -> ssl.SSLContext:
    """Make the TLS context once in a process: CrewAI's own client makes two, in 80 ms of CPU."""
    import httpx

    return httpx.create_ssl_context()
