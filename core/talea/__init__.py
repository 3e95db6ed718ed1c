"""Write an agent workflow once; run it natively on any framework.

    import talea

    workflow = talea.load("brief.yaml")
    result = talea.run(workflow, {"topic": "batteries"}, framework="langgraph")
    result.raise_for_failure()
    print(result.outputs)

Nothing is imported before it is asked for (PEP 562), so that `import talea` costs next to nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from talea.compare import Case, Comparison, compare
    from talea.errors import (
        DocumentError,
        EndpointError,
        ErrorType,
        ExpressionError,
        InputError,
        Issue,
        PluginError,
        RunError,
        TaleaError,
        TaskError,
        UnsupportedError,
        UsageError,
    )
    from talea.events import Event, Failure, Status, Usage
    from talea.hookspecs import AdapterSpec, hookimpl
    from talea.ir import (
        Agent,
        AgentTask,
        AskTask,
        BlockTask,
        InlineWorkflow,
        Limits,
        Loop,
        Model,
        OnFailure,
        Pool,
        Process,
        Retry,
        SecretRef,
        Team,
        TeamTask,
        Tool,
        ToolTask,
        Trigger,
        ValueTask,
        Workflow,
        WorkflowTask,
    )
    from talea.load import load, loads
    from talea.plugins import FrameworkInfo, frameworks
    from talea.result import Result, TaskResult
    from talea.resume import aresume, resume
    from talea.run import arun, compile, run, stream  # noqa: A004 - always seen as talea.compile
    from talea.tools import ToolContext

__version__ = "0.1.0"

__all__ = [
    "AdapterSpec",
    "Agent",
    "AgentTask",
    "AskTask",
    "BlockTask",
    "Case",
    "Comparison",
    "DocumentError",
    "EndpointError",
    "ErrorType",
    "Event",
    "ExpressionError",
    "Failure",
    "FrameworkInfo",
    "InlineWorkflow",
    "InputError",
    "Issue",
    "Limits",
    "Loop",
    "Model",
    "OnFailure",
    "PluginError",
    "Pool",
    "Process",
    "Result",
    "Retry",
    "RunError",
    "SecretRef",
    "Status",
    "TaleaError",
    "TaskError",
    "TaskResult",
    "Team",
    "TeamTask",
    "Tool",
    "ToolContext",
    "ToolTask",
    "Trigger",
    "UnsupportedError",
    "Usage",
    "UsageError",
    "ValueTask",
    "Workflow",
    "WorkflowTask",
    "aresume",
    "arun",
    "compare",
    "compile",
    "frameworks",
    "hookimpl",
    "load",
    "loads",
    "resume",
    "run",
    "stream",
]

_ROOMS = {
    "compare": "Case Comparison compare",
    "errors": "DocumentError EndpointError ErrorType ExpressionError InputError Issue PluginError"
    " RunError TaleaError TaskError UnsupportedError UsageError",
    "events": "Event Failure Status Usage",
    "hookspecs": "AdapterSpec hookimpl",
    "ir": "Agent AgentTask AskTask BlockTask InlineWorkflow Limits Loop Model OnFailure Pool"
    " Process Retry SecretRef Team TeamTask Tool ToolTask Trigger ValueTask Workflow WorkflowTask",
    "load": "load loads",
    "plugins": "FrameworkInfo frameworks",
    "result": "Result TaskResult",
    "resume": "aresume resume",
    "run": "arun compile run stream",
    "tools": "ToolContext",
}
_ROOM = {name: room for room, names in _ROOMS.items() for name in names.split()}


class _Package(ModuleType):
    """The package, whose functions `load` and `run` keep their names.

    Importing a submodule binds it in its package, so that `talea.run` would turn from the function
    into the module as soon as anybody imports `talea.run`. `from talea.run import …` goes on to
    read the module.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and _ROOM.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _ROOM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_ROOM[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
