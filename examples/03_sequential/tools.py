"""The tools of the sequential example: a shop in a dictionary."""

from __future__ import annotations

from typing import Any

from talea import TaskError

_ORDERS: dict[str, dict[str, Any]] = {
    "A-1042": {
        "article": "Table lamp Linde, oak",
        "price": 89.0,
        "in_stock": 3,
        "delivery": "two working days",
    },
}
_NOTES: dict[str, list[str]] = {}


def find_order(number: str) -> dict[str, Any]:
    """Find an order by its number."""
    if number not in _ORDERS:
        raise TaskError("invalid_arguments", f"there is no order {number!r}")
    return _ORDERS[number]


def file_note(number: str, note: str) -> list[str]:
    """Put a note into an order's file, and give all notes in it."""
    return [*_NOTES.setdefault(number, []), note]
