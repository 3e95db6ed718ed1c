"""YAML and JSON text as plain data, with the place of everything in it.

The text is read twice at most. The first reading is quick: it runs over the events of PyYAML's C
parser, builds plain data and stops at the first thing that is not allowed. Only then, or when a
place is asked for, does the careful reading run: it knows where everything stands, finds every
problem, and says it in words. No node tree is built for a document that is right.

Of YAML only data is taken: no aliases, anchors, tags, merge keys or second documents, keys are
text, and plain scalars mean what the core schema of YAML 1.2 says (`no` and `on` are text, `010`
is ten). JSON is YAML, but for escaped surrogate pairs: these the C parser gets as characters.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talea.errors import DocumentError, Issue, Severity, UsageError
from talea.source.places import LINE, Node, trace, width

MAX_ISSUES = 100
"""Problems told of one document; what is beyond is counted only."""

Steps = tuple[str | int, ...]

# Control characters, separators that YAML takes for line breaks, overrides of the writing direction
# (CVE-2021-42574), a BOM in the middle, and what UTF-8 cannot hold.
REFUSED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)
_PAIR = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|\\.", re.DOTALL)
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_START = frozenset("-+.0123456789")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_PLAIN_STEP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


@dataclass(slots=True, frozen=True)
class Bounds:
    """How large a document may be, its files included. The caller may raise it."""

    max_bytes: int = 1_000_000
    max_depth: int = 50
    max_nodes: int = 50_000


def path_text(path: Sequence[str | int]) -> str:
    """Write a path as people do: `tasks.brief.context[0]`."""
    out = ""
    for step in path:
        if isinstance(step, int):
            out += f"[{step}]"
        elif _PLAIN_STEP.fullmatch(step):
            out += f".{step}" if out else step
        else:
            out += f"[{shown(step)}]"
    return out


def shown(value: object, limit: int = 60) -> str:
    """Write a value for a message: short, quoted, and with nothing invisible in it."""
    text = value if isinstance(value, str) else None
    if text is not None and len(text) > limit:
        return repr(text[: limit - 1] + "…")
    return repr(value)


def describe(value: object) -> str:
    """Name what a value is, for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, words in _KINDS.items():
        if isinstance(value, kind):
            return words
    return type(value).__name__


_KINDS: dict[type, str] = {
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
}


