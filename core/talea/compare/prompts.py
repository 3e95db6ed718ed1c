"""What of a prompt is the workflow's own text, and what the workflow does not say: what the
framework added to it, or talea's plugin for the framework.

Nothing tells which is which, so it is matched by words. A run of four words that also stands in the
workflow's text, in the inputs or in what tasks of the run have put out by then is the workflow's
own, and so is a shorter one that is all of a value, such as a role. In a line so are shorter runs
beside it, as a template leaves them on both sides of a value, and the value; and a line that is
made of nothing else. What models and tools said before is no addition. Which of the two added what
is not told apart.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any, cast

from talea.compare.record import Comparison, RunRecord, Task

_WORD = re.compile(r"\w+")
_TAIL = re.compile(r"[^\w\n]*")
_ANSWERS = frozenset({"assistant", "tool", "function"})
"""Who answers in a conversation. What a model or tool said before is no addition."""
_RUN = 4
"""How many words must stand in the same order."""
_NEVER = float("nan")
"""Comes before no moment."""

Ranges = list[tuple[int, int]]


@dataclass(slots=True, frozen=True)
class Text:
    """A text that is the workflow's own from a moment on: an output, once it is there."""

    words: str
    since: float = -inf


Run = tuple[str, ...]


class Corpus:
    """The workflow's own text: of the runs of words in `asked`, which are in it, and since when."""

    def __init__(self, texts: Iterable[Text], asked: Iterable[str]) -> None:
        wanted = {run for text in asked for run in _runs(_words(text))}
        firsts = {run[0] for run in wanted}
        self._since: dict[Run, float] = {}
        self._values: dict[Run, float] = {}
        for text in sorted(texts, key=lambda one: one.since):
            words = _words(text.words)
            for run in _runs(words, firsts) & wanted:
                self._since.setdefault(run, text.since)
            if 0 < len(words) < _RUN:
                self._values.setdefault(tuple(words), text.since)

    def ranges(self, text: str, when: float = inf) -> Ranges:
        """Give the parts of a text that are the workflow's own at a moment, as offsets of
        characters."""
        return _Matching(self, when).ranges(text)

    def holds(self, words: Sequence[str], when: float) -> bool:
        """Say whether so many words, `_RUN` at most, stand in it somewhere."""
        return self._since.get(tuple(words), _NEVER) <= when

    def counts(self, words: Sequence[str], when: float) -> bool:
        """Say whether words that it holds say enough: one word is one by chance, unless it is all
        of a text."""
        return len(words) > 1 or self.is_value(words, when)

    def is_value(self, words: Sequence[str], when: float) -> bool:
        """Say whether words are all of a text."""
        return self._values.get(tuple(words), _NEVER) <= when


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _runs(words: Sequence[str], firsts: Container[str] | None = None) -> set[Run]:
    """Give the runs of up to `_RUN` words; of all, or of those that begin with one of these."""
    places = (
        range(len(words))
        if firsts is None
        else [at for at, word in enumerate(words) if word in firsts]
    )
    return {tuple(words[at : at + size]) for at in places for size in range(1, _RUN + 1)}


@dataclass(slots=True, frozen=True)
class _Matching:
    """A corpus as it is at a moment."""

    corpus: Corpus
    when: float

    def ranges(self, text: str) -> Ranges:
        places = list(_WORD.finditer(text))
        words = [place[0].lower() for place in places]
        own = [False] * len(words)
        for size in range(2, _RUN + 1):
            says = self._holds if size == _RUN else self._is_value
            for at in range(len(words) - size + 1):
                if says(words[at : at + size]):
                    own[at : at + size] = [True] * size
        for first, last in _lines(text, places):
            for start, end in list(_stretches([not is_own for is_own in own[first:last]])):
                self._extend(words, own, first + start, first + end, (first, last))
        return [
            (places[first].start(), _TAIL.match(text, places[last - 1].end()).end())  # pyright: ignore[reportOptionalMemberAccess] - it may match nothing, but it matches
            for first, last in _stretches(own)
        ]

    def _extend(
        self, words: list[str], own: list[bool], start: int, end: int, line: tuple[int, int]
    ) -> None:
        """Mark what of a stretch in a line is made of short runs, from its own neighbours on."""
        lead = self._lead(words, start, end)
        if start > line[0] or lead == end:
            own[start:lead] = [True] * (lead - start)
        if end < line[1]:
            trail = self._trail(words, start, end)
            own[trail:end] = [True] * (end - trail)
            if start > line[0] and trail - lead == 1 and self._holds(words[lead:trail]):
                own[lead] = True  # One word of a template, between a value and what else is known.

    def _lead(self, words: list[str], start: int, end: int) -> int:
        """Say how far short runs reach from a stretch's start."""
        at = start
        while at < end:
            to = at + 1
            while to <= end and self._holds(words[at:to]):
                to += 1
            if not self._counts(words[at : to - 1]):
                break
            at = to - 1
        return at

    def _trail(self, words: list[str], start: int, end: int) -> int:
        """Say how far short runs reach back from a stretch's end."""
        at = end
        while at > start:
            to = at - 1
            while to >= start and self._holds(words[to:at]):
                to -= 1
            if not self._counts(words[to + 1 : at]):
                break
            at = to + 1
        return at

    def _counts(self, run: list[str]) -> bool:
        return self.corpus.counts(run, self.when)

    def _holds(self, run: list[str]) -> bool:
        return self.corpus.holds(run, self.when)

    def _is_value(self, run: list[str]) -> bool:
        return self.corpus.is_value(run, self.when)


