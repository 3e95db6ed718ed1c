"""What CrewAI does to a process by itself, and talea keeps from happening.

One process for all: importing CrewAI takes seconds. It runs a crew and a flow in a folder with a
hostile `.env`, with a home of its own, and tells what it saw.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("talea_crewai.framework")

import crewai
from crewai.flow.flow import Flow

import talea
from talea.errors import RunError
from talea.gateway.cassette import Cassette, Player, loads_cassette
from talea.gateway.server import Gateway

STYLES = pytest.mark.parametrize("style", ["crew", "flow"])
OF_CREWAI = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own code

SCRIPT = '''
import json, os, sys, warnings
outside, asked, written, started = [], [], [], []
private = os.path.realpath(os.environ["TMPDIR"])
def watch(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = str(args[1][0])
        if not host.startswith("127.") and host != "::1":
            outside.append(host)
    if event == "socket.getaddrinfo" and args[0] not in (None, "127.0.0.1", "localhost", "::1"):
        outside.append(str(args[0]))
    if event == "builtins.input":
        asked.append(str(args[0]))
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
        started.append(str(args[0]))
    path = args[0] if event in ("open", "sqlite3.connect", "os.mkdir", "os.rename") else None
    if event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        path = None
    if isinstance(path, str) and not os.path.realpath(path).startswith((private, "/dev/")):
        written.append(path)
sys.addaudithook(watch)
warn, env = warnings.warn, dict(os.environ)
import talea
import talea_crewai
lazy = "crewai" not in sys.modules
from talea.gateway.cassette import loads_cassette
CASSETTE = """
talea_cassette: 1
tasks:
  a:
    - {tool_calls: [{name: look, arguments: {at: owls}}], usage: {input_tokens: 7, output_tokens: 3}}
    - {content: "one {x} two", usage: {input_tokens: 20, output_tokens: 5}}
  b: [{content: done, usage: {input_tokens: 11, output_tokens: 1}}]
  c: [{fault: {status: 429, retry_after: 0}}, {content: too late}]
"""
flow = """
name: guarded
model: openai/gpt-5-mini
tools: {look: {}}
agents: {w: {role: Writer, tools: [look]}}
tasks:
  a: {agent: w, prompt: "Say {x}"}
  b: {agent: w, prompt: "{{ tasks.a.output }}"}
  c: {agent: w, prompt: "Fail.", depends_on: [b]}
"""
looked = []
def look(at: str) -> str:
    """Look."""
    looked.append(at)
    raise ValueError("too dark")
found = {}
for style in ("crew", "flow"):
    looked.clear()
    result = talea.run(
        talea.loads(flow), framework="crewai", options={"style": style},
        replay=loads_cassette(CASSETTE), tools=[look],
    )
    usage = result.usage
    found[style] = [
        [t.output for t in result.tasks.values()], result.error.type, looked[:],
        [usage.model_calls, usage.input_tokens, usage.output_tokens],
    ]
TEAM = """
talea_cassette: 1
tasks:
  a:
    boss: [{delegate: {to: w, task: "Say {y}"}}, {delegate: {to: w, task: More}}, {content: "{z}"}]
    w: [{content: "{x}"}, {fault: {status: 429, retry_after: 0}}]
"""
team = """
name: led
model: openai/gpt-5-mini
agents: {boss: {role: "Boss {x}"}, w: {role: "Writer {x}"}}
tasks: {a: {team: {manager: boss, members: [w]}, prompt: "Ask for {x}"}}
"""
for style in ("crew", "flow"):
    result = talea.run(
        talea.loads(team), framework="crewai", options={"style": style}, replay=loads_cassette(TEAM)
    )
    found["team " + style] = [result.tasks["a"].output, result.usage.model_calls]
changed = {k: v for k, v in os.environ.items() if env.get(k) != v}
told = json.dumps({
    "lazy": lazy, "found": found, "outside": outside, "changed": changed, "asked": asked,
    "written": written, "started": started, "lost": sorted(set(env) - set(os.environ)),
    "warn": warnings.warn is warn, "memory": "lancedb" in sys.modules,
})
with open(sys.argv[1], "w") as file:
    file.write(told)
'''


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("open('unpickled', 'w').close()",)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the script once, on a terminal; give what it told and what it left behind."""
    home, work, temporary, told = (
        tmp_path_factory.mktemp(name) for name in ("home", "work", "temporary", "told")
    )
    planted = "OPENAI_BASE_URL=http://planted.example/v1\nOPENAI_API_KEY=planted\nPLANTED=yes\n"
    (work / ".env").write_text(planted)
    (work / "trained_agents_data.pkl").write_bytes(pickle.dumps(Trap()))
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("CREWAI", "OTEL", "OPENAI", "XDG", "CI"))
    }
    env |= {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    screen, terminal = os.openpty()
    script = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(told / "told.json")]
    with subprocess.Popen(
        script, cwd=work, env=env, stdin=terminal, stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        shown = _read_all(screen)
        assert process.wait(120) == 0, shown
    found: dict[str, Any] = json.loads((told / "told.json").read_text())
    found["shown"] = shown
    found["left"] = sorted(
        str(path.relative_to(folder))
        for folder in (home, work, temporary)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".env", "trained_agents_data.pkl")
    )
    return found


def _read_all(screen: int) -> str:
    """Read what is shown on a terminal until nobody writes to it any more."""
    with open(screen, "rb", buffering=0) as shown:
        parts: list[bytes] = []
        while True:
            try:
                part = shown.read(4096)
            except OSError:  # How Linux tells that the other side is closed.
                part = b""
            if not part:
                return b"".join(parts).decode()
            parts.append(part)


