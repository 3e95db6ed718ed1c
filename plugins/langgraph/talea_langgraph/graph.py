"""A plan as a compiled StateGraph: a node for each task, list joins, Sends, subgraphs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, cast

from langchain_core.runnables import Runnable
from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph  # pyright: ignore[reportMissingTypeStubs]
from langgraph.graph.state import CompiledStateGraph  # pyright: ignore[reportMissingTypeStubs]
from langgraph.runtime import get_runtime
from langgraph.types import Command, Send

from talea.errors import UsageError
from talea.plan import Step
from talea_langgraph.alone import Settings, alone, is_inside, is_saved_around
from talea_langgraph.blueprint import Blueprint
from talea_langgraph.driver import Driver, Part, Place, place
from talea_langgraph.savers import Saved
from talea_langgraph.structure import is_sent, levels, may_interrupt

if TYPE_CHECKING:
    from talea.adapter import Run

_SPARE_STEPS = 25
"""For nodes that a user adds."""
_CHANNELS = frozenset({"inputs", "results", "outputs"})
_OUTPUTS = "outputs.render"
_NOTHING: Mapping[str, Any] = {"results": {}}
"""Given to a subgraph, since LangGraph starts nothing without any input."""


def merge(old: dict[str, Any], new: dict[str, Any] | None) -> dict[str, Any]:
    """Add results to those that are there; None forgets them, as a new run on a thread does."""
    return {} if new is None else {**old, **new}


class State(TypedDict, total=False):
    """The state of a graph, JSON throughout.

    `results` holds, by the task's id (or `id[k]` for an item), its status, output and error.
    `outputs` is there once a workflow that declares outputs has succeeded.
    """

    inputs: dict[str, Any]
    results: Annotated[dict[str, Any], merge]
    outputs: dict[str, Any]


class Item(TypedDict):
    """What a Send carries to the node that does one item."""

    index: int
    item: Any


class WorkflowBuilder(StateGraph[Any, Any, Any, Any]):
    """A StateGraph of a workflow; it may be added to, and compiled again with other settings."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__(State, context_schema=Settings)
        self.blueprint = blueprint

    def compile(self, checkpointer: Any = None, **settings: Any) -> WorkflowGraph:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Compile, as any StateGraph is compiled."""
        deferred = checkpointer if isinstance(checkpointer, str) else None
        settings.setdefault("name", self.blueprint.plan.name)
        plain: Any = super()
        compiled = plain.compile(None if deferred else checkpointer, **settings)
        depth = levels(self.blueprint.plan, self.blueprint.choices.maps).depth
        attributes = cast("dict[str, Any]", vars(compiled)) | {
            "config": {"recursion_limit": depth + _SPARE_STEPS},
            "auto_validate": False,
        }
        return WorkflowGraph(blueprint=self.blueprint, deferred=deferred, **attributes)


class WorkflowGraph(Saved, CompiledStateGraph[Any, Any, Any, Any]):
    """A workflow as a compiled StateGraph.

    It runs by itself, as LangGraph's graphs do: `await graph.ainvoke({"inputs": {…}})`. What a run
    needs beyond the document is its context: `context={"tools": [search], "model": "openai/…"}`.
    """

    def __init__(
        self, *, blueprint: Blueprint, deferred: str | None = None, **attributes: Any
    ) -> None:
        super().__init__(**attributes)
        self.blueprint = blueprint
        self.deferred = deferred
        """A saver that is opened for each execution."""

    async def drive(
        self,
        driver: Driver,
        given: Mapping[str, Any] | None = _NOTHING,
        config: Any = None,
        **settings: Any,
    ) -> None:
        """Carry out a run on this graph; with None it goes on where its checkpoint stands."""
        modes = ["values"] if driver.resumed else list[str]()
        plain: Any = super()
        parts = plain.astream(given, config, context=driver, stream_mode=modes, **settings)
        last: Any = None
        async for part in parts:
            last = part
        if last is not None:
            driver.adopt(last[-1].get("results"))
        await self.blueprint.do_rest(driver)

    async def carry_out(self, run: Run) -> None:
        """Carry out the run of a whole workflow; with a checkpointer, go on where it stands."""
        async with self.with_saver() as graph:
            inputs = {"inputs": run.inputs}
            if not graph.is_saved:
                await graph.drive(Driver(run), inputs)
                return
            config: Any = {"configurable": {"thread_id": run.id}}
            state = await graph.aget_state(config)
            found: Mapping[str, Any] = state.values.get("results") or {}
            driver = Driver(run, resumed=bool(found))
            # What was cut off has come to no end of its own: it is for this run to do.
            kept = {name: one for name, one in found.items() if one.get("status") != "cancelled"}
            driver.adopt(kept)
            # A process that is killed between two writes leaves nothing to go on with; then the
            # graph starts anew, and its nodes find that they are done.
            goes_on = bool(state.next) and len(kept) == len(found)
            durability = self.blueprint.choices.durability
            await graph.drive(driver, None if goes_on else inputs, config, durability=durability)

    async def astream(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input: Any, config: Any = None, *, context: Any = None, **settings: Any
    ) -> AsyncGenerator[Any]:
        """Stream a run, as any graph does. The context is a `Settings`, or a mapping of them.

        Raises `RunError` at the end of a run that failed, `InputError` and the like before.
        """
        async with self.with_saver() as graph:
            if settings.get("durability") is None and graph.is_saved:
                settings["durability"] = self.blueprint.choices.durability
            resumed = input is None or isinstance(input, Command)
            inside = is_inside()
            given: Any = input  # pyright: ignore[reportUnknownVariableType]
            if resumed:
                state = await graph.aget_state(config)
                inputs: Mapping[str, Any] = state.values.get("inputs") or {}
            else:
                inputs = given.get("inputs") or {}
            saves = graph.is_saved or is_saved_around()
            told = Settings.of(context)
            execution = alone(self, self.blueprint, inputs, told, interrupts=saves)
            async with execution as driver:
                driver.resumed = resumed or inside
                if not resumed:
                    given = {"inputs": driver.run.inputs, "results": None}
                plain: Any = super(WorkflowGraph, graph)
                parts = plain.astream(given, config, context=driver, **settings)
                async with aclosing(parts):
                    async for part in parts:
                        yield part
                if resumed:
                    state = await graph.aget_state(config)
                    driver.adopt(state.values.get("results"))


def make_graph(blueprint: Blueprint) -> WorkflowGraph:
    """Build the graph of a plan; the parts of it are there already."""
    plan, maps = blueprint.plan, blueprint.choices.maps
    builder: Any = WorkflowBuilder(blueprint)
    ends = [_node_name(step) for step in plan.steps]
    for step in plan.steps:
        name = _node_name(step)
        part: Part | None = blueprint.parts.get(id(step.plan))
        asks = may_interrupt(plan, step)
        if is_sent(step, maps):
            ends[step.index] = f"{name}.end"
            _add_map(builder, step, name, part, asks)
        else:
            builder.add_node(name, _node(_task_work(step), part, asks), input_schema=State)
    for step in plan.steps:
        _add_edge(builder, [ends[d] for d in step.dependencies], _node_name(step))
    last = [ends[step.index] for step in plan.steps if not step.successors]
    if plan.path == () and plan.workflow.outputs:
        builder.add_node(_OUTPUTS, Node(_render_outputs), input_schema=State)
        _add_edge(builder, last, _OUTPUTS)
        last = [_OUTPUTS]
    for name in last or [START]:
        builder.add_edge(name, END)
    return builder.compile(blueprint.choices.checkpointer)


def _add_edge(builder: Any, before: list[str], name: str) -> None:
    match before:
        case []:
            builder.add_edge(START, name)
        case [one]:
            builder.add_edge(one, name)
        case _:
            builder.add_edge(before, name)  # One edge of many: each by itself would run the node.


def _node_name(step: Step) -> str:
    """Name a node: by the task's id, which LangGraph takes unless a channel has that name."""
    return f"{step.id}.task" if step.id in _CHANNELS else step.id


