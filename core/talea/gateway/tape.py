"""The results of tools on tape: kept as a run makes its calls, or played in the tools' place."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from talea.errors import ErrorType, TaskError
from talea.failures import without_secrets
from talea.gateway.cassette import Cassette, Keys, ToolFailure, ToolResult

Tools = Mapping[str, tuple[ToolResult, ...]]
"""By task address, in the order in which the calls ended."""
Make = Callable[[], Awaitable[Any]]


class ToolRecorder:
    """Keeps what every call of a tool came to."""

    def __init__(self) -> None:
        self._kept: dict[str, list[ToolResult]] = defaultdict(list)

    @property
    def tools(self) -> Tools:
        """What was kept."""
        return {address: tuple(results) for address, results in self._kept.items()}

    async def call(self, address: str, tool: str, arguments: Mapping[str, Any], make: Make) -> Any:
        """Make a call, and keep what it came to. One that is cut off has come to nothing."""
        given = without_secrets(dict(arguments))
        try:
            result = await make()
        except TaskError as error:
            message = without_secrets(error.message)
            failure = ToolFailure(type=error.type, message=message)
            self._kept[address].append(ToolResult(name=tool, arguments=given, error=failure))
            raise
        kept = ToolResult(name=tool, arguments=given, result=without_secrets(result))
        self._kept[address].append(kept)
        return result

    def take(self, tools: Tools) -> None:
        """Take over what another one has kept."""
        for address, results in tools.items():
            self._kept[address] += results

    def write(self, path: str) -> None:
        """Write what was kept for another process to read."""
        shown = {
            address: [one.model_dump(mode="json", exclude_unset=True) for one in results]
            for address, results in self._kept.items()
        }
        Path(path).write_text(json.dumps(shown), "utf-8")


def read_tools(path: str) -> Tools:
    """Read what another process has kept; nothing where it kept nothing."""
    try:
        data: dict[str, list[Any]] = json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return {
        address: tuple(ToolResult.model_validate(one) for one in without_secrets(results))
        for address, results in data.items()
    }


class ToolPlayer:
    """Gives the results of a cassette, and calls no tool."""

    def __init__(self, cassette: Cassette) -> None:
        self._tools = cassette.tools or {}
        self._keys = Keys(self._tools)
        self._left: dict[str, list[ToolResult]] = {}

    async def call(self, address: str, tool: str, arguments: Mapping[str, Any], make: Make) -> Any:
        """Give the result of the call with these arguments; else of the tool's next one.

        So calls that are made side by side find each its own. Raises `TaskError`.
        """
        kept = self._take(address, tool, arguments)
        if kept.error is not None:
            raise TaskError(kept.error.type, kept.error.message)
        return kept.result

    def _take(self, address: str, tool: str, arguments: Mapping[str, Any]) -> ToolResult:
        found = self._keys.find(address)
        if found is not None:
            key, place = found
            left = self._left.setdefault(place, list(self._tools[key]))
            named = [one for one in left if one.name == tool]
            same = [one for one in named if one.arguments == dict(arguments)]
            for one in (*same, *named):
                left.remove(one)
                return one
        raise TaskError(
            ErrorType.REPLAY_EXHAUSTED,
            f"no further call of tool {tool!r} is recorded for {address!r}",
        )
