"""`talea cassette`: check, show and merge what models answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from talea.cli.reading import read_workflow
from talea.cli.terminal import clean, one_line, say, table, to_json
from talea.errors import DocumentError, Issue, Severity, UsageError

if TYPE_CHECKING:
    from talea.gateway.cassette import Cassette, ToolResult, Turn
    from talea.source.text import Source

_FIRST_WORDS = 60
_FILES = (".yaml", ".yml", ".json")


@click.group()
def cassette() -> None:
    """Check, show and merge cassettes: files of what models answered."""


@cassette.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--workflow", metavar="FILE", help="Check also that this workflow asks for all of it."
)
def check(files: tuple[str, ...], workflow: str | None) -> None:
    """Check cassettes, and say how many turns each task has. A folder is all cassettes in it.

    With a workflow also that it has a task at each address, and that the task asks those agents.
    """
    from talea.gateway.cassette import read_cassette

    problems: list[Issue] = []
    for file in [found for name in files for found in _cassettes(name)]:
        try:
            found, source = read_cassette(file)
        except DocumentError as error:
            problems += error.issues
            continue
        issues = _review(found, source, workflow) if workflow is not None else []
        problems += [issue for issue in issues if issue.severity is Severity.ERROR]
        for issue in issues:
            if issue.severity is Severity.WARNING:
                say(clean(str(issue)))
        click.echo(clean(f"{file}: {_count(sum(1 for _ in _rows(found)), 'turn')}"))
        click.echo(clean(table([*_counts(found)], "  ")))
    if problems:
        raise DocumentError(problems)


def _cassettes(name: str) -> list[str]:
    """Give the files in a folder, such as one that has a cassette for each case, by their names;
    what is no folder is one itself. Raises UsageError for a folder that has none."""
    folder = Path(name)
    if not folder.is_dir():
        return [name]
    try:
        found = sorted(
            path for path in folder.iterdir() if path.suffix.lower() in _FILES and path.is_file()
        )
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from error
    if not found:
        raise UsageError(f"the folder {name} has no cassettes", "their names end in .yaml or .json")
    return [str(path) for path in found]


def _review(found: Cassette, source: Source, workflow: str) -> list[Issue]:
    """Hold a cassette against a workflow; its problems, each with its place."""
    from talea.gateway.review import review
    from talea.plan import make_plan

    plan = make_plan(read_workflow(workflow))
    return [finding.issue(source) for finding in review(found, plan)]


def _counts(found: Cassette) -> Iterator[tuple[str, str]]:
    for address, turns in found.tasks.items():
        if isinstance(turns, dict):
            each = [f"{agent}: {_count(len(its), 'turn')}" for agent, its in turns.items()]
            yield address, ", ".join(each)
        else:
            yield address, _count(len(turns), "turn")
    for address, results in (found.tools or {}).items():
        yield address, f"{_count(len(results), 'result')} of tools"


@cassette.command()
@click.argument("file")
def show(file: str) -> None:
    """Show a cassette as a table, a row for each turn and for each result of a tool. A folder is
    all cassettes in it."""
    from talea.gateway.cassette import load_cassette

    if not Path(file).is_dir():
        click.echo(clean(_shown(load_cassette(file))))
        return
    problems: list[Issue] = []
    for number, one in enumerate(_cassettes(file)):
        try:
            text = _shown(load_cassette(one))
        except DocumentError as error:
            problems += error.issues
        else:
            between = "\n" if number else ""
            click.echo(clean(f"{between}{one}:\n\n{text}"))
    if problems:
        raise DocumentError(problems)


def _shown(found: Cassette) -> str:
    """Give a cassette's tables."""
    head = ("ADDRESS", "AGENT", "TURN", "KIND", "TOKENS", "FIRST WORDS")
    rows = [
        (address, agent, str(number), _kind(turn), _tokens(turn), _words(turn))
        for address, agent, number, turn in _rows(found)
    ]
    shown = table([head, *rows])
    if not found.tools:
        return shown
    results = [
        (address, result.name, str(number), _kind_of_result(result), _words_of_result(result))
        for address, its in found.tools.items()
        for number, result in enumerate(its, 1)
    ]
    head = ("ADDRESS", "TOOL", "CALL", "KIND", "FIRST WORDS")
    return f"{shown}\n\n{table([head, *results])}"


def _rows(found: Cassette) -> Iterator[tuple[str, str, int, Turn]]:
    """Give each turn with its address, its agent and its number."""
    for address, turns in found.tasks.items():
        by_agent = turns.items() if isinstance(turns, dict) else [("any", turns)]
        for agent, its in by_agent:
            for number, turn in enumerate(its, 1):
                yield address, agent, number, turn


def _kind(turn: Turn) -> str:
    fault = turn.fault
    named = [*(fault.kinds or ["delay"])] if fault is not None else []
    kinds = [
        "text" if isinstance(turn.content, str) else "" if turn.content is None else "structure",
        "calls" if turn.tool_calls else "",
        "delegate" if turn.delegate else "",
        "handoff" if turn.handoff else "",
        *(f"{name} {fault.status}" if fault and name == "status" else name for name in named),
        "repeat" if turn.repeat else "",
    ]
    return ", ".join(kind for kind in kinds if kind) or "empty"


def _words(turn: Turn) -> str:
    """Give the beginning of what a turn says."""
    said = [
        turn.text or "",
        *(f"{call.name}({call.arguments_text})" for call in turn.tool_calls),
        f"to {turn.delegate.to}: {turn.delegate.task}" if turn.delegate else "",
        f"to {turn.handoff.to}" if turn.handoff else "",
        turn.fault.refusal or "" if turn.fault else "",
    ]
    return one_line(" ".join(part for part in said if part), _FIRST_WORDS)


def _kind_of_result(result: ToolResult) -> str:
    return "result" if result.error is None else str(result.error.type)


def _words_of_result(result: ToolResult) -> str:
    given = result.error.message if result.error else to_json(result.result, indent=None)
    return one_line(f"{to_json(result.arguments, indent=None)} → {given}", _FIRST_WORDS)


def _tokens(turn: Turn) -> str:
    used = turn.usage
    told = [
        None if count is None else f"{count:,}" for count in (used.input_tokens, used.output_tokens)
    ]
    return " + ".join(count or "?" for count in told) if any(told) else "-"


@cassette.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-o", "--output", help="Write to this file instead of standard output.")
@click.option(
    "--prefer",
    type=click.Choice(["first", "last"]),
    help="Whose turns to keep where two files have different ones at one place.",
)
def merge(files: tuple[str, ...], output: str | None, prefer: str | None) -> None:
    """Make one cassette of several. Where they do not agree, every such place is named."""
    from talea.gateway.cassette import load_cassette
    from talea.gateway.merging import Prefer, merge
    from talea.gateway.writing import dumps_cassette

    merged = merge(
        {file: load_cassette(file) for file in files}, Prefer(prefer) if prefer else None
    )
    text = dumps_cassette(merged)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from error


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
