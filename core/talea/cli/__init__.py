"""The command line. A command's module is imported when it is run: `--help` imports click alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from talea import __version__

COMMANDS = {
    "run": ("run:run", "Run a workflow."),
    "resume": ("resume:resume", "Go on with a run that was cut off, or waits for an answer."),
    "compare": ("compare:compare", "Run a workflow on several frameworks, and say which suits it."),
    "view": ("view:view", "Show past comparisons in a browser, on this machine alone."),
    "runs": ("runs:runs", "List, show and prune the runs of a journal."),
    "validate": ("validate:validate", "Check workflows without running them."),
    "explain": (
        "explain:explain",
        "Say what a workflow needs and what each framework makes of it.",
    ),
    "graph": ("graph:graph", "Draw a workflow as Mermaid text, SVG or HTML."),
    "gateway": (
        "gateway:gateway",
        "Stand between your own programs and their models: count, record, replay.",
    ),
    "cassette": ("cassette:cassette", "Check, show and merge cassettes."),
    "frameworks": ("listing:frameworks", "List the frameworks."),
    "plugins": ("listing:plugins", "List the plugins."),
    "schema": ("schema:schema", "Print the JSON Schema of workflows, for editors."),
    "conformance": (
        "conformance:conformance",
        "Run the language's own cases on a framework.",
    ),
    "init": ("init:init", "Write a workflow to start from."),
}
FAILED, INVALID, LACKING, WAITING, INTERRUPTED = 1, 2, 3, 4, 130


class Cli(click.Group):
    """The commands of `COMMANDS`, and those that plugins add."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands without importing them."""
        return [*COMMANDS, *sorted(self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command. Plugins are asked only for one that is none of talea's own."""
        if cmd_name in COMMANDS:
            module, _, name = COMMANDS[cmd_name][0].partition(":")
            return getattr(import_module(f"{__name__}.{module}"), name)
        if not self.commands:
            self._load_plugins()
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table: `--help` imports none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; what talea raises on purpose is told in words, with its exit code."""
        from talea.errors import TaleaError

        try:
            return super().invoke(ctx)
        except TaleaError as error:
            from talea.cli.terminal import complain

            ctx.exit(complain(error))

    def _load_plugins(self) -> None:
        from talea.cli.terminal import warn
        from talea.plugins import registry

        for failure in registry().add_commands(self):
            warn(str(failure))


@click.group(
    cls=Cli,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Plugins may add commands: `talea plugins` lists them."
    " Exit codes: 0 succeeded, 1 the run failed, 2 invalid workflow or usage, 3 a feature that the"
    " framework lacks, 4 waiting for an answer, 130 interrupted.",
)
@click.version_option(__version__, prog_name="talea", message="%(prog)s %(version)s")
def cli() -> None:
    """Write an agent workflow once; run it natively on any framework."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # What a terminal of an old encoding cannot show is no reason to fail.
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    sys.exit(_run(args))


def _run(args: Sequence[str] | None) -> int:
    try:
        given = sys.argv[1:] if args is None else list(args)
        code = cli.main(given, prog_name="talea", standalone_mode=False, obj=given)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except OSError as error:  # A full disk, say. Of a closed pipe click exits by itself, quietly.
        click.echo(f"Error: {error}", err=True)
        return FAILED
    return code if isinstance(code, int) else 0
