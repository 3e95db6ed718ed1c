"""What the kernel promises to whoever schedules it, beyond the rules that the cases hold."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

import talea
from talea.events import Event, Status, TaskEnded
from talea.kernel import Run
from talea.run import prepare
from talea.tools import ToolContext

Body = Callable[..., Any]


def flow(tasks: str, head: str = "") -> talea.Workflow:
    return talea.loads(f"talea: 1\nname: test\n{head}\ntasks:\n{tasks}")


async def driven(
    workflow: talea.Workflow, tools: dict[str, Body], drive: Callable[[Run], Awaitable[Any]]
) -> talea.Result:
    """Run a workflow by a schedule of the test's own."""
    prepared = prepare(workflow, tools=tools)

    class Own(type(prepared.adapter)):
        async def execute(self, compiled: Any, run: Run) -> None:
            await drive(run)

    prepared.adapter = Own()
    return await prepared.run()


def test_a_task_that_is_asked_for_twice_runs_once() -> None:
    calls = 0

    async def slow() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)
        return calls

    async def drive(run: Run) -> None:
        records = await asyncio.gather(run.task(0), run.task(0), run.task(0))
        assert {id(record) for record in records} == {id(run.records[0])}
        assert await run.task(0) is run.records[0]

    result = asyncio.run(
        driven(flow("  a: {tool: slow}", "tools: {slow: {}}"), {"slow": slow}, drive)
    )
    assert calls == 1
    assert result.tasks["a"].output == 1


def test_a_task_that_starts_before_its_dependency_has_ended_is_refused() -> None:
    async def drive(run: Run) -> None:
        await run.task(1)

    workflow = flow("  a: {value: 1}\n  b: {value: '{{ tasks.a.output }}'}")
    result = asyncio.run(driven(workflow, {}, drive))
    assert result.status is Status.FAILED
    assert result.error is not None
    assert result.error.type == "internal"
    assert "'b' was started before its dependency 'a' had ended" in result.error.message


def test_a_framework_that_leaves_tasks_out_is_found_out() -> None:
    async def drive(run: Run) -> None:
        await run.task(0)

    result = asyncio.run(driven(flow("  a: {value: 1}\n  b: {value: 2}"), {}, drive))
    assert result.status is Status.FAILED
    assert result.error is not None
    assert result.error.type == "internal"
    assert "'b'" in result.error.message


def test_items_may_be_driven_one_by_one_in_any_order() -> None:
    async def drive(run: Run) -> None:
        assert list(run.open(0) or ()) == [1, 2, 3]
        for k in (2, 0, 1):
            await run.item(0, k)
        run.close(0)
        assert run.open(0) is None

    workflow = flow("  a: {for_each: [1, 2, 3], value: '{{ item * 2 }}'}")
    result = asyncio.run(driven(workflow, {}, drive))
    assert result.tasks["a"].output == [2, 4, 6]


def test_closing_before_all_items_are_done_is_refused() -> None:
    async def drive(run: Run) -> None:
        run.open(0)
        run.close(0)

    result = asyncio.run(driven(flow("  a: {for_each: [1], value: 1}"), {}, drive))
    assert result.error is not None
    assert "closed before all of its items were done" in result.error.message


def test_max_parallel_holds_for_items_that_a_framework_starts_by_itself() -> None:
    now = most = 0

    async def body() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1

    async def drive(run: Run) -> None:
        items = run.open(0)
        assert items is not None
        await asyncio.gather(*(run.item(0, k) for k in range(len(items))))
        run.close(0)

    workflow = flow(
        "  a: {for_each: [1, 2, 3, 4, 5], max_parallel: 2, tool: body}", "tools: {body: {}}"
    )
    assert asyncio.run(driven(workflow, {"body": body}, drive)).succeeded
    assert most == 2


def test_a_driver_that_is_cancelled_may_come_back() -> None:
    calls = 0

    async def body() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01 if calls > 1 else 60)
        return calls

    async def drive(run: Run) -> None:
        first = asyncio.create_task(run.task(0))
        await asyncio.sleep(0.005)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await run.task(0)

    result = asyncio.run(
        driven(flow("  a: {tool: body}", "tools: {body: {}}"), {"body": body}, drive)
    )
    assert result.tasks["a"].output == 2
    assert result.tasks["a"].attempts == 2


# Cancellation ---------------------------------------------------------------------------------


def test_a_timeout_is_not_taken_for_a_cancellation_from_outside() -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        workflow = flow("  a: {tool: hang, timeout: 10ms, fallback: late}", "tools: {hang: {}}")
        result = await talea.arun(workflow, tools={"hang": hang})
        assert result.tasks["a"].recovered
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0
        await asyncio.sleep(0)  # Nothing is left that would hit what comes next.

    asyncio.run(main())


