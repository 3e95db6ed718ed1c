"""Cassettes held against a workflow, and several of them made one."""

from __future__ import annotations

from typing import Any

import pytest

import talea
from talea.errors import Severity, UsageError
from talea.gateway.cassette import Cassette
from talea.gateway.merging import Prefer, merge
from talea.gateway.review import Finding, review
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


def test_a_task_without_turns_is_a_warning() -> None:
    (found,) = find(**{"notes": [TURN], "polish/draft": [TURN]})
    assert (found.severity, found.path) == (Severity.WARNING, ())
    assert "'polish/edit'" in found.message


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
