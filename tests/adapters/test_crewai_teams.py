"""A manager and its members on CrewAI: its own crew, prompts and tools, with the kernel's meaning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("talea_crewai.framework")

import crewai
from crewai.flow.flow import Flow

import talea
from talea.errors import UnsupportedError
from talea.events import Delegated, Event, ToolCalled
from talea.gateway.cassette import ToolCall, Turn, load_cassette
from talea.gateway.chat import Call
from talea.gateway.server import Gateway
from talea.plan import make_plan
from talea.plugins import get_adapter
from talea.run import prepare
from talea_crewai.framework import quiet

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of CrewAI's own code

WORK, QUESTION = "delegate_work_to_coworker", "ask_question_to_coworker"
HEAD = """\
talea: 1
name: press
model: openai/gpt-5-mini
tools: {search: {description: Search.}}
agents:
  lead: {role: Editor in chief, goal: Get it done, backstory: You delegate.}
  pen: {role: Senior Writer, goal: Write, backstory: You are brief.}
  twin: {role: senior  writer, goal: Write more}
  critic: {goal: Judge}
  digger: {role: Digger, tools: [search]}
teams:
  desk: {manager: lead, members: [pen, critic], max_turns: 9}
  twins: {manager: lead, members: [pen, twin]}
  both: {manager: lead, members: [critic, pair]}
  pair: {manager: digger, members: [pen]}
