"""A comparison goes on whatever a framework's process does, and leaves nothing behind."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from talea import DocumentError, UsageError, frameworks, loads
from talea.compare import Comparison, compare
from talea.compare.contenders import Entry, read_entries
from talea.compare.environments import held_back, place

TOOLS = """
import ctypes, os, signal, subprocess, sys, time

def scribble():
    for number in range(3, 64):
        for text in (b'{"run": "a lie"}\\n', b'{"problem": "a lie"}\\n', b"half of ", b"\\n\\n[1]\\n", b"half"):
            try:
                os.write(number, text)
            except OSError:
                break
    return "done"

def scribble_on():
    while True:
        for number in range(3, 16):
            try:
                os.write(number, b"x" * 65536)
            except OSError:
                pass

def unknown_signal():
    os.kill(os.getpid(), signal.SIGRTMIN + 6)

def leave():
    os._exit(7)

def half():
    return "a\\ud800b"

def _child(*command, **settings):
    with open(os.environ["PIDS"], "a") as pids:
        print(subprocess.Popen(command, **settings).pid, file=pids)

def hold_output():
    _child("sleep", "1000", start_new_session=True)
    return "done"

def start_child():
    _child("sleep", "1000")
    return "done"

def hang_with_child():
    _child("sleep", "1000")
    time.sleep(1000)

def hang_in_extension():
    _child("sleep", "1000")
    ctypes.PyDLL(None).sleep(1000)
