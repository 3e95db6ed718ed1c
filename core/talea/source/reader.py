"""The careful reading of a document: the place of everything, and every problem in words.

It runs for documents that are not right, and when a place is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from talea.errors import Issue
from talea.source.places import LINE, Entry, Node
from talea.source.text import (
    MAX_ISSUES,
    Bounds,
    Source,
    Steps,
    allowed,
    describe,
    open_parser,
    path_text,
    plain_value,
    shown,
)


@dataclass(slots=True)
class _Frame:
    """A container that is being read, and the key whose value comes next."""

    node: Node
    key: tuple[str | None, int, int] | None = None
    """The key's text (None: a key that was refused, with its value) and its place."""
    keys: dict[str, int] = field(default_factory=dict[str, int])
    step: str | int | None = None
    """The step to the value that is being read inside."""


class _Stop(Exception):
    """Nothing sensible can be read after this problem."""


class Reader:
    """The careful reading: the place of everything, and every problem in words."""

    def __init__(self, source: Source, bounds: Bounds, *, first: bool = True) -> None:
        self.first = first
        self.source = source
        self.bounds = bounds
        self.root: Node | None = None
        self.issues: list[Issue] = []
        self.frames: list[_Frame] = []
        self.nodes = 0
        self.documents = 0

    def read(self) -> None:
        """Read all there is: `root` is the place of everything, `issues` is what is wrong."""
        from yaml.error import MarkedYAMLError

        parser = open_parser(self.source.translated())
        try:
            while self._take(parser.get_event()):
                pass
        except MarkedYAMLError as error:
            self._syntax(error)
        except _Stop:
            pass
        else:
            if self.root is None and not self.issues:
                self._problem("the document is empty", 0, 0)

    def _take(self, event: Any) -> bool:
        kind = event.__class__.__name__
        if kind == "ScalarEvent":
            self._scalar(event)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._open(event, {} if kind == "MappingStartEvent" else [])
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            node = self.frames.pop().node
            node.end = max(node.start, self._at(event.end_mark))
        elif kind == "AliasEvent":
            self._alias(event)
        elif kind == "DocumentStartEvent":
            self._document(event)
        return kind != "StreamEndEvent"

    def _document(self, event: Any) -> None:
        start, end = self._at(event.start_mark), self._at(event.end_mark)
        self.documents += 1
        if self.documents > 1:
            self._problem(
                "a second document begins here: a file holds one workflow",
                start,
                end,
                hint="one file for each workflow, or `workflows:` for several in one",
            )
            raise _Stop
        if event.tags:
            self._problem("%TAG is not allowed", start, start + 4)

    def _scalar(self, event: Any) -> None:
        start, end = self._at(event.start_mark), self._at(event.end_mark)
        node = Node(start, end, event.style or "", None)
        self._check(event, node)
        value: Any = event.value
        if not event.style:
            try:
                value = plain_value(value)
            except ValueError as error:
                self._problem(
                    str(error),
                    start,
                    end,
                    hint=f'if it is text, quote it: "{value[:40]}"',
                )
                value = event.value
        if self._wants_key():
            self._key(value, event.value, node)
        else:
            self._attach(node)

    def _open(self, event: Any, entries: dict[str, Entry] | list[Entry]) -> None:
        start = self._at(event.start_mark)
        node = Node(start, self._at(event.end_mark), None, entries)
        self._check(event, node)
        if self._wants_key():
            self._braces(start)
            self._problem(
                f"a {'mapping' if isinstance(entries, dict) else 'list'} cannot be a key",
                start,
                self._at(event.end_mark),
                hint="keys are text",
            )
            raise _Stop
        self._attach(node)
        self.frames.append(_Frame(node))
        if len(self.frames) > self.bounds.max_depth:
            self._problem(
                f"the document is nested deeper than the {self.bounds.max_depth} levels "
                f"{allowed(self.first)}",
                start,
                start + 1,
            )
            raise _Stop

    def _braces(self, start: int) -> None:
        """Tell the usual reason for a mapping as a key: a template that was not quoted."""
        text = self.source.text
        if text[start - 1 : start + 1] == "{{":
            start -= 1
        elif text[start : start + 2] != "{{":
            return
        end = text.find("}}", start) + 2
        if end == 1:
            end = start + 2
        rest = LINE.split(text[end : end + 200], maxsplit=1)[0].strip(" ,]}")
        self._problem(
            "text that begins with {{ must be quoted: YAML reads the brace as a mapping",
            start,
            end,
            hint=f"quote the text: {_quoted(text[start:end] + (' …' if rest else ''))}",
        )
        raise _Stop

    def _alias(self, event: Any) -> None:
        self._problem(
            f"aliases are not allowed: *{event.anchor[:40]}",
            self._at(event.start_mark),
            self._at(event.end_mark),
            hint="write the value out; if it is text that begins with *, quote the text",
        )
        node = Node(self._at(event.start_mark), self._at(event.end_mark), "", None)
        if self._wants_key():
            self.frames[-1].key = (None, node.start, node.end)
        else:
            self._attach(node)

    def _check(self, event: Any, node: Node) -> None:
        self.nodes += 1
        limit = self.bounds.max_nodes
        if self.nodes > limit:
            message = f"the document has more than the {limit:,} nodes {allowed(self.first)}"
            self._problem(message, node.start, node.end)
            raise _Stop
        if event.anchor is not None:
            self._problem(
                f"anchors are not allowed: &{event.anchor[:40]}",
                node.start,
                node.start + 1 + len(event.anchor),
                hint="leave it out; if it is text that begins with &, quote the text",
            )
        if event.tag is not None:
            self._problem(
                f"tags are not allowed: {shown(event.tag)}",
                node.start,
                node.start + 1,
                hint="leave it out; if it is text that begins with !, quote the text",
            )

    def _wants_key(self) -> bool:
        return (
            bool(self.frames)
            and isinstance(self.frames[-1].node.entries, dict)
            and self.frames[-1].key is None
        )

    def _key(self, value: Any, spelled: str, node: Node) -> None:
        frame = self.frames[-1]
        if not isinstance(value, str):
            self._problem(
                f"a key must be text, not {describe(value)}",
                node.start,
                node.end,
                hint=f'quote it: "{spelled}"' if spelled else None,
            )
            frame.key = (None, node.start, node.end)
            return
        frame.key = (value, node.start, node.end)
        if value in frame.keys:
            line, _ = self.source.line_col(frame.keys[value])
            self._problem(
                f"the key {shown(value)} is there twice; the first is in line {line}",
                node.start,
                node.end,
                steps=(*self._path()[:-1], value),
            )
            frame.key = (None, node.start, node.end)
        else:
            frame.keys[value] = node.start

    def _attach(self, node: Node) -> None:
        if not self.frames:
            self.root = node
            return
        frame = self.frames[-1]
        entries = frame.node.entries
        if isinstance(entries, list):
            frame.step = len(entries)
            entries.append(Entry(node.start, node.end, node))
        elif isinstance(entries, dict) and frame.key is not None:
            name, start, end = frame.key
            frame.key = None
            frame.step = name
            if name is not None:
                entries[name] = Entry(start, end, node)

    def _path(self) -> Steps:
        """Give the path of what is being read, as far as it is known."""
        steps = [frame.step for frame in self.frames[:-1]]
        if self.frames:
            frame = self.frames[-1]
            entries = frame.node.entries
            if isinstance(entries, list):
                steps.append(len(entries))
            elif frame.key is not None:
                steps.append(frame.key[0])
        return tuple(step for step in steps if step is not None)

    def _problem(
        self,
        message: str,
        start: int,
        end: int,
        *,
        hint: str | None = None,
        steps: Steps | None = None,
    ) -> None:
        if len(self.issues) >= MAX_ISSUES:
            raise _Stop
        path = path_text(self._path() if steps is None else steps)
        self.issues.append(self.source.issue_at(message, start, end, path=path, hint=hint))

    def _at(self, mark: Any) -> int:
        return self.source.original(mark.index)

    def _syntax(self, error: Any) -> None:
        """Say in plain words why the C parser gave up."""
        text, mark = self.source.text, error.problem_mark or error.context_mark
        offset = self._at(mark) if mark is not None else 0
        began = self._at(error.context_mark) if error.context_mark is not None else offset
        character = text[offset : offset + 1]
        clue = f"{error.context or ''}; {error.problem or ''}; {character}"
        before = text[_line_start(text, offset) : offset]
        broken = next(b for b in _BROKEN if re.search(b.clue, clue) and re.search(b.before, before))
        message = broken.message.format(
            character=character,
            bracket=text[began : began + 1],
            line=self.source.line_col(began)[0],
            problem=error.problem or error.context,
        )
        if broken.at == "began":
            offset = began
        elif broken.at == "escape":
            offset = max(began, text.rfind("\\", began, offset + 1))
        self._problem(message, offset, offset + 1, hint=broken.hint)


