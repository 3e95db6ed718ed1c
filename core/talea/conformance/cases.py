"""Small workflows with hand-computed outcomes, as data: the same for every framework.

The files are `cases/*.yaml` beside this module, each a list of cases:

    - case: a skip travels                  # unique name
      rule: Ends 1                          # the part of docs/language.md that it holds
      # The document: every key of a workflow may stand here but `name`. A tool `t` and an agent
      # `w` are there already, and retries have no jitter unless it is written.
      tasks: {a: {when: false, tool: t}, b: {depends_on: [a], tool: t}}
      inputs: {}                            # declared inputs, as in a document
      given: {}                             # the inputs of the run
      calls:                                # what calls do, by address without `#n` (scenario.py)
        b: ["text", "!tool_error", {result: 1, delay: 0.5}]
      answers: {q: [true, {value: false, delay: 0.1}]}     # what a person says
      timing: true                          # the outcome rests on exact times and places
      expect:
        status: succeeded                   # of the run; this is the default
        error: tool_error at a#1/b          # of the run: its type and full address, if it has one
        outputs: {x: 1}
        tasks: {a: skipped when, b: skipped a}     # status and reason, by address without `#n`
        values: {a: 1}                      # outputs of tasks
        errors: {a: tool_error at a#1/b}    # of tasks, with full addresses
        recovered: [a]                      # all tasks that are marked so
        attempts: {a: 2}
        agents: {a: w}                      # the agent of tasks, that of the last call
        absent: [a/x]                       # addresses without a result
        calls: [a, b]                       # full addresses of all calls in the order they begin
        asked: [w, w]                       # the agents of all calls of agents in that order
        delegated: [w to v, "w to u: refused"]     # who gave what to whom in a team, and its error
        time: 1.5                           # seconds that the run takes

What `expect` leaves out is not looked at, except that a run without `error` has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import yaml

from talea.conformance.outcome import Outcome
from talea.conformance.scenario import Answer, Behaviour, Scenario, microseconds
from talea.ir import Workflow

FOLDER = Path(__file__).parent / "cases"
_DOCUMENT = Workflow.model_fields.keys() - {"name"}
_OWN = {"case", "rule", "given", "calls", "answers", "timing", "expect"}
_BEHAVIOUR = {field.name for field in fields(Behaviour)}
_ABSENT = object()


@dataclass(slots=True, frozen=True)
class Case:
    """One case. `timing` says that the outcome rests on exact times and places."""

    name: str
    rule: str
    workflow: Workflow
    inputs: Mapping[str, Any]
    scenario: Scenario
    expected: Mapping[str, Any]
    timing: bool

    def __str__(self) -> str:
        return self.name

    def differences(self, outcome: Outcome) -> list[str]:
        """Tell what of an outcome is not as expected."""
        return [
            f"{what}: {found!r}, expected {expected!r}"
            for what, found, expected in self._compared(outcome)
            if found != expected
        ]

    def _compared(self, outcome: Outcome) -> Iterator[tuple[str, Any, Any]]:
        expected, tasks = self.expected, outcome.tasks
        yield "status", outcome.status, expected.get("status", "succeeded")
        error = _error(outcome.error_type, outcome.error_address)
        yield "error", error, expected.get("error")
        if "outputs" in expected:
            yield "outputs", outcome.outputs, expected["outputs"]
        for address, wanted in expected.get("tasks", {}).items():
            task = tasks.get(address)
            found = f"{task.status} {task.reason or ''}".strip() if task else None
            yield f"tasks {address}", found, wanted
        for address, wanted in expected.get("values", {}).items():
            found = tasks[address].output if address in tasks else _ABSENT
            yield f"values {address}", found, wanted
        for address, wanted in expected.get("errors", {}).items():
            task = tasks.get(address)
            found = _error(task.error_type, task.error_address) if task else None
            yield f"errors {address}", found, wanted
        if "recovered" in expected:
            found = sorted(address for address, task in tasks.items() if task.recovered)
            yield "recovered", found, sorted(expected["recovered"])
        for address, wanted in expected.get("attempts", {}).items():
            found = tasks[address].attempts if address in tasks else None
            yield f"attempts {address}", found, wanted
        for address, wanted in expected.get("agents", {}).items():
            found = tasks[address].agent if address in tasks else None
            yield f"agents {address}", found, wanted
        for address in expected.get("absent", ()):
            yield f"absent {address}", tasks.get(address), None
        if "calls" in expected:
            yield "calls", outcome.calls, expected["calls"]
        if "asked" in expected:
            yield "asked", outcome.asked, expected["asked"]
        if "delegated" in expected:
            yield "delegated", list(map(_delegation, outcome.delegated)), expected["delegated"]
        if "time" in expected:
            yield "time", outcome.duration, microseconds(expected["time"])


def load_cases() -> list[Case]:
    """Read all cases. Raises ValueError where one is not written as said above."""
    found = [
        _case(data)
        for path in sorted(FOLDER.glob("*.yaml"))
        for data in cast("list[dict[str, Any]]", yaml.safe_load(path.read_text()))
    ]
    names = [case.name for case in found]
    if double := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"cases of one name: {double}")
    return found


def _case(data: dict[str, Any]) -> Case:
    if unknown := data.keys() - _DOCUMENT - _OWN:
        raise ValueError(f"{data.get('case')}: unknown keys {unknown}")
    known = {
        "status", "error", "outputs", "tasks", "values", "errors", "recovered", "attempts",
        "agents", "absent", "calls", "asked", "delegated", "time",
    }  # fmt: skip
    if unknown := data["expect"].keys() - known:
        raise ValueError(f"{data['case']}: unknown expectations {unknown}")
    document = {key: data[key] for key in data.keys() & _DOCUMENT}
    document["tools"] = {"t": {}} | document.get("tools", {})
    document["agents"] = {"w": {"model": "openai/test"}} | document.get("agents", {})
    calls = {
        address: list(map(_behaviour, listed)) for address, listed in data.get("calls", {}).items()
    }
    answers = {
        address: list(map(_answer, listed)) for address, listed in data.get("answers", {}).items()
    }
    return Case(
        data["case"],
        data["rule"],
        Workflow.model_validate({"name": "case", **_without_jitter(document)}),
        data.get("given", {}),
        Scenario(calls, answers),
        data["expect"],
        data.get("timing", False),
    )


def _without_jitter(part: Any) -> Any:
    """Write `jitter: false` into every retry."""
    if isinstance(part, list):
        return [_without_jitter(one) for one in cast("list[Any]", part)]
    if not isinstance(part, dict):
        return part
    found = {key: _without_jitter(one) for key, one in cast("dict[str, Any]", part).items()}
    if isinstance(retry := found.get("retry"), dict) and "max_attempts" in retry:
        found["retry"] = {"jitter": False} | cast("dict[str, Any]", retry)
    return found


def _behaviour(data: Any) -> Behaviour:
    if isinstance(data, str) and data.startswith("!"):
        return Behaviour(error=data[1:])
    if isinstance(data, dict) and data and cast("dict[str, Any]", data).keys() <= _BEHAVIOUR:
        return Behaviour(**cast("dict[str, Any]", data))
    return Behaviour(result=data)


def _answer(data: Any) -> Answer:
    if isinstance(data, dict) and cast("dict[str, Any]", data).keys() == {"value", "delay"}:
        return Answer(**cast("dict[str, Any]", data))
    return Answer(0.001, data)


def _delegation(told: tuple[str, str, str, str | None]) -> str:
    _, agent, to, error = told
    return f"{agent} to {to}" + (f": {error}" if error else "")


def _error(type_: str | None, address: str | None) -> str | None:
    return f"{type_} at {address}" if type_ and address else type_
