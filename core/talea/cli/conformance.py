"""`talea conformance`: whether a framework gives workflows the language's meaning."""

from __future__ import annotations

import json
from typing import Any

import click

from talea.cli import FAILED
from talea.cli.options import options_option


@click.command()
@click.argument("framework")
@options_option
@click.option(
    "--real-time",
    is_flag=True,
    help="Let time pass, as a check of the kit itself. Cases of exact times are skipped.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.pass_context
def conformance(
    ctx: click.Context,
    framework: str,
    options: list[tuple[str, str]],
    real_time: bool,
    as_json: bool,
) -> None:
    """Run every case of the language on a framework, and tell what is not as it should be."""
    from talea.conformance import verify
    from talea.plugins import get_adapter

    report = verify(get_adapter(framework, to_run=True), options=dict(options), real_time=real_time)
    if as_json:
        found: dict[str, Any] = {
            "framework": report.framework,
            "conforms": report.conforms,
            "counts": report.counts(),
            "cases": [
                {
                    "case": finding.case,
                    "rule": finding.rule,
                    "verdict": finding.verdict,
                    "problems": finding.problems,
                }
                for finding in report.findings
            ],
        }
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        click.echo(str(report))
    ctx.exit(0 if report.conforms else FAILED)
