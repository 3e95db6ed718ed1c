"""A short text that a pattern matches, for the patterns that schemas usually hold."""

from __future__ import annotations

import re

_CLASSES = {"d": "0", "w": "x", "s": " ", "D": "x", "W": "-", "S": "x"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}
_COUNT = re.compile(r"\{(\d+)(,(\d*))?\}")


def match_of(pattern: str, fewest: int = 0) -> str:
    """Give a short text of at least `fewest` characters that a pattern matches.

    It reads literals, classes, groups, alternatives and counts; for others the text may not match.
    """
    shortest = _Reader(pattern, extra=0).alternatives()
    if len(shortest) >= fewest:
        return shortest
    for extra in range(1, fewest + 1):
        text = _Reader(pattern, extra=extra).alternatives()
        if len(text) >= fewest:
            return text
        if len(text) < extra:  # nothing in it repeats
            break
    padding = "x" * (fewest - len(shortest))
    return f"{padding}{shortest}" if not pattern.startswith("^") else f"{shortest}{padding}"


class _Reader:
    """Reads a pattern from left to right, and writes what matches."""

    def __init__(self, pattern: str, extra: int) -> None:
        self.pattern = pattern
        self.place = 0
        self.extra = extra
        """How often the first part that may repeat does so beyond what it must."""

    def peek(self) -> str:
        return self.pattern[self.place : self.place + 1]

    def next(self) -> str:
        self.place += 1
        return self.pattern[self.place - 1 : self.place]

    def alternatives(self) -> str:
        """Write the first alternative that matches something; read over the others."""
        text = self.sequence()
        while self.peek() == "|":
            self.place += 1
            other = self.sequence()
            text = text or other
        return text

    def sequence(self) -> str:
        pieces: list[str] = []
        while (mark := self.peek()) and mark not in "|)":
            piece = self.piece()
            pieces.append(piece * self.count(piece))
        return "".join(pieces)

    def piece(self) -> str:
        mark = self.next()
        if mark == "\\":
            return self.escape()
        if mark == "[":
            return self.set()
        if mark == "(":
            return self.group()
        return "" if mark in "^$" else "x" if mark == "." else mark

    def escape(self) -> str:
        mark = self.next()
        if mark in "bBAz":
            return ""
        if mark in "pP" and self.peek() == "{":
            name = self.pattern[self.place :].partition("}")[0]
            self.place += len(name) + 1
            return {"L": "a", "N": "0"}.get(name[1:2], "x")
        return _CLASSES.get(mark) or _ESCAPES.get(mark, mark)

    def group(self) -> str:
        if self.peek() == "?":
            head = re.compile(r"\?(?:P?<[^>]*>|[a-zA-Z-]*:?)").match(self.pattern, self.place)
            self.place = head.end() if head else self.place + 1
        text = self.alternatives()
        self.place += 1
        return text

    def set(self) -> str:
        """Write the first character of a set, or one that is not in it."""
        negated = self.peek() == "^"
        self.place += negated
        members: list[str] = []
        while (mark := self.next()) and (mark != "]" or not members):
            if mark == "\\":
                members.append(self.escape())
            elif mark == "-" and members and self.peek() not in {"", "]"}:
                last = self.next()
                last = self.escape() if last == "\\" else last
                members += map(
                    chr, range(ord(members[-1][:1] or " ") + 1, ord(last[:1] or " ") + 1)
                )
            else:
                members.append(mark)
        if not negated:
            return members[0] if members else ""
        choices = (chr(code) for code in [*range(97, 123), *range(48, 58), *range(33, 1000)])
        return next((each for each in choices if each not in members), "x")

    def count(self, piece: str) -> int:
        """Read how often a piece stands, and say how often to write it."""
        mark = self.peek()
        fewest, most = 1, 1
        if mark and mark in "*+?":
            self.place += 1
            fewest, most = int(mark == "+"), 1 if mark == "?" else None
        elif match := _COUNT.match(self.pattern, self.place):
            self.place = match.end()
            fewest = min(int(match[1]), 1000)
            most = fewest if match[2] is None else int(match[3]) if match[3] else None
        else:
            return 1
        if self.peek() == "?":
            self.place += 1
        more = self.extra if most is None else min(self.extra, most - fewest)
        if piece and more > 0:
            self.extra -= more
            return fewest + more
        return fewest
