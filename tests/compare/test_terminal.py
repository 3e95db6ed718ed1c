"""What a person sees of a comparison in a terminal, which is a real one here."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

FLOW = """
talea: 1
name: plain
model: openai/any
agents: {writer: {}}
tasks: {a: {agent: writer, prompt: Say A.}, b: {agent: writer, prompt: Say B.}}
outputs: {a: "{{ tasks.a.output }}"}
"""


def seen(folder: Path, columns: int, *arguments: str) -> str:
    """Give what stands in a terminal in the end."""
    (folder / "flow.yaml").write_text(FLOW)
    mine, its = pty.openpty()
    offline = [] if "--replay" in arguments else ["--offline"]
    command = [sys.executable, "-m", "talea", "compare", "flow.yaml", "-f", "simple"]
    process = subprocess.Popen(
        [*command, "--repeat", "2", *offline, *arguments], cwd=folder, stdin=its, stdout=its, stderr=its,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
    )  # fmt: skip
    os.close(its)
    said = b""
    try:
        while more := os.read(mine, 65536):
            said += more
    except OSError:  # Linux tells so that nobody writes any more.
        pass
    os.close(mine)
    assert process.wait() == 0
    return said.decode()


@pytest.mark.parametrize("columns", [200, 60, 40])
def test_nothing_is_wider_than_the_terminal(tmp_path: Path, columns: int) -> None:
    said = seen(tmp_path, columns)
    told = said.split("\r\x1b[K")
    assert "starting simple" in told
    assert "simple: run 2 of 2" in told
    lines = told[-1].splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[0].split()[:3] == ["FRAMEWORK", "OK", "TIME"]
    assert ("MEMORY" in lines[0]) == (columns >= 60)
    assert re.search(r"^simple +2/2 +", lines[1])
    assert "All 2 runs succeeded" in " ".join(lines)


def test_cases_are_named_where_there_are_several(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text(
        '{"id": "one", "inputs": {}}\n{"id": "two", "inputs": {}}'
    )
    assert "simple: two, run 1 of 2" in seen(tmp_path, 80, "--inputs", "cases.jsonl")


def test_a_replay_tells_what_was_sent_and_not_what_was_recorded(tmp_path: Path) -> None:
    answer = "[{content: Words., repeat: true, usage: {input_tokens: 990, output_tokens: 77}}]"
    cassette = f"talea_cassette: 1\ntasks: {{a: {answer}, b: {answer}}}\n"
    (tmp_path / "tape.yaml").write_text(cassette)
    head, row = seen(tmp_path, 200, "--replay", "tape.yaml").split("\r\x1b[K")[-1].splitlines()[:2]
    assert head.split()[-2:] == ["CALLS", "PROMPTS"]
    assert re.search(r" 2 +\d+ chars$", row.rstrip())
    assert "990" not in row
