"""The journal: what is kept of a run, how it goes on, and what must not lose it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import talea
from talea.cli import cli
from talea.errors import InputError, UsageError
from talea.events import AgentChosen, AgentEnded, Answered, Status
from talea.journal import opened, pin, unpin
from talea.resume import take_up
from talea.run import prepare


class Calls:
    """A tool that notes what it was called for, and may be told to break off the run."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.keys: list[str] = []
        self.on: dict[Any, Callable[[], Any]] = {}

    async def step(self, n: Any, context: talea.ToolContext) -> Any:
        self.seen.append(n)
        self.keys.append(context.idempotency_key)
        if n in self.on:
            found = self.on[n]()
            if asyncio.iscoroutine(found):
                await found
        return n

    def __iter__(self) -> Any:
        return iter([self.step])


def cut_off(
    workflow: Any,
    calls: Calls,
    at: Any,
    journal: Path,
    *,
    after: Sequence[Any] = (),
    **settings: Any,
) -> str:
    """Run a workflow to a call that is never answered, and leave its journal behind."""
    prepared = prepare(workflow, tools=calls, journal=journal, durability="full", **settings)
    leave_at(prepared, calls, at, journal, after)
    return prepared.run_id


def leave_at(
    prepared: Any, calls: Calls, at: Any, journal: Path, after: Sequence[Any] = ()
) -> None:
    """Carry a run out to a call, and leave its journal as a process that is killed then does.

    Before that one, calls of the same argument go as `after` says.
    """
    copy = journal.with_name("copy.db")
    before = iter(after)

    async def leave() -> None:
        for action in before:
            action()  # It raises, and the next call goes on behind it.
        with closing(sqlite3.connect(journal)) as one, closing(sqlite3.connect(copy)) as other:
            one.backup(other)
        prepared.stop()
        await asyncio.sleep(10)

    calls.on[at] = leave
    asyncio.run(prepared.run())
    del calls.on[at]
    for suffix in ("", "-wal", "-shm"):
        Path(f"{journal}{suffix}").unlink(missing_ok=True)
    copy.rename(journal)


def fail() -> None:
    raise talea.TaskError("tool_error", "no")


def workflow(tasks: str, more: str = "") -> talea.Workflow:
    tools = "tools: {step: {}}" if "tool: step" in tasks + more else ""
    return talea.loads(f"talea: 1\nname: t\n{tools}\n{more}\ntasks:\n{tasks}")


CHAIN = """
  a: {tool: step, with: {n: 1}}
  b: {depends_on: [a], tool: step, with: {n: 2}}
  c: {depends_on: [b], tool: step, with: {n: 3}}
"""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


# What does not run again -----------------------------------------------------------------------


def test_what_has_ended_does_not_run_again(journal: Path) -> None:
    calls = Calls()
    one = cut_off(workflow(CHAIN), calls, 2, journal)
    result = talea.resume(one, journal=journal, tools=calls)
    assert result.succeeded
    assert calls.seen == [1, 2, 2, 3]
    assert result.run == one
    assert {name: task.output for name, task in result.tasks.items()} == {"a": 1, "b": 2, "c": 3}


def test_keys_are_the_same_when_a_call_is_made_again(journal: Path) -> None:
    calls = Calls()
    tasks = """
  b:
    loop: {max: 3, exhausted: keep}
    tasks: {x: {tool: step, with: {n: "{{ loop.index }}"}}}
"""
    one = cut_off(workflow(tasks), calls, 1, journal)
    assert talea.resume(one, journal=journal, tools=calls).succeeded
    assert calls.keys == [f"{one}/b#{n}/x/1" for n in (0, 1, 1, 2)]


