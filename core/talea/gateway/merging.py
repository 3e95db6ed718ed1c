"""Several cassettes as one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

from talea.errors import UsageError
from talea.gateway.cassette import Cassette

_NAMED = 8
"""Conflicts that are named; of more, the number is told."""


class Prefer(StrEnum):
    """Whose turns are kept where two cassettes have different ones."""

    FIRST = "first"
    LAST = "last"


def merge(cassettes: Mapping[str, Cassette], prefer: Prefer | None = None) -> Cassette:
    """Give one cassette with what all have, by the names that an error tells them by.

    Turns at one address, or of one agent there where both tell agents apart, have to be the same,
    and so have the results of tools at one address. Raises UsageError with every place where they
    are not, unless `prefer` says whose to keep.
    """
    tasks, tools = _Merged("turns", prefer), _Merged("results of tools", prefer)
    for name, cassette in cassettes.items():
        tasks.add(name, cassette.tasks)
        tools.add(name, cassette.tools or {})
    conflicts = [*tasks.conflicts, *tools.conflicts]
    if conflicts:
        more = len(conflicts) - _NAMED
        told = [*conflicts[:_NAMED], *([f"… and {more} more"] if more > 0 else [])]
        raise UsageError(
            "\n  ".join(["the cassettes do not agree:", *told]),
            "say whose to keep: --prefer first, or --prefer last",
        )
    whole: dict[str, Any] = {"tasks": tasks.taken}
    if any(cassette.tools is not None for cassette in cassettes.values()):
        whole["tools"] = tools.taken
    return Cassette.model_construct(talea_cassette=1, **whole)


class _Merged:
    """What was taken so far of one part, and from which cassette."""

    def __init__(self, what: str, prefer: Prefer | None) -> None:
        self.taken: dict[str, Any] = {}
        self.conflicts: list[str] = []
        self._what = what
        self._prefer = prefer
        self._from: dict[tuple[str, ...], str] = {}

    def add(self, name: str, part: Mapping[str, Any]) -> None:
        """Take what a cassette has, by address; of what tells agents apart, agent by agent."""
        for address, value in part.items():
            before = self.taken.get(address)
            if isinstance(before, dict) and isinstance(value, dict):
                agents = cast("dict[str, Any]", before)
                for agent, its in cast("dict[str, Any]", value).items():
                    self._put(agents, (address, agent), name, its)
            else:
                copied = dict(cast("dict[str, Any]", value)) if isinstance(value, dict) else value
                self._put(self.taken, (address,), name, copied)

    def _put(self, place: dict[str, Any], path: tuple[str, ...], name: str, value: Any) -> None:
        known = place.get(path[-1])
        if known == value:
            return
        if known is not None and self._prefer is None:
            first = self._from.get(path) or self._from[path[:1]]
            where = repr(path[0]) + "".join(f", agent {agent!r}" for agent in path[1:])
            self.conflicts.append(f"{where}: {first} and {name} have different {self._what}")
        if known is None or self._prefer is Prefer.LAST:
            place[path[-1]] = value
            self._from[path] = name
