"""`talea graph`."""

from __future__ import annotations

from pathlib import Path

import click

from talea.cli.reading import read_workflow
from talea.errors import UsageError


@click.command()
@click.argument("file")
@click.option(
    "--format",
    "form",
    type=click.Choice(["mermaid", "svg", "html"]),
    help="Mermaid text (the default), or a picture that is made without network. Told by the name"
    " of the output file where it is not given.",
)
@click.option("-o", "--output", help="Write to this file instead of standard output.")
def graph(file: str, form: str | None, output: str | None) -> None:
    """Draw a workflow: tasks by kind, blocks around what is in them, triggers on arrows."""
    from talea.drawing import draw_html, draw_mermaid, draw_svg
    from talea.plan import make_plan

    draw = {"mermaid": draw_mermaid, "svg": draw_svg, "html": draw_html}
    suffix = Path(output).suffix.lower().lstrip(".") if output else ""
    picture = draw[form or (suffix if suffix in draw else "mermaid")](
        make_plan(read_workflow(file))
    )
    if output is None:
        click.echo(picture, nl=False)
    else:
        try:
            Path(output).write_text(picture, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{output} cannot be written: {error.strerror}") from error
