"""The process of one framework: `python -P -m talea.compare.worker CHANNEL LIFE MARK VERSION`.

It answers messages over the socket that it is given, one at a time, and prints nothing there that
a framework or a tool could disturb. Once the comparison is gone, it ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import platform
import queue
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module, metadata
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from talea import plugins
from talea.adapter import Adapter, Level
from talea.compare.channel import Channel, Gone
from talea.compare.driver import IMPORTING
from talea.compare.functions import look
from talea.compare.record import Call, Problem, RunRecord, Span, Startup, Task, Used
from talea.compare.timing import Watch, is_within, split
from talea.errors import TaleaError, UsageError
from talea.events import Failure, MeteredCall, Usage
from talea.journal import unpin
from talea.plan import Plan, make_plan
from talea.result import Result, TaskResult, plain_address
from talea.run import Prepared, check_tools, lacks_of, prepare
from talea.tools import load_tools

_BENEATH = ("pydantic",)
"""What every framework rests on, and no plugin names."""


class Worker:
    """A framework, loaded once, and the workflow that it runs again and again."""

    def __init__(self) -> None:
        self._settings: dict[str, Any] = {}
        self._functions: dict[str, Callable[..., Any]] = {}
        self._plan: Plan | None = None
        self._watch = Watch()

    @property
    def under_way(self) -> list[str]:
        """The tasks that are under way: of those within each other, the innermost."""
        tasks = list(self._watch.under_way)
        return [
            one
            for one in tasks
            if not any(is_within(other, one) for other in tasks if other != one)
        ]

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a message; what goes wrong is part of the answer."""
        work = {"load": self._load, "run": self._run, "check": self._check}[message["do"]]
        try:
            return work(**message["with"])
        except UsageError as error:
            return {"problem": str(error), "mistake": [error.message, error.hint]}
        except TaleaError as error:
            return {"problem": str(error)}
        except Exception as error:  # noqa: BLE001 - whatever a framework does at its start
            return {"problem": f"{type(error).__name__}: {error}"}

    def _load(
        self,
        *,
        framework: str,
        document: list[dict[str, Any]],
        options: dict[str, str],
        packages: list[str],
        tools: str | None,
        functions: list[tuple[str, str, str]],
        are_played: bool,
        settings: dict[str, Any],
    ) -> dict[str, Any]:
        """Import a framework and compile a workflow for it; say what both took.

        With `are_played` a cassette stands in for tools, which need no code.
        """
        wall, cpu = time.perf_counter(), time.process_time()
        adapter = plugins.get_adapter(framework, to_run=True)
        others = settings.get("agents")
        agents = plugins.get_adapter(others, to_run=True) if others else None
        for one in (adapter, agents):
            if one is not None:
                one.load()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        memory = _peak_memory()
        os.environ[IMPORTING] = "1"
        self._functions = dict(load_tools(tools)) if tools else {}
        for name, file, function in functions:
            self._functions[name] = _function_of(file, function)
        del os.environ[IMPORTING]
        workflow = unpin(document)
        self._plan = plan = make_plan(workflow)
        if not are_played:
            check_tools(plan, self._functions)
        told = {
            "versions": _versions([framework, others] if others else [framework], packages),
            "python": platform.python_version(),
            "emulated": _emulated(plan, adapter),
        }
        if lacks := lacks_of(plan, adapter, agents):
            return {**told, "refused": "; ".join(f"{one.feature}: {one.reason}" for one in lacks)}
        began, used = time.perf_counter(), time.process_time()
        hook = plugins.manager().hook
        compiled = hook.talea_compile(adapter=adapter, plan=plan, options=options)
        startup = Startup(
            import_seconds=wall,
            import_cpu=cpu,
            import_memory=memory,
            compile_seconds=time.perf_counter() - began,
            compile_cpu=time.process_time() - used,
        )
        self._settings = {
            "workflow": workflow,
            "framework": framework,
            "tools": self._functions,
            "options": options,
            "compiled": compiled,
            **settings,
        }
        return {**told, "startup": startup.model_dump(mode="json")}

    def _run(
        self, inputs: dict[str, Any], answers: dict[str, Any], **settings: Any
    ) -> dict[str, Any]:
        """Run the workflow once; give what is known of the run here."""
        assert self._plan is not None
        self._watch = watch = Watch()
        prepared = prepare(
            inputs=inputs, answers=answers, sinks=[watch], **self._settings, **settings
        )
        result, used = asyncio.run(_timed(prepared))
        return {"run": _tell(self._plan, result, watch, used)}

    def _check(self, function: str, value: Any) -> dict[str, Any]:
        """Have a function of the caller's judge a value."""
        passed, why = look(self._functions[function], value)
        return {"passed": passed, "why": why}


async def _timed(prepared: Prepared) -> tuple[Result, float]:
    """Make a run; give the CPU time it took besides, without that of making an event loop."""
    gc.collect()
    used = time.process_time()
    result = await prepared.run()
    return result, time.process_time() - used


