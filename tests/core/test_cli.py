"""The command line as people and scripts meet it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from talea.cli import COMMANDS, main
from talea.cli.terminal import clean, to_json

FLOW = """
talea: 1
name: demo
model: openai/gpt-5-mini
inputs:
  topic: {type: string}
  count: {type: integer, default: 1}
tools: {twice: {}}
agents: {writer: {}}
tasks:
  write: {agent: writer, prompt: "On {{ inputs.topic }}"}
  double: {tool: twice, with: {number: "{{ inputs.count }}"}}
outputs:
  text: "{{ tasks.write.output }}"
  number: "{{ tasks.double.output }}"
"""
TOOLS = """
def twice(number: int) -> int:
    return 2 * number
"""
CASSETTE = """
talea_cassette: 1
tasks:
  write: [{content: "Cats sleep.", usage: {input_tokens: 7, output_tokens: 3, cost: 0.5}}]
"""
ASKING = """
talea: 1
name: asking
tasks:
  allowed: {ask: "May we?", output: {type: boolean}}
  tone: {ask: "Which tone?", output: {enum: [dry, warm]}}
outputs: {said: "{{ tasks.allowed.output }} {{ tasks.tone.output }}"}
"""
APPROVING = """
talea: 1
name: approving
on_failure: continue
tools: {send: {approve: true}, drop: {approve: true}, look: {}}
tasks:
  a: {tool: send, with: {to: ann, text: "Hello\\nAnn"}}
  b: {for_each: [1], tool: drop, with: {id: "{{ item }}"}}
outputs: {said: "{{ tasks.a.output }}, {{ tasks.b.output[0] }}"}
"""
DESK = """
def send(to: str, text: str) -> str:
    return f"{len(text)} to {to}"
def drop(id: int) -> str:
    return f"dropped {id}"
def look() -> str:
    return ""
"""
FAILING = """
talea: 1
name: failing
on_failure: continue
tools: {broken: {}}
tasks:
  first: {tool: broken}
  then: {value: "{{ tasks.first.output }}"}
