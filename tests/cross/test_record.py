"""A run is recorded on one framework, and replayed on all: same answers, same calls of tools."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import talea
from talea.events import Event, TextStreamed
from talea.gateway.cassette import Fault, TokenUsage, ToolCall, Turn, load_cassette
from talea.gateway.chat import Call
from talea.gateway.server import Gateway

from .ways import CREWAI, WAYS, Way, is_installed, params

pytestmark = CREWAI

KEY = "sk-canary-4f1d22b07a"
WORKFLOW = """\
talea: 1
name: recorded
model: openai/gpt-5-mini
tools: {search: {description: Search.}}
agents:
  worker: {role: Worker, tools: [search]}
  plain: {role: Plain}
tasks:
  turns: {agent: worker, prompt: Look up cats}
  items: {for_each: [1, 2], agent: plain, prompt: "Item {{ item }}"}
  shape:
    agent: plain
    prompt: Give a level
    output: {type: object, properties: {level: {type: integer}}, required: [level]}
    retry: {max_attempts: 2, initial_interval: 1ms}
  again: {agent: plain, prompt: Try it, retry: {max_attempts: 2, initial_interval: 1ms}}
  part:
    for_each: [x, y]
    tasks:
      inner: {agent: plain, prompt: "Inner {{ item }}"}
      round: {agent: plain, prompt: Round, loop: {until: loop.index == 1, max: 3}}
outputs:
  turns: "{{ tasks.turns.output }}"
  items: "{{ tasks.items.output }}"
  shape: "{{ tasks.shape.output }}"
  again: "{{ tasks.again.output }}"
  part: "{{ tasks.part.output }}"
"""
OUTPUTS = {
    "turns": "Cats sleep.",
    "items": ["item 1", "item 2"],
    "shape": {"level": 3},
    "again": "at last",
    "part": [{"inner": "inner x", "round": "round"}, {"inner": "inner y", "round": "round"}],
}
CALLS = {
    "turns": 2, "items[0]": 1, "items[1]": 1, "shape": 2, "again": 2,
    "part[0]/inner": 1, "part[0]/round#0": 1, "part[0]/round#1": 1,
    "part[1]/inner": 1, "part[1]/round#0": 1, "part[1]/round#1": 1,
}  # fmt: skip


class Model:
    """A provider's server: it knows nothing of tasks, and answers what it is asked."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.tries = 0

    def answer(self, call: Call) -> Turn:
        """Answer by the last thing that was asked for."""
        messages = call.request.messages
        said = "\n".join(message.text for message in messages)
        asked = re.findall(r"Look up|Item \d|Give a level|Try it|Inner \w|Round", said)[-1]
        used = TokenUsage(input_tokens=len(messages), output_tokens=7)
        if asked == "Look up" and not any(message.role == "tool" for message in messages):
            calls = tuple(ToolCall(name="search", arguments={"query": q}) for q in ("cats", "dogs"))
            return Turn(tool_calls=calls, usage=used)
        if asked == "Try it":
            self.tries += 1
            if self.tries == 1:
                return Turn(fault=Fault(status=503, retry_after=0))
            return Turn(content="at last", usage=used)
        if asked == "Give a level":
            refused = '"high"' in said
            return Turn(content={"level": 3 if refused else "high"}, usage=used)
        return Turn(content={"Look up": "Cats sleep."}.get(asked, asked.lower()), usage=used)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Serve a model on loopback, where the provider is said to be."""
    with Gateway(Model()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.open().url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield server


def run(way: Way, *, tools: bool = True, **more: Any) -> tuple[talea.Result, list[str]]:
    """Run the workflow; give the result, and what was searched for."""
    asked: list[str] = []

    def search(query: str) -> str:
        """Search for something."""
        asked.append(query)
        return f"found {query}"

    result = talea.run(
        talea.loads(WORKFLOW),
        framework=way.framework,
        options=way.options,
        tools=[search] if tools else None,
        **more,
    )
    return result, sorted(asked)


def addresses(result: talea.Result) -> dict[str, int]:
    """Count the metered calls of each address; the loop's first iteration is `#0`."""
    assert result.calls is not None
    found: dict[str, int] = {}
    for call in result.calls:
        found[call.address] = found.get(call.address, 0) + 1
    return found


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("way", params([WAYS[0], WAYS[1], WAYS[5]]))
def test_what_is_recorded_on_one_framework_is_replayed_on_all(
    way: Way, streamed: bool, model: Gateway, tmp_path: Path
) -> None:
    tape = tmp_path / "tape.yaml"
    listening: dict[str, Any] = {"sinks": [lambda _: None]} if streamed else {}
    recorded, asked = run(way, record=tape, record_tools=True, **listening)
    assert recorded.raise_for_failure().outputs == OUTPUTS
    assert asked == ["cats", "dogs"]
    counted = addresses(recorded)
    assert counted == CALLS
    assert recorded.reported == recorded.usage
    assert sum(e.input_tokens for e in model.log) == recorded.usage.input_tokens
    assert KEY not in tape.read_text()
    cassette = load_cassette(tape)
    assert set(cassette.tasks) == set(CALLS)
    assert cassette.tools is not None
    assert [one.result for one in cassette.tools["turns"]] == ["found cats", "found dogs"]
    for other in filter(is_installed, (WAYS[0], WAYS[1], WAYS[3], WAYS[5])):
        replayed, again = run(other, tools=False, replay=tape, **listening)
        assert replayed.raise_for_failure().outputs == OUTPUTS
        assert addresses(replayed) == CALLS
        assert replayed.usage.input_tokens == recorded.usage.input_tokens
        assert again == []


