"""Mistakes of shape and of meaning are told together, and nothing is told that is none."""

from __future__ import annotations

import pytest

import talea

HEAD = """\
talea: 1
name: test
inputs: {topic: {type: string}}
agents:
  writer: {role: Writer, model: openai/gpt-5}
tasks:
"""

TOGETHER = {
    "an unknown key beside an unknown agent": (
        "  a: {agent: writr, prompt: x, retries: 3}",
        ["7:6 tasks.a.agent: unknown agent 'writr'", "unknown key 'retries'"],
    ),
    "a task without a kind beside a wrong path": (
        "  a: {prompt: x}\n  b: {value: '{{ inputs.topc }}'}",
        ["the task has no kind", "unknown input 'topc'"],
    ),
    "a wrong type in one task, an expression in another": (
        "  a: {agent: writer, prompt: x, max_parallel: many}\n  b: {value: 1, when: 1 = 2}",
        ["'max_parallel'", "'=' is not part of the language"],
    ),
    "inside a block": (
        "  a:\n    tasks:\n      b: {value: 1, timeout: 5}\n      c: {value: '{{ tasks.q.output }}'}",
        ["a duration needs a unit", "unknown task 'q'"],
    ),
}


@pytest.mark.parametrize(("tasks", "expected"), TOGETHER.values(), ids=TOGETHER)
def test_both_kinds_are_told_at_once(tasks: str, expected: list[str]) -> None:
    with pytest.raises(talea.DocumentError) as caught:
        talea.loads(HEAD + tasks)
    told = str(caught.value)
    assert len([i for i in caught.value.issues if i.severity == "error"]) == len(expected), told
    for part in expected:
        assert part.split(": ", 1)[-1] in told


NO_MISTAKE = {
    "a mention of a task that was left out": "  a: {prompt: x}\n  b: {value: '{{ tasks.a.output }}'}",
    "an agent that was left out": "  a: {agent: editor, prompt: x}",
    "a loop whose condition was left out": "  a: {value: 1, loop: {until: [1], max: 2}}",
    "a cycle through what was left out": (
        "  a: {value: '{{ tasks.b.output }}'}\n  b: {depends_on: [a], prompt: x}"
    ),
}


@pytest.mark.parametrize("tasks", NO_MISTAKE.values(), ids=NO_MISTAKE)
def test_what_comes_of_leaving_parts_out_is_not_told(tasks: str) -> None:
    head = HEAD.replace("agents:\n", "agents:\n  editor: {rle: Editor, max_turns: none}\n")
    with pytest.raises(talea.DocumentError) as caught:
        talea.loads(head + tasks)
    shape = {"unknown key", "no kind", "must", "whole number", "until"}
    for issue in caught.value.issues:
        assert any(word in issue.message for word in shape), issue


def test_the_name_alone_does_not_hide_the_rest() -> None:
    with pytest.raises(talea.DocumentError) as caught:
        talea.loads("talea: 1\ntasks: {a: {value: '{{ inputs.x }}'}}")
    told = [issue.message for issue in caught.value.issues]
    assert any("name" in message for message in told)
    assert any("unknown input 'x'" in message for message in told)
