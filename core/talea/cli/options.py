"""Options that several commands have."""

from __future__ import annotations

import click

from talea.cli.reading import read_pairs

tools_option = click.option(
    "--tools", metavar="FILE", help="Bind tools: the public functions of a .py file."
)
model_option = click.option(
    "--model", metavar="PROVIDER/NAME", help="For agents that name no model."
)
hosts_option = click.option(
    "--allow-host", "hosts", multiple=True, metavar="HOST",
    help="Let keys travel to this host, which the workflow names as a base_url.",
)  # fmt: skip
options_option = click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", callback=read_pairs,
    help="An option of the framework's adapter.",
)  # fmt: skip
journal_option = click.option(
    "--journal", metavar="FILE", envvar="TALEA_JOURNAL", show_envvar=True,
    help="Keep what the run comes to, so that `talea resume` can go on.",
)  # fmt: skip
durability_option = click.option(
    "--durability", type=click.Choice(["normal", "full"]), default="normal", show_default=True,
    help="What the journal outlives: a killed process, or a loss of power as well.",
)  # fmt: skip
