"""`talea resume`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from talea.cli.board import Board
from talea.cli.options import (
    durability_option,
    hosts_option,
    journal_option,
    model_option,
    options_option,
    tools_option,
)
from talea.cli.reading import check_answers, read_pairs
from talea.cli.run import Watch, exit_code, go_on, show
from talea.errors import UsageError
from talea.kernel.past import Durability
from talea.result import Result
from talea.resume import take_up


@click.command()
@click.argument("run")
@journal_option
@click.option(
    "--answer", "answers", multiple=True, metavar="ADDRESS=VALUE", callback=read_pairs,
    help="The answer to a question as it was shown; if it is another one now, it is asked again.",
)  # fmt: skip
@click.option("-f", "--framework", help="Go on with this one; by default with the same.")
@tools_option
@model_option
@hosts_option
@click.option("--replay", metavar="CASSETTE", help="Let a cassette answer in place of models.")
@options_option
@click.option("--force", is_flag=True, help="Go on though the workflow has changed.")
@durability_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object of all that happened.")
@click.pass_context
def resume(  # noqa: PLR0917 - click passes them by name
    ctx: click.Context,
    run: str,
    journal: str | None,
    answers: list[tuple[str, str]],
    framework: str | None,
    tools: str | None,
    model: str | None,
    hosts: Sequence[str],
    replay: str | None,
    options: list[tuple[str, str]],
    force: bool,
    durability: Durability,
    as_json: bool,
) -> None:
    """Go on with a run, named by its id or by how that begins.

    What has ended does not run again. A run that has ended gives its result once more.
    """
    from talea.tools import load_tools

    watch = Watch(Board(()), quiet=as_json)
    prepared = take_up(
        run,
        journal=needed(journal),
        answers=answers,
        framework=framework,
        tools=load_tools(tools) if tools else None,
        model=model,
        allow_hosts=hosts,
        replay=replay,
        options=dict(options) or None,
        force=force,
        durability=durability,
        ask=watch.asker,
        sinks=[watch.sink],
    )
    if isinstance(prepared, Result):
        watch.board.name(name for name in prepared.tasks if "/" not in name)
        show(prepared, watch, as_json=as_json)
        ctx.exit(exit_code(prepared))
    check_answers(prepared.plan, answers)
    watch.board.name([step.id for step in prepared.plan.steps])
    result = watch.run(prepared)
    again = [("--tools", tools), *(("--allow-host", host) for host in hosts)]
    show(result, watch, as_json=as_json, again=go_on(result, journal, again))
    ctx.exit(exit_code(result, interrupted=watch.interrupted))


def needed(journal: str | None) -> str:
    """Give the journal's path. Raises `UsageError` where none is given."""
    if journal is None:
        raise UsageError("no journal is given", "--journal FILE, or TALEA_JOURNAL=FILE")
    return journal
