"""What a framework's own tools to delegate say, and how the gateway is told of them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talea.delegation import HEADER, Wording
from talea.gateway.cassette import ToolCall, Turn
from talea.gateway.server import Gateway
from talea.gateway.standin import StandIn
from talea.gateway.wording import unworded, worded

WORDING = Wording(
    {"give": ("whom", "work", "notes"), "ask": ("whom", "question", "notes")},
    {"Senior Writer": "w", "Critic": "c", "c2": "critic"},
)


@given(st.sampled_from(["w", "c", "critic", "stranger"]), st.text(min_size=1))
def test_what_is_said_reads_as_what_was_meant(to: str, task: str) -> None:
    meant = {"to": to, "task": task if task.strip() else "t"}
    tool, said = WORDING.say(meant)
    assert tool == "give"
    assert isinstance(said, dict)
    assert set(said) == {"whom", "work", "notes"}
    assert WORDING.read(tool, said) == WORDING.read(tool, json.dumps(said)) == meant


@pytest.mark.parametrize(
    ("tool", "said", "meant"),
    [
        (
            "give",
            {"whom": "Senior Writer", "work": "A", "notes": "B"},
            {"to": "w", "task": "A\n\nB"},
        ),
        ("ask", {"whom": ' senior  "WRITER"', "question": "A?"}, {"to": "w", "task": "A?"}),
        ("give", {"whom": "W", "work": "A", "notes": " "}, {"to": "w", "task": "A"}),
        ("give", {"whom": "Critic", "work": "A"}, {"to": "c", "task": "A"}),
        ("give", {"work": "A", "more": 1}, {"task": "A", "more": 1}),
        ("give", {"whom": ["w"], "work": 3}, {"to": ["w"], "task": 3}),
        ("give", {"whom": "w"}, {"to": "w", "task": ""}),
        ("give", "{not json", "{not json"),
        ("give", "[1]", "[1]"),
    ],
)
def test_a_call_is_read_whatever_the_model_says(tool: str, said: Any, meant: Any) -> None:
    assert WORDING.read(tool, said) == meant


def test_turns_are_worded_and_read_call_by_call() -> None:
    other = ToolCall(name="search", arguments={"q": "cats"})
    turn = Turn(tool_calls=(other, ToolCall(name="delegate", arguments={"to": "w", "task": "A"})))
    said = worded(turn, WORDING)
    assert [call.name for call in said.calls] == ["search", "give"]
    assert said.calls[1].arguments == {"whom": "Senior Writer", "work": "A", "notes": ""}
    assert unworded(said, WORDING).calls == turn.calls
    kept = Turn.model_validate({"delegate": {"to": "w", "task": "A"}})
    assert unworded(worded(kept, WORDING), WORDING).calls == kept.calls
    broken = Turn(tool_calls=(ToolCall(name="delegate", arguments="{"),))
    assert worded(broken, WORDING).calls == (ToolCall(name="give", arguments="{"),)
    for untouched in (Turn(content="Hello."), Turn(tool_calls=(other,))):
        assert worded(untouched, WORDING) is unworded(untouched, WORDING) is untouched
    assert worded(turn, None) is unworded(turn, None) is turn


def test_the_header_carries_all() -> None:
    strange = Wording({"t": ["m", "w"]}, {"Rôle\n{x}": "id"})
    assert Wording.loads(strange.dumps()) == strange
    assert strange.dumps().isascii()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"tools":[],"members":{}}',
        '{"tools":{},"members":{}}',
        '{"tools":{"t":["m"]},"members":{}}',
        '{"tools":{"t":3},"members":{}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_wording_is_refused_by_the_gateway(text: str) -> None:
    with pytest.raises(ValueError, match="no wording|no tool"):
        Wording.loads(text)
    with Gateway(StandIn()) as gateway:
        request = urllib.request.Request(
            f"{gateway.base_url('a', 'b')}/chat/completions",
            json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi."}]}).encode(),
            {HEADER: text[:1000]},
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
    assert caught.value.code == 400
    assert HEADER in caught.value.read().decode()
    caught.value.close()
