"""Teams over real HTTP, on every framework's own agents: the same delegations, from one cassette."""

from __future__ import annotations

from typing import Any

import pytest

import talea
from talea.events import Delegated, Event, ToolCalled
from talea.gateway.cassette import Player, loads_cassette
from talea.gateway.chat import Call
from talea.plan import make_plan
from talea.plugins import get_adapter
from talea.run import prepare

from .ways import WAYS, Way, params

HEAD = """\
talea: 1
name: teams
model: openai/gpt-5-mini
tools: {search: {description: Search.}}
agents:
  lead: {role: Lead, goal: Get it done}
  writer: {role: Writer, goal: Write, tools: [search]}
  critic: {role: Critic, goal: Judge}
teams:
  desk: {manager: lead, members: [writer, critic], max_turns: 4}
  board: {manager: lead, members: [critic, desk2]}
  desk2: {manager: critic, members: [writer]}
  talk: {start: writer, members: [writer, critic]}
tasks:
"""
ON = params([WAYS[0], WAYS[1], WAYS[3], WAYS[5]])


class Watching:
    """Notes what each agent was asked."""

    def __init__(self, turns: str) -> None:
        self.player = Player(loads_cassette(f"talea_cassette: 1\ntasks:\n{turns}"))
        self.asked: list[tuple[str, str]] = []

    def answer(self, call: Call) -> Any:
        """Answer from the cassette."""
        said = "\n".join(message.text for message in call.request.messages)
        self.asked.append((call.agent, said))
        return self.player.answer(call)


def run(
    way: Way, tasks: str, turns: str, head: str = HEAD
) -> tuple[talea.Result, list[Event], Watching]:
    """Run tasks against a cassette."""
    import asyncio

    events: list[Event] = []
    prepared = prepare(
        talea.loads(head + tasks),
        framework=way.framework,
        options=way.options,
        tools={"search": lambda query: f"found {query}"},
        offline=True,
        sinks=[events.append],
    )
    watching = prepared.route.source = Watching(turns)
    result = asyncio.run(prepared.run())
    assert result.calls is not None
    assert len(result.calls) == len(watching.asked)
    assert result.reported is not None
    assert result.reported.model_calls == result.usage.model_calls
    return result, events, watching


def delegated(events: list[Event]) -> list[tuple[str, str, str, str | None]]:
    return [
        (event.agent, event.to, event.task, event.error and event.error.type)
        for event in events
        if isinstance(event, Delegated)
    ]


@pytest.mark.parametrize("way", ON)
def test_a_manager_delegates_until_it_answers(way: Way) -> None:
    result, events, watching = run(
        way,
        "  plan: {team: desk, prompt: Make a brief}\n",
        "  plan:\n"
        "    lead: [{delegate: {to: writer, task: Draft it}}, {content: Done.}]\n"
        "    writer: [{content: A draft.}]\n",
    )
    assert result.raise_for_failure().tasks["plan"].output == "Done."
    assert result.tasks["plan"].agent == "lead"
    assert delegated(events) == [("lead", "writer", "Draft it", None)]
    assert [agent for agent, _ in watching.asked] == ["lead", "writer", "lead"]
    assert "Make a brief" in watching.asked[0][1]
    assert "Draft it" in watching.asked[1][1]
    assert "Make a brief" not in watching.asked[1][1]
    assert "A draft." in watching.asked[2][1]
    assert result.calls is not None
    assert [call.agent for call in result.calls] == ["lead", "writer", "lead"]
    assert result.calls[0].tools_called == ("delegate",)


@pytest.mark.parametrize("way", ON)
def test_members_have_their_own_tools_and_work_side_by_side(way: Way) -> None:
    result, events, _ = run(
        way,
        "  plan: {team: {manager: lead, members: [writer, critic]}, prompt: Make it}\n",
        "  plan:\n"
        "    lead:\n"
        "    - tool_calls:\n"
        "      - {name: delegate, arguments: {to: writer, task: Draft}}\n"
        "      - {name: delegate, arguments: {to: critic, task: Judge}}\n"
        "    - {content: Both.}\n"
        "    writer:\n"
        "    - {tool_calls: [{name: search, arguments: {query: cats}}]}\n"
        "    - {content: Drafted.}\n"
        "    critic: [{content: Judged.}]\n",
    )
    assert result.raise_for_failure().tasks["plan"].output == "Both."
    assert sorted(delegated(events)) == [
        ("lead", "critic", "Judge", None),
        ("lead", "writer", "Draft", None),
    ]
    assert [e.tool for e in events if isinstance(e, ToolCalled)] == ["search"]


