"""Cassettes held against a workflow, and several of them made one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import talea
from talea.errors import DocumentError, Severity, UsageError
from talea.gateway.cassette import Cassette
from talea.gateway.faults import FaultRules, loads_faults
from talea.gateway.judges import is_judge, judge_address
from talea.gateway.merging import Prefer, merge
from talea.gateway.review import Finding, review, review_faults
from talea.plan import make_plan

FLOW = """
talea: 1
name: demo
model: openai/gpt-5-mini
agents: {writer: {}, editor: {}, idle: {}}
tasks:
  topics: {value: [a, b]}
  notes: {agent: writer, for_each: "tasks.topics.output", prompt: "On {{ item }}"}
  polish:
    loop: {max: 3, exhausted: keep}
    tasks:
      draft: {agent: writer, prompt: Draft}
      edit: {agent: editor, depends_on: [draft], prompt: Edit}
"""
TURN: dict[str, Any] = {"content": "x"}


def cassette(**tasks: Any) -> Cassette:
    return Cassette.model_validate({"talea_cassette": 1, "tasks": tasks})


def find(**tasks: Any) -> list[Finding]:
    return list(review(cassette(**tasks), make_plan(talea.loads(FLOW))))


WHOLE: dict[str, Any] = {
    "notes[0]": [TURN],
    "notes": {"writer": [TURN]},
    "polish#1/draft": [TURN],
    "polish/edit": {"editor": [TURN]},
}


def test_what_fits_is_not_spoken_of() -> None:
    assert find(**WHOLE) == []


@pytest.mark.parametrize(
    ("address", "turns", "message", "hint"),
    [
        ("note", [TURN], "the workflow has no task 'note'", "did you mean 'notes'?"),
        ("draft", [TURN], "the workflow has no task 'draft'", "did you mean 'polish/draft'?"),
        ("judge_x", [TURN], "no task 'judge_x'", "models are asked at 'notes', 'polish/draft'"),
        ("polish#4/draft", [TURN], "'polish' has iterations #1 to #3", None),
        ("polish#0/draft", [TURN], "so there is no 'polish#0'", None),
        ("polish/drafts", [TURN], "'polish' has no task 'drafts'", "did you mean 'draft'?"),
        ("notes#1", [TURN], "'notes' has no loop, so there is no 'notes#1'", None),
        ("polish[0]/draft", [TURN], "'polish' has no for_each", None),
        ("notes/inner", [TURN], "'notes' has no tasks inside", None),
        ("topics", [TURN], "of kind 'value', which asks no model", None),
        ("polish", [TURN], "asks no model", "models are asked at 'polish/draft', 'polish/edit'"),
        ("notes", {"idle": [TURN]}, "'notes' does not ask the agent 'idle'", "asks 'writer'"),
        ("notes", {"writter": [TURN]}, "'notes' knows no agent 'writter'", "did you mean 'writer'"),
    ],
)
def test_what_no_run_will_ask_for_is_found(
    address: str, turns: Any, message: str, hint: str | None
) -> None:
    (found,) = find(**{**WHOLE, address: turns})
    assert found.severity is Severity.ERROR
    assert found.path[:2] == ("tasks", address)
    assert message in found.message
    assert (hint or "") in (found.hint or "")
    assert (hint is None) == (found.hint is None)


@pytest.mark.parametrize("items", ["[a, b]", "[]"])
def test_an_item_beyond_a_list_that_is_written_out_is_found(items: str) -> None:
    flow = FLOW.replace('"tasks.topics.output"', items)
    tasks = {**WHOLE, "notes[2]": [TURN]}
    found = list(review(cassette(**tasks), make_plan(talea.loads(flow))))
    has = "items [0] to [1]" if items == "[a, b]" else "no items"
    assert f"'notes' has {has}, so there is no 'notes[2]'" in [one.message for one in found]


def test_what_judges_said_goes_with_any_workflow_that_has_no_such_task() -> None:
    assert find(**WHOLE, judge=[TURN], judge_2=[TURN], judge_=[TURN]) == []
    plan = make_plan(talea.loads(FLOW.replace("topics: {", "judge: {")
                                 .replace("tasks.topics", "tasks.judge")))  # fmt: skip
    (found,) = review(cassette(**WHOLE, judge=[TURN], judge_=[TURN]), plan)
    assert "'judge' is a task of kind 'value', which asks no model" in found.message


def test_each_judge_has_an_address_that_no_task_has() -> None:
    tasks = {"judge", "judge_", "judge_3"}
    addresses = [judge_address(number, tasks) for number in range(1, 12)]
    assert addresses[:3] == ["judge__", "judge_2", "judge_3_"]
    assert len({*addresses, *tasks}) == len(addresses) + len(tasks)
    assert all(is_judge(address, tasks) for address in addresses)
    assert not any(is_judge(task, tasks) for task in tasks)
    for other in ("judge_1", "judge_0", "judges", "judge_2x", "judge[0]", "judge/judge"):
        assert not is_judge(other, tasks)


def test_a_task_without_turns_is_a_warning() -> None:
    (found,) = find(**{"notes": [TURN], "polish/draft": [TURN]})
    assert (found.severity, found.path) == (Severity.WARNING, ())
    assert "'polish/edit'" in found.message


FITTING = [
    {"at": "*"},
    {"agent": "editor"},
    {"at": "notes"},
    {"at": "notes[7]", "agent": "writer"},
    {"at": "polish/edit", "agent": "editor"},
    {"at": "polish#3/draft"},
]


def faults(*rules: dict[str, Any]) -> FaultRules:
    made = [{**rule, "fault": {"empty": True}} for rule in rules]
    return FaultRules.model_validate({"talea_faults": 1, "rules": made})


def test_rules_that_can_befall_a_call_are_not_spoken_of() -> None:
    assert list(review_faults(faults(*FITTING), make_plan(talea.loads(FLOW)))) == []


@pytest.mark.parametrize(
    ("rule", "key", "message", "hint"),
    [
        ({"at": "note"}, "at", "the workflow has no task 'note'", "did you mean 'notes'?"),
        ({"at": "topics"}, "at", "'topics' is a task of kind 'value'", ""),
        ({"at": "polish"}, "at", "asks no model", "asked at 'polish/draft', 'polish/edit'"),
        ({"at": "polish#4/edit"}, "at", "so there is no 'polish#4'", ""),
        ({"at": "judge"}, "at", "the workflow has no task 'judge'", "models are asked at 'notes'"),
        ({"at": "notes", "agent": "edtor"}, "agent", "knows no agent 'edtor'", "asks 'writer'"),
        ({"at": "notes", "agent": "editor"}, "agent", "does not ask the agent", "asks 'writer'"),
        ({"agent": "edtor"}, "agent", "no task asks an agent 'edtor'", "did you mean 'editor'?"),
        ({"agent": "idle"}, "agent", "no task asks an agent 'idle'", "'writer', 'editor'"),
    ],
)
def test_a_rule_that_befalls_no_call_is_found(
    rule: dict[str, Any], key: str, message: str, hint: str
) -> None:
    (found,) = review_faults(faults(*FITTING, rule), make_plan(talea.loads(FLOW)))
    assert (found.severity, found.path) == (Severity.ERROR, ("rules", len(FITTING), key))
    assert message in found.message
    assert hint in (found.hint or "")


LED = """
talea: 1
name: led
model: openai/gpt-5-mini
process: hierarchical
manager: lead
agents: {lead: {}, writer: {}, reader: {}}
tasks:
  brief: {agent: writer, prompt: Write}
  inner: {workflow: look}
