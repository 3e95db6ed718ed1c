"""How figures, names and texts of others are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from talea.compare.estimates import figures

_LENGTH = 160
"""Of a text that others wrote, in characters."""


def names(keys: Iterable[str]) -> str:
    """Give `a, b and c`."""
    *most, last = keys
    return f"{', '.join(most)} and {last}" if most else last


def seconds(value: float) -> str:
    """Give a time with three figures: `412 µs`, `38.1 ms`, `2.31 s`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{figures(value / size)} {unit}"
    return f"{value * 1e6:.0f} µs"


def dollars(value: float | None) -> str:
    """Give a cost in US dollars, with as many places as it takes; `?` if it is unknown."""
    if value is None:
        return "?"
    places = 2 if value >= 1 or value <= 0 else 1 - math.floor(math.log10(value))
    return f"${value:.{max(2, places)}f}"


def one_line(text: str, limit: int = _LENGTH) -> str:
    """Give a text of others on one line: no control characters, and no longer than `limit`."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"


def count(value: float, what: str) -> str:
    """Give `1 run`, `1,200 runs`."""
    return f"{value:,.0f} {what}{'' if value == 1 else 's'}"


def some(keys: Sequence[str], what: str) -> str:
    """Give up to three names, else how many there are."""
    return names(keys) if len(keys) <= 3 else count(len(keys), what)