def plain_value(text: str) -> str | int | float | bool | None:
    """Give what a plain scalar means in the core schema of YAML 1.2.

    Raises ValueError for a number that JSON and 64 bits cannot hold.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in _NUMBER_START:
        return text
    if _INT.fullmatch(text):
        digits = text.lstrip("+-")
        base = {"0o": 8, "0x": 16}.get(digits[:2], 10)
        if len(digits) <= 64:
            number = int(digits[2:] if base != 10 else digits, base)
            number = -number if text[0] == "-" else number
            if -(2**63) <= number < 2**63:
                return number
        raise ValueError("this number is too large: whole numbers have 64 bits")
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            return number
        raise ValueError("this number is too large")
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("infinity and NaN are not numbers here")
    return text


class Source:
    """A document's text, its data, and the way back from a place in the data to one in the text."""

    def __init__(self, text: str, name: str, folder: Path | None = None) -> None:
        self.text = text
        self.name = name
        self.folder = folder
        """Where the document lies; relative files are sought here. None if it is text alone."""
        self.data: Any = None
        self.nodes = 0
        self.size = 0
        self.has_blanks = False
        """Whether something was left empty, such as the value of a key in braces."""
        self._tree: Node | None = None
        self._starts: list[int] | None = None
        self._shifts: list[int] = []

    def issue(
        self,
        message: str,
        path: Sequence[str | int],
        *,
        key: bool = False,
        start: int | None = None,
        end: int | None = None,
        hint: str | None = None,
        severity: Severity = Severity.ERROR,
    ) -> Issue:
        """Say a problem at a path of the data; one that does not exist stands at what is around it.

        `key` points at the key instead of its value. `start` and `end` are character offsets into
        the text that the scalar at `path` *means*; they are traced back through quotes, escapes,
        line folding and indentation.
        """
        first, last = self.span(path, key=key, start=start, end=end)
        return self.issue_at(
            message, first, last, path=path_text(path), hint=hint, severity=severity
        )

    def issue_at(
        self,
        message: str,
        start: int,
        end: int | None = None,
        *,
        path: str = "",
        hint: str | None = None,
        severity: Severity = Severity.ERROR,
    ) -> Issue:
        """Say a problem at character offsets of the document's own text."""
        line, col = self.line_col(start)
        snippet = self.snippet(start, start + 1 if end is None else end)
        return Issue(message, path, hint, severity, self.name, line, col, snippet)

    def position(self, path: Sequence[str | int], *, key: bool = False) -> int:
        """Give the offset at which the value (or its key) at a path begins; good to sort by."""
        return self.span(path, key=key)[0]

    def raw(self, path: Sequence[str | int]) -> str:
        """Give the characters of the text that spell the value at a path."""
        start, end = self.span(path)
        return self.text[start:end]

    def in_flow(self, path: Sequence[str | int]) -> bool:
        """Say whether the mapping or list at a path is written in braces or brackets."""
        start, _ = self.span(path)
        return self.text[start : start + 1] in ("{", "[")

    def span(
        self,
        path: Sequence[str | int],
        *,
        key: bool = False,
        start: int | None = None,
        end: int | None = None,
    ) -> tuple[int, int]:
        """Give the offsets into the text of the value, key, or part of a scalar at a path."""
        node, value = self._root(), self.data
        place = (node.start, node.start + 1 if path else node.end)
        for depth, step in enumerate(path):
            entry = node.entry(step)
            if entry is None:
                # What is missing is missing from something: point at its key, or its start.
                return place
            value = value[step]
            node = entry.node
            last = depth == len(path) - 1
            place = (entry.start, entry.end) if key or not last else (node.start, node.end)
        if start is not None and isinstance(value, str) and not key and node.style is not None:
            return trace(self.text, node, value, start, len(value) if end is None else end)
        return place

    def line_col(self, offset: int) -> tuple[int, int]:
        """Give line and column of an offset, both from 1; columns count characters."""
        starts = self._line_starts()
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1] + 1

    def snippet(self, start: int, end: int) -> str:
        """Give the line of an offset with a caret line under it, cut to what fits a screen."""
        line, col = self.line_col(start)
        starts = self._line_starts()
        stop = starts[line] if line < len(starts) else len(self.text)
        text = self.text[starts[line - 1] : stop].rstrip("\r\n")
        before, marked = col - 1, max(1, min(end - start, len(text) - col + 1))
        cut = max(0, before - 100)
        shown_text = REFUSED.sub("\ufffd", text[cut : before + 60].replace("\t", " "))
        marked = max(1, min(marked, len(shown_text) - (before - cut)))
        if cut:
            shown_text, before = "…" + shown_text, before - cut + 1
        if cut + len(shown_text) < len(text):
            shown_text += "…"
        pad = " " * width(shown_text[:before])
        carets = "^" * max(1, width(shown_text[before : before + marked]))
        return f"{line:5d} | {shown_text}\n      | {pad}{carets}"

    def _line_starts(self) -> list[int]:
        if self._starts is None:
            self._starts = [0, *(match.end() for match in LINE.finditer(self.text))]
        return self._starts

    def _root(self) -> Node:
        if self._tree is None:
            from talea.source.reader import Reader

            reader = Reader(self, Bounds(2**63, 2**31, 2**63))
            reader.read()
            self._tree = reader.root
        return self._tree or Node(0, len(self.text), None, None)

    def original(self, offset: int) -> int:
        """Map an offset of the translated text, where a pair is 11 characters shorter, back."""
        return offset + 11 * bisect_left(self._shifts, offset) if self._shifts else offset

    def translated(self) -> str:
        """Give the text for the C parser, which refuses the surrogate pairs of JSON's escapes."""
        text = self.text
        if ("\\ud" not in text and "\\uD" not in text) or text.lstrip()[:1] not in (
            "{",
            "[",
        ):
            return text
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return text
        shifts: list[int] = []

        def character(match: re.Match[str]) -> str:
            if match[1] is None:
                return match[0]
            shifts.append(match.start() - 11 * len(shifts))
            return chr(0x10000 + ((int(match[1], 16) - 0xD800) << 10) + int(match[2], 16) - 0xDC00)

        text = _PAIR.sub(character, text)
        self._shifts = shifts
        return text


