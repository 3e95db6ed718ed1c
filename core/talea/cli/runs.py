"""`talea runs`: what a journal holds."""

from __future__ import annotations

import time
from typing import Any

import click

from talea.cli.board import Question
from talea.cli.listing import as_json
from talea.cli.options import journal_option, needed
from talea.cli.run import as_object
from talea.cli.terminal import clean, table, to_json
from talea.cli.words import end, failures, questions, seconds, task_row
from talea.journal import Journal, RunRow, opened
from talea.resume import result_of
from talea.settings import find_settings

_DAY = 86_400.0


@click.group(invoke_without_command=True)
@journal_option
@click.pass_context
def runs(ctx: click.Context, journal: str | None) -> None:
    """List, show and prune the runs of a journal; by default list them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_runs, journal=journal, as_json=False)


@runs.command("list")
@journal_option
@as_json
def list_runs(journal: str | None, as_json: bool) -> None:
    """List the runs, the last one first."""
    with opened(needed(journal, find_settings())) as kept:
        found = [(row, state(kept, row)) for row in kept.runs()]
    if as_json:
        click.echo(to_json([_told(row, how) for row, how in found]))
        return
    rows = [("RUN", "STATUS", "BEGAN", "TOOK", "FRAMEWORK", "WORKFLOW")]
    rows += [
        (row.run, how, _moment(row.began), seconds(row.elapsed), row.framework, row.name)
        for row, how in found
    ]
    click.echo(clean(table(rows)) if found else "The journal holds no run.")


@runs.command()
@click.argument("run")
@journal_option
@as_json
def show(run: str, journal: str | None, as_json: bool) -> None:
    """Show what a run has come to: its tasks, its open questions, its versions."""
    with opened(needed(journal, find_settings())) as kept:
        row = kept.find(run)
        how = state(kept, row)
        result = result_of(kept, row)
        asked = kept.past(row).questions
    if as_json:
        told = _told(row, how) | {"inputs": row.inputs, "tasks": as_object(result)["tasks"]}
        told["questions"] = {name: {"text": t, "schema": s} for name, (t, s) in asked.items()}
        click.echo(to_json(told))
        return
    own = {name: task for name, task in result.tasks.items() if "/" not in name}
    click.echo(clean(table([task_row(name, task, 0) for name, task in own.items()])))
    ended = end(result) if row.has_ended else f"{how}, after {seconds(row.elapsed)}"
    click.echo(clean(f"\n{row.name} {ended}, run {row.run}"))
    click.echo(clean(", ".join(f"{name} {version}" for name, version in row.versions.items())))
    for line in failures(result):
        click.echo(line)
    for line in questions({name: Question(*one) for name, one in asked.items()}):
        click.echo(line)


@runs.command()
@click.option("--days", type=click.FloatRange(0), default=30, show_default=True, help="How old.")
@click.option("--unended", is_flag=True, help="Those too that could still go on.")
@journal_option
def prune(days: float, unended: bool, journal: str | None) -> None:
    """Forget runs that have ended, and to which nothing was added for so many days."""
    with opened(needed(journal, find_settings())) as kept:
        count = kept.prune(time.time() - days * _DAY, unended=unended)
    click.echo(f"{count} run{'' if count == 1 else 's'} forgotten.")


def state(journal: Journal, row: RunRow) -> str:
    """Say how a run stands: one that nobody carries out was cut off."""
    if row.status != "running":
        return "interrupted" if row.status == "cancelled" else row.status
    return "running" if journal.is_held(row) else "cut off"


def _told(row: RunRow, how: str) -> dict[str, Any]:
    return {
        "run": row.run,
        "workflow": row.name,
        "source": row.source,
        "framework": row.framework,
        "status": how,
        "began": row.began,
        "written": row.written,
        "elapsed": row.elapsed,
        "usage": row.usage.as_json(),
        "outputs": row.outputs,
        "error": row.error and row.error.as_json(),
        "versions": row.versions,
    }


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
