"""Checks: each kind in both directions, what it says of what it found, and how runs are judged."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talea import DocumentError, TaskError, loads
from talea.compare.checks import Opinion, Question, judge
from talea.compare.functions import Answer, look
from talea.compare.record import Case, Problem, RunRecord, Task, Used, Verdict
from talea.compare.values import difference, equal, lacking
from talea.plan import make_plan

PLAN = make_plan(
    loads("""
talea: 1
name: flow
model: openai/any
models: {strong: {model: openai/strong}}
inputs:
  topic: {type: string}
tasks:
  make: {value: {title: "{{ inputs.topic }}", notes: [{words: 3}, {words: 5}]}}
  lost: {value: 1, when: false}
outputs:
  article: "{{ tasks.make.output }}"
  text: "about {{ inputs.topic }}"
""")
)
OUTPUTS = {
    "article": {"title": "Tea", "notes": [{"words": 3}, {"words": 5}]},
    "text": "about Tea",
}
DONE = RunRecord(
    framework="simple",
    case="one",
    repeat=0,
    order=0,
    status="succeeded",
    outputs=OUTPUTS,
    tasks={
        "make": Task(status="succeeded", output=OUTPUTS["article"]),
        "lost": Task(status="skipped", reason="condition"),
    },
    used=Used(model_calls=3, input_tokens=40, output_tokens=2, cost=0.5),
    duration=1.5,
)
LATE = DONE.model_copy(
    update={
        "status": "failed",
        "outputs": None,
        "error": Problem(type="timeout", message="it took too long", address="make"),
    }
)


def verdicts(*checks: Any, run: RunRecord = DONE, **more: Any) -> Sequence[Verdict]:
    """Judge a run by some checks."""
    functions = more.pop("functions", ())
    case = Case(id="one", inputs={"topic": "Tea"}, expect=checks)
    return judge([case], PLAN, functions=functions)(run, case, **more)


def why(check: Any, **more: Any) -> str | None:
    """Give why a check failed; None if it passed."""
    [verdict] = verdicts(check, **more)
    assert verdict.passed == (verdict.why is None)
    return verdict.why


TEXT = {"path": "outputs.text"}


@pytest.mark.parametrize(
    "check",
    [
        "outputs.article.title == inputs.topic",
        "tasks.make.status == 'succeeded' and tasks.lost.status == 'skipped'",
        "not tasks.make.recovered and tasks.make.error == null",
        "all(note.words < 9 for note in outputs.article.notes)",
        "run.model_calls <= 3 and run.input_tokens + run.output_tokens < 50 and run.cost < 1",
        "run.framework == 'simple' and run.duration < 2 and run.retries == 0",
        "default(tasks.lost.output, 'none') == 'none'",
        {"equals": OUTPUTS},
        {"path": "outputs.article.notes[1].words", "equals": 5.0},
        {"path": "tasks.lost.output", "equals": None},
        {**TEXT, "contains": "Tea"},
        {"path": "outputs.article.notes", "contains": {"words": 5}},
        {"path": "outputs.article", "contains": "title"},
        {"path": "outputs.article", "contains": {"title": "Tea"}},
        {**TEXT, "matches": "^about [A-Z]"},
        {"path": "outputs.article", "schema": {"type": "object", "required": ["title"]}},
        {"path": "outputs.article.notes", "is": "len(value) == 2 and inputs.topic == 'Tea'"},
        {"status": "succeeded"},
    ],
)
def test_what_holds_passes(check: Any) -> None:
    assert why(check) is None


@pytest.mark.parametrize(
    ("check", "found"),
    [
        ("outputs.text == 'x'", 'outputs.text is "about Tea"'),
        (
            "len(outputs.article.notes) > 2 or inputs.topic == 'x'",
            'outputs.article.notes is [{"words": 3}, {"words": 5}]; inputs.topic is "Tea"',
        ),
        (
            "all(note.words < 4 for note in outputs.article.notes)",
            'outputs.article.notes is [{"words": 3}, {"words": 5}]',
        ),
        ("outputs.text", "a condition gives true or false, but this gives text"),
        (
            "outputs.text > 3",
            "`outputs.text > 3`: text and number have no order",
        ),
        ({**TEXT, "equals": "x"}, '"about Tea", not "x"'),
        ({**TEXT, "equals": None}, '"about Tea", not null'),
        (
            {"path": "outputs.article", "equals": {"title": "Tea", "notes": [{"words": 3}]}},
            'at `notes[1]`: {"words": 5}, where nothing should be',
        ),
        (
            {"path": "outputs.article", "equals": {**OUTPUTS["article"], "more": 1}},  # type: ignore[dict-item]
            "at `more`: missing, not 1",
        ),
        ({"path": "outputs.article.notes[0].words", "equals": True}, "3, not true"),
        ({**TEXT, "contains": "tea"}, '"tea" is not in "about Tea"'),
        (
            {"path": "outputs.article.notes", "contains": {"words": 4}},
            '{"words": 4} is not in [{"words": 3}, {"words": 5}]',
        ),
        ({"path": "outputs.article", "contains": {"title": "x"}}, 'at `title`: "Tea", not "x"'),
        ({**TEXT, "contains": 3}, '"about Tea" is text, and cannot contain number'),
        ({**TEXT, "matches": "^Tea"}, '"about Tea"'),
        ({"path": "outputs.article", "matches": "x"}, None),
        ({**TEXT, "schema": {"type": "string", "maxLength": 3}}, None),
        ({**TEXT, "is": "len(value) > 100"}, 'value is "about Tea"'),
        ({"path": "tasks.make.error.type", "equals": "timeout"}, None),
        ({"status": "failed"}, "the run succeeded"),
        ({"status": "waiting"}, "the run succeeded"),
    ],
)
def test_what_does_not_hold_fails_and_says_what_was_found(check: Any, found: str | None) -> None:
    told = why(check)
    assert told is not None
    if found is not None:
        assert told == found
    assert len(told) < 250


def test_long_values_are_cut_and_long_texts_shown_where_they_part() -> None:
    outputs: dict[str, Any] = {"article": {}, "text": "a" * 500 + "b"}
    run = DONE.model_copy(update={"outputs": outputs})
    told = why({**TEXT, "equals": "a" * 500 + "c"}, run=run)
    assert told == 'from character 490 on "aaaaaaaaaab", not "aaaaaaaaaac"'
    told = why("outputs.text == ''", run=run)
    assert told is not None
    assert len(told) < 110


def test_a_hostile_pattern_and_a_hostile_text_take_no_time() -> None:
    run = DONE.model_copy(update={"outputs": {"article": {}, "text": "a" * 50_000 + "!"}})
    assert why({**TEXT, "matches": "^(a+)+$"}, run=run) is not None


def test_checks_are_called_by_what_they_ask_or_by_their_name() -> None:
    names = [
        verdict.check
        for verdict in verdicts(
            "outputs.text  !=\n ''",
            {**TEXT, "contains": "Tea"},
            {"name": "title", "path": "outputs.article.title", "equals": "Tea"},
            {"status": "succeeded"},
        )
    ]
    assert names == [
        "outputs.text != ''",
        'outputs.text contains "Tea"',
        "title",
        "the run ends as succeeded",
    ]


# Runs that fail.


def test_a_run_that_failed_fails_its_checks() -> None:
    found = verdicts("inputs.topic == 'Tea'", {**TEXT, "contains": "a"}, run=LATE)
    assert [(one.passed, one.why) for one in found] == [
        (False, "the run failed with timeout: it took too long")
    ] * 2


@pytest.mark.parametrize(
    ("check", "run", "passes"),
    [
        ({"status": "failed"}, LATE, True),
        ({"status": "failed", "error": "timeout"}, LATE, True),
        ({"status": "failed", "error": "denied"}, LATE, False),
        ({"status": "failed", "error": "timeout"}, DONE, False),
        ({"status": "succeeded"}, LATE, False),
    ],
)
def test_a_run_that_is_to_fail_passes_when_it_does(
    check: Any, run: RunRecord, passes: bool
) -> None:
    found = verdicts(check, "inputs.topic == 'Tea'", run=run)
    assert found[0].passed is passes
    assert run.model_copy(update={"verdicts": tuple(found)}).passed is passes


# Functions of the caller's.


def test_a_function_is_given_the_value_at_the_path() -> None:
    given: list[tuple[str, Any]] = []

    def call(name: str, value: Any) -> Answer:
        given.append((name, value))
        return name == "good", "no good" if name != "good" else None

    checks = [{"check": "good"}, {"check": "bad", **TEXT}]
    good, bad = verdicts(*checks, functions=["good", "bad"], call_function=call)
    assert given == [("good", OUTPUTS), ("bad", "about Tea")]
    assert (good.passed, bad.passed, bad.why) == (True, False, "no good")


def test_a_function_that_nobody_can_call_is_a_failed_check() -> None:
    assert why({"check": "good"}, functions=["good"]) is not None


def test_what_a_function_may_say() -> None:
    def asserts(value: Any) -> None:
        if value != 1:
            raise AssertionError("not one")

    async def later(value: Any) -> bool:
        await asyncio.sleep(0)
        return value == 1

    def changes(value: list[int]) -> bool:
        value.append(1)
        return len(value) == 2

    assert look(asserts, 1) == (True, None)
    assert look(asserts, 2) == (False, "not one")
    assert look(later, 1) == (True, None)
    assert look(later, 2) == (False, None)
    assert look(lambda value: (value == 1, "why"), 2) == (False, "why")
    assert look(lambda value: value, 1) == (False, "it gave 1, and not true or false")
    assert look(lambda value: value.x, 1)[1] == (
        "it raised AttributeError: 'int' object has no attribute 'x'"
    )

    def leaves(_: Any) -> None:
        raise SystemExit("bye")

    assert look(leaves, 1) == (False, "it raised SystemExit: bye")
    told = look(lambda _: (False, "long " * 100_000), 1)[1]
    assert told is not None
    assert len(told) < 2000
    mine = [1]
    assert look(changes, mine) == (True, None)
    assert mine == [1]


# Models as judges.


def test_each_question_has_an_address_of_its_own() -> None:
    asked: list[Question] = []

    def ask(question: Question) -> Opinion:
        asked.append(question)
        return Opinion(False, "rude", Used(model_calls=1, output_tokens=7))

    checks = [
        {"judge": "Is it polite?", **TEXT},
        "outputs.text != ''",
        {"judge": "Is it short?", "model": "strong"},
    ]
    found = verdicts(*checks, ask_judge=ask)
    assert asked == [
        Question("Is it polite?", "about Tea", None, "judge"),
        Question("Is it short?", OUTPUTS, "strong", "judge_2"),
    ]
    assert [(one.check, one.passed, one.why) for one in found] == [
        ("Is it polite?", False, "rude"),
        ("outputs.text != ''", True, None),
        ("Is it short?", False, "rude"),
    ]
    assert [one.used and one.used.output_tokens for one in found] == [7, None, 7]


def test_a_question_leaves_the_address_of_a_task_to_it() -> None:
    asked: list[str] = []

    def ask(question: Question) -> Opinion:
        asked.append(question.address)
        return Opinion(True, None)

    plan = make_plan(loads("{talea: 1, name: flow, tasks: {judge: {value: 1}}}"))
    case = Case(id="one", expect=({"judge": "Polite?"}, {"judge": "Short?"}))
    judge([case], plan)(DONE, case, ask_judge=ask)
    assert asked == ["judge_", "judge_2"]


def test_a_judge_that_gives_no_verdict_is_a_failed_check() -> None:
    def ask(question: Question) -> Opinion:
        raise TaskError("rate_limit", "too many")

    assert why({"judge": "Polite?"}, ask_judge=ask) == "it could not be made: rate_limit: too many"
    assert why({"judge": "Polite?"}) == "there is nobody to ask"


def test_whether_a_model_is_asked_is_known_before() -> None:
    asks = [{"judge": "Polite?"}, {"judge": "Short?", "model": "strong"}]
    assert judge([Case(id="a"), Case(id="b", expect=tuple(asks))], PLAN).models == {None, "strong"}
    cases = [Case(id="a", expect=("outputs.text == 'judge'", {"equals": "judge"}))]
    assert not judge(cases, PLAN).models


def test_checks_of_data_are_refused_before_anything_runs() -> None:
    cases = [Case(id="a", expect=("outputs.x",)), Case(id="b", expect=({"judge": 3}, "1 +"))]
    with pytest.raises(DocumentError) as caught:
        judge(cases, PLAN)
    assert [issue.where for issue in caught.value.issues] == [
        "case 'a' expect[0]",
        "case 'b' expect[0].judge",
        "case 'b' expect[1]",
    ]


# Laws of values.

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(_JSON, _JSON)
def test_a_value_equals_itself_and_differs_as_seen_from_both_sides(one: Any, other: Any) -> None:
    assert equal(one, one)
    assert equal(one, other) == equal(other, one)
    assert equal(one, other) == (difference(one, other) is None)


@given(st.lists(_JSON, min_size=1), st.dictionaries(st.text(), _JSON), st.text(), st.text())
def test_a_whole_contains_its_parts(
    items: list[Any], members: dict[str, Any], before: str, after: str
) -> None:
    assert all(lacking(items, item) is None for item in items)
    assert all(lacking(members, key) is None for key in members)
    assert all(lacking(members, {key: value}) is None for key, value in members.items())
    assert lacking(f"{before}|{after}", "|") is None