tasks:
"""
SEARCH = {"search": lambda query: f"found {query}"}
BRIEF = "  brief: {team: desk, prompt: 'Make a {brief}'}\n"


class Script:
    """Answers calls in turn, whoever asks; keeps what was asked."""

    def __init__(self, *turns: Turn) -> None:
        self.left = list(turns)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def answer(self, call: Call) -> Turn:
        """Give the next turn."""
        self.asked.append((call.agent, json.loads(call.body)))
        return self.left.pop(0)

    @property
    def agents(self) -> list[str]:
        """Who asked."""
        return [agent for agent, _ in self.asked]

    def said(self, at: int) -> str:
        """Give all messages of a call as text."""
        return "\n".join(str(message["content"]) for message in self.asked[at][1]["messages"])


def says(text: str) -> Turn:
    return Turn(content=text)


def calls(*given: tuple[str, Any]) -> Turn:
    return Turn(tool_calls=tuple(ToolCall(name=name, arguments=to) for name, to in given))


def work(coworker: str, task: str, context: str = "") -> tuple[str, Any]:
    return WORK, {"coworker": coworker, "task": task, "context": context}


def run(
    tasks: str, script: Script, *, style: str = "auto", **more: Any
) -> tuple[talea.Result, list[Event]]:
    events: list[Event] = []
    prepared = prepare(
        talea.loads(HEAD + tasks),
        framework="crewai",
        options={"style": style},
        tools=SEARCH,
        offline=True,
        sinks=[events.append],
        **more,
    )
    prepared.route.source = script
    return asyncio.run(prepared.run()), events


def delegated(events: Sequence[Event]) -> list[tuple[str, str, str]]:
    return [(e.agent, e.to, e.task) for e in events if isinstance(e, Delegated)]


# What a model is asked


@pytest.mark.parametrize("style", ["crew", "flow"])
def test_all_that_is_asked_is_what_crewais_own_crew_asks(
    style: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    turns = [
        calls(work("senior writer", "Draft it", "It is about owls.")),
        says("A draft."),
        calls((QUESTION, {"coworker": "critic", "question": "Is it good?", "context": "A draft."})),
        says("It is."),
        says("Done."),
    ]
    native = Script(*turns)
    with Gateway(native) as gateway, quiet():
        monkeypatch.setenv("OPENAI_BASE_URL", gateway.base_url("any", "any"))
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path))
        model = "openai/gpt-5-mini"
        lead = crewai.Agent(
            role="Editor in chief", goal="Get it done", backstory="You delegate.", llm=model
        )
        members = [
            crewai.Agent(role="Senior Writer", goal="Write", backstory="You are brief.", llm=model),
            crewai.Agent(role="critic", goal="Judge", backstory="", llm=model),
        ]
        task = crewai.Task(description="Make a {brief}", expected_output="A complete answer.")
        ended = crewai.Crew(
            agents=members,
            tasks=[task],
            process=crewai.Process.hierarchical,
            manager_agent=lead,
        ).kickoff()
    mine = Script(*turns)
    result, _ = run(BRIEF, mine, style=style)
    assert result.raise_for_failure().tasks["brief"].output == ended.raw == "Done."
    assert mine.agents == ["lead", "pen", "lead", "critic", "lead"]
    for (_, body), (_, theirs) in zip(mine.asked, native.asked, strict=True):
        assert body.get("tools") == theirs.get("tools")
        assert _without_ids(body["messages"]) == _without_ids(theirs["messages"])


def _without_ids(messages: Any) -> Any:
    """Leave out what a conversation names its calls by, and a name beside it."""
    if isinstance(messages, list):
        return [_without_ids(one) for one in messages]
    if isinstance(messages, dict):
        left = {k: v for k, v in messages.items() if k not in {"id", "tool_call_id", "name"}}
        return {name: _without_ids(value) for name, value in left.items() if value is not None}
    return messages


# What a call means


def test_who_is_asked_is_told_by_role_or_id_and_twins_by_both() -> None:
    script = Script(
        calls(work("Senior Writer", "A"), work("SENIOR WRITER (twin)", "B"), work("twin", "C")),
        *[says("x")] * 3,
        says("Done."),
    )
    result, events = run("  brief: {team: twins, prompt: Go}\n", script)
    assert result.succeeded
    assert sorted(delegated(events)) == [
        ("lead", "pen", "A"),
        ("lead", "twin", "B"),
        ("lead", "twin", "C"),
    ]
    described = script.asked[0][1]["tools"][0]["function"]["description"]
    assert "coworkers: Senior Writer, senior  writer (twin)\n" in described


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ("{not json", "invalid_arguments", "no JSON"),
        ({"task": "A", "context": ""}, "delegation", "they are: pen, critic"),
        ({"coworker": "Senior Writr", "task": "A", "context": ""}, "delegation", "no member"),
        ({"coworker": "critic", "task": " ", "context": ""}, "invalid_arguments", "task"),
        ({"coworker": "critic", "task": 3, "context": ""}, "invalid_arguments", "text"),
        ({"coworker": "critic", "task": "A", "speed": 1}, "invalid_arguments", "speed"),
    ],
)
def test_a_call_that_cannot_be_is_told_to_the_manager_and_to_those_who_listen(
    arguments: Any, error: str, told: str
) -> None:
    script = Script(calls((WORK, arguments)), says("Alone."))
    result, events = run(BRIEF, script)
    assert result.raise_for_failure().tasks["brief"].output == "Alone."
    assert script.agents == ["lead", "lead"]
    assert told in script.said(1)
    assert delegated(events) == []
    failed = [e for e in events if isinstance(e, ToolCalled) and e.error]
    assert [(e.tool, e.error and e.error.type) for e in failed] == [("delegate", error)]


def test_a_managers_own_tools_stand_beside_crewais() -> None:
    script = Script(
        calls(("search", {"query": "owls"}), work("Senior Writer", "Draft")),
        says("A draft."),
        says("Done."),
    )
    result, events = run("  brief: {team: pair, prompt: Go}\n", script)
    assert result.raise_for_failure().tasks["brief"].output == "Done."
    offered = [tool["function"]["name"] for tool in script.asked[0][1]["tools"]]
    assert offered == ["search", WORK, QUESTION]
    assert "found owls" in script.said(2)
    assert "A draft." in script.said(2)
    assert [e.tool for e in events if isinstance(e, ToolCalled)] == ["search"]


@pytest.mark.parametrize("style", ["crew", "flow"])
def test_a_team_in_a_team_has_a_crew_of_its_own(style: str) -> None:
    script = Script(
        calls(work("pair", "Do it", "Soon.")),
        calls(work("senior writer", "Draft")),
        says("A draft."),
        says("It is done."),
        says("Done."),
    )
    result, events = run("  brief: {team: both, prompt: Go}\n", script, style=style)
    assert result.raise_for_failure().tasks["brief"].output == "Done."
    assert script.agents == ["lead", "digger", "pen", "digger", "lead"]
    assert "Do it" in script.said(1)
    assert "Soon." in script.said(1)
    assert delegated(events) == [("digger", "pen", "Draft"), ("lead", "pair", "Do it\n\nSoon.")]


def test_managers_do_not_hold_the_places_of_their_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("talea_crewai.clients.AGENTS_AT_ONCE", 2)

    class Leading(Script):
        def answer(self, call: Call) -> Turn:
            """Have whoever leads delegate once."""
            if call.agent == "pen" or any(one.role == "tool" for one in call.request.messages):
                return says("x")
            return calls(work("pair" if call.agent == "lead" else "Senior Writer", "Go"))

    tasks = '  brief: {for_each: "range(6)", team: both, prompt: Go}\nlimits: {timeout: 60s}\n'
    result, events = run(tasks, Leading())
    assert result.raise_for_failure().tasks["brief"].output == ["x"] * 6
    assert len(delegated(events)) == 12


# Cassettes


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """Serve a model on loopback, where the provider is said to be."""
    script = Script(
        calls(work("Senior Writer", "Draft it", "It is about owls.")),
        says("A draft."),
        says("Done."),
    )
    with Gateway(script) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.open().url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield script


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_recorded_team_replays_on_other_frameworks(
    streamed: bool, model: Script, tmp_path: Path
) -> None:
    tape = tmp_path / "tape.yaml"
    listening: dict[str, Any] = {"sinks": [lambda _: None]} if streamed else {}
    workflow = talea.loads(HEAD + BRIEF)
    recorded = talea.run(workflow, framework="crewai", tools=SEARCH, record=tape, **listening)
    assert recorded.raise_for_failure().tasks["brief"].output == "Done."
    assert model.left == []
    assert load_cassette(tape).tasks["brief"]["lead"][0].calls == (  # pyright: ignore[reportArgumentType, reportCallIssue, reportAttributeAccessIssue]
        ToolCall(name="delegate", arguments={"to": "pen", "task": "Draft it\n\nIt is about owls."}),
    )
    for framework in ("simple", "crewai"):
        events: list[Event] = []
        replayed = talea.run(
            workflow, framework=framework, tools=SEARCH, replay=tape, sinks=[events.append]
        )
        assert replayed.raise_for_failure().tasks["brief"].output == "Done."
        assert delegated(events) == [("lead", "pen", "Draft it\n\nIt is about owls.")]
        assert replayed.calls is not None
        assert [call.tools_called for call in replayed.calls] == [("delegate",), (), ()]


def test_a_provider_is_told_nothing_of_it(model: Script) -> None:
    """The header is the gateway's alone: a model that is asked straight does not get it."""
    heard: list[Any] = []
    real = model.answer

    def answer(call: Call) -> Turn:
        heard.append(call.wording)
        return real(call)

    model.answer = answer  # type: ignore[method-assign]
    result = talea.run(talea.loads(HEAD + BRIEF), framework="crewai", tools=SEARCH)
    assert result.raise_for_failure().tasks["brief"].output == "Done."
    assert heard == [None, None, None]