@pytest.mark.parametrize(
    ("tasks", "at", "seen"),
    [
        ("{for_each: [1, 2, 3], max_parallel: 1, tool: step, with: {n: '{{ item }}'}}", 2, [3]),
        ("{loop: {max: 3, exhausted: keep}, tool: step, with: {n: '{{ loop.index }}'}}", 1, [2]),
        ("{tasks: {x: {tool: step, with: {n: 1}}, y: {depends_on: [x], tool: step, with: {n: 2}}}}", 2, []),
        ("{workflow: w}", 2, []),
        (
            ("{for_each: [10, 20], max_parallel: 1, loop: {max: 2, exhausted: keep},"
            " tasks: {x: {tool: step, with: {n: '{{ item + loop.index }}'}}}}"),
            20,
            [21],
        ),
    ],
)  # fmt: skip
def test_what_has_ended_inside_does_not_run_again(
    tasks: str, at: int, seen: list[int], journal: Path
) -> None:
    inner = "{x: {tool: step, with: {n: 1}}, y: {depends_on: [x], tool: step, with: {n: 2}}}"
    document = workflow(f"  a: {tasks}", f"workflows: {{w: {{tasks: {inner}}}}}")
    calls, again, undisturbed = Calls(), Calls(), Calls()
    one = cut_off(document, calls, at, journal)
    assert calls.seen[-1] == at
    result = talea.resume(one, journal=journal, tools=again)
    assert again.seen == [at, *seen]
    expected = talea.run(document, tools=undisturbed)
    assert calls.seen + again.seen[1:] == undisturbed.seen
    assert {k: t.output for k, t in result.tasks.items()} == {
        k: t.output for k, t in expected.tasks.items()
    }
    assert {k: t.attempts for k, t in result.tasks.items() if "/" in k} == {
        k: t.attempts + (k.endswith(inner_at_work(tasks)))
        for k, t in expected.tasks.items()
        if "/" in k
    }


def inner_at_work(tasks: str) -> tuple[str, ...]:
    """The inner task that was begun twice, which counts as two attempts."""
    return ("[1]/x",) if "item + " in tasks else ("/y",)


def test_a_new_attempt_of_a_block_begins_anew(journal: Path) -> None:
    tasks = """
  b:
    retry: {max_attempts: 3, initial_interval: 1ms, retry_on: [any]}
    tasks:
      x: {tool: step, with: {n: 1}}
      y: {depends_on: [x], tool: step, with: {n: 2}}
"""
    calls, again = Calls(), Calls()
    one = cut_off(workflow(tasks), calls, 2, journal, after=[fail])
    assert calls.seen == [1, 2, 1, 2]
    again.on[2] = fail
    result = talea.resume(one, journal=journal, tools=again)
    assert again.seen == [2, 1, 2], "the second attempt goes on, the third one is anew and the last"
    assert result.status is Status.FAILED
    assert result.tasks["b/x"].attempts == 3


def test_attempts_that_failed_are_not_made_again(journal: Path) -> None:
    tasks = "  a: {tool: step, with: {n: 1}, retry: {max_attempts: 3, initial_interval: 1ms}}"
    calls, again = Calls(), Calls()
    one = cut_off(workflow(tasks), calls, 1, journal, after=[fail])
    again.on[1] = fail
    result = talea.resume(one, journal=journal, tools=again)
    assert again.seen == [1, 1], "two of three attempts are left, the cut off one among them"
    assert result.tasks["a"].attempts == 4


def test_usage_and_time_are_counted_on(journal: Path) -> None:
    calls = Calls()
    document = workflow(CHAIN, "limits: {timeout: 1h}")
    one = cut_off(document, calls, 2, journal)
    with opened(journal) as kept:
        row = kept.find(one)
        assert 0 < row.elapsed < 60
        assert 0 < row.used < 60
    result = talea.resume(one, journal=journal, tools=calls)
    began = [task.started for task in result.tasks.values()]
    assert began == sorted(began)  # type: ignore[type-var]
    assert result.duration >= row.elapsed


