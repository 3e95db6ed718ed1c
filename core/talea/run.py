"""The whole path from a document to a result, on one screen.

    prepare   plan, house rules, adapter, features, inputs, tools, endpoints, compile
    Prepared  .run(): opened (gateway, session), execute, result

Everything that can be wrong before a run is found by `prepare`, and raised; a task that fails later
is data in the `Result`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import warnings
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from talea import ir, plugins
from talea.adapter import Adapter, AskCall, Feature, Level, Support
from talea.balance import STRATEGIES, Strategy
from talea.errors import (
    DocumentError,
    ErrorType,
    InputError,
    Lack,
    PluginError,
    Severity,
    UnsupportedError,
    UsageError,
)
from talea.events import Event, Failure, RunEnded, RunMetered, RunStarted, Sink, Status
from talea.failures import harmless, said_by
from talea.kernel import Execution, Run
from talea.kernel.desks import Desks
from talea.kernel.past import Durability, Past, Stand
from talea.kernel.people import Earlier
from talea.load import load
from talea.plan import Plan, check_inputs, make_plan
from talea.result import Result, fold
from talea.route import Route, Wishes, cost_of, find_route
from talea.tools import BoundTool, bind, stand_in

if TYPE_CHECKING:
    from talea.journal import Keeper, Keeping, RunRow

DEFAULT_FRAMEWORK = "simple"

Answers = Mapping[str, Any] | Iterable[tuple[str, Any]]
"""Answers to `ask` tasks by address; as pairs where one address is asked several times."""
Ask = Callable[[AskCall], Any | Awaitable[Any]]
"""Answers a question, or raises `talea.adapter.Unanswered`; may be async."""

_OF_PEOPLE = frozenset({Feature.ASK, Feature.APPROVE})
_OF_AGENTS = frozenset({Feature.AGENT, Feature.AGENT_TOOLS, Feature.CONTEXT, Feature.OUTPUT})
"""What the agents' adapter answers for, where it is not the one that schedules."""


