"""A plan as a workflow of LangGraph's functional API: a task starts when what it needs has ended.

There are no supersteps, so that branches do not wait for each other. LangGraph tells finished tasks
of a resumed run by the order in which they are called: all are called at once, in one fixed order,
and each waits for its dependencies by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypedDict, cast

from langgraph.errors import GraphInterrupt
from langgraph.func import entrypoint, task  # pyright: ignore[reportMissingTypeStubs]
from langgraph.pregel import Pregel  # pyright: ignore[reportMissingTypeStubs]

from talea.plan import Step
from talea_langgraph.alone import Settings, alone, is_saved_around
from talea_langgraph.blueprint import Blueprint
from talea_langgraph.driver import Driver, Part, Place, place
from talea_langgraph.savers import Saved
from talea_langgraph.structure import levels

if TYPE_CHECKING:
    from talea.adapter import Run


_NOTHING: Mapping[str, Any] = {}
_TURNS = 8
"""The event loop's turns that LangGraph takes to begin a task that was called."""


class Given(TypedDict, total=False):
    """What the workflow is called with."""

    inputs: dict[str, Any]


@dataclass(slots=True)
class _Flow:
    """One execution: the run, and for each task whether those after it may go on."""

    driver: Driver
    passed: list[asyncio.Future[bool]]


@dataclass(slots=True)
class _Start:
    """What a workflow is told that is to make a run of its own."""

    flow: Any
    settings: Settings
    saves: bool


_flow: ContextVar[_Flow] = ContextVar("talea_langgraph_flow")


class WorkflowDataflow(Saved, Pregel[Any, Any, Any, Any]):
    """A workflow as an entrypoint of LangGraph's functional API.

    It runs by itself: `await flow.ainvoke({"inputs": {…}})`, with a context as `WorkflowGraph` has.
    """

    def __init__(
        self, *, blueprint: Blueprint, deferred: str | None = None, **attributes: Any
    ) -> None:
        plain: Any = super()
        plain.__init__(**attributes)
        self.blueprint = blueprint
        self.deferred = deferred
        """A saver that is opened for each execution."""

    async def drive(
        self, driver: Driver, given: Mapping[str, Any] | None = _NOTHING, config: Any = None
    ) -> None:
        """Carry out a run on this workflow; with None it goes on where its checkpoint stands."""
        plain: Any = super()
        durability = self.blueprint.choices.durability if config else None
        # One that has come to its end already does not run again: what it came to is read.
        modes = ["values"] if driver.resumed else list[str]()
        parts = plain.astream(
            given, config, context=driver, stream_mode=modes, durability=durability
        )
        last: Any = None
        async for part in parts:
            last = part
        if last is not None:
            driver.adopt(last[-1].get("results"))
        await self.blueprint.do_rest(driver)

    async def carry_out(self, run: Run) -> None:
        """Carry out the run of a whole workflow; with a checkpointer, go on where it stands."""
        async with self.with_saver() as flow:
            given: Any = {"inputs": run.inputs}
            if not flow.is_saved:
                await flow.drive(Driver(run), given)
                return
            config: Any = {"configurable": {"thread_id": run.id}}
            state = await flow.aget_state(config)
            driver = Driver(run, resumed=True)
            if state.values:
                driver.adopt(state.values["results"])
            await flow.drive(driver, None if state.next else given, config)

    async def astream(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input: Any, config: Any = None, **settings: Any
    ) -> AsyncGenerator[Any]:
        """Stream a run, as any workflow does. The context is a `Settings`, or a mapping of them."""
        async with self.with_saver() as flow:
            if settings.get("durability") is None and flow.is_saved:
                settings["durability"] = self.blueprint.choices.durability
            saves = flow.is_saved or is_saved_around()
            settings["context"] = _Start(self, Settings.of(settings.get("context")), saves)
            plain: Any = super(WorkflowDataflow, flow)
            async with aclosing(plain.astream(input, config, **settings)) as parts:
                async for part in parts:
                    yield part


