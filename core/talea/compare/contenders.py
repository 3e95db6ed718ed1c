"""Who takes part: `langgraph`, `langgraph:mode=dataflow`, `simple:agents=crewai`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from talea import plugins
from talea.errors import UsageError
from talea.plugins import PluginStatus

_AGENTS = "agents"
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^]]*\])?\s*([<>=!~@].*)?")


@dataclass(slots=True, frozen=True)
class Entry:
    """A framework with its options, as the caller names it. `key` is how it is told from others."""

    key: str
    framework: str
    agents: str | None = None
    options: dict[str, str] = field(default_factory=dict[str, str])
    isolated: bool = False
    """Whether it runs in an environment of its own."""
    requirements: tuple[str, ...] = ()
    """What that environment has besides."""
    python: str | None = None
    """The Python that runs it; None for the caller's own."""


def read_entries(
    names: Sequence[str],
    *,
    isolate: bool = False,
    requirements: Sequence[tuple[str, str]] = (),
    pythons: Sequence[tuple[str, str]] = (),
) -> list[Entry]:
    """Read who is to take part; everybody that is installed where nobody is named.

    `requirements` are pairs of a framework and what it is to be tried with: it takes part once for
    each, in an environment of its own. `pythons` are pairs of a framework and the Python that runs
    it. Raises `UsageError` for what cannot be read, stands twice, or is not installed.
    """
    known = {info.name: info for info in plugins.frameworks()}
    ready = [name for name, info in known.items() if info.status is PluginStatus.READY]
    if not (names or ready or requirements):
        raise UsageError("no framework is installed", "pip install talea-simple")
    for name, text in requirements:
        if not _REQUIREMENT.fullmatch(text):
            raise UsageError(
                f"{text!r} is no requirement of a package", f'--with "{name}={name}==1.2.*"'
            )
    entries: list[Entry] = []
    given = dict(pythons)
    for entry in map(
        _read, names or list(dict.fromkeys([*ready, *(one for one, _ in requirements)]))
    ):
        tried = [text for name, text in requirements if name == entry.framework]
        if entry.framework in given:
            entries.append(replace(entry, python=given[entry.framework], isolated=False))
        elif tried:
            entries += [replace(entry, isolated=True, requirements=(text,)) for text in tried]
        else:
            entries.append(replace(entry, isolated=isolate))
    unused = {*given, *(name for name, _ in requirements)} - {one.framework for one in entries}
    if unused:
        raise UsageError(f"{min(unused)!r} takes no part", f"add -f {min(unused)}")
    keys = [f"{entry.key}@{'@'.join(entry.requirements)}" for entry in entries]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UsageError(f"{twice!r} is to take part twice", "name each once")
    for entry in entries:
        if entry.isolated or entry.python is not None:
            continue  # What is installed there is seen there.
        plugins.get_adapter(entry.framework, to_run=True)
        if entry.agents is not None:
            plugins.get_adapter(entry.agents, to_run=True)
    return entries


def distribution_of(framework: str) -> str:
    """Name the distribution of a framework's plugin."""
    found = (info.distribution for info in plugins.frameworks() if info.name == framework)
    return next(found, None) or f"talea-{framework}"


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
