"""`talea schema`."""

from __future__ import annotations

import click

from talea.cli.terminal import to_json


@click.command()
@click.argument("what", type=click.Choice(["workflow", "cassette"]), default="workflow")
def schema(what: str) -> None:
    """Print the JSON Schema of workflows, or of cassettes, for editors.

    With the YAML language server, a workflow begins with
    `# yaml-language-server: $schema=talea.schema.json`.
    """
    from pydantic import BaseModel

    if what == "workflow":
        from talea.ir import Workflow as model
    else:
        from talea.gateway.cassette import Cassette as model
    document: type[BaseModel] = model
    found = document.model_json_schema(by_alias=True)
    click.echo(to_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **found}))
