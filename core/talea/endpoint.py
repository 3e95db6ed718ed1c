"""Where a model is asked, and which secret goes there: the one place that knows both.

A document is data from anywhere. It may name a model, an address and the *name* of a secret, and
none of them is taken at its word: a request goes only to a provider's own host, to loopback, or to
a host that the caller allowed, and a secret only to the provider it belongs to or such a host.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from talea import ir
from talea.adapter import Endpoint
from talea.errors import EndpointError, ErrorType, TaskError
from talea.failures import remember_secret

OFFLINE_MODEL = "talea/offline"
"""What an agent without a model is said to have where no model is asked."""

_RESERVED = frozenset(
    {"messages", "model", "n", "response_format", "stream", "stream_options", "tools"}
)
"""Parameters of a request that are talea's to set."""


@dataclass(slots=True, frozen=True)
class Provider:
    """A provider with an OpenAI-compatible address, and the variables that may hold its key."""

    name: str
    base_url: str
    variables: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers for its own host alone, each with the variable that holds the value."""

    @property
    def address_variable(self) -> str:
        """The environment variable by which the caller moves the provider elsewhere."""
        return f"{self.name.upper()}_BASE_URL"

    def owns(self, variable: str) -> bool:
        """Say whether a variable holds a key of this provider, by its name."""
        words = variable.upper().split("_")
        return variable in self.variables or self.name.upper() in words


_OPENAI_HEADERS = {
    "OpenAI-Organization": "OPENAI_ORG_ID",
    "OpenAI-Project": "OPENAI_PROJECT_ID",
}

PROVIDERS: Mapping[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider("openai", "https://api.openai.com/v1", ("OPENAI_API_KEY",), _OPENAI_HEADERS),
        Provider("anthropic", "https://api.anthropic.com/v1", ("ANTHROPIC_API_KEY",)),
        Provider(
            "google",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        ),
        Provider("cerebras", "https://api.cerebras.ai/v1", ("CEREBRAS_API_KEY",)),
        Provider("deepseek", "https://api.deepseek.com/v1", ("DEEPSEEK_API_KEY",)),
        Provider("fireworks", "https://api.fireworks.ai/inference/v1", ("FIREWORKS_API_KEY",)),
        Provider("groq", "https://api.groq.com/openai/v1", ("GROQ_API_KEY",)),
        Provider("huggingface", "https://router.huggingface.co/v1", ("HF_TOKEN",)),
        Provider("mistral", "https://api.mistral.ai/v1", ("MISTRAL_API_KEY",)),
        Provider("openrouter", "https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY",)),
        Provider("perplexity", "https://api.perplexity.ai", ("PERPLEXITY_API_KEY",)),
        Provider("together", "https://api.together.xyz/v1", ("TOGETHER_API_KEY",)),
        Provider("xai", "https://api.x.ai/v1", ("XAI_API_KEY",)),
        Provider("lmstudio", "http://127.0.0.1:1234/v1"),
        Provider("ollama", "http://127.0.0.1:11434/v1"),
        Provider("vllm", "http://127.0.0.1:8000/v1"),
    )
}
"""The providers known by name; any other is reached by a `base_url`."""


def find_endpoints(
    workflow: ir.Workflow,
    agents: Iterable[str],
    *,
    model: str | None = None,
    allow_hosts: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    offline: bool = False,
) -> dict[str, Endpoint]:
    """Find where each of some agents is asked. Raises `EndpointError` with every problem at once.

    `model`, of the same form as an agent's, stands in where the document names none. `environ` is
    the caller's: a provider's `<NAME>_BASE_URL` moves it elsewhere. With `offline` nothing is asked
    outside: no model is needed, no secret is read, and `base_url` is None, for a gateway to set.
    """
    found, problems = dict[str, Endpoint](), dict[str, str | None]()
    search = _Search(workflow, model, tuple(_authority(host) for host in allow_hosts), environ)
    for name in agents:
        try:
            found[name] = search.offline(name) if offline else search.endpoint(name)
        except EndpointError as error:
            problems[error.message] = error.hint
    if problems:
        hints = dict.fromkeys(hint for hint in problems.values() if hint)
        raise EndpointError("\n".join(problems), "; ".join(hints) or None)
    return found


def find_upstream(
    target: str, *, variable: str | None = None, environ: Mapping[str, str] = os.environ
) -> Endpoint:
    """Find what the caller names as a whole: a provider, or an address, of no certain model.

    The key is the provider's, also where the address is its own; `variable` names another one. Any
    other address gets none. `<NAME>_BASE_URL` is not heeded: whoever stands between programs and a
    provider has the programs set it, so it would lead back. Raises `EndpointError`.
    """
    provider = PROVIDERS.get(target)
    if provider is None and "://" not in target:
        close = get_close_matches(target, PROVIDERS, n=1)
        raise EndpointError(
            f"the provider {target!r} is not known",
            (f"did you mean {close[0]!r}? " if close else "")
            + f"Known are {', '.join(sorted(PROVIDERS))}; any other is given by its address",
        )
    base_url = provider.base_url if provider else target
    url = _parse(base_url, target)
    place = _place(url)
    owner = provider or next(
        (one for one in PROVIDERS.values() if _place(urlsplit(one.base_url)) == place), None
    )
    variables = (variable,) if variable else owner.variables if owner else ()
    required = variable is not None or not _is_loopback(url.hostname)
    key = _key_supplier(variables, environ, target, required=required)
    known = owner.headers.items() if owner else ()
    headers = {name: environ[var] for name, var in known if environ.get(var)}
    return Endpoint(owner.name if owner else url.hostname or "", "", base_url, key, headers, {})


@dataclass(slots=True, frozen=True)
class _Search:
    workflow: ir.Workflow
    fallback: str | None
    allowed: tuple[str, ...]
    environ: Mapping[str, str]

    def offline(self, agent: str) -> Endpoint:
        chosen = self._choose(agent)
        model = self._model(agent, OFFLINE_MODEL if chosen is None else chosen)
        provider, name = model.model.split("/", 1)
        return Endpoint(provider, name, None, lambda: None, {}, _parameters(model))

    def endpoint(self, agent: str) -> Endpoint:
        chosen = self._choose(agent)
        if chosen is None:
            raise EndpointError(
                f"agent {agent!r} has no model",
                "give one with --model provider/name, or write `model:` in the document",
            )
        model = self._model(agent, chosen)
        provider_name, name = model.model.split("/", 1)
        provider = PROVIDERS.get(provider_name)
        base_url = self._address(model, provider)
        url = urlsplit(base_url)
        key = _key_supplier(
            self._variables(model, provider, url),
            self.environ,
            model.model,
            required=not _is_loopback(url.hostname),
        )
        headers = dict[str, str]()
        if provider is not None and _place(url) == _place(urlsplit(provider.base_url)):
            known = provider.headers.items()
            headers = {name: self.environ[var] for name, var in known if self.environ.get(var)}
        return Endpoint(provider_name, name, base_url, key, headers, _parameters(model))

    def _choose(self, agent: str) -> str | None:
        return self.workflow.agents[agent].model or self.workflow.model or self.fallback

    def _model(self, agent: str, chosen: str) -> ir.Model:
        """Give the model that a name of `models:` or a `provider/name` stands for."""
        known = self.workflow.models
        if chosen in known:
            return known[chosen]
        provider, _, name = chosen.partition("/")
        if not (provider and name) or any(letter.isspace() for letter in chosen):
            close = get_close_matches(chosen, known, n=1)
            raise EndpointError(
                f"agent {agent!r}: {chosen!r} is no model",
                f"did you mean {close[0]!r}?"
                if close
                else "write provider/name, such as openai/gpt-5-mini, or a name from `models:`",
            )
        return ir.Model.model_validate({"model": chosen})

    def _address(self, model: ir.Model, provider: Provider | None) -> str:
        """Give the address to ask: the document's if allowed, the caller's, the provider's."""
        moved = self.environ.get(provider.address_variable, "").strip() if provider else ""
        if moved:
            _parse(moved, model.model)
        if model.base_url is None:
            if provider is None:
                raise _unknown_provider(model.model)
            return moved or provider.base_url
        url = _parse(model.base_url, model.model)
        known = [moved] if moved else []
        known += [provider.base_url] if provider else []
        own = any(_place(url) == _place(urlsplit(address)) for address in known)
        if not (own or self._is_trusted(url)):
            raise EndpointError(
                f"model {model.model!r}: its base_url leads to {_place(url)}, which is neither its"
                " provider's own address nor allowed by the caller",
                f"if it may see this workflow's data and key: --allow-host {url.hostname}",
            )
        return model.base_url

    def _variables(
        self, model: ir.Model, provider: Provider | None, url: SplitResult
    ) -> tuple[str, ...]:
        """Name the variables that may hold the key, if that may go where the model is asked."""
        if model.api_key is None:
            # A server of the document's choosing on this machine gets no key unless it asks.
            local = model.base_url is not None and _is_loopback(url.hostname)
            return provider.variables if provider and not local else ()
        variable = model.api_key.env
        belongs = provider is not None and provider.owns(variable)
        if not (belongs or self._is_trusted(url)):
            raise EndpointError(
                f"model {model.model!r}: the secret {variable!r} is, by its name, not one for"
                f" {url.hostname!r}",
                f"if it may be sent there: --allow-host {url.hostname}",
            )
        return (variable,)

    def _is_trusted(self, url: SplitResult) -> bool:
        """Say whether it is this machine, or a host that the caller allowed."""
        host = url.hostname or ""
        return _is_loopback(host) or host in self.allowed or f"{host}:{_port(url)}" in self.allowed