workflows:
  look: {tasks: {look: {agent: reader, prompt: Read}}}
"""


@pytest.mark.parametrize(
    "rule",
    [
        {"at": "brief", "agent": "lead"},
        {"at": "inner/look", "agent": "reader"},
        {"agent": "reader"},
    ],
)
def test_managers_and_tasks_of_inner_workflows_are_asked(rule: dict[str, Any]) -> None:
    assert list(review_faults(faults(rule), make_plan(talea.loads(LED)))) == []


def test_a_run_refuses_rules_that_befall_none_of_its_calls_before_it_begins(tmp_path: Path) -> None:
    text = "talea_faults: 1\nrules:\n  - {at: note, fault: {empty: true}}\n"
    path = tmp_path / "faults.yaml"
    path.write_text(text)
    for given, place in ((path, f"{path}:3:10 rules[0].at"), (loads_faults(text), "rules[0].at")):
        with pytest.raises(DocumentError, match="no task 'note'") as caught:
            talea.run(talea.loads(FLOW), offline=True, faults=given)
        (issue,) = caught.value.issues
        assert issue.where == place
        assert issue.hint == "did you mean 'notes'?"


def test_results_of_tools_are_held_against_the_workflow_too() -> None:
    flow = FLOW.replace("tasks:\n  topics:", "tools: {search: {}}\ntasks:\n  topics:")
    result = {"name": "search", "result": 1}
    tools = {
        "notes[0]": [result],
        "topics": [result],
        "polish#1/edit": [{**result, "name": "serch"}],
    }
    data = {"talea_cassette": 1, "tasks": WHOLE, "tools": tools}
    found = list(review(Cassette.model_validate(data), make_plan(talea.loads(flow))))
    assert [(one.path, one.hint) for one in found] == [
        (("tools", "topics"), None),
        (("tools", "polish#1/edit"), "did you mean 'search'?"),
    ]
    assert "which calls no tool" in found[0].message


# Merging.

OTHER: dict[str, Any] = {"content": "y"}


def test_different_places_stand_side_by_side() -> None:
    one = cassette(a=[TURN], team={"lead": [TURN]})
    two = cassette(b=[OTHER], team={"writer": [OTHER]}, a=[TURN])
    assert merge({"one": one, "two": two}) == cassette(
        a=[TURN], team={"lead": [TURN], "writer": [OTHER]}, b=[OTHER]
    )
    assert one == cassette(a=[TURN], team={"lead": [TURN]})  # It is left as it was.


def test_conflicts_are_named_or_settled() -> None:
    one = cassette(a=[TURN], team={"lead": [TURN]}, mixed=[TURN])
    two = cassette(a=[OTHER], team={"lead": [OTHER]}, mixed={"lead": [TURN]})
    three = cassette(a=[TURN])
    every = {"one": one, "two": two, "three": three}
    with pytest.raises(UsageError) as caught:
        merge(every)
    told = str(caught.value)
    assert "'a': one and two have different turns" in told
    assert "'team', agent 'lead': one and two" in told
    assert "'mixed': one and two" in told
    assert "--prefer" in told
    assert merge(every, Prefer.FIRST) == one
    assert merge(every, Prefer.LAST) == cassette(
        a=[TURN], team={"lead": [OTHER]}, mixed={"lead": [TURN]}
    )


def test_results_of_tools_are_merged_alike() -> None:
    def with_tools(**tools: Any) -> Cassette:
        results = {
            address: [{"name": "search", "result": one} for one in given]
            for address, given in tools.items()
        }
        return Cassette.model_validate({"talea_cassette": 1, "tasks": {}, "tools": results})

    every = {"one": with_tools(a=[1, 2]), "two": with_tools(a=[1, 3], b=[4]), "none": cassette()}
    with pytest.raises(UsageError, match="'a': one and two have different results of tools"):
        merge(every)
    assert merge(every, Prefer.FIRST) == with_tools(a=[1, 2], b=[4])
    assert merge(every, Prefer.LAST) == with_tools(a=[1, 3], b=[4])
    assert merge({"none": cassette()}).tools is None
