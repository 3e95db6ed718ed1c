"""The caller's own functions as checks: what they may say of a value, and how it is read.

This runs where the tools do: in the framework's process.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

from talea.compare.values import show

_TOLD = 1000

Answer = tuple[bool, str | None]
"""Whether a check passed, and what was found instead."""


def look(function: Callable[[Any], Any], value: Any) -> Answer:
    """Have a function judge a value, which it may change without harm.

    It gives true or false, or one of them with a reason, or nothing where it asserts. Whatever
    else it raises is a check that failed, and says which. It may be async.
    """
    try:
        found = function(deepcopy(value))
        if inspect.isawaitable(found):
            found = asyncio.run(_awaited(found))
    except AssertionError as error:
        return False, _cut(str(error)) or "the assertion failed"
    except BaseException as error:  # noqa: BLE001 - whatever the caller's function does
        return False, _cut(f"it raised {type(error).__name__}: {error}".rstrip(": "))
    return _read(found)


async def _awaited(found: Any) -> Any:
    return await found


def _read(found: Any) -> Answer:
    if found is None:
        return True, None
    passed, why = found, None
    if isinstance(found, tuple) and len(cast("tuple[Any, ...]", found)) == 2:
        passed, why = cast("tuple[Any, Any]", found)
    if not isinstance(passed, bool):
        return False, f"it gave {show(passed)}, and not true or false"
    return passed, None if why is None else _cut(str(why))


def _cut(text: str) -> str:
    return text if len(text) <= _TOLD else f"{text[: _TOLD - 1]}…"
