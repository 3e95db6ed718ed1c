"""Calls of tools that a person must allow, over real HTTP, on every framework's own agents."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest

import talea
from talea.adapter import AskCall, Unanswered
from talea.events import Answered, Asked, Event, ModelCalled, ToolCalled
from talea.gateway.cassette import Player, loads_cassette
from talea.kernel.people import Earlier
from talea.run import prepare
from talea.tools import ToolContext

from .ways import WAYS, Way, params

HEAD = """\
talea: 1
name: approvals
model: openai/gpt-5-mini
tools: {send: {approve: true}, drop: {approve: true}, look: {}}
agents:
  worker: {role: Worker, tools: [send, drop, look], max_turns: 4}
tasks:
"""
ONE = "  a: {agent: worker, prompt: Go}"
SEND = "{name: send, arguments: {to: ann, text: Hello}}"
ASKED = 'Call send with these arguments?\n  to: "ann"\n  text: "Hello"'


@dataclass
class Desk:
    """The tools, and what they were called with."""

    sent: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    keys: list[str] = field(default_factory=list[str])
    dropped: list[int] = field(default_factory=list[int])
    looked: int = 0

    def tools(self) -> dict[str, Any]:
        """Give them as functions."""

        def send(to: str, text: str, context: ToolContext) -> str:
            """Send something."""
            self.sent.append((to, text))
            self.keys.append(context.idempotency_key)
            return f"sent to {to}"

        def drop(id: int) -> str:
            """Drop something."""
            self.dropped.append(id)
            return f"dropped {id}"

        async def look() -> str:
            """Look around."""
            await asyncio.sleep(0.02)
            self.looked += 1
            return "nothing"

        return {"send": send, "drop": drop, "look": look}


@dataclass
class Done:
    """What a run came to, and what the model was told by tools."""

    result: talea.Result
    events: list[Event]
    told: list[str]

    @property
    def asked(self) -> list[tuple[str, str]]:
        """The questions."""
        return [(e.address, e.text) for e in self.events if isinstance(e, Asked)]


class Ear(Player):
    """Plays a cassette, and hears what goes to the model."""

    def __init__(self, turns: str) -> None:
        super().__init__(loads_cassette(f"talea_cassette: 1\ntasks:\n{turns}"))
        self.told: list[str] = []

    def answer(self, call: Any) -> Any:
        """Answer, and note what the last tools gave."""
        self.told = [m.text for m in call.request.messages if m.role == "tool"]
        return super().answer(call)


def go(
    way: Way,
    tasks: str,
    turns: str,
    desk: Desk,
    *,
    head: str = HEAD,
    earlier: Sequence[Event] = (),
    others: Mapping[str, Any] = MappingProxyType({}),
    **more: Any,
) -> Done:
    """Run a workflow against a cassette; `earlier` are the events of the run that goes on."""
    ear, events = Ear(turns), list[Event]()
    prepared = prepare(
        talea.loads(head + tasks),
        framework=way.framework,
        options=way.options,
        tools={**desk.tools(), **others},
        offline=True,
        sinks=[events.append],
        run_id="run",
        **more,
    )
    prepared.route.source = ear
    prepared.earlier = Earlier()
    for event in earlier:
        prepared.earlier.hear(event)
    return Done(asyncio.run(prepared.run()), events, ear.told)


each_way = pytest.mark.parametrize("way", params(WAYS))


@each_way
def test_an_allowed_call_is_made(way: Way) -> None:
    desk = Desk()
    done = go(
        way, ONE, f"  a: [{{tool_calls: [{SEND}]}}, {{content: Done.}}]", desk,
        answers={"a/send": True},
    )  # fmt: skip
    assert done.result.tasks["a"].output == "Done.", done.result.error
    assert done.asked == [("a/send", ASKED)]
    assert desk.sent == [("ann", "Hello")]
    assert done.told == ["sent to ann"]


@each_way
def test_changed_arguments_are_checked_and_used_and_the_model_is_told(way: Way) -> None:
    desk = Desk()
    answers = [
        ("a/send", {"arguments": {"to": 3}}),
        ("a/send", "what?"),
        ("a/send", {"arguments": {"to": "bob", "text": "Hi"}}),
    ]
    turns = f"  a: [{{tool_calls: [{SEND}]}}, {{content: Done.}}]"
    done = go(way, ONE, turns, desk, answers=answers)
    assert done.result.succeeded, done.result.error
    assert desk.sent == [("bob", "Hi")]
    (told,) = done.told
    assert told.startswith("sent to bob")
    assert '{"to": "bob", "text": "Hi"}' in told
    refusals = [e.refusal for e in done.events if isinstance(e, Answered)]
    assert [refusal is None for refusal in refusals] == [False, False, True]
    assert str(refusals[0]).startswith("arguments: ")


@each_way
def test_a_refusal_is_told_to_the_model_and_the_task_goes_on(way: Way) -> None:
    desk = Desk()
    done = go(
        way, ONE, f"  a: [{{tool_calls: [{SEND}]}}, {{content: Then not.}}]", desk,
        answers={"a/send": '{"refuse": "not on Sundays"}'},
    )  # fmt: skip
    assert done.result.tasks["a"].output == "Then not.", done.result.error
    assert desk.sent == []
    assert done.told == ["Error: a person refused this call of 'send': not on Sundays"]
    assert [e.error.type for e in done.events if isinstance(e, ToolCalled) and e.error] == [
        "denied"
    ]


BOTH = "tool_calls: [{name: drop, arguments: {id: 1}}, {name: look, arguments: {}}, " + SEND + "]"


@each_way
def test_several_are_asked_at_once_and_calls_that_need_nobody_go_on(way: Way) -> None:
    desk = Desk()
    at_once: set[str] = set()
    both = asyncio.Event()

    async def ask(call: AskCall) -> Any:
        assert call.approval is not None
        at_once.add(call.approval.tool)
        if len(at_once) == 2:
            both.set()
        await both.wait()
        return True

    done = go(way, ONE, f"  a: [{{{BOTH}}}, {{content: Done.}}]", desk, ask=ask)
    assert done.result.succeeded, done.result.error
    assert (desk.dropped, desk.sent, desk.looked) == ([1], [("ann", "Hello")], 1)
    assert done.told == ["dropped 1", "nothing", "sent to ann"]


@each_way
def test_calls_of_one_tool_are_asked_about_in_the_models_order(way: Way) -> None:
    desk = Desk()
    calls = ", ".join(f"{{name: drop, arguments: {{id: {n}}}}}" for n in range(12))
    answers = [("a/drop", True if n % 2 else {"refuse": str(n)}) for n in range(12)]
    turns = f"  a: [{{tool_calls: [{calls}]}}, {{content: Done.}}]"
    done = go(way, ONE, turns, desk, answers=answers)
    assert done.result.succeeded, done.result.error
    assert sorted(desk.dropped) == [1, 3, 5, 7, 9, 11]
    assert [text[-1] for _, text in done.asked] == [str(n)[-1] for n in range(12)]
    assert done.told[3] == "dropped 3"
    assert done.told[4].endswith("'drop': 4")


@each_way
def test_where_nobody_is_there_the_run_waits_and_the_rest_goes_on(way: Way) -> None:
    desk = Desk()
    done = go(
        way,
        ONE + "\n  b: {value: 1}\n  c: {value: 2, depends_on: [a]}",
        f"  a: [{{{BOTH}}}, {{content: Done.}}]",
        desk,
    )
    tasks = done.result.tasks
    assert done.result.status == "waiting", done.result.error
    assert [str(tasks[name].status) for name in "abc"] == ["waiting", "succeeded", "pending"]
    assert sorted(address for address, _ in done.asked) == ["a/drop", "a/send"]
    assert desk.looked == 1
    assert (desk.sent, desk.dropped) == ([], [])
    assert len([e for e in done.events if isinstance(e, ModelCalled)]) == 1


@each_way
def test_a_resumed_attempt_takes_earlier_answers_for_the_same_texts(way: Way) -> None:
    """The first call was allowed and made, the second one waits. The attempt begins anew: the first
    is not asked about again, and is made with the same key."""
    turns = f"""\
  a:
    - tool_calls: [{SEND}]
    - tool_calls: [{SEND}, {{name: drop, arguments: {{id: 1}}}}]
    - content: Done.
