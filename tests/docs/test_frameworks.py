"""`docs/frameworks`: the code written by hand is what a workflow becomes, and gives the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import talea
from talea.gateway.server import Gateway
from talea.gateway.standin import StandIn

from .blocks import ROOT, blocks_of

FOLDER = ROOT / "docs" / "frameworks"
BRIEF = FOLDER / "brief.yaml"
LETTER = FOLDER / "letter.yaml"
DESK = FOLDER / "desk.yaml"
INPUTS = {"topic": "owls", "regions": ["Europe", "Asia"]}
OF_CREWAI = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own code


def by_hand(page: str) -> list[dict[str, Any]]:
    """Run a page's native code, block by block; give what each defines."""
    found: list[dict[str, Any]] = []
    for block in blocks_of(FOLDER / page):
        if (block.language, block.kind) == ("python", "native"):
            names: dict[str, Any] = {"__name__": "by_hand"}
            exec(compile(block.code, block.where, "exec", dont_inherit=True), names)
            found.append(names)
    return found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Gateway]:
    """Give a server that the code written by hand takes for OpenAI's."""
    with Gateway(StandIn()) as gateway:
        monkeypatch.setenv("OPENAI_BASE_URL", gateway.base_url("any", "any"))
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path))
        yield gateway


def tokens_asked(server: Gateway) -> int:
    """Count the tokens of all prompts that the code written by hand has sent."""
    return sum(exchange.input_tokens or 0 for exchange in server.log)


@pytest.fixture
def crewai() -> Iterator[None]:
    """Let CrewAI say nothing on the terminal, and do nothing on the network."""
    framework = pytest.importorskip("talea_crewai.framework")
    with framework.quiet():
        yield


def test_files_are_shown_as_they_are() -> None:
    shown = [
        (FOLDER / block.file, block.code)
        for page in sorted(FOLDER.glob("*.md"))
        for block in blocks_of(page)
        if block.file is not None
    ]
    assert {path for path, _ in shown} == set(FOLDER.glob("*.yaml"))
    for path, code in shown:
        assert path.read_text("utf-8") == code


def test_simple_by_hand(server: Gateway) -> None:
    (names,) = by_hand("simple.md")
    outputs = asyncio.run(names["brief"](**INPUTS))
    result = talea.run(BRIEF, INPUTS, offline=True)
    assert outputs == result.outputs
    assert tokens_asked(server) == result.usage.input_tokens


def test_langgraph_by_hand(server: Gateway) -> None:
    pytest.importorskip("langgraph")
    (names,) = by_hand("langgraph.md")
    graph, made = names["graph"], talea.compile(BRIEF, "langgraph")
    assert graph.get_graph().draw_mermaid() == made.get_graph().draw_mermaid()
    mine = asyncio.run(graph.ainvoke({"inputs": INPUTS}))
    theirs = asyncio.run(made.ainvoke({"inputs": INPUTS}, context={"offline": True}))
    assert mine["outputs"] == theirs["outputs"]
    used = [one["usage"]["input_tokens"] for one in theirs["results"].values() if "usage" in one]
    assert tokens_asked(server) == sum(used)


@OF_CREWAI
def test_a_crew_by_hand(server: Gateway, crewai: None) -> None:
    names, _, _ = by_hand("crewai.md")
    mine, theirs = names["crew"], talea.compile(LETTER, "crewai")(offline=True)

    def shown(crew: Any) -> Any:
        agents = [(agent.role, agent.goal, agent.backstory) for agent in crew.agents]
        tasks = [
            (task.name, task.expected_output, task.agent.role, [one.name for one in task.context])
            for task in crew.tasks
        ]
        return crew.process, agents, tasks

    assert shown(mine) == shown(theirs)
    letter = {"letter": "The lamp came with a cracked shade."}
    ended, expected = mine.kickoff(inputs=letter), theirs.kickoff(inputs=letter)
    assert ended.raw == expected.raw
    assert ended.token_usage == expected.token_usage


@OF_CREWAI
def test_a_team_by_hand(server: Gateway, crewai: None) -> None:
    _, names, _ = by_hand("crewai.md")
    mine, theirs = names["crew"], talea.compile(DESK, "crewai")(offline=True)

    def shown(crew: Any) -> Any:
        agents = [crew.manager_agent, *crew.agents]
        tasks = [(task.name, task.expected_output, task.agent) for task in crew.tasks]
        told = [(agent.role, agent.goal, agent.backstory) for agent in agents]
        return crew.process, told, tasks

    assert shown(mine) == shown(theirs)
    ended, expected = mine.kickoff(inputs={"topic": "owls"}), theirs.kickoff()
    assert ended.raw == expected.raw
    assert ended.token_usage == expected.token_usage


@OF_CREWAI
def test_a_flow_by_hand(server: Gateway, crewai: None) -> None:
    _, _, names = by_hand("crewai.md")
    mine, theirs = names["Brief"], talea.compile(BRIEF, "crewai")

    def shown(flow: Any) -> Any:
        methods = flow.flow_definition().methods
        return {name: (method.start, method.listen) for name, method in methods.items()}

    assert shown(mine) == shown(theirs)
    assert mine().kickoff(inputs=INPUTS) == theirs(offline=True).kickoff(inputs=INPUTS)


def test_no_native_code_stands_elsewhere() -> None:
    pages = {
        path.name
        for path in (ROOT / "docs").rglob("*.md")
        for block in blocks_of(path)
        if block.kind == "native"
    }
    assert pages == {"simple.md", "langgraph.md", "crewai.md"}
