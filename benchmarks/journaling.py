"""The rows of `run` that measure what a journal costs, and how its file grows."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from measuring import Row, compare_awaited, cpu_awaited
from peers import noop
from shapes import SHAPES
from workflows import build

DBOS = "TALEA_BENCH_DBOS"
"""Names a Python that has `dbos` installed: it does not go together with what is measured here."""
_SIZE = 1_000
_GROWING = (1_000, 10_000)


def journal(rounds: int) -> Iterator[Row]:
    """A chain of no-op tools with a journal, against the same without, and against DBOS."""
    with tempfile.TemporaryDirectory() as folder:
        plain = _running(_SIZE)
        for durability in ("normal", "full"):
            kept = _running(_SIZE, Path(folder), durability)
            ratio, mine, theirs = asyncio.run(compare_awaited(kept, plain, rounds))
            note = f"{(mine - theirs) / _SIZE * 1e6:.0f} µs a task more"
            yield Row(f"{durability}, to no journal, {_SIZE:,}", ratio, note=note)
        yield from _to_dbos(Path(folder), rounds)
        yield from _growth(Path(folder))


def _running(
    size: int, folder: Path | None = None, durability: str = "normal"
) -> Callable[[], Coroutine[Any, Any, Any]]:
    """Give what runs a chain, with a journal of its own each time if there is a folder."""
    import talea

    workflow, number = build(SHAPES["chain"](size)), count()

    async def once() -> None:
        more: dict[str, Any] = {}
        if folder is not None:
            name = f"{durability}-{size}-{next(number)}.db"
            more = {"journal": folder / name, "durability": durability}
        (await talea.arun(workflow, tools={"noop": noop}, **more)).raise_for_failure()

    return once


def _to_dbos(folder: Path, rounds: int) -> Iterator[Row]:
    if DBOS not in os.environ:
        return
    script = Path(__file__).with_name("dbos_peer.py")
    command = [os.environ[DBOS], str(script), str(_SIZE), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    theirs = statistics.median(float(line) for line in done.stdout.split())
    kept = _running(_SIZE, folder / "dbos")
    (folder / "dbos").mkdir()

    async def measure() -> float:
        await kept()
        return statistics.median([await cpu_awaited(kept) for _ in range(rounds)])

    mine = asyncio.run(measure())
    note = f"{mine / _SIZE * 1e6:.0f} µs a task with all of the run, {theirs / _SIZE * 1e6:.0f}"
    yield Row(f"normal, to DBOS on SQLite, {_SIZE:,}", mine / theirs, 0.2, note=note)


def _growth(folder: Path) -> Iterator[Row]:
    sizes: list[float] = []
    for size in _GROWING:
        place = folder / f"growth-{size}"
        place.mkdir()
        asyncio.run(_running(size, place)())
        (file,) = place.iterdir()
        sizes.append(file.stat().st_size / size)
        yield Row(f"file of {size:,} tasks", sizes[-1] / 1024, 1.0, unit="KiB a task")
    yield Row("the same, largest to smallest", sizes[-1] / sizes[0], 1.1)
