"""Who takes part: `langgraph`, `langgraph:mode=dataflow`, `simple:agents=crewai`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from talea import plugins
from talea.errors import UsageError
from talea.plugins import PluginStatus

_AGENTS = "agents"


@dataclass(slots=True, frozen=True)
class Entry:
    """A framework with its options, as the caller names it. `key` is how it is told from others."""

    key: str
    framework: str
    agents: str | None = None
    options: dict[str, str] = field(default_factory=dict[str, str])


def read_entries(names: Sequence[str]) -> list[Entry]:
    """Read who is to take part; everybody that is installed where nobody is named.

    Raises `UsageError` for what cannot be read, stands twice, or is not installed.
    """
    known = {info.name: info for info in plugins.frameworks()}
    ready = [name for name, info in known.items() if info.status is PluginStatus.READY]
    if not (names or ready):
        raise UsageError("no framework is installed", "pip install talea-simple")
    entries = [_read(name) for name in names or ready]
    keys = [entry.key for entry in entries]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UsageError(f"{twice!r} is to take part twice", "name each once")
    for entry in entries:
        plugins.get_adapter(entry.framework, to_run=True)
        if entry.agents is not None:
            plugins.get_adapter(entry.agents, to_run=True)
    return entries


def _read(text: str) -> Entry:
    name, _, rest = text.partition(":")
    options: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not (equals and key and value):
            raise UsageError(
                f"{part!r} in {text!r} is no option", "-f langgraph:mode=dataflow,maps=node"
            )
        options[key] = value
    agents = options.pop(_AGENTS, None)
    return Entry(text, name, agents, options)
