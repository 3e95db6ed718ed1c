"""Reading the gateway's documents, cassettes and fault rules: each mistake with its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from talea.errors import DocumentError, Issue
from talea.ir import Document

if TYPE_CHECKING:
    from talea.source.text import Source

D = TypeVar("D", bound=Document)


def read_file(model: type[D], path: str | Path, what: str) -> tuple[D, Source]:
    """Read a document from a YAML or JSON file, with the text that says where each thing stands.

    `what` names it where it cannot be read. Raises DocumentError with every problem that was found.
    """
    from talea.source.text import decode

    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        problem = Issue(f"{what} cannot be read: {error.strerror}", file=str(path))
        raise DocumentError([problem]) from error
    return read_text(model, decode(raw, str(path)), str(path))


def read_text(model: type[D], text: str, name: str) -> tuple[D, Source]:
    """Read a document from YAML or JSON; `name` stands for it in errors. Raises DocumentError."""
    from talea.source import Bounds, blanks, parse, read_model
    from talea.source.text import MAX_ISSUES

    # What was recorded is larger than what people write, and comes from the caller.
    bounds = Bounds(max_bytes=100_000_000, max_nodes=5_000_000)
    source = parse(text, name, bounds)
    document = read_model(model, source)
    # Nobody would hear a warning: a text that a comma has cut would be taken as it is.
    if cut := [source.issue(b.message, b.path, key=True, hint=b.hint) for b in blanks(source)]:
        raise DocumentError(cut[:MAX_ISSUES])
    return document, source