@dataclass
class Prepared:
    """A run that is ready to start: it has been checked, and nothing has happened yet."""

    plan: Plan
    adapter: Adapter[Any]
    agents: Adapter[Any] | None
    compiled: Any
    inputs: dict[str, Any]
    tools: dict[int, dict[str, BoundTool]]
    route: Route
    run_id: str
    sinks: list[Sink]
    answers: dict[str, list[Any]]
    asker: Ask | None
    strategies: Mapping[str, Callable[[], Strategy]] = field(default_factory=dict[str, Any])
    """What makes the strategies by which pools choose, by name."""
    seed: int | None = None
    model: str | None = None
    """For agents that name none."""
    keeping: Keeping | None = None
    earlier: Earlier = field(default_factory=Earlier, init=False)
    """What people have answered already, where attempts of a run that was cut off go on."""
    result: Result | None = field(default=None, init=False)
    """What it came to; None until it has ended."""
    _root: Run | None = field(default=None, init=False)

    @property
    def warnings(self) -> list[str]:
        """What need not stop the run, and the caller should know of before."""
        return self.route.warnings

    def stop(self) -> None:
        """End the run in order, as an interrupt by the user does; `run` then gives its result."""
        if self._root is not None:
            self._root.stop("interrupted")

    async def run(self) -> Result:
        """Carry the run out. A task's failure is in the result; only a cancellation raises."""
        try:
            async with self.opened() as root:
                hook = plugins.manager().hook
                await hook.talea_execute(adapter=self.adapter, compiled=self.compiled, run=root)
        except Exception:  # A framework's own fault ends the run, as data.
            if self.result is None:
                raise
        assert self.result is not None
        return self.result

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Run]:
        """Open what the run needs, and give it to whoever drives it; `result` is there afterwards.

        What the driver raises ends the run, and is raised here as well.
        """
        plan = self.plan
        keeper, past = self.keeping.open() if self.keeping else (None, None)
        if past is not None:
            self.earlier = Earlier(past.answers)
            self.route.before = replace(past.usage)
        execution = Execution(
            self.adapter,
            run_id=self.run_id,
            limits=plan.limits,
            desks=Desks(plan, self.strategies, self.model),
            seed=self.seed,
            agents=self.agents,
            tools=self.tools,
            answers=self.answers,
            asker=self.asker,
            price=cost_of if self.route.wishes.asks_models else None,
            sinks=self.sinks,
            counts_people=not plan.features.isdisjoint(_OF_PEOPLE),
            earlier=self.earlier,
            journal=keeper,
            past=past,
        )
        root = self._root = Run(execution, plan, self.inputs)
        if keeper is not None:
            _stop_on_failure(keeper, root)
        began = past.elapsed if past else 0.0
        earlier = (past or Past(())).used_before()
        execution.record(RunStarted(began, self.run_id, plan.name, self.adapter.name))
        broken: Exception | None = None
        ended: float | None = None
        try:
            if past is not None:
                root.adopt(past.take_inside(""))
            with self.route.open(self.run_id) as way:
                execution.endpoint, execution.tape = way.endpoint, way.tape
                execution.metered = way.account.used if way.account is not None else None
                try:
                    async with (self.agents or self.adapter).session(root) as session:
                        execution.session = session
                        execution.start(root)
                        yield root
                finally:
                    ended = execution.now  # Asking what the gateway saw is no part of the run.
                    if (calls := way.calls()) is not None:
                        execution.record(RunMetered(ended, calls, *earlier))
        except BaseException as error:
            broken = error if isinstance(error, Exception) else None
            root.stop("interrupted")
            raise
        finally:
            execution.close()
            self.result = self._end(execution, root, broken, keeper, ended)

    def _end(
        self,
        execution: Execution,
        root: Run,
        broken: Exception | None,
        keeper: Keeper | None,
        ended: float | None,
    ) -> Result:
        status, outputs, error = root.outcome()
        if broken is not None and execution.crossed is None:
            status, outputs = Status.FAILED, None
            words = f"{type(broken).__name__}: {said_by(broken)}".rstrip(": ")
            error = Failure(ErrorType.INTERNAL.value, words, None, harmless(broken))
        now = execution.now if ended is None else ended
        notes = list(self.route.notes)
        if keeper is not None:
            unwritten = _close(keeper, self.run_id, status, outputs, error)
            if unwritten is not None and status is Status.CANCELLED:
                status, error = Status.FAILED, unwritten
            elif unwritten is not None:
                notes.append(unwritten.message)
        execution.record(RunEnded(now, status, outputs, error, execution.usage, execution.agents))
        result = fold(execution.ledger, tasks=self.plan.ids)
        result.notes = tuple(notes)
        return result


