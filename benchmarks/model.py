"""A model that answers at once, in a process of its own: what it costs is nobody's here.

Both sides of a comparison ask it over HTTP, each with its framework's own client.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ANSWER = "A sentence of an ordinary answer, as long as such sentences are."

_CODE = """
import sys
from talea.gateway.cassette import Cassette, Player
from talea.gateway.server import Gateway
answer, delay, tool = sys.argv[1:]
turn = {"content": answer, "fault": {"delay": float(delay)} if float(delay) else None}
turns = [{"tool_calls": [{"name": tool}]}, turn] * 500 if tool else [{**turn, "repeat": True}]
cassette = Cassette.model_validate({"talea_cassette": 1, "tasks": {"any": turns}})
with Gateway(Player(cassette)) as server:
    print(server.base_url("any", "any"), flush=True)
    sys.stdin.read()
"""


@contextmanager
def served(delay: float = 0.0, tool: str = "") -> Iterator[str]:
    """Serve a model that answers after `delay` seconds; gives its address.

    With a tool, it calls that before each of its first 500 answers.
    """
    command = [sys.executable, "-c", _CODE, ANSWER, str(delay), tool]
    pipe = subprocess.PIPE
    # Its input ends with this process, however that ends, and so does it.
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()
