"""How a run is told in lines: what happens while it goes on, and what it came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from talea.cli.board import Board, Question
from talea.cli.terminal import clean, one_line, table, to_json
from talea.events import (
    Asked,
    AttemptFailed,
    Delegated,
    Event,
    Failure,
    Recovered,
    RunStarted,
    Status,
    TaskEnded,
    TaskStarted,
    TaskWaiting,
    Usage,
)
from talea.result import Result, TaskResult

MARKS = {
    Status.PENDING: "·",
    Status.RUNNING: ">",
    Status.WAITING: "?",
    Status.SUCCEEDED: "✓",
    Status.FAILED: "✗",
    Status.SKIPPED: "-",
    Status.UPSTREAM_FAILED: "!",
    Status.CANCELLED: "×",
}
ROW_LIMIT = 60
"""Tasks in a summary. Of more, those that went the usual way are only counted."""


def tell(event: Event) -> str | None:
    """Give the line for an event; None where it is not worth one."""
    match event:
        case RunStarted():
            words = f"{event.workflow} on {event.framework}, run {event.run}"
        case TaskStarted():
            words = f"{event.address} started"
        case AttemptFailed():
            again = f"again in {seconds(event.retry_in)}"
            words = (
                f"{event.address} attempt {event.attempt} failed, {again}: {_error(event.error)}"
            )
        case Recovered():
            words = f"{event.address} failed, its fallback stands in: {_error(event.error)}"
        case Asked():
            words = f"{event.address} asks: {event.text}"
        case Delegated():
            how = f"{event.to} failed: {_error(event.error)}" if event.error else event.task
            words = f"{event.address} {event.agent} → {event.to}: {how}"
        case TaskWaiting():
            words = f"{event.address} waits for an answer"
        case TaskEnded():
            words = f"{event.address} {event.status}{_how(event)}"
        case _:
            return None
    return f"{event.time:8.2f}s  {one_line(words)}"


def _how(event: TaskEnded) -> str:
    parts = [
        f"after {seconds(event.time - event.started)}" if event.started is not None else "",
        event.agent or "",
        tokens(event.usage) if event.usage and event.usage.model_calls else "",
        "recovered by its fallback" if event.recovered else "",
        reason(event.reason),
        _error(event.error) if event.error else "",
    ]
    told = ", ".join(part for part in parts if part)
    return f" ({told})" if told else ""


def summarise(result: Result, board: Board) -> Iterator[str]:
    """Give the lines at the end of a run: its own tasks, what went wrong, what it used."""
    own = {name: result.tasks[name] for name in board.rows if name in result.tasks}
    shown = own
    if len(own) > ROW_LIMIT:
        usual = (Status.SUCCEEDED, Status.SKIPPED)
        shown = {name: task for name, task in own.items() if task.status not in usual}
        shown = dict(list(shown.items())[:ROW_LIMIT])
    if shown:
        rows = [task_row(name, task, board.rows[name].retries) for name, task in shown.items()]
        yield table(rows)
    if len(shown) < len(own):
        yield f"{len(own) - len(shown)} more tasks: {_count(own, shown)}"
    if shown or own:
        yield ""
    yield one_line(f"{result.workflow} {end(result)}", 400)
    yield from agents(result)
    yield from _difference(result)
    yield from failures(result)
    yield from (clean(f"Note: {note}") for note in result.notes)
    yield from questions(board.questions)
    yield ""


def end(result: Result) -> str:
    """Say in one line how a run ended, how long it took and what it used."""
    usage = result.usage
    used = f", {_calls(usage)}, {tokens(usage)}, {cost(usage)}" if usage.model_calls else ""
    state = "waits" if result.status is Status.WAITING else str(result.status)
    after = "for an answer, after" if result.status is Status.WAITING else "after"
    return f"{state} {after} {seconds(result.duration)} on {result.framework}{used}"


def agents(result: Result) -> Iterator[str]:
    """Say what each agent used, where there are several."""
    used = {name: usage for name, usage in result.agents.items() if usage.model_calls}
    if len(used) > 1:
        rows = [
            (f"  {name}", _calls(usage), tokens(usage), cost(usage)) for name, usage in used.items()
        ]
        yield from table(rows).splitlines()


def _calls(usage: Usage) -> str:
    return f"{usage.model_calls} model call{'' if usage.model_calls == 1 else 's'}"


def _difference(result: Result) -> Iterator[str]:
    """Say what the framework reports, where that is not what the gateway saw."""
    used, reported = result.usage, result.reported
    if reported is None:
        return
    if reported.model_calls != used.model_calls or tokens(reported) != tokens(used):
        yield f"{result.framework} itself reports {_calls(reported)}, {tokens(reported)}"


def failures(result: Result) -> Iterator[str]:
    """Give the run's error, and each task's that is another one, with its address."""
    told: set[tuple[str | None, str]] = set()
    if result.error is not None and result.status is not Status.SUCCEEDED:
        told.add((result.error.address, result.error.message))
        yield clean(f"Error: {result.error.address or 'run'}: {_error(result.error)}")
    for address, task in result.tasks.items():
        if task.error is None or (task.error.address, task.error.message) in told:
            continue
        told.add((task.error.address, task.error.message))
        yield clean(f"  {task.error.address or address}: {_error(task.error)}")


def questions(asked: Mapping[str, Question]) -> Iterator[str]:
    """Give each open question, and what to type to answer it."""
    for address, question in asked.items():
        yield ""
        yield clean(f"{address} asks:")
        yield "\n".join(f"  {line}" for line in clean(question.text).splitlines())
        if question.refusal:
            yield clean(f"  The last answer did not fit: {question.refusal}")
        yield f"  Answer with: {answer_option(address, question)}"
        if (fits := answers_that_fit(question.schema)) is not None:
            yield f"  It is {fits}."


def answer_option(address: str, question: Question) -> str:
    """Give what to type to answer a question."""
    return f"--answer '{address}={_example(question.schema)}'"


def answers_that_fit(schema: Any) -> str | None:
    """Say in a few words what answers fit a schema; None for any text."""
    if _is_approval(schema):
        return 'true to allow the call, {"arguments": {…}} to change it, or {"refuse": "why"}'
    if options := _choices(schema):
        return f"one of {', '.join(options)}"
    if schema is None or schema == {"type": "string"}:
        return None
    return f"JSON that fits {one_line(to_json(schema, indent=None))}"


def _is_approval(schema: Any) -> bool:
    """Say whether a schema is that of a person's word on a call of a tool."""
    forms: Any = cast("dict[str, Any]", schema).get("anyOf") if isinstance(schema, dict) else None
    return bool(forms) and forms[0] == {"const": True}


