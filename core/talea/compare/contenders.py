"""Who takes part: `langgraph`, `langgraph:mode=dataflow`, `simple:agents=crewai`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

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
    _check_requirements(requirements)
    given = _read_pythons(pythons)
    asked = dict.fromkeys([*given, *(name for name, _ in requirements)])
    if both := next((name for name, _ in requirements if name in given), None):
        raise UsageError(
            f"{both!r} is given a Python, which has what it has, and something to be tried with",
            "leave one of them out",
        )
    entries: list[Entry] = []
    for entry in map(_read, names or list(dict.fromkeys([*ready, *asked]))):
        tried = [text for name, text in requirements if name == entry.framework]
        if entry.framework in given:
            entries.append(replace(entry, python=given[entry.framework], isolated=False))
        elif tried:
            entries += [replace(entry, isolated=True, requirements=(text,)) for text in tried]
        else:
            entries.append(replace(entry, isolated=isolate))
    unused = asked.keys() - {one.framework for one in entries}
    if unused:
        raise UsageError(f"{min(unused)!r} takes no part", f"add -f {min(unused)}")
    keys = [f"{entry.key}@{'@'.join(entry.requirements)}" for entry in entries]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UsageError(f"{twice!r} is to take part twice", "name each once")
    for entry in entries:
        if entry.python is not None:
            continue  # What is installed there is seen there.
        for name in filter(None, (entry.framework, entry.agents)):
            # A name that nobody knows makes up no package to be installed: it might be anybody's.
            if not entry.isolated or name not in known:
                plugins.get_adapter(name, to_run=True)
    return entries


def _check_requirements(requirements: Sequence[tuple[str, str]]) -> None:
    for name, text in requirements:
        if not _REQUIREMENT.fullmatch(text):
            raise UsageError(
                f"{text!r} is no requirement of a package", f'--with "{name}={name}==1.2.*"'
            )


def _read_pythons(pythons: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Give the Python of each framework that has one of its own."""
    found: dict[str, str] = {}
    for name, text in pythons:
        if name in found:
            raise UsageError(f"{name!r} is given two Pythons", "name each framework once")
        path = os.path.expanduser(text)
        python = shutil.which(path) if path else None
        if python is None:
            inside = Path(path, "bin", "python")
            better = inside if path and inside.exists() else "/path/to/environment/bin/python"
            raise UsageError(f"there is no Python at {text!r}", f"--python {name}={better}")
        found[name] = python
    return found


def distribution_of(framework: str) -> str:
    """Name the distribution of a framework's plugin."""
    found = (info.distribution for info in plugins.frameworks() if info.name == framework)
    return next(found, None) or f"talea-{framework}"


def _read(text: str) -> Entry:
    name, colon, rest = text.partition(":")
    options: dict[str, str] = {}
    for part in rest.split(",") if colon else ():
        key, equals, value = part.partition("=")
        if not (equals and key and value):
            raise UsageError(
                f"{part!r} in {text!r} is no option", "-f langgraph:mode=dataflow,maps=node"
            )
        if key in options:
            raise UsageError(f"the option {key!r} stands twice in {text!r}", "name it once")
        options[key] = value
    agents = options.pop(_AGENTS, None)
    return Entry(text, name, agents, options)
