"""The journal's file: its tables, how it is opened, and how it is written to."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_APPLICATION = 0x74616C65
"""Marks a SQLite file as a journal: `tale`."""
_VERSION = 1
_PATIENCE = 30.0
"""Seconds for which other processes may hold the file."""
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


def connect(path: Path) -> sqlite3.Connection:
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
            with transaction(connection) as execute:
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
def transaction(connection: sqlite3.Connection) -> Generator[Callable[..., sqlite3.Cursor]]:
    """Do all or nothing of what is executed meanwhile. Raises `sqlite3.Error`."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection.execute
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def as_text(data: Any) -> str | None:
    """Write JSON data as short as it goes; None stays what it is."""
    return None if data is None else json.dumps(data, separators=(",", ":"))