"""
    first, second = Desk(), Desk()
    before = go(way, ONE, turns, first, answers={"a/send": True})
    assert before.result.status == "waiting"
    assert first.sent == [("ann", "Hello")]
    assert [address for address, _ in before.asked] == ["a/send", "a/send", "a/drop"]
    after = go(
        way, ONE, turns, second, earlier=before.events,
        answers=[("a/send", {"refuse": "once is enough"}), ("a/drop", True)],
    )  # fmt: skip
    assert after.result.tasks["a"].output == "Done.", after.result.error
    assert second.sent == [("ann", "Hello")]
    assert second.keys == first.keys
    assert second.dropped == [1]
    again = [e.again for e in after.events if isinstance(e, Answered)]
    assert again == [True, False, False]


@each_way
def test_an_earlier_answer_is_not_taken_for_another_text(way: Way) -> None:
    turns = "  a: [{tool_calls: [{name: send, arguments: {to: %s, text: Hello}}]}, {content: x}]"
    before = [Answered(0.0, "a/send", None, ASKED, True)]
    done = go(way, ONE, turns % "eve", Desk(), earlier=before)
    assert done.result.status == "waiting"
    assert "eve" in done.asked[0][1]


@each_way
def test_an_answer_within_a_failed_attempt_counts_no_more(way: Way) -> None:
    """A retry makes the call again: it is another call, which is asked about."""
    desk = Desk()
    done = go(
        way,
        "  a: {agent: worker, prompt: Go, retry: {max_attempts: 2, initial_interval: 1ms}}",
        f"""\
  a:
    - tool_calls: [{SEND}]
    - fault: {{status: 500}}
    - tool_calls: [{SEND}]
    - content: Done.