def test_a_run_whose_time_is_over_begins_nothing_more(journal: Path) -> None:
    calls = Calls()
    one = cut_off(workflow(CHAIN, "limits: {timeout: 1h}"), calls, 2, journal)
    with closing(sqlite3.connect(journal)) as file, file:
        file.execute("UPDATE runs SET used = 3600")
    result = talea.resume(one, journal=journal, tools=calls)
    assert calls.seen == [1, 2]
    assert result.error is not None
    assert result.error.type == "limit_exceeded"
    assert result.tasks["a"].status is Status.SUCCEEDED


def test_a_run_that_has_ended_gives_its_result_again(journal: Path) -> None:
    calls = Calls()
    result = talea.run(
        workflow(CHAIN, "outputs: {c: '{{ tasks.c.output }}'}"), tools=calls, journal=journal
    )
    again = talea.resume(result.run[:6], journal=journal)
    assert calls.seen == [1, 2, 3]
    told, first = again.as_json(), result.as_json()
    for one in (told, first):
        one.pop("duration")
    assert told == first


def test_a_failure_is_what_it_was(journal: Path) -> None:
    """What was stopped, skipped and handled after a failure is so again."""
    calls = Calls()
    tasks = """
  a: {tool: step, with: {n: 1}}
  b: {depends_on: [a], tool: step, with: {n: 2}}
  h: {depends_on: [a], trigger: one_failed, tool: step, with: {n: 3}}
  z: {depends_on: [h], tool: step, with: {n: 4}}
"""
    calls.on[1] = fail
    one = cut_off(workflow(tasks), calls, 3, journal)
    result = talea.resume(one, journal=journal, tools=calls)
    assert calls.seen == [1, 3, 3, 4]
    assert {name: str(task.status) for name, task in result.tasks.items()} == {
        "a": "failed", "b": "upstream_failed", "h": "succeeded", "z": "succeeded",
    }  # fmt: skip
    assert result.succeeded
    error = result.tasks["a"].error
    assert error is not None
    assert (error.type, error.message) == ("tool_error", "no")


def test_another_framework_goes_on(journal: Path) -> None:
    pytest.importorskip("langgraph")
    calls = Calls()
    one = cut_off(workflow(CHAIN), calls, 2, journal, framework="simple")
    result = talea.resume(one, journal=journal, tools=calls, framework="langgraph")
    assert (result.framework, result.succeeded) == ("langgraph", True)
    assert calls.seen == [1, 2, 2, 3]


# on_resume -------------------------------------------------------------------------------------


def test_a_task_may_fail_in_place_of_running_again(journal: Path) -> None:
    tasks = """
  a: {tool: step, with: {n: 1}, on_resume: fail}
  b: {depends_on: [a], tool: step, with: {n: 2}, on_resume: fail}
  h: {depends_on: [b], trigger: one_failed, value: "{{ tasks.b.error.type }}"}
"""
    calls = Calls()
    one = cut_off(workflow(tasks), calls, 2, journal)
    result = talea.resume(one, journal=journal, tools=calls)
    assert calls.seen == [1, 2]
    assert result.tasks["a"].status is Status.SUCCEEDED
    assert result.tasks["h"].output == "interrupted"
    assert result.tasks["b"].attempts == 1


def test_an_interrupted_attempt_is_retried_where_the_task_says_so(journal: Path) -> None:
    tasks = (
        "  a: {tool: step, with: {n: 1}, on_resume: fail,"
        " retry: {max_attempts: 2, initial_interval: 1ms, retry_on: [interrupted]}}"
    )
    calls = Calls()
    one = cut_off(workflow(tasks), calls, 1, journal)
    result = talea.resume(one, journal=journal, tools=calls)
    assert result.succeeded
    assert calls.seen == [1, 1]


