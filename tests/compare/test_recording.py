"""Recordings of comparisons with models that are asked for real, over HTTP: what is kept of them,
what it gives when it is played, and what frameworks cost once nobody waits for a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from talea import DocumentError, UsageError, frameworks, loads
from talea.cli import main
from talea.compare import Comparison, compare
from talea.gateway.cassette import Fault, TokenUsage, ToolCall, Turn, load_cassette
from talea.gateway.chat import Call
from talea.gateway.server import Gateway

INSTALLED = [info.name for info in frameworks() if info.status == "ready" and info.name != "echo"]
KEY = "sk-canary-7d20c1b94e"
FLOW = """
talea: 1
name: flow
model: openai/gpt-5-mini
inputs: {topic: {type: string}}
tools: {look: {description: Look.}}
agents: {writer: {tools: [look]}}
tasks: {write: {agent: writer, prompt: "Write about {{ inputs.topic }}."}}
outputs: {text: "{{ tasks.write.output }}"}
"""
TOOLS = """
from pathlib import Path

def look() -> str:
    with Path(__file__).with_name("looked").open("a") as file:
        file.write("x")
    return "seen"
"""
CASES = [{"id": "Green tea", "inputs": {"topic": "tea"}}, {"id": "b", "inputs": {"topic": "oak"}}]


class Provider:
    """A server that never says the same twice, takes its time, and knows nothing of tasks."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False

    def answer(self, call: Call) -> Turn:
        """Call the tool first; then answer, or judge."""
        self.asked += 1
        messages = call.request.messages
        used = TokenUsage(input_tokens=100, output_tokens=9)
        if self.fails:
            return Turn(fault=Fault(status=401, message="no"))
        if "The question:" in messages[-1].text:
            return Turn(content={"verdict": True, "reason": f"reason {self.asked}"}, usage=used)
        if any(message.role == "tool" for message in messages):
            return Turn(content=f"answer {self.asked}", usage=used, fault=Fault(delay=0.05))
        return Turn(tool_calls=(ToolCall(name="look"),), usage=used)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    own = Provider()
    with Gateway(own) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url("any", "any"))
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield own


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tools.py").write_text(TOOLS)
    Path("flow.yaml").write_text(FLOW)
    return tmp_path


def measure(**settings: Any) -> Comparison:
    given: dict[str, Any] = {"frameworks": ["simple"], "repeat": 1, "warmup": 0, **settings}
    if "cases" not in given:
        given["inputs"] = {"topic": "tea"}
    return compare(loads(FLOW), tools="tools.py", **given)


def test_overhead_is_measured_without_asking_anybody(folder: Path, provider: Provider) -> None:
    found = measure(frameworks=INSTALLED, repeat=3)
    assert {run.status for run in found.runs} == {"succeeded"}
    assert found.notes == ()
    assert provider.asked == 2 * len(found.runs)
    assert len(Path("looked").read_text()) == len(found.runs)
    assert [(one.framework, one.case, one.repeat) for one in found.overhead] != []
    made = sorted((one.framework, one.repeat) for one in found.overhead)
    assert made == sorted((name, repeat) for name in INSTALLED for repeat in range(3))
    for one in found.overhead:
        assert one.split.whole == pytest.approx(one.duration)
        assert one.split.framework > 0
        assert one.cpu > 0
    assert Comparison.from_json(found.to_json()) == found


def test_what_goes_wrong_on_purpose_tells_nothing_of_overhead(
    folder: Path, provider: Provider
) -> None:
    Path("faults.yaml").write_text("talea_faults: 1\nrules: [{turns: [9], fault: {status: 500}}]\n")
    assert measure(faults="faults.yaml").overhead == ()
    assert provider.asked == 2
    assert measure(offline=True).overhead == ()
    assert provider.asked == 2


@pytest.mark.parametrize("offline", [True, False])
def test_a_fault_that_answers_in_a_models_place_costs_nothing(
    folder: Path, provider: Provider, offline: bool
) -> None:
    rules = "talea_faults: 1\nrules: [{fault: {garbage: true}}]\n"
    Path("faults.yaml").write_text(rules)
    found = measure(frameworks=INSTALLED, offline=offline, faults="faults.yaml")
    calls = [call for run in found.runs for call in run.calls]
    assert {(call.fault, call.cost) for call in calls} == {("garbage", 0.0)}
    assert provider.asked == 0


