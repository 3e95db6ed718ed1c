"""`talea run`."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import click

from talea.cli import FAILED, INTERRUPTED, WAITING
from talea.cli.board import Board, Question
from talea.cli.options import (
    durability_option,
    given,
    journal_option,
    models_options,
    options_option,
    otel_option,
    tools_option,
    tracing,
    wishes_of,
)
from talea.cli.reading import check_answers, read_inputs, read_pairs, read_workflow
from talea.cli.terminal import can_be_asked, clean, say, stands_on_terminal, to_json, warn
from talea.cli.words import answer_option, summarise, tell
from talea.events import Event, Status
from talea.ir import LANGUAGE_VERSION
from talea.kernel.past import Durability
from talea.plugins import versions
from talea.result import Result
from talea.run import DEFAULT_FRAMEWORK, Prepared, prepare, route_of
from talea.settings import find_settings


@click.command()
@click.argument("file")
@click.option("-f", "--framework", show_default=DEFAULT_FRAMEWORK, help="Run it on this one.")
@click.option("--agents", metavar="FRAMEWORK", help="Let this framework's agents answer.")
@click.option(
    "-i", "--input", "pairs", multiple=True, metavar="KEY=VALUE", callback=read_pairs,
    help="An input: text where its schema takes only text, else JSON.",
)  # fmt: skip
@click.option("--inputs", metavar="FILE", help="Inputs from a YAML or JSON file; - is stdin.")
@tools_option
@models_options
@otel_option
@click.option(
    "--answer", "answers", multiple=True, metavar="ADDRESS=VALUE", callback=read_pairs,
    help="The answer to a question; several for one address are used in turn.",
)  # fmt: skip
@options_option
@journal_option
@durability_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object of all that happened.")
@click.pass_context
def run(  # noqa: PLR0917 - click passes them by name
    ctx: click.Context,
    file: str,
    framework: str | None,
    agents: str | None,
    pairs: list[tuple[str, str]],
    inputs: str | None,
    tools: str | None,
    otel: bool,
    answers: list[tuple[str, str]],
    options: list[tuple[str, str]],
    journal: str | None,
    durability: Durability | None,
    as_json: bool,
    **models: Any,
) -> None:
    """Run a workflow. Its outputs go to standard output, all else to standard error."""
    from talea.cli.supervisor import supervise, supervised
    from talea.plan import make_plan
    from talea.tools import load_tools

    inside = supervised()
    workflow = read_workflow(file)
    said = find_settings(file)
    journal = journal or said.journal
    models = given({**models, "model": models["model"] or said.model})
    plan = make_plan(workflow)
    wishes = wishes_of(models)
    if inside is None and wishes.asks_models and wishes.through_gateway:
        route = route_of(plan, wishes, model=models.get("model"), allow_hosts=models["allow_hosts"])
        ctx.exit(supervise(route, ctx.find_root().obj or sys.argv[1:]))
    for issue in plan.warnings:
        say(clean(str(issue)))
    check_answers(plan, answers)
    watch = Watch(Board([step.id for step in plan.steps]), quiet=as_json)
    prepared = prepare(
        workflow,
        read_inputs(plan, inputs, pairs),
        framework=framework or said.framework or DEFAULT_FRAMEWORK,
        agents=agents,
        tools=load_tools(tools) if tools else None,
        answers=answers,
        options=dict(options),
        journal=journal,
        durability=durability or said.durability or "normal",
        ask=watch.asker,
        sinks=[watch],
        **models,
        **(inside.settings if inside else {}),
    )
    result = watch.run(prepared, otel=otel)
    recorded = wishes.record if inside is None and not result.notes else None
    again = go_on(result, journal, tools, models["allow_hosts"])
    show(result, watch, as_json=as_json, recorded=recorded, again=again)
    ctx.exit(exit_code(result, interrupted=watch.interrupted))


def go_on(
    result: Result, journal: str | None, tools: str | None, hosts: Sequence[str]
) -> str | None:
    """Give the command by which a run goes on; None if it cannot."""
    if journal is None or result.status not in (Status.WAITING, Status.CANCELLED):
        return None
    words = ["talea", "resume", result.run, "--journal", journal]
    for name, value in [("--tools", tools), *(("--allow-host", host) for host in hosts)]:
        words += [name, value] if value is not None else []
    return shlex.join(words)


def show(
    result: Result,
    watch: Watch,
    *,
    as_json: bool,
    recorded: Any = None,
    again: str | None = None,
) -> None:
    """Show what a run came to. `again` is the command by which it goes on."""
    if as_json:
        click.echo(to_json(as_object(result, watch.board.questions)))
        return
    for line in summarise(result, watch.board):
        say(line)
    if recorded is not None:
        say(f"Recorded: {recorded}\n")
    if again is not None:
        answers = [answer_option(*one) for one in watch.board.questions.items()]
        say(clean(f"Go on with: {' '.join([again, *answers])}\n"))
    _print_outputs(result)


class Watch:
    """One run under the eyes of a person: its view, its questions and its interruption.

    It is a sink, which has no use for an answer's pieces: so models need not stream.
    """

    text = False

    def __init__(self, board: Board, *, quiet: bool) -> None:
        self.board = board
        self.interrupted = False
        self._show: Callable[[], None] = _do_nothing
        self._hide: Callable[[], None] = _do_nothing
        self._plain = False
        if stands_on_terminal():
            from talea.cli.live import LiveView

            view = LiveView(board)
            self._show, self._hide = view.start, view.stop
        else:
            self._plain = not quiet
        self.asker = self._asker() if can_be_asked() else None

    def __call__(self, event: Event) -> None:
        """Take an event in, and tell it where nobody sees the live view."""
        self.board(event)
        if self._plain and (line := tell(event)):
            say(line)

    def run(self, prepared: Prepared, *, otel: bool) -> Result:
        """Run to the end; the first Ctrl-C ends the run in order, the second one at once."""
        for text in prepared.warnings:
            warn(text)
        with tracing(otel) as sink:
            prepared.sinks += [] if sink is None else [sink]
            return asyncio.run(self._run(prepared))

    async def _run(self, prepared: Prepared) -> Result:
        loop = asyncio.get_running_loop()
        before = signal.getsignal(signal.SIGINT)
        # This wakes the loop: a signal that comes just before it waits would be seen too late.
        loop.add_signal_handler(signal.SIGINT, _do_nothing)
        signal.signal(signal.SIGINT, lambda _number, _frame: self._interrupt(loop, prepared))
        self._show()
        try:
            return await prepared.run()
        finally:
            self._hide()
            loop.remove_signal_handler(signal.SIGINT)
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, loop: asyncio.AbstractEventLoop, prepared: Prepared) -> None:
        if self.interrupted:
            os.write(2, b"\x1b[?25h\n" if stands_on_terminal() else b"\n")  # The cursor was hidden.
            os._exit(INTERRUPTED)
        self.interrupted = True
        loop.call_soon_threadsafe(self._stop, prepared)

    def _stop(self, prepared: Prepared) -> None:
        self._hide()
        say("Interrupted: ending the run in order. Press Ctrl-C again to end at once.")
        prepared.stop()

    def _asker(self) -> Any:
        from talea.cli.asking import Asker

        return Asker(self.board, self._hide, self._show)


def _do_nothing() -> None:
    """Show nothing: nobody sees it."""


def exit_code(result: Result, *, interrupted: bool = False) -> int:
    """Give the exit code that a result stands for."""
    if result.status is Status.SUCCEEDED:
        return FAILED if result.notes else 0
    if interrupted:
        return INTERRUPTED
    return WAITING if result.status is Status.WAITING else FAILED


def _print_outputs(result: Result) -> None:
    """Print the outputs: a lone text as it is, anything else as JSON."""
    if not result.outputs:
        return
    values = list(result.outputs.values())
    if len(values) == 1 and isinstance(values[0], str):
        click.echo(clean(values[0]))
    else:
        click.echo(to_json(result.outputs))


def as_object(
    result: Result, questions: Mapping[str, Question] = MappingProxyType({})
) -> dict[str, Any]:
    """Give the object of `--json`, with the questions that are open. Times are in seconds from the
    start of the run."""
    told = result.as_json()
    return {
        "talea": LANGUAGE_VERSION,
        "run": told["run"],
        "framework": told["framework"],
        "versions": versions(result.framework),
        "status": told["status"],
        "outputs": told["outputs"],
        "tasks": told["tasks"],
        "usage": told["usage"],
        "reported": told["reported"],
        "agents": told["agents"],
        "calls": told["calls"],
        "error": told["error"],
        "questions": {
            address: {"text": question.text, "schema": question.schema}
            for address, question in questions.items()
        },
        "notes": told["notes"],
    }
