"""What goes to a terminal: made harmless, and written in one way."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

import click

from talea.cli import INVALID, LACKING
from talea.errors import DocumentError, Severity, TaleaError, UnsupportedError

_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Escape sequences begin with control characters, and others turn the order of what is read."""


def clean(text: str) -> str:
    """Show as `\\x1b` what would control the terminal: a model's or a tool's text may hold it."""
    return _HARMFUL.sub(_show, text.replace("\r\n", "\n"))


def one_line(text: str, limit: int = 160) -> str:
    """Put a text on one line of bounded length, cleaned."""
    words = " ".join(clean(text[: 4 * limit]).split())
    return words if len(words) <= limit else f"{words[: limit - 1]}…"


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Write JSON that is safe on a terminal and loses nothing: such characters are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return re.sub(_HARMFUL, lambda found: f"\\u{ord(found[0]):04x}", text)


def _show(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def say(text: str = "") -> None:
    """Write a line to standard error, where all that is not the result goes.

    That nobody can be told is no reason to end a run.
    """
    with suppress(OSError):
        click.echo(text, err=True)


def warn(text: str) -> None:
    """Write a warning to standard error."""
    say(f"Warning: {clean(text)}")


def complain(error: TaleaError) -> int:
    """Tell an error and give the exit code that it stands for."""
    say(clean(f"Error: {error}" if not isinstance(error, DocumentError) else str(error)))
    if isinstance(error, DocumentError):
        count = sum(issue.severity is Severity.ERROR for issue in error.issues)
        say(f"\n{count} problem{'s' if count != 1 else ''}.")
    return LACKING if isinstance(error, UnsupportedError) else INVALID


def stands_on_terminal() -> bool:
    """Say whether standard error is a terminal on which lines can be rewritten."""
    return _is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"


def can_be_asked() -> bool:
    """Say whether a person can be asked: both what is typed and what is shown is a terminal's."""
    return stands_on_terminal() and _is_terminal(sys.stdin)


def _is_terminal(stream: TextIO | None) -> bool:
    """Say whether a stream is a terminal; one that was closed by the caller is None."""
    return stream is not None and stream.isatty()


def wrapped(text: str) -> str:
    """Break a line between words where a terminal would break it within one."""
    if fits(text):
        return text
    return textwrap.fill(text, _width(), break_long_words=False, break_on_hyphens=False)


def fits(text: str) -> bool:
    """Say whether no line is wider than the terminal of standard output, if that is one."""
    return not _is_terminal(sys.stdout) or max(map(len, text.split("\n"))) <= _width()


def _width() -> int:
    return shutil.get_terminal_size().columns


def table(rows: Iterable[tuple[str, ...]], indent: str = "") -> str:
    """Set rows in columns; the last one runs on."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(indent + line for line in lines)
