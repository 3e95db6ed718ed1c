"""Pools: what each strategy promises, and what holds of the kernel whatever the strategy."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import talea
from talea import ir, plugins
from talea.balance import STRATEGIES, Candidate, Request, Strategy
from talea.conformance.looptime import run_in_virtual_time
from talea.conformance.scenario import Behaviour, Scenario
from talea.conformance.world import Agents, World, observe
from talea.errors import ErrorType
from talea.events import AgentChosen, AgentEnded, AgentStarted
from talea.kernel.rates import Rate
from talea.run import prepare

NAMES = ("a", "b", "c", "d")


class Bench:
    """Agents that a strategy chooses among, and calls that begin and end."""

    def __init__(self, strategy: str, *names: str, seed: int = 1, **more: Sequence[Any]) -> None:
        self.strategy = STRATEGIES[strategy]()
        self.pool = [
            Candidate(name, place, **{key: value[place] for key, value in more.items()})
            for place, name in enumerate(names)
        ]
        self.random = Random(seed)

    def choose(self, key: str = "t", without: Sequence[str] = ()) -> Candidate:
        request = Request(key, self.pool, self.random, lambda: key)
        able = [candidate for candidate in self.pool if candidate.name not in without]
        return self.strategy.choose(able, request)

    def begin(self, chosen: Candidate) -> None:
        chosen.count(chosen.in_flight + 1)
        self.strategy.began(chosen)

    def end(self, chosen: Candidate, seconds: float, failure: ErrorType | None = None) -> None:
        chosen.count(chosen.in_flight - 1)
        self.strategy.ended(chosen, seconds, failure)

    def called(self, count: int, seconds: dict[str, float]) -> str:
        """Make calls one after the other; give who had them."""
        had: list[str] = []
        for _ in range(count):
            chosen = self.choose()
            self.begin(chosen)
            self.end(chosen, seconds[chosen.name])
            had.append(chosen.name)
        return "".join(had)


def test_round_robin_passes_over_who_cannot() -> None:
    bench = Bench("round_robin", "a", "b", "c")
    assert [bench.choose(without=w).name for w in ("", "b", "", "c", "")] == list("acabc")


def test_shares_are_as_weights_and_evenly_spread() -> None:
    bench = Bench("weighted", "a", "b", "c", weight=(5.0, 1.0, 1.0))
    had = "".join(bench.choose().name for _ in range(70))
    assert Counter(had) == {"a": 50, "b": 10, "c": 10}
    assert "aaaaaaa" not in had


def test_weights_owe_nothing_for_turns_that_could_not_be_taken() -> None:
    bench = Bench("weighted", "a", "b", weight=(1.0, 1.0))
    for _ in range(50):
        assert bench.choose(without="a").name == "b"
    assert Counter(bench.choose().name for _ in range(20))["a"] <= 11


def test_of_two_the_less_loaded_is_chosen() -> None:
    bench = Bench("power_of_two", *NAMES)
    bench.pool[2].count(9)
    assert Counter(bench.choose().name for _ in range(200))["c"] == 0
    assert {bench.choose().name for _ in range(50)} == {"a", "b", "d"}


def test_the_fastest_has_most_calls_and_others_are_tried_again() -> None:
    seconds = {"a": 0.3, "b": 0.1, "c": 0.2}
    bench = Bench("fastest", "a", "b", "c")
    had = Counter(bench.called(300, seconds))
    assert had["b"] > 250
    assert min(had.values()) > 3
    assert bench.called(600, seconds | {"a": 0.01})[400:].count("a") > 150


def test_an_agent_that_fails_fast_is_no_fast_one() -> None:
    bench = Bench("fastest", "a", "b")
    had = Counter[str]()
    for _ in range(200):
        chosen = bench.choose()
        bench.begin(chosen)
        fails = chosen.name == "a"
        bench.end(chosen, 0.01 if fails else 0.1, ErrorType.TOOL_ERROR if fails else None)
        had[chosen.name] += 1
    assert had["b"] > 150


@pytest.mark.parametrize("strategy", ["fastest", "contract_net"])
def test_new_agents_are_all_tried_before_any_is_known(strategy: str) -> None:
    bench = Bench(strategy, *NAMES, seed=3)
    for _ in range(40):
        bench.begin(bench.choose())
    assert max(one.in_flight for one in bench.pool) - min(o.in_flight for o in bench.pool) <= 6


def test_the_lowest_bid_is_by_time_and_load_and_ties_are_broken_by_id() -> None:
    bench = Bench("contract_net", "c", "a", "b")
    assert bench.choose().name == "a"
    for one, seconds in zip(bench.pool, (0.1, 0.15, 0.3), strict=True):
        bench.begin(one)
        bench.end(one, seconds)
    assert bench.choose().name == "c"
    bench.begin(bench.pool[0])
    assert bench.choose().name == "a", "c is expected to be done in 0.2 s, and a in 0.15"
    bench.begin(bench.pool[1])
    assert bench.choose().name == "c", "0.2 s against 0.3 and 0.3"
    bench.begin(bench.pool[0])
    assert bench.choose().name == "a", "a and b bid 0.3 s"


def test_the_same_key_has_the_same_agent_and_only_who_must_moves() -> None:
    bench, other = Bench("sticky", *NAMES), Bench("sticky", *reversed(NAMES), seed=2)
    keys = [f"customer {n}" for n in range(400)]
    homes = {key: bench.choose(key).name for key in keys}
    assert {key: other.choose(key).name for key in keys} == homes
    assert min(Counter(homes.values()).values()) > 60
    moved = {key: bench.choose(key, without="b").name for key in keys}
    assert all(moved[key] == home or home == "b" for key, home in homes.items())
    assert {key: bench.choose(key).name for key in keys} == homes


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_seed_chooses_the_same(strategy: str) -> None:
    seconds = {name: 0.1 * at for at, name in enumerate(NAMES, 1)}
    one, again = (Bench(strategy, *NAMES, seed=5).called(60, seconds) for _ in range(2))
    assert one == again


# Whatever the strategy --------------------------------------------------------------------------


@st.composite
def crowds(draw: st.DrawFn) -> tuple[ir.Workflow, Scenario]:
    """Give a workflow of tasks for pools that share agents, and calls that go well or badly."""
    agents = {
        name: {
            "model": "openai/test",
            "max_parallel": draw(st.sampled_from([1, 2, None])),
            "weight": draw(st.sampled_from([1.0, 3.0])),
            "capabilities": draw(st.lists(st.sampled_from("xy"), unique=True)),
        }
        for name in NAMES
    }
    members = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)
    pools = {
        name: {"agents": draw(members), "balance": draw(st.sampled_from(sorted(STRATEGIES)))}
        for name in ("p", "q")
    }
    who: list[dict[str, Any]] = [{"pool": "p"}, {"pool": "q"}, {"agent": "a"}]
    who += (
        [{"capabilities": ["x"]}]
        if any("x" in one["capabilities"] for one in agents.values())
        else []
    )
    tasks: dict[str, Any] = {}
    calls: dict[str, list[Behaviour]] = {}
    for number in range(draw(st.integers(1, 5))):
        name = f"t{number}"
        tasks[name] = {
            **draw(st.sampled_from(who)),
            "prompt": "p",
            "for_each": list(range(draw(st.integers(1, 6)))),
            "timeout": draw(st.sampled_from(["300ms", "2s"])),
            "retry": {"max_attempts": draw(st.integers(1, 3)), "initial_interval": "100ms"},
            "output": {"type": "string", "pattern": "ok"},
        }
        errors = st.sampled_from([None, "rate_limit", "server_error", "tool_error", "model_error"])
        calls[name] = [
            Behaviour(
                delay=draw(st.floats(0.001, 0.5)),
                error=draw(errors),
                hang=draw(st.booleans()) and draw(st.booleans()),
                result=draw(st.sampled_from(["ok", "unfit"])),
            )
            for _ in range(draw(st.integers(1, 3)))
        ]
    limits = {"max_parallel": draw(st.sampled_from([None, 2, 5]))}
    if draw(st.booleans()):
        limits["timeout"] = f"{draw(st.integers(200, 4000))}ms"
    document = {
        "name": "crowd", "agents": agents, "pools": pools, "tasks": tasks,
        "limits": {key: value for key, value in limits.items() if value is not None},
        "on_failure": draw(st.sampled_from(["stop", "continue"])),
    }  # fmt: skip
    return ir.Workflow.model_validate(document), Scenario(calls)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(crowds(), st.integers(0, 9))
def test_bounds_hold_loads_come_back_to_0_and_nobody_from_outside_is_chosen(
    crowd: tuple[ir.Workflow, Scenario], seed: int
) -> None:
    workflow, scenario = crowd
    events: list[Any] = []

    async def run() -> Any:
        prepared = prepare(workflow, sinks=[events.append], seed=seed)
        prepared.agents = Agents(World(scenario))
        async with prepared.opened() as root:
            await prepared.adapter.execute(prepared.compiled, root)
        return root.execution.desks  # pyright: ignore[reportAttributeAccessIssue]

    desks = run_in_virtual_time(run())
    at_work = Counter[str]()
    expected: dict[str, str] = {}
    for event in events:
        if isinstance(event, AgentChosen):
            expected[event.address] = event.agent
            task = workflow.tasks[event.address.partition("[")[0]]
            assert isinstance(task, ir.AgentTask)
            assert event.pool == task.pool
            members = workflow.pools[event.pool].agents if event.pool else [
                name for name, one in workflow.agents.items() if "x" in one.capabilities
            ]  # fmt: skip
            assert event.agent in members
            assert set(event.loads) == set(members)
            assert event.loads[event.agent] < (workflow.agents[event.agent].max_parallel or 99)
        elif isinstance(event, AgentStarted):
            assert expected.get(event.address, event.agent) == event.agent
            at_work[event.agent] += 1
            assert at_work[event.agent] <= (workflow.agents[event.agent].max_parallel or 99)
            assert at_work.total() <= (workflow.limits.max_parallel or 99)
        elif isinstance(event, AgentEnded):
            at_work[event.agent] -= 1
    for desk in desks:
        assert desk.taken == 0
        for _, candidate in desk.seats:
            assert (candidate.in_flight, candidate.load) == (0, 0.0)


def test_loads_come_back_to_0_where_a_run_is_interrupted() -> None:
    workflow = talea.loads(
        "talea: 1\nname: x\nagents: {a: {model: openai/m, max_parallel: 1}, b: {model: openai/m}}\n"
        "pools: {p: {agents: [a, b]}}\n"
        "tasks: {t: {for_each: [1, 2, 3, 4], pool: p, prompt: x}}"
    )

    async def run() -> Any:
        prepared = prepare(workflow)
        prepared.agents = Agents(World(Scenario({"t": [Behaviour(hang=True)]})))
        asyncio.get_running_loop().call_later(1.0, prepared.stop)
        async with prepared.opened() as root:
            await prepared.adapter.execute(prepared.compiled, root)
        assert prepared.result is not None
        assert prepared.result.status == "cancelled"
        return root.execution.desks  # pyright: ignore[reportAttributeAccessIssue]

    assert [desk.taken for desk in run_in_virtual_time(run())] == [0, 0]


def test_items_of_one_key_have_one_agent_also_of_several_tasks() -> None:
    workflow = talea.loads(
        "talea: 1\nname: x\nmodel: openai/m\nagents: {a: {max_parallel: 1}, b: {}, c: {}}\n"
        "pools: {p: {agents: [a, b, c], balance: sticky}}\n"
        "tasks:\n  t: {for_each: [u, v, w, x, y, z], pool: p, prompt: x}\n"
        "  block: {for_each: [u, v, w, x, y, z], tasks: {s: {pool: p, prompt: x}}}"
    )
    seen = observe(workflow, {}, Scenario())
    agents: dict[str, set[str]] = defaultdict(set)
    for event in seen.events:
        if isinstance(event, AgentStarted):
            agents[event.address.partition("[")[2][0]].add(event.agent)
    assert [len(one) for one in agents.values()] == [1] * 6
    assert len(set.union(*agents.values())) == 3


# Strategies of plugins --------------------------------------------------------------------------

POOL = """
talea: 1
name: x
agents: {a: {model: openai/m}, b: {model: openai/m}}
pools: {p: {agents: [b, a], balance: %s}}
tasks: {t: {pool: p, prompt: x}}
"""


class Alphabetical(Strategy):
    def choose(self, candidates: Sequence[Candidate], request: Request) -> Candidate:
        return min(candidates, key=lambda one: one.name)


class Stranger(Strategy):
    def choose(self, candidates: Sequence[Candidate], request: Request) -> Candidate:
        return Candidate("z")


class Deaf(Alphabetical):
    def began(self, candidate: Candidate) -> None:
        raise ZeroDivisionError("no")


@pytest.fixture
def offered() -> Iterator[None]:
    class Plugin:
        @plugins.hookimpl
        def talea_strategies(self) -> Any:
            return {"alphabetical": Alphabetical, "stranger": Stranger, "deaf": Deaf, "odd": dict}

    registry = plugins.registry()
    info = plugins.PluginInfo("own", None, None)
    plugin = Plugin()
    registry.add(info, lambda: plugin)
    yield
    registry.manager.unregister(plugin)
    registry.plugins.remove(info)


@pytest.mark.usefixtures("offered")
def test_a_plugins_strategy_chooses() -> None:
    result = observe(talea.loads(POOL % "alphabetical"), {}, Scenario()).result
    assert result.tasks["t"].agent == "a"


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize(
    ("balance", "words"),
    [("stranger", "Stranger of pool 'p' chose Candidate"), ("deaf", "Deaf of pool 'p' failed")],
)
def test_a_strategy_that_is_broken_fails_the_task_as_internal(balance: str, words: str) -> None:
    text = (POOL % balance).replace("tasks: {t:", "tasks: {s: {pool: p, prompt: x}, t:")
    error = observe(talea.loads(text), {}, Scenario()).result.error
    assert error is not None
    assert error.type == "internal"
    assert words in error.message


@pytest.mark.usefixtures("offered")
def test_what_makes_no_strategy_is_refused() -> None:
    with pytest.raises(talea.PluginError, match="'odd' makes no"):
        prepare(talea.loads(POOL % "odd"))


def test_an_unknown_strategy_is_refused_where_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text(POOL.strip() % "least_load")
    with pytest.raises(talea.DocumentError) as caught:
        prepare(path)
    (issue,) = caught.value.issues
    assert issue.message == "unknown strategy 'least_load'"
    assert (issue.path, issue.line, issue.hint) == (
        "pools.p.balance", 4, "did you mean 'least_loaded'?",
    )  # fmt: skip


# Rates ------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 5))
def test_no_minute_has_more_calls_than_the_rate(pauses: list[float], most: int) -> None:
    rate = Rate(ir.Rates(requests_per_minute=most))
    now, begun = 0.0, list[float]()
    for pause in pauses:
        now = rate.ready_at(now + pause)
        rate.begin(now)
        rate.end(now, 1)
        begun.append(now)
    for later, earlier in zip(begun[most:], begun, strict=False):
        assert later - earlier >= 60 - 1e-5


def test_tokens_that_were_used_hold_up_the_next_call() -> None:
    rate = Rate(ir.Rates(tokens_per_minute=100))
    assert rate.ready_at(0) == 0
    rate.begin(0)
    assert rate.ready_at(1) == float("inf"), "nothing is known of what a call uses"
    rate.end(2, 40)
    for now in (3, 4):
        assert rate.ready_at(now) == now
        rate.begin(now)
    assert rate.ready_at(5) == 62, "40 are used, and two calls are expected to use 80"
    rate.end(6, 30)
    rate.end(7, 20)
    assert rate.ready_at(8) == 8
    rate.begin(8)
    rate.end(9, 10)
    assert rate.ready_at(10) == 62
    assert rate.ready_at(62) == 62


def test_a_later_turn_of_an_attempt_waits_for_the_rate_too() -> None:
    workflow = talea.loads(
        "talea: 1\nname: x\nmodel: openai/m\nagents: {a: {limits: {requests_per_minute: 2}}}\n"
        "tasks: {t: {agent: a, prompt: x}}"
    )

    class Talkative(Agents):
        async def answer(self, call: Any) -> Any:
            for _ in range(4):
                await call.begin_turn()
                call.end_turn(None)
            return await super().answer(call)

    async def run() -> talea.Result:
        prepared = prepare(workflow)
        prepared.agents = Talkative(World(Scenario()))
        return await prepared.run()

    assert run_in_virtual_time(run()).duration == pytest.approx(120.001, abs=0.001)