class Node(Runnable[Any, Any]):
    """A node of a graph.

    Of a plain function LangGraph would read the signature and search the code for subgraphs, which
    takes longer than all the rest of building a graph.
    """

    def __init__(self, work: Callable[[Any, Driver], Awaitable[Any]]) -> None:
        self._work = work

    def invoke(self, input: Any, config: Any = None, **_: Any) -> Any:
        """Refuse: a run needs an event loop. Raises `UsageError`."""
        raise UsageError("a workflow's graph is async", "await graph.ainvoke(…), or astream")

    async def ainvoke(self, input: Any, config: Any = None, **_: Any) -> Any:
        """Do the node's work."""
        return await self._work(input, get_runtime(Driver).context)


def _node(
    work: Callable[[Any, Driver], Awaitable[Any]], part: Part | None, asks: bool
) -> Node | Callable[..., Any]:
    """Make the node that does a task's work, or that of an item of it."""
    if part is None and not asks:
        return Node(work)

    async def placed(state: Any, runtime: Any) -> Any:
        # A function, so that LangGraph finds the subgraph in it.
        token = place.set(Place(runtime.context, part))
        try:
            return await work(state, runtime.context)
        finally:
            place.reset(token)

    return placed


def _task_work(step: Step) -> Callable[[State, Driver], Awaitable[Any]]:
    """Give the whole of a task."""
    i = step.index

    async def work(state: State, driver: Driver) -> dict[str, Any] | None:
        if driver.resumed:
            driver.adopt(state.get("results"))
        results = driver.ending(step, await driver.run.task(i))
        return None if results is None else {"results": results}

    return work