def _example(schema: Any) -> str:
    if _is_approval(schema):
        return "true"
    return (_choices(schema) or ["VALUE"])[0]


def _choices(schema: Any) -> list[str]:
    """Give what can be typed where a schema names all that fits."""
    if not isinstance(schema, dict):
        return []
    known = cast("dict[str, Any]", schema)
    if known.get("type") == "boolean":
        return ["true", "false"]
    options = known.get("enum", [])
    as_text = all(isinstance(option, str) for option in options)
    return [clean(option) if as_text else to_json(option, indent=None) for option in options]


def task_row(name: str, task: TaskResult, retries: int) -> tuple[str, ...]:
    """Give the cells of a task in a summary."""
    spent = ""
    if task.started is not None and task.ended is not None:
        spent = seconds(task.ended - task.started)
    used = tokens(task.usage) if task.usage and task.usage.model_calls else ""
    notes = [
        task.agent or "",
        f"{retries} retr{'y' if retries == 1 else 'ies'}" if retries else "",
        "recovered by its fallback" if task.recovered else "",
        reason(task.reason),
        task.error.type if task.error else "",
    ]
    told = ", ".join(note for note in notes if note)
    return (f"{MARKS[task.status]} {name}", str(task.status), spent, used, told)


_REASONS = {
    "when": "its condition was false",
    "stopped": "stopped by a failure",
    "limit": "a limit was crossed",
    "interrupted": "interrupted",
    "outer": "the task around it ended",
}


def reason(text: str | None) -> str:
    """Say why a task did not run: in words, or by the task that it waited for."""
    return "" if not text else _REASONS.get(text, f"because of {text}")


def seconds(time: float) -> str:
    """Write a span of time as people read it."""
    if time < 1:
        return f"{time * 1000:.0f} ms"
    if time < 60:
        return f"{time:.1f} s"
    minutes, rest = divmod(round(time), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def tokens(usage: Usage) -> str:
    """Write how many tokens went in and came out."""
    return f"{usage.input_tokens:,} + {usage.output_tokens:,} tokens"


def cost(usage: Usage) -> str:
    """Write a cost; one that is not known is not zero."""
    return "cost unknown" if usage.cost is None else f"${usage.cost:.4f}"


def _error(error: Failure) -> str:
    return f"{error.type}: {error.message}"


def _count(own: Mapping[str, TaskResult], shown: Mapping[str, TaskResult]) -> str:
    counts: dict[str, int] = {}
    for name, task in own.items():
        if name not in shown:
            counts[str(task.status)] = counts.get(str(task.status), 0) + 1
    return ", ".join(f"{count} {status}" for status, count in counts.items())