"""


def one_tool(name: str) -> str:
    return (
        f"talea: 1\nname: one\ntools: {{{name}: {{}}}}\ntasks: {{it: {{tool: {name}}}}}\n"
        "outputs: {it: '{{ tasks.it.output }}'}\n"
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "pids").touch()
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def measure(folder: Path, name: str, **settings: Any) -> Comparison:
    given: dict[str, Any] = {"tools": folder / "tools.py", "repeat": 1, "warmup": 0, **settings}
    return compare(loads(one_tool(name)), frameworks=["simple"], **given)


def children(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "pids").read_text().split()]


def is_there(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def wait_for(what: Any) -> bool:
    for _ in range(1200):
        if what():
            return True
        time.sleep(0.05)
    return False


def test_what_a_tool_writes_to_every_descriptor_is_passed_over(folder: Path) -> None:
    found = measure(folder, "scribble", repeat=2)
    assert [run.outputs for run in found.runs] == [{"it": "done"}] * 2


def test_a_tool_that_writes_there_for_ever_hangs(folder: Path) -> None:
    (run,) = measure(folder, "scribble_on", timeout=2.0).runs
    assert run.error is not None
    assert run.error.type == "worker_hung"


def test_a_signal_without_a_name_ends_a_process(folder: Path) -> None:
    (run,) = measure(folder, "unknown_signal").runs
    assert run.error is not None
    assert run.error.type == "worker_died"
    assert f"signal {signal.SIGRTMIN + 6}" in run.error.message


def test_the_exit_code_of_a_process_is_told(folder: Path) -> None:
    (run,) = measure(folder, "leave").runs
    assert run.error is not None
    assert "exit code 7" in run.error.message


def test_half_of_a_character_can_be_written_down(folder: Path) -> None:
    found = measure(folder, "half")
    assert Comparison.from_json(found.to_json()) == found
    assert all("\ud800" not in str(run.outputs) for run in found.runs)
    document = loads("talea: 1\nname: t\ninputs: {t: {}}\ntasks: {a: {value: '{{ inputs.t }}'}}\n")
    with pytest.raises(DocumentError, match="half of a surrogate pair"):
        compare(document, {"t": "a\ud800b"}, frameworks=["simple"])


def test_what_a_tool_starts_ends_with_the_comparison(folder: Path) -> None:
    (run,) = measure(folder, "start_child").runs
    assert run.succeeded
    (child,) = children(folder)
    assert wait_for(lambda: not is_there(child))


def test_who_holds_the_output_of_a_process_holds_nothing_up(folder: Path) -> None:
    try:
        (run,) = measure(folder, "hold_output").runs
        assert run.succeeded
    finally:
        for child in children(folder):
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("name", ["hang_with_child", "hang_in_extension"])
def test_nothing_outlives_a_comparison_that_is_killed(folder: Path, name: str) -> None:
    script = folder / "script.py"
    script.write_text(
        "from talea import loads\nfrom talea.compare import compare\n"
        f"compare(loads({one_tool(name)!r}), frameworks=['simple'], warmup=0,"
        f" tools={str(folder / 'tools.py')!r})\n"
    )
    host = subprocess.Popen([sys.executable, str(script)])
    try:
        assert wait_for(lambda: children(folder))
        below = Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()
        started = [*children(folder), *map(int, below)]
        assert len(started) >= 2
    finally:
        host.kill()
        host.wait()
    try:
        assert wait_for(lambda: not any(map(is_there, started)))
    finally:
        for pid in filter(is_there, started):
            os.kill(pid, signal.SIGKILL)


def test_an_interrupted_comparison_gives_what_it_has(folder: Path) -> None:
    script = folder / "script.py"
    script.write_text(
        "from talea import loads\nfrom talea.compare import compare\n"
        f"found = compare(loads({one_tool('hang_with_child')!r}), frameworks=['simple'], warmup=0,"
        f" tools={str(folder / 'tools.py')!r})\n"
        "print(found.notes)\n"
    )
    host = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert wait_for(lambda: children(folder))
    host.send_signal(signal.SIGINT)
    told, _ = host.communicate()
    assert host.returncode == 0
    assert "interrupted" in told
    (child,) = children(folder)
    assert wait_for(lambda: not is_there(child))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_ended_writes_what_it_has(folder: Path, number: signal.Signals) -> None:
    (folder / "flow.yaml").write_text(one_tool("hang_with_child"))
    command = [sys.executable, "-m", "talea", "compare", "flow.yaml", "-f", "simple"]
    command += ["--tools", "tools.py", "--warmup", "0", "-o", "it.json"]
    host = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert wait_for(lambda: children(folder))
    host.send_signal(number)
    out, err = host.communicate()
    assert host.returncode == 130
    assert Comparison.read(folder / "it.json").interrupted
    assert f"{out}{err}".count("interrupted") == 1
    (child,) = children(folder)
    assert wait_for(lambda: not is_there(child))


def test_a_script_that_compares_when_it_is_imported_is_told(folder: Path) -> None:
    script = folder / "script.py"
    script.write_text(
        "from talea import loads\nfrom talea.compare import compare\n"
        "def greet(): return 'hello'\n"
        f"found = compare(loads({one_tool('greet')!r}), frameworks=['simple'], tools=[greet],"
        " repeat=1)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 1
    assert 'if __name__ == "__main__"' in done.stderr


@pytest.fixture
def package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    inner = folder / "of_the_caller" / "inner"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").touch()
    (inner / "__init__.py").touch()
    (inner.parent / "words.py").write_text("HELLO = 'hello'\n")
    (inner / "tools.py").write_text(
        "from ..words import HELLO\n\ndef greet():\n    return HELLO\n\n"
        "class Greeter:\n    def greet(self):\n        return HELLO\n"
    )
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.chdir(folder)
    return importlib.import_module("of_the_caller.inner.tools")


def test_tools_may_stand_in_a_package(folder: Path, package: ModuleType) -> None:
    for tools in ([package.greet], "of_the_caller.inner.tools"):
        (run,) = measure(folder, "greet", tools=tools).runs
        assert run.outputs == {"it": "hello"}, run.error


def test_tools_that_another_process_cannot_have_are_refused(
    folder: Path, package: ModuleType
) -> None:
    names: dict[str, Any] = {}
    exec(compile("def greet(): pass", str(folder / "cell.py"), "exec"), names)
    for function in (package.Greeter().greet, names["greet"]):
        with pytest.raises(UsageError, match="stands in no file"):
            measure(folder, "greet", tools={"greet": function})
    with pytest.raises(UsageError, match="no module 'of_the_caller.outer'"):
        measure(folder, "greet", tools="of_the_caller.outer")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pythons": [("simple", "/no/where/python")]}, "no Python at"),
        ({"pythons": [("simple", "")]}, "no Python at"),
        ({"pythons": [("simple", sys.executable)] * 2}, "two Pythons"),
        (
            {"pythons": [("simple", sys.executable)], "requirements": [("simple", "openai")]},
            "something to be tried with",
        ),
        ({"names": ["simpel"], "isolate": True}, "unknown framework"),
        ({"names": ["simple:agents=simpel"], "isolate": True}, "unknown framework"),
    ],
)
def test_who_cannot_have_a_python_is_told_at_once(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_entries(settings.pop("names", ["simple"]), **settings)


def test_the_python_of_an_environment_is_named_for_its_folder(folder: Path) -> None:
    (folder / "bin").mkdir()
    (folder / "bin" / "python").touch()
    with pytest.raises(UsageError) as caught:
        read_entries(["simple"], pythons=[("simple", str(folder))])
    assert str(folder / "bin" / "python") in str(caught.value.hint)


def test_what_is_no_program_takes_no_part(folder: Path) -> None:
    python = folder / "python"
    python.write_text("no program")
    python.chmod(0o755)
    found = measure(folder, "half", pythons=[("simple", str(python))])
    assert "cannot be started" in str(found.contenders[0].refused)


def test_a_cache_that_cannot_be_written_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "cache").write_text("a file")
    (entry,) = read_entries(["simple"], isolate=True)
    with pytest.raises(UsageError, match="cannot be made in") as caught:
        place(entry)
    assert "XDG_CACHE_HOME" in str(caught.value.hint)


def test_why_there_is_no_environment_comes_first(folder: Path) -> None:
    (entry,) = read_entries(["simple"], requirements=[("simple", "pydantic<1,>=2")])
    with pytest.raises(UsageError, match="cannot be made: .*pydantic") as caught:
        place(entry)
    assert "error:" not in caught.value.message


@pytest.fixture
def asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for uv, which makes empty environments and writes down what it was asked."""
    (folder / "programs").mkdir()
    program = folder / "programs" / "uv"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> "{folder}/asked"\n'
        'test "$1" = venv || exit 0\nfor last; do :; done\n'
        f'mkdir -p "$last/bin" && ln -sf "{sys.executable}" "$last/bin/python"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return folder / "asked"


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        (None, "talea==7.1"),
        ({"url": "file:///tmp", "dir_info": {"editable": True}}, "-e /tmp"),
        ({"url": "file:///no/where", "dir_info": {}}, "talea==7.1"),
        ({"url": "file:///a/w.whl", "archive_info": {}}, "talea @ file:///a/w.whl"),
        (
            {
                "url": "https://example.org/it",
                "vcs_info": {"vcs": "git", "commit_id": "abc"},
                "subdirectory": "core",
            },
            "talea @ git+https://example.org/it@abc#subdirectory=core",
        ),
    ],
)
def test_an_environment_has_the_same_talea(
    folder: Path,
    asked: Path,
    monkeypatch: pytest.MonkeyPatch,
    origin: dict[str, Any] | None,
    requirement: str,
) -> None:
    told = folder / "installed" / "talea-7.1.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: talea\nVersion: 7.1\n")
    if origin is not None:
        (told / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.setattr(sys, "path", [str(told.parent), *sys.path])
    place(Entry("simple", "simple", isolated=True))
    assert f" {requirement}" in asked.read_text()


def test_an_environment_is_made_once_and_again_where_its_python_has_gone(asked: Path) -> None:
    entry = Entry("simple", "simple", isolated=True)
    python = Path(str(place(entry).python))
    made = asked.read_text()
    assert place(entry).python == str(python)
    assert asked.read_text() == made
    python.unlink()
    place(entry)
    assert asked.read_text() == made * 2


def test_another_talea_takes_no_part() -> None:
    command = [sys.executable, "-P", "-m", "talea.compare.worker", "0", "0", "mark", "0.0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "made by talea 0.0.1" in done.stderr


@pytest.mark.skipif(
    not {"langgraph", "crewai"} <= {info.name for info in frameworks() if info.status == "ready"},
    reason="it is of LangGraph and CrewAI in one environment",
)
def test_only_what_a_framework_would_not_keep_out_itself_holds_it_back() -> None:
    """CrewAI keeps pydantic below 2.13; that others keep it below 3 takes nothing from it."""
    every = ["talea-simple", "talea-langgraph", "talea-crewai"]
    held = {one: held_back(one, [other for other in every if other != one]) for one in every}
    assert held["talea-crewai"] == []
    (told,) = [text for text in held["talea-langgraph"] if text.startswith("pydantic ")]
    assert re.fullmatch(r"pydantic 2\.\S+: crewai wants \S*<2\.13\S*", told)
