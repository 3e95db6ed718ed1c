"""What a command is given: workflows, inputs, answers, and pairs of KEY=VALUE."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import click

from talea.cli.terminal import clean, say
from talea.errors import DocumentError, InputError, Issue, Severity, UsageError
from talea.ir import Workflow
from talea.load import load
from talea.plan import Plan

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
    """Refuse answers to what the workflow never asks, and words on a tool's call that are none.

    Raises `UsageError`.
    """
    from talea.kernel.questions import complaint_about_answer

    for address, value in answers:
        complaint = complaint_about_answer(plan, address, value)
        if complaint is not None:
            raise UsageError(*complaint)


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
