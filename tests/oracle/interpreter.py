"""The language's meaning once more: slow, plain, and sharing nothing with the kernel.

A workflow is run on the virtual clock against a scenario. Whoever asks whether the kernel is right
reads this file beside the language's text: a rule of the text is one function here.

    interpret(workflow, inputs, scenario) ──▶ Outcome
        Execution       what belongs to the whole run: clock, limits, calls, results
        Scope           one execution of the tasks of a workflow or block (graph.py: its nodes)
        Work            one task of a scope that has begun: its items
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any, cast

from talea import ir
from talea.conformance.outcome import Outcome, TaskOutcome
from talea.conformance.scenario import Behaviour, Scenario, microseconds, plain
from talea.errors import NEVER_RECOVERED, NEVER_RETRIED, RETRIED_BY_DEFAULT, InputError
from talea.ir import OnFailure, Trigger

from . import schemas
from .expressions import WrongExpression, decide, evaluate, render, render_text
from .failure import TaskFailed
from .graph import Node, nodes_of
from .pools import Bench, Pool, Seat
from .schemas import Misfit, takes_raw_text
from .teams import Attempt, Conversation
from .virtual import Cancelled, Clock, Need, Process, Steps, TimedOut, Wait

Names = Mapping[str, Any]
FAILURES = ("failed", "upstream_failed")


class Nobody(Exception):
    """An attempt ended without an end: it needs a person's word, and nobody is there."""


def interpret(
    workflow: ir.Workflow,
    inputs: Mapping[str, Any],
    scenario: Scenario,
    *,
    ties: Random | None = None,
    spread: float = 0.0,
) -> Outcome:
    """Run a workflow. Raises InputError if the inputs do not fit.

    `ties` shuffles what is due at one instant, and with it every delay is changed by up to the
    fraction `spread`.
    """
    try:
        given = take_inputs(workflow.inputs, inputs)
    except Misfit as misfit:
        raise InputError(str(misfit)) from misfit
    return Execution(workflow, scenario, ties, spread).run(given)


