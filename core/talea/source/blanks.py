"""Keys without a value in braces, where any key may stand: nearly always a text that was cut.

`{remark: Say who, and log it}` is YAML for `{"remark": "Say who", "and log it": null}`. Where keys
are known, such a key is an unknown one; in data of any form it has to be looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from talea.source.text import Source, Steps, shown

_COLON = re.compile(r"\s*:")


class Blank(NamedTuple):
    """A key without a colon, the words for it, and what to write instead."""

    path: Steps
    message: str
    hint: str


def blanks(source: Source) -> Iterator[Blank]:
    """Find such keys; of several in a row the first."""
    if source.has_blanks:
        yield from _search(source, source.data, ())


def _search(source: Source, value: Any, path: Steps) -> Iterator[Blank]:
    if isinstance(value, list):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _search(source, item, (*path, index))
    if not isinstance(value, dict):
        return
    before: str | None = None
    told = False
    for key, inner in cast("dict[str, Any]", value).items():
        here = (*path, key)
        blank = inner is None and _is_blank(source, here)
        if blank and not told:
            yield _tell(source, here, before, cast("dict[str, Any]", value))
        told = blank
        before = key
        yield from _search(source, inner, here)


def _is_blank(source: Source, path: Steps) -> bool:
    """Say whether a key stands in braces and is not even followed by a colon."""
    if source.raw(path) or not source.in_flow(path[:-1]):
        return False
    _, end = source.span(path, key=True)
    return _COLON.match(source.text, end) is None


def _tell(source: Source, path: Steps, before: str | None, around: dict[str, Any]) -> Blank:
    key = str(path[-1])
    if before is not None and isinstance(around[before], str):
        start, _ = source.span((*path[:-1], before))
        _, end = source.span(path, key=True)
        text = source.text[start:end]
        if len(text) > 80 or '"' in text or "\n" in text:
            text = "…"
        return Blank(
            path,
            f"{shown(key)} is a key without a value: the comma before it ended the text",
            f'quote the text: {before}: "{text}"',
        )
    name, colon, _ = key.partition(":")
    hint = "write a space after the colon" if colon and name else f"if that is meant: {key}: null"
    return Blank(path, f"{shown(key)} is a key without a value", hint)