def _lines(text: str, places: list[re.Match[str]]) -> Iterator[tuple[int, int]]:
    """Give the stretches of words that stand in one line each."""
    first = 0
    for at in range(1, len(places) + 1):
        if at == len(places) or "\n" in text[places[at - 1].end() : places[at].start()]:
            yield first, at
            first = at


def _stretches(own: list[bool]) -> Iterator[tuple[int, int]]:
    first = None
    for at, is_own in enumerate([*own, False]):
        if is_own and first is None:
            first = at
        elif not is_own and first is not None:
            yield first, at
            first = None


@dataclass(slots=True, frozen=True)
class Reading:
    """The prompts of a run, read: for each call the workflow's own text in each message, and how
    many characters are not its own."""

    framework: str
    marks: list[list[Ranges]]
    added: list[int]

    def as_json(self) -> dict[str, Any]:
        """Give what the report's scripts need of it."""
        return {"marks": self.marks, "added": self.added}


def readings(comparison: Comparison) -> dict[str, Reading]:
    """Read the prompts of each run that kept them, by its `order`."""
    return {str(run.order): _read(run, corpus) for run, corpus in _kept(comparison)}


def _read(run: RunRecord, corpus: Corpus) -> Reading:
    marks: list[list[Ranges]] = []
    counts: list[int] = []
    for call in run.calls:
        messages = call.prompt or ()
        found = [_own(message, corpus, call.began) for message in messages]
        marks.append(found)
        counts.append(sum(map(_foreign, map(text_of, messages), found)))
    return Reading(run.framework, marks, counts)


def _own(message: dict[str, Any], corpus: Corpus, when: float) -> Ranges:
    text = text_of(message)
    if message.get("role") in _ANSWERS:
        return [(0, len(text))] if text else []
    return corpus.ranges(text, when)


def added(found: Mapping[str, Reading]) -> dict[str, float]:
    """Give how many characters of a run's prompts the workflow does not say, by contender: the
    median of cases."""
    counts: dict[str, list[int]] = {}
    for reading in found.values():
        counts.setdefault(reading.framework, []).append(sum(reading.added))
    return {key: median(of) for key, of in counts.items()}


def _foreign(text: str, own: Ranges) -> int:
    """Count the characters between the workflow's own parts, where there is a word in them."""
    count, at = 0, 0
    for start, end in [*own, (len(text), len(text))]:
        if _WORD.search(text, at, start):
            count += start - at
        at = end
    return count


def text_of(message: dict[str, Any]) -> str:
    """Give the text of a message; that of parts, if it has parts, a line each."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [cast("dict[str, Any]", part) for part in content if isinstance(part, dict)]  # pyright: ignore[reportUnknownVariableType]
        return "\n".join(text for part in parts if isinstance(text := part.get("text"), str))
    return content if isinstance(content, str) else ""


def _kept(comparison: Comparison) -> Iterator[tuple[RunRecord, Corpus]]:
    cases = {case.id: case for case in comparison.cases}
    for run in comparison.runs:
        if any(call.prompt is not None for call in run.calls):
            given = cases[run.case].inputs if run.case in cases else {}
            known = [*_sources(comparison.outline.source), *_texts(given)]
            put_out = [
                Text(text, since)
                for address, task in run.tasks.items()
                for since in [_first_answer(run, address, task)]
                for text in _texts(task.output)
            ]
            sent = [text_of(one) for call in run.calls for one in call.prompt or ()]
            yield run, Corpus([*map(Text, known), *put_out], sent)


def _first_answer(run: RunRecord, address: str, task: Task) -> float:
    """Say when a task put something out first: a stand-in's answers hold the prompts before them,
    and a task in a loop is asked again with what it said."""
    within = (f"{address}[", f"{address}#", f"{address}/")
    answers = [
        call.began + call.duration
        for call in run.calls
        if call.error is None and (call.address == address or call.address.startswith(within))
    ]
    ended = inf if task.ended is None else task.ended
    return min([ended, *answers])


def _sources(source: str | None) -> Iterator[str]:
    """Give a workflow's text, and what stands in a line of it after a name, by itself."""
    yield source or ""
    for line in (source or "").splitlines():
        yield line.partition(":")[2]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _texts(inner)
    elif value is not None:
        yield str(value)
