"""Tools of the workflow: plain functions, bound by `talea run --tools tools.py`.

Their signature becomes the schema of their arguments, and the docstring tells the model what they
are for.
"""

from __future__ import annotations

FACTS = {
    "size": "Owls measure from 13 to 70 cm.",
    "food": "Owls eat mice, insects and birds.",
    "sleep": "Most owls sleep by day.",
}


def look_up(query: str) -> str:
    """Look a fact up in the encyclopedia.

    Args:
        query: a few words, such as "size of owls".
    """
    found = [fact for aspect, fact in FACTS.items() if aspect in query]
    return " ".join(found) or "Nothing was found."