def parse(
    text: str,
    name: str = "<text>",
    bounds: Bounds | None = None,
    folder: Path | None = None,
    *,
    first: bool = True,
) -> Source:
    """Read YAML or JSON into a Source. Raises DocumentError with every problem that was found.

    `first` is false for a file that another refers to: `bounds` are then what is left of them.
    """
    bounds = bounds or Bounds()
    source = Source(text.removeprefix("\ufeff"), name, folder)
    source.size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if source.size > bounds.max_bytes:
        issue = Issue(
            f"the document is larger than the {bounds.max_bytes:,} bytes {allowed(first)}",
            hint="keep data in inputs; the caller may raise the bound",
            file=name,
        )
        raise DocumentError([issue])
    refused = [_refused_character(source, match) for match in _refused(source.text)]
    if refused:
        raise DocumentError(refused)
    if not _quick(source, bounds):
        from talea.source.reader import Reader

        reader = Reader(source, bounds, first=first)
        reader.read()
        raise DocumentError(reader.issues)
    return source


def decode(raw: bytes, name: str) -> str:
    """Give the text of a file. Raises DocumentError if it is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        begin = raw.rfind(b"\n", 0, error.start) + 1
        issue = Issue(
            f"the file is not UTF-8: the byte 0x{raw[error.start]:02x} cannot be read",
            hint="save the file as UTF-8",
            file=name,
            line=raw.count(b"\n", 0, error.start) + 1,
            col=len(raw[begin : error.start].decode("utf-8")) + 1,
        )
        raise DocumentError([issue]) from None


def allowed(first: bool) -> str:
    """Say whose bound was crossed: the document's own, or what other files left of it."""
    return "that are allowed" if first else "that the files before it leave of the bound"


def _refused(text: str) -> Iterator[re.Match[str]]:
    for count, match in enumerate(REFUSED.finditer(text)):
        if count == MAX_ISSUES:
            return
        yield match


def _refused_character(source: Source, match: re.Match[str]) -> Issue:
    character = match[0]
    code = ord(character)
    half = 0xD800 <= code < 0xE000
    name = unicodedata.name(character, "half of a pair" if half else "a control character")
    return source.issue_at(
        f"the character U+{code:04X} ({name.lower()}) is not allowed: it cannot be seen",
        match.start(),
        hint=None
        if half
        else f'if the text needs it, write it as "\\u{code:04x}" in double quotes',
    )


def open_parser(text: str) -> Any:
    """Give PyYAML's C parser of a text; its `get_event()` is the whole interface used here."""
    try:
        from yaml import CBaseLoader
    except ImportError:
        raise UsageError(
            "PyYAML is installed without its C parser",
            "install a wheel of it: pip install --force-reinstall --only-binary pyyaml pyyaml",
        ) from None
    return CBaseLoader(text)


def _quick(source: Source, bounds: Bounds) -> bool:
    """Build the data of a document that is right; False at the first thing that is not."""
    from yaml.error import YAMLError
    from yaml.events import (
        DocumentEndEvent,
        DocumentStartEvent,
        MappingEndEvent,
        MappingStartEvent,
        ScalarEvent,
        SequenceEndEvent,
        SequenceStartEvent,
        StreamEndEvent,
        StreamStartEvent,
    )

    next_event: Any = open_parser(source.translated()).get_event
    constants, number_start, max_depth = _CONSTANTS, _NUMBER_START, bounds.max_depth
    top: list[Any] = []
    container: Any = top
    stack: list[Any] = []
    in_mapping = False
    key: str | None = None
    left = bounds.max_nodes
    try:
        while True:
            event: Any = next_event()
            kind = event.__class__
            if kind is ScalarEvent:
                value: Any = event.value
                left -= 1
                if event.tag is not None or event.anchor is not None:
                    return False
                if not event.style:
                    if value in constants:
                        if not value:
                            source.has_blanks = True
                        value = constants[value]
                    elif value[0] in number_start:
                        value = plain_value(value)
                if not in_mapping:
                    container.append(value)
                elif key is not None:
                    container[key] = value
                    key = None
                elif value.__class__ is str and value not in container:
                    key = value
                else:
                    return False
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                left -= 1
                if event.tag is not None or event.anchor is not None:
                    return False
                new: Any = {} if kind is MappingStartEvent else []
                if not in_mapping:
                    container.append(new)
                elif key is not None:
                    container[key] = new
                    key = None
                else:
                    return False
                stack.append(container)
                if len(stack) > max_depth or left < 0:
                    return False
                container = new
                in_mapping = kind is MappingStartEvent
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                container = stack.pop()
                in_mapping = container.__class__ is dict
            elif kind is StreamEndEvent:
                break
            elif kind is DocumentStartEvent:
                if top or event.tags:
                    return False
            elif kind is not StreamStartEvent and kind is not DocumentEndEvent:
                return False
    except (YAMLError, ValueError):
        return False
    if not top or left < 0:
        return False
    source.data = top[0]
    source.nodes = bounds.max_nodes - left
    return True