def test_such_a_task_is_known_to_have_begun_before_it_does_anything(journal: Path) -> None:
    """Else a process that is killed in that moment would leave nothing to fail on."""
    tasks = "  a: {tool: step, with: {n: 1}, on_resume: fail}"
    calls, kept = Calls(), []

    def look() -> None:
        with closing(sqlite3.connect(journal)) as file:
            kept.extend(file.execute("SELECT address, status FROM tasks"))

    calls.on[1] = look
    talea.run(workflow(tasks), tools=calls, journal=journal)
    assert kept == [("a", "began")]


# People ----------------------------------------------------------------------------------------

ASKS = """
  a: {tool: step, with: {n: 1}}
  one: {ask: "First, after {{ tasks.a.output }}?", output: {type: boolean}}
  two: {ask: "Second?"}
  z: {value: ["{{ tasks.one.output }}", "{{ tasks.two.output }}"]}
"""


def test_several_questions_are_answered_later_one_by_one(journal: Path) -> None:
    calls = Calls()
    first = talea.run(workflow(ASKS), tools=calls, journal=journal)
    assert first.status is Status.WAITING
    second = talea.resume(first.run, journal=journal, tools=calls, answers={"two": "yes"})
    assert second.status is Status.WAITING
    third = talea.resume(first.run, journal=journal, tools=calls, answers={"one": True})
    assert third.succeeded
    assert third.tasks["z"].output == [True, "yes"]
    assert calls.seen == [1]


def test_items_and_iterations_are_asked_by_their_own_addresses(journal: Path) -> None:
    tasks = """
  m: {for_each: [x, y], ask: "{{ item }}?"}
  b:
    loop: {max: 2, exhausted: keep}
    tasks: {q: {ask: "{{ loop.index }}?"}}
"""
    document = workflow(tasks)
    first = talea.run(document, journal=journal)
    with opened(journal) as kept:
        assert kept.past(kept.find(first.run)).questions.keys() == {"m[0]", "m[1]", "b#0/q"}
    second = talea.resume(first.run, journal=journal, answers={"m[1]": "b", "b/q": "0"})
    assert second.status is Status.WAITING
    third = talea.resume(first.run, journal=journal, answers={"m[0]": "a", "b/q": "1"})
    assert third.tasks["m"].output == ["a", "b"]
    assert third.tasks["b"].output == {"q": "1"}
    assert third.tasks["b/q"].output == "1"


def test_an_answer_to_another_question_is_not_used(journal: Path) -> None:
    document = workflow('  a: {ask: "Send 10?", output: {type: boolean}}')
    other = workflow('  a: {ask: "Send 1000?", output: {type: boolean}}')
    first = talea.run(document, journal=journal)
    events: list[Any] = []
    second = talea.resume(
        first.run, journal=journal, workflow=other, force=True, answers={"a": True}, sinks=[events.append],
    )  # fmt: skip
    assert second.status is Status.WAITING
    refusals = [event.refusal for event in events if isinstance(event, Answered)]
    assert refusals == ["the question is another one now than the one that was answered"]
    third = talea.resume(first.run, journal=journal, workflow=other, answers={"a": True})
    assert third.succeeded, "it has been shown now"


APPROVED = """talea: 1
name: t
tools: {step: {approve: true}, no-op: {approve: true}}
tasks:
  a: {tool: step, with: {n: 1}}
  b: {tool: no-op, timeout: 1h}
"""


def test_a_call_is_allowed_once_though_it_is_made_twice(journal: Path) -> None:
    calls = Calls()
    tools = {"step": calls.step, "no-op": lambda: 1}
    document = talea.loads(APPROVED)
    first = talea.run(document, tools=tools, journal=journal)
    assert first.status is Status.WAITING
    with opened(journal) as kept:
        assert kept.past(kept.find(first.run)).questions.keys() == {"a/step", "b/no-op"}
    going_on = take_up(
        first.run, journal=journal, tools=tools, answers={"a/step": True}, durability="full"
    )
    leave_at(going_on, calls, 1, journal)
    second = talea.resume(first.run, journal=journal, tools=tools)
    assert second.tasks["a"].status is Status.SUCCEEDED, "the answer is known"
    with opened(journal) as kept:
        assert kept.past(kept.find(first.run)).questions.keys() == {"b/no-op"}
    assert talea.resume(
        first.run, journal=journal, tools=tools, answers={"b/no-op": True}
    ).succeeded


