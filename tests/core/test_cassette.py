"""The cassette: its format with every mistake placed, and whose turn answers which call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from talea.errors import DocumentError, Issue
from talea.gateway.cassette import Cassette, Player, Turn, load_cassette, loads_cassette
from talea.gateway.chat import Call, ChatRequest, Message, Rejection

WHOLE = """\
talea_cassette: 1
tasks:
  notes[0]: [{content: "EU: steady.", usage: {input_tokens: 50, output_tokens: 12, cost: 0.1}}]
  research:
    - tool_calls: [{name: search, arguments: {query: cats}}]
    - content: Cats sleep sixteen hours.
  plan:                                   # a team: turns per agent
    lead: [{delegate: {to: writer, task: Draft it}}, {content: Done.}]
    writer: [{content: A draft.}]
  chat:                                   # members who hand over
    alice: [{handoff: {to: bob}}]
    bob: [{content: Hello.}]
  flaky: [{fault: {status: 429, retry_after: 0}}, {content: ok}]
  polish#1/brief: [{content: {level: high}}]
"""


def cassette(**tasks: Any) -> Cassette:
    return Cassette.model_validate({"talea_cassette": 1, "tasks": tasks})


def said(*texts: str) -> list[dict[str, str]]:
    return [{"content": text} for text in texts]


REQUEST = ChatRequest(model="m", messages=(Message(role="user"),))


def ask(player: Player, address: str, agent: str = "writer", run: str | None = None) -> str | None:
    return player.answer(Call(run, address, agent, 1, REQUEST)).text


# The format


def test_reads_every_form() -> None:
    tasks = loads_cassette(WHOLE).tasks
    assert list(tasks) == [
        "notes[0]", "research", "plan", "chat", "flaky", "polish#1/brief",
    ]  # fmt: skip
    player = Player(loads_cassette(WHOLE))
    turn = player.answer(Call(None, "notes[0]", "analyst", 1, REQUEST))
    assert (turn.text, turn.usage.input_tokens, turn.usage.output_tokens) == ("EU: steady.", 50, 12)
    assert turn.usage.cost == 0.1
    (called,) = player.answer(Call(None, "research", "analyst", 1, REQUEST)).tool_calls
    assert (called.name, called.arguments_text) == ("search", '{"query": "cats"}')
    assert ask(player, "plan", "writer") == "A draft."
    fault = player.answer(Call(None, "flaky", "analyst", 1, REQUEST)).fault
    assert fault is not None
    assert (fault.status, fault.retry_after) == (429, 0)
    assert ask(player, "polish#1/brief") == '{"level": "high"}'


def test_reads_files_of_both_spellings(tmp_path: Path) -> None:
    plain, spelled = tmp_path / "calls.yaml", tmp_path / "calls.json"
    plain.write_text(WHOLE, "utf-8")
    whole = load_cassette(plain)
    spelled.write_text(whole.model_dump_json(exclude_unset=True), "utf-8")
    assert load_cassette(str(spelled)) == whole


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"nowhere\.yaml.*cannot be read"):
        load_cassette(tmp_path / "nowhere.yaml")


HEAD = "talea_cassette: 1\ntasks:\n"
TURNS = HEAD + "  notes:\n    - "
AGENTS = HEAD + "  plan:\n    lead:\n      - "
WRONG = {
    "an unknown key of a turn": (TURNS + "contents: x\n", "contents", (4, 7)),
    "an unknown key of an agent's turn": (AGENTS + "contents: x\n", "contents", (5, 9)),
    "an unknown key at the top": ("takes: 1\n" + HEAD + "  a: []\n", "takes", (1, 1)),
    "an unknown fault": (TURNS + "fault: {stats: 500}\n", "stats", (4, 15)),
    "an unknown usage": (TURNS + "content: x\n      usage: {tokens: 1}\n", "tokens", (5, 15)),
    "a turn of nothing": (TURNS + "usage: {output_tokens: 1}\n", "needs content", (4, 7)),
    "two turns in one": (
        TURNS + "content: x\n      handoff: {to: b}\n", "cannot have both", (4, 7),
    ),
    "an answer beside a status": (
        TURNS + "content: x\n      fault: {status: 500}\n", "cannot have both", (4, 7),
    ),
    "two faults": (TURNS + "fault: {status: 500, hang: true}\n", "exclude each other", (4, 14)),
    "a fault of nothing": (TURNS + "fault: {}\n", "what goes wrong", (4, 14)),
    "a wait without status": (TURNS + "fault: {hang: true, retry_after: 1}\n", "status", (4, 14)),
    "a status that is none": (TURNS + "fault: {status: 200}\n", "400", (4, 23)),
    "yes is text": (TURNS + "fault: {hang: yes}\n", "true or false", (4, 21)),
    "a negative count": (TURNS + "content: x\n      usage: {input_tokens: -1}\n", "0", (5, 29)),
    "a turn after a repeated one": (
        HEAD + "  notes: [{content: x, repeat: true}, {content: y}]\n", "last turn", (3, 10),
    ),
    "an address that is none": (HEAD + "  Notes: []\n", "not a task address", (3, 3)),
    "another version": ("talea_cassette: 2\ntasks: {}\n", "1", (1, 17)),
    "no version": ("tasks: {}\n", "talea_cassette", (1, 1)),
    "no tasks": ("talea_cassette: 1\n", "tasks", (1, 1)),
    "a turn that is text": (TURNS + "hello\n", "", (4, 7)),
    "a task that is text": (HEAD + "  notes: hello\n", "", (3, 10)),
    "an alias": (HEAD + "  a: &x []\n  b: *x\n", "anchor", (3, 6)),
    "a key twice": (HEAD + "  a: []\n  a: []\n", "twice", (4, 3)),
}  # fmt: skip


def problems(text: str) -> tuple[Issue, ...]:
    with pytest.raises(DocumentError) as caught:
        loads_cassette(text, name="calls.yaml")
    return caught.value.issues


@pytest.mark.parametrize("name", WRONG)
def test_places_a_mistake(name: str) -> None:
    text, words, place = WRONG[name]
    first = problems(text)[0]
    assert words in first.message
    assert (first.file, first.line, first.col) == ("calls.yaml", *place)


def test_a_text_that_a_comma_cut_is_refused() -> None:
    (issue,) = problems(TURNS + "content: {ok: true, remark: Say who, and log it.}")
    assert (issue.line, issue.path) == (4, "tasks.notes[0].content['and log it.']")
    assert issue.hint == 'quote the text: remark: "Say who, and log it."'


def test_tells_all_mistakes_at_once() -> None:
    text = HEAD + "  a: [{contents: x}]\n  b:\n    lead: [{fault: {stats: 500}}]\n"
    assert {issue.line for issue in problems(text)} == {3, 5}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip
FIELDS = ("content", "tool_calls", "usage", "fault", "delegate", "handoff", "repeat", "odd")


@given(
    st.dictionaries(
        st.sampled_from(["a", "a[0]", "b#1/c", "B", ""]),
        st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=2), max_size=2) | JSON,
        max_size=3,
    )
)
def test_any_data_is_a_cassette_or_a_document_error(tasks: dict[str, Any]) -> None:
    try:
        found = loads_cassette(json.dumps({"talea_cassette": 1, "tasks": tasks}))
    except DocumentError as error:
        assert error.issues
        assert all(issue.line for issue in error.issues)
    else:
        assert list(found.tasks) == list(tasks)


# Whose turn it is


def test_turns_come_in_order_and_end() -> None:
    player = Player(cassette(notes=said("one", "two")))
    assert [ask(player, "notes") for _ in range(2)] == ["one", "two"]
    with pytest.raises(Rejection) as caught:
        ask(player, "notes")
    assert (caught.value.status, caught.value.code) == (409, "replay_exhausted")
    assert caught.value.headers == {"x-should-retry": "false"}
    assert "asked for turn 3, and 2 are recorded" in caught.value.message
    assert caught.value.message.endswith(": the framework made an extra model call")


def test_a_list_is_consumed_over_agents_and_a_mapping_by_each() -> None:
    player = Player(cassette(a=said("one", "two"), b={"x": said("1", "2"), "y": said("3")}))
    assert [ask(player, "a", agent) for agent in "xy"] == ["one", "two"]
    assert [ask(player, "b", agent) for agent in "yxx"] == ["3", "1", "2"]
    with pytest.raises(Rejection, match=r"nothing is recorded for agent 'z' at 'b'$"):
        ask(player, "b", "z")


def test_without_iteration_the_turns_run_on() -> None:
    player = Player(cassette(**{"polish/brief": said("one", "two", "three")}))
    addresses = ["polish#0/brief", "polish#0/brief#0", "polish#1/brief"]
    assert [ask(player, address) for address in addresses] == ["one", "two", "three"]


def test_without_item_each_has_its_own_count() -> None:
    player = Player(cassette(notes=said("one", "two")))
    addresses = ["notes[0]", "notes[1]", "notes[1]#7", "notes[0]"]
    assert [ask(player, address) for address in addresses] == ["one", "one", "two", "two"]


def test_the_key_with_the_most_marks_speaks() -> None:
    keys = ["a/b", "a[0]/b", "a/b[1]", "a[0]/b[1]", "a[0]#2/b[1]"]
    player = Player(cassette(**{key: said(*[key] * 3) for key in keys}))
    expected = {
        "a[5]#0/b[5]": "a/b",
        "a[0]/b[5]": "a[0]/b",
        "a[5]/b[1]#3": "a/b[1]",
        "a[0]#1/b[1]": "a[0]/b[1]",
        "a[0]#2/b[1]#0": "a[0]#2/b[1]",
    }
    assert {address: ask(player, address) for address in expected} == expected


@pytest.mark.parametrize("address", ["nots", "notes/draft", "Notes", "", "notes[0][1]", "notes#1x"])
def test_an_address_that_is_not_recorded_is_refused(address: str) -> None:
    with pytest.raises(Rejection, match=r"nothing is recorded for ") as caught:
        ask(Player(cassette(notes=said("one"))), address)
    assert caught.value.code == "replay_exhausted"
    assert "extra model call" not in caught.value.message  # The cassette lacks it; nobody erred.


def test_an_address_that_is_nearly_recorded_gets_a_hint() -> None:
    with pytest.raises(Rejection, match=r"did you mean 'notes'\?"):
        ask(Player(cassette(notes=said("one"))), "nots")


def test_each_run_plays_from_the_start() -> None:
    player = Player(cassette(notes=said("one", "two")))
    runs = ["x", "y", "x", "y"]
    assert [ask(player, "notes", run=run) for run in runs] == ["one", "one", "two", "two"]


ITEMS = st.sampled_from(["", "[0]", "[1]"])
TURNS_OF = st.sampled_from(["", "#0", "#1"])
SEGMENTS = st.tuples(st.sampled_from("ab"), ITEMS, TURNS_OF).map("".join)
ADDRESSES = st.lists(SEGMENTS, min_size=1, max_size=2).map("/".join)


def fits(key: str, address: str) -> bool:
    """Say whether a key is the address, or the address with some marks left out."""
    rest = iter(address.replace("[", " [").replace("#", " #").replace("/", " / ").split())
    wanted = key.replace("[", " [").replace("#", " #").replace("/", " / ").split()
    return all(any(part == other for other in rest) for part in wanted) and (
        strip(key) == strip(address)
    )


def strip(address: str) -> str:
    return "".join(c for c in address if c.isalpha() or c == "/")


@example({"a#0", "a", "a[0]"}, ["a[0]"])
@given(st.sets(ADDRESSES, max_size=8), st.lists(ADDRESSES, max_size=8))
def test_calls_find_the_closest_key_and_count_by_item(keys: set[str], calls: list[str]) -> None:
    player = Player(cassette(**{key: [{"content": key, "repeat": True}] for key in keys}))
    for address in calls:
        fitting = [key for key in keys if fits(key, address)]
        if not fitting:
            with pytest.raises(Rejection):
                ask(player, address)
            continue
        most = max(map(marks, fitting))
        assert ask(player, address) in [key for key in fitting if marks(key) == most]


def marks(key: str) -> int:
    return key.count("[") + key.count("#")


@given(
    st.lists(st.tuples(st.sampled_from("xy"), st.integers(0, 2), st.integers(0, 2)), max_size=12)
)
def test_every_agent_of_every_item_hears_its_turns_in_order(
    calls: list[tuple[str, int, int]],
) -> None:
    turns = {agent: said(*(f"{agent}{n}" for n in range(12))) for agent in "xy"}
    player = Player(cassette(team=turns))
    heard: dict[tuple[str, int], list[str | None]] = {}
    for agent, item, iteration in calls:
        text = ask(player, f"team[{item}]#{iteration}", agent)
        heard.setdefault((agent, item), []).append(text)
    for (agent, _), texts in heard.items():
        assert texts == [f"{agent}{n}" for n in range(len(texts))]


def test_a_turn_is_made_in_python_too() -> None:
    assert Turn(content=[1, {"a": "ä"}]).text == '[1, {"a": "ä"}]'
