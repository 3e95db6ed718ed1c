"""The page on the gateway: its programs run, its rules load, and its table has every field."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import pytest

from standing import environment, standing
from talea.gateway.faults import loads_faults
from talea.gateway.meter import Exchange

from .blocks import ROOT, Block, blocks_of

PAGE = ROOT / "docs" / "gateway.md"
CASSETTE = """\
talea_cassette: 1
tasks:
  call:
    - tool_calls: [{name: population, arguments: {city: Oslo}}]
    - content: "717,710 people."
  size:
    - content: Small.
"""
SAID = {"openai": "Small.\nSmall.\n"}


def programs() -> list[Block]:
    return [block for block in blocks_of(PAGE) if block.language == "python"]


@pytest.mark.parametrize("block", programs(), ids=lambda block: block.kind)
def test_programs_run(block: Block, tmp_path: Path) -> None:
    if not find_spec(block.kind):
        ast.parse(block.code)
        pytest.skip(f"{block.kind} is not installed")
    (tmp_path / "calls.yaml").write_text(CASSETTE)
    quiet = {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false"}
    with standing("--replay", "calls.yaml", cwd=tmp_path) as running:
        done = subprocess.run(
            [sys.executable, "-c", block.code],
            env={
                **environment(), **quiet, "HOME": str(tmp_path),
                "OPENAI_BASE_URL": running.url, "OPENAI_API_KEY": "none",
            },
            cwd=tmp_path, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
            encoding="utf-8",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == SAID.get(block.kind, "717,710 people.\n")


def test_rules_load() -> None:
    (block,) = [one for one in blocks_of(PAGE) if one.kind == "faults"]
    assert len(loads_faults(block.code, name=block.where).rules) == 3


def test_every_field_of_a_call_is_told_of() -> None:
    text = PAGE.read_text("utf-8")
    table = text[text.index("| field |") : text.index("## Faults")]
    told = {
        name.strip(" `")
        for line in table.splitlines()[2:]
        if line.startswith("|")
        for name in line.split("|")[1].split(",")
    }
    assert told == {field.name for field in fields(Exchange) if not field.name.startswith("_")}
