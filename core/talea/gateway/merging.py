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

    Turns at one address, or of one agent there where both tell agents apart, have to be the same.
    Raises UsageError with every place where they are not, unless `prefer` says whose to keep.
    """
    merged = _Merged(prefer)
    for name, cassette in cassettes.items():
        for address, turns in cassette.tasks.items():
            merged.add(name, address, turns)
    if merged.conflicts:
        count = len(merged.conflicts)
        more = f"\n… and {count - _NAMED} more" if count > _NAMED else ""
        raise UsageError(
            "the cassettes do not agree:\n  " + "\n  ".join(merged.conflicts[:_NAMED]) + more,
            "say whose turns to keep: --prefer first, or --prefer last",
        )
    return Cassette.model_construct(talea_cassette=1, tasks=merged.tasks)


class _Merged:
    """What was taken so far, and from which cassette."""

    def __init__(self, prefer: Prefer | None) -> None:
        self.tasks: dict[str, Any] = {}
        self.conflicts: list[str] = []
        self._prefer = prefer
        self._from: dict[tuple[str, ...], str] = {}

    def add(self, name: str, address: str, turns: Any) -> None:
        """Take the turns at an address."""
        before = self.tasks.get(address)
        if not (isinstance(before, dict) and isinstance(turns, dict)):
            taken = dict(cast("dict[str, Any]", turns)) if isinstance(turns, dict) else turns
            self._put(self.tasks, (address,), name, taken)
            return
        for agent, its in cast("dict[str, Any]", turns).items():
            self._put(cast("dict[str, Any]", before), (address, agent), name, its)

    def _put(self, place: dict[str, Any], path: tuple[str, ...], name: str, value: Any) -> None:
        known = place.get(path[-1])
        if known is not None and known != value:
            if self._prefer is None:
                first = self._from.get(path) or self._from[path[:1]]
                where = repr(path[0]) + "".join(f", agent {agent!r}" for agent in path[1:])
                self.conflicts.append(f"{where}: {first} and {name} have different turns")
            if self._prefer is not Prefer.LAST:
                return
        if known is None or known != value:
            place[path[-1]] = value
            self._from[path] = name