@pytest.mark.parametrize("way", ON)
def test_a_manager_may_answer_alone_and_a_stranger_is_told_of(way: Way) -> None:
    result, events, watching = run(
        way,
        "  plan: {team: desk, prompt: Make a brief}\n  alone: {team: desk, prompt: Alone}\n",
        "  plan:\n"
        "    lead: [{delegate: {to: riter, task: Draft it}}, {content: Done.}]\n"
        "  alone:\n"
        "    lead: [{content: Me.}]\n",
    )
    assert result.raise_for_failure().tasks["alone"].output == "Me."
    assert result.tasks["plan"].output == "Done."
    assert delegated(events) == []
    errors = [e.error.type for e in events if isinstance(e, ToolCalled) and e.error]
    assert errors == ["delegation"]
    assert any("did you mean 'writer'?" in said for _, said in watching.asked)


@pytest.mark.parametrize("way", ON)
def test_a_team_that_goes_round_in_circles_runs_out_of_turns(way: Way) -> None:
    result, _, watching = run(
        way,
        "  plan: {team: desk, prompt: Make a brief}\n",
        "  plan:\n"
        "    lead: [{delegate: {to: writer, task: Draft it}, repeat: true}]\n"
        "    writer: [{content: A draft., repeat: true}]\n",
    )
    assert result.error is not None
    assert result.error.type == "turns_exhausted"
    assert result.error.message == "max_turns of the team 'desk' is 4"
    assert len(watching.asked) == 4


@pytest.mark.parametrize("way", ON)
def test_a_members_failure_is_told_to_the_manager(way: Way) -> None:
    result, events, watching = run(
        way,
        "  plan: {team: desk, prompt: Make a brief}\n",
        "  plan:\n"
        "    lead: [{delegate: {to: writer, task: Draft it}}, {content: Without.}]\n"
        "    writer: [{fault: {status: 401}}]\n",
    )
    assert result.raise_for_failure().tasks["plan"].output == "Without."
    assert delegated(events) == [("lead", "writer", "Draft it", "authentication")]
    assert "writer could not do it" in watching.asked[-1][1]


@pytest.mark.parametrize("way", ON)
def test_a_members_call_beyond_the_cassette_ends_the_run(way: Way) -> None:
    result, _, _ = run(
        way,
        "  plan: {team: desk, prompt: Make a brief}\n",
        "  plan:\n    lead: [{delegate: {to: writer, task: Draft it}}, {content: Never.}]\n",
    )
    assert result.error is not None
    assert result.error.type == "replay_exhausted"


@pytest.mark.parametrize("way", ON)
def test_a_team_may_be_a_member(way: Way) -> None:
    result, events, _ = run(
        way,
        "  plan: {team: board, prompt: Make a brief}\n",
        "  plan:\n"
        "    lead: [{delegate: {to: desk2, task: Work}}, {content: Done.}]\n"
        "    critic: [{delegate: {to: writer, task: Draft}}, {content: Fine.}]\n"
        "    writer: [{content: A draft.}]\n",
    )
    assert result.raise_for_failure().tasks["plan"].output == "Done."
    assert delegated(events) == [
        ("critic", "writer", "Draft", None),
        ("lead", "desk2", "Work", None),
    ]


@pytest.mark.parametrize("way", ON)
def test_members_hand_the_conversation_over(way: Way) -> None:
    result, events, watching = run(
        way,
        "  chat: {team: talk, prompt: Greet them}\n",
        "  chat:\n"
        "    writer: [{handoff: {to: critic, message: Be kind}}]\n"
        "    critic: [{content: Hello.}]\n",
    )
    assert result.raise_for_failure().tasks["chat"].output == "Hello."
    assert result.tasks["chat"].agent == "critic"
    assert delegated(events) == [("writer", "critic", "Be kind", None)]
    assert "Greet them" in watching.asked[1][1]
    assert "Be kind" in watching.asked[1][1]


