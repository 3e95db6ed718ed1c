"""The runs of a journal: listing and reading them, and entering them to be kept."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from talea.errors import UsageError
from talea.events import Failure, Status, Usage
from talea.journal.file import as_text, connect, transaction
from talea.journal.keeper import Keeper
from talea.journal.lock import Lock
from talea.kernel.past import Durability, Past, Row, is_of_a_limit
from talea.kernel.snapshots import read_error, read_usage

_COLUMNS = (
    "id, run, name, source, document, inputs, framework, settings, versions, began, written,"
    " status, elapsed, used, usage, outputs, error"
)


@dataclass(slots=True)
class RunRow:
    """One run, as the journal has it. Times of day are in seconds since 1970.

    `status` is `running` for one that is being carried out or was cut off: `is_held` tells.
    """

    id: int
    run: str
    name: str
    source: str | None
    """The workflow's file, if it was read from one."""
    document: Any
    """The workflow with its files, as `pin` gives it."""
    inputs: dict[str, Any]
    framework: str
    settings: dict[str, Any]
    versions: dict[str, str]
    began: float
    written: float
    status: str
    elapsed: float
    used: float
    usage: Usage
    outputs: dict[str, Any] | None
    error: Failure | None
    agents: dict[str, Usage] = field(default_factory=dict[str, Usage])
    """What each agent has used."""

    @classmethod
    def new(cls, run: str, name: str) -> RunRow:
        """Give the row of a run that begins now, for the rest to be filled in."""
        now = time.time()
        return cls(
            0, run, name, None, None, {}, "", {}, {}, now, now, "running", 0.0, 0.0, Usage(),
            None, None,
        )  # fmt: skip

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to be done."""
        return self.status in (Status.SUCCEEDED, Status.FAILED)


class Journal:
    """A journal file. Close it, or have it by `opened`."""

    def __init__(self, path: str | os.PathLike[str], *, create: bool = True) -> None:
        """Open the file. Raises `UsageError` where that is not possible."""
        self.path = Path(path)
        if not create and not self.path.exists():
            raise UsageError(f"there is no journal {str(path)!r}")
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = connect(self.path)
        except (OSError, sqlite3.Error) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"the journal {str(path)!r} cannot be opened: {words}",
                "it is a SQLite file in a folder that can be written to",
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def runs(self) -> list[RunRow]:
        """Give all runs, the last one first."""
        query = f"SELECT {_COLUMNS} FROM runs ORDER BY id DESC"  # noqa: S608 - it holds no value
        return [_run_row(row) for row in self._connection.execute(query)]

    def find(self, run: str) -> RunRow:
        """Give a run by its id, or by how its id begins. Raises `UsageError`."""
        query = f"SELECT {_COLUMNS} FROM runs WHERE substr(run, 1, ?) = ? ORDER BY id"  # noqa: S608
        found = [_run_row(row) for row in self._connection.execute(query, (len(run), run))]
        exact = [row for row in found if row.run == run]
        if len(exact or found) == 1 and run:
            return (exact or found)[0]
        if found:
            names = ", ".join(row.run for row in found[:5])
            raise UsageError(f"{run!r} is not one run alone", f"there are: {names}")
        raise UsageError(
            f"the journal {str(self.path)!r} has no run {run!r}", "`talea runs` lists them"
        )

    def rows(self, run: RunRow) -> list[Row]:
        """Give what is known of a run's tasks, in the order in which it was written."""
        query = "SELECT address, status, data FROM tasks WHERE run = ? ORDER BY seq"
        return [
            Row(address, status, json.loads(data))
            for address, status, data in self._connection.execute(query, (run.id,))
        ]

    def past(self, run: RunRow) -> Past:
        """Give what a run has come to, to go on from there."""
        rows = self.rows(run)
        if not run.has_ended:
            rows = [row for row in rows if not is_of_a_limit(row)]
        return Past(rows, elapsed=run.elapsed, used=run.used, usage=run.usage, agents=run.agents)

    def begin(self, run: RunRow, durability: Durability = "normal") -> Keeper:
        """Enter a run, and give what keeps it; `id` is the journal's to choose."""
        lock = self._lock(run.run)
        values = (
            run.run, run.name, run.source, as_text(run.document), as_text(run.inputs),
            run.framework, as_text(run.settings), as_text(run.versions), run.began, run.written,
            "running", 0.0, 0.0, as_text(run.usage.as_json()), None, None,
        )  # fmt: skip
        places = ", ".join("?" * len(values))
        try:
            with transaction(self._connection) as execute:
                names = _COLUMNS.partition(", ")[2]
                cursor = execute(f"INSERT INTO runs ({names}) VALUES ({places})", values)  # noqa: S608
        except sqlite3.IntegrityError as error:
            lock.release()
            hint = f"talea resume {run.run}"
            raise UsageError(f"the journal has a run {run.run!r} already", hint) from error
        except sqlite3.Error as error:
            lock.release()
            raise self._unwritten(error) from error
        assert cursor.lastrowid is not None
        return Keeper(self.path, cursor.lastrowid, lock, durability)

    def take_up(self, run: RunRow, durability: Durability = "normal") -> Keeper:
        """Go on with a run. Raises `UsageError` where another process is at it."""
        lock = self._lock(run.run)
        change = (
            run.framework,
            as_text(run.settings),
            as_text(run.versions),
            as_text(run.document),
        )
        try:
            with transaction(self._connection) as execute:
                execute(
                    "UPDATE runs SET status = 'running', framework = ?, settings = ?, versions = ?,"
                    " document = ?, outputs = NULL, error = NULL WHERE id = ?",
                    (*change, run.id),
                )
                last = execute("SELECT max(seq) FROM tasks WHERE run = ?", (run.id,)).fetchone()
        except sqlite3.Error as error:
            lock.release()
            raise self._unwritten(error) from error
        return Keeper(self.path, run.id, lock, durability, (last[0] or 0) + 1)

    def is_held(self, run: RunRow) -> bool:
        """Say whether a process carries the run out at this moment."""
        return Lock.is_held(self.path, run.run)

    def prune(self, before: float, *, unended: bool = False) -> int:
        """Forget runs of which nothing was written since a time, and give how many. Those that can
        still go on are kept, unless `unended`; those that a process is at are always kept."""
        gone = [
            row
            for row in self.runs()
            if row.written < before and (row.has_ended or unended) and not self.is_held(row)
        ]
        with transaction(self._connection) as execute:
            for row in gone:
                execute("DELETE FROM tasks WHERE run = ?", (row.id,))
                execute("DELETE FROM runs WHERE id = ?", (row.id,))
        for row in gone:
            Lock.forget(self.path, row.run)
        if gone:
            with suppress(sqlite3.Error):  # Others are at work: the room is used again anyway.
                self._connection.execute("VACUUM")
        return len(gone)

    def _lock(self, run: str) -> Lock:
        try:
            return Lock(self.path, run)
        except BlockingIOError:
            raise UsageError(f"the run {run} is being carried out by another process") from None
        except OSError as error:
            raise self._unwritten(error) from error

    def _unwritten(self, error: Exception) -> UsageError:
        return UsageError(
            f"the journal {str(self.path)!r} cannot be written to: {error}",
            "is the disk full, or the file or its folder read-only?",
        )