def prepare(
    workflow: ir.Workflow | str | Path,
    inputs: Mapping[str, Any] | None = None,
    *,
    framework: str | Adapter[Any] = DEFAULT_FRAMEWORK,
    tools: Mapping[str, Callable[..., Any]] | Iterable[Callable[..., Any]] | None = None,
    model: str | None = None,
    options: Mapping[str, str] | None = None,
    answers: Answers | None = None,
    ask: Ask | None = None,
    offline: bool = False,
    replay: Any = None,
    meter: bool = False,
    record: str | Path | None = None,
    record_tools: bool = False,
    faults: Any = None,
    save_prompts: bool = False,
    allow_hosts: Sequence[str] = (),
    sinks: Sequence[Sink] = (),
    agents: str | None = None,
    run_id: str | None = None,
    compiled: Any = None,
    seed: int | None = None,
    doors: Sequence[str] = (),
    tape: str | None = None,
    journal: str | Path | None = None,
    durability: Durability = "normal",
    resumed: RunRow | None = None,
) -> Prepared:
    """Check all that a run needs, and compile. Nothing runs yet, and nothing is connected to.

    `replay` is a cassette or the path of one. With `meter`, the gateway stands between agents and
    their models and counts; with `record` it writes a cassette as well, with `record_tools` also of
    what tools gave; `faults` are rules by which calls go wrong, or the path of a file of them.
    A `journal` is the path of a file that keeps what the run comes to, so that it can be resumed
    after a crash; `durability="full"` keeps it through a loss of power as well. `resumed` is the
    row of a run that goes on.
    `doors` and `tape` lead to a gateway in another process. `agents` names a framework whose agents
    answer on `framework`'s schedule. `compiled` is the framework's object where it is there
    already. With a `seed`, what is left to chance repeats: the pauses of retries, and the choices
    of strategies.
    Raises `DocumentError`, `UsageError` and its kinds, `UnsupportedError`.
    """
    document = _document(workflow)
    plan = _checked_plan(document)
    adapter = framework if isinstance(framework, Adapter) else _adapter(framework)
    others = _adapter(agents) if agents is not None and agents != adapter.name else None
    _check_features(plan, adapter, others)
    wishes = Wishes(
        offline, replay, meter, record, record_tools, faults, save_prompts, tuple(doors), tape
    )
    ready = check_inputs(plan, _as_json(inputs or {}))
    route = route_of(plan, wishes, model=model, allow_hosts=allow_hosts)
    given = by_name(tools)
    bound = {id(one): _bind(one, given, route) for one in route.documents}
    if compiled is None:
        hook = plugins.manager().hook
        compiled = hook.talea_compile(adapter=adapter, plan=plan, options=options or {})
    run_id = run_id or secrets.token_hex(8)
    keeping = None
    if journal is not None:
        from talea.journal import Keeping, RunRow, pin, source_of

        if seed is None:
            seed = secrets.randbits(32)  # So that a run that goes on makes the same choices.
        settings = {
            "agents": agents,
            "model": model,
            "offline": offline,
            "replay": str(Path(replay).absolute()) if isinstance(replay, str | Path) else None,
            "meter": meter,
            "seed": seed,
            "options": options or {},
        }
        row = resumed or RunRow.new(run_id, plan.name)
        row.document, row.source = pin(document), row.source or source_of(document)
        row.inputs, row.settings = ready, settings
        row.framework, row.versions = adapter.name, plugins.versions(adapter.name)
        keeping = Keeping(Path(journal), durability, row, resumed is not None)
    return Prepared(
        plan,
        adapter,
        others,
        compiled,
        ready,
        bound,
        route,
        run_id,
        [*sinks, *plugins.sinks(document, adapter.name)],
        _listed(answers),
        ask,
        _strategies(plan),
        seed,
        model,
        keeping=keeping,
    )


async def arun(
    workflow: ir.Workflow | str | Path, inputs: Mapping[str, Any] | None = None, **settings: Any
) -> Result:
    """Run a workflow; the settings are those of `prepare`.

    A failed run is a result, not an exception: ask `result.succeeded`, or call
    `result.raise_for_failure()`. Raises what `prepare` raises; warns of a limit that cannot hold.
    """
    prepared = prepare(workflow, inputs, **settings)
    _warn(prepared)
    return await prepared.run()