# The pinned workflow ----------------------------------------------------------------------------


def test_a_changed_workflow_is_refused_with_the_difference(tmp_path: Path, journal: Path) -> None:
    file = tmp_path / "w.yaml"
    text = "talea: 1\nname: t\ntasks:\n  a: {ask: Go?}\n  b: {depends_on: [a], value: 1}\n"
    file.write_text(text)
    one = talea.run(file, journal=journal).run
    file.write_text(text.replace("value: 1", "value: 2"))
    with pytest.raises(UsageError, match="changed since the run began") as refused:
        talea.resume(one, journal=journal, answers={"a": "yes"})
    assert '-     "value": 1' in str(refused.value)
    assert '+     "value": 2' in str(refused.value)
    result = talea.resume(one, journal=journal, answers={"a": "yes"}, force=True)
    assert result.tasks["b"].output == 2


def test_the_order_of_keys_is_a_change(tmp_path: Path, journal: Path) -> None:
    one = talea.loads("{talea: 1, name: t, tasks: {a: {value: 1}, b: {ask: x}}}")
    other = talea.loads("{talea: 1, name: t, tasks: {b: {ask: x}, a: {value: 1}}}")
    one = talea.run(one, journal=journal).run
    with pytest.raises(UsageError, match="changed"):
        talea.resume(one, journal=journal, workflow=other)


def test_files_are_pinned_with_the_workflow(tmp_path: Path, journal: Path) -> None:
    (tmp_path / "sub").mkdir()
    inner = "talea: 1\nname: inner\ntasks: {q: {ask: Go?}}\noutputs: {q: '{{ tasks.q.output }}'}\n"
    (tmp_path / "sub" / "i.yaml").write_text(inner)
    (tmp_path / "w.yaml").write_text(
        "talea: 1\nname: t\ntasks:\n  a: {workflow: sub/i.yaml}\n  b: {workflow: sub/i.yaml}\n"
    )
    document = talea.load(tmp_path / "w.yaml")
    assert pin(unpin(pin(document))) == pin(document)
    assert len(pin(document)) == 2
    one = talea.run(document, journal=journal).run
    for file in (tmp_path / "sub" / "i.yaml", tmp_path / "w.yaml"):
        file.unlink()
    result = talea.resume(one, journal=journal, answers={"a/q": "1", "b/q": "2"})
    assert (result.tasks["a"].output, result.tasks["b"].output) == ({"q": "1"}, {"q": "2"})


def test_what_a_run_needs_is_pinned_as_well(journal: Path) -> None:
    document = workflow(
        '  a: {ask: "{{ inputs.who }}?"}', "inputs: {who: {type: string}, n: {default: 3}}"
    )
    one = talea.run(document, {"who": "you"}, journal=journal, offline=True).run
    with opened(journal) as kept:
        row = kept.find(one)
    assert row.inputs == {"who": "you", "n": 3}
    assert row.settings["offline"] is True
    assert row.versions["talea"] == talea.__version__
    assert row.framework == "simple"
    with pytest.raises(InputError):
        talea.resume(
            one, journal=journal, workflow=workflow("  a: {ask: x}"), force=True,
        )  # fmt: skip


POOL = """
talea: 1
name: pool
model: openai/gpt-5-mini
on_failure: continue
tools: {step: {}}
agents: {a: {weight: 3}, b: {weight: 2}, c: {}, d: {weight: 4}}
pools: {all: {agents: [a, b, c, d], balance: STRATEGY}}
tasks:
  ask: {for_each: [0, 1, 2, 3, 4, 5, 6, 7], max_parallel: 1, pool: all, prompt: "{{ item }}"}
  last: {depends_on: [ask], tool: step, with: {n: 1}}
"""


