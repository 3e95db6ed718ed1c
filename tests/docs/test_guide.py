"""`docs/write-a-plugin.md` does what it says: its files, its commands, in its order."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from .blocks import ROOT, blocks_of, environment

GUIDE = ROOT / "docs" / "write-a-plugin.md"
Command = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the empty folder that the guide begins in."""
    found = tmp_path / "talea-mini"
    found.mkdir()
    return found


@pytest.fixture
def command(tmp_path: Path, folder: Path) -> Command:
    """Give what carries out a command of the guide, in an environment of its own."""
    environ = tmp_path / "environment"
    python = str(environ / "bin" / "python")
    run([sys.executable, "-m", "venv", "--without-pip", str(environ)])
    packages = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
    # What is installed here is there as well, editable distributions included.
    here = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (Path(packages.strip()) / "here.pth").write_text(here)
    uv = shutil.which("uv", path=sysconfig.get_path("scripts")) or shutil.which("uv")
    assert uv is not None, "uv installs the plugin"
    programs = {
        "pip install": [uv, "pip", "install", "--offline", "--no-deps", "--python", python],
        "talea": [python, "-m", "talea"],
        "pytest": [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
    }

    def carry_out(line: str) -> subprocess.CompletedProcess[str]:
        program = next(name for name in programs if line.startswith(f"{name} "))
        arguments = shlex.split(line.removeprefix(program))
        return subprocess.run(
            [*programs[program], *arguments],
            cwd=folder, env=environment(), capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, encoding="utf-8",
        )  # fmt: skip

    return carry_out


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def follow(folder: Path, command: Command) -> dict[str, str]:
    """Write the guide's files and carry out its commands, in order; give what each one showed."""
    shown: dict[str, str] = {}
    last = ""
    for block in blocks_of(GUIDE):
        if block.file is not None:
            path = folder / block.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.code, "utf-8")
        elif block.language == "sh":
            for last in block.code.splitlines():
                done = command(last)
                assert done.returncode == 0, f"{block}: {last}\n{done.stdout}{done.stderr}"
                shown[last] = done.stdout
        else:
            assert block.language == "text", f"{block} is neither a file, nor a command, nor shown"
            lines = [line.split() for line in shown[last].splitlines()]
            assert block.code.split() in lines, f"{block} is not what is shown:\n{shown[last]}"
    return shown


def test_the_guide_leads_to_a_passing_kit(folder: Path, command: Command) -> None:
    shown = follow(folder, command)
    assert re.fullmatch(r"mini: \d+ passed\n", shown["talea conformance mini"])
    one_lane = shown["talea conformance mini --option lanes=1"]
    assert re.fullmatch(r"mini: \d+ passed, \d+ late\n", one_lane)
    assert re.search(r"^\d+ passed in", shown["pytest tests"], re.MULTILINE)

    replay = "--tools tools.py --replay cassette.yaml --json"
    done = json.loads(command(f"talea run flow.yaml --framework mini {replay}").stdout)
    assert [done["tasks"][name]["attempts"] for name in ("facts", "risk")] == [3, 2]
    assert done["usage"]["model_calls"] == 7
    for option in ("lane=1", "lanes=0", "lanes=x"):
        refused = command(f"talea explain flow.yaml --framework mini --option {option}")
        assert refused.returncode == 2
        assert "lanes" in refused.stderr
