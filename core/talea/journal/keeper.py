"""Writing down what one run tells.

By default a thread of its own writes what came together meanwhile as one transaction: a process
that is killed loses at most the last few milliseconds. With `durability="full"` each task's end is
on the disk before what comes after it begins.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talea.errors import UsageError
from talea.events import Failure, TaskEnded, Usage
from talea.failures import without_secrets
from talea.journal.file import as_text, connect, transaction
from talea.journal.lock import Lock
from talea.kernel.past import ANSWERED, ASKED, BEGAN, DONE, RETRY, STALE, Durability, Stand, Totals
from talea.kernel.snapshots import save_ended

_GATHERING = 0.005
"""Seconds for which the writer lets rows come together."""


class Keeper:
    """Writes down what a run tells. Its methods are those of `talea.kernel.past.Journal`.

    `stand`, which says how far the run is, and `on_failure` are set by whoever carries the run out.
    After a failure nothing more is written until `close`, which tries once more.
    """

    def __init__(
        self, path: Path, run: int, lock: Lock, durability: Durability, seq: int = 1
    ) -> None:
        self.path = path
        self.answers: dict[str, list[tuple[str, Any]]] = {}
        """What was answered within attempts that go on: by address, with the question's text."""
        self.stand: Callable[[], Stand] = _at_its_beginning
        self.on_failure: Callable[[], None] = _do_nothing
        self.error: Exception | None = None
        """Why it cannot be written to."""
        self._run = run
        self._lock = lock
        self._full = durability == "full"
        self._connection = connect(self.path)
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
        values = (status, as_text(outputs), as_text(told), self._run)
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
            now = self.stand()
            counts = (time.time(), now.elapsed, now.used, _used(now), self._run)
            try:
                with transaction(self._connection) as execute:
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
        values = (run, self.address, self.seq, self.status, as_text(self.data))
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


def _counts(so_far: Totals) -> dict[str, Any]:
    counts: dict[str, Any] = {"attempts": so_far.attempts} if so_far.attempts else {}
    return counts | {"usage": so_far.usage.as_json()} if so_far.usage is not None else counts


def _used(now: Stand) -> str | None:
    agents = {name: used.as_json() for name, used in now.agents.items()}
    return as_text(now.usage.as_json() | {"agents": agents})


def _at_its_beginning() -> Stand:
    return Stand(0.0, 0.0, Usage(), {})


def _do_nothing() -> None:
    """Nobody waits for it."""
