"""The journal: a SQLite file of what runs have come to, so that they can go on after a crash.

    opened(path)              the file: made with 0600, in WAL mode, for several processes at once
    Journal.begin / .take_up  → a Keeper, which a run tells what is to be kept
    Journal.find / .runs      → RunRow: the pinned workflow, inputs, versions, how the run stands

By default a thread of its own writes what came together meanwhile as one transaction: a process
that is killed loses at most the last few milliseconds. With `durability="full"` each task's end is
on the disk before what comes after it begins.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from talea.errors import UsageError
from talea.events import Failure, Status, TaskEnded, Usage
from talea.failures import without_secrets
from talea.ir import Workflow
from talea.kernel.past import (
    ANSWERED,
    ASKED,
    BEGAN,
    DONE,
    RETRY,
    STALE,
    Durability,
    Past,
    Row,
    Totals,
    is_of_a_limit,
)
from talea.kernel.snapshots import read_error, read_usage, save_ended

_APPLICATION = 0x74616C65
"""Marks a SQLite file as a journal: `tale`."""
_VERSION = 1
_PATIENCE = 30.0
"""Seconds for which other processes may hold the file."""
_GATHERING = 0.005
"""Seconds for which the writer lets rows come together."""
_TABLES = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, name TEXT NOT NULL, source TEXT,
    document TEXT NOT NULL, inputs TEXT NOT NULL, framework TEXT NOT NULL, settings TEXT NOT NULL,
    versions TEXT NOT NULL, began REAL NOT NULL, written REAL NOT NULL, status TEXT NOT NULL,
    elapsed REAL NOT NULL, used REAL NOT NULL, usage TEXT NOT NULL, outputs TEXT, error TEXT
);
CREATE TABLE tasks (
    run INTEGER NOT NULL, address TEXT NOT NULL, seq INTEGER NOT NULL, status TEXT NOT NULL,
    data TEXT NOT NULL, PRIMARY KEY (run, address)
) WITHOUT ROWID;
"""
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


Clock = Callable[[], tuple[float, float, Usage]]
"""How far a run is: seconds since it began, seconds of its time limit, and what it has used."""


class Journal:
    """A journal file. Close it, or have it by `opened`."""

    def __init__(self, path: str | os.PathLike[str], *, create: bool = True) -> None:
        """Open the file. Raises `UsageError` where that is not possible."""
        self.path = Path(path)
        if not create and not self.path.exists():
            raise UsageError(f"there is no journal {str(path)!r}")
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = _connect(self.path)
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
        return Past(rows, elapsed=run.elapsed, used=run.used, usage=run.usage)

    def begin(self, run: RunRow, durability: Durability = "normal") -> Keeper:
        """Enter a run, and give what keeps it; `id` is the journal's to choose."""
        lock = self._lock(run.run)
        values = (
            run.run, run.name, run.source, _text(run.document), _text(run.inputs), run.framework,
            _text(run.settings), _text(run.versions), run.began, run.written, "running", 0.0, 0.0,
            _text(run.usage.as_json()), None, None,
        )  # fmt: skip
        places = ", ".join("?" * len(values))
        try:
            with _transaction(self._connection) as execute:
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
        return Keeper(self, cursor.lastrowid, lock, durability)

    def take_up(self, run: RunRow, durability: Durability = "normal") -> Keeper:
        """Go on with a run. Raises `UsageError` where another process is at it."""
        lock = self._lock(run.run)
        change = (run.framework, _text(run.settings), _text(run.versions), _text(run.document))
        try:
            with _transaction(self._connection) as execute:
                execute(
                    "UPDATE runs SET status = 'running', framework = ?, settings = ?, versions = ?,"
                    " document = ?, outputs = NULL, error = NULL WHERE id = ?",
                    (*change, run.id),
                )
                last = execute("SELECT max(seq) FROM tasks WHERE run = ?", (run.id,)).fetchone()
        except sqlite3.Error as error:
            lock.release()
            raise self._unwritten(error) from error
        return Keeper(self, run.id, lock, durability, (last[0] or 0) + 1)

    def is_held(self, run: RunRow) -> bool:
        """Say whether a process carries the run out at this moment."""
        return _Lock.is_held(self.path, run.run)

    def prune(self, before: float, *, unended: bool = False) -> int:
        """Forget runs of which nothing was written since a time, and give how many. Those that can
        still go on are kept, unless `unended`; those that a process is at are always kept."""
        gone = [
            row
            for row in self.runs()
            if row.written < before and (row.has_ended or unended) and not self.is_held(row)
        ]
        with _transaction(self._connection) as execute:
            for row in gone:
                execute("DELETE FROM tasks WHERE run = ?", (row.id,))
                execute("DELETE FROM runs WHERE id = ?", (row.id,))
        for row in gone:
            _Lock.forget(self.path, row.run)
        if gone:
            with suppress(sqlite3.Error):  # Others are at work: the room is used again anyway.
                self._connection.execute("VACUUM")
        return len(gone)

    def _lock(self, run: str) -> _Lock:
        try:
            return _Lock(self.path, run)
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


