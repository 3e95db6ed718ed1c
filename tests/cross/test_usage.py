"""What each agent of a run used: the same by every framework, as it says itself and as metered."""

from __future__ import annotations

from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import talea
from talea.cli import cli
from talea.events import ModelCalled
from talea.gateway.cassette import Player, loads_cassette
from talea.gateway.server import Gateway

from .ways import WAYS, Way, params

FLOW = """\
talea: 1
name: usage
model: openai/gpt-5-mini
agents: {lead: {}, writer: {}, editor: {}, critic: {}, idle: {}}
teams:
  desk: {manager: lead, members: [writer, review, idle]}
  review: {manager: editor, members: [critic]}
tasks:
  first: {agent: writer, prompt: Begin}
  asked: {depends_on: [first], ask: "Go on?"}
  plan: {depends_on: [asked], team: desk, prompt: Make it}
  last: {depends_on: [plan], agent: critic, prompt: Judge it all}
"""
CASSETTE = """\
talea_cassette: 1
tasks:
  first: [{content: Well., usage: {input_tokens: 1, output_tokens: 1}}]
  plan:
    lead:
    - {delegate: {to: writer, task: Draft it}, usage: {input_tokens: 10, output_tokens: 2}}
    - {delegate: {to: review, task: Look at it}, usage: {input_tokens: 20, output_tokens: 2}}
    - {content: Done., usage: {input_tokens: 30, output_tokens: 2}}
    writer: [{content: A draft., usage: {input_tokens: 100, output_tokens: 3}}]
    editor:
    - {delegate: {to: critic, task: Judge it}, usage: {input_tokens: 200, output_tokens: 4}}
    - {content: Good., usage: {input_tokens: 300, output_tokens: 4}}
    critic: [{content: Good., usage: {input_tokens: 1000, output_tokens: 5}}]
  last: [{content: Fine., usage: {input_tokens: 2000, output_tokens: 6}}]
"""
USED = {
    "writer": (2, 101, 4),
    "lead": (3, 60, 6),
    "editor": (2, 500, 8),
    "critic": (2, 3000, 11),
}
ON = params([WAYS[0], WAYS[1], WAYS[3], WAYS[4], WAYS[5]])


def used(result: talea.Result) -> dict[str, tuple[int, int, int]]:
    return {
        name: (one.model_calls, one.input_tokens, one.output_tokens)
        for name, one in result.agents.items()
    }


@pytest.mark.parametrize("way", ON)
def test_usage_is_counted_by_agent_wherever_it_works(way: Way) -> None:
    told: dict[str, Counter[str]] = {}

    def look(event: Any) -> None:
        if isinstance(event, ModelCalled):
            counts = told.setdefault(event.agent, Counter())
            counts.update({"calls": 1, "tokens": event.usage.input_tokens})

    result = talea.run(
        talea.loads(FLOW),
        framework=way.framework,
        options=way.options,
        replay=loads_cassette(CASSETTE),
        answers={"asked": "yes"},
        sinks=[look],
    )
    assert used(result.raise_for_failure()) == USED
    assert {name: (n["calls"], n["tokens"]) for name, n in told.items()} == {
        name: counts[:2] for name, counts in USED.items()
    }
    assert sum(one.model_calls for one in result.agents.values()) == result.usage.model_calls
    assert list(result.as_json()["agents"]) == list(result.agents)


@pytest.mark.parametrize("way", ON)
def test_usage_by_agent_counts_on_when_the_run_goes_on(way: Way, tmp_path: Path) -> None:
    journal = tmp_path / "runs.db"
    given: dict[str, Any] = {"journal": journal, "replay": loads_cassette(CASSETTE)}
    begun = talea.run(talea.loads(FLOW), framework=way.framework, options=way.options, **given)
    assert used(begun) == {"writer": (1, 1, 1)}
    result = talea.resume(begun.run, answers={"asked": "yes"}, **given)
    assert used(result.raise_for_failure()) == USED
    assert result.usage.model_calls == 9
    assert result.tasks["first"].usage is not None
    assert result.tasks["first"].usage.model_calls == 1
    again = talea.resume(begun.run, journal=journal)
    assert used(again) == USED


def test_without_a_meter_it_is_what_the_framework_reports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Gateway(Player(loads_cassette("talea_cassette: 1\ntasks: {call: [{content: x}]}"))) as own:
        monkeypatch.setenv("OPENAI_BASE_URL", own.base_url("call", "one"))
        monkeypatch.setenv("OPENAI_API_KEY", "sk-for-nobody-at-all")
        result = talea.run(
            talea.loads(
                "talea: 1\nname: t\nmodel: openai/gpt-5-mini\nagents: {one: {}}\n"
                "tasks: {a: {agent: one, prompt: Hi}}"
            )
        )
    assert result.raise_for_failure().calls is None
    assert result.agents == {"one": result.usage}
    assert result.usage.model_calls == 1


def test_the_summary_tells_agents_where_there_are_several(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(FLOW)
    (tmp_path / "c.yaml").write_text(CASSETTE)
    (tmp_path / "one.yaml").write_text(
        "talea: 1\nname: one\nagents: {lonely: {}}\ntasks: {a: {agent: lonely, prompt: Hi}}\n"
    )
    separate: Any = {"mix_stderr": False} if metadata.version("click") < "8.2" else {}
    run = ["run", str(tmp_path / "w.yaml"), "--replay", str(tmp_path / "c.yaml")]
    told = CliRunner(**separate).invoke(cli, [*run, "--answer", "asked=yes"]).stderr
    lines = [line.split() for line in told.splitlines()]
    assert ["lead", "3", "model", "calls", "60", "+", "6", "tokens"] in [x[:8] for x in lines]
    assert not [line for line in lines if line[:1] == ["idle"]]
    one = CliRunner(**separate).invoke(cli, ["run", str(tmp_path / "one.yaml"), "--offline"])
    assert "  lonely  1 model call" not in one.stderr
