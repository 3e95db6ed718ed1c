"""Options that several commands have, and what stands in for them where they are not given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import click

from talea.cli.reading import read_pairs
from talea.errors import UsageError
from talea.events import Sink
from talea.route import Wishes
from talea.settings import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])

tools_option = click.option(
    "--tools", metavar="FILE", help="Bind tools: the public functions of a .py file."
)
options_option = click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", callback=read_pairs,
    help="An option of the framework's adapter.",
)  # fmt: skip
otel_option = click.option(
    "--otel", is_flag=True, help="Send OpenTelemetry spans where OTEL_* variables say."
)
journal_option = click.option(
    "--journal", metavar="FILE", envvar="TALEA_JOURNAL", show_envvar=True,
    help="Keep what the run comes to, so that `talea resume` can go on.",
)  # fmt: skip
durability_option = click.option(
    "--durability", type=click.Choice(["normal", "full"]), show_default="normal",
    help="What the journal outlives: a killed process, or a loss of power as well.",
)  # fmt: skip
_MODELS = [
    click.option("--model", metavar="PROVIDER/NAME", help="For agents that name no model."),
    click.option(
        "--allow-host", "allow_hosts", multiple=True, metavar="HOST",
        help="Let keys travel to this host, which the workflow names as a base_url.",
    ),
    click.option(
        "--offline", is_flag=True, default=None, help="Let a stand-in answer in place of models."
    ),
    click.option("--replay", metavar="CASSETTE", help="Let a cassette answer in place of models."),
    click.option(
        "--meter", is_flag=True, default=None,
        help="Count model calls between the framework and models.",
    ),
    click.option(
        "--record", metavar="CASSETTE", help="Keep what models answer. Metered as well."
    ),
    click.option(
        "--record-tools", is_flag=True, default=None,
        help="Keep what tools give, in the same cassette.",
    ),
    click.option("--faults", metavar="FILE", help="Let model calls go wrong by these rules."),
    click.option(
        "--seed", type=int, metavar="NUMBER",
        help="Let what is left to chance repeat: choices of pools, and pauses.",
    ),
]  # fmt: skip
_WISHES = ("offline", "replay", "meter", "record", "record_tools", "faults")


def models_options(command: _Command) -> _Command:
    """Give a command the options of how models are asked, named as `talea.run` names them."""
    for option in reversed(_MODELS):
        command = option(command)
    return command


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the command line does not say."""
    return {name: value for name, value in options.items() if value is not None}


def wishes_of(settings: Mapping[str, Any]) -> Wishes:
    """Give what settings of `talea.run` wish of models."""
    return Wishes(**{name: settings[name] for name in _WISHES if name in settings})


def needed(journal: str | None, settings: Settings) -> str:
    """Give the journal's path. Raises `UsageError` where none is given."""
    found = journal or settings.journal
    if found is None:
        hint = "--journal FILE, TALEA_JOURNAL=FILE, or [journal] in a talea.toml"
        raise UsageError("no journal is given", hint)
    return found


def tracing(wanted: bool) -> AbstractContextManager[Sink | None]:
    """Have a run's spans sent, if that is wanted, by the sink that this gives."""
    if not wanted:
        return nullcontext()
    from talea.otel import exporting

    return exporting()
