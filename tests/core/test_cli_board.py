"""The live view of teams: who works, and for whom, while it goes on."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

import talea
from talea.cli.board import Board
from talea.cli.live import LiveView
from talea.events import AgentEnded, AgentStarted, TaskEnded
from talea.gateway.cassette import loads_cassette

FLOW = """
talea: 1
name: t
model: openai/gpt-5-mini
agents: {lead: {}, writer: {}, editor: {}, critic: {}}
teams:
  desk: {manager: lead, members: [writer, review]}
  review: {manager: editor, members: [critic]}
tasks:
"""
WORK = """
    lead:
    - {delegate: {to: writer, task: Draft it}}
    - {delegate: {to: review, task: Look at it}}
    - {content: Done.}
    writer: [{content: A draft.}]
    editor:
    - {delegate: {to: critic, task: Judge it}}
    - {delegate: {to: critic, task: Judge it again}}
    - {content: Good.}
    critic: [{content: Bad.}, {content: Good.}]
"""


def shown(view: LiveView) -> list[list[str]]:
    """Give the lines of the view at 80 columns, as words without times."""
    console = Console(file=io.StringIO(), width=80, height=24)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert all(len(line) <= 80 and "…" not in line for line in lines)
    indents = [(len(line) - len(line.lstrip())) // 2 for line in lines[:-1]]
    told = [line.partition(" tokens")[2] or line.rpartition("  ")[2] for line in lines[:-1]]
    return [
        [depth * ">", line.split()[1], line.split()[2], at.strip()]
        for depth, line, at in zip(indents, lines, told, strict=False)
    ]


@pytest.mark.parametrize(
    ("task", "address", "row"),
    [
        ("plan: {team: desk, prompt: Make it}", "plan", ["", "plan"]),
        ("all: {tasks: {plan: {team: desk, prompt: Make it}}}", "all/plan", [">", "all/plan"]),
    ],
)
def test_members_stand_below_those_for_whom_they_work(
    task: str, address: str, row: list[str]
) -> None:
    workflow = talea.loads(FLOW + f"  {task}\n")
    board = Board([*workflow.tasks])
    view, seen = LiveView(board), dict[str, list[list[str]]]()

    def look(event: Any) -> None:
        board(event)
        if isinstance(event, AgentStarted | AgentEnded):
            name = f"{type(event).__name__} {event.agent}"
            seen[name if name not in seen else f"{name} again"] = shown(view)
        elif isinstance(event, TaskEnded) and event.address == address:
            seen["end"] = shown(view)

    cassette = loads_cassette(f"talea_cassette: 1\ntasks:\n  {address}:{WORK}")
    talea.run(workflow, replay=cassette, sinks=[look]).raise_for_failure()
    deep = row[0]
    lead, writer = [*row, "running", "lead"], [f"{deep}>", "writer", "succeeded", "for lead"]
    editor = [f"{deep}>", "editor", "running", "for lead"]
    critic = [f"{deep}>>", "critic", "running", "for editor"]
    assert seen["AgentStarted critic"][-4:] == [lead, writer, editor, critic]
    critic[-1] = "for editor, 2 times"
    assert seen["AgentStarted critic again"][-1] == critic
    assert not [line for line in seen["end"] if line[1] in {"writer", "editor", "critic"}]


def test_members_at_items_are_told_apart_and_counted() -> None:
    workflow = talea.loads(FLOW + "  plan: {for_each: [1, 2], team: desk, prompt: Make it}\n")
    board = Board(["plan"])
    told: list[list[str]] = []

    def look(event: Any) -> None:
        board(event)
        if isinstance(event, AgentEnded) and event.agent == "lead":
            told[:] = told or shown(LiveView(board))

    cassette = loads_cassette(f"talea_cassette: 1\ntasks:\n  plan[0]:{WORK}  plan[1]:{WORK}")
    talea.run(workflow, replay=cassette, sinks=[look]).raise_for_failure()
    members = [line[-1] for line in told if line[1] == "writer"]
    assert members == ["for lead [0]", "for lead [1]"]
    assert board.usage.model_calls == 18
