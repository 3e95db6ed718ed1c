"""`talea run` with a gateway of its own process: what reaches the framework's, and what does not."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from talea import loads, run
from talea.gateway.cassette import Fault, Turn, load_cassette
from talea.gateway.chat import Call
from talea.gateway.server import Gateway
from talea.route import Wishes, find_route, without_keys

PREFIX = "sk-canary-"
REST = "7d1e5c90a2b84f63"
"""The key in two parts: neither this test's tools nor its files ever join them."""
WORKFLOW = """\
talea: 1
name: watched
model: openai/gpt-5-mini
tools: {look: {description: Look around.}}
agents: {w: {role: Writer, tools: [look]}}
tasks:
  a: {agent: w, prompt: Say a}
  b: {tool: look, depends_on: [a]}
outputs: {a: "{{ tasks.a.output }}", seen: "{{ tasks.b.output }}"}
"""
LOOK = f'''
import hashlib, os, re

DIGEST = "{hashlib.sha256(REST.encode()).hexdigest()}"


def look() -> list[str]:
    """Search this process for the key: its environment, and all of its memory."""
    found = [name for name, value in os.environ.items() if is_key(value.encode())]
    with open("/proc/self/environ", "rb") as environ:
        found += ["environ"] if is_key(environ.read()) else []
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            span = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if span is None:
                continue
            start, end = (int(part, 16) for part in span.groups())
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue
            found += [line.split()[-1]] if is_key(data) else []
    return found


def is_key(data: bytes) -> bool:
    """Say whether the key is in there, without ever holding it."""
    return any(
        hashlib.sha256(data[at.end() : at.end() + {len(REST)}]).hexdigest() == DIGEST
        for at in re.finditer(b"{PREFIX}", data)
    )
'''


class Model:
    """A provider's server, which notes the keys that it is shown."""

    def __init__(self) -> None:
        self.hangs = False

    def answer(self, call: Call) -> Turn:
        """Answer, unless it is to hang."""
        return Turn(fault=Fault(hang=True)) if self.hangs else Turn(content="well")


@pytest.fixture
def model() -> Iterator[tuple[Model, Gateway]]:
    """Serve a model on loopback."""
    served = Model()
    with Gateway(served) as server:
        yield served, server


@pytest.fixture
def talea(tmp_path: Path, model: tuple[Model, Gateway]) -> list[str]:
    """Give the command that records a run, and let it have its files and its environment."""
    (tmp_path / "flow.yaml").write_text(WORKFLOW)
    (tmp_path / "tools.py").write_text(LOOK)
    return [
        sys.executable, "-m", "talea", "run", "flow.yaml", "--tools", "tools.py",
        "--record", "tape.yaml",
    ]  # fmt: skip


def environment(server: Gateway) -> dict[str, str]:
    """Give the caller's environment, with a key under its own name and under another."""
    key = PREFIX + REST
    return {
        **os.environ,
        "OPENAI_BASE_URL": server.open().url,
        "OPENAI_API_KEY": key,
        "MY_COPY": f"Bearer {key}",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def test_the_key_never_enters_the_frameworks_process(
    talea: list[str], model: tuple[Model, Gateway], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*talea, "--record-tools", "--json"],
        cwd=tmp_path,
        env=environment(model[1]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["outputs"] == {"a": "well", "seen": []}
    assert told["usage"]["model_calls"] == 1
    assert told["calls"][0]["address"] == "a"
    cassette = load_cassette(tmp_path / "tape.yaml")
    assert [turn.content for turn in cassette.tasks["a"]] == ["well"]
    assert cassette.tools is not None
    assert cassette.tools["b"][0].result == []
    written = (tmp_path / "tape.yaml").read_text() + done.stdout + done.stderr
    assert REST not in written


def test_the_key_is_not_there_either_when_a_run_goes_on(
    talea: list[str], model: tuple[Model, Gateway], tmp_path: Path
) -> None:
    (tmp_path / "flow.yaml").write_text(
        WORKFLOW.replace("tasks:\n", "tasks:\n  first: {ask: Well?}\n").replace(
            "a: {agent", "a: {depends_on: [first], agent"
        )
    )

    def go_on(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "talea", *args, "--tools", "tools.py", "--json"],
            cwd=tmp_path,
            env=environment(model[1]) | {"TALEA_JOURNAL": "runs.db"},
            capture_output=True,
            text=True,
            check=False,
        )

    begun = go_on("run", "flow.yaml", "--meter")
    assert begun.returncode == 4, begun.stderr
    told = json.loads(begun.stdout)
    wanted = ("--record", "second.yaml", "--record-tools", "--answer", "first=yes")
    done = go_on("resume", told["run"], *wanted)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["outputs"] == {"a": "well", "seen": []}
    assert [call["address"] for call in told["calls"]] == ["a"]
    cassette = load_cassette(tmp_path / "second.yaml")
    assert [turn.content for turn in cassette.tasks["a"]] == ["well"]
    assert cassette.tools is not None
    assert cassette.tools["b"][0].result == []


def test_without_a_gateway_the_same_search_finds_the_key(
    talea: list[str], model: tuple[Model, Gateway], tmp_path: Path
) -> None:
    """So that the test above can fail."""
    done = subprocess.run(
        [*talea[:-2], "--json"],
        cwd=tmp_path,
        env=environment(model[1]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "OPENAI_API_KEY" in json.loads(done.stdout)["outputs"]["seen"]


def test_a_short_key_takes_nothing_else_out_of_the_environment() -> None:
    route = find_route([loads(WORKFLOW)], [["w"]], Wishes(meter=True))
    given = {"OPENAI_API_KEY": "none", "NOTE": "none of this is a key", "COPY": PREFIX + REST}
    assert without_keys(given, route) == {k: v for k, v in given.items() if k != "OPENAI_API_KEY"}
    given["OPENAI_API_KEY"] = PREFIX + REST
    assert without_keys(given, route) == {"NOTE": given["NOTE"]}


def test_a_gateway_that_is_gone_is_noted_and_the_run_told_as_it_was() -> None:
    with Gateway(Model()) as gateway:
        door = gateway.open()
    result = run(loads("talea: 1\nname: t\ntasks: {a: {value: 1}}"), meter=True, doors=[door.url])
    assert result.tasks["a"].output == 1
    assert result.succeeded
    assert result.calls is None
    assert "the gateway is gone" in result.notes[0]


def start(command: list[str], server: Gateway, folder: Path) -> subprocess.Popen[str]:
    """Start a run that hangs, in a process group of its own, and wait until it does."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not server.log:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


def test_an_interrupt_ends_the_run_in_order_and_keeps_the_record(
    talea: list[str], model: tuple[Model, Gateway], tmp_path: Path
) -> None:
    model[0].hangs = True
    process = start(talea, model[1], tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Interrupted: ending the run in order" in errors
    assert load_cassette(tmp_path / "tape.yaml").tasks == {}


def test_a_killed_run_is_told_and_its_record_kept(
    talea: list[str], model: tuple[Model, Gateway], tmp_path: Path
) -> None:
    model[0].hangs = True
    process = start(talea, model[1], tmp_path)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "The run's process was ended by SIGKILL." in errors
    assert (tmp_path / "tape.yaml").exists()


def test_a_request_to_end_reaches_the_run(
    talea: list[str], model: tuple[Model, Gateway], tmp_path: Path
) -> None:
    model[0].hangs = True
    process = start(talea, model[1], tmp_path)
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "SIGTERM" in errors
    assert (tmp_path / "tape.yaml").exists()
