"""`talea frameworks` and `talea plugins`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from talea.cli.terminal import clean, table, to_json
from talea.plugins import FrameworkInfo, PluginInfo

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@as_json
def frameworks(as_json: bool) -> None:
    """List the frameworks: those that can be chosen, and why others cannot. Imports none."""
    from talea.plugins import frameworks

    found = frameworks()
    if as_json:
        click.echo(to_json([asdict(info) for info in found]))
        return
    rows = [("FRAMEWORK", "STATUS", "FROM", "")]
    rows += [(info.name, str(info.status), _origin(info), info.summary) for info in found]
    click.echo(clean(table(rows)))
    _explain(found)


@click.command()
@as_json
def plugins(as_json: bool) -> None:
    """List the plugins, the hooks that each implements, and what is wrong with those that fail."""
    from talea.cli import cli
    from talea.plugins import registry

    found = registry().plugins
    if as_json:
        click.echo(to_json([asdict(info) for info in found]))
        return
    if not found:
        click.echo("No plugin is installed. `pip install talea-simple` is one to begin with.")
        return
    rows = [("PLUGIN", "STATUS", "FROM", "HOOKS")]
    rows += [
        (info.name, str(info.status), _origin(info), ", ".join(info.hooks) or "-") for info in found
    ]
    click.echo(clean(table(rows)))
    _explain([*found])
    failures: list[Any] = registry().add_commands(cli)
    if cli.commands:
        click.echo(f"\nCommands: {', '.join(sorted(cli.commands))}")
    for failure in failures:
        click.echo(clean(f"\n{failure}"))


def _origin(info: FrameworkInfo | PluginInfo) -> str:
    return " ".join(part for part in (info.distribution, info.version) if part) or "-"


def _explain(found: list[FrameworkInfo] | list[PluginInfo]) -> None:
    for info in found:
        if info.reason is not None:
            click.echo(clean(f"\n{info.name}: {info.reason}"))
            if info.hint:
                click.echo(clean(f"  Hint: {info.hint}"))