def test_a_body_that_swallows_its_cancellation_leaves_nothing_behind() -> None:
    async def stubborn() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return "done all the same"

    async def after() -> str:
        await asyncio.sleep(0.001)
        return "ran"

    workflow = flow(
        "  a: {tool: stubborn, timeout: 10ms}\n"
        "  b: {tool: after, depends_on: [a], trigger: all_done}",
        "tools: {stubborn: {}, after: {}}",
    )
    result = talea.run(workflow, tools={"stubborn": stubborn, "after": after})
    assert result.tasks["a"].error is not None
    assert result.tasks["a"].error.type == "timeout"
    assert result.tasks["b"].output == "ran"


def test_cancelling_the_caller_passes_through_and_ends_every_task() -> None:
    events: list[Event] = []
    stopped: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.append("hang")

    workflow = flow(
        "  a: {tool: hang}\n"
        "  b: {tasks: {c: {tool: hang}, d: {for_each: [1, 2], tool: hang}}}\n"
        "  e: {value: 1, depends_on: [a]}",
        "tools: {hang: {}}",
    )

    async def main() -> None:
        running = asyncio.create_task(
            talea.arun(workflow, tools={"hang": hang}, sinks=[events.append])
        )
        await asyncio.sleep(0.02)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    assert len(stopped) == 4
    ended = {e.address: e.status for e in events if isinstance(e, TaskEnded)}
    assert ended == dict.fromkeys(["a", "b", "e", "b/c", "b/d"], Status.CANCELLED)


def test_stop_ends_a_run_in_order() -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    async def main() -> talea.Result:
        prepared = prepare(
            flow(
                "  a: {tool: hang}\n  b: {value: 1, depends_on: [a], trigger: all_done}",
                "tools: {hang: {}}",
            ),
            tools={"hang": hang},
        )
        running = asyncio.create_task(prepared.run())
        await asyncio.sleep(0.01)
        prepared.stop()
        return await running

    result = asyncio.run(main())
    assert result.status is Status.CANCELLED
    assert {name: (t.status, t.reason) for name, t in result.tasks.items()} == {
        "a": (Status.CANCELLED, "interrupted"),
        "b": (Status.CANCELLED, "interrupted"),
    }


def test_a_stop_that_comes_from_inside_a_body_does_not_hit_the_next_task() -> None:
    """The body runs in the very asyncio task that its own cancellation is meant for."""
    prepared: Any = None

    async def body() -> str:
        prepared.stop()
        return "x"

    async def main() -> talea.Result:
        nonlocal prepared
        prepared = prepare(flow("  a: {tool: body}", "tools: {body: {}}"), tools={"body": body})
        result = await prepared.run()
        await asyncio.sleep(0)
        return result

    assert asyncio.run(main()).status is Status.CANCELLED


def test_clean_up_inside_a_timeout_of_the_caller() -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await talea.arun(
                    flow("  a: {tool: hang}", "tools: {hang: {}}"), tools={"hang": hang}
                )

    asyncio.run(main())


# Functions that block -------------------------------------------------------------------------


def test_blocking_functions_run_side_by_side() -> None:
    barrier = threading.Barrier(3, timeout=5)

    def meet() -> int:
        return barrier.wait()

    result = talea.run(
        flow("  a: {for_each: [1, 2, 3], tool: meet}", "tools: {meet: {}}"), tools={"meet": meet}
    )
    assert sorted(result.tasks["a"].output) == [0, 1, 2]


def test_a_blocking_function_is_given_up_at_its_timeout_and_a_retry_waits_for_it() -> None:
    release = threading.Event()
    at_once = most = calls = 0
    lock = threading.Lock()

    def body() -> int:
        nonlocal at_once, most, calls
        with lock:
            calls += 1
            at_once += 1
            most = max(most, at_once)
            mine = calls
        release.wait(5)
        with lock:
            at_once -= 1
        return mine

    async def main() -> talea.Result:
        asyncio.get_running_loop().call_later(0.1, release.set)
        retry = "{max_attempts: 2, initial_interval: 1ms}"
        workflow = flow(f"  a: {{tool: body, timeout: 20ms, retry: {retry}}}", "tools: {body: {}}")
        return await talea.arun(workflow, tools={"body": body})

    result = asyncio.run(main())
    assert result.tasks["a"].output == 2
    assert most == 1


def test_the_place_of_an_abandoned_function_stays_taken_until_it_returns() -> None:
    release = threading.Event()
    order: list[str] = []

    def stuck() -> None:
        release.wait(5)
        order.append("stuck returned")

    async def quick() -> None:
        order.append("quick ran")

    async def main() -> talea.Result:
        asyncio.get_running_loop().call_later(0.1, release.set)
        workflow = flow(
            "  a: {tool: stuck, timeout: 10ms, fallback: null}\n  b: {tool: quick, depends_on: [a]}",
            "tools: {stuck: {}, quick: {}}\nlimits: {max_parallel: 1}",
        )
        return await talea.arun(workflow, tools={"stuck": stuck, "quick": quick})

    assert asyncio.run(main()).succeeded
    assert order == ["stuck returned", "quick ran"]


