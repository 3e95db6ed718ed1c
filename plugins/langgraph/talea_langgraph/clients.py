"""The chat models of one run: LangChain's own clients, on one pool of connections."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Self

from pydantic import SecretStr

from talea.adapter import Endpoint
from talea.errors import ErrorType, TaskError

if TYPE_CHECKING:
    import ssl

    import httpx
    from langchain_core.language_models import BaseChatModel

_LOCAL = ("all://127.0.0.1", "all://localhost", "all://[::1]")
_KEPT = 64
"""How many models are kept: under a gateway, each task has an address of its own."""
_NO_KEY = "none"
"""Sent where no key is needed: the SDK refuses to work without one."""


class Clients:
    """What the agents of one run share; it is made when the first one asks.

    ChatOpenAI would keep its own connections over event loops, and make a TLS context for each
    address. Redirects are not followed: they would lead prompts to hosts that nobody has allowed.
    What is on this machine is reached directly, whatever proxy the environment names.
    """

    def __init__(self) -> None:
        self._http: httpx.AsyncClient | None = None
        self._blocking: httpx.Client | None = None
        self._models: dict[tuple[Any, ...], tuple[Endpoint, BaseChatModel]] = {}
        self._behind: dict[tuple[Any, ...], BaseChatModel] = {}
        """One of each kind behind the gateway, where others differ by their address alone."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.aclose()
        if self._blocking is not None:
            self._blocking.close()

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

    @property
    def blocking(self) -> httpx.Client:
        """What ChatOpenAI wants besides, and never uses here."""
        if self._blocking is None:
            import httpx

            self._blocking = httpx.Client(verify=_tls_context(), trust_env=False)
        return self._blocking

    def model(self, endpoint: Endpoint, *, streams: bool) -> BaseChatModel:
        """Give the chat model of an endpoint; it is made once for each key."""
        key = endpoint.key()
        place = (id(endpoint), key, streams)
        if place not in self._models:
            if len(self._models) == _KEPT:
                del self._models[next(iter(self._models))]
            make = self._move if endpoint.is_gateway else self._make
            self._models[place] = endpoint, make(endpoint, key, streams)
        return self._models[place][1]

    def _move(self, endpoint: Endpoint, key: str | None, streams: bool) -> BaseChatModel:
        """Give what a model that is there would be at another address: a quarter of making it."""
        kind = (endpoint.model, key, streams, repr(endpoint.parameters))
        if kind not in self._behind:
            self._behind[kind] = self._make(endpoint, key, streams)
            return self._behind[kind]
        model: Any = self._behind[kind]
        before = model.root_async_client
        client = before.copy(base_url=endpoint.base_url)
        _drop_environment(client, endpoint)
        if hasattr(before, "_platform"):
            client._platform = before._platform  # noqa: SLF001 # It takes a thread to find it.
        changed = {"root_async_client": client, "async_client": client.chat.completions}
        return model.model_copy(update={**changed, "openai_api_base": endpoint.base_url})

    def _make(self, endpoint: Endpoint, key: str | None, streams: bool) -> BaseChatModel:
        if endpoint.base_url is None:
            return _by_provider(endpoint, key, streams)
        from talea_langgraph.model import ChatModel

        # Every endpoint with an address speaks chat completions.
        model: Any = ChatModel(
            model=endpoint.model,
            base_url=endpoint.base_url,
            api_key=SecretStr(key or _NO_KEY),
            max_retries=0,  # The kernel retries.
            http_async_client=self.http,
            http_client=self.blocking,
            streaming=streams,
            stream_usage=True,
            use_responses_api=False,
            extra_body=dict(endpoint.parameters) or None,
        )
        _drop_environment(model.root_async_client, endpoint)
        return model


def _drop_environment(client: Any, endpoint: Endpoint) -> None:
    """Drop what the SDK takes from there, and would send to any host.

    The last has no public name.
    """
    client.organization = client.project = None
    client._custom_headers = dict(endpoint.headers)  # noqa: SLF001


def _by_provider(endpoint: Endpoint, key: str | None, streams: bool) -> BaseChatModel:
    """Make the model of a provider's own package, where no address is given."""
    from langchain.chat_models import init_chat_model

    try:
        make: Any = init_chat_model
        return make(
            endpoint.model,
            model_provider=endpoint.provider,
            api_key=key,
            max_retries=0,
            streaming=streams,
            **endpoint.parameters,
        )
    except (ImportError, ValueError) as error:
        # Both name the package that is missing, or the providers that there are.
        raise TaskError(
            ErrorType.MODEL_ERROR, f"no client for {endpoint.provider!r}: {error}"
        ) from (error)


@cache
def _tls_context() -> ssl.SSLContext:
    """Make the TLS context once in a process: it takes 25 ms, and a client that has it 0.1."""
    import httpx

    return httpx.create_ssl_context()