@pytest.mark.parametrize("way", ON)
def test_what_does_not_fit_goes_back_to_who_has_the_conversation(way: Way) -> None:
    result, _, watching = run(
        way,
        "  chat:\n"
        "    team: talk\n"
        "    prompt: Give a number\n"
        "    output: {type: object, properties: {n: {type: integer}}, required: [n]}\n"
        "    retry: {max_attempts: 2, initial_interval: 1ms}\n",
        "  chat:\n"
        "    writer: [{handoff: {to: critic}}]\n"
        "    critic: [{content: {n: one}}, {content: {n: 1}}]\n",
    )
    assert result.raise_for_failure().tasks["chat"].output == {"n": 1}
    assert [agent for agent, _ in watching.asked] == ["writer", "critic", "critic"]
    assert '"one"' in watching.asked[2][1]


LED = HEAD.replace("tasks:\n", "pools: {able: {agents: [lead, writer, critic]}}\n") + (
    "process: hierarchical\nmanager: lead\ntasks:\n"
)


@pytest.mark.parametrize("way", ON)
def test_in_a_hierarchical_process_the_manager_answers_every_agent_task(way: Way) -> None:
    result, events, watching = run(
        way,
        "  draft: {agent: writer, prompt: Draft it, expected_output: A line}\n"
        "  judge: {pool: able, context: [draft], prompt: Judge it, output: {type: integer}}\n"
        "  sum: {agent: lead, prompt: 'Sum {{ tasks.judge.output }} up'}\n"
        "  desk: {team: desk2, depends_on: [sum], prompt: Think}\n",
        "  draft:\n"
        "    lead: [{delegate: {to: writer, task: A draft}}, {content: Drafted.}]\n"
        "    writer: [{tool_calls: [{name: search, arguments: {query: x}}]}, {content: Words.}]\n"
        "  judge:\n"
        "    lead: [{delegate: {to: critic, task: How good}}, {content: '7'}]\n"
        "    critic: [{content: Good.}]\n"
        "  sum: {lead: [{content: All.}]}\n"
        "  desk: {critic: [{content: Thought.}]}\n",
        LED,
    )
    assert {name: task.output for name, task in result.raise_for_failure().tasks.items()} == {
        "draft": "Drafted.", "judge": 7, "sum": "All.", "desk": "Thought.",
    }  # fmt: skip
    assert [task.agent for task in result.tasks.values()] == ["lead", "lead", "lead", "critic"]
    assert delegated(events) == [
        ("lead", "writer", "A draft", None), ("lead", "critic", "How good", None),
    ]  # fmt: skip
    said = dict(reversed(watching.asked))
    first = next(text for agent, text in watching.asked if agent == "lead")
    assert "Draft it\n\nThis task is meant for writer." in first
    assert "A line" in first
    judging = next(text for _, text in watching.asked if "Judge it" in text)
    assert "Judge it\n\nThis task is meant for one of writer, critic." in judging
    assert "Drafted." in judging
    assert "meant for" not in next(text for _, text in watching.asked if "Sum 7 up" in text)
    assert "meant for" not in said["writer"]


@pytest.mark.parametrize("way", ON)
def test_a_manager_of_a_process_is_bounded_and_tried_again_as_a_team_is(way: Way) -> None:
    result, _, watching = run(
        way,
        "  endless: {agent: writer, prompt: Go on, fallback: '{{ error.message }}'}\n"
        "  number:\n"
        "    for_each: [1, 2]\n"
        "    agent: writer\n"
        "    depends_on: [endless]\n"
        "    prompt: A number\n"
        "    output: {type: integer}\n"
        "    retry: {max_attempts: 2, initial_interval: 1ms}\n",
        "  endless:\n"
        "    lead: [{delegate: {to: writer, task: More}, repeat: true}]\n"
        "    writer: [{content: More., repeat: true}]\n"
        "  number: {lead: [{content: one}, {content: '1'}, {content: '1'}]}\n",
        LED,
    )
    assert result.raise_for_failure().tasks["number"].output == [1, 1]
    assert result.tasks["endless"].output == "max_turns of the team 'endless' is 30"
    assert [agent for agent, _ in watching.asked].count("writer") == 15
    assert result.tasks["number"].attempts == 4


@pytest.mark.parametrize("way", params(WAYS))
def test_it_is_said_what_a_team_becomes(way: Way) -> None:
    plan = make_plan(talea.loads(LED + "  a: {agent: writer, prompt: x}\n"))
    told = get_adapter(way.framework).describe(plan, way.options)["a"]
    assert "agent" in told or "manager" in told