class Keeper:
    """Writes down what a run tells. Its methods are those of `talea.kernel.past.Journal`.

    `clock` and `on_failure` are set by whoever carries the run out. After a failure nothing more is
    written until `close`, which tries once more.
    """

    def __init__(
        self, journal: Journal, run: int, lock: _Lock, durability: Durability, seq: int = 1
    ) -> None:
        self.path = journal.path
        self.answers: dict[str, list[tuple[str, Any]]] = {}
        """What was answered within attempts that go on: by address, with the question's text."""
        self.clock: Clock = _no_time
        self.on_failure: Callable[[], None] = _do_nothing
        self.error: Exception | None = None
        """Why it cannot be written to."""
        self._run = run
        self._lock = lock
        self._full = durability == "full"
        self._connection = _connect(self.path)
        if self._full:
            self._connection.execute("PRAGMA synchronous = FULL")
        self._waiting: deque[_Entry] = deque()
        self._seq = seq
        self._wake = threading.Event()
        self._over = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    # What the kernel tells --------------------------------------------------------------------

    def began(self, address: str, failed: int, so_far: Totals, *, now: bool) -> None:
        """An attempt begins."""
        data: dict[str, Any] = {"failed": failed} if failed else {}
        self._add(_Entry(address, BEGAN, data | _counts(so_far)), now=now)

    def retries(self, address: str, failed: int, so_far: Totals) -> None:
        """An attempt failed and another one follows."""
        for inside in [one for one in self.answers if one.startswith(f"{address}/")]:
            del self.answers[inside]
        self._add(_Entry(address, STALE, None))
        self._add(_Entry(address, RETRY, {"failed": failed} | _counts(so_far)))

    def asked(self, address: str, text: str, schema: Any) -> None:
        """A question is shown to a person."""
        data: dict[str, Any] = {"text": text, "schema": schema}
        if address in self.answers:
            data["answers"] = [*self.answers[address]]
        self._add(_Entry(address, ASKED, data))

    def answered(self, address: str, text: str, answer: Any) -> None:
        """A person has answered a question that is no task of its own."""
        kept = self.answers.setdefault(address, [])
        kept.append((text, answer))
        self._add(_Entry(address, ANSWERED, {"answers": [*kept]}))

    def done(self, address: str, saved: Mapping[str, Any], so_far: Totals) -> None:
        """An item or an iteration has come to something."""
        self._add(_Entry(address, DONE, {**saved, **_counts(so_far)}))

    def ended(self, ended: TaskEnded, items: int | None) -> None:
        """A task has ended."""
        data = save_ended(ended)
        status = data.pop("status")
        data["time"], data["started"] = ended.time, ended.started
        if items is not None:
            data["items"] = items
        if items is not None or ended.output is None:
            del data["output"]  # That of items is kept with them.
        self._add(_Entry(ended.address, status, data))

    # Writing ----------------------------------------------------------------------------------

    def close(self, status: str, outputs: Any, error: Failure | None) -> None:
        """Write what is left, and how the run stands. Raises `UsageError` if it cannot be."""
        self._over.set()
        if self._thread is not None:
            self._wake.set()
            self._thread.join()
        ending = "UPDATE runs SET status = ?, outputs = ?, error = ? WHERE id = ?"
        told = without_secrets(error.as_json()) if error else None
        values = (status, _text(outputs), _text(told), self._run)
        try:
            self.error = None
            self._write([(ending, values)])
        except sqlite3.Error as failure:
            raise UsageError(
                f"the journal {str(self.path)!r} was not written to its end: {failure}",
                "what is not in it would run again",
            ) from failure
        finally:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._lock.release()

    def _add(self, entry: _Entry, *, now: bool = False) -> None:
        entry.seq = self._seq
        self._seq += 1
        self._waiting.append(entry)
        if self.error is not None:
            return
        if self._full or now:
            self._try_to_write()
        elif not self._wake.is_set():
            if self._thread is None:
                name = "talea-journal"
                self._thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._thread.start()
            self._wake.set()

    def _work(self) -> None:
        """Write what has come together, again and again."""
        while not self._over.is_set():
            self._wake.wait()
            self._over.wait(_GATHERING)
            self._wake.clear()
            self._try_to_write()

    def _try_to_write(self) -> None:
        try:
            self._write()
        except sqlite3.Error as error:
            if self.error is None:
                self.error = error
                self.on_failure()

    def _write(self, more: Sequence[tuple[str, tuple[Any, ...]]] = ()) -> None:
        """Write all that waits as one transaction; it goes on waiting if that fails."""
        with self._writing:
            if self.error is not None:
                return
            entries = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if not (entries or more):
                return
            elapsed, used, usage = self.clock()
            counts = (time.time(), elapsed, used, _text(usage.as_json()), self._run)
            try:
                with _transaction(self._connection) as execute:
                    for entry in _without_passed(entries):
                        entry.write(execute, self._run)
                    execute(
                        "UPDATE runs SET written = ?, elapsed = ?, used = ?, usage = ?"
                        " WHERE id = ?",
                        counts,
                    )
                    for statement, values in more:
                        execute(statement, values)
            except BaseException:
                self._waiting.extendleft(reversed(entries))
                raise


