"""How things are measured: CPU times, interleaved, as medians.

Machines are shared, so a figure counts as a ratio of CPU times (user and system) of two things that
took turns, and not as a time.
"""

from __future__ import annotations

import gc
import resource
import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from time import process_time
from typing import Any

Work = Callable[[], Any]


@dataclass(slots=True, frozen=True)
class Row:
    """One figure. `bar` is None for one that is only told; `at_least` turns the bar around.

    With `within`, it is to be so near to the bar on either side.
    """

    name: str
    measured: float
    bar: float | None = None
    unit: str = "×"
    note: str = ""
    at_least: bool = False
    within: float | None = None

    @property
    def met(self) -> bool | None:
        """Say whether the bar is met; None without one."""
        if self.bar is None:
            return None
        if self.within is not None:
            return abs(self.measured - self.bar) <= self.within
        return self.measured >= self.bar if self.at_least else self.measured <= self.bar

    @property
    def aim(self) -> str:
        """Say where it is to be; nothing without a bar."""
        if self.bar is None:
            return ""
        if self.within is not None:
            return f"{self.bar:g} ± {self.within:g}"
        return f"{'≥' if self.at_least else '≤'} {self.bar:g}"


def cpu(work: Work) -> float:
    """Give the CPU seconds of one call, without the rubbish of what ran before."""
    gc.collect()
    start = process_time()
    work()
    return process_time() - start


def compare(ours: Work, peer: Work, rounds: int) -> tuple[float, float, float]:
    """Let two things take turns. Gives the median of the ratios, and each one's median seconds."""
    ours()
    peer()
    pairs = [(cpu(ours), cpu(peer)) for _ in range(rounds)]
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    mine, theirs = zip(*pairs, strict=True)
    return ratio, statistics.median(mine), statistics.median(theirs)


async def cpu_awaited(work: Callable[[], Coroutine[Any, Any, Any]]) -> float:
    """As `cpu`, for something that is awaited."""
    gc.collect()
    start = process_time()
    await work()
    return process_time() - start


async def compare_awaited(
    ours: Callable[[], Coroutine[Any, Any, Any]],
    peer: Callable[[], Coroutine[Any, Any, Any]],
    rounds: int,
) -> tuple[float, float, float]:
    """As `compare`, for things that are awaited on one loop."""
    await ours()
    await peer()
    pairs = [(await cpu_awaited(ours), await cpu_awaited(peer)) for _ in range(rounds)]
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    mine, theirs = zip(*pairs, strict=True)
    return ratio, statistics.median(mine), statistics.median(theirs)


def process_cpu(command: Sequence[str]) -> float:
    """Give the CPU seconds of a process, its start included."""
    quiet = subprocess.DEVNULL
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdin=quiet, stdout=quiet, stderr=subprocess.PIPE, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{list(command)} failed: {done.stderr.decode()}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def python(code: str) -> list[str]:
    """Give the command that runs a line of Python."""
    return [sys.executable, "-c", code]


def memory(work: Work) -> tuple[Any, int, int]:
    """Call something; give what it returns, the bytes it leaves behind, and those at its peak."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        kept = work()
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return kept, after - before, peak - before
