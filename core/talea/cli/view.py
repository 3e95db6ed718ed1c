"""`talea view`."""

from __future__ import annotations

import click

from talea.cli.terminal import clean


@click.command()
@click.argument("folder", default=".", metavar="[DIR]")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: any free one.")
@click.option("--open", "opens", is_flag=True, help="Open it in a browser.")
def view(folder: str, port: int, opens: bool) -> None:
    """Show the comparisons in a folder, until Ctrl-C: a list, each report, any two side by side.

    Serves what `talea compare --out` wrote, .html or .json, to this machine alone. A file that
    cannot be read is listed with the reason.
    """
    from talea.compare.viewing import Viewer

    with Viewer(folder, port) as server:
        click.echo(clean(f"Comparisons in {server.shelf.name}: {server.url}\nCtrl-C ends it."))
        if opens:
            import webbrowser

            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo()
