"""Delegating in a framework's own words: what its tools say, and what cassettes have for it.

A manager's tool is `delegate`, with the arguments `to` and `task`. A framework that has tools of
its own for that offers those to the model, and says by a `Wording` what they mean. So whoever
reads or plays a model's answers, the gateway or the framework's plugin, translates alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

DELEGATE = "delegate"
"""The name of a manager's tool."""
HEADER = "talea-delegation"
"""The header by which talea's gateway is told a `Wording`; it passes it on to nobody."""

_TO, _TASK = "to", "task"


@dataclass(slots=True, frozen=True)
class Wording:
    """How a framework's own tools say `delegate`.

    `tools` are, by name, the arguments of each: first the one that holds the member, then those
    whose texts make up the task. The first tool stands for all. `members` are the ids of those
    whom the framework knows by another name, by that name.
    """

    tools: Mapping[str, Sequence[str]]
    members: Mapping[str, str]

    def read(self, tool: str, arguments: Mapping[str, Any] | str) -> dict[str, Any] | str:
        """Give what a call of one of `tools` means, as arguments of `delegate`.

        A member is found by name or id, whatever the case of its letters and the space between
        them. What is not as the tool has it stays as it is, for `delegate` to refuse.
        """
        given = _object(arguments)
        if given is None:
            return cast("str", arguments)
        member, *texts = self.tools[tool]
        read: dict[str, Any] = {}
        if member in given:
            read[_TO] = self._id(given.pop(member))
        parts = [given.pop(name) for name in texts if name in given]
        read[_TASK] = next(
            (part for part in parts if not isinstance(part, str)),
            "\n\n".join(part for part in parts if isinstance(part, str) and part.strip()),
        )
        return {**read, **given}

    def say(self, arguments: Mapping[str, Any] | str) -> tuple[str, dict[str, Any] | str]:
        """Give the tool and the arguments by which the framework says what `delegate` is given."""
        tool, (member, text, *more) = next(iter(self.tools.items()))
        given = _object(arguments)
        if given is None:
            return tool, cast("str", arguments)
        said: dict[str, Any] = {}
        if _TO in given:
            to = given.pop(_TO)
            said[member] = next((name for name, id in self.members.items() if id == to), to)
        if _TASK in given:
            said |= {text: given.pop(_TASK), **dict.fromkeys(more, "")}
        return tool, {**said, **given}

    def dumps(self) -> str:
        """Write it as a header's value."""
        return json.dumps({"tools": self.tools, "members": self.members}, separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> Wording:
        """Read what `dumps` wrote. Raises ValueError for anything else."""
        try:
            data = json.loads(text)
            tools = {str(name): [*map(str, arguments)] for name, arguments in data["tools"].items()}
            members = {str(name): str(id) for name, id in data["members"].items()}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("no wording") from error
        if not tools or any(len(arguments) < 2 for arguments in tools.values()):
            raise ValueError("no tool, or one without a member and a task")
        return cls(tools, members)

    def _id(self, name: Any) -> Any:
        if not isinstance(name, str):
            return name
        known = {_plain(id): id for id in self.members.values()}
        known |= {_plain(other): id for other, id in self.members.items()}
        return known.get(_plain(name), name)


def _object(arguments: Mapping[str, Any] | str) -> dict[str, Any] | None:
    """Give arguments as a dictionary of one's own; None where they are no JSON object."""
    if not isinstance(arguments, str):
        return dict(arguments)
    try:
        read = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", read) if isinstance(read, dict) else None


def _plain(name: str) -> str:
    """Write a name without what does not tell it from another one."""
    return " ".join(name.split()).replace('"', "").casefold()
