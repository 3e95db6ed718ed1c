"""What a compiled object was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from talea.plan import Plan
from talea_langgraph.options import Choices


@dataclass(slots=True)
class Blueprint:
    """A plan, how it is compiled, and what the blocks and sub-workflows in it have become."""

    plan: Plan
    choices: Choices
    parts: dict[int, Any]
    """By the identity of their plan."""
