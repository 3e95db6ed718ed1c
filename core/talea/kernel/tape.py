"""What stands between a task and a tool's code: a recorder of results, or a player of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol


class Tape(Protocol):
    """Is asked at each call of a tool. It may make the call, keep its end, or give a kept one."""

    async def call(
        self,
        address: str,
        tool: str,
        arguments: Mapping[str, Any],
        make: Callable[[], Awaitable[Any]],
    ) -> Any:
        """Give the result as JSON data. Raises `TaskError` for a call that failed, or that is on no
        tape, and whatever `make` raises."""
        ...