def run(
    workflow: ir.Workflow | str | Path, inputs: Mapping[str, Any] | None = None, **settings: Any
) -> Result:
    """Run a workflow from code that is not async; see `arun`."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(arun(workflow, inputs, **settings))
    raise UsageError("talea.run was called inside a running event loop", "await talea.arun(…)")


async def stream(
    workflow: ir.Workflow | str | Path, inputs: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Event]:
    """Run a workflow and give its events as they happen; the last one is `RunEnded`.

    Leaving the loop early ends the run: `async with contextlib.aclosing(talea.stream(…))`.
    """
    events: asyncio.Queue[Event] = asyncio.Queue()
    settings["sinks"] = [*settings.get("sinks", ()), events.put_nowait]
    prepared = prepare(workflow, inputs, **settings)
    _warn(prepared)
    running = asyncio.ensure_future(prepared.run())
    try:
        while True:
            waiting = asyncio.ensure_future(events.get())
            await asyncio.wait([waiting, running], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                waiting.cancel()
                if events.empty():
                    running.result()  # Raises what ended the run without a word.
                    return
                continue
            yield waiting.result()
            if isinstance(waiting.result(), RunEnded):
                await running
                return
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def compile(
    workflow: ir.Workflow | str | Path,
    framework: str = DEFAULT_FRAMEWORK,
    options: Mapping[str, str] | None = None,
) -> Any:
    """Build the framework's own object: a StateGraph, a Crew or Flow, a schedule.

    Raises `DocumentError`, `PluginError`, and `UnsupportedError` where the framework lacks what
    the workflow needs.
    """
    plan = _checked_plan(_document(workflow))
    adapter = _adapter(framework)
    _check_features(plan, adapter, None)
    return plugins.manager().hook.talea_compile(adapter=adapter, plan=plan, options=options or {})


def lacks_of(plan: Plan, adapter: Adapter[Any], agents: Adapter[Any] | None = None) -> list[Lack]:
    """List what a plan needs and a framework does not have, without the frameworks that do."""

    def support(feature: Feature) -> Support:
        one = agents if agents is not None and feature in _OF_AGENTS else adapter
        unknown = Support(Level.NOT_YET, f"{one.name!r} does not know this feature")
        return one.features.get(feature, unknown)

    lacking = {feature: found for feature in plan.features if not (found := support(feature)).runs}
    if not lacking:
        return []
    return [
        Lack(task, feature.value, lacking[feature].reason)
        for task, feature in plan.needs
        if feature in lacking
    ]


def _warn(prepared: Prepared) -> None:
    for text in prepared.warnings:
        warnings.warn(text, UserWarning, stacklevel=3)


def _stop_on_failure(keeper: Keeper, root: Run) -> None:
    """End a run in order when it cannot be kept any more: what it did would be done again."""
    execution, thread = root.execution, threading.get_ident()

    def stop() -> None:
        if threading.get_ident() == thread:
            root.stop("interrupted")
            return
        with suppress(RuntimeError):  # The loop is closed: the run is at its end anyway.
            execution.loop.call_soon_threadsafe(root.stop, "interrupted")

    keeper.stand = lambda: Stand(
        execution.now, execution.time_used(), execution.used(), dict(execution.agents)
    )
    keeper.on_failure = stop


def _close(
    keeper: Keeper, run_id: str, status: Status, outputs: Any, error: Failure | None
) -> Failure | None:
    """Write the end of a run into its journal; give the reason if that fails."""
    try:
        keeper.close(status, outputs, error)
    except UsageError as unwritten:
        words = f"{unwritten.message}; once it can be, `talea resume {run_id}` goes on"
        return Failure(ErrorType.INTERNAL.value, words, None, unwritten)
    return None


def _document(workflow: ir.Workflow | str | Path) -> ir.Workflow:
    return workflow if isinstance(workflow, ir.Workflow) else load(workflow)


def _adapter(framework: str) -> Adapter[Any]:
    return plugins.get_adapter(framework, to_run=True)


def _checked_plan(document: ir.Workflow) -> Plan:
    plan = make_plan(document)
    issues = plugins.check(document)
    if any(issue.severity is Severity.ERROR for issue in issues):
        raise DocumentError(issues)
    return plan


def _check_features(plan: Plan, adapter: Adapter[Any], agents: Adapter[Any] | None) -> None:
    lacks = lacks_of(plan, adapter, agents)
    if not lacks:
        return
    names = [info.name for info in plugins.frameworks() if info.status == "ready"]
    having: dict[str, list[str]] = {}
    for name in names:
        try:
            features = plugins.get_adapter(name).features
        except PluginError:
            continue
        for lack in lacks:
            support = features.get(Feature(lack.feature))
            if support is not None and support.runs:
                found = having.setdefault(lack.feature, [])
                if name not in found:
                    found.append(name)
    told = [replace(lack, frameworks=tuple(having.get(lack.feature, ()))) for lack in lacks]
    raise UnsupportedError(adapter.name, told)


def by_name(
    tools: Mapping[str, Callable[..., Any]] | Iterable[Callable[..., Any]] | None,
) -> dict[str, Callable[..., Any]]:
    """Give the caller's functions by name, each by its own where none is given."""
    if tools is None:
        return {}
    if isinstance(tools, Mapping):
        return dict(cast("Mapping[str, Callable[..., Any]]", tools))
    return {getattr(function, "__name__", repr(function)): function for function in tools}


