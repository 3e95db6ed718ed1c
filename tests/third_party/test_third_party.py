"""A plugin by a stranger, built and installed as a stranger would, among others that are broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

HERE = Path(__file__).parent
FLOW = """
talea: 1
name: flow
model: openai/any
agents: {parrot: {}}
tasks:
  first: {agent: parrot, prompt: Polly}
  each: {agent: parrot, for_each: [1, 2], prompt: "{{ tasks.first.output }} {{ item }}"}
  block: {tasks: {inner: {value: "{{ tasks.each.output }}"}}}
outputs: {said: "{{ join(tasks.each.output, ', ') }}"}
"""
TEAM = """
talea: 1
name: team
model: openai/any
agents: {a: {}, b: {}}
tasks: {t: {team: {manager: a, members: [b]}, prompt: p}}
"""


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of talea-echo from a copy, and install it into a folder."""
    folder = tmp_path_factory.mktemp("stranger")
    uv = shutil.which("uv", path=sysconfig.get_path("scripts")) or shutil.which("uv")
    assert uv is not None, "uv builds and installs the plugin"
    source = shutil.copytree(HERE / "talea-echo", folder / "source")
    run([uv, "build", "--offline", "--wheel", "-o", str(folder / "dist"), str(source)])
    [wheel] = (folder / "dist").glob("*.whl")
    install = [uv, "pip", "install", "--offline", "--no-deps", "--python", sys.executable]
    run([*install, "--target", str(folder / "site"), str(wheel)])
    return folder / "site"


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


Talea = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def talea(stranger: Path, tmp_path: Path) -> Talea:
    """Give a function that runs the command line with the stranger's plugin installed."""
    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "team.yaml").write_text(TEAM)
    paths = [str(stranger), str(tmp_path / "site")]

    def invoke(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "talea", *args],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more},
            capture_output=True,
            text=True,
            check=False,
        )

    return invoke


def install(
    tmp_path: Path, name: str, code: str, entry: str | None = None, version: str = "0.1"
) -> None:
    """Put a distribution into the folder of other strangers."""
    module = name.replace("-", "_")
    package = tmp_path / "site" / module
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(dedent(code))
    info = tmp_path / "site" / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = f"[talea]\n{entry or name.removeprefix('talea-')} = {module}\n"
    (info / "entry_points.txt").write_text(points)


def adapters(name: str, api: int = 1) -> str:
    return f"""
        from talea.hookspecs import AdapterSpec, hookimpl

        @hookimpl
        def talea_adapters():
            return [AdapterSpec({name!r}, "nowhere:Adapter", "Something else.", {api})]
    """


def frameworks(talea: Talea, **more: str) -> dict[str, dict[str, str]]:
    listed = json.loads(talea("frameworks", "--json", **more).stdout)
    return {info["name"]: info for info in listed}


def assert_all_else_works(talea: Talea) -> None:
    for framework in ("echo", "simple"):
        done = talea("run", "flow.yaml", "-f", framework, "--offline")
        assert done.returncode == 0, done.stderr


def test_a_strangers_framework_runs_workflows(talea: Talea) -> None:
    done = talea("run", "flow.yaml", "-f", "echo", "--offline")
    assert (done.returncode, done.stdout) == (0, "Polly 1, Polly 2\n"), done.stderr
    told = json.loads(talea("run", "flow.yaml", "-f", "echo", "--offline", "--json").stdout)
    assert told["versions"]["talea-echo"] == "0.3.0"
    assert told["reported"]["model_calls"] == 3
    assert frameworks(talea)["echo"]["status"] == "ready"


def test_what_a_strangers_framework_lacks_is_refused_with_its_reason(talea: Talea) -> None:
    done = talea("run", "team.yaml", "-f", "echo", "--offline")
    assert done.returncode == 3
    assert "t: team: an echo has nobody to delegate to" in done.stderr


def test_a_strangers_framework_keeps_to_the_language(talea: Talea) -> None:
    done = talea("conformance", "echo", "--json")
    found = json.loads(done.stdout)
    # It could run teams, which the kernel leads, and says that it does not: the kit notices.
    faults = [one for one in found["cases"] if one["verdict"] != "passed"]
    assert {one["verdict"] for one in faults} == {"stale"}
    assert all("an echo has nobody to delegate to" in str(one) for one in faults)
    assert done.returncode == 1
    assert found["counts"]["passed"] > 200


def test_a_broken_plugin_is_named_and_stops_nothing_else(talea: Talea, tmp_path: Path) -> None:
    install(tmp_path, "talea-bad", "import a_module_that_is_nowhere")
    bad = frameworks(talea)["bad"]
    assert bad["status"] == "broken"
    assert "a_module_that_is_nowhere" in bad["reason"]
    assert bad["hint"] == "pip install talea-bad"
    done = talea("run", "flow.yaml", "-f", "bad", "--offline")
    assert done.returncode == 2
    assert "talea-bad 0.1" in done.stderr
    assert_all_else_works(talea)


