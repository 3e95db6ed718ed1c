"""The words of a question on a tool's call: every argument in full, and so that it can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_WIDTH = 100
"""Characters of JSON that are put on one line."""


def approval_text(tool: str, arguments: Mapping[str, Any]) -> str:
    """Write the question. Two calls that differ in anything give two different texts.

    Text of several lines stands below its name, each line behind a bar, so that no line of it can
    be taken for another argument.
    """
    if not arguments:
        return f"Call {tool} without arguments?"
    lines = [f"Call {tool} with these arguments?"]
    for name, value in arguments.items():
        lines += _argument(name if _PLAIN_NAME.fullmatch(name) else _json(name), value)
    return "\n".join(lines)


def _argument(name: str, value: Any) -> list[str]:
    if isinstance(value, str) and "\n" in value:
        parts = value.split("\n")
        if all(part.isprintable() for part in parts):
            return [f"  {name}:", *(f"    | {part}" for part in parts)]
    line = _json(value)
    if len(line) > _WIDTH and isinstance(value, dict | list):
        first, *rest = _json(value, indent=2).split("\n")
        return [f"  {name}: {first}", *(f"  {part}" for part in rest)]
    return [f"  {name}: {line}"]


def _json(value: Any, indent: int | None = None) -> str:
    """Write JSON; what cannot be seen, or turns the order of what is read, is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text
    )
