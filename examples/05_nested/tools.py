"""The tool of the nested example."""

from __future__ import annotations


def close_session() -> str:
    """Close the session with the translation memory."""
    return "closed"