# What it becomes


def test_a_sequence_of_one_teams_tasks_becomes_a_hierarchical_crew() -> None:
    tasks = BRIEF + "  more: {team: desk, prompt: More, context: [brief]}\n"
    workflow = talea.loads(HEAD + tasks)
    make_crew = talea.compile(workflow, framework="crewai")
    crew = make_crew(offline=True, tools=SEARCH)
    assert isinstance(crew, crewai.Crew)
    assert crew.process is crewai.Process.hierarchical
    assert crew.manager_agent is not None
    assert crew.manager_agent.role == "Editor in chief"
    assert [agent.role for agent in crew.agents] == ["Senior Writer", "critic"]
    assert [(task.name, task.agent) for task in crew.tasks] == [("brief", None), ("more", None)]
    output = crew.kickoff()
    assert output.raw == crew.result.tasks["more"].output
    assert output.token_usage.total_tokens == (
        crew.result.usage.input_tokens + crew.result.usage.output_tokens
    )
    assert crew.kickoff().raw == output.raw


def test_a_crew_counts_what_its_manager_delegates_and_what_each_uses() -> None:
    script = Script(calls(work("senior writer", "Draft")), says("A draft."), says("Done."))
    prepared = prepare(talea.loads(HEAD + BRIEF), framework="crewai", tools=SEARCH, offline=True)
    prepared.route.source = script
    crew = prepared.compiled = prepared.compiled()
    result = asyncio.run(prepared.run())
    assert result.succeeded
    (task,) = crew.tasks
    assert task.delegations == 1
    used = [agent.llm.get_token_usage_summary() for agent in (crew.manager_agent, *crew.agents)]
    assert [one.successful_requests for one in used] == [2, 1, 0]


OTHERS = [
    (BRIEF + "  alone: {agent: pen, prompt: Go, depends_on: [brief]}\n", ["brief"]),
    (BRIEF + "  other: {team: both, prompt: Go, depends_on: [brief]}\n", ["brief", "other"]),
    ("  talk: {team: {start: pen, members: [pen, critic]}, prompt: Go}\n", ["talk"]),
]


@pytest.mark.parametrize(("tasks", "lacking"), OTHERS, ids=["an agent", "teams", "handing over"])
def test_other_teams_are_in_a_flow(tasks: str, lacking: list[str]) -> None:
    workflow = talea.loads(HEAD + tasks)
    assert issubclass(talea.compile(workflow, framework="crewai"), Flow)
    with pytest.raises(UnsupportedError) as caught:
        talea.compile(workflow, framework="crewai", options={"style": "crew"})
    assert [lack.task for lack in caught.value.lacks] == lacking


def test_it_describes_teams() -> None:
    def described(tasks: str, **options: str) -> Any:
        return get_adapter("crewai").describe(make_plan(talea.loads(HEAD + tasks)), options)

    whole = described(BRIEF)
    assert "a Crew with the hierarchical process, of 1 Task" in whole[""]
    assert "thread" in whole[""]
    assert whole["brief"] == "a Task of the manager 'lead' with the members 'pen', 'critic'"
    flow = described(BRIEF, style="flow")
    assert "kicks off a Crew with the hierarchical process" in flow["brief"]
    assert "'pen', 'critic'" in flow["brief"]
    assert described(OTHERS[2][0])["talk"].endswith("; by talea's kernel: handing over")


def test_a_hierarchical_process_is_crewais() -> None:
    tasks = "  a: {agent: pen, prompt: A}\n  b: {agent: critic, prompt: B, context: [a]}\n"
    document = HEAD.replace("tasks:\n", "process: hierarchical\nmanager: lead\ntasks:\n") + tasks
    crew = talea.compile(talea.loads(document), framework="crewai")(offline=True, tools=SEARCH)
    assert crew.process is crewai.Process.hierarchical
    assert len(crew.agents) == 4
    crew.kickoff()
    assert [task.agent for task in crew.result.tasks.values()] == ["lead", "lead"]
