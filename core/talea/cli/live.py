"""The live view of a run on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from talea.cli.board import Board, Member, Row
from talea.cli.terminal import one_line
from talea.cli.words import MARKS, cost, reason, seconds, tokens
from talea.events import Status

_STYLES = {
    Status.PENDING: "dim",
    Status.RUNNING: "cyan",
    Status.WAITING: "magenta",
    Status.SUCCEEDED: "green",
    Status.FAILED: "bold red",
    Status.SKIPPED: "dim",
    Status.UPSTREAM_FAILED: "red",
    Status.CANCELLED: "yellow",
}
_FRAMES_PER_SECOND = 8


class LiveView:
    """Draws a board anew several times a second. Leaves nothing behind when it stops."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._began = time.monotonic()
        self._spinner = Spinner("dots", style="cyan")
        self._live: Live | None = None

    def start(self) -> None:
        """Show the view."""
        # A new one each time: an old one would write over what was printed since it was stopped.
        self._live = Live(
            self,
            console=Console(stderr=True, highlight=False),
            refresh_per_second=_FRAMES_PER_SECOND,
            transient=True,
        )
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Take the view away, so that others may write."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = time.monotonic() - self._began
        room = max(3, console.size.height - 3)
        rows, left_out = self._choose(room)
        grid = Table.grid(padding=(0, 2))
        for justify in ("left", "left", "right", "right", "left"):
            grid.add_column(justify=justify, no_wrap=True)
        for row, depth in rows:
            grid.add_row(*self._cells(row, depth, now))
        board = self._board
        foot = Text(f"{seconds(now)}  {board.usage.model_calls} model calls", style="bold")
        if board.usage.model_calls:
            foot.append(f"  {tokens(board.usage)}  {cost(board.usage)}")
        if left_out:
            foot.append(f"  {left_out} more tasks not shown", style="dim")
        yield Group(grid, foot)

    def _choose(self, room: int) -> tuple[list[tuple[Row | Member, int]], int]:
        """Choose the rows that fit: those at work, then the last to end; in document order."""
        everything = list(self._rows())
        if len(everything) <= room:
            return everything, 0
        order = sorted(range(len(everything)), key=lambda i: _rank(everything[i][0]))
        kept = set(order[:room])
        chosen = [row for i, row in enumerate(everything) if i in kept]
        return chosen, len(everything) - len(chosen)

    def _rows(self) -> Iterator[tuple[Row | Member, int]]:
        inner: dict[str, list[Row]] = {}
        for address, row in list(self._board.inner.items()):
            own = address.partition("/")[0].partition("[")[0].partition("#")[0]
            inner.setdefault(own, []).append(row)
        for row in list(self._board.rows.values()):
            yield row, 0
            yield from _members(row, 1)
            for other in inner.get(row.address, ()):
                yield other, 1
                yield from _members(other, 2)

    def _cells(self, row: Row | Member, depth: int, now: float) -> tuple[RenderableType, ...]:
        style = _STYLES[row.status]
        at_work = row.status is Status.RUNNING
        mark = self._spinner.render(now) if at_work else Text(MARKS[row.status], style=style)
        name = Text("  " * depth)
        name.append_text(mark if isinstance(mark, Text) else Text(MARKS[row.status]))
        called = row.agent if isinstance(row, Member) else row.address
        name.append(f" {called}", style="dim" if depth else "bold" if at_work else "")
        span = ""
        if row.started is not None:
            span = seconds((row.ended if row.ended is not None else now) - row.started)
        used = tokens(row.usage) if row.usage.model_calls else ""
        return (
            name,
            Text(str(row.status), style=style),
            Text(span),
            Text(used, style="dim"),
            Text(one_line(_told(row), 60), style="dim"),
        )


def _members(row: Row, depth: int) -> Iterator[tuple[Member, int]]:
    """Give the members of a team below those for whom they work."""

    def below(address: str, by: str, depth: int, seen: frozenset[str]) -> Iterator[Any]:
        for member in members:
            if (member.address, member.by) == (address, by):
                yield member, depth
                if member.agent not in seen:
                    yield from below(address, member.agent, depth + 1, seen | {member.agent})

    members = list(row.members)
    for address in dict.fromkeys(member.address for member in members):
        agents = {member.agent for member in members if member.address == address}
        bosses = dict.fromkeys(member.by for member in members if member.address == address)
        for by in bosses:
            if by not in agents:
                yield from below(address, by, depth, frozenset({by}))


def _told(row: Row | Member) -> str:
    """Say who works, and for whom; or what else is to be told of a row."""
    if isinstance(row, Member):
        item = row.address[row.address.rindex("[") :] if row.address.endswith("]") else ""
        times = f", {row.times} times" if row.times > 1 else ""
        return f"for {row.by}{times} {item}".rstrip()
    standing = row.status in (Status.RUNNING, Status.WAITING)
    note = row.note if standing else reason(row.note)
    return ", ".join(part for part in (row.agent or "", note) if part)


def _rank(row: Row | Member) -> tuple[int, float]:
    """Rank rows by how much they are worth seeing."""
    match row.status:
        case Status.RUNNING | Status.WAITING:
            return 0, row.started or 0.0
        case Status.FAILED:
            return 1, 0.0
        case Status.PENDING:
            return 3, 0.0
        case _:
            return 2, -(row.ended or 0.0)
