"""Where models are asked, and which secrets go there."""

from __future__ import annotations

from typing import Any

import pytest

from talea import ir
from talea.adapter import Endpoint
from talea.endpoint import PROVIDERS, find_endpoints, find_upstream
from talea.errors import EndpointError, ErrorType, TaskError

CANARY = "sk-canary-0123456789abcdef"
EVERY_KEY = {name: CANARY for p in PROVIDERS.values() for name in p.variables}


def workflow(**parts: Any) -> ir.Workflow:
    return ir.Workflow.model_validate(
        {"name": "w", "tasks": {"t": {"value": 1}}, "agents": {"a": {}}, **parts}
    )


def find(
    model: Any = "openai/gpt-5-mini", environ: dict[str, str] = EVERY_KEY, **options: Any
) -> Endpoint:
    models = {} if isinstance(model, str) else {"m": model}
    document = workflow(model=model if isinstance(model, str) else "m", models=models)
    return find_endpoints(document, ["a"], environ=environ, **options)["a"]


def refusal(model: Any, **options: Any) -> str:
    with pytest.raises(EndpointError) as caught:
        find(model, **options)
    assert CANARY not in str(caught.value)
    return str(caught.value)


def test_a_known_provider_needs_nothing_but_its_key() -> None:
    endpoint = find("openai/gpt-5-mini")
    assert (endpoint.provider, endpoint.model) == ("openai", "gpt-5-mini")
    assert endpoint.base_url == "https://api.openai.com/v1"
    assert endpoint.key() == CANARY


def test_a_model_name_may_hold_slashes() -> None:
    assert find("openrouter/meta/llama-4").model == "meta/llama-4"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_of_the_table_can_be_used(provider: str) -> None:
    endpoint = find(f"{provider}/some-model")
    assert endpoint.key() == (CANARY if PROVIDERS[provider].variables else None)


def test_the_key_is_read_when_it_is_called_and_is_in_no_repr() -> None:
    environ = {"OPENAI_API_KEY": "old"}
    endpoint = find(environ=environ)
    environ["OPENAI_API_KEY"] = f" {CANARY}\n"
    assert endpoint.key() == CANARY
    assert CANARY not in repr(endpoint)


def test_a_missing_key_is_told_by_the_name_of_its_variable() -> None:
    endpoint = find(environ={"OPENAI_API_KEY": ""})
    with pytest.raises(TaskError, match="OPENAI_API_KEY") as caught:
        endpoint.key()
    assert caught.value.type is ErrorType.AUTHENTICATION


@pytest.mark.parametrize(
    ("agent", "root", "caller", "chosen"),
    [
        ("openai/a", "openai/b", "openai/c", "a"),
        (None, "openai/b", "openai/c", "b"),
        (None, None, "openai/c", "c"),
        (None, None, "m", "named"),
    ],
)
def test_the_agents_word_comes_first_and_the_callers_last(
    agent: str | None, root: str | None, caller: str, chosen: str
) -> None:
    document = workflow(
        agents={"a": {"model": agent}}, model=root, models={"m": {"model": "openai/named"}}
    )
    found = find_endpoints(document, ["a"], model=caller, environ=EVERY_KEY)
    assert found["a"].model == chosen


def test_parameters_pass_through_but_not_those_of_the_request() -> None:
    endpoint = find({"model": "openai/gpt-5", "temperature": 0.2, "top_k": 3})
    assert endpoint.parameters == {"temperature": 0.2, "top_k": 3}
    message = refusal({"model": "openai/gpt-5", "stream": True, "messages": []})
    assert "'messages', 'stream'" in message


def test_all_problems_are_told_at_once() -> None:
    agents = {"a": {}, "b": {"model": "opnai/x"}, "c": {"model": "carefull"}}
    document = workflow(agents=agents, models={"careful": {"model": "openai/x"}})
    with pytest.raises(EndpointError) as caught:
        find_endpoints(document, agents, environ={})
    message = str(caught.value)
    assert "agent 'a' has no model" in message
    assert "--model" in message
    assert "did you mean 'openai'?" in message
    assert "did you mean 'careful'?" in message