@contextmanager
def opened(path: str | os.PathLike[str], *, create: bool = False) -> Generator[Journal]:
    """Open a journal, and close it afterwards. Raises `UsageError`."""
    journal = Journal(path, create=create)
    try:
        yield journal
    finally:
        journal.close()


@dataclass(slots=True)
class Keeping:
    """Where a run is kept, and from which row it goes on, if it has begun before."""

    journal: Path
    durability: Durability
    row: RunRow
    is_resumed: bool

    def open(self) -> tuple[Keeper, Past | None]:
        """Give what keeps the run, and what it has come to before. Raises `UsageError`."""
        with opened(self.journal, create=not self.is_resumed) as journal:
            if not self.is_resumed:
                return journal.begin(self.row, self.durability), None
            keeper = journal.take_up(self.row, self.durability)
            # Read after it was locked: until then another process may have been at it.
            past = journal.past(journal.find(self.row.run))
            for address, text, answer in past.answers:
                keeper.answers.setdefault(address, []).append((text, answer))
            return keeper, past


def _run_row(row: Sequence[Any]) -> RunRow:
    values: dict[str, Any] = dict(zip(_COLUMNS.split(", "), row, strict=True))
    for name in ("document", "inputs", "settings", "versions", "usage", "outputs", "error"):
        text = values[name]
        values[name] = None if text is None else json.loads(text)
    agents: dict[str, Any] = values["usage"].pop("agents", {})
    values["usage"] = read_usage(values) or Usage()
    values["agents"] = {name: Usage(**used) for name, used in agents.items()}
    values["error"] = read_error(values)
    return RunRow(**cast("Any", values))
