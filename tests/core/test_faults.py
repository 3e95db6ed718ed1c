"""Fault rules: their format with every mistake placed, and which calls each of them befalls."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talea.errors import DocumentError
from talea.gateway.cassette import Cassette, Fault, Player, Turn
from talea.gateway.chat import Call, ChatRequest
from talea.gateway.faults import FaultRules, in_place_of_answer, load_faults, loads_faults

WHOLE = """\
talea_faults: 1
seed: 7
rules:
  - {at: notes, turns: [1, 3], fault: {status: 429, retry_after: 0}}
  - at: polish#1/brief
    agent: writer
    first: 2
    fault: {drip: 200ms}
  - {at: "*", probability: 0.25, fault: {garbage: true}}
  - {every: 3, fault: {delay: 1s}}
"""
QUERY = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}


def call(address: str = "a", agent: str = "writer", turn: int = 1, *tools: dict[str, Any]) -> Call:
    offered = [{"type": "function", "function": tool} for tool in tools]
    asked = {"model": "m", "messages": [{"role": "user"}], "tools": offered}
    return Call(None, address, agent, turn, ChatRequest.model_validate(asked))


def rules(*given: dict[str, Any], seed: int = 0) -> FaultRules:
    return FaultRules.model_validate({"talea_faults": 1, "seed": seed, "rules": given})


def befallen(rule: dict[str, Any], *calls: Call, seed: int = 0) -> list[bool]:
    made = rules({"fault": {"empty": True}, **rule}, seed=seed)
    return [made.fault_for(one) is not None for one in calls]


# The format


def test_reads_every_form() -> None:
    made = loads_faults(WHOLE)
    first = made.fault_for(call("notes[2]", turn=3))
    assert first is not None
    assert (first.status, first.retry_after) == (429, 0)
    second = made.fault_for(call("polish#1/brief", turn=2))
    assert second is not None
    assert (second.drip, second.name) == (0.2, "drip")


def test_reads_files_of_both_spellings(tmp_path: Path) -> None:
    plain, spelled = tmp_path / "faults.yaml", tmp_path / "faults.json"
    plain.write_text(WHOLE, "utf-8")
    whole = load_faults(plain)
    spelled.write_text(whole.model_dump_json(exclude_unset=True), "utf-8")
    assert load_faults(str(spelled)) == whole


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"nowhere\.yaml.*the fault rules cannot be read"):
        load_faults(tmp_path / "nowhere.yaml")


HEAD = "talea_faults: 1\nrules:\n"
FAULT = "fault: {status: 500}"
WRONG = {
    "an unknown key": (HEAD + "  - {turn: 1, " + FAULT + "}\n", "turn", (3, 6)),
    "an unknown fault": (HEAD + "  - fault: {stats: 500}\n", "stats", (3, 13)),
    "no fault": (HEAD + "  - at: a\n", "fault", (3, 5)),
    "two times": (HEAD + "  - {turns: [1], first: 2, " + FAULT + "}\n", "cannot have both", (3, 5)),
    "an address that is none": (HEAD + "  - {at: Notes, " + FAULT + "}\n", "task address", (3, 10)),
    "the zeroth call": (HEAD + "  - {turns: [0], " + FAULT + "}\n", "1", (3, 14)),
    "no calls": (HEAD + "  - {turns: [], " + FAULT + "}\n", "never", (3, 5)),
    "a number that is text": (HEAD + '  - {every: "2", ' + FAULT + "}\n", "number", (3, 13)),
    "more than certain": (HEAD + "  - {probability: 1.5, " + FAULT + "}\n", "1", (3, 19)),
    "two faults": (HEAD + "  - fault: {empty: true, hang: true}\n", "exclude each other", (3, 12)),
    "words without status": (HEAD + "  - fault: {empty: true, message: x}\n", "status", (3, 12)),
    "a slow silence": (HEAD + "  - fault: {hang: true, drip: 1}\n", "none is sent", (3, 12)),
    "a header of two lines": (
        HEAD + '  - fault: {content_type: "a\\r\\nb: c"}\n', "content_type", (3, 27),
    ),
    "another version": ("talea_faults: 2\nrules: []\n", "1", (1, 15)),
    "no rules": ("talea_faults: 1\n", "rules", (1, 1)),
    "an alias": (HEAD + "  - fault: &x {hang: true}\n  - fault: *x\n", "anchor", (3, 12)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_places_a_mistake(name: str) -> None:
    text, words, place = WRONG[name]
    with pytest.raises(DocumentError) as caught:
        loads_faults(text, name="faults.yaml")
    first = caught.value.issues[0]
    assert words in first.message
    assert (first.file, first.line, first.col) == ("faults.yaml", *place)


def test_says_what_was_meant() -> None:
    with pytest.raises(DocumentError) as caught:
        loads_faults(HEAD + "  - fault: {stats: 500}\n  - {trun: 1, fault: {hang: yes}}\n")
    assert len(caught.value.issues) == 3
    assert caught.value.issues[0].hint is not None
    assert "status" in caught.value.issues[0].hint


# Which calls a rule befalls


def test_a_rule_without_numbers_befalls_each_call_at_its_place() -> None:
    calls = [call("a"), call("a", turn=9), call("b"), call("a/b"), call("a[1]"), call("a[1]#2")]
    assert befallen({"at": "a"}, *calls) == [True, True, False, False, True, True]
    assert befallen({"at": "a[1]"}, *calls) == [False] * 4 + [True, True]
    assert befallen({"at": "a#2"}, *calls) == [False] * 5 + [True]
    assert befallen({"at": "*"}, *calls) == befallen({}, *calls) == [True] * 6
    assert befallen({"agent": "writer"}, call(), call(agent="reader")) == [True, False]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"turns": [1, 4]}, [1, 4]),
        ({"first": 2}, [1, 2]),
        ({"every": 2}, [2, 4, 6]),
        ({"probability": 0}, []),
        ({"probability": 1}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_numbers_say_which_calls(when: dict[str, Any], expected: list[int]) -> None:
    calls = [call(turn=turn) for turn in range(1, 7)]
    found = befallen(when, *calls)
    assert [turn for turn, hit in enumerate(found, 1) if hit] == expected


def test_the_first_rule_that_befalls_a_call_is_taken() -> None:
    made = rules(
        {"at": "a", "turns": [1], "fault": {"status": 500}},
        {"at": "a", "fault": {"status": 503}},
        {"fault": {"empty": True}},
    )
    found = [made.fault_for(one) for one in (call(), call(turn=2), call("b"))]
    assert [(one.status, one.empty) for one in found if one] == [
        (500, False), (503, False), (None, True),
    ]  # fmt: skip


@given(st.integers(), st.randoms(use_true_random=False))
def test_chance_is_the_same_in_any_order(seed: int, shuffle: random.Random) -> None:
    calls = [call(f"a[{n}]", agent, turn) for n in range(4) for agent in "xy" for turn in (1, 2)]
    order = calls.copy()
    shuffle.shuffle(order)
    chance = {"probability": 0.5}
    found = dict(
        zip([repr(one) for one in order], befallen(chance, *order, seed=seed), strict=True)
    )
    assert [found[repr(one)] for one in calls] == befallen(chance, *calls, seed=seed)


def test_chance_is_as_likely_as_it_says_and_differs_by_seed_and_rule() -> None:
    calls = [call(f"a[{n}]") for n in range(2000)]
    one, other = (befallen({"probability": 0.3}, *calls, seed=seed) for seed in (1, 2))
    assert 500 < sum(one) < 700
    assert 300 < sum(a != b for a, b in zip(one, other, strict=True)) < 1200
    second = rules(
        {"probability": 0.3, "fault": {"status": 500}},
        {"probability": 0.3, "fault": {"empty": True}},
        seed=1,
    )
    drawn = [second.fault_for(one) for one in calls]
    # Of the calls that the first rule leaves, the second takes its own share.
    assert 300 < sum(one is not None and one.empty for one in drawn) < 550


# What a call is answered


@pytest.mark.parametrize("kind", ["hang", "reset", "garbage", "empty"])
def test_what_comes_in_an_answers_place_needs_nobody(kind: str) -> None:
    fault = Fault.model_validate({kind: True})
    assert in_place_of_answer(fault, call()) == Turn(fault=fault)


@pytest.mark.parametrize("fault", [{"drop": True}, {"truncated": True}, {"delay": 1}, {"drip": 1}])
def test_what_breaks_an_answer_needs_one(fault: dict[str, Any]) -> None:
    assert in_place_of_answer(Fault.model_validate(fault), call()) is None


def called(kind: str, *tools: dict[str, Any]) -> tuple[str, str]:
    turn = in_place_of_answer(Fault.model_validate({kind: True}), call("a", "b", 1, *tools))
    assert turn is not None
    (found,) = turn.tool_calls
    return found.name, found.arguments_text


def test_tools_are_called_wrongly() -> None:
    offered = ({"name": "search", "parameters": QUERY}, {"name": "other"})
    name, text = called("bad_arguments", *offered)
    assert name == "search"
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(text)
    assert called("unknown_tool", *offered) == ("no_such_tool", "{}")
    name, text = called("endless_tools", *offered)
    assert name == "search"
    assert isinstance(json.loads(text)["query"], str)
    assert called("endless_tools", {"name": "now"}) == ("now", "{}")


@pytest.mark.parametrize("kind", ["bad_arguments", "unknown_tool", "endless_tools"])
def test_where_no_tool_is_offered_an_unknown_one_is_called(kind: str) -> None:
    assert called(kind)[0] == "no_such_tool"


def test_in_a_cassette_endless_tools_answer_every_further_call() -> None:
    turn = {"fault": {"endless_tools": True}}
    player = Player(Cassette.model_validate({"talea_cassette": 1, "tasks": {"a": [turn]}}))
    assert [player.answer(call(turn=n)).fault for n in (1, 2, 3)] == [Fault(endless_tools=True)] * 3
    with pytest.raises(ValueError, match="would never come"):
        Cassette.model_validate({"talea_cassette": 1, "tasks": {"a": [turn, {"content": "x"}]}})