def test_an_unknown_provider_is_reached_by_its_base_url_alone() -> None:
    assert "Known are anthropic" in refusal("acme/llama")
    model = {"model": "acme/llama", "base_url": "https://llm.acme.example/v1"}
    endpoint = find(model, allow_hosts=["LLM.acme.example"])
    assert endpoint.base_url == "https://llm.acme.example/v1"
    assert endpoint.key() is None


HOSTILE = [
    "https://evil.example/v1",
    "https://api.openai.com.evil.example/v1",
    "https://api.openai.com@evil.example/v1",
    "https://evil.example\\@api.openai.com/v1",
    "https://evil.example#@api.openai.com/v1",
    "https://evil.example?@api.openai.com/v1",
    "https://аpi.openai.com/v1",  # a Cyrillic letter
    "https://api.openai.com./v1",
    "http://api.openai.com/v1",
    "https://api.openai.com:8443/v1",
    "https://localhost.evil.example/v1",
    "http://127.0.0.1.nip.io/v1",
    "http://0x7f.1/v1",
    "http://2130706433/v1",
    "http://0.0.0.0/v1",
    "http://169.254.169.254/latest",
    "http://[::ffff:10.0.0.1]/v1",
    "https://api.openai.com:x/v1",
    "https://api.openai.com/\u202ev1",
    "https://api.openai.com/v1?x=1",
    "https://[::1/v1",
]


@pytest.mark.parametrize("base_url", HOSTILE)
def test_no_address_of_a_documents_choosing_is_asked(base_url: str) -> None:
    for named in ({}, {"api_key": {"env": "OPENAI_API_KEY"}}):
        refusal({"model": "openai/gpt-5", "base_url": base_url, **named})
    refusal({"model": "acme/llama", "base_url": base_url})


def test_a_refused_host_is_named_with_the_way_to_allow_it() -> None:
    message = refusal({"model": "openai/gpt-5", "base_url": "https://proxy.example/v1"})
    assert "'openai/gpt-5'" in message
    assert "https://proxy.example" in message
    assert "--allow-host proxy.example" in message


@pytest.mark.parametrize("allowed", ["proxy.example", "proxy.example:8443", "Proxy.Example"])
def test_an_allowed_host_gets_the_key(allowed: str) -> None:
    model = {"model": "openai/gpt-5", "base_url": "https://proxy.example:8443/v1"}
    assert find(model, allow_hosts=[allowed]).key() == CANARY


@pytest.mark.parametrize("allowed", ["proxy.example:443", "example", "x.proxy.example"])
def test_another_host_or_port_is_not_allowed_with_it(allowed: str) -> None:
    refusal(
        {"model": "openai/gpt-5", "base_url": "https://proxy.example:8443/v1"},
        allow_hosts=[allowed],
    )


def test_a_host_to_allow_must_be_one() -> None:
    assert "--allow-host '//'" in refusal("openai/gpt-5", allow_hosts=["//"])


@pytest.mark.parametrize(
    ("model", "variable", "goes"),
    [
        ("openai/gpt-5", "OPENAI_API_KEY", True),
        ("openai/gpt-5", "TEAM_OPENAI_KEY", True),
        ("openai/gpt-5", "AWS_SECRET_ACCESS_KEY", False),
        ("deepseek/chat", "OPENAI_API_KEY", False),
        ("google/gemini-3", "GEMINI_API_KEY", True),
    ],
)
def test_a_secret_goes_to_the_provider_it_belongs_to(model: str, variable: str, goes: bool) -> None:
    asked = {"model": model, "api_key": {"env": variable}}
    environ = {variable: CANARY}
    if goes:
        assert find(asked, environ=environ).key() == CANARY
    else:
        message = refusal(asked, environ=environ)
        host = PROVIDERS[model.partition("/")[0]].base_url.split("/")[2]
        assert f"--allow-host {host}" in message
        assert find(asked, environ=environ, allow_hosts=[host]).key() == CANARY


