"""The limits of a run: the same whether the gateway counts or not, and beyond what a framework
tells of its calls."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import talea
from talea.adapter import AgentAnswer, AgentCall
from talea.gateway.cassette import Fault, TokenUsage, Turn
from talea.gateway.chat import Call
from talea.gateway.server import Gateway
from talea.plugins import get_adapter
from talea.run import prepare

from .ways import WAYS, Way, params

PRICED = pytest.mark.skipif(
    find_spec("genai_prices") is None, reason="the extra talea[prices] is not installed"
)

CHAIN = """\
talea: 1
name: limits
model: openai/gpt-5-mini
limits: {LIMITS}
agents: {w: {}}
tasks:
  a: {agent: w, prompt: A}
  b: {depends_on: [a], agent: w, prompt: B}
  c: {depends_on: [b], agent: w, prompt: C}
"""
SIDE_BY_SIDE = CHAIN.replace("depends_on: [a], ", "").replace("depends_on: [b], ", "")
ON = params([WAYS[0], WAYS[1], WAYS[3], WAYS[4]])


class Model:
    """A provider's server: ten tokens and a quarter of a dollar a call."""

    def __init__(self) -> None:
        self.calls = 0
        self.hangs = False

    def answer(self, call: Call) -> Turn:
        """Answer, unless it is to hang."""
        self.calls += 1
        if self.hangs:
            return Turn(fault=Fault(hang=True))
        return Turn(content="yes", usage=TokenUsage(input_tokens=1_000_000, output_tokens=0))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    """Serve a model on loopback, as the provider's own address."""
    served = Model()
    with Gateway(served) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.open().url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-for-nobody-at-all")
        yield served


def limited(text: str, limits: str) -> talea.Workflow:
    return talea.loads(text.replace("LIMITS", limits))


@pytest.mark.parametrize("meter", [False, True], ids=["plain", "metered"])
@pytest.mark.parametrize(
    ("limits", "calls", "words"),
    [
        ("max_model_calls: 2", 2, "max_model_calls is 2"),
        ("max_tokens: 1500000", 2, "max_tokens is 1500000, and 2000000 are used"),
        pytest.param("max_cost: 0.3", 2, "max_cost is 0.3, and 0.5 is used", marks=PRICED),
    ],
)
@pytest.mark.parametrize("way", ON)
def test_limits_hold_equally_where_the_gateway_counts(
    way: Way, limits: str, calls: int, words: str, meter: bool, model: Model
) -> None:
    result = talea.run(
        limited(CHAIN, limits), framework=way.framework, options=way.options, meter=meter
    )
    assert result.error is not None
    assert (result.error.type, result.error.message) == ("limit_exceeded", words)
    assert result.error.address == "c"
    assert result.usage.model_calls == model.calls == calls


@pytest.mark.parametrize("meter", [False, True], ids=["plain", "metered"])
@pytest.mark.parametrize("way", ON)
def test_time_and_places_are_bounded_equally(way: Way, meter: bool, model: Model) -> None:
    settings: dict[str, Any] = {
        "framework": way.framework,
        "options": way.options,
        "meter": meter,
    }
    result = talea.run(limited(SIDE_BY_SIDE, "max_parallel: 1"), **settings)
    assert result.raise_for_failure().usage.model_calls == 3
    model.hangs = True
    bounds = "max_parallel: 1, timeout: 1s"
    result = talea.run(limited(SIDE_BY_SIDE, bounds), **settings)
    assert result.error is not None
    assert result.error.message == "the run took longer than 1s"
    assert model.calls <= 4, "the first one holds the only place"


class Secretive(type(get_adapter("simple"))):  # type: ignore[misc]
    """A framework that asks once more than it says, or says nothing of what its calls used."""

    name = "simple"

    def __init__(self, *, asks_more: bool = False, says_usage: bool = True) -> None:
        super().__init__()
        self.asks_more = asks_more
        self.says_usage = says_usage
        self.refused = 0

    async def answer(self, call: AgentCall) -> AgentAnswer:
        if self.asks_more:
            await asyncio.to_thread(self._ask, f"{call.endpoint.base_url}/chat/completions")
        if not self.says_usage:
            end = call.end_turn
            call.end_turn = lambda usage: end(None)  # type: ignore[method-assign]
        return await super().answer(call)

    def _ask(self, url: str) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": "hidden"}]}
        head = {"content-type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode(), head)
        try:
            urllib.request.urlopen(request).read()
        except urllib.error.HTTPError as error:
            error.close()
            self.refused += 1


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_calls_of_which_nobody_is_told_count(most: int, model: Model) -> None:
    adapter = Secretive(asks_more=True)
    result = talea.run(limited(CHAIN, f"max_model_calls: {most}"), framework=adapter, meter=True)
    assert result.error is not None
    assert (result.error.type, result.error.message) == (
        "limit_exceeded",
        f"max_model_calls is {most}",
    )
    assert result.error.address == "abc"[most // 2]
    assert model.calls == result.usage.model_calls == most
    assert result.reported is not None
    assert result.reported.model_calls == most // 2
    assert adapter.refused == (most + 1) % 2


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ("max_tokens: 1500000", "max_tokens is 1500000, and 2000000 are used"),
        pytest.param("max_cost: 0.3", "max_cost is 0.3, and 0.5 is used", marks=PRICED),
    ],
)
def test_what_a_framework_does_not_report_counts_as_it_was_metered(
    limits: str, words: str, model: Model
) -> None:
    adapter = Secretive(says_usage=False)
    result = talea.run(limited(CHAIN, limits), framework=adapter, meter=True)
    assert result.error is not None
    assert result.error.message == words
    assert model.calls == 2


def test_what_was_metered_counts_on_when_the_run_goes_on(model: Model, tmp_path: Path) -> None:
    journal = tmp_path / "runs.db"
    document = limited(
        CHAIN.replace("c: {dep", "ask: {depends_on: [b], ask: On?}\n  c: {dep").replace(
            "depends_on: [b], agent", "depends_on: [ask], agent"
        ),
        "max_tokens: 1500000",
    )
    adapter = Secretive(says_usage=False)
    begun = talea.run(document, framework=adapter, meter=True, journal=journal)
    assert begun.status == "waiting"
    result = talea.resume(begun.run, journal=journal, workflow=document, answers={"ask": "yes"})
    assert result.error is not None
    assert result.error.message == "max_tokens is 1500000, and 2000000 are used"
    assert model.calls == 2
    assert result.usage.input_tokens == 2_000_000
    assert result.usage.model_calls == 2


def test_limits_hold_where_the_gateway_is_in_another_process(model: Model, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(CHAIN.replace("LIMITS", "max_model_calls: 2"))
    done = subprocess.run(
        [sys.executable, "-m", "talea", "run", "w.yaml", "--meter", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["error"]["message"] == "max_model_calls is 2"
    assert told["usage"]["model_calls"] == model.calls == 2


def test_a_model_that_only_the_caller_names_is_held_to_its_rates(model: Model) -> None:
    document = talea.loads(
        SIDE_BY_SIDE.replace("model: openai/gpt-5-mini\n", "").replace(
            "limits: {LIMITS}",
            "models: {slow: {model: openai/gpt-5-mini, limits: {requests_per_minute: 1}}}\n"
            "limits: {timeout: 1s}",
        )
    )
    result = talea.run(document, model="slow")
    assert result.error is not None
    assert result.error.type == "limit_exceeded"
    assert model.calls == 1
    prepared = prepare(document, model="openai/gpt-5-mini")
    assert asyncio.run(prepared.run()).succeeded
