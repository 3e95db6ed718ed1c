"""Who carries a run out: one process at a time."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class Lock:
    """A file beside the journal, held for as long as the process lives."""

    def __init__(self, journal: Path, run: str) -> None:
        self._path = Lock.place(journal, run)
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
            file = os.open(Lock.place(journal, run), os.O_RDWR)
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
        Lock.place(journal, run).unlink(missing_ok=True)
