"""Cases from files and from data: read, checked against the workflow, and every mistake in place."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talea import DocumentError, loads
from talea.compare.cases import make_cases, read_cases, read_expectations
from talea.compare.record import Case
from talea.plan import make_plan

PLAN = make_plan(
    loads("""
talea: 1
name: flow
inputs:
  topic: {type: string}
  count: {type: integer, default: 3}
tools: {send: {approve: true}}
tasks:
  ok: {ask: "Is {{ inputs.topic }} fine?"}
  sent: {tool: send}
  make:
    value: {title: "{{ inputs.topic }}", count: "{{ inputs.count }}"}
outputs:
  article: "{{ tasks.make.output }}"
  text: "about {{ inputs.topic }}"
""")
)


def file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, name: str, text: str, **more: Any) -> list[str]:
    """Give each problem as `line:column message`, with its hint."""
    path = file(folder, name, text)
    with pytest.raises(DocumentError) as caught:
        read_cases(path, PLAN, **more)
    assert {issue.file for issue in caught.value.issues} == {str(path)}
    return [
        f"{issue.line}:{issue.col} {issue.message}" + (f" ({issue.hint})" if issue.hint else "")
        for issue in caught.value.issues
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"topic": "a"}\n\n{"id": "b", "inputs": {"topic": "b", "count": 1}}\r\n'),
        ("a.json", '[{"topic": "a"}, {"id": "b", "inputs": {"topic": "b", "count": 1}}]'),
        ("a.yaml", "- topic: a\n- id: b\n  inputs: {topic: b, count: 1}\n"),
    ],
)
def test_every_format_gives_the_same_cases(tmp_path: Path, name: str, text: str) -> None:
    assert read_cases(file(tmp_path, name, text), PLAN) == [
        Case(id="case-1", inputs={"topic": "a", "count": 3}),
        Case(id="b", inputs={"topic": "b", "count": 1}),
    ]


def test_one_object_is_one_case(tmp_path: Path) -> None:
    [case] = read_cases(file(tmp_path, "a.yaml", "topic: a\n"), PLAN)
    assert case.inputs == {"topic": "a", "count": 3}


def test_cases_made_in_python_need_no_id() -> None:
    cases = make_cases([Case(inputs={"topic": "a"}), Case(id="x", inputs={"topic": "b"})], PLAN)
    assert [case.id for case in cases] == ["case-1", "x"]


def test_made_ids_leave_given_ones_alone() -> None:
    cases = make_cases([{"topic": "a"}, {"id": "case-1", "inputs": {"topic": "b"}}], PLAN)
    assert [case.id for case in cases] == ["case-1'", "case-1"]


def test_all_problems_of_lines_are_told_at_their_places(tmp_path: Path) -> None:
    text = """\
{"topc": "a"}
{"inputs": {"topic": 3}, "id": "x"}
[1]
{"topic": "a", "expect": []}
{"topic": "a"} {
{"inputs": {"topic": "a"}, "id": "x"}
{"inputs": {"topic": "a"}, "wants": 1}
"""
    assert problems(tmp_path, "a.jsonl", text) == [
        "1:1 the input 'topic' is missing",
        "1:2 unknown input 'topc' (did you mean 'topic'?)",
        "2:22 the input 'topic' does not fit: 3 is not of type \"string\"",
        '3:None a line is one JSON object (such as {"topic": "tea"})',
        "4:16 unknown input 'expect' (a case says `inputs` as well: {inputs: {…}, expect: […]})",
        "5:16 this is not YAML: did not find expected <document start>",
        "6:34 there is a case 'x' already",
        "7:28 unknown key 'wants' (known keys: id, inputs, answers, expect)",
    ]


def test_all_problems_of_checks_are_told_at_their_places(tmp_path: Path) -> None:
    text = """\
- inputs: {topic: a}
  answers: {okay: yes, sent/send: 3}
  expect:
    - len(outputs.text > 3
    - text == 'a'
    - "{{ outputs.text }}"
    - outputs.article.titel == 'a'
    - tasks.mak.output == 1
    - tasks.make.result == 1
    - {path: outputs.text, schema: {type: strng}}
    - {path: outputs.text, matches: "(a"}
    - {status: failed, error: timeouts}
    - {status: succeeded, error: timeout}
    - {judge: Polite?, model: gpt}
    - {}
    - {path: outputs.text, equals: 1, contains: 2}
    - {contains: x}
    - {check: politte}
    - {path: outputs.text, is: valu == 1}
    - {path: outputs.text, equls: 1}
    - 3
- topic: b
- 4
"""
    assert problems(tmp_path, "a.yaml", text, functions=["polite"]) == [
        "2:13 nothing is asked at 'okay' (did you mean 'ok'?)",
        (
            "2:24 3 is no answer to the call that 'sent/send' asks about (answer true,"
            ' {"arguments": {…}} to call it otherwise, or {"refuse": "why"})'
        ),
        "4:10 '(' is never closed",
        "5:7 unknown name 'text' (write `outputs.text`)",
        (
            "6:8 a set is not part of the language"
            " (this is an expression already: write it without {{ }})"
        ),
        "7:7 this path cannot exist: there is no 'titel' there; it has title, count",
        "8:7 unknown task 'mak' (did you mean 'make'?)",
        (
            "9:7 a task has no 'result', but output, status, error and recovered"
            " (what it gave is `tasks.make.output`)"
        ),
        "10:43 'strng' is not a type; did you mean 'string'?",
        (
            "11:37 this pattern cannot be used: a pattern is a regular expression of bounded size,"
            " without look-around and back-references"
        ),
        "12:31 'error' cannot be 'timeouts' (did you mean 'timeout'?)",
        "13:27 only a run that failed has an error",
        '14:31 unknown model "gpt" (such as openai/gpt-5-mini)',
        (
            "15:7 the check asks nothing"
            " (it needs one of equals, contains, matches, schema, is, check, judge, status)"
        ),
        "16:39 a check asks one thing, but this one has equals and contains (write two checks)",
        "17:8 `contains` needs a path (say whose value: {path: outputs.…, …})",
        "18:15 unknown function \"politte\" (did you mean 'polite'?)",
        "19:32 unknown name 'valu' (did you mean 'value'?)",
        "20:28 unknown key 'equls' (did you mean 'equals'?)",
        "21:7 a check is an expression or a mapping (such as \"outputs.title == 'Tea'\")",
        (
            "23:3 a case is an object, not a number"
            " (its inputs by name, or {inputs: {…}, expect: […]})"
        ),
    ]


def test_a_caret_stands_under_the_part_that_is_wrong(tmp_path: Path) -> None:
    path = file(tmp_path, "a.yaml", "- inputs: {topic: a}\n  expect: [outputs.txt == 'a']\n")
    with pytest.raises(DocumentError) as caught:
        read_cases(path, PLAN)
    assert caught.value.issues[0].snippet == (
        "    2 |   expect: [outputs.txt == 'a']\n      |            ^^^^^^^^^^^"
    )


def test_problems_without_end_are_counted(tmp_path: Path) -> None:
    found = problems(tmp_path, "a.jsonl", '{"topic": 1}\n' * 130)
    assert len(found) == 101
    assert found[99].startswith("100:11 ")
    assert found[100].endswith("and 30 more problems")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", "\n\n", "there are no cases"),
        ("a.yaml", "[]", "there are no cases"),
        ("a.yaml", "just text", "cases are a list of objects, or one, not text"),
        ("a.json", '{"topic": "a",', "this is not YAML"),
    ],
)
def test_what_holds_no_case_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        read_cases(file(tmp_path, name, text), PLAN)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="the cases cannot be read: No such file"):
        read_cases(tmp_path / "a.jsonl", PLAN)


def test_data_is_told_by_its_number_and_path() -> None:
    wrong = [{"topic": 3}, {"inputs": {"topic": "a"}, "expect": ["outputs.x"]}, {"topic": {1}}]
    with pytest.raises(DocumentError) as caught:
        make_cases(wrong, PLAN)
    assert [issue.where for issue in caught.value.issues] == [
        "case 1 topic",
        "case 2 expect[0]",
        "case 3 topic",
    ]


def test_expectations_of_a_file_are_given_to_every_case(tmp_path: Path) -> None:
    path = file(tmp_path, "e.yaml", "- outputs.text != ''\n- {path: outputs.text, contains: a}\n")
    shared = read_expectations(path, PLAN)
    own = [{"topic": "a"}, {"inputs": {"topic": "b"}, "expect": ["run.retries == 0"]}]
    first, second = make_cases(own, PLAN, expectations=shared)
    assert first.expect == shared
    assert second.expect == ("run.retries == 0", *shared)


def test_what_is_expected_of_all_cases_is_told_once() -> None:
    with pytest.raises(DocumentError) as caught:
        make_cases([{"topic": "a"}, {"topic": 3}], PLAN, expectations=["true", "outputs.txt"])
    assert [issue.where for issue in caught.value.issues] == [
        "case 2 topic",
        "what is expected of all cases [1]",
    ]


def test_expectations_are_checked_as_a_cases_own_are(tmp_path: Path) -> None:
    path = file(tmp_path, "e.yaml", "- outputs.text != ''\n- {path: outputs.txt, equals: a}\n")
    with pytest.raises(DocumentError) as caught:
        read_expectations(path, PLAN)
    [issue] = caught.value.issues
    assert (issue.line, issue.col) == (2, 10)
    with pytest.raises(DocumentError, match="a list of checks, not a mapping"):
        read_expectations(file(tmp_path, "f.yaml", "equals: 1"), PLAN)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="ascii")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b"]), _JSON, min_size=1), min_size=1))
def test_a_file_of_lines_gives_what_data_gives(
    tmp_path_factory: pytest.TempPathFactory, inputs: list[dict[str, Any]]
) -> None:
    anything = make_plan(
        loads(
            "{talea: 1, name: any, inputs: {a: {default: 0}, b: {default: 0}}, tasks: {t: {value: 1}}}"
        )
    )
    path = tmp_path_factory.mktemp("cases") / "a.jsonl"
    path.write_text("".join(f"{json.dumps(one)}\n" for one in inputs))
    assert read_cases(path, anything) == make_cases(inputs, anything)