@pytest.mark.parametrize("strategy", ["power_of_two", "sticky"])
def test_chance_is_pinned_and_chooses_the_same_when_the_run_goes_on(
    journal: Path, strategy: str
) -> None:
    document = talea.loads(POOL.replace("STRATEGY", strategy))
    whole: list[Any] = []
    talea.run(document, tools=Calls(), offline=True, seed=7, sinks=[whole.append])
    usual = chosen(whole)
    assert len(set(usual.values())) > 1
    begun: list[Any] = []
    prepared = prepare(
        document, tools=Calls(), offline=True, seed=7, journal=journal, sinks=[begun.append]
    )

    def stop(event: Any) -> None:
        if isinstance(event, AgentEnded) and event.address == "ask[3]":
            prepared.stop()

    prepared.sinks.append(stop)
    asyncio.run(prepared.run())
    resumed: list[Any] = []
    talea.resume(prepared.run_id, journal=journal, tools=Calls(), sinks=[resumed.append])
    assert {*chosen(begun)} & {*usual} != {*usual}
    assert chosen(begun) | chosen(resumed) == usual


def chosen(events: Sequence[Any]) -> dict[str, str]:
    found = [event for event in events if isinstance(event, AgentChosen)]
    return {event.address: event.agent for event in found}


def test_a_replay_goes_on_as_a_replay(tmp_path: Path, journal: Path) -> None:
    cassette = tmp_path / "tape.yaml"
    cassette.write_text("talea_cassette: 1\ntasks: {b: [{content: from the tape}]}\n")
    document = workflow(
        "  a: {ask: Well?}\n  b: {depends_on: [a], agent: w, prompt: Say}",
        "model: openai/gpt-5-mini\nagents: {w: {}}",
    )
    run = talea.run(document, journal=journal, replay=cassette).run
    result = talea.resume(run, journal=journal, answers={"a": "yes"})
    assert result.tasks["b"].output == "from the tape"


# The file ---------------------------------------------------------------------------------------


def test_the_file_is_for_its_owner_alone(journal: Path) -> None:
    before = os.umask(0)
    try:
        result = talea.run(workflow(ASKS), tools=Calls(), journal=journal)
        modes = set[int]()

        def look() -> None:
            modes.update(stat.S_IMODE(file.stat().st_mode) for file in journal.parent.iterdir())

        calls = Calls()
        calls.on[1] = look
        talea.run(workflow(CHAIN), tools=calls, journal=journal)
    finally:
        os.umask(before)
    assert modes == {0o600}
    assert {file.name for file in journal.parent.iterdir()} == {"runs.db"}
    assert result.status is Status.WAITING


def test_a_run_is_carried_out_by_one_process_at_a_time(journal: Path) -> None:
    calls = Calls()
    refused: list[str] = []
    prepared = prepare(workflow(CHAIN), tools=calls, journal=journal)

    def meddle() -> None:
        with pytest.raises(UsageError, match="carried out by another process") as error:
            resume_it(prepared.run_id, journal, calls)
        refused.append(error.value.message)
        with opened(journal) as kept:
            assert kept.is_held(kept.find(prepared.run_id))

    def resume_it(one: str, journal: Path, tools: Any) -> None:
        thread = ThreadPoolExecutor(1)
        thread.submit(lambda: talea.resume(one, journal=journal, tools=tools)).result()

    async def aside() -> None:
        await asyncio.to_thread(meddle)

    calls.on[2] = aside
    assert asyncio.run(prepared.run()).succeeded
    assert len(refused) == 1
    assert calls.seen == [1, 2, 3]