""",
        desk,
        earlier=[Answered(0.0, "a/send", None, ASKED, True)] * 2,
        answers={"a/send": {"refuse": "no more"}},
    )
    assert done.result.tasks["a"].attempts == 2, done.result.error
    assert len(desk.sent) == 1
    assert done.told == ["Error: a person refused this call of 'send': no more"]


@each_way
def test_an_answer_within_an_attempt_that_failed_over_counts_no_more(way: Way) -> None:
    desk = Desk()
    turns = f"""\
  a:
    worker: [{{tool_calls: [{SEND}]}}, {{fault: {{status: 500}}}}]
    other: [{{tool_calls: [{SEND}]}}, {{content: Done.}}]
"""
    done = go(
        way,
        "  a: {pool: both, prompt: Go}",
        turns,
        desk,
        head=HEAD.replace(
            "tasks:",
            "  other: {role: Other, tools: [send]}\npools: {both: {agents: [worker, other]}}\ntasks:",
        ),
        earlier=[Answered(0.0, "a/send", None, ASKED, True)] * 2,
        answers={"a/send": {"refuse": "no more"}},
    )
    assert done.result.tasks["a"].output == "Done.", done.result.error
    assert len(desk.sent) == 1


@each_way
def test_the_clock_stands_still_while_only_a_person_is_missing(way: Way) -> None:
    async def ask(call: AskCall) -> Any:
        await asyncio.sleep(1.2)
        return True

    turns = f"  a: [{{tool_calls: [{SEND}]}}, {{content: Done.}}]"
    task = "  a: {agent: worker, prompt: Go, timeout: 1s}"
    limits = HEAD.replace("tasks:", "limits: {timeout: 1s}\ntasks:")
    for tasks, head in ((task, HEAD), (ONE, limits)):
        done = go(way, tasks, turns, Desk(), head=head, ask=ask)
        assert done.result.tasks["a"].output == "Done.", done.result.error


@each_way
def test_a_stop_reaches_who_waits_for_a_person(way: Way) -> None:
    desk, asked = Desk(), asyncio.Event()

    async def ask(call: AskCall) -> Any:
        asked.set()
        await asyncio.get_running_loop().create_future()

    async def fail() -> None:
        await asked.wait()
        raise ValueError

    head = HEAD.replace("look: {}", "look: {}, fail: {}")
    turns = f"  a: [{{tool_calls: [{SEND}]}}, {{content: Done.}}]"
    done = go(
        way, ONE + "\n  b: {tool: fail}", turns, desk, head=head, ask=ask, others={"fail": fail}
    )
    assert str(done.result.tasks["a"].status) == "cancelled"
    assert done.result.error is not None
    assert done.result.error.type == "tool_error"


@each_way
def test_bad_arguments_are_no_question(way: Way) -> None:
    turns = "  a: [{tool_calls: [{name: send, arguments: {to: 3}}]}, {content: Done.}]"
    done = go(way, ONE, turns, Desk())
    assert done.result.succeeded, done.result.error
    assert done.asked == []
    assert "text" in done.told[0]


@each_way
def test_every_item_asks_for_itself(way: Way) -> None:
    desk = Desk()
    done = go(
        way,
        "  a: {for_each: [ann, bob], agent: worker, prompt: 'Write {{ item }}'}",
        "".join(
            f"  a[{k}]: [{{tool_calls: [{{name: send, arguments: {{to: {to}, text: Hi}}}}]}},"
            f" {{content: Done.}}]\n"
            for k, to in enumerate(("ann", "bob"))
        ),
        desk,
        answers={"a[0]/send": True, "a[1]/send": {"refuse": "no"}},
    )
    assert done.result.succeeded, done.result.error
    assert sorted(address for address, _ in done.asked) == ["a[0]/send", "a[1]/send"]
    assert desk.sent == [("ann", "Hi")]


TEAM = HEAD.replace("tasks:", "  boss: {role: Boss}\n  other: {role: Other, tools: [send]}\ntasks:")
OF_TEAM = """\
  a:
    boss:
      - tool_calls:
          - {name: delegate, arguments: {to: worker, task: Write to ann}}
          - {name: delegate, arguments: {to: other, task: Write to bob}}
      - content: All done.
    worker:
      - tool_calls: [{name: send, arguments: {to: ann, text: Hi}}]
      - content: Written.
    other:
      - tool_calls: [{name: send, arguments: {to: bob, text: Hi}}]
      - content: Written.
