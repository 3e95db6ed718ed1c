"""The options of this framework, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from talea.errors import UsageError

HELP = {
    "mode": "graph, dataflow or auto: a StateGraph, LangGraph's functional API, or the latter only"
    " where branches would wait for each other",
    "maps": "send or node: the items of for_each as native Sends, or side by side within one node",
    "checkpointer": "none, memory or sqlite:PATH: where the graph's state is kept",
    "durability": "sync, async or exit: when the state is written",
}
_CHOICES = {
    "mode": ("graph", "dataflow", "auto"),
    "maps": ("send", "node"),
    "durability": ("sync", "async", "exit"),
}


@dataclass(slots=True, frozen=True)
class Choices:
    """The options of one compiled object."""

    mode: str = "graph"
    maps: str = "send"
    durability: Any = None
    checkpointer: Any = None
    """`sqlite:PATH`, a checkpoint saver, or None."""

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Choices:
        """Read options. Raises `UsageError` that names what is wrong."""
        for name, value in options.items():
            if name not in HELP:
                known = ", ".join(HELP)
                raise UsageError(f"framework 'langgraph' has no option {name!r}", f"it has {known}")
            allowed = _CHOICES.get(name)
            if allowed is not None and value not in allowed:
                raise UsageError(f"{name} is {value!r}", f"it is one of {', '.join(allowed)}")
        return cls(**{**options, "checkpointer": _checkpointer(options.get("checkpointer"))})


def _checkpointer(value: Any) -> Any:
    if value is None or value == "none":
        return None
    if not isinstance(value, str):
        return value  # A saver of the caller's own.
    if value == "memory":
        from langgraph.checkpoint.memory import InMemorySaver

        return InMemorySaver()
    if value.startswith("sqlite:") and value != "sqlite:":
        return value
    raise UsageError(f"checkpointer is {value!r}", "it is one of none, memory, sqlite:PATH")
