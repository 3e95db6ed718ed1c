"""Every fault of a model, on every framework, whole and streamed: what the language says comes of it.

All cases of one framework run side by side in one workflow, each as two tasks: one that has no retry,
and one that has. The gateway's own log says how many calls were really made, so that a client which
tries again by itself, or a framework which asks once more, is seen.
"""

from __future__ import annotations

import asyncio
import re
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

import talea
from talea.gateway.cassette import Fault, Turn
from talea.gateway.chat import Call
from talea.gateway.faults import FaultRules
from talea.gateway.server import Exchange, Gateway
from talea.result import Result, TaskResult

from .ways import Way, params

WAYS = [
    Way("simple"),
    Way("langgraph"),
    Way("crewai", {"style": "flow"}),
    Way("crewai", {"style": "crew"}),
]
PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
FORMS = ("whole", "streamed")
TURNS = 3
DEADLINE = 60.0
"""Seconds in which all of a way's cases must have ended; they take a tenth of it."""
ANSWER = "All is well with the cats, and with everybody else who sleeps for sixteen hours a day."
STRUCTURE = {"n": 3, "remark": "Enough text that it does not fit into a single piece."}
TOO_LONG = (
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000"
)


@dataclass(frozen=True)
class Case:
    """A fault of the first calls, and what comes of it.

    `error` is the error's type without a retry; None where the task succeeds in spite of it. `calls`
    are those made then. `again` says that the retry has it tried again; then, as in every success, the
    answer is the model's.
    """

    fault: Mapping[str, Any]
    error: str | None
    again: bool = True
    first: int = 1
    calls: int = 1
    timeout: str | None = None
    structured: bool = False
    retry_on: str | None = None


CASES = {
    "throttled": Case({"status": 429}, "rate_limit"),
    "throttled_with_a_time": Case({"status": 429, "retry_after": 0.05}, "rate_limit"),
    "broken": Case({"status": 500}, "server_error"),
    "overloaded": Case({"status": 503}, "server_error"),
    "locked": Case({"status": 401}, "authentication", again=False),
    "locked_whatever": Case({"status": 401}, "authentication", again=False, retry_on="any"),
    "too_long": Case(
        {"status": 400, "code": "context_length_exceeded", "message": TOO_LONG},
        "model_error",
        again=False,
    ),
    "too_long_whatever": Case(
        {"status": 400, "code": "context_length_exceeded", "message": TOO_LONG},
        "model_error",
        retry_on="any",
    ),
    "dripping": Case({"drip": 0.02}, None),
    "dropped": Case({"drop": True}, "connection"),
    "cut_off": Case({"reset": True}, "connection"),
    "garbled": Case({"garbage": True}, "server_error"),
    "a_page": Case({"garbage": True, "content_type": "text/html"}, "server_error"),
    "truncated": Case({"truncated": True}, "server_error"),
    "truncated_structure": Case({"truncated": True}, "server_error", structured=True),
    "mislabelled": Case({"content_type": "text/html"}, None),
    "unreadable_arguments": Case({"bad_arguments": True}, None, calls=2),
    "unknown_tool": Case({"unknown_tool": True}, None, calls=2),
    "endless": Case(
        {"endless_tools": True}, "turns_exhausted", first=TURNS, calls=TURNS, again=False
    ),
    "endless_whatever": Case(
        {"endless_tools": True}, "turns_exhausted", first=TURNS, calls=TURNS, retry_on="any"
    ),
    "silent": Case({"empty": True}, "invalid_output"),
    "silent_structure": Case({"empty": True}, "invalid_output", structured=True),
    "refused": Case({"refusal": "I will not."}, "refused", again=False),
    "refused_structure": Case(
        {"refusal": "I will not."}, "refused", again=False, structured=True, retry_on="any"
    ),
    # Last, where nothing else takes the time that they have.
    "hanging": Case({"hang": True}, "timeout", timeout="1500ms"),
    "dripping_too_long": Case({"drip": 0.5}, "timeout", timeout="1500ms"),
}


WARM = talea.Workflow.model_validate(
    {"name": "warm", "agents": {"a": {}}, "tasks": {"t": {"agent": "a", "prompt": "Hello."}}}
)


class Model:
    """Answers every call well; what goes wrong is the faults' doing."""

    def answer(self, call: Call) -> Turn:
        """Answer in text, or in the structure that is asked for."""
        wanted = call.request.response_format
        return Turn(content=ANSWER if wanted is None or wanted.type == "text" else STRUCTURE)


def search(query: str) -> str:
    """Search for something."""
    return f"found {query}"