"""


@dataclass
class Done:
    code: int
    out: str
    err: str


Talea = Callable[..., Done]


@pytest.fixture
def talea(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Talea:
    """Give a function that runs the command line in a folder with the files above."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "flow.yaml": FLOW,
        "tools.py": TOOLS,
        "cassette.yaml": CASSETTE,
        "asking.yaml": ASKING,
        "approving.yaml": APPROVING,
        "desk.py": DESK,
        "failing.yaml": FAILING,
        "broken.py": "def broken() -> str:\n    raise RuntimeError('it broke')\n",
    }.items():
        (tmp_path / name).write_text(text)

    def invoke(*args: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(args)
        captured = capsys.readouterr()
        code = ended.value.code
        return Done(code if isinstance(code, int) else int(code is not None), *captured)

    return invoke


RUN = ("run", "flow.yaml", "-i", "topic=cats", "--tools", "tools.py", "--replay", "cassette.yaml")


def test_outputs_go_to_stdout_and_all_else_to_stderr(talea: Talea) -> None:
    done = talea(*RUN, "-i", "count=4")
    assert done.code == 0
    assert json.loads(done.out) == {"text": "Cats sleep.", "number": 8}
    assert re.search(r"\d\.\d\ds  write succeeded \(.*writer, 7 \+ 3 tokens\)", done.err)
    assert re.search(r"demo succeeded after .* on simple, 1 model call, 7 \+ 3 tokens", done.err)


def test_a_lone_text_is_printed_as_text(talea: Talea, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "talea: 1\nname: one\ntasks: {a: {value: hello}}\noutputs: {x: '{{ tasks.a.output }}'}\n"
    )
    assert talea("run", "one.yaml").out == "hello\n"


def test_json_is_one_object_of_all_that_happened(talea: Talea) -> None:
    done = talea(*RUN, "--json")
    assert done.err == ""
    told = json.loads(done.out)
    assert list(told) == [
        "talea", "run", "framework", "versions", "status", "outputs", "tasks", "usage", "reported",
        "agents", "calls", "error", "questions", "notes",
    ]  # fmt: skip
    assert (told["talea"], told["framework"], told["status"]) == (1, "simple", "succeeded")
    assert told["error"] is None
    assert {"talea", "talea-simple", "openai", "python"} <= set(told["versions"])
    assert list(told["tasks"]) == ["write", "double"]
    write = told["tasks"]["write"]
    assert set(write) >= {
        "status", "reason", "output", "error", "attempts", "agent", "started", "ended", "usage",
    }  # fmt: skip
    assert (write["agent"], write["attempts"], write["output"]) == ("writer", 1, "Cats sleep.")
    assert 0 <= write["started"] <= write["ended"]
    assert told["usage"]["model_calls"] == 1
    assert told["agents"] == {"writer": told["usage"]}
    assert set(told["usage"]) == {"model_calls", "input_tokens", "output_tokens", "cost"}


def test_a_failed_run_names_the_address_and_the_error(talea: Talea) -> None:
    done = talea("run", "failing.yaml", "--tools", "broken.py")
    assert done.code == 1
    assert done.out == ""
    assert "Error: first: tool_error: " in done.err
    assert "it broke" in done.err
    assert re.search(r"! then +upstream_failed +because of first", done.err)
    told = json.loads(talea("run", "failing.yaml", "--tools", "broken.py", "--json").out)
    assert told["status"] == "failed"
    assert (told["error"]["type"], told["error"]["address"]) == ("tool_error", "first")
    assert told["tasks"]["then"]["status"] == "upstream_failed"
    assert told["outputs"] is None


def test_what_a_fallback_made_up_for_is_told(talea: Talea, tmp_path: Path) -> None:
    (tmp_path / "saved.yaml").write_text(
        "talea: 1\nname: saved\ntools: {broken: {}}\n"
        "tasks: {a: {for_each: [1], loop: {max: 1, exhausted: keep}, tool: broken, fallback: x}}\n"
    )
    done = talea("run", "saved.yaml", "--tools", "broken.py")
    assert done.code == 0
    assert re.search(r"a\[0\] failed, its fallback stands in: tool_error: .*it broke", done.err)
    assert "recovered by its fallback" in done.err


def test_a_run_that_waits_says_what_to_type(talea: Talea) -> None:
    done = talea("run", "asking.yaml")
    assert done.code == 4
    assert "May we?" in done.err
    assert "--answer 'allowed=true'" in done.err
    assert "--answer 'tone=dry'" in done.err
    assert "one of dry, warm" in done.err
    done = talea("run", "asking.yaml", "--answer", "allowed=true", "--answer", "tone=warm")
    assert (done.code, done.out) == (0, "true warm\n")


def test_a_question_of_a_run_that_failed_is_not_asked_any_more(
    talea: Talea, tmp_path: Path
) -> None:
    (tmp_path / "both.yaml").write_text(
        "talea: 1\nname: both\ntools: {broken: {}}\ntasks:\n"
        "  q: {for_each: [1, 2], ask: 'May we?'}\n  b: {tasks: {q2: {ask: 'And we?'}}}\n"
        "  a: {tool: broken}\n"
    )
    done = talea("run", "both.yaml", "--tools", "broken.py")
    assert done.code == 1
    assert "q[0] asks: May we?" in done.err
    assert "--answer" not in done.err


def test_an_answer_that_does_not_fit_leaves_the_question_open(talea: Talea) -> None:
    done = talea("run", "asking.yaml", "--answer", "allowed=true", "--answer", "tone=loud")
    assert done.code == 4
    assert "The last answer did not fit: " in done.err
    assert "loud" in done.err


APPROVE = ("run", "approving.yaml", "--tools", "desk.py")


def test_calls_that_wait_are_shown_in_full_with_what_to_type(talea: Talea) -> None:
    done = talea(*APPROVE)
    assert done.code == 4
    asked = """\
a/send asks:
  Call send with these arguments?
    to: "ann"
    text:
      | Hello
      | Ann
  Answer with: --answer 'a/send=true'
  It is true to allow the call, {"arguments": {…}} to change it, or {"refuse": "why"}."""
    assert asked in done.err
    assert "--answer 'b[0]/drop=true'" in done.err


@pytest.mark.parametrize(
    ("answers", "code", "told"),
    [
        (("a/send=true", "b/drop=true"), 0, "9 to ann, dropped 1"),
        (("a/send=true", 'b[0]/drop={"arguments": {"id": 2}}'), 0, "9 to ann, dropped 2"),
        (("a/send=true", 'b/drop={"refuse": "not that"}'), 1, "denied: a person refused this call"),
        (
            ("a/send=true", 'b/drop={"arguments": {"id": "x"}}'),
            4,
            "did not fit: arguments: at `id`",
        ),
        (("a/send=yes",), 2, "'yes' is no answer to the call that 'a/send' asks about"),
        (("a/send=false",), 2, """Hint: answer true, {"arguments": {…}} to call it otherwise"""),
        (("a/look=true",), 2, "nothing is asked at 'a/look'"),
        (("b/send=true",), 2, "Hint: did you mean 'a/send'?"),
        (("a=true",), 2, "nothing is asked at 'a'"),
    ],
)
def test_calls_are_answered_on_the_command_line(
    talea: Talea, answers: tuple[str, ...], code: int, told: str
) -> None:
    done = talea(*APPROVE, *(word for answer in answers for word in ("--answer", answer)))
    assert done.code == code
    assert told in done.out + done.err


def test_a_call_that_waits_is_answered_when_the_run_goes_on(talea: Talea) -> None:
    kept = ("--journal", "runs.db", "--tools", "desk.py")
    done = talea(*APPROVE, "--journal", "runs.db", "--answer", "a/send=true", "--json")
    assert done.code == 4
    told = json.loads(done.out)
    assert told["tasks"]["a"]["status"] == "succeeded"
    assert {address: one["text"] for address, one in told["questions"].items()} == {
        "b[0]/drop": "Call drop with these arguments?\n  id: 1"
    }
    done = talea("resume", told["run"], *kept, "--answer", "b[0]/drop=true")
    assert done.code == 0, done.err
    assert "9 to ann, dropped 1" in done.out


def test_answers_are_for_any_place_where_something_is_asked(talea: Talea, tmp_path: Path) -> None:
    (tmp_path / "deep.yaml").write_text(
        "talea: 1\nname: deep\nworkflows: {s: {tasks: {q: {ask: q}}, outputs: {q: '{{ tasks.q.output }}'}}}\n"
        "tasks:\n  b: {for_each: [1, 2], loop: {max: 1, exhausted: keep}, tasks: {s: {workflow: s}}}\n"
        "outputs: {b: '{{ tasks.b.output }}'}\n"
    )
    answers = ("--answer", 'b[0]#0/s/q=no: "x"=y', "--answer", "b[1]/s/q=", "--json")
    done = talea("run", "deep.yaml", *answers)
    assert done.code == 0
    given = [one["s"]["q"] for one in json.loads(done.out)["outputs"]["b"]]
    assert given == ['no: "x"=y', ""]
    assert "nothing is asked at 'b/s'" in talea("run", "deep.yaml", "--answer", "b/s=1").err
    waiting = talea("run", "deep.yaml", *answers[2:])
    assert waiting.code == 4
    told = json.loads(waiting.out)
    assert (told["status"], told["outputs"], told["error"]) == ("waiting", None, None)


@pytest.mark.parametrize(
    ("pair", "expected"),
    [("topic=42", "42"), ("topic=[1]", "[1]"), ('topic="x"', '"x"'), ("topic=a=b", "a=b")],
)
def test_text_inputs_stay_text(talea: Talea, tmp_path: Path, pair: str, expected: str) -> None:
    (tmp_path / "echo.yaml").write_text(
        "talea: 1\nname: e\ninputs: {topic: {type: string}}\n"
        "tasks: {a: {value: '{{ inputs.topic }}'}}\noutputs: {x: '{{ tasks.a.output }}'}\n"
    )
    assert talea("run", "echo.yaml", "-i", pair).out == expected + "\n"


def test_inputs_from_a_file_are_data_and_pairs_win(talea: Talea, tmp_path: Path) -> None:
    (tmp_path / "inputs.yaml").write_text("topic: dogs\ncount: 3\n")
    done = talea(*RUN, "--inputs", "inputs.yaml", "-i", "count=5")
    assert json.loads(done.out)["number"] == 10


def test_inputs_from_a_file_may_be_large_and_are_looked_over(talea: Talea, tmp_path: Path) -> None:
    (tmp_path / "inputs.yaml").write_text("topic: " + "x" * 2_000_000)
    assert talea(*RUN, "--inputs", "inputs.yaml").code == 0
    (tmp_path / "free.yaml").write_text(
        "talea: 1\nname: free\ninputs: {data: {}}\ntasks: {a: {value: 1}}\n"
    )
    (tmp_path / "inputs.yaml").write_text("data: {remark: Say who, and log it}\n")
    done = talea("run", "free.yaml", "--inputs", "inputs.yaml")
    assert done.code == 0
    assert "inputs.yaml:1:25 data['and log it']: warning: " in done.err
    (tmp_path / "inputs.yaml").write_text("")
    done = talea(*RUN, "--inputs", "inputs.yaml")
    assert done.code == 2
    assert "the document is empty" in done.err
    assert "tasks" not in done.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("run", "nowhere.yaml"), "nowhere.yaml"),
        (("run", "flow.yaml", "--tools", "tools.py", "--offline"), "'topic' is missing"),
        ((*RUN, "-i", "topik=x"), "unknown input 'topik'"),
        ((*RUN, "-i", "count=many"), "the input 'count' must be JSON"),
        ((*RUN, "-i", "count=1.5"), "'count' does not fit"),
        ((*RUN, "-i", "count"), "'count' is not KEY=VALUE"),
        ((*RUN, "-f", "simpel"), "did you mean 'simple'?"),
        ((*RUN, "-f", "crewai_"), "unknown framework 'crewai_'"),
        ((*RUN, "--option", "fast=1"), "no option 'fast'"),
        ((*RUN, "--offline"), "either offline or a replay"),
        (("run", "flow.yaml", "-i", "topic=x", "--offline"), "twice"),
        ((*RUN, "--inputs", "nowhere.yaml"), "nowhere.yaml"),
        (("run", "flow.yaml", "--tools", "nowhere.py"), "nowhere.py"),
        (("no-such-command",), "No such command"),
        (("graph", "flow.yaml", "--format", "gif"), "gif"),
        (("graph", "flow.yaml", "-o", "nowhere/x.svg"), "nowhere/x.svg cannot be written"),
        (("graph", "flow.yaml", "-o", "."), ". cannot be written"),
        (("init", "tools.py"), "tools.py cannot be written"),
        (("init", "/proc/nowhere"), "/proc/nowhere cannot be written"),
        (("run", "asking.yaml", "--answer", "alowed=true"), "did you mean 'allowed'?"),
        (("run", "asking.yaml", "--answer", "x=1"), "questions are at: allowed, tone"),
        (("run", "asking.yaml", "--answer", "allowed"), "'allowed' is not KEY=VALUE"),
        ((*RUN, "--answer", "write=1"), "nothing is asked at 'write'"),
    ],
)
def test_what_is_wrong_with_a_call_exits_2(talea: Talea, args: tuple[str, ...], words: str) -> None:
    done = talea(*args)
    assert done.code == 2
    assert words in done.err
    assert done.out == ""
    assert "Traceback" not in done.err