def make_dataflow(blueprint: Blueprint) -> WorkflowDataflow:
    """Build the workflow of a plan; the parts of it are there already."""
    plan = blueprint.plan
    parts, as_task = blueprint.parts, cast("Any", task)
    bodies: list[Callable[[], Any]] = [
        as_task(_body(step, parts.get(id(step.plan))), name=step.id) for step in plan.steps
    ]

    row_of = levels(plan, "node").ends.__getitem__
    rows = [[*row] for _, row in groupby(sorted(plan.order, key=row_of), row_of)]

    async def carry_out(driver: Driver) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        flow = _Flow(driver, [loop.create_future() for _ in plan.steps])
        token = _flow.set(flow)
        called: list[asyncio.Future[Any]] = []
        try:
            for row in rows:
                for i in row:
                    called.append(asyncio.ensure_future(bodies[i]()))
                    called[-1].add_done_callback(_passer(flow, i))
                for _ in range(_TURNS):
                    await asyncio.sleep(0)  # What can begin does so while the rest is being called.
            outcomes: list[Any] = await asyncio.gather(*called, return_exceptions=True)
        finally:
            _flow.reset(token)
            for future in called:
                future.cancel()  # Of those that are not done: this one is cancelled itself.
        _raise_first(outcomes)
        results: dict[str, Any] = {}
        for saved in outcomes:
            results |= saved
        return results

    async def workflow(given: Given, runtime: Any) -> dict[str, Any]:
        start = runtime.context
        if isinstance(start, Driver):
            return {"results": await carry_out(start)}
        inputs: Mapping[str, Any] = given.get("inputs") or {}
        execution = alone(start.flow, blueprint, inputs, start.settings, interrupts=start.saves)
        async with execution as driver:
            driver.resumed = start.saves
            results = await carry_out(driver)
            _, outputs, _ = driver.run.outcome()
        return {"inputs": driver.run.inputs, "results": results, "outputs": outputs}

    # LangGraph reads what it takes and gives from these.
    workflow.__annotations__ = {"given": Given, "runtime": Any, "return": dict[str, Any]}
    checkpointer = blueprint.choices.checkpointer
    deferred = checkpointer if isinstance(checkpointer, str) else None
    make_entrypoint: Any = entrypoint
    point = make_entrypoint(None if deferred else checkpointer, context_schema=Settings)
    attributes = cast("dict[str, Any]", vars(point(workflow))) | {
        "name": plan.name,
        "auto_validate": False,
    }
    return WorkflowDataflow(blueprint=blueprint, deferred=deferred, **attributes)


def _body(step: Step, part: Part | None) -> Callable[[], Any]:
    """Make the function that waits for a task's dependencies, and does the task."""
    i, dependencies = step.index, step.dependencies

    async def body() -> dict[str, Any]:
        flow = _flow.get()
        for d in dependencies:
            if not await flow.passed[d]:
                raise GraphInterrupt(())  # Nothing is kept of it: it is called again on resume.
        # Not for a call of a tool: what resumes one interrupt may reach the next one as well.
        around = None if step.kind == "tool" else Place(flow.driver, part)
        token = place.set(around)
        try:
            return flow.driver.ending(step, await flow.driver.run.task(i)) or {}
        finally:
            place.reset(token)

    return body


def _passer(flow: _Flow, i: int) -> Callable[[asyncio.Future[Any]], None]:
    """Make what lets those after a task go on."""

    def passed(future: asyncio.Future[Any]) -> None:
        if flow.passed[i].done():
            return
        ended = not future.cancelled() and future.exception() is None
        if ended and flow.driver.resumed:
            flow.driver.adopt(future.result())
        flow.passed[i].set_result(ended)

    return passed


def _raise_first(outcomes: Sequence[Any]) -> None:
    """Raise what broke the workflow, or all interrupts as one."""
    interrupts: list[Any] = []
    broken: BaseException | None = None
    for outcome in outcomes:
        if isinstance(outcome, GraphInterrupt):
            interrupts += outcome.args[0]
        elif isinstance(outcome, BaseException) and (
            broken is None or isinstance(broken, asyncio.CancelledError)
        ):
            broken = outcome
    if broken is not None:
        raise broken
    if interrupts:
        raise GraphInterrupt(tuple(interrupts))