def document(gateway: Gateway) -> talea.Workflow:
    """Build the workflow of all cases. Each task's agent has a model at an address of its own."""
    models, agents, tasks = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    for name, case in CASES.items():
        for kind in ("once", "again"):
            id = f"{name}_{kind}"
            models[id] = {"model": "local/model", "base_url": gateway.base_url(id, "agent")}
            agents[id] = {"model": id, "tools": ["search"], "max_turns": TURNS}
            task: dict[str, Any] = {"agent": id, "prompt": f"Look at {name}."}
            if case.timeout is not None:
                task["timeout"] = case.timeout
            if case.structured:
                properties = {"n": {"type": "integer"}, "remark": {"type": "string"}}
                required = ["n", "remark"]
                task["output"] = {"type": "object", "properties": properties, "required": required}
            if kind == "again":
                task["retry"] = {"max_attempts": 2, "initial_interval": "1ms"}
                if case.retry_on is not None:
                    task["retry"]["retry_on"] = [case.retry_on]
            tasks[id] = task
    return talea.Workflow.model_validate(
        {
            "name": "faults",
            "on_failure": "continue",
            "limits": {"max_parallel": 8},  # A clock starts with a task's place.
            "tools": {"search": {"description": "Search."}},
            "models": models,
            "agents": agents,
            "tasks": tasks,
        }
    )


def rules() -> FaultRules:
    """Have each case's fault befall its first calls."""
    made = [
        {"at": f"{name}_{kind}", "first": case.first, "fault": case.fault}
        for name, case in CASES.items()
        for kind in ("once", "again")
    ]
    return FaultRules.model_validate({"talea_faults": 1, "rules": made})


@dataclass(frozen=True)
class Seen:
    """What came of all cases: by the result, and by the gateway."""

    result: Result
    log: list[Exchange]

    def task(self, id: str) -> TaskResult:
        return self.result.tasks[id]

    def calls(self, id: str) -> list[Exchange]:
        return [exchange for exchange in self.log if exchange.address == id]


def seen(way: Way, form: str) -> Seen:
    """Give what came of all cases on a framework, in one run for all tests."""
    return run(str(way), form)


@cache
def run(name: str, form: str) -> Seen:
    """Run all cases on a framework."""
    (way,) = (way for way in WAYS if str(way) == name)

    async def main() -> Seen:
        # What a framework does but once, such as imports, is no part of anybody's time.
        await talea.arun(WARM, framework=way.framework, offline=True)
        async with Gateway(Model(), faults=rules()) as gateway:
            running = talea.arun(
                document(gateway),
                framework=way.framework,
                options=dict(way.options),
                tools={"search": search},
                sinks=[lambda _: None] if form == "streamed" else [],
            )
            result = await asyncio.wait_for(running, DEADLINE)
            async with asyncio.timeout(DEADLINE):
                # A client that goes on with a call that was given up keeps it open.
                while not all(exchange.duration for exchange in gateway.log):
                    await asyncio.sleep(0.01)
            return Seen(result, list(gateway.log))

    return asyncio.run(main())


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def check_answer(case: Case, task: TaskResult) -> None:
    assert task.error is None
    assert task.status == "succeeded"
    assert task.output == (STRUCTURE if case.structured else ANSWER)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("way", params(WAYS))
def test_without_a_retry_a_fault_is_what_the_language_says(way: Way, form: str, name: str) -> None:
    case, all = CASES[name], seen(way, form)
    task, calls = all.task(f"{name}_once"), all.calls(f"{name}_once")
    assert all.result.status == "failed"
    assert {call.stream for call in calls} == {form == "streamed"}
    if case.error is None:
        check_answer(case, task)
    else:
        assert task.error is not None, task.output
        assert (task.status, task.error.type) == ("failed", case.error), task.error.message
        assert task.output is None
    assert task.attempts == 1
    assert len(calls) == case.calls
    assert task.usage is not None
    assert task.usage.model_calls == case.calls


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("way", params(WAYS))
def test_a_retry_mends_what_the_language_says(way: Way, form: str, name: str) -> None:
    case, all = CASES[name], seen(way, form)
    task, calls = all.task(f"{name}_again"), all.calls(f"{name}_again")
    if case.error is None or case.again:
        check_answer(case, task)
    else:
        assert task.error is not None, task.output
        assert (task.status, task.error.type) == ("failed", case.error), task.error.message
    tried_again = case.error is not None and case.again
    assert task.attempts == 1 + tried_again
    assert len(calls) == case.calls + tried_again
    assert task.usage is not None
    assert task.usage.model_calls == case.calls + tried_again


