"""`talea cassette`, and cassettes as they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talea.cli import main
from talea.gateway.cassette import Cassette, load_cassette, loads_cassette
from talea.gateway.writing import dumps_cassette

FLOW = """
talea: 1
name: demo
model: openai/gpt-5-mini
agents: {writer: {}}
tasks:
  brief: {agent: writer, prompt: Write}
  notes: {agent: writer, prompt: Note}
"""
CASSETTE = """
talea_cassette: 1
tasks:
  brief: [{content: "One.", usage: {input_tokens: 1500, output_tokens: 3}}]
  team:
    lead: [{delegate: {to: writer, task: Draft it}}, {tool_calls: [{name: search, arguments: {q: cats}}]}]
    writer: [{content: {level: low}, fault: {drop: true}}]
  flaky: [{fault: {status: 429}}, {fault: {delay: 1}, content: "a \\e[31mred\\nword", repeat: true}]
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def talea(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Give a function that runs the command line in a folder with the files above."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "one.yaml").write_text(CASSETTE)
    (tmp_path / "two.yaml").write_text(
        "talea_cassette: 1\ntasks:\n  brief: [{content: Two.}]\n  notes: [{content: 'no'}]\n"
    )

    def invoke(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["cassette", *args])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return invoke


def test_check_counts_turns(talea: Run) -> None:
    code, out, err = talea("check", "one.yaml", "two.yaml")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "one.yaml: 6 turns",
        "  brief  1 turn",
        "  team   lead: 2 turns, writer: 1 turn",
        "  flaky  2 turns",
        "two.yaml: 2 turns",
        "  brief  1 turn",
        "  notes  1 turn",
    ]


def test_check_tells_every_problem_of_every_file_with_its_place(talea: Run) -> None:
    Path("bad.yaml").write_text("talea_cassette: 1\ntasks:\n  notes: [{contents: x}]\n")
    code, out, err = talea("check", "bad.yaml", "two.yaml", "nowhere.yaml")
    assert code == 2
    assert "two.yaml: 2 turns" in out
    assert re.search(r"bad\.yaml:3:\d+ tasks\.notes.*contents", err)
    assert "nowhere.yaml: the cassette cannot be read" in err
    assert err.rstrip().endswith("problems.")


def test_check_holds_a_cassette_against_a_workflow(talea: Run) -> None:
    code, _, err = talea("check", "one.yaml", "--workflow", "flow.yaml")
    assert code == 2
    assert "one.yaml:5:3 tasks.team: the workflow has no task 'team'" in err
    assert "one.yaml:8:3 tasks.flaky: the workflow has no task 'flaky'" in err
    assert "warning: nothing is recorded for 'notes'" in err
    assert talea("check", "two.yaml", "--workflow", "flow.yaml")[::2] == (0, "")


def test_check_and_show_take_a_folder_of_cassettes(talea: Run, tmp_path: Path) -> None:
    (tmp_path / "rec").mkdir()
    for name in ("two", "one"):
        (tmp_path / f"{name}.yaml").rename(tmp_path / "rec" / f"{name}.yaml")
    (tmp_path / "rec" / "notes.txt").write_text("no cassette")
    code, out, _ = talea("check", "rec")
    assert code == 0
    told = [line for line in out.splitlines() if not line.startswith(" ")]
    assert told == ["rec/one.yaml: 6 turns", "rec/two.yaml: 2 turns"]
    code, out, _ = talea("show", "rec")
    assert code == 0
    assert out.startswith("rec/one.yaml:\n\nADDRESS")
    assert "\n\nrec/two.yaml:\n\nADDRESS" in out
    (tmp_path / "rec" / "bad.yaml").write_text("talea_cassette: 1\n")
    for command in ("check", "show"):
        code, out, err = talea(command, "rec")
        assert code == 2
        assert "rec/two.yaml" in out
        assert "rec/bad.yaml" in err


def test_a_folder_without_cassettes_is_refused(talea: Run, tmp_path: Path) -> None:
    (tmp_path / "rec").mkdir()
    for command in ("check", "show"):
        code, out, err = talea(command, "rec")
        assert (code, out) == (2, "")
        assert "the folder rec has no cassettes" in err


def test_show_gives_a_row_for_each_turn(talea: Run) -> None:
    code, out, _ = talea("show", "one.yaml")
    assert code == 0
    rows = [re.split(r"  +", line) for line in out.splitlines()]
    assert rows[0] == ["ADDRESS", "AGENT", "TURN", "KIND", "TOKENS", "FIRST WORDS"]
    assert rows[1:] == [
        ["brief", "any", "1", "text", "1,500 + 3", "One."],
        ["team", "lead", "1", "delegate", "-", "to writer: Draft it"],
        ["team", "lead", "2", "calls", "-", 'search({"q": "cats"})'],
        ["team", "writer", "1", "structure, drop", "-", '{"level": "low"}'],
        ["flaky", "any", "1", "status 429", "-"],
        ["flaky", "any", "2", "text, delay, repeat", "-", "a \\x1b[31mred word"],
    ]


