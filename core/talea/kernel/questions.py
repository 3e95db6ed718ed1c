"""Where a workflow asks people something, and what is wrong with an answer given beforehand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from talea.ir import Tool, ToolTask
from talea.kernel.people import approval_schema, read_approval
from talea.plan import Plan, Step
from talea.source.text import shown

_MARKS = re.compile(r"(\[\d+\])?(#\d+)?$")
_LISTED = 8


def complaint_about_answer(plan: Plan, address: str, answer: Any) -> tuple[str, str] | None:
    """Say what is wrong with an answer, and a hint: nothing is asked there, in which case the run
    would wait for the right one, or it is no word on the call of a tool."""
    question = _question_at(plan, address)
    if question is None:
        asked = list(_questions(plan))
        close = get_close_matches(address, asked, 1)
        known = ", ".join(asked[:_LISTED]) or "none"
        hint = f"did you mean {close[0]!r}?" if close else f"questions are at: {known}"
        return f"nothing is asked at {shown(address)}", hint
    if isinstance(question, Tool):
        _, refusal = read_approval(answer, approval_schema(question.parameters or {}))
        if refusal is not None:
            said = shown(answer)
            return f"{said} is no answer to the call that {shown(address)} asks about", refusal
    return None


def _question_at(plan: Plan, address: str) -> Step | Tool | None:
    """Give the task that asks at an address, or the tool that a person must allow to be called;
    `[i]` and `#n` may be right or not."""
    names = [_MARKS.sub("", name) for name in address.split("/")]
    while names:
        name = names.pop(0)
        if name not in plan.ids:
            return None
        step = plan.steps[plan.ids[name]]
        if not names:
            return step if step.kind == "ask" else None
        if step.plan is None:
            return _allowed(plan, step).get(names[0]) if len(names) == 1 else None
        plan = step.plan
    return None


def _questions(plan: Plan, place: str = "") -> Iterator[str]:
    """Give the addresses of all questions, without `[i]` and `#n`."""
    for step in plan.steps:
        address = f"{place}{step.id}"
        if step.kind == "ask":
            yield address
        elif step.plan is not None:
            yield from _questions(step.plan, f"{address}/")
        else:
            yield from (f"{address}/{tool}" for tool in _allowed(plan, step))


def _allowed(plan: Plan, step: Step) -> dict[str, Tool]:
    """Give the tools that a task may call and that a person must allow."""
    document = plan.workflow
    names = [tool for agent in step.agents for tool in document.agents[agent].tools]
    if isinstance(step.task, ToolTask):
        names.append(step.task.tool)
    return {name: tool for name in names if (tool := document.tools[name]).approve}