@pytest.mark.parametrize("way", params([WAYS[0], WAYS[1], WAYS[5]]))
def test_a_call_beyond_the_record_fails_with_its_name(
    way: Way, model: Gateway, tmp_path: Path
) -> None:
    tape = tmp_path / "tape.yaml"
    run(way, record=tape)
    shorter = tape.read_text().replace("part[1]/round#1", "part[2]/round#1")
    tape.write_text(shorter)
    result, _ = run(way, replay=tape)
    assert result.error is not None
    assert result.error.type == "replay_exhausted"
    assert result.error.address == "part[1]/round"
    assert "part[1]/round#1" in result.error.message


def test_text_that_streams_through_the_gateway_streams(model: Gateway) -> None:
    pieces: list[str] = []
    run(
        WAYS[0], meter=True, sinks=[lambda e: isinstance(e, TextStreamed) and pieces.append(e.text)]
    )
    assert "".join(pieces).count("Cats sleep.") == 1


class _Deaf:
    """A sink that wants no pieces of answers."""

    text = False

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.heard.append(event)


def test_models_stream_where_a_sink_hears_text_alone(model: Gateway) -> None:
    deaf, hearing = _Deaf(), list[Event]()
    run(WAYS[0], sinks=[deaf])
    quiet = [seen.stream for seen in model.log]
    run(WAYS[0], sinks=[deaf, hearing.append])
    assert quiet
    assert not any(quiet)
    assert all(seen.stream for seen in model.log[len(quiet) :])
    assert any(isinstance(event, TextStreamed) for event in hearing)
    assert deaf.heard
    assert not any(isinstance(event, TextStreamed) for event in deaf.heard)


def test_a_record_that_cannot_be_written_is_noted_and_loses_nothing(
    model: Gateway, tmp_path: Path
) -> None:
    (tmp_path / "tape.yaml").mkdir()
    result, _ = run(WAYS[0], record=tmp_path / "tape.yaml")
    assert result.outputs == OUTPUTS
    assert len(result.notes) == 1
    assert "was not written" in result.notes[0]
    assert list(tmp_path.iterdir()) == [tmp_path / "tape.yaml"]
