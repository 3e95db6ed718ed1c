"""The path from a document to a result, and what is refused before anything runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import talea
from talea import plugins
from talea.adapter import AskCall, Unanswered
from talea.events import Event, RunEnded, RunStarted, Status, TaskEnded

HEAD = "talea: 1\nname: test\n"
VALUES = HEAD + "tasks:\n  a: {value: 1}\n  b: {value: '{{ tasks.a.output + 1 }}'}\n"
QUESTION = HEAD + (
    "tasks:\n"
    "  ok: {ask: 'Sure?', output: {type: boolean}}\n"
    "  done: {when: tasks.ok.output, value: yes}\n"
    "outputs: {done: '{{ tasks.done.output }}'}\n"
)


def events_of(workflow: talea.Workflow, **more: Any) -> list[Event]:
    async def collect() -> list[Event]:
        return [event async for event in talea.stream(workflow, **more)]

    return asyncio.run(collect())


def test_stream_gives_every_event_and_ends_with_the_run() -> None:
    events = events_of(talea.loads(VALUES))
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunEnded)
    assert [e.address for e in events if isinstance(e, TaskEnded)] == ["a", "b"]


def test_leaving_a_stream_ends_the_run() -> None:
    started = asyncio.Event()
    stopped = asyncio.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async def main() -> None:
        workflow = talea.loads(HEAD + "tools: {hang: {}}\ntasks: {a: {tool: hang}}")
        async for _ in (stream := talea.stream(workflow, tools={"hang": hang})):
            if started.is_set():
                break
            await asyncio.sleep(0)
        await stream.aclose()
        assert stopped.is_set()

    asyncio.run(main())


def test_a_stream_of_what_cannot_run_raises() -> None:
    with pytest.raises(talea.InputError, match="unknown input 'x'"):
        events_of(talea.loads(VALUES), inputs={"x": 1})


def test_run_inside_an_event_loop_says_what_to_do() -> None:
    async def main() -> None:
        talea.run(talea.loads(VALUES))

    with pytest.raises(talea.UsageError, match="await talea.arun"):
        asyncio.run(main())


def test_run_takes_a_path_and_tools_as_a_list(tmp_path: Path) -> None:
    def add(x: int) -> int:
        return x + 1

    path = tmp_path / "flow.yaml"
    path.write_text(HEAD + "tools: {add: {}}\ntasks: {a: {tool: add, with: {x: 1}}}")
    assert talea.run(path, tools=[add]).tasks["a"].output == 2
    assert talea.run(str(path), tools={"add": add}).tasks["a"].output == 2


def test_compile_gives_the_native_object() -> None:
    schedule = talea.compile(talea.loads(VALUES))
    assert type(schedule).__name__ == "Schedule"
    assert schedule.plan.name == "test"
    with pytest.raises(talea.UsageError, match="no option 'speed'"):
        talea.compile(talea.loads(VALUES), options={"speed": "high"})


def test_offline_and_replay_exclude_each_other() -> None:
    with pytest.raises(talea.UsageError, match="either offline or a replay"):
        talea.run(talea.loads(VALUES), offline=True, replay="x.yaml")


# Questions ------------------------------------------------------------------------------------


def test_a_question_without_anybody_waits() -> None:
    result = talea.run(talea.loads(QUESTION))
    assert result.status is Status.WAITING
    assert result.tasks["ok"].status is Status.WAITING
    assert result.tasks["done"].status is Status.PENDING
    with pytest.raises(talea.RunError, match="waiting"):
        result.raise_for_failure()


@pytest.mark.parametrize("answer", [True, "true", " true "])
def test_a_prepared_answer_is_taken(answer: Any) -> None:
    result = talea.run(talea.loads(QUESTION), answers={"ok": answer})
    assert result.outputs == {"done": "yes"}


def test_an_answer_that_does_not_fit_leaves_the_question_open() -> None:
    result = talea.run(talea.loads(QUESTION), answers=[("ok", "perhaps"), ("ok", "false")])
    assert result.tasks["done"].status is Status.SKIPPED
    assert talea.run(talea.loads(QUESTION), answers={"ok": "perhaps"}).status is Status.WAITING


@pytest.mark.parametrize("is_async", [True, False])
def test_a_function_may_answer(is_async: bool) -> None:
    asked: list[AskCall] = []

    async def later(call: AskCall) -> bool:
        asked.append(call)
        return True

    def at_once(call: AskCall) -> bool:
        asked.append(call)
        return True

    result = talea.run(talea.loads(QUESTION), ask=later if is_async else at_once)
    assert result.succeeded
    assert (asked[0].address, asked[0].text) == ("ok", "Sure?")


def test_a_function_may_leave_the_question_open() -> None:
    def nobody(call: AskCall) -> bool:
        raise Unanswered

    assert talea.run(talea.loads(QUESTION), ask=nobody).status is Status.WAITING


def test_a_function_that_never_gives_what_fits_does_not_go_on_for_ever() -> None:
    asked: list[str] = []

    def stubborn(call: AskCall) -> str:
        asked.append(call.address)
        return "perhaps"

    assert talea.run(talea.loads(QUESTION), ask=stubborn).status is Status.WAITING
    assert len(asked) == 100


def test_a_function_that_breaks_fails_the_task() -> None:
    def broken(call: AskCall) -> bool:
        raise KeyError("x")

    error = talea.run(talea.loads(QUESTION), ask=broken).tasks["ok"].error
    assert error is not None
    assert error.type == "internal"


def test_answers_of_a_map_and_of_a_loop() -> None:
    workflow = talea.loads(
        HEAD + "tasks:\n"
        "  each: {for_each: [x, y], ask: 'On {{ item }}?'}\n"
        "  again:\n"
        "    loop: {until: loop.output.q == 'stop', max: 3}\n"
        "    tasks: {q: {ask: More?}}\n"
    )
    pairs = [("each[0]", "zero"), ("each", "any"), ("again/q", "go"), ("again/q", "stop")]
    result = talea.run(workflow, answers=pairs)
    assert result.tasks["each"].output == ["zero", "any"]
    assert result.tasks["again"].output == {"q": "stop"}


# Frameworks that break, and mixtures -----------------------------------------------------------


def test_a_framework_that_breaks_ends_the_run_as_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapter = plugins.get_adapter("simple")

    async def broken(compiled: Any, run: Any) -> None:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(adapter, "execute", broken)
    result = talea.run(talea.loads(VALUES))
    assert result.status is Status.FAILED
    assert result.error is not None
    assert result.error.type == "internal"
    assert "ZeroDivisionError: inside" in result.error.message
    assert isinstance(result.error.cause, ZeroDivisionError)
    assert {task.status for task in result.tasks.values()} == {Status.CANCELLED}


def test_another_frameworks_agents_on_this_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    from talea.adapter import AgentAnswer, AgentCall
    from talea_simple.adapter import SimpleAdapter

    class Parrot(SimpleAdapter):
        async def answer(self, call: AgentCall) -> AgentAnswer:
            await call.begin_turn()
            call.end_turn(None)
            return AgentAnswer(f"{call.name} says {call.prompt}")

    known = plugins.get_adapter

    def with_parrot(name: str, **more: Any) -> Any:
        return Parrot() if name == "parrot" else known(name, **more)

    monkeypatch.setattr(plugins, "get_adapter", with_parrot)
    workflow = talea.loads(
        HEAD + "model: openai/x\nagents: {p: {}}\ntasks: {a: {agent: p, prompt: hello}}"
    )
    result = talea.run(workflow, agents="parrot", offline=True)
    assert result.tasks["a"].output == "p says hello"
    assert result.framework == "simple"


def test_the_result_as_json_is_what_it_says() -> None:
    found = talea.run(talea.loads(VALUES), run_id="r1").as_json()
    assert found["run"] == "r1"
    assert found["status"] == "succeeded"
    assert list(found["tasks"]) == ["a", "b"]
    assert set(found["tasks"]["a"]) == {
        "status", "reason", "output", "error", "recovered", "attempts", "agent", "started",
        "ended", "usage", "reported",
    }  # fmt: skip
    assert found["usage"]["model_calls"] == 0


def test_the_run_id_is_in_scope() -> None:
    workflow = talea.loads(HEAD + "tasks: {a: {value: '{{ run.id }}'}}")
    assert talea.run(workflow, run_id="mine").tasks["a"].output == "mine"


def test_inputs_are_taken_as_json_data_of_the_runs_own() -> None:
    workflow = talea.loads(
        HEAD + "inputs: {data: {}}\n"
        "tasks: {a: {for_each: inputs.data.list, value: '{{ item }}'}}\n"
        "outputs: {all: '{{ tasks.a.output }}', data: '{{ inputs.data }}'}\n"
    )
    given = {"list": (1, (2,))}
    result = talea.run(workflow, {"data": given})
    assert result.outputs == {"all": [1, [2]], "data": {"list": [1, [2]]}}
    circle: list[Any] = []
    circle.append(circle)
    for data in (object(), {1, 2}, float("nan"), b"x", circle):
        with pytest.raises(talea.InputError, match="'data' is no JSON data"):
            talea.run(workflow, {"data": data})


COSTLY = (
    f"{HEAD}model: ollama/own-model\nlimits: {{max_cost: 1}}\nagents: {{writer: {{}}}}\n"
    "tasks:\n  a: {agent: writer, prompt: Say A., when: false}\n"
)


def test_a_limit_that_cannot_hold_is_told_before_the_run() -> None:
    with pytest.warns(UserWarning, match=r"max_cost cannot hold calls of ollama/own-model"):
        assert talea.run(talea.loads(COSTLY)).succeeded
    with pytest.warns(UserWarning, match="price is not known"):
        assert events_of(talea.loads(COSTLY))
    assert talea.run(talea.loads(COSTLY), offline=True).succeeded
    assert talea.run(talea.loads(COSTLY.replace("max_cost", "max_tokens"))).succeeded
