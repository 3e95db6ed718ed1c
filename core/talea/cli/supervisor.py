"""Commands in two processes, so that a key is never where a framework and its tools are.

    this process: the gateway and the keys ──▶ the provider
        │ starts                   ▲
        ▼                          │ loopback, by a secret path
    the same command, without the keys

Its terminal, its exit code and its signals are those of the run.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from talea.cli import FAILED
from talea.cli.terminal import say
from talea.gateway.tape import ToolRecorder, read_tools
from talea.route import Route, without_keys

VARIABLE = "TALEA_SUPERVISED"
"""Holds a `Supervised` as JSON, in the environment of the process that runs the framework."""


@dataclass(slots=True, frozen=True)
class Supervised:
    """What the process that runs the framework is told of the gateway in the other one."""

    run: str
    doors: Sequence[str]
    tape: str | None
    """The file for the results of tools, where they are recorded."""

    @property
    def settings(self) -> dict[str, Any]:
        """What `prepare` is told of it."""
        return {"run_id": self.run, "doors": self.doors, "tape": self.tape}


def supervised() -> Supervised | None:
    """Say whether this process runs the framework for another one that has the keys."""
    told = os.environ.pop(VARIABLE, None)
    return None if told is None else Supervised(**json.loads(told))


def supervise(route: Route, arguments: Sequence[str], *, run_id: str | None = None) -> int:
    """Run the command again in a process without keys; give its exit code. `run_id` is that of a
    run that goes on."""
    run_id = run_id or secrets.token_hex(8)
    with (
        TemporaryDirectory(prefix="talea-") as folder,
        route.open(run_id) as way,
    ):
        tape = str(Path(folder, "tools.json")) if way.tape is not None else None
        told = Supervised(run_id, [door.url for door in way.doors], tape)
        environment = without_keys(os.environ, route)
        environment[VARIABLE] = json.dumps(asdict(told))
        code = _run([sys.executable, "-P", "-m", "talea", *arguments], environment)
        if tape is not None:
            assert isinstance(way.tape, ToolRecorder)
            way.tape.take(read_tools(tape))
    for note in route.notes:
        say(f"Note: {note}")
    if route.wishes.record is not None and not route.notes:
        say(f"Recorded: {route.wishes.record}")
    return code or (FAILED if route.notes else 0)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    # The command is talea itself, with the arguments that it was given.
    with subprocess.Popen(command, env=environment) as process, _signals_for(process):  # noqa: S603
        code = process.wait()
    if code < 0:
        say(f"The run's process was ended by {signal.Signals(-code).name}.")
        return FAILED
    return code


@contextmanager
def _signals_for(process: subprocess.Popen[bytes]) -> Generator[None]:
    """Leave Ctrl-C to the run, which the terminal tells as well; pass a request to end on."""

    def pass_on(number: int, _frame: Any) -> None:
        if number != signal.SIGINT:
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
