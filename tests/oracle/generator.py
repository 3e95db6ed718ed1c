"""Random workflows that are valid, each with a scenario that fits.

    sample(random)     one, from a seeded `Random`
    samples()          a hypothesis strategy of them, which shrinks

Delays differ by microseconds that no two calls share, so that almost nothing happens at the same
instant. What rests on time all the same is found by shaking the oracle (`harness.determined`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar

from hypothesis import strategies as st

from talea.conformance.scenario import Answer, Behaviour, Scenario
from talea.ir import Workflow

_Choice = TypeVar("_Choice")
_TRIGGERS = ("all_success", "none_failed", "one_success", "one_failed", "all_done")
_RETRIED = ("rate_limit", "server_error", "connection", "tool_error", "invalid_output", "timeout")
_OTHERS = ("model_error", "refused", "authentication", "denied", "turns_exhausted", "internal")
_ONE: dict[str, Any] = {"type": "object", "properties": {"x": {}}, "additionalProperties": False}
_WORDS: tuple[Any, ...] = (
    True,
    "true",
    {"arguments": {"x": 5}},
    {"refuse": "no"},
    {"arguments": {"y": 1}},
    "maybe",
)
_TEAM_AGENTS = ("w", "v", "x", "y")
_MOST_TASKS = 30
_DEEPEST = 3
_MOST_RUNS = 12
"""How often the tasks inside a task may run at most, by its lists, loops and attempts."""


@dataclass(slots=True, frozen=True)
class Sample:
    """A workflow and its scenario.

    `continues` says that no part of it stops on a failure, `is_bounded` that limits or bounds on
    agents are set, that there are pools, or that members of a team work side by side; `is_timed`
    that there are timeouts.
    """

    workflow: Workflow
    inputs: dict[str, Any]
    scenario: Scenario
    continues: bool
    is_bounded: bool
    is_timed: bool
    decides_by_type: bool

    @property
    def is_determined(self) -> bool:
        """Whether nothing of its outcome rests on time (rule 3)."""
        return self.continues and not self.is_bounded and not self.is_timed


def samples() -> st.SearchStrategy[Sample]:
    """Give a strategy of samples."""
    return st.randoms(use_true_random=False).map(sample)


def sample(random: Random) -> Sample:
    """Build a sample."""
    return _Builder(random).build()


@dataclass(slots=True, frozen=True)
class _Around:
    """What is known at a place of the document.

    `outer` are the tasks around that may be mentioned, by name with the type of their outputs.
    `prefixes` are addresses of this place: one without `[i]`, and one with all of them.
    """

    depth: int = 0
    outer: dict[str, str] = field(default_factory=dict[str, str])
    prefixes: tuple[str, str] = ("", "")
    has_item: bool = False
    has_loop: bool = False
    is_bounded: bool = False
    runs: int = 1
    is_led: bool = False
    names: tuple[str, ...] = ("inputs.n",)


class _Builder:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.calls: dict[str, list[Behaviour]] = {}
        self.answers: dict[str, list[Answer]] = {}
        self.workflows: dict[str, Any] = {}
        self.left = random.randint(1, _MOST_TASKS)
        self.count = 0
        self.grains = 0
        self.continues = True
        self.is_timed = False
        self.decides_by_type = False
        self.has_pools = False
        self.has_teams = False
        self.is_side_by_side = False

    # Chance

    def often(self, percent: int) -> bool:
        """Say yes in so many of a hundred cases; a shrunk sample says no."""
        return self.random.randint(1, 100) > 100 - percent

    def pick(self, options: Sequence[_Choice]) -> _Choice:
        """Choose one; a shrunk sample takes the first."""
        return options[self.random.randint(0, len(options) - 1)]

    def some(self, options: Sequence[_Choice], most: int) -> list[_Choice]:
        """Choose a few, in their order."""
        count = self.random.randint(0, min(most, len(options)))
        chosen = (
            {self.random.randint(0, len(options) - 1) for _ in range(count)} if count else set()
        )
        return [options[i] for i in sorted(chosen)]

    def time(self, most: int) -> float:
        """Give seconds, up to so many milliseconds, that are nobody else's."""
        self.grains += 1
        return self.random.randint(1, most) / 1000 + self.grains * 17e-6

    def duration(self, most: int) -> str:
        """Give a time as the language writes it."""
        return f"{round(self.time(most) * 1_000_000) / 1000}ms"

    # The document

    def build(self) -> Sample:
        """Build the whole."""
        limits = self.limits()
        around = _Around(is_bounded="timeout" in limits)
        policy = self.policy(default="stop")
        process, tasks, types = self.plan(around, policy)
        agents: dict[str, Any] = {"w": {"model": "openai/test"}}
        bounded = {"model": "openai/test", "max_parallel": self.random.randint(1, 2)}
        agents["v"] = bounded if (is_scarce := self.often(15)) else agents["w"]
        pools: dict[str, Any] = {}
        if self.has_pools:
            agents["v"] = {**agents["v"], "capabilities": ["c"]}
            agents["u"] = {"model": "openai/test", "capabilities": ["c", "d"], "max_parallel": 3}
            balance = self.pick(("least_loaded", "weighted"))
            pools = {"p": {"agents": ["v", "w"]}, "q": {"agents": ["w", "u"], "balance": balance}}
        if self.has_teams:
            agents["x"] = {"model": "openai/test", "tools": ["t", "u"]}
            agents["y"] = {"model": "openai/test", "tools": ["t"], "max_turns": 2}
        document: dict[str, Any] = {
            "name": "sample",
            "process": process,
            "manager": "w",
            "on_failure": policy,
            "inputs": {"n": {"type": "integer", "default": 1}},
            "tools": {
                "t": {},
                "u": {"parameters": _ONE},
                "s": {"approve": True, "parameters": _ONE},
            },
            "agents": agents,
            "pools": pools,
            "teams": self.teams() if self.has_teams else {},
            "tasks": tasks,
            "workflows": self.workflows,
            "limits": limits,
        }
        if self.often(50):
            chosen = self.some(list(types), 3)
            document["outputs"] = {name: self.hole(name, types[name]) for name in chosen}
        return Sample(
            Workflow.model_validate(document),
            {"n": 2} if self.often(50) else {},
            Scenario(self.calls, self.answers),
            self.continues,
            bool(limits) or is_scarce or self.has_pools or self.is_side_by_side,
            self.is_timed or "timeout" in limits,
            self.decides_by_type,
        )

    def limits(self) -> dict[str, Any]:
        """Give the run's limits, mostly none."""
        limits: dict[str, Any] = {}
        if self.often(20):
            limits["max_parallel"] = self.random.randint(1, 4)
        if self.often(6):
            limits["timeout"] = self.duration(3000)
        if self.often(6):
            limits["max_model_calls"] = self.random.randint(0, 6)
        if self.often(6):
            limits["max_tokens"] = self.random.randint(0, 300)
        return limits

    def teams(self) -> dict[str, Any]:
        """Give teams of both forms, some inside others."""
        teams: dict[str, Any] = {
            "n": {"start": "x", "members": ["x", "y"]},
            "m": {"manager": "v", "members": ["x", "y", "n"]},
            "k": {"start": "y", "members": ["y", "n", "m"]},
        }
        return {
            name: team | {"max_turns": self.random.randint(2, 9)} for name, team in teams.items()
        }

    def policy(self, *, default: str) -> str:
        """Choose `on_failure`."""
        policy = default if self.often(40) else self.pick(("continue", "stop"))
        self.continues = self.continues and policy == "continue"
        return policy

    def plan(self, around: _Around, policy: str) -> tuple[str, dict[str, Any], dict[str, str]]:
        """Build the tasks of a workflow or block. Gives (process, tasks, types of their outputs)."""
        processes = ("graph", "graph", "graph", "graph", "sequential", "parallel", "hierarchical")
        process = self.pick(processes)
        around = replace(around, is_led=process == "hierarchical")
        size = self.random.randint(1, 12 if around.depth == 0 else 4)
        tasks: dict[str, Any] = {}
        types: dict[str, str] = {}
        while len(tasks) < size and (self.left > 0 or not tasks):
            self.left -= 1
            self.count += 1
            name = f"t{self.count}"
            seen = {} if process == "parallel" else types
            tasks[name], types[name] = self.task(name, around, seen, policy)
        if process != "sequential" and self.often(40):
            names = list(tasks)
            self.random.shuffle(names)
            tasks = {name: tasks[name] for name in names}
        return process, tasks, types

    def task(
        self, name: str, around: _Around, before: dict[str, str], policy: str
    ) -> tuple[dict[str, Any], str]:
        """Build one task; `before` are those beside it that it may depend on."""
        task: dict[str, Any] = {}
        mentioned = {one: before[one] for one in self.some(list(before), 2)}
        watched = self.some(list(before), 3)
        if watched or self.often(5):
            task["depends_on"] = watched
        if self.often(45):
            looks_at = watched if "depends_on" in task else list(mentioned)
            task["trigger"] = self.pick(_TRIGGERS if looks_at else ("all_success", "all_done"))
        visible = {**around.outer, **mentioned}
        if self.often(20):
            task["when"] = self.condition(visible, around)
        kind = self.kind(around)
        runs, inside = around.runs, around
        count: int | None = None
        if self.often(25) and runs * 3 <= _MOST_RUNS:
            task["for_each"], count = self.items(visible)
            runs *= 3
            if self.often(40):
                task["max_parallel"] = self.random.randint(1, 2)
        has_loop = kind != "ask" and self.often(15) and runs * 3 <= _MOST_RUNS
        runs *= 3 if has_loop else 1
        timed = kind != "ask" and self.often(25)
        plain_place, full_place = (prefix + name for prefix in around.prefixes)
        if count is not None:
            full_place += f"[{self.random.randint(0, max(0, count - 1))}]"
        inside = _Around(
            around.depth + 1, visible, (plain_place, full_place),
            around.has_item or count is not None, around.has_loop or has_loop,
            around.is_bounded or timed, runs, around.is_led, around.names,
        )  # fmt: skip
        made, type_ = getattr(self, f"make_{kind}")(inside, policy)
        task |= made
        if kind != "ask":
            self.repeat(task, inside, type_, has_loop=has_loop, timed=timed)
        if self.often(15):
            task["priority"] = self.random.randint(-2, 2)
        if unused := mentioned.keys() - _mentions_of(task, mentioned):
            task["depends_on"] = [*task.get("depends_on", ()), *sorted(unused - set(watched))]
        if task.get("trigger", "").startswith("one_") and not _looks_at_something(task, mentioned):
            del task["trigger"]
        return task, "list" if count is not None else type_

    def kind(self, around: _Around) -> str:
        """Choose a kind of task."""
        kinds = ["tool"] * 9 + ["agent"] * 4 + ["team"] * 2 + ["value"] * 3 + ["ask"]
        if around.depth < _DEEPEST and self.left > 0:
            kinds += ["block"] * 3 + ["workflow"] * 2
        return self.pick(kinds)

    def items(self, visible: dict[str, str]) -> tuple[Any, int]:
        """Give a `for_each` and how many items it has, as far as is known."""
        lists = [name for name, type_ in visible.items() if type_ == "list"]
        if lists and self.often(50):
            return f"default(tasks.{self.pick(lists)}.output, [])", 2
        count = self.pick((2, 1, 3, 0))
        return ["x", "y", "z"][:count], count

    def repeat(
        self, task: dict[str, Any], inside: _Around, type_: str, *, has_loop: bool, timed: bool
    ) -> None:
        """Add the modifiers that every kind but `ask` has."""
        if self.often(20):
            task["fallback"] = self.fallback(task, inside)
        if has_loop:
            last = self.random.randint(0, 2)
            by_type = {"int": f"loop.output == {last}", "text": 'loop.output == "ok"'}
            until = [
                f"loop.index == {last}",
                True,
                False,
                by_type.get(type_, "exists(loop.output)"),
            ]
            task["loop"] = {"until": self.pick(until), "max": self.random.randint(1, 3)}
            if self.often(50):
                task["loop"]["exhausted"] = "keep"
        if self.often(30):
            few = inside.runs * 2 > _MOST_RUNS
            task["retry"] = {
                "max_attempts": 1 if few else self.random.randint(1, 3),
                "initial_interval": self.duration(50),
                "jitter": False,
            }
            if self.often(40):
                task["retry"]["backoff_factor"] = self.pick((1, 3))
                task["retry"]["max_interval"] = self.duration(100)
            if self.often(40):
                names = self.some(("any", *_RETRIED, "model_error", "loop_exhausted"), 3)
                task["retry"]["retry_on"] = names or ["any"]
        if timed:
            self.is_timed = True
            task["timeout"] = self.duration(1500)

    # The kinds

    def make_tool(self, inside: _Around, policy: str) -> tuple[dict[str, Any], str]:
        """Call a tool."""
        task: dict[str, Any] = {"tool": self.pick(("t", "u", "t", "u", "t", "s"))}
        if self.often(60):
            task["with"] = {"x": self.content(inside)}
        if task["tool"] == "s":
            for prefix in dict.fromkeys(inside.prefixes):
                if self.often(80):
                    words = [self.pick(_WORDS) for _ in range(self.random.randint(1, 2))]
                    self.answers[f"{prefix}/s"] = [Answer(self.time(300), word) for word in words]
        return task, self.behave(task, inside)

    def make_agent(self, inside: _Around, policy: str) -> tuple[dict[str, Any], str]:
        """Ask an agent."""
        task: dict[str, Any] = {"agent": self.pick(("w", "v"))}
        if self.often(25):
            self.has_pools = True
            task = self.pick(({"pool": "p"}, {"pool": "q"}, {"capabilities": ["c"]}))
        task["prompt"] = f"Do {self.content(inside)}"
        if self.often(20):
            task["expected_output"] = f"like {self.content(inside)}"
        if inside.is_led:
            return task, self.behave_as_team(task, inside)
        return task, self.behave(task, inside, tokens=True)

    def make_team(self, inside: _Around, policy: str) -> tuple[dict[str, Any], str]:
        """Ask a team."""
        written: tuple[Any, ...] = (
            "m", "n", "k",
            {"manager": "w", "members": ["v", "x", "m"], "max_turns": self.random.randint(1, 9)},
            {"start": "x", "members": ["x", "y", "k"], "max_turns": self.random.randint(1, 9)},
        )  # fmt: skip
        task = {"team": self.pick(written), "prompt": f"Do {self.content(inside)}"}
        return task, self.behave_as_team(task, inside)

    def make_value(self, inside: _Around, policy: str) -> tuple[dict[str, Any], str]:
        """Compute a value."""
        if self.often(8):
            return {"value": "{{ [1][7] }}"}, "any"
        if self.often(30):
            return {"value": [self.content(inside), "{{ 1 }}"]}, "list"
        if self.often(30):
            return {"value": "{{ 1 + 1 }}"}, "int"
        return {"value": {"x": self.content(inside), "y": self.content(inside)}}, "any"

    def make_ask(self, inside: _Around, policy: str) -> tuple[dict[str, Any], str]:
        """Ask a person, who mostly answers."""
        schema, right, wrong, type_ = self.pick(
            (
                ({"type": "boolean"}, True, "maybe", "bool"),
                ({"enum": ["yes", "no"]}, "yes", "maybe", "text"),
                (None, "words", 7, "text"),
            )
        )
        task: dict[str, Any] = {"ask": f"Is it {self.content(inside)}?"}
        if schema:
            task["output"] = schema
        for prefix in set(inside.prefixes):
            if self.often(80):
                values = [
                    wrong if self.often(20) else right for _ in range(self.random.randint(1, 2))
                ]
                self.answers[prefix] = [Answer(self.time(300), value) for value in values]
        return task, type_

    def make_block(self, inside: _Around, policy: str) -> tuple[dict[str, Any], str]:
        """Put a block."""
        task: dict[str, Any] = {}
        own = policy
        if self.often(25):
            own = task["on_failure"] = self.policy(default=policy)
        task["process"], task["tasks"], types = self.plan(_below(inside), own)
        if self.often(30):
            name = self.pick(list(types))
            task["outputs"] = {"out": self.hole(name, types[name])}
        return task, "any"

    def make_workflow(self, inside: _Around, policy: str) -> tuple[dict[str, Any], str]:
        """Run a workflow of its own."""
        below = _below(inside)
        alone = _Around(
            below.depth, {}, below.prefixes, is_bounded=below.is_bounded, runs=below.runs,
            names=("inputs.x",),
        )  # fmt: skip
        name = f"w{len(self.workflows)}"
        inner: dict[str, Any] = {"inputs": {"x": {}}, "manager": "w"}
        self.workflows[name] = inner
        inner["on_failure"] = self.policy(default=policy)
        inner["process"], inner["tasks"], types = self.plan(alone, inner["on_failure"])
        if self.often(60):
            one = self.pick(list(types))
            inner["outputs"] = {"out": self.hole(one, types[one])}
        return {"workflow": name, "with": {"x": self.content(inside)}}, "any"

    def behave(self, task: dict[str, Any], inside: _Around, *, tokens: bool = False) -> str:
        """Say how the calls of a task go, and declare its output. Gives the output's type."""
        type_ = self.pick(("text", "int", "list"))
        schema = self.often(30) or (tokens and type_ != "text")
        if schema:
            task["output"] = {
                "text": {"type": "string"}, "int": {"type": "integer"}, "list": {"type": "array"},
            }[type_]  # fmt: skip
        for prefix in dict.fromkeys(inside.prefixes):
            if prefix == inside.prefixes[0] or self.often(60):
                count = self.random.randint(1, 3)
                self.calls[prefix] = [
                    self.behaviour(type_, inside, tokens=tokens) for _ in range(count)
                ]
        return type_

    def behave_as_team(self, task: dict[str, Any], inside: _Around) -> str:
        """Say how the calls of a team's agents go, and of their tools. Gives the output's type."""
        self.has_teams = True
        type_ = self.behave(task, inside, tokens=True)
        for prefix in dict.fromkeys(inside.prefixes):
            self.calls.pop(prefix, None)
            for agent in _TEAM_AGENTS:
                if self.often(75):
                    count = self.random.randint(1, 3)
                    self.calls[f"{prefix}@{agent}"] = [
                        self.turn(type_, inside) for _ in range(count)
                    ]
            if self.often(40):
                self.calls[f"{prefix}@x/t"] = [self.behaviour("list", inside, tokens=False)]
        return type_

    def turn(self, type_: str, inside: _Around) -> Behaviour:
        """Say how one model call of an agent in a team goes."""
        behaviour = self.behaviour(type_, inside, tokens=True)
        if behaviour.error == "invalid_output":
            return replace(behaviour, error="refused")
        if behaviour.error or behaviour.hang or self.often(50):
            return behaviour
        return replace(behaviour, uses=self.uses())

    def uses(self) -> list[dict[str, Any]]:
        """Give calls of tools: of some that delegate, or hand over, or are the agent's own."""
        if self.often(25):
            to = self.pick(("y", "x", "n", "m", "k", "zz"))
            return [{"hand_over": self.pick(({"to": to}, {"to": to, "message": "go on"}))}]
        count = 2 if self.often(20) else 1
        self.is_side_by_side = self.is_side_by_side or count > 1
        return [self.use() for _ in range(count)]

    def use(self) -> dict[str, Any]:
        """Give one call of a tool."""
        if self.often(25):
            return {self.pick(("t", "u", "zz")): self.pick(({}, {"x": 1}, {"x": 2}))}
        to = self.pick(("x", "y", "v", "n", "m", "w", "zz"))
        return {"delegate": {"to": to, "task": "" if self.often(5) else "do it"}}

    def behaviour(self, type_: str, inside: _Around, *, tokens: bool) -> Behaviour:
        """Say how one call goes."""
        delay = self.time(400)
        used = self.random.randint(0, 90) if tokens else 0
        if self.often(22):
            error = self.pick(_OTHERS if self.often(30) else _RETRIED)
            return Behaviour(delay, error=error, tokens=used)
        if inside.is_bounded and self.often(8):
            return Behaviour(delay, hang=True, tokens=used)
        if self.often(8):
            return Behaviour(delay, result="odd", tokens=used)
        if type_ == "text" and self.often(30):
            return Behaviour(delay, echo=True, tokens=used)
        results: dict[str, list[Any]] = {
            "text": ["ok", "other"], "int": [0, 1, 2, "2"], "list": [[1, 2], [], "[3]"],
        }  # fmt: skip
        return Behaviour(delay, result=self.pick(results[type_]), tokens=used)

    # Expressions

    def content(
        self, inside: _Around, *, holes_only: bool = False, extra: Sequence[str] = ()
    ) -> str:
        """Give text with at most one hole."""
        holes = [*inside.names, *extra]
        holes += ["item", "index"] if inside.has_item else []
        holes += ["loop.index", "default(loop.output, 0)"] if inside.has_loop and not extra else []
        if inside.outer and self.often(50):
            name = self.pick(list(inside.outer))
            return self.hole(name, inside.outer[name])
        return f"{{{{ {self.pick(holes)} }}}}" if holes_only or self.often(50) else "words"

    def hole(self, name: str, type_: str) -> str:
        """Give a hole that mentions a task."""
        path = f"tasks.{name}"
        options = [
            f"default({path}.output, 0)", f"{path}.output", f"{path}.status", f"{path}.recovered",
            f"default({path}.error.type, 'none')",
        ]  # fmt: skip
        chosen = self.pick(options)
        self.decides_by_type = self.decides_by_type or "error.type" in chosen
        return f"{{{{ {chosen} }}}}"

    def fallback(self, task: dict[str, Any], inside: _Around) -> Any:
        """Give a fallback; where an output is declared, one that fits, or that is seen too late."""
        schema = task.get("output", {"type": "string"} if "prompt" in task else None)
        if schema is None or self.often(20):
            return self.content(inside, holes_only=schema is not None, extra=("error.type",))
        fits: dict[str, Any] = {"string": "saved", "integer": "{{ 1 + 1 }}", "array": []}
        return fits[schema["type"]]

    def condition(self, visible: dict[str, str], around: _Around) -> Any:
        """Give a condition."""
        options: list[Any] = [True, False]
        if visible and self.often(80):
            name = self.pick(list(visible))
            path = f"tasks.{name}"
            by_type = {
                "int": f"default({path}.output, 0) >= 1",
                "text": f'{path}.output == "ok"',
                "bool": f"{path}.output",
                "list": f"len(default({path}.output, [])) > 1",
            }
            options = [
                by_type.get(visible[name], f"exists({path}.output)"),
                f'{path}.status == "succeeded"',
                f"{path}.recovered",
                f'not ({path}.status in ["failed", "skipped"])',
                f"default({path}.error.type, 'none') == 'connection'",
            ]
        elif around.has_item:
            options = ["index == 0", "index != 1"]
        elif around.has_loop:
            options = ["loop.index == 0", "exists(loop.output)"]
        chosen = self.pick(options)
        self.decides_by_type = self.decides_by_type or "error.type" in str(chosen)
        return chosen


def _below(inside: _Around) -> _Around:
    """Give what is known inside a block or workflow, whose tasks stand behind a slash."""
    plain_place, full_place = inside.prefixes
    return _Around(
        inside.depth, inside.outer, (f"{plain_place}/", f"{full_place}/"), inside.has_item,
        inside.has_loop, inside.is_bounded, inside.runs, names=inside.names,
    )  # fmt: skip


def _mentions_of(task: dict[str, Any], names: dict[str, str]) -> set[str]:
    text = str({key: part for key, part in task.items() if key != "depends_on"})
    return {name for name in names if f"tasks.{name}." in text}


def _looks_at_something(task: dict[str, Any], mentioned: dict[str, str]) -> bool:
    return bool(task["depends_on"] if "depends_on" in task else _mentions_of(task, mentioned))