def route_of(
    plan: Plan, wishes: Wishes, *, model: str | None = None, allow_hosts: Sequence[str] = ()
) -> Route:
    """Find the way to the models of all agents of a plan.

    Raises what `find_route` raises, and `DocumentError` for rules of faults that cannot be read, or
    that befall no call of the plan.
    """
    if wishes.faults is not None and not wishes.doors:
        from talea.gateway.review import faults_for

        wishes = replace(wishes, faults=faults_for(plan, wishes.faults))
    documents = list({id(inner.workflow): inner.workflow for inner in plan.plans()}.values())
    agents = [_agents_of(plan, document) for document in documents]
    return find_route(documents, agents, wishes, model=model, allow_hosts=allow_hosts)


def check_tools(plan: Plan, tools: Mapping[str, Callable[..., Any]]) -> None:
    """Raise `UsageError` for tools that have no code, and for functions that cannot be used."""
    for document in {id(inner.workflow): inner.workflow for inner in plan.plans()}.values():
        bind(document.tools, tools, _offered(document, tools))


def _bind(
    document: ir.Workflow, given: Mapping[str, Callable[..., Any]], route: Route
) -> dict[str, BoundTool]:
    offered = _offered(document, given)
    if route.player is not None:
        # What a cassette has the results of needs no code.
        absent = document.tools.keys() - given.keys() - offered.keys()
        offered |= {name: stand_in(document.tools[name]) for name in absent}
    return bind(document.tools, given, offered)


def _offered(
    document: ir.Workflow, given: Mapping[str, Callable[..., Any]]
) -> dict[str, Callable[..., Any]]:
    """Give the tools that plugins provide, where the caller gives none."""
    return {
        name: function
        for name in document.tools
        if name not in given and (function := plugins.tool(name)) is not None
    }


def _agents_of(plan: Plan, document: ir.Workflow) -> list[str]:
    found: dict[str, None] = {}
    for inner in plan.plans():
        if inner.workflow is document:
            found.update((name, None) for step in inner.steps for name in step.agents)
    return list(found)


def _strategies(plan: Plan) -> dict[str, Callable[[], Strategy]]:
    """Find the strategies by which pools choose: talea's own, or a plugin's."""
    found: dict[str, Callable[[], Strategy]] = {}
    for name in {step.balance for inner in plan.plans() for step in inner.steps}:
        if name is not None:
            make = STRATEGIES.get(name) or plugins.strategy(name)
            if make is None or not isinstance(make(), Strategy):
                raise PluginError(f"what plugins offer as {name!r} makes no talea.balance.Strategy")
            found[name] = make
    return found


def _as_json(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Give the caller's inputs as JSON data of our own: what happens to theirs changes nothing."""
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        try:
            found[name] = json.loads(json.dumps(value, allow_nan=False))
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(f"the input {name!r} is no JSON data: {error}") from error
    return found


def _listed(answers: Answers | None) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    if answers is not None:
        given = cast("Any", answers.items() if isinstance(answers, Mapping) else answers)
        for address, answer in cast("Iterable[tuple[str, Any]]", given):
            found.setdefault(address, []).append(answer)
    return found