class Mute(Exception):
    """An error that cannot be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        StopIteration("no"),
        KeyError("no"),
        SystemExit(3),
        GeneratorExit(),
        asyncio.CancelledError(),
        Mute(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("blocking", [True, False])
def test_whatever_a_tool_raises_is_a_tool_error(error: BaseException, blocking: bool) -> None:
    def body() -> None:
        raise error

    async def async_body() -> None:
        raise error

    workflow = flow("  a: {tool: body}", "tools: {body: {}}")
    heard: list[Event] = []
    for sinks in ([], [heard.append]):  # With nobody who listens, another path is taken.
        result = talea.run(workflow, tools={"body": body if blocking else async_body}, sinks=sinks)
        assert result.tasks["a"].error is not None
        assert result.tasks["a"].error.type == "tool_error"


def test_a_framework_whose_error_cannot_be_told_fails_the_run() -> None:
    async def drive(run: Run) -> None:
        raise Mute

    result = asyncio.run(driven(flow("  a: {value: 1}"), {}, drive))
    assert result.error is not None
    assert (result.error.type, result.error.message) == ("internal", "Mute")


# Isolation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocking", [True, False])
def test_context_variables_do_not_leak_from_task_to_task(blocking: bool) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    def swap(to: str) -> str:
        before = variable.get()
        variable.set(to)
        return before

    async def async_swap(to: str) -> str:
        before = swap(to)
        await asyncio.sleep(0)
        assert variable.get() == to
        return before

    workflow = flow(
        "  a: {tool: swap, with: {to: a}}\n"
        "  b: {tool: swap, with: {to: b}, depends_on: [a]}\n"
        "  c: {tool: swap, with: {to: c}, depends_on: [b]}",
        "tools: {swap: {}}",
    )
    token = variable.set("caller")
    try:
        result = talea.run(workflow, tools={"swap": swap if blocking else async_swap})
        assert variable.get() == "caller"
    finally:
        variable.reset(token)
    assert [task.output for task in result.tasks.values()] == ["caller"] * 3


def test_a_tool_that_changes_its_arguments_changes_nothing_else() -> None:
    async def spoil(items: list[int]) -> int:
        items.clear()
        return 0

    workflow = flow(
        "  a: {value: [1, 2]}\n  b: {tool: spoil, with: {items: '{{ tasks.a.output }}'}}",
        "tools: {spoil: {}}\noutputs: {a: '{{ tasks.a.output }}', b: '{{ tasks.b.output }}'}",
    )
    assert talea.run(workflow, tools={"spoil": spoil}).outputs == {"a": [1, 2], "b": 0}


def test_runs_of_one_compiled_plan_at_the_same_time_do_not_touch_each_other() -> None:
    async def echo(n: int) -> int:
        await asyncio.sleep(0.001)
        return n

    workflow = flow(
        "  a: {tool: echo, with: {n: '{{ inputs.n }}'}}\n"
        "  b: {for_each: [1, 2], tool: echo, with: {n: '{{ tasks.a.output + item }}'}}",
        "tools: {echo: {}}\ninputs: {n: {type: integer}}\noutputs: {b: '{{ tasks.b.output }}'}",
    )

    async def main() -> list[talea.Result]:
        runs = (talea.arun(workflow, {"n": n * 10}, tools={"echo": echo}) for n in range(8))
        return await asyncio.gather(*runs)

    outputs = [result.outputs for result in asyncio.run(main())]
    assert outputs == [{"b": [n * 10 + 1, n * 10 + 2]} for n in range(8)]


def test_idempotency_keys_are_stable_over_retries_and_differ_otherwise() -> None:
    keys: list[str] = []

    async def body(context: ToolContext) -> int:
        keys.append(context.idempotency_key)
        if len(keys) == 1:
            raise ValueError("once")
        return len(keys)

    workflow = flow(
        "  a:\n"
        "    tool: body\n"
        "    loop: {until: loop.output >= 3, max: 3}\n"
        "    retry: {max_attempts: 2, initial_interval: 1ms}",
        "tools: {body: {}}",
    )
    assert talea.run(workflow, tools={"body": body}, run_id="r").succeeded
    assert keys == ["r/a#0/1", "r/a#0/1", "r/a#1/1"]


def test_a_sink_that_raises_hears_no_more_and_stops_nothing() -> None:
    heard: list[Event] = []

    def broken(event: Event) -> None:
        heard.append(event)
        raise ValueError("broken")

    assert talea.run(flow("  a: {value: 1}"), sinks=[broken]).succeeded
    assert len(heard) == 1


# Order ----------------------------------------------------------------------------------------


def test_places_go_to_the_highest_priority_whatever_order_a_framework_starts_nodes_in() -> None:
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)
        await asyncio.sleep(0)

    async def drive(run: Run) -> None:
        await asyncio.gather(*(run.task(i) for i in (3, 1, 0, 2)))

    workflow = flow(
        "  a: {tool: note, with: {name: a}}\n"
        "  b: {tool: note, with: {name: b}, priority: 5}\n"
        "  c: {tool: note, with: {name: c}, priority: 9}\n"
        "  d: {tool: note, with: {name: d}, priority: 5}",
        "tools: {note: {}}\nlimits: {max_parallel: 1}",
    )
    assert asyncio.run(driven(workflow, {"note": note}, drive)).succeeded
    assert order == ["c", "b", "d", "a"]