@pytest.mark.parametrize("path", ["/proc/none/runs.db", "."])
def test_a_journal_that_cannot_be_is_refused_before_anything_runs(path: str) -> None:
    calls = Calls()
    with pytest.raises(UsageError, match="cannot be opened"):
        talea.run(workflow(CHAIN), tools=calls, journal=path)
    assert not calls.seen


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    for name, content in (("text.db", b"hello" * 500), ("other.db", b"")):
        (tmp_path / name).write_bytes(content)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE mine (x)")
    for name in ("text.db", "other.db"):
        with pytest.raises(UsageError, match="cannot be opened"):
            talea.run(workflow(CHAIN), tools=Calls(), journal=tmp_path / name)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_folder_that_is_read_only_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="cannot be opened"):
            talea.run(workflow(CHAIN), tools=Calls(), journal=tmp_path / "runs.db")
    finally:
        tmp_path.chmod(0o700)


FULL_DISK = """
import json, resource, signal, sys
import talea

def step(n: int) -> str:
    print(n, flush=True)
    return "x" * 20_000

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
tasks = "".join(f"  t{k}: {{depends_on: [{f't{k - 1}' if k else ''}], tool: step, with: {{n: {k}}}}}\\n" for k in range(200))
result = talea.run(talea.loads("talea: 1\\nname: t\\ntools: {step: {}}\\ntasks:\\n" + tasks),
                   tools=[step], journal=sys.argv[1], durability=sys.argv[2], run_id="one")
print(json.dumps([str(result.status), result.error and result.error.message]), file=sys.stderr)
"""


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_a_full_disk_ends_the_run_and_loses_nothing(journal: Path, durability: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(journal), durability],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    status, message = json.loads(done.stderr)
    called = [int(line) for line in done.stdout.split()]
    assert status == "failed"
    assert "was not written to its end" in message
    assert len(called) < 200
    calls = Calls()
    result = talea.resume("one", journal=journal, tools=calls)
    assert result.succeeded
    again = set(called) & set(calls.seen)
    if durability == "full":
        assert len(again) <= 1, "only the task whose end could not be kept"
    assert sorted(calls.seen) == list(range(200 - len(calls.seen), 200))


def test_eight_runs_share_a_journal(journal: Path) -> None:
    document = workflow("".join(f"  t{k}: {{tool: step, with: {{n: {k}}}}}\n" for k in range(50)))
    script = """
import sys, talea
def step(n: int) -> int: return n
result = talea.run(sys.argv[2], tools=[step], journal=sys.argv[1])
assert result.succeeded and not result.notes, result
"""
    file = journal.with_name("w.json")
    file.write_text(document.model_dump_json(by_alias=True, exclude_defaults=True))
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(journal), str(file)]) for _ in range(8)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0] * 8
    with opened(journal) as kept:
        rows = kept.runs()
        assert [row.status for row in rows] == ["succeeded"] * 8
        for row in rows:
            assert len(kept.rows(row)) == 50


def test_attempts_at_work_are_kept_as_begun_and_ended_ones_only_once(journal: Path) -> None:
    calls = Calls()
    talea.run(workflow(CHAIN), tools=calls, journal=journal)
    with closing(sqlite3.connect(journal)) as file:
        rows = file.execute("SELECT address, status FROM tasks").fetchall()
    assert rows == [("a", "succeeded"), ("b", "succeeded"), ("c", "succeeded")]


