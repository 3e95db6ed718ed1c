"""What a docstring says to a model: the text at its head, and a line for each parameter.

Google's, Numpy's and Sphinx's forms are read; a docstring of none of them is all text.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field

_SECTIONS = (
    "Args|Arguments|Parameters|Params|Other Parameters|Keyword Args|Keyword Arguments"
    "|Returns|Return|Yields|Raises|Warns|Example|Examples|Note|Notes|See Also|References|Warnings"
)
_GOOGLE_HEAD = re.compile(rf"({_SECTIONS}):\s*$")
_NUMPY_HEAD = re.compile(rf"({_SECTIONS})\s*$")
_UNDERLINE = re.compile(r"-{3,}\s*$")
_SPHINX = re.compile(r":(?:param|parameter|arg|argument|key)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)")
_SPHINX_FIELD = re.compile(r":\w+[^:]*:")
_GOOGLE_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_NUMPY_ENTRY = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")


@dataclass(slots=True)
class Docstring:
    """A docstring's parts: `text` up to the first section, `parameters` by name."""

    text: str = ""
    parameters: dict[str, str] = field(default_factory=dict[str, str])


def parse_docstring(raw: str | None) -> Docstring:
    """Read a docstring; what is in no known form is text."""
    lines = inspect.cleandoc(raw or "").splitlines()
    parsed, text = Docstring(), list[str]()
    i = 0
    while i < len(lines):
        google, numpy = _GOOGLE_HEAD.match(lines[i]), _NUMPY_HEAD.match(lines[i])
        underlined = i + 1 < len(lines) and _UNDERLINE.match(lines[i + 1])
        if numpy and underlined:
            body, i = _take(lines, i + 2, lambda j: j + 1 < len(lines) and _ends_numpy(lines, j))
            if "Param" in numpy[1]:
                _read_entries(body, _NUMPY_ENTRY, parsed.parameters)
        elif google:
            body, i = _take(lines, i + 1, lambda j: bool(lines[j]) and not lines[j][0].isspace())
            if "Arg" in google[1] or "Param" in google[1]:
                _read_entries(body, _GOOGLE_ENTRY, parsed.parameters)
        elif _SPHINX_FIELD.match(lines[i]):
            body, end = _take(lines, i + 1, lambda j: not lines[j][:1].isspace())
            if entry := _SPHINX.match(lines[i]):
                parsed.parameters[entry[1]] = _join([entry[2], *body])
            i = end
        else:
            text.append(lines[i])
            i += 1
    parsed.text = "\n".join(text).strip()
    return parsed


def _ends_numpy(lines: list[str], i: int) -> bool:
    return bool(_NUMPY_HEAD.match(lines[i]) and _UNDERLINE.match(lines[i + 1]))


def _take(lines: list[str], start: int, ends: Callable[[int], object]) -> tuple[list[str], int]:
    """Give a section's lines, and where what follows it begins."""
    end = start
    while end < len(lines) and not ends(end):
        end += 1
    return lines[start:end], end


def _read_entries(body: list[str], entry: re.Pattern[str], found: dict[str, str]) -> None:
    """Read `name…: words` lines of equal indent, each with deeper lines that go on with it."""
    body = inspect.cleandoc("\n".join(["", *body])).splitlines()
    names, words = list[str](), list[str]()

    def end() -> None:
        found.update(dict.fromkeys(names, _join(words)) if words else {})

    for line in body:
        start = entry.match(line)
        if start is None:
            words.append(line)
            continue
        end()
        names = [name.strip(" *") for name in start[1].split(",")]
        words = [start[2]] if start.re.groups > 1 else []
    end()


def _join(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())