def test_an_invalid_workflow_tells_all_problems_with_places(talea: Talea, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "talea: 1\nname: bad\ntasks:\n  a: {value: '{{ tasks.b.output }}'}\n  c: {value: '{{ x }}'}\n"
    )
    for command in ("run", "validate", "graph", "explain"):
        done = talea(command, "bad.yaml")
        assert done.code == 2
        assert "bad.yaml:4:" in done.err
        assert "bad.yaml:5:" in done.err
        assert "2 problems." in done.err


@pytest.mark.parametrize("command", [("run",), ("validate", "-f", "simple")])
def test_a_feature_that_the_framework_lacks_exits_3(
    talea: Talea,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    from talea.adapter import Feature, Level, Support
    from talea.plugins import get_adapter

    adapter: Any = get_adapter("simple")
    lack = {Feature.VALUE: Support(Level.NEVER, "it cannot count")}
    monkeypatch.setattr(type(adapter), "features", {**adapter.features, **lack})
    (tmp_path / "one.yaml").write_text("talea: 1\nname: one\ntasks: {a: {value: 1}}\n")
    done = talea(command[0], "one.yaml", *command[1:])
    assert done.code == 3
    assert "'simple' cannot run this workflow" in done.err
    assert "a: value: it cannot count" in done.err
    explained = talea("explain", "one.yaml", "-f", "simple")
    assert explained.code == 0
    assert "simple cannot run it." in explained.out
    assert "refused, never: value: it cannot count" in explained.out


def test_validate_says_so_of_each_file(talea: Talea) -> None:
    done = talea("validate", "flow.yaml", "asking.yaml", "-f", "simple")
    assert done.code == 0
    assert done.out == (
        "flow.yaml: valid, and simple can run it\nasking.yaml: valid, and simple can run it\n"
    )


def test_explain_tells_features_tasks_and_frameworks(talea: Talea) -> None:
    done = talea("explain", "flow.yaml")
    assert re.search(r"FEATURE +SIMPLE", done.out)
    assert re.search(r"agent +native .*write", done.out)
    assert "simple can run it." in done.out
    told = json.loads(talea("explain", "flow.yaml", "-f", "simple", "--json").out)
    assert told["needs"]["agent"] == ["write"]
    assert told["frameworks"]["simple"]["features"]["agent"]["level"] == "native"


def test_graph_writes_what_the_file_name_says(talea: Talea, tmp_path: Path) -> None:
    assert talea("graph", "flow.yaml").out.startswith('---\ntitle: "demo"')
    assert talea("graph", "flow.yaml", "--format", "svg").out.startswith("<svg ")
    assert talea("graph", "flow.yaml", "-o", "flow.html").out == ""
    assert (tmp_path / "flow.html").read_text().startswith("<!doctype html>")


def test_frameworks_lists_what_is_there_and_what_to_install(talea: Talea) -> None:
    done = talea("frameworks")
    assert re.search(r"simple +ready +talea-simple", done.out)
    told = {info["name"]: info for info in json.loads(talea("frameworks", "--json").out)}
    assert told["simple"]["status"] == "ready"
    assert {"langgraph", "crewai"} <= set(told)


def test_plugins_lists_hooks(talea: Talea) -> None:
    assert re.search(r"simple +ready +talea-simple \S+ +talea_adapters", talea("plugins").out)


def test_schema_is_a_json_schema_of_workflows(talea: Talea) -> None:
    import jsonschema_rs
    import yaml

    schema = json.loads(talea("schema").out)
    validator = jsonschema_rs.validator_for(schema)
    document = yaml.safe_load(FLOW)
    assert validator.is_valid(document)
    assert not validator.is_valid({**document, "taks": {}})
    assert "talea_cassette" in talea("schema", "cassette").out


def test_init_writes_a_workflow_that_runs(talea: Talea, monkeypatch: pytest.MonkeyPatch) -> None:
    done = talea("init", "start")
    assert done.code == 0
    monkeypatch.chdir("start")
    [line] = [line.strip() for line in done.out.splitlines() if "talea run" in line]
    done = talea(*line.split()[1:])
    assert done.code == 0
    assert json.loads(done.out)["warning"] == "none"
    done = talea("init")
    assert done.code == 2
    assert "would be overwritten" in done.err


def test_every_command_has_help(talea: Talea) -> None:
    overview = talea("--help").out
    for name in COMMANDS:
        assert f"\n  {name} " in overview
        done = talea(name, "--help")
        assert done.code == 0
        assert done.out.startswith(f"Usage: talea {name}")


def test_the_version_is_told(talea: Talea) -> None:
    assert re.fullmatch(r"talea \d+\.\d+\.\d+\n", talea("--version").out)


# What comes from models and tools is shown, and does nothing.


def test_escape_sequences_of_outputs_and_errors_are_neutralised(
    talea: Talea, tmp_path: Path
) -> None:
    (tmp_path / "evil.yaml").write_text(
        "talea: 1\nname: e\ntools: {evil: {}, fails: {}}\non_failure: continue\n"
        "tasks: {a: {tool: evil}, b: {tool: fails, fallback: x}, q: {ask: '{{ tasks.a.output }}'}}\n"
        "outputs: {x: '{{ tasks.a.output }}'}\n"
    )
    (tmp_path / "evil.py").write_text(
        "def evil() -> str:\n    return '\\x1b]0;owned\\x07 \\x9b31m \\u202e \\ud800 end'\n"
        "def fails() -> str:\n    raise ValueError(evil())\n"
    )
    for args in ((), ("--json",), ("--answer", "q=yes")):
        done = talea("run", "evil.yaml", "--tools", "evil.py", *args)
        for text in (done.out, done.err):
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    told = json.loads(talea("run", "evil.yaml", "--tools", "evil.py", "--json").out)
    assert told["tasks"]["a"]["output"] == "\x1b]0;owned\x07 \x9b31m \u202e \ud800 end"


def test_cleaning_keeps_lines_tabs_and_every_script() -> None:
    assert clean("a\tb\r\nc\rd\x1b[0m 日本語 é") == "a\tb\nc\\x0dd\\x1b[0m 日本語 é"
    assert json.loads(to_json("\x85\u202e")) == "\x85\u202e"
    assert to_json("\x85\u202e") == '"\\u0085\\u202e"'


# Processes: signals, pipes and terminals.

SLOW = """
talea: 1
name: slow
tools: {slow: {}}
tasks:
  one: {tool: slow}
  two: {depends_on: [one], trigger: all_done, value: 1}
"""
OBEDIENT = """
import asyncio

async def slow() -> str:
    print("started", flush=True)
    await asyncio.sleep(600)
    return "x"
"""
STUBBORN = """
import asyncio

async def slow() -> str:
    print("started", flush=True)
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            print("no", flush=True)
"""
COMMAND = [sys.executable, "-m", "talea"]


def begin(folder: Path, tool: str, *args: str) -> subprocess.Popen[str]:
    (folder / "slow.yaml").write_text(SLOW)
    (folder / "slow.py").write_text(tool)
    process = subprocess.Popen(
        [*COMMAND, "run", "slow.yaml", "--tools", "slow.py", *args],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def test_an_interrupt_ends_the_run_in_order(tmp_path: Path) -> None:
    process = begin(tmp_path, OBEDIENT, "--json")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted: ending the run in order." in err
    told = json.loads(out)
    assert told["status"] == "cancelled"
    assert {task["status"] for task in told["tasks"].values()} == {"cancelled"}
    assert told["tasks"]["two"]["reason"] == "interrupted"


def test_a_blocking_tool_does_not_hold_up_the_interrupt(tmp_path: Path) -> None:
    blocking = (
        "import time\ndef slow() -> str:\n    print('started', flush=True)\n    time.sleep(600)\n"
    )
    process = begin(tmp_path, blocking)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "slow cancelled after" in err


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    process = begin(tmp_path, STUBBORN)
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "no\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


@pytest.mark.parametrize("args", [("schema",), ("run", "big.yaml", "--json")])
def test_a_closed_pipe_ends_quietly(tmp_path: Path, args: tuple[str, ...]) -> None:
    (tmp_path / "big.yaml").write_text("talea: 1\nname: big\ntasks: {a: {value: x}}\n")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, *args], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == ""


def test_closed_standard_streams_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("talea: 1\nname: one\ntasks: {a: {value: 1}}\n")
    for redirection in (">&-", "2>&-", "<&-"):
        command = f'"{sys.executable}" -m talea run one.yaml {redirection}'
        done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, (redirection, done.stderr)


class Terminal:
    """A terminal with a person at it, who sees what is shown and types."""

    def __init__(self, folder: Path, *args: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, *args], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._unread = ""

    def read_until(self, words: str) -> None:
        """Read on until words are shown, up to their end."""
        while words not in self._unread:
            ready, _, _ = select.select([self._ours], [], [], 30)
            assert ready, f"{words!r} is not shown: {self._unread!r}"
            try:
                piece = os.read(self._ours, 65_536).decode(errors="replace")
            except OSError:  # Linux says so where the other side is closed.
                piece = ""
            assert piece, f"{words!r} is not shown: {self._unread!r}"
            self._unread += piece
        self._unread = self._unread.partition(words)[2]

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Give a function that runs the command line on a terminal, in a folder with the question."""
    asking = ASKING.replace("tone: {", "tone: {depends_on: [allowed], ")
    (tmp_path / "asking.yaml").write_text(asking)
    begun: list[Terminal] = []

    def begin(*args: str) -> Terminal:
        begun.append(Terminal(tmp_path, *args))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


def test_on_a_terminal_questions_are_asked_until_answers_fit(
    terminal: Callable[..., Terminal],
) -> None:
    person = terminal("run", "asking.yaml")
    person.read_until("[one of true, false] > ")
    person.type("perhaps\n")
    person.read_until("That does not fit")
    person.read_until("> ")
    person.type("y\n")
    person.read_until("[one of dry, warm] > ")
    person.type("warm\n")
    person.read_until("true warm")
    assert person.process.wait(30) == 0


def test_on_a_terminal_calls_are_allowed_changed_and_refused(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    (tmp_path / "approving.yaml").write_text(APPROVING)
    (tmp_path / "desk.py").write_text(DESK)
    person = terminal(*APPROVE)
    person.read_until('to: "ann"')
    person.read_until("| Ann")
    person.read_until("[y / n / c] > ")
    person.type("what\n")
    person.read_until("Type y to allow the call")
    person.read_until("[y / n / c] > ")
    person.type("c\n")
    person.read_until("Others stay. > ")
    person.type('{"to": 3}\n')
    # Another question is put in between; the first one is shown again, in full.
    person.read_until("b[0]/drop asks:")
    person.read_until("[y / n / c] > ")
    person.type("n\n")
    person.read_until("Why not? > ")
    person.type("keep it\n")
    person.read_until("That does not fit: arguments: at `to`")
    person.read_until("a/send asks:")
    person.read_until("[y / n / c] > ")
    person.type("c\n")
    person.read_until("Others stay. > ")
    person.type('{"to": "bob"}\n')
    person.read_until("a person refused this call of 'drop': keep it")
    assert person.process.wait(30) == 1


def test_on_a_terminal_what_was_typed_before_a_call_is_shown_does_not_allow_it(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    (tmp_path / "approving.yaml").write_text(APPROVING)
    (tmp_path / "desk.py").write_text(DESK)
    person = terminal(*APPROVE)
    person.read_until("[y / n / c] > ")
    person.type("y\ny\ny\n")
    person.read_until("b[0]/drop asks:")
    person.read_until("[y / n / c] > ")
    person.type("\x04")
    person.read_until("--answer 'b[0]/drop=true'")
    assert person.process.wait(30) == 4


def test_on_a_terminal_the_end_of_input_leaves_the_question_open(
    terminal: Callable[..., Terminal],
) -> None:
    person = terminal("run", "asking.yaml")
    person.read_until("[one of true, false] > ")
    person.type("\x04")
    person.read_until("--answer 'allowed=true'")
    assert person.process.wait(30) == 4


def test_on_a_terminal_tasks_are_shown_live_and_summed_up(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    (tmp_path / "slow.yaml").write_text(SLOW)
    (tmp_path / "slow.py").write_text(
        "import asyncio, pathlib\n"
        "async def slow() -> str:\n"
        "    while not pathlib.Path('go').exists():\n"
        "        await asyncio.sleep(0.01)\n"
        "    return 'x'\n"
    )
    person = terminal("run", "slow.yaml", "--tools", "slow.py")
    person.read_until("running")
    person.read_until("0 model calls")
    (tmp_path / "go").touch()
    person.read_until("slow succeeded after")
    assert person.process.wait(30) == 0


def test_on_a_terminal_an_interrupt_at_a_question_ends_the_run(
    terminal: Callable[..., Terminal],
) -> None:
    person = terminal("run", "asking.yaml")
    person.read_until("] > ")
    person.process.send_signal(signal.SIGINT)
    person.read_until("asking cancelled after")
    assert person.process.wait(30) == 130


def test_help_imports_click_alone() -> None:
    code = (
        "import sys\nfrom talea.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = [m for m in ('pydantic', 'pluggy', 'yaml', 'rich', 'importlib.metadata',"
        " 'talea.ir', 'talea.run') if m in sys.modules]\nprint(heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_a_limit_that_cannot_hold_is_told(talea: Talea) -> None:
    Path("costly.yaml").write_text(
        "talea: 1\nname: costly\nmodel: ollama/own\nlimits: {max_cost: 1}\nagents: {writer: {}}\n"
        "tasks: {a: {agent: writer, prompt: Say A., when: false}}\n"
    )
    done = talea("run", "costly.yaml")
    assert done.code == 0
    assert "Warning: max_cost cannot hold calls of ollama/own" in done.err