def _tell(plan: Plan, result: Result, watch: Watch, cpu: float) -> dict[str, Any]:
    """Give a run as the parts of a `RunRecord` that are known where it ran."""
    calls = result.calls or ()
    spans = watch.all(calls)
    ready = _ready(plan, result)
    placed: dict[str, list[tuple[str, Span]]] = {}
    for span in spans:
        place = plain_address(span.address)
        placed.setdefault(_root(place), []).append((place, span))
    tasks = {
        address: _task(address, task, ready.get(address), placed.get(_root(address), ()))
        for address, task in result.tasks.items()
    }
    told = RunRecord(
        framework="",
        case="",
        repeat=0,
        order=0,
        status=str(result.status),
        error=_problem(result.error),
        outputs=result.outputs,
        tasks=tasks,
        used=_used(result.usage),
        reported=None if result.reported is None else _used(result.reported),
        calls=tuple(map(_call, calls)),
        spans=spans,
        duration=result.duration,
        split=split(0.0, result.duration, spans),
        cpu=cpu,
        peak_memory=_peak_memory(),
        retries=watch.retries,
        notes=result.notes,
    )
    return told.model_dump(mode="json", exclude={"framework", "case", "repeat", "order"})


def _ready(plan: Plan, result: Result) -> dict[str, float]:
    """Say when all had ended that each of the workflow's own tasks depends on."""
    ends = [result.tasks[step.id].ended for step in plan.steps]
    return {
        step.id: max((end for i in step.dependencies if (end := ends[i]) is not None), default=0.0)
        for step in plan.steps
    }


def _root(address: str) -> str:
    """Name the workflow's own task that an address is of."""
    return address.partition("/")[0].partition("[")[0]


def _task(
    address: str, task: TaskResult, ready: float | None, placed: Sequence[tuple[str, Span]]
) -> Task:
    own = None
    if task.started is not None and task.ended is not None:
        of_task = [span for place, span in placed if is_within(place, address)]
        own = split(task.started, task.ended, of_task)
    return Task(
        status=str(task.status),
        reason=task.reason,
        output=task.output,
        error=_problem(task.error),
        recovered=task.recovered,
        attempts=task.attempts,
        agent=task.agent,
        ready=ready,
        started=task.started,
        ended=task.ended,
        used=_used(task.usage or Usage()),
        split=own,
    )


def _problem(failure: Failure | None) -> Problem | None:
    if failure is None:
        return None
    return Problem(type=failure.type, message=failure.message, address=failure.address)


def _used(usage: Usage) -> Used:
    return Used(**usage.as_json())


def _call(call: MeteredCall) -> Call:
    told = call.as_json()
    used: dict[str, Any] = told.pop("usage")
    del told["client"], used["model_calls"]
    return Call(**told, **used)


def _versions(frameworks: Sequence[str], packages: Sequence[str]) -> dict[str, str]:
    """Give the versions of what runs, and of what was asked for."""
    found: dict[str, str] = {}
    for framework in frameworks:
        found |= plugins.versions(framework)
    for package in (*_BENEATH, *packages):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _emulated(plan: Plan, adapter: Adapter[Any]) -> dict[str, str]:
    found = {feature: adapter.features.get(feature) for feature in plan.features}
    return {
        feature.value: support.reason
        for feature, support in found.items()
        if support is not None and support.level is Level.EMULATED
    }


def _peak_memory() -> int:
    """Give the most that this process has held, in bytes.

    Linux counts for `ru_maxrss` what the process held that this one was started from, before it
    became Python (setmax_mm_hiwater_rss in exec_mmap); VmHWM is this one's own.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _function_of(file: str, name: str) -> Callable[..., Any]:
    """Give a function of a file, as the caller's script has it."""
    found: Any = _modules.get(file) or _load_module(file)
    for part in name.split("."):
        found = getattr(found, part)
    return found


_modules: dict[str, Any] = {}


def _load_module(file: str) -> Any:
    """Import the caller's file: one in a package by its name there, so that it finds the others;
    any other under a name that tells it that it is not the script itself."""
    path = Path(file)
    names = [] if path.stem == "__init__" else [path.stem]
    root = path.parent
    while (root / "__init__.py").exists():
        names.insert(0, root.name)
        root = root.parent
    sys.path.insert(0, str(root))
    module = _load_alone(path) if root == path.parent else import_module(".".join(names))
    _modules[file] = module
    return module


def _load_alone(path: Path) -> Any:
    spec = spec_from_file_location(f"talea_caller_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Answer messages until the comparison is gone; say so if that is of another talea, which may
    speak and measure otherwise."""
    ours, theirs = metadata.version("talea"), sys.argv[4]
    if ours != theirs:
        sys.exit(f"{sys.executable} has talea {ours}, but the comparison is made by talea {theirs}")
    end, life = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    for one in (end, life):
        one.set_inheritable(False)  # A tool's own processes have no business there.
    channel = Channel(end, sys.argv[3])
    _end_with(life)
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    worker = Worker()
    threading.Thread(target=partial(_listen, channel, messages, worker), daemon=True).start()
    while True:
        channel.send(worker.answer(messages.get()))


def _end_with(life: socket.socket) -> None:
    """Have the system end this process, and all that it has started, once the comparison's side of
    a socket is closed. That needs no thread, which code that never lets one run would hinder."""
    fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)


def _listen(channel: Channel, messages: queue.SimpleQueue[Any], worker: Worker) -> None:
    """Take messages in, and say at once what is under way where that is asked.

    Once nobody is there any more, end this process, whatever it does, and all that it has started.
    """
    try:
        while True:
            message = channel.receive()
            if message["do"] == "where":
                channel.send({"under_way": worker.under_way})
            else:
                messages.put(message)
    except Gone:
        os.killpg(os.getpid(), signal.SIGKILL)  # It leads a group of its own.


if __name__ == "__main__":
    main()