@pytest.mark.parametrize(
    "base_url", ["http://127.0.0.1:8080/v1", "http://localhost/v1", "http://[::1]:1/v1"]
)
def test_loopback_gets_the_key_that_is_named_for_it_and_no_other(base_url: str) -> None:
    model = {"model": "openai/local", "base_url": base_url}
    assert find(model).key() is None
    assert find({**model, "api_key": {"env": "OPENAI_API_KEY"}}).key() == CANARY


def test_the_caller_may_move_a_provider() -> None:
    moved = {**EVERY_KEY, "OPENAI_BASE_URL": "http://gateway.corp:4000/v1"}
    endpoint = find(environ=moved)
    assert endpoint.base_url == "http://gateway.corp:4000/v1"
    assert endpoint.key() == CANARY
    same = {"model": "openai/x", "base_url": "http://gateway.corp:4000/other"}
    assert find(same, environ=moved).base_url == "http://gateway.corp:4000/other"
    refusal({"model": "openai/x", "base_url": "http://gateway.corp:5000/v1"}, environ=moved)


def test_account_headers_go_to_the_providers_own_host_alone() -> None:
    environ = {**EVERY_KEY, "OPENAI_ORG_ID": "org-1"}
    assert find(environ=environ).headers == {"OpenAI-Organization": "org-1"}
    moved = {**environ, "OPENAI_BASE_URL": "https://gateway.corp/v1"}
    assert find(environ=moved).headers == {}
    assert find("groq/llama", environ=environ).headers == {}


def test_an_offline_run_needs_no_model_and_reads_no_secret() -> None:
    found = find_endpoints(workflow(), ["a"], offline=True, environ=EVERY_KEY)["a"]
    assert (found.model, found.base_url, found.key()) == ("offline", None, None)
    hostile = {"model": "openai/x", "base_url": "https://evil.example", "temperature": 0}
    asked = find(hostile, offline=True)
    assert (asked.model, asked.base_url, asked.key()) == ("x", None, None)


# What stands between programs and a provider as a whole.


@pytest.mark.parametrize("target", ["openai", "https://api.openai.com/v1"])
def test_an_upstream_is_a_provider_or_its_address(target: str) -> None:
    environ = {**EVERY_KEY, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_ORG_ID": "org"}
    endpoint = find_upstream(target, environ=environ)
    # Not where OPENAI_BASE_URL leads: programs are told to find the gateway there.
    assert (endpoint.provider, endpoint.base_url) == ("openai", "https://api.openai.com/v1")
    assert (endpoint.key(), endpoint.headers) == (CANARY, {"OpenAI-Organization": "org"})


@pytest.mark.parametrize(
    "target",
    [
        "https://elsewhere.example/v1",
        "https://api.openai.com.evil.example/v1",
        "http://api.openai.com/v1",  # In the clear.
        "https://api.openai.com:8443/v1",
        "http://127.0.0.1:9/v1",
    ],
)
def test_an_upstream_elsewhere_gets_no_key_but_one_that_is_named(target: str) -> None:
    environ = {**EVERY_KEY, "OPENAI_ORG_ID": "org", "MINE": "mine-0123"}
    endpoint = find_upstream(target, environ=environ)
    assert (endpoint.key(), endpoint.headers) == (None, {})
    assert find_upstream(target, variable="MINE", environ=environ).key() == "mine-0123"


@pytest.mark.parametrize("variable", [None, "MINE"])
def test_an_upstream_says_which_key_is_missing(variable: str | None) -> None:
    with pytest.raises(TaskError, match=variable or "OPENAI_API_KEY"):
        find_upstream("openai", variable=variable, environ={}).key()


@pytest.mark.parametrize(
    ("target", "told"),
    [("opnai", "did you mean 'openai'"), ("https://user@host/v1", "no plain address")],
)
def test_an_upstream_that_is_none_is_refused(target: str, told: str) -> None:
    with pytest.raises(EndpointError) as caught:
        find_upstream(target, environ=EVERY_KEY)
    assert told in str(caught.value)