def test_no_secret_is_written(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from talea.failures import remember_secret

    canary = "canary-secret-of-the-journal"
    remember_secret(canary)
    calls = Calls()

    def fail() -> None:
        raise RuntimeError(f"the key {canary} is wrong")

    calls.on[1] = fail
    document = workflow(
        "  a: {tool: step, with: {n: 1}}\n  q: {ask: x}",
        "models: {m: {model: openai/x, api_key: {env: CANARY}}}",
    )
    monkeypatch.setenv("CANARY", canary)
    talea.run(document, tools=calls, journal=journal)
    assert canary.encode() not in journal.read_bytes()


# The command line -------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "w.yaml"
    path.write_text(
        "talea: 1\nname: t\ntasks:\n"
        "  approve: {ask: Go on?, output: {type: boolean}}\n"
        "  z: {when: tasks.approve.output, value: fine}\n"
        "outputs: {z: '{{ tasks.z.output }}'}\n"
    )
    return path


def invoke(*args: str, code: int = 0) -> tuple[str, str]:
    separate: Any = {"mix_stderr": False} if metadata.version("click") < "8.2" else {}
    done = CliRunner(**separate).invoke(cli, args)
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def test_a_waiting_run_says_how_it_goes_on(file: Path, journal: Path) -> None:
    _, told = invoke("run", str(file), "--journal", str(journal), code=4)
    command = next(line for line in told.splitlines() if line.startswith("Go on with: "))
    words = command.removeprefix("Go on with: talea ").replace("'", "").split()
    assert words[0] == "resume"
    out, _ = invoke(*words)
    assert out == "fine\n"
    out, _ = invoke("resume", words[1], "--journal", str(journal))
    assert out == "fine\n"


def test_runs_are_listed_shown_and_pruned(
    file: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALEA_JOURNAL", str(journal))
    invoke("run", str(file), code=4)
    invoke("run", str(file), "--answer", "approve=true")
    rows = json.loads(invoke("runs", "list", "--json")[0])
    assert [row["status"] for row in rows] == ["succeeded", "waiting"]
    assert rows[0]["run"] in invoke("runs")[0]
    shown, _ = invoke("runs", "show", rows[1]["run"])
    assert "Go on?" in shown
    assert "--answer 'approve=true'" in shown
    told = json.loads(invoke("runs", "show", rows[1]["run"], "--json")[0])
    assert told["questions"] == {"approve": {"text": "Go on?", "schema": {"type": "boolean"}}}
    assert invoke("runs", "prune")[0] == "0 runs forgotten.\n"
    assert invoke("runs", "prune", "--days", "0")[0] == "1 run forgotten.\n"
    assert invoke("runs", "prune", "--days", "0", "--unended")[0] == "1 run forgotten.\n"
    assert invoke("runs")[0] == "The journal holds no run.\n"


def test_a_journal_must_be_there_and_a_run_in_it(journal: Path) -> None:
    assert "no journal is given" in invoke("runs", code=2)[1]
    assert "there is no journal" in invoke("runs", "--journal", str(journal), code=2)[1]
    talea.run(workflow("  a: {value: 1}"), journal=journal)
    assert "has no run 'x'" in invoke("resume", "x", "--journal", str(journal), code=2)[1]


def test_an_interrupt_leaves_a_whole_journal(tmp_path: Path, journal: Path) -> None:
    tools = tmp_path / "tools.py"
    tools.write_text(
        "import time\nfrom pathlib import Path\n"
        f"SLOW = Path({str(tmp_path / 'slow')!r})\n"
        "def step(n: int) -> int:\n"
        "    print('call', n, flush=True)\n"
        "    if n == 2 and SLOW.exists():\n        time.sleep(60)\n"
        "    return n\n"
    )
    (tmp_path / "slow").touch()
    document = tmp_path / "w.yaml"
    document.write_text("talea: 1\nname: t\ntools: {step: {}}\ntasks:" + CHAIN)
    command = [sys.executable, "-m", "talea", "run", str(document), "--tools", str(tools)]
    with subprocess.Popen(
        [*command, "--journal", str(journal)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        while process.stdout.readline() != "call 2\n":
            pass
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Go on with: talea resume" in told
    (tmp_path / "slow").unlink()
    with opened(journal) as kept:
        (row,) = kept.runs()
        assert row.status == "cancelled"
    out, _ = invoke("resume", row.run, "--journal", str(journal), "--tools", str(tools))
    assert out.startswith("call 2\ncall 3\n")
