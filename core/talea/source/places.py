"""Where the values of a document stand in its text, down to single characters."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

LINE = re.compile(r"\r\n?|\n")
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)"
)
_CONTINUED = re.compile(r"\\(?:\r\n?|\n)[ \t]*")
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(slots=True)
class Node:
    """Where a value stands. `style` is None for mappings and lists, else the scalar's own."""

    start: int
    end: int
    style: str | None
    entries: dict[str, Entry] | list[Entry] | None

    def entry(self, step: str | int) -> Entry | None:
        """Give what stands at a key or index; None if nothing does."""
        entries = self.entries
        if isinstance(entries, dict):
            return entries.get(step) if isinstance(step, str) else None
        if isinstance(entries, list) and isinstance(step, int) and 0 <= step < len(entries):
            return entries[step]
        return None


@dataclass(slots=True)
class Entry:
    """A value in its container, with the place of its key; an item of a list is its own key."""

    start: int
    end: int
    node: Node


def trace(text: str, node: Node, value: str, start: int, end: int) -> tuple[int, int]:
    """Trace characters of a scalar's value back to its spelling.

    The characters of a value stand in its spelling in order; only white space comes and goes
    between them (line folding, indentation), and in quotes an escape stands for a character.
    """
    style = node.style
    at = node.start + (1 if style in ("'", '"') else 0)
    if style in ("|", ">"):
        line = LINE.search(text, at)
        at = line.end() if line else node.end
    first, last = None, node.start
    end = max(end, start + 1)
    for index, character in enumerate(value):
        if index >= end:
            break
        at = _find(text, at, node.end, character, style == '"')
        length = 1
        if style == '"' and text[at : at + 1] == "\\":
            escape = _ESCAPE.match(text, at)
            length = len(escape[0]) if escape else 2
        elif style == "'" and character == "'":
            length = 2
        if index >= start:
            first = at if first is None else first
            last = at + length
        at += length
    if first is None:
        return max(node.start, node.end - 1), node.end
    return first, last


def _find(text: str, at: int, stop: int, character: str, escapes: bool) -> int:
    """Find where a character of a value is spelled, at or after an offset."""
    while escapes and (continued := _CONTINUED.match(text, at)):
        at = continued.end()
    if text[at : at + 1] == character:
        return at
    space = _SPACE.match(text, at)
    after = min(space.end(), stop) if space else at
    if character == "\n":
        line = LINE.search(text, at, after)
        return line.start() if line else at
    if character == " ":
        return at
    while escapes and (continued := _CONTINUED.match(text, after)):
        after = continued.end()
    return after


def width(text: str) -> int:
    """Count the columns that a terminal gives a text."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
