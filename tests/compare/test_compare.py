"""Comparisons for real: frameworks in processes of their own, which may die, hang or shout."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from talea import UsageError, frameworks, loads
from talea.compare import Case, Comparison, compare
from talea.compare.record import Span
from talea.compare.timing import split

INSTALLED = [info.name for info in frameworks() if info.status == "ready" and info.name != "echo"]
BRIEF = Path(__file__).parents[2] / "examples" / "01_market_brief"
DELAYED = """
talea: 1
name: delayed
model: openai/any
tools: {look: {}}
agents: {writer: {}}
tasks:
  first: {agent: writer, prompt: Say A.}
  look: {tool: look, depends_on: [first]}
  second: {agent: writer, prompt: "Say B after {{ tasks.look.output }}."}
outputs: {text: "{{ tasks.second.output }}"}
"""
CASSETTE = """
talea_cassette: 1
tasks:
  first: [{content: A, fault: {delay: 200ms}}]
  second: [{content: B, fault: {delay: 200ms}}]
"""
TOOLS = """
import asyncio, os, sys, time

async def look():
    await asyncio.sleep(0.1)
    return "seen"

def die():
    os.kill(os.getpid(), 9)

def hang():
    time.sleep(1000)

def shout():
    for _ in range(300):
        os.write(1, b"x" * 65536)
        print('{"run": "a lie"}', flush=True)
    return "done"

def tell():
    return {name: value for name, value in os.environ.items() if "canary" in value}
