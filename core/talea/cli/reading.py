"""What a command is given: workflows, inputs, answers, and pairs of KEY=VALUE."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import click

from talea.cli.terminal import clean, say
from talea.errors import DocumentError, InputError, Issue, Severity, UsageError
from talea.ir import Tool, ToolTask, Workflow
from talea.load import load
from talea.plan import Plan, Step

_MARKS = re.compile(r"(\[\d+\])?(#\d+)?$")
_YAML_AND_JSON = {".yaml", ".yml", ".json", ""}


def read_workflow(path: str) -> Workflow:
    """Read a workflow of any format that talea or a plugin knows. Raises `DocumentError`."""
    suffix = Path(path).suffix.lower()
    if suffix not in _YAML_AND_JSON:
        from talea.plugins import reader

        if (read := reader(suffix)) is not None:
            return read(Path(path))
    return load(path)


def read_pairs(
    _context: click.Context, _parameter: click.Parameter, given: Sequence[str]
) -> list[tuple[str, str]]:
    """Split each KEY=VALUE at its first `=`; for click's `callback`."""
    pairs: list[tuple[str, str]] = []
    for text in given:
        key, found, value = text.partition("=")
        if not found or not key.strip():
            raise click.BadParameter(f"{text!r} is not KEY=VALUE")
        pairs.append((key.strip(), value))
    return pairs


def read_inputs(plan: Plan, file: str | None, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Read inputs from a file and from pairs, which win, each by its declared schema.

    Text stays text where only text fits; all else is JSON. Raises `InputError`.
    """
    from talea.expr import parse_json

    inputs = _read_file(file) if file is not None else {}
    for name, text in pairs:
        spec = plan.inputs.get(name)
        if spec is None or spec.schema is None or spec.schema.admits_only_text:
            inputs[name] = text  # An unknown name is refused, with all else that is wrong.
            continue
        try:
            inputs[name] = parse_json(text)
        except ValueError as error:
            raise InputError(
                f"the input {name!r} must be JSON: {error}",
                f'-i \'{name}=["a", "b"]\' or -i {name}=3; text alone stays in quotes:'
                f" -i '{name}=\"a\"'",
            ) from error
    return inputs


def check_answers(plan: Plan, answers: Sequence[tuple[str, str]]) -> None:
    """Refuse answers to what the workflow never asks, since the run would wait for the right ones,
    and words on a tool's call that are none.

    Raises `UsageError`.
    """
    found = [(address, _question_at(plan, address), value) for address, value in answers]
    strange = [address for address, question, _ in found if question is None]
    if strange:
        asked = list(_questions(plan))
        close = get_close_matches(strange[0], asked, 1)
        known = ", ".join(asked[:8]) or "none"
        raise UsageError(
            f"nothing is asked at {', '.join(map(repr, strange))}",
            f"did you mean {close[0]!r}?" if close else f"questions are at: {known}",
        )
    for address, question, value in found:
        if isinstance(question, Tool):
            _check_word(address, question, value)


def _check_word(address: str, tool: Tool, value: str) -> None:
    from talea.kernel.people import approval_schema, read_approval

    _, refusal = read_approval(value, approval_schema(tool.parameters or {}))
    if refusal is not None:
        raise UsageError(f"{value!r} is no answer to the call that {address!r} asks about", refusal)


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


def _allowed(plan: Plan, step: Step) -> dict[str, Tool]:
    """Give the tools that a task may call and that a person must allow."""
    document = plan.workflow
    names = [tool for agent in step.agents for tool in document.agents[agent].tools]
    if isinstance(step.task, ToolTask):
        names.append(step.task.tool)
    return {name: tool for name in names if (tool := document.tools[name]).approve}


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


def _read_file(file: str) -> dict[str, Any]:
    """Read inputs from a file of the caller's, which may be large."""
    from talea.source import Bounds, blanks, parse
    from talea.source.text import decode

    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    source = parse(decode(raw, file), file, Bounds(max_bytes=100_000_000, max_nodes=5_000_000))
    data: object = source.data
    if not isinstance(data, dict):
        raise DocumentError([Issue("inputs are a mapping of names to values", file=file)])
    for path, message, hint in blanks(source):
        warning = Severity.WARNING
        say(clean(str(source.issue(message, path, key=True, hint=hint, severity=warning))))
    return cast("dict[str, Any]", data)