def _add_map(builder: Any, step: Step, name: str, part: Part | None, asks: bool) -> None:
    """Add the three nodes of a map: the list, each item, the join."""
    i, id, item_name, end_name = step.index, step.id, f"{name}.item", f"{name}.end"

    async def begin(state: State, driver: Driver) -> Command[Any]:
        if driver.resumed:
            driver.adopt(state.get("results"))
        items = driver.run.open(i)
        if not items:
            return Command(goto=end_name)
        return Command(
            goto=[Send(item_name, Item(index=k, item=item)) for k, item in enumerate(items)]
        )

    async def do_item(state: Item, driver: Driver) -> dict[str, Any] | None:
        k = state["index"]
        if driver.resumed:
            driver.adopt(_read_results())
            driver.run.open(i)  # It may have been opened by another process.
        await driver.run.item(i, k)
        saved = driver.run.snapshot(i, k)
        return None if saved is None else {"results": {f"{id}[{k}]": saved}}

    async def join(state: State, driver: Driver) -> dict[str, Any] | None:
        if driver.resumed:
            driver.adopt(state.get("results"))
            driver.run.open(i)
        results = driver.ending(step, driver.run.close(i))
        return None if results is None else {"results": results}

    destinations = (item_name, end_name)
    builder.add_node(name, Node(begin), input_schema=State, destinations=destinations)
    builder.add_node(item_name, _node(do_item, part, asks), input_schema=Item)
    builder.add_node(end_name, Node(join), input_schema=State)
    builder.add_edge(item_name, end_name)


def _read_results() -> dict[str, Any]:
    """Read the state within a node that was sent to, which is given only what was sent."""
    read: Any = get_config()["configurable"]["__pregel_read"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
    return read("results", False)


async def _render_outputs(state: State, driver: Driver) -> dict[str, Any] | None:
    if driver.resumed:
        driver.adopt(state.get("results"))
    _, outputs, _ = driver.run.outcome()
    return None if outputs is None else {"outputs": outputs}
