"""kill -9 at any moment, on every framework: what is in the journal does not run again, what was at
work runs at most once more for each kill, and the run comes to what it comes to undisturbed.

Every other run has a team in it. TALEA_KILLS is how many runs are killed over all frameworks.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest

from talea.plugins import KNOWN

KILLS = int(os.environ.get("TALEA_KILLS", "12"))
FRAMEWORKS = [name for name in KNOWN if name == "simple" or find_spec(name)]
LEAST = 0.9
"""The part of a run's usual time within which it is killed."""


class Server:
    """`killed.py`, which carries out runs in processes of their own."""

    def __init__(self, frameworks: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("killed.py")), *frameworks],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._read() == "ready"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._read()

    def carry_out(self, request: dict[str, Any], kill_after: float | None = None) -> int:
        """Have a run carried out, and give the status of its process."""
        process = int(self._ask(json.dumps(request)))
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(process, signal.SIGKILL)
        return int(self._ask(""))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server(FRAMEWORKS)
    yield running
    running.close()


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_run_comes_to_the_same(
    number: int,
    server: Server,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    random = Random(f"{os.environ.get('TALEA_SEED', '')}{number}")
    document = ("tasks", "team")[number % 2]
    framework = FRAMEWORKS[number // 2 % len(FRAMEWORKS)]
    other = framework if random.random() < 0.5 else random.choice(FRAMEWORKS)
    durability = random.choice(["normal", "full"])
    usual, expected = undisturbed(server, document, framework, tmp_path)
    request = a_request(tmp_path, "killed", document, framework, durability)
    killed = server.carry_out(request, random.uniform(0, usual * LEAST))
    kept = ended_tasks(Path(request["journal"]))
    record_property("killed", bool(killed))
    record_property("in_a_team", bool(killed) and is_in_a_team(Path(request["journal"])))
    before = notes(request)
    request |= {"framework": other, "resume": kept is not None}
    if kept is not None and random.random() < 0.3:
        server.carry_out(request, random.uniform(0, usual * LEAST))
        kept = ended_tasks(Path(request["journal"]))
        before = notes(request)
    assert server.carry_out(request) == 0
    result = json.loads(Path(request["result"]).read_text())
    told = f"{document} on {framework}, then {other}, {durability}, killed: {killed}"
    assert result["status"] == "succeeded", told
    assert result["outputs"] == expected["outputs"], told
    assert result["tasks"].keys() == expected["tasks"].keys(), told
    after = notes(request)[len(before) :]
    again = {key for what, key in after if what == "begin"}
    finished = {key for key in again if is_kept(key, kept or set())}
    assert not finished, told
    asked = {f"{call['address']}/" for call in result["calls"] or ()}
    assert not {key for key in asked if is_kept(key, kept or set())}, told
    if durability == "full":
        # What comes after a task begins only once its end is on the disk.
        begun = {key for what, key in before if what == "begin"}
        pairs = AFTER[document]
        assert not {first for first, then in pairs if first in again and then in begun}, told
    twice = Counter(key for what, key in notes(request) if what == "begin" and not is_retried(key))
    assert max(twice.values()) <= 3, "once undisturbed, and once more for each kill"


AFTER = {
    "tasks": [("a/1", f"b[{k}]/1") for k in range(6)]
    + [(f"c[{k}]/x/1", f"c[{k}]/y/1") for k in range(3)],
    "team": [("a/1", "plan/1"), ("a/1", "each[0]/1"), ("plan/2", "c/1"), ("each[1]/2", "c/1")]
    + [(f"b[{k}]/1", f"b[{k + 1}]/1") for k in range(3)],
}


def a_request(
    folder: Path, name: str, document: str, framework: str, durability: str
) -> dict[str, Any]:
    return {
        "document": document,
        "journal": str(folder / f"{name}.db"),
        "notes": str(folder / f"{name}.notes"),
        "result": str(folder / f"{name}.json"),
        "framework": framework,
        "durability": durability,
        "resume": False,
    }


def undisturbed(
    server: Server, document: str, framework: str, folder: Path
) -> tuple[float, dict[str, Any]]:
    """Give the time that a run takes which nobody disturbs, and what it comes to."""
    request = a_request(folder, "undisturbed", document, framework, "normal")
    began = time.monotonic()
    assert server.carry_out(request) == 0
    return time.monotonic() - began, json.loads(Path(request["result"]).read_text())


def notes(request: dict[str, Any]) -> list[tuple[str, str]]:
    file = Path(request["notes"])
    if not file.exists():
        return []
    lines = file.read_text().splitlines()
    return [(what, key) for what, _, key in (line.partition(" ") for line in lines)]


def ended_tasks(journal: Path) -> set[str] | None:
    """Give the addresses of what has ended or is done, as the journal has it; None if it does not
    have the run."""
    if not journal.exists():
        return None
    with closing(sqlite3.connect(journal)) as file:
        try:
            if not file.execute("SELECT count(*) FROM runs").fetchone()[0]:
                return None
        except sqlite3.OperationalError:
            return None  # It was killed before there were tables.
        rows = file.execute("SELECT address, status FROM tasks").fetchall()
    return {address for address, status in rows if status not in ("began", "retry", "stale")}


def is_in_a_team(journal: Path) -> bool:
    """Say whether a team had begun and not come to its end, as the journal has it."""
    if not ended_tasks(journal):
        return False
    with closing(sqlite3.connect(journal)) as file:
        query = "SELECT count(*) FROM tasks WHERE status = 'began' AND address GLOB ?"
        return any(file.execute(query, (name,)).fetchone()[0] for name in ("plan", "each[[]*"))


def is_kept(key: str, kept: set[str]) -> bool:
    """Say whether a call's task, or anything around it, is in the journal."""
    address = key.rpartition("/")[0]
    while address:
        marked = [address]
        for mark in ("#", "["):
            if mark in marked[-1].rpartition("/")[2]:
                marked.append(marked[-1][: marked[-1].rindex(mark)])
        if kept.intersection(marked):
            return True
        address = address.rpartition("/")[0]
    return False


def is_retried(key: str) -> bool:
    """Say whether a task is tried again when it fails, so that its calls are more than one."""
    return key.startswith("f/")
