"""The documents, and the blocks of code in them.

A block's first line names its language and, after that, its kind: ```yaml fragment. A block that is
a file has its name on a line before it: `flow.yaml`: and an empty line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "AGENTS.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("core/README.md", "examples/README.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
]
BLOCK = re.compile(
    r"(?:^`(?P<file>[\w./-]+)`:\n\n)?"
    r"^```(?P<language>\w+)?(?: (?P<kind>\w+))?\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Block:
    """A block of code, and where it stands."""

    where: str
    language: str
    kind: str
    code: str
    file: str | None

    def __str__(self) -> str:
        return self.where


def blocks_of(path: Path) -> list[Block]:
    """List all blocks of a document, in their order."""
    text = path.read_text("utf-8")
    found: list[Block] = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        where = f"{path.relative_to(ROOT)}:{line}"
        language, kind = match["language"] or "", match["kind"] or ""
        found.append(Block(where, language, kind, match["code"], match["file"]))
    return found


def blocks(language: str, kinds: Sequence[str] | None = None) -> list[Any]:
    """Give all blocks of a language, and of any of these kinds, as parameters of a test."""
    chosen = [
        block
        for path in DOCUMENTS
        for block in blocks_of(path)
        if block.language == language and (kinds is None or block.kind in kinds)
    ]
    assert chosen, f"there is no block of {language} {kinds}"
    return [pytest.param(one, id=str(one)) for one in chosen]


def environment() -> dict[str, str]:
    """Give the environment for a process, without keys."""
    return {key: text for key, text in os.environ.items() if not key.endswith("_API_KEY")}
