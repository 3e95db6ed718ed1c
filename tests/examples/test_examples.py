"""Every example runs as its first lines say, by the real command line and through the Python API."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import talea
from talea.events import AgentChosen, RunEnded, Status, TextStreamed, ToolCalled
from talea.tools import load_tools

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
WORKFLOWS = sorted(EXAMPLES.glob("*/*.yaml"), key=str)
DOCUMENTS = [path for path in WORKFLOWS if path.name != "cassette.yaml"]


@pytest.fixture(autouse=True)
def _own_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let tools files of the same name not meet each other."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    yield
    sys.modules.pop("tools", None)


def command(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `talea …` from the repository's root, as a reader of the examples does."""
    environment = {key: text for key, text in os.environ.items() if key != "OPENAI_API_KEY"}
    return subprocess.run(
        [sys.executable, "-m", "talea", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
        stdin=subprocess.DEVNULL, encoding="utf-8",
    )  # fmt: skip


def told_command(path: Path) -> list[str]:
    """Give the arguments of the command that the comment at the top of a workflow tells."""
    lines = [line[1:] for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
    told = re.search(r"^ +talea (run (?:.*\\\n)*.*)$", "\n".join(lines), re.MULTILINE)
    assert told, f"{path} does not tell how it is run"
    return shlex.split(told[1].replace("\\\n", " "))


def run(folder: str, inputs: Any = None, **settings: Any) -> talea.Result:
    """Run an example in this process, with its own tools and cassette."""
    return talea.run(EXAMPLES / folder / "workflow.yaml", inputs, **own(folder), **settings)


def own(folder: str) -> dict[str, Any]:
    tools, cassette = (EXAMPLES / folder / name for name in ("tools.py", "cassette.yaml"))
    found: dict[str, Any] = {}
    if tools.exists():
        found["tools"] = load_tools(str(tools))
    if cassette.exists():
        found["replay"] = cassette
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_told_command_succeeds(path: Path) -> None:
    done = command([*told_command(path), "--json"])
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "succeeded"
    assert told["outputs"]


def test_every_example_is_told_of() -> None:
    listed = set(
        re.findall(r"\]\((\d\d_\w+(?:\.py)?)", (EXAMPLES / "README.md").read_text("utf-8"))
    )
    assert listed == {path.name for path in EXAMPLES.iterdir() if re.match(r"\d\d_", path.name)}


def test_market_brief_prints_its_brief() -> None:
    done = command(told_command(EXAMPLES / "01_market_brief/workflow.yaml"))
    assert done.returncode == 0
    assert done.stdout.startswith("# Market brief: grid batteries\n\n**In short.**")
    assert "Power Desk, 2026-04-23: Evening spreads narrow as fleets grow (EU-107)" in done.stdout
    assert "not advice to buy" in done.stdout


def test_market_brief_asks_and_waits() -> None:
    told = told_command(EXAMPLES / "01_market_brief/workflow.yaml")
    done = command([text for text in told if "approve" not in text and text != "--answer"])
    assert done.returncode == 4
    assert "--answer 'approve=true'" in done.stderr
    assert done.stdout == ""


def test_market_brief_is_not_published_against_the_answer() -> None:
    result = run("01_market_brief", answers={"approve": False})
    assert result.succeeded
    assert result.tasks["publish"].status is Status.SKIPPED
    assert result.outputs == {"brief": "Not published."}


def test_market_brief_skips_the_lawyer_where_nothing_is_risky() -> None:
    workflow = EXAMPLES / "01_market_brief/workflow.yaml"
    tools = own("01_market_brief")["tools"]
    result = talea.run(workflow, offline=True, tools=tools, answers={"approve": True})
    assert result.tasks["legal"].status is Status.SKIPPED
    assert result.tasks["publish"].status is Status.SUCCEEDED


async def _events(folder: str, **settings: Any) -> list[Any]:
    flow = EXAMPLES / folder / "workflow.yaml"
    return [event async for event in talea.stream(flow, **own(folder), **settings)]


def test_market_brief_calls_its_tools_and_streams() -> None:
    import asyncio

    events = asyncio.run(_events("01_market_brief", answers={"approve": True}))
    called = [(event.address, event.tool) for event in events if isinstance(event, ToolCalled)]
    assert sorted(called) == [
        ("legal", "legal_check"),
        *((f"notes[{i}]", tool) for i in range(3) for tool in ("price_index", "search")),
    ]
    assert not any(event.error for event in events if isinstance(event, ToolCalled))
    pieces = [
        e.text for e in events if isinstance(e, TextStreamed) and e.address == "polish#1/brief"
    ]
    assert len(pieces) > 5
    assert "".join(pieces).startswith("**In short.**")
    assert isinstance(events[-1], RunEnded)


def test_market_brief_cites_what_its_search_finds() -> None:
    """The cassette's notes cite the very articles that the recorded queries find."""
    import yaml

    tools = own("01_market_brief")["tools"]
    cassette = yaml.safe_load((EXAMPLES / "01_market_brief/cassette.yaml").read_text("utf-8"))
    for key in ("notes[0]", "notes[1]", "notes[2]"):
        asks, answers = cassette["tasks"][key]
        search, index = asks["tool_calls"]
        found = {article["id"] for article in tools["search"](**search["arguments"])}
        cited = {source[-7:-1] for source in answers["content"]["sources"]}
        assert cited == found
        change = abs(tools["price_index"](**index["arguments"])["change_percent"])
        assert f"{change} percent" in answers["content"]["summary"]


def test_data_pipeline_finds_what_is_wrong(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    result = run("02_data_pipeline", {"report": str(report)})
    assert result.usage.model_calls == 0
    clean = result.tasks["clean"].output
    assert (len(clean["rows"]), clean["mended"], len(clean["dropped"])) == (249, 3, 5)
    outliers = result.tasks["totals"].output["outliers"]
    assert [(one["site"], one["time"]) for one in outliers] == [
        ("library", "2026-03-06T22:00"),
        ("pool", "2026-03-07T02:00"),
    ]
    assert report.read_text("utf-8") == result.outputs["report"]


def test_data_pipeline_is_calm_where_nothing_stands_out() -> None:
    result = run("02_data_pipeline", {"tolerated": 2})
    assert result.tasks["alarm"].status is Status.SKIPPED
    assert "Nothing stands out." in result.outputs["report"]


def test_sequential_goes_from_top_to_bottom() -> None:
    result = run("03_sequential")
    assert result.tasks["refund"].status is Status.SKIPPED
    started = [task.started for task in result.tasks.values() if task.started is not None]
    assert started == sorted(started)
    assert result.tasks["file"].output == ["replacement, answered"]


def test_sequential_ends_at_a_failure() -> None:
    def find_order(number: str) -> None:
        raise talea.TaskError("invalid_arguments", f"there is no order {number!r}")

    tools = {**own("03_sequential")["tools"], "find_order": find_order}
    flow, cassette = (
        EXAMPLES / "03_sequential" / name for name in ("workflow.yaml", "cassette.yaml")
    )
    result = talea.run(flow, tools=tools, replay=cassette)
    assert result.status is Status.FAILED
    assert (result.error.address, result.error.type) == ("order", "invalid_arguments")
    assert result.tasks["file"].attempts == 0


def test_parallel_makes_up_for_faults() -> None:
    result = run("04_parallel")
    assert result.tasks["reviews/cost"].attempts == 2
    assert result.tasks["reviews/operations"].recovered
    assert result.outputs["operations"] == "No review: server_error."
    assert result.outputs["accepted"] is False


def test_nested_repeats_only_what_was_not_good() -> None:
    result = run("05_nested")
    assert [page["good"] for page in result.outputs["pages"]] == [True, True]
    assert result.tasks["localise[0]/polish/translate"].attempts == 2
    assert result.tasks["localise[1]/polish/translate"].attempts == 1
    assert result.outputs["problem"] is None
    assert result.tasks["close"].output == "closed"


def test_nested_handles_a_failure() -> None:
    result = run(
        "05_nested", {"languages": ["de", "fr", "it"]}
    )  # Nothing is recorded for the last.
    assert result.succeeded
    assert result.tasks["localise"].status is Status.FAILED
    assert "localise[2]/polish#0/translate" in result.outputs["problem"]
    assert result.tasks["close"].status is Status.SUCCEEDED


def script(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pools_hand_a_letter_over_and_stay_within_bounds() -> None:
    import asyncio

    events = asyncio.run(_events("09_pools"))
    chosen = [(event.address, event.agent) for event in events if isinstance(event, AgentChosen)]
    first, then = (agent for address, agent in chosen if address == "english[1]")
    assert {first, then} == {"anna", "bert"}
    assert ("french[0]", "chloe") in chosen
    assert all(
        event.loads.get("bert", 0) == 0 for event in events
        if isinstance(event, AgentChosen) and event.agent == "bert"
    )  # fmt: skip


def test_python_api() -> None:
    told = script("06_python_api.py").splitlines()
    assert told[:2] == [
        "order called stock",
        "confirm asks: Order 28 boards? 40 are needed, and 12 are in stock.",
    ]
    assert sum(line.startswith("letter: '") for line in told) > 1
    assert told[-3:] == [
        "Dear sawmill, please send us 28 boards of oak, planed, by Friday. Thank you.",
        "3 model calls, 1 attempt",
        "compiled for simple: Schedule",
    ]


READY = [info.name for info in talea.frameworks() if info.status == "ready"]


def test_comparison(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    told = script("07_compare.py", "examples/03_sequential", "--repeat", "2", "--out", str(out))
    for name in READY:
        assert re.search(rf"^{name} +2/2 +\S+ s, of which \S+ s framework$", told, re.MULTILINE)
    assert f"All {2 * len(READY)} runs succeeded" in told
    assert out.read_text("utf-8").startswith("<!doctype html>")


def test_comparison_under_faults() -> None:
    told = script("11_compare_faults.py")
    parts = dict(part.split("\n", 1) for part in told.strip().split("\n\n"))
    ends = {
        "none": ("succeeded", 2, 0),
        "the first draft meets a rate limit": ("succeeded", 3, 1),
        "two drafts break off": ("succeeded", 4, 2),
        "no draft ever comes": ("failed: server_error", 3, 2),
        "titles are garbage": ("succeeded", 2, 0),
    }
    assert parts.keys() == ends.keys()
    for name, (end, calls, retries) in ends.items():
        for framework in READY:
            line = rf"^  {framework} +{end} +{calls} calls, {retries} retries"
            assert re.search(line, parts[name], re.MULTILINE), parts[name]


def test_comparison_of_parallelism() -> None:
    told = script("12_cost_of_parallelism.py", "--items", "2", "--repeat", "1")
    assert told.count("at a time") == 2
    for name in READY:
        assert len(re.findall(rf"^  {name} +\S+ s, \S+ × the model", told, re.MULTILINE)) == 2
