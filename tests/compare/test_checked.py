"""Cases, checks and gates from the command on: a whole comparison, and what it exits with."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from talea.cli import main
from talea.compare import Comparison

FLOW = """
talea: 1
name: flow
model: openai/any
inputs: {topic: {type: string, minLength: 1}}
agents: {writer: {}}
tools: {end: {}}
tasks:
  brief: {agent: writer, prompt: "Write about {{ inputs.topic }}."}
  stop: {tool: end, when: inputs.topic == 'the end', on_resume: fail}
  fit: {value: "{{ inputs.topic }}", output: {type: string, maxLength: 10}}
outputs:
  brief: "{{ tasks.brief.output }}"
  topic: "{{ tasks.fit.output }}"
"""
TOOLS = """
import os

def end():
    os.kill(os.getpid(), 9)

def has_topic(outputs):
    assert outputs["topic"] in outputs["brief"], "it is not about its topic"

def is_long(text):
    return len(text) > 1000, f"{len(text)} characters"
"""
CASSETTE = """
talea_cassette: 1
tasks:
  brief: [{content: A word on tea., repeat: true}]
  judge: [{content: {verdict: true, reason: It greets.}}]
  judge_2: [{content: {verdict: false, reason: It is short.}}]
"""
CASES = """
- id: tea
  inputs: {topic: tea}
  expect:
    - outputs.topic == inputs.topic and run.model_calls == 1
    - {path: outputs.brief, contains: tea}
    - {check: has_topic}
    - {judge: Is it polite?, path: outputs.brief}
- id: too-long
  inputs: {topic: far too long a topic}
  expect: [{status: failed, error: invalid_output}]
- id: killed
  inputs: {topic: the end}
  expect: [{status: failed, error: worker_died}]
"""
Talea = Callable[..., int]


@pytest.fixture
def talea(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Talea:
    """Give a function that runs `talea compare` in a folder with the files above."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "flow.yaml": FLOW,
        "tools.py": TOOLS,
        "cassette.yaml": CASSETTE,
        "cases.yaml": CASES,
    }.items():
        (tmp_path / name).write_text(text)

    def compare(*args: str) -> int:
        with pytest.raises(SystemExit) as ended:
            usual = ["flow.yaml", "-f", "simple", "--tools", "tools.py", "--warmup", "0"]
            main(["compare", *usual, "--replay", "cassette.yaml", "--repeat", "1", *args])
        return int(ended.value.code or 0)

    return compare


def test_every_kind_of_check_passes_where_it_holds(talea: Talea) -> None:
    done = talea("--inputs", "cases.yaml", "--fail-under", "1", "-o", "a.json", "-o", "a.xml")
    found = Comparison.read("a.json")
    assert [(run.case, run.passed) for run in found.runs] == [
        ("tea", True),
        ("too-long", True),
        ("killed", True),
    ]
    assert [verdict.why for verdict in found.runs[0].verdicts] == [None, None, None, "It greets."]
    assert done == 0
    root = ET.parse("a.xml").getroot()
    assert (root.get("failures"), root.get("errors")) == ("0", "0")
    assert root.get("tests") == "10"


def test_every_kind_of_check_fails_where_it_does_not(
    talea: Talea, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "expect.yaml").write_text("""
- outputs.brief == ''
- {path: outputs.brief, contains: coffee}
- {check: is_long, path: outputs.brief}
- {judge: Is it polite?, path: outputs.brief}
- {judge: Is it long?, path: outputs.brief}
- {status: failed}
""")
    assert talea("-i", "topic=tea", "--expect", "expect.yaml", "-o", "a.json") == 0
    [run] = Comparison.read("a.json").runs
    assert [(verdict.passed, verdict.why) for verdict in run.verdicts] == [
        (False, 'outputs.brief is "A word on tea."'),
        (False, '"coffee" is not in "A word on tea."'),
        (False, "14 characters"),
        (True, "It greets."),
        (False, "It is short."),
        (False, "the run succeeded"),
    ]
    capsys.readouterr()
    gates = ("--fail-under", "50%", "-o", "a.xml")
    assert talea("-i", "topic=tea", "--expect", "expect.yaml", *gates) == 1
    assert "FAILED  simple: 0 of 1 runs passed (0%)" in capsys.readouterr().err
    assert ET.parse("a.xml").getroot().get("failures") == "6"


def test_all_that_is_wrong_is_told_before_anything_runs(
    talea: Talea, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cases.jsonl").write_text(
        '{"topic": ""}\n{"inputs": {"topic": "a"}, "expect": [{"check": "has_topics"}]}\n'
    )
    assert talea("--inputs", "cases.jsonl", "-o", "a.json") > 1
    told = capsys.readouterr().err
    assert "cases.jsonl:1:11" in told
    assert "cases.jsonl:2:49" in told
    assert "did you mean 'has_topic'?" in told
    assert not Path("a.json").exists()


def test_a_planted_regression_fails_the_build(
    talea: Talea, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talea("-i", "topic=tea", "-o", "earlier.json") == 0
    against = ("--baseline", "earlier.json", "--regress-on", "model_calls,prompt_characters")
    assert talea("-i", "topic=tea", *against) == 0
    longer = FLOW.replace("Write about", "Write, with all that comes to your mind, about")
    (tmp_path / "flow.yaml").write_text(longer)
    capsys.readouterr()
    assert talea("-i", "topic=tea", *against, "-o", "a.md", "--markdown") == 1
    said = capsys.readouterr()
    assert "FAILED  simple: prompt characters:" in said.err
    assert "the workflow has changed" in said.err
    for text in (said.out, Path("a.md").read_text()):
        assert "**FAILED** simple: prompt characters:" in text
        assert "compared with earlier.json of" in text


def test_what_cannot_be_judged_is_refused_before_anything_runs(
    talea: Talea, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talea("-i", "topic=tea", "-o", "earlier.json") == 0
    capsys.readouterr()

    def told(*args: str, topic: str = "tea") -> str:
        assert talea("-i", f"topic={topic}", "--baseline", "earlier.json", "-o", "a.xml", *args) > 1
        assert not Path("a.xml").exists()
        said = capsys.readouterr().err
        assert "starting" not in said
        return said

    assert "prompt_characters tells how much is sent" in told("--regress-on", "tokens")
    assert "where nobody waits for a model, framework says" in told("--regress-on", "overhead")
    assert "there are 1" in told("--regress-on", "duration")
    assert "no case with the same id, inputs" in told(topic="coffee")
    (tmp_path / "flow.yaml").write_text(FLOW.replace("name: flow", "name: other"))
    assert "the baseline is of the workflow 'flow', and this is 'other'" in told()


@pytest.mark.parametrize(
    ("gates", "said"),
    [
        (("--regress-on", "tokens"), "--regress-on has nothing to compare with"),
        (("--max-regression", "10%"), "--max-regression has nothing to compare with"),
        (("--fail-under", "150%"), "'150%' is more than there can be"),
    ],
    ids=["no baseline", "none to be worse than", "more than all"],
)
def test_gates_that_guard_nothing_are_refused_before_anything_runs(
    talea: Talea, capsys: pytest.CaptureFixture[str], gates: tuple[str, str], said: str
) -> None:
    assert talea("-i", "topic=tea", "-o", "a.json", *gates) > 1
    assert said in capsys.readouterr().err
    assert not Path("a.json").exists()
