"""`talea resume`."""

from __future__ import annotations

import sys
from typing import Any

import click

from talea.cli.board import Board
from talea.cli.options import (
    durability_option,
    given,
    journal_option,
    models_options,
    needed,
    options_option,
    otel_option,
    tools_option,
    wishes_of,
)
from talea.cli.reading import check_answers, read_pairs
from talea.cli.run import Watch, exit_code, go_on, show
from talea.kernel.past import Durability
from talea.result import Result
from talea.resume import look_up
from talea.run import route_of
from talea.settings import find_settings


@click.command()
@click.argument("run")
@journal_option
@click.option(
    "--answer", "answers", multiple=True, metavar="ADDRESS=VALUE", callback=read_pairs,
    help="The answer to a question as it was shown; if it is another one now, it is asked again.",
)  # fmt: skip
@click.option("-f", "--framework", help="Go on with this one; by default with the same.")
@tools_option
@models_options
@otel_option
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
    otel: bool,
    options: list[tuple[str, str]],
    force: bool,
    durability: Durability | None,
    as_json: bool,
    **models: Any,
) -> None:
    """Go on with a run, named by its id or by how that begins.

    What has ended does not run again. A run that has ended gives its result once more. What is not
    given is as it was, but for tools, keys, records and faults.
    """
    from talea.cli.supervisor import supervise, supervised
    from talea.plan import make_plan
    from talea.tools import load_tools

    inside = supervised()
    said = find_settings()
    journal = needed(journal, said)
    watch = Watch(Board(()), quiet=as_json)
    found = look_up(
        run,
        journal=journal,
        framework=framework,
        force=force,
        **given({**models, "options": dict(options) or None}),
    )
    if isinstance(found, Result):
        watch.board.name(name for name in found.tasks if "/" not in name)
        show(found, watch, as_json=as_json)
        ctx.exit(exit_code(found))
    plan = make_plan(found.document)
    wishes = wishes_of(found.settings)
    if inside is None and wishes.asks_models and wishes.through_gateway:
        model, hosts = found.settings["model"], models["allow_hosts"]
        route = route_of(plan, wishes, model=model, allow_hosts=hosts)
        route.before = found.row.usage
        arguments = ctx.find_root().obj or sys.argv[1:]
        ctx.exit(supervise(route, arguments, run_id=found.row.run))
    check_answers(plan, answers)
    watch.board.name([step.id for step in plan.steps])
    prepared = found.prepare(
        tools=load_tools(tools) if tools else None,
        answers=answers,
        durability=durability or said.durability or "normal",
        ask=watch.asker,
        sinks=[watch],
        **(inside.settings if inside else {}),
    )
    result = watch.run(prepared, otel=otel)
    recorded = wishes.record if inside is None and not result.notes else None
    again = go_on(result, journal, tools, models["allow_hosts"])
    show(result, watch, as_json=as_json, recorded=recorded, again=again)
    ctx.exit(exit_code(result, interrupted=watch.interrupted))
