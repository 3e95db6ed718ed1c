"""Cassettes of a comparison: which one answers in a case, and what is recorded of its runs.

A place for cassettes is a file, or a folder that has one for each case, named after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from talea.compare.record import Case
from talea.errors import TaleaError, UsageError
from talea.gateway.cassette import Cassette, load_cassette
from talea.gateway.recorder import write_cassette

_LENGTH = 60
"""Characters of a case's id that are part of its cassette's name."""
_FILES = frozenset({".yaml", ".yml", ".json"})


def cassettes_in(place: str | Path, cases: Sequence[Case]) -> dict[str, Path]:
    """Give the cassette that answers in each case, by its id: a file answers in all.

    Raises `UsageError` for a folder that lacks some, and `DocumentError` for what is no cassette.
    """
    found = _in_folder(place, cases) if Path(place).is_dir() else {}
    if lacking := [case for case, path in found.items() if not path.is_file()]:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise UsageError(
            f"{str(place)!r} has no cassette for the case {lacking[0]!r}{more}",
            f"it would be {found[lacking[0]]}",
        )
    found = found or {case.id: Path(place) for case in cases}
    for path in dict.fromkeys(found.values()):
        load_cassette(path)
    return found


def have_tools(cassettes: Iterable[Path]) -> bool:
    """Say whether all of them have what tools gave."""
    return all(load_cassette(path).tools is not None for path in {*cassettes})


def cassettes_for(place: str | Path, cases: Sequence[Case]) -> dict[str, Path]:
    """Give where the cassette of each case is to be written, by its id: one goes to a file, several
    to a folder, which is made. Raises `UsageError` where that cannot be."""
    path = Path(place)
    if not path.absolute().parent.is_dir():
        raise UsageError(f"the folder of {str(place)!r} does not exist")
    if not path.is_dir() and len(cases) == 1:
        return {cases[0].id: path}
    if path.suffix.lower() in _FILES or path.is_file():
        raise UsageError(
            f"{str(place)!r} is a file, and there are {len(cases)} cases",
            "name a folder, which gets a cassette for each",
        )
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {str(place)!r} cannot be made: {error.strerror}") from error
    return _in_folder(path, cases)


def _in_folder(folder: str | Path, cases: Iterable[Case]) -> dict[str, Path]:
    return {case.id: Path(folder, f"{_file_name(case.id)}.yaml") for case in cases}


def _file_name(case: str) -> str:
    """Name a file after a case, whose id may be any text; two never have the same name."""
    name = re.sub(r"[^\w-]+", "-", case.lower()).strip("-")[:_LENGTH]
    return name if name == case else f"{name}-{sha256(case.encode()).hexdigest()[:8]}"


@dataclass(slots=True)
class Tape:
    """The files in which one run is recorded; those of judges come as they are asked."""

    models: Path
    tools: Path
    judges: list[Path] = field(default_factory=list[Path])

    def for_judge(self) -> Path:
        """Give the file for what one more judge says."""
        self.judges.append(self.models.with_name(f"{self.models.stem}-judge-{len(self.judges)}"))
        return self.judges[-1]


class Tapes:
    """Recordings of runs, of each framework in each case, which last as long as the comparison.

    A run that went well is kept; until there is one, the last that did not.
    """

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="talea-")
        self._numbers = count()
        self._good: dict[tuple[str, str], Tape] = {}
        self._poor: dict[tuple[str, str], Tape] = {}

    def begin(self, key: str, case: str) -> Tape | None:
        """Give the files for a run that begins; None if one of these is on tape already."""
        if (key, case) in self._good:
            return None
        stem = f"{self._folder.name}/{next(self._numbers)}"
        return Tape(Path(f"{stem}.yaml"), Path(f"{stem}.json"))

    def keep(self, key: str, case: str, tape: Tape, *, good: bool) -> None:
        """Keep a run, which went well or did not."""
        (self._good if good else self._poor)[key, case] = tape

    def good(self, key: str, case: str) -> Path | None:
        """Give the recording of a run that went well, with what its tools gave."""
        tape = self._good.get((key, case))
        return tape and tape.models

    def write(self, keys: Sequence[str], targets: Mapping[str, Path], *, tools: bool) -> list[str]:
        """Write the cassette of each case: from the first of these contenders that went well in
        it, else the first that is on tape at all. Give notes on what is not as it should be."""
        notes: list[str] = []
        for case, target in targets.items():
            kept = [
                found for tapes in (self._good, self._poor) for key in keys
                if (found := tapes.get((key, case)))
            ]  # fmt: skip
            if not kept:
                notes.append(f"nothing was recorded of the case {case!r}")
                continue
            if kept[0] not in self._good.values():
                notes.append(f"no run of the case {case!r} succeeded: a failed one was recorded")
            try:
                write_cassette(_whole(kept[0], tools=tools), target)
            except (OSError, TaleaError) as error:
                notes.append(f"the cassette {str(target)!r} was not written: {error}")
        return notes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what was kept."""
        with suppress(OSError):
            self._folder.cleanup()


def _whole(tape: Tape, *, tools: bool) -> Cassette:
    """Give what was recorded of a run, with what judges said of it."""
    own = load_cassette(tape.models)
    tasks = dict(own.tasks)
    for path in tape.judges:
        with suppress(FileNotFoundError):
            tasks |= load_cassette(path).tasks
    more = {"tools": own.tools} if tools and own.tools is not None else {}
    return Cassette.model_construct(
        {"talea_cassette", "tasks", *more}, talea_cassette=1, tasks=tasks, **more
    )
