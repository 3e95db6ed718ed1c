"""What is wrong with a document, collected with places and hints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from talea import ir
from talea.errors import ExpressionError, Issue, Severity
from talea.source.text import MAX_ISSUES, path_text, shown

Place = tuple[str | int, ...]

_MOST_SUGGESTIONS = 20
"""Searching for what was meant is slow; after so many, a document has other troubles."""


class Problems:
    """Collects the issues of a document and of those it calls, at most `MAX_ISSUES` of a severity.

    What is beyond is counted only.
    """

    def __init__(self) -> None:
        self._issues: list[Issue] = []
        self._told = dict.fromkeys(Severity, 0)
        self._suggested = 0

    def tell(
        self,
        root: ir.Workflow,
        message: str,
        path: Place,
        *,
        key: bool = False,
        start: int | None = None,
        end: int | None = None,
        hint: str | None = None,
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Note a problem at a path of a document.

        `key` means the key and not its value; `start` and `end` are a part of the text there.
        """
        self._told[severity] += 1
        if self._told[severity] > MAX_ISSUES:
            return
        source = root._source  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if source is None:
            self._issues.append(Issue(message, path_text(path), hint, severity))
            return
        self._issues.append(
            source.issue(message, path, key=key, start=start, end=end, hint=hint, severity=severity)
        )

    def add(self, issues: Iterable[Issue]) -> None:
        """Take over issues that were found elsewhere."""
        self._issues += issues

    def broken(self, root: ir.Workflow, path: Place, error: ExpressionError) -> None:
        """Note an expression or template that cannot be compiled, at its exact place."""
        self.tell(root, error.message, path, start=error.start, end=error.end, hint=error.hint)

    def unknown(
        self,
        root: ir.Workflow,
        what: str,
        name: str,
        known: Mapping[str, object],
        path: Place,
        *,
        key: bool = False,
        start: int | None = None,
        end: int | None = None,
        hint: str | None = None,
    ) -> None:
        """Note a name that leads nowhere; the hint stands in where nothing alike is known."""
        self.tell(
            root,
            f"unknown {what} {shown(name)}",
            path,
            key=key,
            start=start,
            end=end,
            hint=self.meant(name, known, hint),
        )

    def meant(
        self, name: str, known: Mapping[str, object], otherwise: str | None = None
    ) -> str | None:
        """Give a hint at the name that was meant; else the other hint, or all names if few."""
        self._suggested += 1
        if self._suggested > _MOST_SUGGESTIONS:
            return otherwise
        close = get_close_matches(name, known, 1)
        if close:
            return f"did you mean {close[0]!r}?"
        if otherwise is None and 0 < len(known) <= 8:
            return f"there is {', '.join(map(repr, known))}"
        return otherwise

    def in_order(self) -> list[Issue]:
        """Give the issues by their place in the text, files in the order in which they were met.

        Those of a workflow that was built in Python stay as they were found.
        """
        files: dict[str | None, int] = {}
        for issue in self._issues:
            files.setdefault(issue.file, len(files))
        found = sorted(self._issues, key=lambda i: (files[i.file], i.line or 0, i.col or 0))
        for severity, told in self._told.items():
            if told > MAX_ISSUES:
                more = f"and {told - MAX_ISSUES:,} more problems like these"
                found.append(Issue(more, severity=severity))
        return found