class _Broken(NamedTuple):
    """A usual way to break YAML: what the C parser says of it, and what to say instead."""

    clue: str
    message: str
    hint: str | None = None
    before: str = ""
    """What stands before the place in its line."""
    at: str = "here"


_BROKEN = (
    _Broken("while increasing", "the document is nested too deeply"),
    _Broken("cannot start any token; \t", "a tab cannot indent", "indent with spaces"),
    _Broken("cannot start any token", "plain text cannot begin with {character}", "quote the text"),
    _Broken(
        "",
        "text that begins with {{{{ must be quoted: YAML reads the brace as a mapping",
        "quote the text",
        before=r"(?:^|[:\-\[,]\s)\s*\{\{",
    ),
    _Broken(
        "mapping values are not allowed",
        "a colon and a space begin a mapping, which cannot stand here",
        "quote the text, or write it below the key after `key: |`",
    ),
    _Broken(
        "quoted scalar; found unexpected end of stream",
        "the quote that begins here is never closed",
        at="began",
    ),
    _Broken(
        "plain scalar; found unexpected ':'",
        "a colon alone ends no key here",
        "write a space after the colon, or quote the text",
    ),
    _Broken(
        "did not find expected ',' or",
        "this is not what follows inside the {bracket} of line {line}",
        "close the bracket, or quote the text if it holds , : or brackets",
    ),
    _Broken(
        "Unicode character escape",
        "this escape is half of a surrogate pair, or no character at all",
        "write the character itself",
        at="escape",
    ),
    _Broken(
        "escape",
        "there is no such escape",
        "in double quotes a backslash begins an escape: write two, or use single quotes",
        at="escape",
    ),
    _Broken(
        "expected alphabetic or numeric", "plain text cannot begin with * or &", "quote the text"
    ),
    _Broken(
        "",
        "the text goes on after its quote or bracket was closed",
        "quote the text as a whole",
        before=r"""[:\-]\s+(?:"[^"]*"|'[^']*'|\[[^\]]*\]|\{[^}]*\})\s*$""",
    ),
    _Broken(
        "could not find expected ':'",
        "this line is no `key: value`",
        "a text of several lines begins with `key: |`",
    ),
    _Broken(
        "did not find expected key",
        "a key was expected here",
        "keys of one mapping stand in one column",
    ),
    _Broken(
        "block sequence entries",
        "a list cannot begin here",
        "begin the list on the next line, or quote the text",
    ),
    _Broken("", "this is not YAML: {problem}"),
)


def _line_start(text: str, offset: int) -> int:
    return max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1


def _quoted(text: str) -> str:
    return f"'{text}'" if '"' in text and "'" not in text else f'"{text}"'