"""


def one_tool(name: str) -> str:
    return f"talea: 1\nname: one\ntools: {{{name}: {{}}}}\ntasks: {{it: {{tool: {name}}}}}\noutputs: {{it: '{{{{ tasks.it.output }}}}'}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "cassette.yaml").write_text(CASSETTE)
    return tmp_path


def measure(folder: Path, document: str, **settings: Any) -> Comparison:
    given: dict[str, Any] = {"frameworks": ["simple"], "repeat": 1, "warmup": 0, **settings}
    return compare(loads(document), tools=folder / "tools.py", **given)


def test_a_brief_on_every_framework() -> None:
    found = compare(
        BRIEF / "workflow.yaml",
        frameworks=INSTALLED,
        tools=BRIEF / "tools.py",
        replay=BRIEF / "cassette.yaml",
        answers={"approve": True},
        repeat=2,
    )
    assert [one.key for one in found.taking_part] == INSTALLED
    assert len(found.runs) == 2 * len(INSTALLED)
    assert {run.status for run in found.runs} == {"succeeded"}
    assert len({json.dumps(run.outputs) for run in found.runs}) == 1
    for run in found.runs:
        assert run.used.model_calls == len(run.calls) > 0
        assert run.used.input_tokens == sum(call.input_tokens for call in run.calls)
        assert run.split.whole == pytest.approx(run.duration)
        assert (run.repeat == 0) == all(call.prompt is not None for call in run.calls)
        assert run.cpu > 0
        assert run.peak_memory > 10_000_000
    for one in found.contenders:
        assert one.versions["talea"]
        assert one.startup is not None
        assert one.startup.import_seconds > 0
        assert one.startup.first_run is not None
    assert Comparison.from_json(found.to_json()) == found


@pytest.mark.parametrize("framework", INSTALLED)
def test_known_delays_are_told_apart(folder: Path, framework: str) -> None:
    found = measure(
        folder, DELAYED, frameworks=[framework], replay=folder / "cassette.yaml", warmup=1
    )
    (run,) = found.runs
    assert run.succeeded, run.error
    assert run.split.model == pytest.approx(0.4, rel=0.1)
    assert run.split.tool == pytest.approx(0.1, rel=0.1)
    assert run.split.waiting < 0.01
    assert run.tasks["look"].split is not None
    assert run.tasks["look"].split.tool == pytest.approx(0.1, rel=0.1)
    assert run.tasks["second"].ready == run.tasks["look"].ended


def test_the_same_seed_gives_the_same_order(folder: Path) -> None:
    keys = ["simple", "simple:agents=simple"]
    document = "talea: 1\nname: plain\ntasks: {a: {value: 1}}\n"
    orders = [
        [
            run.framework
            for run in measure(folder, document, frameworks=keys, repeat=6, seed=seed).runs
        ]
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert all({*pair} == {*keys} for pair in zip(orders[0][::2], orders[0][1::2], strict=True))


def test_a_process_that_is_killed_is_a_failed_run(folder: Path) -> None:
    found = measure(folder, one_tool("die"), repeat=2)
    assert [run.status for run in found.runs] == ["failed", "failed"]
    assert {run.error and run.error.type for run in found.runs} == {"worker_died"}
    assert "SIGKILL" in str(found.runs[0].error)
    assert found.contenders[0].refused is None


def test_a_framework_whose_process_always_ends_takes_part_no_longer(folder: Path) -> None:
    found = measure(folder, one_tool("die"), repeat=5)
    assert len(found.runs) == 3
    assert "3 runs in a row" in str(found.contenders[0].refused)


def test_a_process_that_hangs_is_killed(folder: Path) -> None:
    found = measure(folder, one_tool("hang"), timeout=1.0)
    assert found.runs[0].error is not None
    assert found.runs[0].error.type == "worker_hung"
    assert found.runs[0].error.message.endswith("; under way was it")


def test_a_flood_of_prints_disturbs_nothing(folder: Path) -> None:
    found = measure(folder, one_tool("shout"), repeat=2)
    assert [run.outputs for run in found.runs] == [{"it": "done"}] * 2


def test_no_key_is_in_a_framework_s_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-123456")
    monkeypatch.setenv("COPY", "Bearer sk-canary-123456")
    monkeypatch.setenv("OTHER", "a canary that is no key")
    found = measure(folder, one_tool("tell"))
    assert found.runs[0].outputs == {"it": {"OTHER": "a canary that is no key"}}


def test_one_that_cannot_take_part_says_why(folder: Path) -> None:
    found = measure(
        folder, "talea: 1\nname: plain\ntasks: {a: {value: 1}}\n",
        frameworks=["simple", "simple:colour=red"],
    )  # fmt: skip
    assert [one.key for one in found.taking_part] == ["simple"]
    assert "has no option 'colour'" in str(found.contenders[1].refused)
    assert {run.framework for run in found.runs} == {"simple"}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["simple", "simple"], "twice"),
        (["simpel"], "unknown framework"),
        (["simple:colour"], "is no option"),
        (["simple:"], "is no option"),
        (["simple:agents=simple,agents=crewai"], "stands twice"),
    ],
)
def test_who_cannot_be_read_is_refused_before_any_run(names: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compare(loads("talea: 1\nname: plain\ntasks: {a: {value: 1}}\n"), frameworks=names)


def test_tools_without_code_are_refused_before_any_run(folder: Path) -> None:
    with pytest.raises(UsageError, match="1 tool has no code: 'whistle'"):
        measure(folder, one_tool("whistle"), frameworks=["simple", "simple:agents=simple"])
    with pytest.raises(UsageError, match="has no option 'colour'"):
        measure(folder, one_tool("look"), frameworks=["simple:colour=red"])


def greet() -> str:
    return "hello"


def test_functions_are_imported_from_where_they_stand() -> None:
    document = loads(one_tool("greet"))
    found = compare(document, frameworks=["simple"], tools=[greet], repeat=1, warmup=0)
    assert found.runs[0].outputs == {"it": "hello"}
    with pytest.raises(UsageError, match="stands in no file"):
        compare(document, frameworks=["simple"], tools={"greet": lambda: "hello"})


def test_cases_have_their_own_inputs() -> None:
    document = loads(
        "talea: 1\nname: echo\ninputs: {n: {type: integer}}\ntasks: {a: {value: '{{ inputs.n }}'}}\n"
        "outputs: {n: '{{ tasks.a.output }}'}\n"
    )
    cases = [Case(id="one", inputs={"n": 1}), Case(id="two", inputs={"n": 2})]
    found = compare(document, frameworks=["simple"], cases=cases, repeat=2, warmup=0)
    assert [(run.case, run.outputs) for run in found.runs] == [
        ("one", {"n": 1}), ("two", {"n": 2}), ("one", {"n": 1}), ("two", {"n": 2}),
    ]  # fmt: skip


def test_a_worker_ends_with_its_comparison(folder: Path) -> None:
    script = folder / "script.py"
    script.write_text(
        "import sys\nfrom talea import loads\nfrom talea.compare import compare\n"
        f"compare(loads({one_tool('hang')!r}), frameworks=['simple'], tools={str(folder / 'tools.py')!r},"
        " warmup=0, progress=lambda text: print(text, flush=True))\n"
    )
    host = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    for line in host.stdout:
        if "run 1" in line:
            break
    children = Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()
    assert children
    host.kill()
    host.wait()
    host.stdout.close()
    for child in children:
        for _ in range(200):
            if (
                not Path(f"/proc/{child}").exists()
                or "Z" in Path(f"/proc/{child}/stat").read_text()
            ):
                break
            __import__("time").sleep(0.05)
        else:
            os.kill(int(child), 9)
            pytest.fail("the framework's process goes on")


def span(kind: Any, began: float, duration: float) -> Span:
    return Span(kind=kind, address="a", began=began, duration=duration)


def test_each_moment_counts_once() -> None:
    spans = [
        span("tool", 0.0, 2.0),
        span("model", 1.0, 2.0),
        span("retry", 2.5, 2.5),
        span("place", 9, 9),
    ]
    found = split(0.0, 10.0, spans)
    assert (found.tool, found.model, found.waiting, found.framework) == (1.0, 2.0, 3.0, 4.0)
    assert found.whole == 10.0
    assert split(1.5, 1.5, spans).whole == 0.0
    edges = [0.0, 0.5, 1.7, 4.0, 10.0]
    parts = [split(began, ended, spans) for began, ended in pairwise(edges)]
    assert sum(part.model for part in parts) == pytest.approx(found.model)


def test_who_waits_for_a_place_is_told_from_who_gets_one_at_once(folder: Path) -> None:
    document = (
        "talea: 1\nname: two\ntools: {look: {}}\nlimits: {max_parallel: 1}\n"
        "tasks: {a: {tool: look}, b: {tool: look}}\n"
    )
    (run,) = measure(folder, document).runs
    waits = [one for one in run.spans if one.kind == "place"]
    assert [one.address for one in waits] == ["b"]
    assert waits[0].duration > 0.09
    assert run.split.waiting < 0.02  # Meanwhile the other one was at work.


def test_memory_is_the_framework_s_own(folder: Path) -> None:
    """A process that is started from a large one has not held what that one holds."""
    script = folder / "large.py"
    script.write_text(
        "from talea import loads\nfrom talea.compare import compare\n"
        "if __name__ == '__main__':\n"
        "    held = bytearray(b'x' * 600_000_000)\n"
        "    found = compare(loads('talea: 1\\nname: t\\ntasks: {a: {value: 1}}\\n'),"
        " frameworks=['simple'], repeat=1)\n"
        "    print(found.runs[0].peak_memory)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert 20_000_000 < int(done.stdout) < 300_000_000


@pytest.mark.parametrize("text", ["./here", "git+https://example.org/it", "langgraph 1.2", ""])
def test_what_is_no_requirement_is_refused(text: str) -> None:
    document = loads("talea: 1\nname: plain\ntasks: {a: {value: 1}}\n")
    with pytest.raises(UsageError, match="no requirement"):
        compare(document, requirements=[("langgraph", text)])


def test_a_framework_in_an_environment_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made once, and has what the caller's path adds to the caller's alone left out."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(folder / "added"))
    (folder / "added").mkdir()
    (folder / "added" / "openai.py").write_text("raise ImportError('the caller\\'s own')\n")
    asked = [("simple", "openai<3"), ("simple", "openai<3.0")]
    found = measure(folder, one_tool("shout"), requirements=asked)
    keys = [one.key for one in found.taking_part]
    assert len({*keys}) == len(keys) == 2, [one.refused for one in found.contenders]
    assert keys[0].startswith("simple@openai-2.")
    assert {run.status for run in found.runs} == {"succeeded"}
    assert all(one.isolated and not one.held_back for one in found.contenders)
    assert all(one.versions["openai"].startswith("2.") for one in found.contenders)
    assert all(one.versions["pydantic"] for one in found.contenders)


def test_agents_of_simple_ask_through_either_http_library_of_their_sdk(folder: Path) -> None:
    """From openai 3 on it brings httpx2, and httpx is not there."""
    document = (
        "talea: 1\nname: one\nmodel: openai/any\nagents: {writer: {}}\n"
        "tasks: {it: {agent: writer, prompt: Say A.}}\n"
    )
    asked = [("simple", "openai<3"), ("simple", "openai>=3")]
    found = measure(folder, document, requirements=asked, offline=True)
    assert [run.error for run in found.runs] == [None, None], [
        one.refused for one in found.contenders
    ]
    sdks = [one.versions["openai"] for one in found.contenders]
    assert [sdk.startswith("2.") for sdk in sdks] == [True, False]
