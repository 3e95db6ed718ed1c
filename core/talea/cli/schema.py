"""`talea schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from talea.cli.terminal import to_json

if TYPE_CHECKING:
    from pydantic import BaseModel


@click.command()
@click.argument("what", type=click.Choice(["workflow", "cassette"]), default="workflow")
def schema(what: str) -> None:
    """Print the JSON Schema of workflows, or of cassettes, for editors.

    With the YAML language server, a workflow begins with
    `# yaml-language-server: $schema=talea.schema.json`.
    """
    found = _model(what).model_json_schema(by_alias=True)
    click.echo(to_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **found}))


def _model(what: str) -> type[BaseModel]:
    if what == "workflow":
        from talea.ir import Workflow

        return Workflow
    from talea.gateway.cassette import Cassette

    return Cassette