def test_importing_the_package_imports_no_framework(seen: dict[str, Any]) -> None:
    assert seen["lazy"]


@STYLES
def test_both_styles_run_and_leave_braces_alone(seen: dict[str, Any], style: str) -> None:
    outputs, *_ = seen["found"][style]
    assert outputs == ["one {x} two", "done", None]


@STYLES
def test_nothing_is_done_twice(seen: dict[str, Any], style: str) -> None:
    """Neither a throttled call nor a tool that raised; and all is counted, once."""
    _, error, looked, usage = seen["found"][style]
    assert error == "rate_limit"
    assert looked == ["owls"]
    assert usage == [4, 7 + 20 + 11, 3 + 5 + 1]


@STYLES
def test_a_team_runs_likewise(seen: dict[str, Any], style: str) -> None:
    assert seen["found"][f"team {style}"] == ["{z}", 5]


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


def test_nothing_is_shown_or_asked_on_a_terminal(seen: dict[str, Any]) -> None:
    assert seen["shown"] == ""
    assert seen["asked"] == []


def test_no_file_is_left_behind(seen: dict[str, Any]) -> None:
    """Nor is the pickle read that CrewAI looks for where it is run."""
    assert seen["left"] == []


def test_nothing_is_written_outside_a_private_folder(seen: dict[str, Any]) -> None:
    assert seen["written"] == []


def test_no_process_and_no_memory_is_begun(seen: dict[str, Any]) -> None:
    """A flow's memory takes ten seconds to import, and asks a model of its own."""
    assert set(seen["started"]) <= {"uname"}  # of the standard library's `platform`
    assert not seen["memory"]


# What a user of CrewAI has in hand


class Ear(Player):
    """Answers from a cassette, and notes what it is asked."""

    def __init__(self, cassette: Cassette) -> None:
        super().__init__(cassette)
        self.heard: list[str] = []

    def answer(self, call: Any) -> Any:
        self.heard.append(str(call.request.messages[-1].content))
        return super().answer(call)


@pytest.fixture
def ear() -> Ear:
    usage = "usage: {input_tokens: 10, output_tokens: 1}"
    turns = f"[{{content: x, {usage}}}, {{content: y, repeat: true, {usage}}}]"
    return Ear(loads_cassette(f"talea_cassette: 1\ntasks: {{any: {turns}}}"))


@pytest.fixture
def native(ear: Ear) -> Iterator[Callable[[str], Any]]:
    """Give what makes a crew or flow whose agents are asked on a gateway, without a run of ours."""
    with Gateway(ear) as server:
        workflow = talea.loads(
            "name: native\nmodel: local\n"
            f"models: {{local: {{model: local/m, base_url: '{server.base_url('any', 'one')}'}}}}\n"
            "agents: {w: {role: Writer}}\ninputs: {t: {type: string}}\n"
            "tasks:\n  a: {agent: w, prompt: 'On {t} {{ inputs.t }}'}\n"
            "  b: {agent: w, prompt: '{{ tasks.a.output }}'}\n"
            "outputs: {a: '{{ tasks.a.output }}', b: '{{ tasks.b.output }}'}\n"
        )

        def make(style: str) -> Any:
            made = talea.compile(workflow, framework="crewai", options={"style": style})()
            assert isinstance(made, {"crew": crewai.Crew, "flow": Flow}[style])
            return made

        yield make


@OF_CREWAI
@STYLES
def test_native_objects_run_without_talea(
    native: Callable[[str], Any], ear: Ear, style: str
) -> None:
    """`kickoff` of the crew and of the flow, as a user of CrewAI would call it."""
    made = native(style)
    found = made.kickoff(inputs={"t": "owls"})
    assert "On {t} owls" in ear.heard[0]
    outputs = {"a": "x", "b": "y"}
    assert made.result.outputs == outputs
    assert (found if style == "flow" else found.json_dict) == outputs


@OF_CREWAI
@STYLES
def test_natives_run_again_and_within_an_event_loop(
    native: Callable[[str], Any], ear: Ear, style: str
) -> None:
    made = native(style)

    async def main() -> None:
        made.kickoff(inputs={"t": "owls"})
        await made.kickoff_async(inputs={"t": "larks"})

    asyncio.run(main())
    assert made.result.outputs == {"a": "y", "b": "y"}
    assert "larks" in ear.heard[2]


@OF_CREWAI
def test_a_crews_usage_is_exact(native: Callable[[str], Any]) -> None:
    """CrewAI's own counts double where a model is shared, and adds up over kickoffs."""
    crew = native("crew")
    for _ in range(2):
        used = crew.kickoff(inputs={"t": "owls"}).token_usage
        assert (used.prompt_tokens, used.completion_tokens) == (20, 2)
        assert used.successful_requests == 2


@OF_CREWAI
@STYLES
def test_a_native_that_fails_raises_and_tells_how_it_ended(style: str) -> None:
    workflow = talea.loads(
        "name: f\nmodel: openai/m\nagents: {w: {}}\ntasks: {a: {agent: w, prompt: x}}"
    )
    made = talea.compile(workflow, framework="crewai", options={"style": style})
    cassette = "talea_cassette: 1\ntasks: {a: [{fault: {status: 429, retry_after: 0}}]}"
    failing = made(replay=loads_cassette(cassette))
    with pytest.raises(RunError, match="rate_limit"):
        failing.kickoff()
    assert failing.result.error.type == "rate_limit"