def _key_supplier(
    variables: Sequence[str], environ: Mapping[str, str], model: str, *, required: bool
) -> Callable[[], str | None]:
    """Make what reads the secret at the time of a call."""

    def key() -> str | None:
        for variable in variables:
            if secret := environ.get(variable, "").strip():
                remember_secret(secret)
                return secret
        if variables and required:
            names = " or ".join(variables)
            raise TaskError(
                ErrorType.AUTHENTICATION,
                f"the environment variable {names} is not set; it holds the key of {model!r}",
            )
        return None

    return key


def _parameters(model: ir.Model) -> dict[str, Any]:
    """Give the parameters that go to the provider as they are."""
    parameters = dict(model.model_extra or {})
    if reserved := sorted(_RESERVED & parameters.keys()):
        names = ", ".join(map(repr, reserved))
        raise EndpointError(
            f"model {model.model!r}: {names} cannot be a model's parameter",
            "it is set by the task; leave it out",
        )
    return parameters


def _unknown_provider(model: str) -> EndpointError:
    name = model.partition("/")[0]
    close = get_close_matches(name, PROVIDERS, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return EndpointError(
        f"model {model!r}: the provider {name!r} is not known",
        f"{guess}Known are {', '.join(sorted(PROVIDERS))}; any other OpenAI-compatible one needs a"
        " `base_url` under `models:`",
    )


def _parse(address: str, model: str) -> SplitResult:
    """Split an address, and refuse what two readers of URLs could understand differently."""
    try:
        url = urlsplit(address)
        plain = url.scheme in ("http", "https") and bool(url.hostname) and _port(url) > 0
    except ValueError:
        plain, url = False, urlsplit("")
    if not plain or any(c in "@\\?#" or c.isspace() or not c.isprintable() for c in address):
        raise EndpointError(
            f"model {model!r}: its base_url is no plain address",
            "write http(s)://host[:port]/path, without a user, a query or a fragment",
        )
    return url


def _authority(host: str) -> str:
    """Bring what the caller allows to the form `host` or `host:port`."""
    try:
        url = urlsplit(host if "://" in host else f"//{host}")
        name, port = url.hostname, url.port
    except ValueError:
        name = port = None
    if not name:
        raise EndpointError(f"--allow-host {host!r} is no host", "write host or host:port")
    return name if port is None else f"{name}:{port}"


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _place(url: SplitResult) -> str:
    return f"{url.scheme}://{url.hostname}:{_port(url)}"


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False