def take_inputs(declared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Check inputs and add defaults. Raises Misfit for missing, unknown or unfit ones."""
    if unknown := given.keys() - declared.keys():
        raise Misfit(f"unknown inputs {unknown}")
    values: dict[str, Any] = {}
    for name, schema in declared.items():
        if name in given:
            schemas.check(given[name], schema)
            values[name] = given[name]
        elif isinstance(schema, dict) and "default" in schema:
            values[name] = schema["default"]
        else:
            raise Misfit(f"the input {name} is missing")
    return values


class Execution:
    """What belongs to one run as a whole."""

    def __init__(
        self,
        workflow: ir.Workflow,
        scenario: Scenario,
        ties: Random | None,
        spread: float,
    ) -> None:
        self.workflow = workflow
        self.scenario = scenario
        self.limits = workflow.limits
        self.spread = spread
        capacity = {
            f"agent {name}": agent.max_parallel
            for name, agent in workflow.agents.items()
            if agent.max_parallel is not None
        }
        if self.limits.max_parallel is not None:
            capacity["run"] = self.limits.max_parallel
        self.clock = Clock(capacity, ties)
        self.scopes: list[Scope] = []
        self.results: dict[str, TaskOutcome] = {}
        self.attempts = Counter[str]()
        self.numbers = Counter[str]()
        self.calls: list[str] = []
        self.asked: list[str] = []
        self.delegated: list[tuple[str, str, str, str | None]] = []
        self.bench = Bench(workflow, self.clock)
        self.ends: list[tuple[int, str, str]] = []
        self.model_calls = 0
        self.tokens = 0
        self.final: tuple[str, TaskFailed | None, Any] | None = None

    def run(self, inputs: dict[str, Any]) -> Outcome:
        """Run to the end, or until nothing else can happen."""
        document = self.workflow
        scope = Scope(
            self, document.tasks, "", {"inputs": inputs, "run": {"id": "oracle"}}, {}, (),
            on_failure=document.on_failure, process=document.process,
            manager=document.manager, timeout_reason="limit",
        )  # fmt: skip
        self.clock.start(self.root(scope), lambda: None)
        self.clock.run()
        if self.final is None:
            self.note_waiting()
        status, failure, outputs = self.final or ("waiting", None, None)
        for name in document.tasks:
            self.results.setdefault(name, TaskOutcome())
        for address, attempts in self.attempts.items():
            if address in self.results:
                self.results[address].attempts = attempts
        return Outcome(
            status, failure.type if failure else None, failure.address if failure else None,
            outputs, self.results, self.calls, self.asked, self.delegated, self.ends,
            self.clock.touched,
        )  # fmt: skip

    def root(self, scope: Scope) -> Steps:
        """Run the root's tasks within the run's timeout, then render its outputs."""
        timeout = self.limits.timeout
        timer = self.clock.set_timer(microseconds(timeout)) if timeout is not None else None
        try:
            yield from scope.run()
            outputs = scope.render_outputs(self.workflow.outputs, None)
        except TimedOut:
            self.final = "failed", TaskFailed("limit_exceeded", None), None
        except TaskFailed as failure:
            self.final = "failed", failure, None
        else:
            self.final = "succeeded", None, outputs
        finally:
            if timer:
                self.clock.stop_timer(timer)

    def note_waiting(self) -> None:
        """Note the tasks that wait for a person, at the end of a run that does."""
        for scope in self.scopes:
            for work in scope.works.values():
                if not scope.has_ended(work.node.id):
                    waits = {wait for process in work.processes for wait in process.waits()}
                    if waits - {Wait(Need.PERSON)}:
                        raise RuntimeError(f"{work.node.id} hangs for ever: {waits}")
                    self.results[plain(work.address)] = TaskOutcome("waiting")

    def begin_attempt(self, address: str) -> None:
        """Count an attempt of the task whose address, without `[i]` and `#n` of its own, this is."""
        self.attempts[plain(address)] += 1

    def begin_call(self, address: str) -> int:
        """Note a call of a tool or agent, and give its number at the address without `#n`."""
        self.calls.append(address)
        number = self.numbers[plain(address)]
        self.numbers[plain(address)] += 1
        return number

    def begin_model_call(self, address: str) -> None:
        """Count a model call, or refuse it because a limit is used up."""
        calls, tokens = self.limits.max_model_calls, self.limits.max_tokens
        if calls is not None and self.model_calls >= calls:
            raise TaskFailed("limit_exceeded", address, crossing=True)
        if tokens is not None and self.tokens > tokens:
            raise TaskFailed("limit_exceeded", address, crossing=True)
        self.model_calls += 1

    def call(
        self, place: str, *, echo: Any, error_at: str, by_model: bool = False
    ) -> Generator[Wait, None, tuple[Any, Behaviour]]:
        """Let a call go as the scenario says."""
        number = self.begin_call(place)
        behaviour = self.scenario.behaviour(place, number)
        if behaviour.hang:
            yield Wait(Need.TIME)
        yield Wait(Need.TIME, self.stretch(self.scenario.delay(place, number)))
        if behaviour.error:
            raise TaskFailed(behaviour.error, error_at)
        if by_model:
            self.tokens += behaviour.tokens
        return (echo if behaviour.echo else behaviour.result), behaviour

    def stretch(self, delay: int) -> int:
        """Give a delay, changed at random where time is to be shaken."""
        if not self.clock.ties or not delay:
            return delay
        return max(1, round(delay * self.clock.ties.uniform(1 - self.spread, 1 + self.spread)))


class Scope:
    """One execution of the tasks of a workflow or block, at an address."""

    def __init__(
        self,
        execution: Execution,
        tasks: Mapping[str, ir.TaskModel],
        address: str,
        names: Names,
        outer_tasks: Mapping[str, Any],
        rank: tuple[Any, ...],
        *,
        on_failure: OnFailure,
        process: ir.Process,
        manager: str | None,
        timeout_reason: str = "outer",
    ) -> None:
        self.execution = execution
        self.clock = execution.clock
        self.nodes = {node.id: node for node in nodes_of(tasks, process)}
        self.is_hierarchical = process is ir.Process.HIERARCHICAL
        self.manager = manager
        self.address = address
        self.outer_names = names
        self.outer_tasks = outer_tasks
        self.rank = rank
        self.on_failure = on_failure
        self.timeout_reason = timeout_reason
        self.outcomes: dict[str, TaskOutcome] = {}
        self.works: dict[str, Work] = {}
        self.owner: Process | None = None
        self.parked = False
        self.stopped = False
        self.crossing: TaskFailed | None = None

    # Names and results

    def names(self, **more: Any) -> dict[str, Any]:
        """Give the names that the fields of a task of this scope see."""
        views = {id_: self.view(id_) for id_ in self.nodes}
        return {**self.outer_names, **more, "tasks": {**self.outer_tasks, **views}}

    def view(self, id_: str) -> dict[str, Any]:
        """Give what `tasks.x` is (rule 8)."""
        outcome = self.outcomes.get(id_, TaskOutcome())
        error = {
            "type": outcome.error_type,
            "message": "…",
            "address": outcome.error_address,
        }
        return {
            "output": outcome.output,
            "status": outcome.status,
            "error": error if outcome.error_type else None,
            "recovered": outcome.recovered,
        }

    def status(self, id_: str) -> str:
        """Give the status of a task of this scope."""
        return self.outcomes[id_].status if id_ in self.outcomes else "pending"

    def has_ended(self, id_: str) -> bool:
        """Say whether a task of this scope has ended."""
        return id_ in self.outcomes

    def place(self, id_: str) -> str:
        """Give the address of a task of this scope."""
        return f"{self.address}/{id_}" if self.address else id_

    def render_outputs(self, outputs: Mapping[str, Any] | None, address: str | None) -> Any:
        """Give the outputs once all has ended; by default, of a block, those of all its tasks."""
        if outputs is None:
            return {id_: self.outcomes[id_].output for id_ in self.nodes}
        try:
            return render(dict(outputs), self.names())
        except WrongExpression as wrong:
            raise TaskFailed("expression", address) from wrong

    # Life

    def run(self) -> Generator[Wait, None, None]:
        """Run all tasks to their ends. Raises TaskFailed if a failure is not handled."""
        self.owner = self.clock.current
        inside = plain(self.address) + "/"
        for address in [a for a in self.execution.results if self.address and a.startswith(inside)]:
            del self.execution.results[address]
        self.execution.scopes.append(self)
        try:
            self.consider_all(self.nodes.values())
            while len(self.outcomes) < len(self.nodes):
                self.parked = True
                yield Wait(Need.OTHERS)
                self.parked = False
        except TimedOut:
            self.end_all(self.timeout_reason)
            raise
        except Cancelled as cancelled:
            self.end_all(cancelled.reason if cancelled.reason == "limit" else "outer")
            raise
        finally:
            self.parked = False
            self.execution.scopes.remove(self)
        if self.crossing:
            raise self.crossing
        for id_ in self.nodes:
            if self.status(id_) == "failed" and not self.is_handled(id_):
                outcome = self.outcomes[id_]
                raise TaskFailed(outcome.error_type or "", outcome.error_address)

    def consider_all(self, nodes: Iterable[Node]) -> None:
        """Consider tasks in document order, or, where time is shaken, in any order."""
        for node in nodes:
            self.clock.follow(partial(self.consider, node))

    def consider(self, node: Node) -> None:
        """Begin or end a task, if every dependency has ended."""
        if self.has_ended(node.id) or node.id in self.works:
            return
        if all(map(self.has_ended, node.dependencies)):
            if unmet := self.unmet(node):
                self.end(node, TaskOutcome(*unmet))
            else:
                self.begin(node)

    def unmet(self, node: Node) -> tuple[str, str] | None:
        """Give status and reason that an unmet trigger brings (rule 1); None if it is met."""
        seen = [self.status(id_) for id_ in node.watched]
        met = {
            Trigger.ALL_SUCCESS: all(status == "succeeded" for status in seen),
            Trigger.NONE_FAILED: not any(s in (*FAILURES, "cancelled") for s in seen),
            Trigger.ONE_SUCCESS: "succeeded" in seen,
            Trigger.ONE_FAILED: any(status in FAILURES for status in seen),
            Trigger.ALL_DONE: True,
        }[node.trigger]
        if node.previous and not node.takes_failures:
            met = met and self.status(node.previous) not in (*FAILURES, "cancelled")
        if met:
            return None
        for status, causes in (
            ("upstream_failed", FAILURES),
            ("cancelled", ("cancelled",)),
            ("skipped", ("skipped",)),
        ):
            for id_ in node.dependencies:
                if self.status(id_) in causes:
                    return status, id_
        return "skipped", node.watched[0]

    def begin(self, node: Node) -> None:
        """Evaluate condition and list of a task whose trigger is met, and start its items."""
        task, address = node.task, self.place(node.id)
        try:
            if task.when is not None and not decide(task.when, self.names()):
                self.end(node, TaskOutcome("skipped", "when"))
                return
            items = self.items_of(task)
        except WrongExpression:
            self.end(node, TaskOutcome("failed", None, None, "expression", address))
            return
        work = Work(self, node, address, items)
        self.works[node.id] = work
        work.begin()

    def items_of(self, task: ir.TaskModel) -> list[Any] | None:
        """Give the list of a task's `for_each`; None where it has none."""
        listed = task.for_each
        if isinstance(listed, str):
            listed = evaluate(listed, self.names())
            if not isinstance(listed, list):
                raise WrongExpression("no list")
        return cast("list[Any] | None", listed)

    def end(self, node: Node, outcome: TaskOutcome) -> None:
        """End one task by itself, and see what follows from that."""
        self.record(node, outcome)
        self.stop_if_hopeless()
        self.consider_all(one for one in self.nodes.values() if node.id in one.dependencies)
        self.tell_owner()

    def cross(self, node: Node, failure: TaskFailed) -> None:
        """End one task because a limit was crossed in it, and with it all others."""
        self.crossing = failure
        self.record(node, TaskOutcome("failed", None, None, failure.type, failure.address))
        self.end_all("limit")
        self.tell_owner()

    def record(self, node: Node, outcome: TaskOutcome) -> None:
        """Note a task's end."""
        address = self.place(node.id)
        if work := self.works.get(node.id):
            outcome.agent = work.agent
        self.outcomes[node.id] = outcome
        self.execution.results[plain(address)] = replace(outcome)
        self.execution.ends.append((self.clock.now, address, outcome.status))

    def tell_owner(self) -> None:
        """Let the process around go on, if this was the last end."""
        if len(self.outcomes) == len(self.nodes):
            self.clock.follow(self.resume_owner)

    def resume_owner(self) -> None:
        """Let the process around go on, if it waits for this."""
        if self.parked and self.owner:
            self.owner.resume()

    def end_all(self, reason: str, *, but_handlers: bool = False) -> None:
        """Cancel all that has not ended."""
        ending = [
            node
            for node in self.nodes.values()
            if not self.has_ended(node.id) and not (but_handlers and self.is_handler(node.id))
        ]
        for node in ending:
            if work := self.works.get(node.id):
                work.cancel(reason)
            self.record(node, TaskOutcome("cancelled", reason))

    # Failure

    def is_handler(self, id_: str) -> bool:
        """Say whether a task survives a stop: it takes failures, or all before it are handlers."""
        node = self.nodes[id_]
        return node.takes_failures or (
            bool(node.dependencies) and all(map(self.is_handler, node.dependencies))
        )

    def carriers(self, id_: str) -> set[str]:
        """Give a failed task and all upstream_failed ones that pass its failure on."""
        found = {id_}
        while (
            more := {
                node.id
                for node in self.nodes.values()
                if self.status(node.id) == "upstream_failed" and found & set(node.dependencies)
            }
            - found
        ):
            found |= more
        return found

    def is_handled(self, id_: str) -> bool:
        """Say whether a succeeded `one_failed` task looks at a failure (rule 2)."""
        return any(self.status(h) == "succeeded" for h in self.lookers(self.carriers(id_)))

    def can_be_handled(self, id_: str) -> bool:
        """Say whether a `one_failed` task that has not ended may come to look at a failure."""
        found = self.carriers(id_)
        while (
            more := {
                node.id
                for node in self.nodes.values()
                if not self.has_ended(node.id)
                and found & set(node.dependencies)
                and self.may_come_out_unmet(node)
            }
            - found
        ):
            found |= more
        return any(not self.has_ended(h) for h in self.lookers(found))

    def lookers(self, ids: set[str]) -> list[str]:
        """Give the `one_failed` tasks whose trigger looks at one of these."""
        return [
            node.id
            for node in self.nodes.values()
            if node.trigger is Trigger.ONE_FAILED and ids & set(node.watched)
        ]

    def may_come_out_unmet(self, node: Node) -> bool:
        """Say whether the trigger of a task that has not ended could yet come out unmet."""
        seen = [self.status(id_) for id_ in node.watched]
        harm = (*FAILURES, "cancelled", "pending")
        above = node.previous and not node.takes_failures and self.status(node.previous) in harm
        return (
            bool(above)
            or {
                Trigger.ALL_SUCCESS: any(status != "succeeded" for status in seen),
                Trigger.NONE_FAILED: any(status in harm for status in seen),
                Trigger.ONE_SUCCESS: "succeeded" not in seen,
                Trigger.ONE_FAILED: not any(status in FAILURES for status in seen),
                Trigger.ALL_DONE: False,
            }[node.trigger]
        )

    def stop_if_hopeless(self) -> None:
        """Stop once a failure cannot be handled any more (rule 3)."""
        if self.stopped or self.on_failure is OnFailure.CONTINUE:
            return
        failed = [id_ for id_ in self.nodes if self.status(id_) == "failed"]
        if any(not self.is_handled(id_) and not self.can_be_handled(id_) for id_ in failed):
            self.stopped = True
            self.end_all("stopped", but_handlers=True)
            self.consider_all(self.nodes.values())


@dataclass(slots=True)
class Item:
    """One item of a task's list, or the whole task: its output or failure, once it is done."""

    process: Process
    output: Any = None
    recovered: bool = False
    failure: TaskFailed | None = None
    done: bool = False


@dataclass(slots=True)
class Work:
    """A task that has begun. `values` is None where it has no `for_each`."""

    scope: Scope
    node: Node
    address: str
    values: list[Any] | None
    items: list[Item] = field(default_factory=lambda: list[Item]())
    agent: str | None = None

    @property
    def processes(self) -> list[Process]:
        """The processes of the items that are not done."""
        return [item.process for item in self.items if not item.process.over]

    def begin(self) -> None:
        """Start the items, as many as may run at once."""
        if self.values == []:
            self.scope.end(self.node, TaskOutcome("succeeded", output=[]))
            return
        self.start_items()
        if self.node.task.max_parallel is not None:
            self.scope.clock.idle.append(self.start_items)

    def start_items(self) -> bool:
        """Start items in order while the list's `max_parallel` allows; say whether any began."""
        count = 1 if self.values is None else len(self.values)
        started = False
        while len(self.items) < count and not self.is_full() and not self.is_over():
            self.start_item(len(self.items))
            started = True
        return started

    def is_over(self) -> bool:
        """Say whether the task has ended."""
        return self.scope.has_ended(self.node.id)

    def is_full(self) -> bool:
        """Say whether as many items run as may. One that waits for a person does not count."""
        bound = self.node.task.max_parallel
        running = [p for p in self.processes if p.waits() - {Wait(Need.PERSON)}]
        return bound is not None and len(running) >= bound

    def start_item(self, number: int) -> None:
        """Start an item as a process of its own."""
        process = self.scope.clock.start(self.run_item(number), self.end_item, self.scope.owner)
        self.items.append(Item(process))

    def run_item(self, number: int) -> Steps:
        """Run one item and keep what it came to."""
        item = self.items[number]
        address, more = self.address, dict[str, Any]()
        if self.values is not None:
            address += f"[{number}]"
            more = {"item": self.values[number], "index": number}
        rank = (*self.scope.rank, (-self.node.task.priority, self.node.index, number))
        try:
            item.output, item.recovered = yield from self.with_fallback(address, more, rank)
        except TaskFailed as failure:
            item.failure = failure
        item.done = True

    def end_item(self) -> None:
        """See what the end of an item means for the task (rule 5)."""
        if self.is_over():
            return
        failures = [item.failure for item in self.items if item.failure]
        if crossing := next((failure for failure in failures if failure.crossing), None):
            self.cancel("limit")
            self.scope.cross(self.node, crossing)
            return
        if failures and self.scope.on_failure is OnFailure.STOP:
            self.cancel("outer")
            self.end(failures[0])
            return
        self.start_items()
        count = 1 if self.values is None else len(self.values)
        if len(self.items) == count and all(item.done for item in self.items):
            self.end(failures[0] if failures else None)

    def end(self, failure: TaskFailed | None) -> None:
        """End the task with the outputs of its items, or with a failure."""
        if failure:
            outcome = TaskOutcome("failed", None, None, failure.type, failure.address)
        else:
            outputs = [item.output for item in self.items]
            recovered = any(item.recovered for item in self.items)
            output = outputs[0] if self.values is None else outputs
            outcome = TaskOutcome("succeeded", output=output, recovered=recovered)
        self.scope.end(self.node, outcome)

    @property
    def pooled(self) -> Pool | None:
        """The pool that chooses who answers; None where there is no choice."""
        return None if self.is_led else self.scope.execution.bench.pool_of(self.node.task)

    @property
    def is_led(self) -> bool:
        """Whether it is an agent's task, which a manager answers."""
        return self.scope.is_hierarchical and isinstance(self.node.task, ir.AgentTask)

    @property
    def team(self) -> ir.Team | None:
        """The team that answers, if one does."""
        task, workflow = self.node.task, self.scope.execution.workflow
        if isinstance(task, ir.TeamTask):
            return task.team if isinstance(task.team, ir.Team) else workflow.teams[task.team]
        others = [name for name in workflow.agents if name != self.scope.manager]
        if self.is_led and others:
            return ir.Team(manager=self.scope.manager, members=tuple(others))
        return None

    def cancel(self, reason: str) -> None:
        """Cancel the items that are not done."""
        for process in self.processes:
            process.cancel(reason)

    # One item: fallback, loop, retry, timeout

    def with_fallback(
        self, address: str, more: Names, rank: tuple[Any, ...]
    ) -> Generator[Wait, None, tuple[Any, bool]]:
        """Run an item; a failure is recovered by the fallback. Gives (output, recovered)."""
        task = self.node.task
        try:
            return (yield from self.looped(address, more, rank)), False
        except TaskFailed as failure:
            is_caught = isinstance(task, ir.RepeatableTask) and task.has_fallback
            if not is_caught or failure.type in NEVER_RECOVERED:
                raise
            assert isinstance(task, ir.RepeatableTask)
            error = {"type": failure.type, "message": "…"}
            try:
                output = render(task.fallback, self.scope.names(**more, error=error))
            except WrongExpression as wrong:
                raise TaskFailed("expression", address) from wrong
            try:
                schemas.check(output, output_schema(task))
            except Misfit as misfit:
                raise TaskFailed("invalid_output", address) from misfit
            return output, True

    def looped(
        self, address: str, more: Names, rank: tuple[Any, ...]
    ) -> Generator[Wait, None, Any]:
        """Run an item's iterations (rule 6)."""
        task = self.node.task
        loop = task.loop if isinstance(task, ir.RepeatableTask) else None
        if loop is None:
            return (yield from self.retried(address, more, rank))
        output: Any = None
        for number in range(loop.max):
            place = f"{address}#{number}"
            inside = {**more, "loop": {"index": number, "output": output}}
            output = yield from self.retried(place, inside, rank)
            if loop.until is not None:
                judged = {**more, "loop": {"index": number, "output": output}}
                try:
                    if decide(loop.until, self.scope.names(**judged)):
                        return output
                except WrongExpression as wrong:
                    raise TaskFailed("expression", place) from wrong
        if loop.exhausted is ir.Exhausted.KEEP:
            return output
        raise TaskFailed("loop_exhausted", address)

    def retried(
        self, address: str, more: Names, rank: tuple[Any, ...]
    ) -> Generator[Wait, None, Any]:
        """Repeat attempts as `retry` says."""
        task = self.node.task
        retry = task.retry if isinstance(task, ir.RepeatableTask) else None
        number = 0
        seat = Seat()
        while True:
            number += 1
            try:
                return (yield from self.failing_over(address, more, rank, seat))
            except TaskFailed as failure:
                seat.keeps = failure.type == "invalid_output"
                if retry is None or number >= retry.max_attempts or not is_retried(failure, retry):
                    raise
                assert not retry.jitter, "a pause with jitter cannot be foretold"
                pause = retry.initial_interval * retry.backoff_factor ** (number - 1)
                yield Wait(Need.TIME, microseconds(min(retry.max_interval, pause)))

    def failing_over(
        self, address: str, more: Names, rank: tuple[Any, ...], seat: Seat
    ) -> Generator[Wait, None, Any]:
        """Make an attempt; in a pool, by one agent after the other while a model's server fails."""
        pool = self.pooled
        before, tried = seat.agent, list[str]()
        while True:
            without = tried or ([before] if before else [])
            try:
                return (yield from self.attempt(address, more, rank, seat, without))
            except TaskFailed as failure:
                if not pool or failure.type not in ("rate_limit", "server_error"):
                    raise
                assert seat.agent
                tried.append(seat.agent)
                seat.keeps = False
                if not set(pool.agents) - set(tried):
                    raise

    def attempt(
        self, address: str, more: Names, rank: tuple[Any, ...], seat: Seat, without: list[str]
    ) -> Generator[Wait, None, Any]:
        """Make one attempt. One that needs a person who is not there holds nothing any more."""
        try:
            return (yield from self.try_once(address, more, rank, seat, without))
        except Nobody:
            yield Wait(Need.PERSON)

    def try_once(
        self, address: str, more: Names, rank: tuple[Any, ...], seat: Seat, without: list[str]
    ) -> Generator[Wait, None, Any]:
        """Make one attempt: its place, its timeout, its output's check."""
        task, clock, bench = self.node.task, self.scope.clock, self.scope.execution.bench
        kinds: tuple[str, ...] = ()
        began = 0
        if isinstance(task, ir.AgentTask | ir.ToolTask | ir.TeamTask):
            choice = bench.choice_for(self.pooled, seat, without)
            kinds = ("run",)
            is_one_agents = isinstance(task, ir.AgentTask) and not self.team
            if isinstance(task, ir.AgentTask) and is_one_agents and not choice:
                named = self.scope.manager if self.is_led else task.agent
                seat.agent = named or seat.agent
                kinds = ("run", f"agent {seat.agent}")
            kinds = yield from clock.acquire(rank, kinds, choice)
            if choice:
                seat.agent = kinds[-1].removeprefix("agent ")
            began = clock.now
            if is_one_agents:
                bench.begin(seat.agent)
        self.scope.execution.begin_attempt(self.address)
        timeout = task.timeout if isinstance(task, ir.RepeatableTask) else None
        timer = clock.set_timer(microseconds(timeout)) if timeout is not None else None
        try:
            output = yield from self.do(address, more, rank, seat)
            schemas.check(output, output_schema(task))
            bench.end(seat.agent, began, None)
            return output
        except TaskFailed as failure:
            bench.end(seat.agent, began, failure.type)
            raise
        except TimedOut as timed_out:
            raise TaskFailed("timeout", address) from timed_out
        except WrongExpression as wrong:
            raise TaskFailed("expression", address) from wrong
        except Misfit as misfit:
            raise TaskFailed("invalid_output", address) from misfit
        finally:
            if timer:
                clock.stop_timer(timer)
            clock.release(kinds)

    # The kinds

    def do(
        self, address: str, more: Names, rank: tuple[Any, ...], seat: Seat
    ) -> Generator[Wait, None, Any]:
        """Do what the task's kind says and give its output."""
        task, names = self.node.task, self.scope.names(**more)
        if isinstance(task, ir.ValueTask):
            return render(task.value, names)
        if isinstance(task, ir.ToolTask):
            return (yield from self.call_tool(task, address, names))
        if isinstance(task, ir.AgentTask | ir.TeamTask):
            return (yield from self.ask_agents(task, seat, address, names))
        if isinstance(task, ir.AskTask):
            return (yield from self.ask(task, address, names))
        if isinstance(task, ir.BlockTask):
            return (yield from self.run_block(task, address, names, rank))
        if isinstance(task, ir.WorkflowTask):
            return (yield from self.run_workflow(task, address, names, rank))
        raise NotImplementedError(task.kind)

    def call_tool(
        self, task: ir.ToolTask, address: str, names: Names
    ) -> Generator[Wait, None, Any]:
        """Call a tool with its arguments, once they fit."""
        execution = self.scope.execution
        arguments = cast("dict[str, Any]", render(task.with_, names))
        parameters = execution.workflow.tools[task.tool].parameters
        if parameters is not None:
            try:
                schemas.check(arguments, parameters)
            except Misfit as misfit:
                raise TaskFailed("invalid_arguments", address) from misfit
        if execution.workflow.tools[task.tool].approve:
            arguments = yield from self.approve(task.tool, address, arguments)
        answer, _ = yield from execution.call(address, echo=arguments, error_at=address)
        is_text_for_json = isinstance(answer, str) and task.output is not None
        if is_text_for_json and not takes_raw_text(task.output):
            return schemas.parse(cast("str", answer))
        return answer

    def ask_agents(
        self, task: ir.AgentTask | ir.TeamTask, seat: Seat, address: str, names: Names
    ) -> Generator[Wait, None, Any]:
        """Ask an agent, or a team of several."""
        execution = self.scope.execution
        prompt = render_text(task.prompt, names)
        if task.expected_output is not None:
            render_text(task.expected_output, names)
        if team := self.team:
            attempt = Attempt(execution, address, seat, self.note_agent)
            text = yield from attempt.answer(team, prompt + self.meant_for())
        else:
            assert seat.agent
            self.note_agent(seat.agent)
            most = execution.workflow.agents[seat.agent].max_turns
            alone = Conversation(execution, seat.agent, address, address, most)
            text = yield from alone.answer(prompt)
        raw = task.output is None or takes_raw_text(task.output)
        return text if raw else schemas.parse(text)

    def note_agent(self, agent: str) -> None:
        """Note who answers."""
        self.agent = agent

    def meant_for(self) -> str:
        """Say to a manager, behind the prompt, whom an agent's task names."""
        task, workflow = self.node.task, self.scope.execution.workflow
        if not isinstance(task, ir.AgentTask):
            return ""
        if task.agent is not None:
            named = [task.agent]
        elif task.pool is not None:
            named = list(workflow.pools[task.pool].agents)
        else:
            able = workflow.agents.items()
            wanted = set(task.capabilities or ())
            named = [name for name, one in able if wanted <= set(one.capabilities)]
        match [name for name in named if name != self.scope.manager]:
            case []:
                return ""
            case [one]:
                return f"\n\nThis task is meant for {one}."
            case several:
                return f"\n\nThis task is meant for one of {', '.join(several)}."

    def ask(self, task: ir.AskTask, address: str, names: Names) -> Generator[Wait, None, Any]:
        """Put a question until an answer fits; without end, if nobody is there."""
        render_text(task.ask, names)
        return (yield from self.answered(address, partial(take_answer, output_schema(task))))

    def approve(
        self, tool: str, address: str, arguments: dict[str, Any]
    ) -> Generator[Wait, None, dict[str, Any]]:
        """Have a person allow a call; give the arguments to make it with."""
        parameters = self.scope.execution.workflow.tools[tool].parameters
        word = yield from self.answered(f"{address}/{tool}", partial(take_word, parameters))
        if word is True:
            return arguments
        if "refuse" in word:
            raise TaskFailed("denied", address)
        return word["arguments"]

    def answered(self, address: str, take: Callable[[Any], Any]) -> Generator[Wait, None, Any]:
        """Wait until an answer fits. Raises Nobody if there is none."""
        execution, scenario = self.scope.execution, self.scope.execution.scenario
        while True:
            number = execution.numbers[plain(address)]
            answer = scenario.answer(address, number)
            if answer is None:
                raise Nobody
            yield Wait(Need.PERSON, execution.stretch(microseconds(answer.delay)))
            execution.numbers[plain(address)] += 1
            try:
                return take(answer.value)
            except Misfit:
                if scenario.is_last_answer(address, number):
                    raise Nobody from None

    def run_block(
        self, task: ir.BlockTask, address: str, names: Names, rank: tuple[Any, ...]
    ) -> Generator[Wait, None, Any]:
        """Run a block: it sees all names around it."""
        scope = Scope(
            self.scope.execution, task.tasks, address, names, names["tasks"], rank,
            on_failure=task.on_failure or self.scope.on_failure, process=task.process,
            manager=self.scope.manager,
        )  # fmt: skip
        yield from scope.run()
        return scope.render_outputs(task.outputs, address)

    def run_workflow(
        self, task: ir.WorkflowTask, address: str, names: Names, rank: tuple[Any, ...]
    ) -> Generator[Wait, None, Any]:
        """Run an inline workflow: of values it sees only its own inputs."""
        execution = self.scope.execution
        inner = execution.workflow.workflows[task.workflow]
        given = cast("dict[str, Any]", render(task.with_, names))
        try:
            inputs = take_inputs(inner.inputs, given)
        except Misfit as misfit:
            raise TaskFailed("invalid_arguments", address) from misfit
        scope = Scope(
            execution, inner.tasks, address, {"inputs": inputs, "run": names["run"]}, {}, rank,
            on_failure=inner.on_failure, process=inner.process, manager=inner.manager,
        )  # fmt: skip
        yield from scope.run()
        return scope.render_outputs(inner.outputs, address)


def output_schema(task: ir.TaskModel) -> schemas.Schema:
    """Give what an output must fit: by default text for agents and questions, else anything."""
    if task.output is not None:
        return task.output
    return {"type": "string"} if isinstance(task, ir.AgentTask | ir.TeamTask | ir.AskTask) else True


def take_word(parameters: schemas.Schema | None, value: Any) -> Any:
    """Take a person's word on a call of a tool: true, changed arguments, or a refusal."""
    if isinstance(value, str):
        value = schemas.parse(value)
    if value is True:
        return value
    word = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if word.keys() == {"refuse"} and isinstance(word["refuse"], str):
        return word
    if word.keys() == {"arguments"} and isinstance(word["arguments"], dict):
        schemas.check(word["arguments"], True if parameters is None else parameters)
        return word
    raise Misfit(f"{value!r} is no word on a call")


def take_answer(schema: schemas.Schema, value: Any) -> Any:
    """Take a person's answer: text as it is where only text fits, else as JSON. Raises Misfit."""
    if isinstance(value, str) and not takes_raw_text(schema):
        value = schemas.parse(value)
    schemas.check(value, schema)
    return value


def is_retried(failure: TaskFailed, retry: ir.Retry) -> bool:
    """Say whether a failure is one that `retry_on` names."""
    if failure.crossing or failure.type in NEVER_RETRIED:
        return False
    if retry.retry_on is None:
        return failure.type in RETRIED_BY_DEFAULT
    return "any" in retry.retry_on or failure.type in retry.retry_on
