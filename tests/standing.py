"""A `talea gateway` in a process of its own, as programs meet it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import OpenAI


class Running:
    """A `talea gateway` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.head: list[str] = []
        self.url = ""

    def wait_until_it_listens(self, stream: Any) -> None:
        for line in stream:
            self.head.append(line)
            if found := re.search(r"OPENAI_BASE_URL=(\S+)", line):
                self.url = found[1]
            if line.startswith("Ctrl-C"):
                return
        raise AssertionError("".join(self.head) + self.process.communicate()[1])

    def client(self, url: str | None = None) -> OpenAI:
        return OpenAI(base_url=url or self.url, api_key="none", max_retries=0, timeout=30)

    def end(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        """Send a signal, and give the exit code and what was printed since it began to listen."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


def environment() -> dict[str, str]:
    """Give the environment without keys, and without what leads to a gateway."""
    return {
        name: text
        for name, text in os.environ.items()
        if not name.endswith(("_API_KEY", "_BASE_URL"))
    }


@contextmanager
def standing(*arguments: str, cwd: Path, **environ: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [sys.executable, "-m", "talea", "gateway", *arguments],
        cwd=cwd, env={**environment(), **environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, encoding="utf-8",
    )  # fmt: skip
    try:
        running = Running(process)
        running.wait_until_it_listens(process.stderr if "--json" in arguments else process.stdout)
        yield running
    finally:
        process.kill()
        process.communicate()