def test_a_recording_plays_on_every_framework(folder: Path, provider: Provider) -> None:
    made = measure(repeat=2, record="it.yaml", record_tools=True)
    assert made.settings.recorded == "it.yaml"
    assert made.runs[0].outputs == {"text": "answer 2"}
    asked, looked = provider.asked, Path("looked").read_text()
    assert KEY not in Path("it.yaml").read_text()
    again = measure(frameworks=INSTALLED, replay="it.yaml", repeat=2)
    assert [run.outputs for run in again.runs] == [{"text": "answer 2"}] * 2 * len(INSTALLED)
    assert provider.asked == asked
    assert Path("looked").read_text() == looked


def test_tools_are_recorded_where_that_is_wanted(folder: Path, provider: Provider) -> None:
    measure(record="it.yaml")
    assert load_cassette("it.yaml").tools is None
    measure(record="it.yaml", record_tools=True)
    assert set(load_cassette("it.yaml").tools or {}) == {"write"}


def test_several_cases_are_a_folder_with_what_judges_said(folder: Path, provider: Provider) -> None:
    expect = [{"judge": "Is it polite?"}, {"path": "outputs.text", "contains": "answer"}]
    made = measure(cases=CASES, expect=expect, record="them", repeat=2)
    assert sorted(path.name for path in Path("them").iterdir()) == [
        "b.yaml", "green-tea-e2029462.yaml",
    ]  # fmt: skip
    with pytest.raises(SystemExit) as checked:
        main(["cassette", "check", "them", "--workflow", "flow.yaml"])
    assert not checked.value.code
    first = {run.case: run for run in made.runs if run.repeat == 0}
    again = measure(cases=CASES, expect=expect, replay="them")
    for run in again.runs:
        assert run.outputs == first[run.case].outputs
        assert [(one.passed, one.why) for one in run.verdicts] == [
            (one.passed, one.why) for one in first[run.case].verdicts
        ]
        used = run.verdicts[0].used
        assert used is not None
        assert (used.input_tokens, used.output_tokens) == (100, 9)
        assert run.used.model_calls == 2
    assert len({run.verdicts[0].why for run in again.runs}) == 2


def test_a_run_that_failed_is_recorded_where_none_went_well(
    folder: Path, provider: Provider
) -> None:
    provider.fails = True
    found = measure(record="it.yaml")
    assert found.runs[0].status == "failed"
    assert found.notes == ("no run of the case 'case' succeeded: a failed one was recorded",)
    again = measure(replay="it.yaml")
    assert again.runs[0].error == found.runs[0].error
    assert again.overhead == ()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"cases": CASES, "record": "it.yaml"}, UsageError, "there are 2 cases"),
        ({"cases": CASES, "record": "flow.yaml"}, UsageError, "there are 2 cases"),
        ({"record": "none/it.yaml"}, UsageError, "does not exist"),
        ({"record_tools": True}, UsageError, "nothing says where"),
        ({"replay": ".", "cases": CASES}, UsageError, "no cassette for the case 'Green tea' and 1"),
        ({"replay": "flow.yaml"}, DocumentError, "talea_cassette"),
        ({"replay": "lost.yaml"}, DocumentError, "cannot be read"),
        ({"offline": True, "faults": "faults.yaml"}, DocumentError, "did you mean 'write'"),
    ],
)
def test_what_cannot_be_is_refused_before_any_run(
    folder: Path, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    Path("faults.yaml").write_text("talea_faults: 1\nrules: [{at: writes, fault: {status: 500}}]\n")
    with pytest.raises(error, match=words):
        measure(**settings)


def test_a_judge_that_cannot_be_asked_is_told_before_any_run(
    folder: Path, provider: Provider
) -> None:
    check = {"judge": "Is it polite?", "model": "anthropic/any"}
    with pytest.raises(UsageError, match="to judge.*ANTHROPIC_API_KEY"):
        measure(cases=[{"inputs": {"topic": "tea"}, "expect": [check]}])
    assert provider.asked == 0
    assert measure(cases=[{"inputs": {"topic": "tea"}, "expect": [check]}], offline=True).runs


def test_the_command_records_and_says_where(
    folder: Path, provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ["compare", "flow.yaml", "-f", "simple", "--tools", "tools.py", "-i", "topic=tea"]
    with pytest.raises(SystemExit) as ended:
        main([*usual, "--repeat", "1", "--warmup", "0", "--record", "it.yaml", "--record-tools"])
    assert ended.value.code == 0
    assert "Recorded: it.yaml" in capsys.readouterr().err
    assert load_cassette("it.yaml").tools is not None