def test_an_unknown_api_version_is_named_and_stops_nothing_else(
    talea: Talea, tmp_path: Path
) -> None:
    install(tmp_path, "talea-future", adapters("future", api=99))
    done = talea("run", "flow.yaml", "-f", "future", "--offline")
    assert done.returncode == 2
    assert "it speaks version 99 of the adapter contract" in done.stderr
    assert "pip install --upgrade talea" in done.stderr
    assert_all_else_works(talea)


def test_a_conflict_names_both_distributions_when_it_is_chosen(
    talea: Talea, tmp_path: Path
) -> None:
    install(tmp_path, "another-echo", adapters("echo"), entry="another")
    done = talea("run", "flow.yaml", "-f", "echo", "--offline")
    assert done.returncode == 2
    assert "talea-echo 0.3.0" in done.stderr
    assert "another-echo 0.1" in done.stderr
    assert talea("run", "flow.yaml", "--offline").returncode == 0
    done = talea("run", "flow.yaml", "-f", "echo", "--offline", TALEA_PLUGINS="echo")
    assert done.returncode == 0, done.stderr


def test_a_missing_framework_tells_what_to_install(talea: Talea) -> None:
    done = talea("run", "flow.yaml", "-f", "ecko", "--offline")
    assert done.returncode == 2
    assert "unknown framework 'ecko'" in done.stderr
    assert "did you mean 'echo'?" in done.stderr
    done = talea("run", "flow.yaml", "-f", "crewai", "--offline", TALEA_PLUGINS="echo,simple")
    assert done.returncode == 2
    assert "crewai" in done.stderr
    assert "Hint: " in done.stderr


def test_a_framework_whose_own_package_is_missing_tells_what_to_install(
    talea: Talea, tmp_path: Path
) -> None:
    install(tmp_path, "talea-hollow", adapters("hollow"))
    assert frameworks(talea)["hollow"]["status"] == "ready"
    done = talea("run", "flow.yaml", "-f", "hollow", "--offline")
    assert done.returncode == 2
    assert "the framework 'hollow' (talea-hollow 0.1) cannot be imported" in done.stderr
    assert "No module named 'nowhere'" in done.stderr
    assert_all_else_works(talea)


def test_plugins_can_be_blocked_altogether(talea: Talea) -> None:
    found = frameworks(talea, TALEA_PLUGINS="none")
    assert {info["status"] for info in found.values()} <= {"blocked", "missing"}
    done = talea("run", "flow.yaml", "--offline", TALEA_PLUGINS="none")
    assert done.returncode == 2
    assert "TALEA_PLUGINS=none leaves it out" in done.stderr


def test_a_command_of_a_plugin_is_run_and_a_broken_one_is_told(
    talea: Talea, tmp_path: Path
) -> None:
    install(
        tmp_path,
        "talea-hello",
        """
        import click
        from talea.hookspecs import hookimpl

        @hookimpl
        def talea_commands(cli):
            @cli.command()
            def hello():
                click.echo("Hello.")
        """,
    )
    install(
        tmp_path,
        "talea-rude",
        """
        from talea.hookspecs import hookimpl

        @hookimpl
        def talea_commands(cli):
            raise RuntimeError("no commands from me")
        """,
    )
    done = talea("hello")
    assert (done.returncode, done.stdout) == (0, "Hello.\n")
    words = "the plugin 'rude' (talea-rude 0.1) failed in its hook talea_commands"
    assert words in done.stderr
    listed = talea("plugins").stdout
    assert "Commands: hello" in listed
    assert words in listed


def test_readers_checks_tools_and_sinks_of_plugins_take_part(talea: Talea, tmp_path: Path) -> None:
    install(
        tmp_path,
        "talea-house",
        """
        import tomllib
        from talea.errors import Issue
        from talea.events import TaskEnded
        from talea.hookspecs import hookimpl
        from talea.ir import Workflow

        @hookimpl
        def talea_readers():
            return {".toml": lambda path: Workflow.model_validate(tomllib.loads(path.read_text()))}

        @hookimpl
        def talea_check(workflow):
            if workflow.description is None:
                yield Issue("a house rule: describe your workflow", path="description")

        @hookimpl
        def talea_tools():
            return {"shout": lambda text: text.upper()}

        @hookimpl
        def talea_sinks(workflow, framework):
            return [lambda event: isinstance(event, TaskEnded) and print(f"seen {event.address}")]
        """,
    )
    text = 'name = "flow"\n[tools.shout]\n[tasks.a]\ntool = "shout"\nwith = {text = "hey"}\n'
    (tmp_path / "flow.toml").write_text(text)
    done = talea("validate", "flow.toml")
    assert done.returncode == 2
    assert "description: a house rule: describe your workflow" in done.stderr
    (tmp_path / "flow.toml").write_text(
        'description = "d"\n' + text + '[outputs]\nx = "{{ tasks.a.output }}"\n'
    )
    done = talea("run", "flow.toml")
    assert (done.returncode, done.stdout) == (0, "seen a\nHEY\n"), done.stderr
