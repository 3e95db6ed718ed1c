"""Where a part of a document stands, and data that never was a document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from talea.errors import DocumentError, Issue
from talea.source import Source
from talea.source.text import Steps


class Given(Source):
    """Data that was never text: what is wrong with it has a path, and no line.

    Raises `DocumentError` for what could not be written as one. What is no JSON at all is left for
    others to tell, who know what should stand there.
    """

    def __init__(self, data: Any, name: str) -> None:
        super().__init__("", name)
        self.data = data
        try:
            json.dumps(data, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            what = "it holds half of a surrogate pair, which is no character"
            raise DocumentError([self.issue(what, ())]) from error
        except (TypeError, ValueError, RecursionError):
            pass

    def span(
        self,
        path: Sequence[str | int],
        *,
        key: bool = False,
        start: int | None = None,
        end: int | None = None,
    ) -> tuple[int, int]:
        """Give an empty place."""
        return 0, 0

    def issue_at(self, message: str, start: int, end: int | None = None, **more: Any) -> Issue:
        """Say a problem without a line."""
        return Issue(message, more.get("path", ""), more.get("hint"), file=self.name)


class Part(Source):
    """A value inside a document, which knows the places of the whole."""

    def __init__(self, whole: Source, steps: Steps) -> None:
        super().__init__(whole.text, whole.name, whole.folder)
        self._whole = whole
        self._steps = steps
        self.data = whole.data
        for step in steps:
            self.data = self.data[step]

    def span(
        self,
        path: Sequence[str | int],
        *,
        key: bool = False,
        start: int | None = None,
        end: int | None = None,
    ) -> tuple[int, int]:
        """Give the place in the whole text."""
        return self._whole.span((*self._steps, *path), key=key, start=start, end=end)

    def issue(self, message: str, path: Sequence[str | int], **more: Any) -> Issue:
        """Say a problem at a path of the part."""
        return self._whole.issue(message, (*self._steps, *path), **more)