def test_the_page_on_faults_says_the_same() -> None:
    """Each row of its table has a case, and what the case expects."""
    told = {"yes": True, "no": False, "never": False, "": None}
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("| `")
    ]
    found = 0
    for faults, outcome, again in rows:
        for written in re.findall(r"`([^`]*)`", faults):
            fault = Fault.model_validate(yaml.safe_load(written))
            like = [
                case
                for case in CASES.values()
                if (of := Fault.model_validate(case.fault)).name == fault.name
                and of.status == fault.status
                and (case.timeout is not None or fault.name != "drip")
            ]
            assert like, written
            for case in like:
                assert outcome.startswith(f"`{case.error}`" if case.error else "the answer")
                if case.retry_on is None:
                    known = told[again.partition(",")[0]]
                    assert known == (case.again if case.error else None), written
                elif case.again is False:
                    assert again == "never"
            found += 1
    assert found == 17


@pytest.mark.parametrize("way", params(WAYS))
@pytest.mark.parametrize("name", ["hanging", "dripping_too_long"])
def test_a_call_that_is_given_up_ends_at_the_server_too(way: Way, form: str, name: str) -> None:
    (call,) = seen(way, form).calls(f"{name}_once")
    assert call.status == 0
    assert call.error == "the client left before it had the whole answer"


# The model's own server, which is down or silent.


LOOPBACK = ("127.0.0.1", 0)
UNANSWERED = {
    "down": "connection",
    "leaving": "connection",
    "no_tls": "connection",
    "silent": "timeout",
}


class _Silent(socketserver.StreamRequestHandler):
    """Waits until its client has left."""

    def handle(self) -> None:
        with suppress(OSError):
            while self.rfile.readline():
                pass


class _Leaving(socketserver.BaseRequestHandler):
    """Goes as soon as it was spoken to."""

    def handle(self) -> None:
        with suppress(OSError):
            self.request.recv(65_536)


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """Serve; give the port."""
    with socketserver.ThreadingTCPServer(LOOPBACK, handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Give the addresses of servers that do not answer, by what is wrong with them."""
    with socket.socket() as deaf, serving(_Silent) as silent, serving(_Leaving) as leaving:
        deaf.bind(LOOPBACK)  # It does not listen, and nobody else can meanwhile.
        yield {
            "down": f"http://127.0.0.1:{deaf.getsockname()[1]}/v1",
            "silent": f"http://127.0.0.1:{silent}/v1",
            "leaving": f"http://127.0.0.1:{leaving}/v1",
            "no_tls": f"https://127.0.0.1:{leaving}/v1",
        }


def unanswered(addresses: Mapping[str, str]) -> talea.Workflow:
    """Build a workflow that asks each of some servers."""
    models = {name: {"model": "local/model", "base_url": url} for name, url in addresses.items()}
    hurry = {name for name, error in UNANSWERED.items() if error == "timeout"}
    return talea.Workflow.model_validate(
        {
            "name": "unanswered",
            "on_failure": "continue",
            "models": models,
            "agents": {name: {"model": name} for name in addresses},
            "tasks": {
                name: {
                    "agent": name,
                    "prompt": "Hello.",
                    **({"timeout": "1500ms"} if name in hurry else {}),
                }
                for name in addresses
            },
        }
    )


@pytest.mark.parametrize("through_gateway", [False, True], ids=["straight", "gateway"])
@pytest.mark.parametrize("way", params(WAYS))
def test_a_server_that_does_not_answer_is_the_same_failure_through_the_gateway(
    way: Way, form: str, through_gateway: bool
) -> None:
    asyncio.run(talea.arun(WARM, framework=way.framework, offline=True))
    with servers() as addresses:
        result = talea.run(
            unanswered(addresses),
            framework=way.framework,
            options=dict(way.options),
            meter=through_gateway,
            sinks=[lambda _: None] if form == "streamed" else [],
        )
    failures = {name: task.error for name, task in result.tasks.items()}
    assert {name: error and error.type for name, error in failures.items()} == UNANSWERED
    for name in [name for name in UNANSWERED if through_gateway and name != "silent"]:
        assert urlsplit(addresses[name]).netloc in str(failures[name]), name
        assert "cannot be reached" in str(failures[name])
    calls = [call.address for call in result.calls or ()]
    assert sorted(calls) == (sorted(UNANSWERED) if through_gateway else [])


def test_a_recorded_failure_to_reach_a_server_is_the_same_in_its_replay(tmp_path: Path) -> None:
    with servers() as addresses:
        workflow = unanswered({"down": addresses["down"]})
        recorded = talea.run(workflow, record=tmp_path / "calls.yaml")
    replayed = talea.run(workflow, replay=tmp_path / "calls.yaml")
    assert recorded.error is not None
    assert recorded.error.type == "connection"
    assert str(replayed.error) == str(recorded.error)
