"""What CrewAI does to a process by itself, and talea keeps from happening.

One process for all: importing CrewAI takes seconds. It runs a crew and a flow in a folder with a
hostile `.env`, with a home of its own, and tells what it saw.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("talea_crewai.framework")

SCRIPT = '''
import json, os, socket, sys, warnings
outside = []
def watch(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = str(args[1][0])
        if not host.startswith("127.") and host != "::1":
            outside.append(host)
    if event == "socket.getaddrinfo" and args[0] not in (None, "127.0.0.1", "localhost", "::1"):
        outside.append(str(args[0]))
sys.addaudithook(watch)
warn, env = warnings.warn, dict(os.environ)
import talea
import talea_crewai
lazy = "crewai" not in sys.modules
from talea.gateway.cassette import loads_cassette
CASSETTE = """
talea_cassette: 1
tasks:
  a: [{content: "one {x} two"}]
  b: [{content: done}]
"""
flow = """
talea: 1
name: guarded
model: openai/gpt-5-mini
agents: {w: {role: Writer}}
tasks:
  a: {agent: w, prompt: "Say {x}"}
  b: {agent: w, prompt: "{{ tasks.a.output }}"}
"""
found = {}
for style in ("crew", "flow"):
    result = talea.run(
        talea.loads(flow), framework="crewai", options={"style": style},
        replay=loads_cassette(CASSETTE),
    )
    found[style] = [str(result.status), [t.output for t in result.tasks.values()],
                    result.usage.model_calls, str(result.error)]
changed = {k: v for k, v in os.environ.items() if env.get(k) != v}
print(json.dumps({
    "lazy": lazy, "found": found, "outside": outside, "changed": changed,
    "lost": sorted(set(env) - set(os.environ)), "warn": warnings.warn is warn,
}))
'''


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the script once; give what it told and what it left behind."""
    home, work = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("work")
    planted = "OPENAI_BASE_URL=http://planted.example/v1\nOPENAI_API_KEY=planted\nPLANTED=yes\n"
    (work / ".env").write_text(planted)
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("CREWAI", "OTEL", "OPENAI", "XDG"))
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        cwd=work,
        env=env | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    told: dict[str, Any] = json.loads(lines[-1])
    told["printed"] = lines[:-1]
    told["errors"] = done.stderr
    told["left"] = sorted(
        str(path.relative_to(folder))
        for folder in (home, work)
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name != ".env"
    )
    return told


def test_importing_the_package_imports_no_framework(seen: dict[str, Any]) -> None:
    assert seen["lazy"]


@pytest.mark.parametrize("style", ["crew", "flow"])
def test_both_styles_run_and_leave_braces_alone(seen: dict[str, Any], style: str) -> None:
    assert seen["found"][style] == ["succeeded", ["one {x} two", "done"], 2, "None"]


def test_nothing_is_asked_on_the_network_but_the_model(seen: dict[str, Any]) -> None:
    assert seen["outside"] == []


def test_a_folders_env_file_does_not_reach_the_process(seen: dict[str, Any]) -> None:
    switches = {
        "CREWAI_DISABLE_TELEMETRY",
        "CREWAI_TRACING_ENABLED",
        "CREWAI_DISABLE_VERSION_CHECK",
    }
    assert set(seen["changed"]) <= switches
    assert seen["lost"] == []


def test_warnings_are_the_callers_own(seen: dict[str, Any]) -> None:
    assert seen["warn"]


def test_nothing_is_printed(seen: dict[str, Any]) -> None:
    assert seen["printed"] == []
    assert seen["errors"] == ""


def test_no_file_is_left_behind(seen: dict[str, Any]) -> None:
    assert seen["left"] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Of CrewAI's own code.
def test_native_objects_run_without_talea(tmp_path: Path) -> None:
    """`kickoff` of the crew and of the flow, as a user of CrewAI would call it."""
    import crewai

    import talea
    from talea.gateway.cassette import Player, loads_cassette
    from talea.gateway.server import Gateway

    cassette = loads_cassette("talea_cassette: 1\ntasks: {any: [{content: x}, {content: y}]}")
    for style, kind in (("crew", crewai.Crew), ("flow", crewai.Flow)):
        with Gateway(Player(cassette)) as server:
            workflow = talea.loads(
                "talea: 1\nname: native\nmodel: local\n"
                f"models: {{local: {{model: local/m, base_url: '{server.base_url('any', 'one')}'}}}}\n"
                "agents: {w: {role: Writer}}\ninputs: {t: {type: string}}\n"
                "tasks:\n  a: {agent: w, prompt: 'On {{ inputs.t }}'}\n"
                "  b: {agent: w, prompt: '{{ tasks.a.output }}'}\noutputs: {b: '{{ tasks.b.output }}'}\n"
            )
            native = talea.compile(workflow, framework="crewai", options={"style": style})
            made = native if isinstance(native, kind) else native()
            assert isinstance(made, kind)
            found = made.kickoff(inputs={"t": "owls"})
            assert "y" in str(getattr(found, "raw", found))
