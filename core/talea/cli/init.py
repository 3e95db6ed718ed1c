"""`talea init`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

from talea.errors import UsageError

FILES = ("workflow.yaml", "tools.py", "cassette.yaml")


@click.command()
@click.argument("folder", default=".")
def init(folder: str) -> None:
    """Write a commented workflow, its tools, and a cassette with which it runs without a model."""
    place = Path(folder)
    there = [name for name in FILES if (place / name).exists()]
    if there:
        raise UsageError(
            f"{', '.join(there)} in {folder} would be overwritten", "name a new folder"
        )
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            text = resources.files("talea.cli").joinpath("starter", name).read_text("utf-8")
            (place / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from error
    click.echo(f"Wrote {', '.join(FILES)}. Next:\n")
    enter = "" if place == Path() else f"  cd {folder}\n"
    click.echo(
        f"{enter}  talea validate workflow.yaml\n"
        "  talea run workflow.yaml -i topic=owls --tools tools.py --replay cassette.yaml\n\n"
        "With a real model: set OPENAI_API_KEY, and leave out --replay."
    )