def test_results_of_tools_are_counted_and_shown(talea: Run) -> None:
    Path("tools.yaml").write_text(
        "talea_cassette: 1\ntasks: {}\ntools:\n  brief:\n"
        "    - {name: search, arguments: {q: cats}, result: [1, 2]}\n"
        "    - {name: search, error: {type: timeout, message: too slow}}\n"
    )
    assert talea("check", "tools.yaml")[1] == "tools.yaml: 0 turns\n  brief  2 results of tools\n"
    rows = [re.split(r"  +", line) for line in talea("show", "tools.yaml")[1].splitlines()]
    assert rows[2:] == [
        ["ADDRESS", "TOOL", "CALL", "KIND", "FIRST WORDS"],
        ["brief", "search", "1", "result", '{"q": "cats"} → [1, 2]'],
        ["brief", "search", "2", "timeout", "{} → too slow"],
    ]


def test_merge_asks_which_to_prefer(talea: Run) -> None:
    code, out, err = talea("merge", "one.yaml", "two.yaml")
    assert (code, out) == (2, "")
    assert "'brief': one.yaml and two.yaml have different turns" in err


@pytest.mark.parametrize(("prefer", "kept"), [("first", "One."), ("last", "Two.")])
def test_merge_writes_a_cassette_that_loads(talea: Run, prefer: str, kept: str) -> None:
    code, out, _ = talea("merge", "one.yaml", "two.yaml", "--prefer", prefer)
    assert code == 0
    merged: Any = loads_cassette(out).tasks
    assert [*merged] == ["brief", "team", "flaky", "notes"]
    assert (merged["brief"][0].content, merged["notes"][0].content) == (kept, "no")
    assert talea("merge", "one.yaml", "two.yaml", "--prefer", prefer, "-o", "all.yaml")[:2] == (
        0,
        "",
    )
    assert Path("all.yaml").read_text("utf-8") == out
    assert load_cassette("one.yaml").tasks["team"] == merged["team"]


def test_merge_says_that_it_cannot_write(talea: Run) -> None:
    code, _, err = talea("merge", "one.yaml", "-o", "no/such/folder.yaml")
    assert code == 2
    assert "no/such/folder.yaml cannot be written" in err


# What is written is read back as the same, by the talea that takes no anchors, tags or overrides.

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [
        "1e3", "0o10", "010", "0x1f", ".5", "1_000", "1:30", "-1", ".nan", "no", "Null", "~", "",
        "2020-01-01", "a: b", "a #b", "- x", "? x", "a,", "[a]", "{a}", "@x", "&x", "*x", "!x",
        "x\ny\n", "x\n\n y", "  x\n", "x\n", "tab\there\nx", "---\nx", "a\r\nb", "trail \nx",
        "end:", "word " * 60, "word\n" * 30, "\u202eb\nc",
    ]
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | _TEXT
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
_CALL = st.builds(
    lambda name, arguments: {"name": name, "arguments": arguments},
    _TEXT,
    st.dictionaries(_TEXT, _JSON, max_size=2) | _TEXT,
)
_TURN = st.builds(
    lambda content, calls: {"content": content, "tool_calls": calls},
    _JSON,
    st.lists(_CALL, max_size=2),
)


@settings(max_examples=200)
@given(st.lists(_TURN, max_size=3), st.dictionaries(_TEXT, st.lists(_TURN, max_size=2), max_size=2))
def test_what_is_written_is_read_as_the_same(turns: list[Any], agents: dict[str, Any]) -> None:
    tasks = {"notes[0]": turns, "polish#1/team": agents}
    cassette = Cassette.model_validate({"talea_cassette": 1, "tasks": tasks})
    text = dumps_cassette(cassette)
    assert loads_cassette(text) == cassette
    assert json.loads(loads_cassette(text).model_dump_json()) == json.loads(
        cassette.model_dump_json()
    )


def test_what_is_written_is_readable() -> None:
    turn: Any = {"content": "Grüße, 'you'!\nTwo lines.", "usage": {"input_tokens": 5}}
    cassette = Cassette.model_validate({"talea_cassette": 1, "tasks": {"a": [turn, turn]}})
    assert dumps_cassette(cassette) == (
        "talea_cassette: 1\ntasks:\n  a:\n"
        + "  - content: |-\n      Grüße, 'you'!\n      Two lines.\n    usage:\n      input_tokens: 5\n"
        * 2
    )