"""


@each_way
def test_members_of_a_team_ask_one_after_the_other_about_one_tool(way: Way) -> None:
    """Their calls have one address; and where nobody is there, one question stands at it."""
    task = "  a: {team: {manager: boss, members: [worker, other]}, prompt: Go}"
    at_once = most = 0

    async def ask(call: AskCall) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.05)
        at_once -= 1
        return True

    desk = Desk()
    done = go(way, task, OF_TEAM, desk, head=TEAM, ask=ask)
    assert done.result.tasks["a"].output == "All done.", done.result.error
    assert sorted(to for to, _ in desk.sent) == ["ann", "bob"]
    assert most == 1
    done = go(way, task, OF_TEAM, desk, head=TEAM)
    assert done.result.status == "waiting", done.result.error
    assert [address for address, _ in done.asked] == ["a/send"]


@each_way
@pytest.mark.parametrize(
    ("answer", "end", "output"),
    [
        (True, "succeeded", "sent to ann"),
        ({"arguments": {"to": "bob", "text": "x"}}, "succeeded", "sent to bob"),
        ({"refuse": "no"}, "failed", None),
        (None, "waiting", None),
    ],
)
def test_a_tool_task_asks_as_well(way: Way, answer: Any, end: str, output: Any) -> None:
    def ask(call: AskCall) -> Any:
        if answer is None:
            raise Unanswered
        return answer

    done = go(
        way, "  a: {tool: send, with: {to: ann, text: Hello}}", "  x: [{content: x}]", Desk(),
        ask=ask,
    )  # fmt: skip
    assert done.asked == [("a/send", ASKED)]
    assert str(done.result.status) == end
    assert done.result.tasks["a"].output == output
    if end == "failed":
        assert done.result.error is not None
        assert (done.result.error.type, done.result.error.address) == ("denied", "a")
