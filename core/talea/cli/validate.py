"""`talea validate`."""

from __future__ import annotations

import click

from talea.cli import INVALID
from talea.cli.reading import read_workflow
from talea.cli.terminal import clean, complain, say
from talea.errors import DocumentError, Issue, Severity, UnsupportedError


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-f", "--framework", help="Check also that this framework can run them.")
@click.pass_context
def validate(ctx: click.Context, files: tuple[str, ...], framework: str | None) -> None:
    """Check workflows without running them: all problems at once, each with its place."""
    codes = {_validate(file, framework) for file in files}
    ctx.exit(INVALID if INVALID in codes else max(codes))


def _validate(file: str, framework: str | None) -> int:
    from talea import plugins
    from talea.plan import make_plan
    from talea.run import lacks_of

    try:
        workflow = read_workflow(file)
        plan = make_plan(workflow)
        issues: list[Issue] = [*plan.warnings, *plugins.check(workflow)]
        if any(issue.severity is Severity.ERROR for issue in issues):
            raise DocumentError(issues)
        if framework is not None and (lacks := lacks_of(plan, plugins.get_adapter(framework))):
            raise UnsupportedError(framework, lacks)
    except (DocumentError, UnsupportedError) as error:
        return complain(error)
    for issue in issues:
        say(clean(str(issue)))
    also = f", and {framework} can run it" if framework else ""
    count = len(issues)
    warned = f" ({count} warning{'s' if count > 1 else ''})" if count else ""
    click.echo(f"{clean(file)}: valid{also}{warned}")
    return 0