@dataclass(slots=True)
class _Entry:
    """A row to be written; `stale` makes what is inside its address stale instead."""

    address: str
    status: str
    data: dict[str, Any] | None
    seq: int = 0

    def write(self, execute: Callable[..., Any], run: int) -> None:
        if self.data is None:
            # "0" is what comes after "/": these are all addresses inside.
            values = (STALE, run, f"{self.address}/", f"{self.address}0")
            statement = "UPDATE tasks SET status = ? WHERE run = ? AND address > ? AND address < ?"
            execute(statement, values)
            return
        if (error := self.data.get("error")) is not None:
            self.data["error"] = without_secrets(error)
        values = (run, self.address, self.seq, self.status, _text(self.data))
        execute("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, ?)", values)


def _without_passed(entries: Sequence[_Entry]) -> list[_Entry]:
    """Leave out attempts whose end is known as well."""
    known: set[str] = set()
    left: list[_Entry] = []
    for entry in reversed(entries):
        if entry.status != BEGAN or entry.address not in known:
            left.append(entry)
        known.add(entry.address)
    left.reverse()
    return left


class _Lock:
    """Who carries a run out: a file beside the journal, held for as long as the process lives."""

    def __init__(self, journal: Path, run: str) -> None:
        self._path = _Lock.place(journal, run)
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise

    def release(self) -> None:
        """Let others have the run."""
        with suppress(OSError):
            self._path.unlink()
        os.close(self._file)

    @staticmethod
    def place(journal: Path, run: str) -> Path:
        """Give the file of a run."""
        return journal.with_name(f"{journal.name}-{run}.lock")

    @staticmethod
    def is_held(journal: Path, run: str) -> bool:
        """Say whether a process has it."""
        try:
            file = os.open(_Lock.place(journal, run), os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    @staticmethod
    def forget(journal: Path, run: str) -> None:
        """Remove what a process left that was killed."""
        _Lock.place(journal, run).unlink(missing_ok=True)


# The workflow as it is pinned -----------------------------------------------------------------


def pin(workflow: Workflow) -> list[dict[str, Any]]:
    """Give a workflow and its files as JSON data: the first is the root, and `files` are numbers
    in the same list."""
    found: dict[int, dict[str, Any]] = {}
    numbers: dict[int, int] = {}

    def take(one: Workflow) -> int:
        if id(one) not in numbers:
            number = numbers[id(one)] = len(numbers)
            document = one.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            found[number] = {"document": document}
            files = {reference: take(file) for reference, file in files_of(one).items()}
            if files:
                found[number]["files"] = files
        return numbers[id(one)]

    take(workflow)
    return [found[number] for number in range(len(found))]


def unpin(pinned: Sequence[Mapping[str, Any]]) -> Workflow:
    """Give the workflow back that was pinned."""
    made = [Workflow.model_validate(part["document"]) for part in pinned]
    for workflow, part in zip(made, pinned, strict=True):
        files: dict[str, int] = part.get("files", {})
        files_of(workflow).update((name, made[number]) for name, number in files.items())
    return made[0]


def files_of(workflow: Workflow) -> dict[str, Workflow]:
    """Give the workflows of other files that a workflow refers to."""
    return workflow._files  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def source_of(workflow: Workflow) -> str | None:
    """Give the path of the file that a workflow was read from."""
    source: Any = workflow._source  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if source is None or source.folder is None:
        return None
    return str((Path(source.folder) / Path(source.name).name).absolute())


# SQLite ---------------------------------------------------------------------------------------


def _connect(path: Path) -> sqlite3.Connection:
    """Connect to a journal, which is made if the file is empty. Raises `sqlite3.Error`."""
    connection = sqlite3.connect(
        path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        _persist(lambda: connection.execute("PRAGMA journal_mode = WAL"))
        connection.execute("PRAGMA synchronous = NORMAL")
        application, version = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        if (application, version) == (0, 0):
            with _transaction(connection) as execute:
                if execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                    for statement in _TABLES.split(";"):
                        execute(statement)
                    execute(f"PRAGMA application_id = {_APPLICATION}")
                    execute(f"PRAGMA user_version = {_VERSION}")
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        if application != _APPLICATION:
            raise sqlite3.DatabaseError("it is a database of something else")
        if version != _VERSION:
            raise sqlite3.DatabaseError(f"its version {version} is not the known {_VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _persist(action: Callable[[], object]) -> None:
    """Do what SQLite refuses at once, instead of waiting, while others do the same."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            action()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[Callable[..., sqlite3.Cursor]]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection.execute
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _run_row(row: Sequence[Any]) -> RunRow:
    values: dict[str, Any] = dict(zip(_COLUMNS.split(", "), row, strict=True))
    for name in ("document", "inputs", "settings", "versions", "usage", "outputs", "error"):
        text = values[name]
        values[name] = None if text is None else json.loads(text)
    values["usage"] = read_usage(values) or Usage()
    values["error"] = read_error(values)
    return RunRow(**cast("Any", values))


def _text(data: Any) -> str | None:
    return None if data is None else json.dumps(data, separators=(",", ":"))


def _counts(so_far: Totals) -> dict[str, Any]:
    counts: dict[str, Any] = {"attempts": so_far.attempts} if so_far.attempts else {}
    return counts | {"usage": so_far.usage.as_json()} if so_far.usage is not None else counts


def _no_time() -> tuple[float, float, Usage]:
    return 0.0, 0.0, Usage()


def _do_nothing() -> None:
    """Nobody waits for it."""
