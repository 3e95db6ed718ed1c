"""The comparisons that a folder holds: reports (.html) and their data (.json)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from talea.compare.answer import answer, terms
from talea.compare.background import mode_of
from talea.compare.record import Comparison
from talea.compare.statistics import summarise
from talea.errors import UsageError

_SUFFIXES = frozenset({".json", ".html"})
_LARGEST = 256 * 2**20


@dataclass(slots=True, frozen=True)
class Entry:
    """A file of the folder. `broken` says why it cannot be read; then the rest is empty."""

    name: str
    workflow: str = ""
    began: str = ""
    keys: tuple[str, ...] = ()
    mode: str = ""
    runs: int = 0
    failed: int = 0
    lacking: int = 0
    """Runs that were not made, as the comparison was cut short."""
    answer: tuple[str, ...] = ()
    """Without the terms on which frameworks took part."""
    broken: str | None = None


class Shelf:
    """A folder. What was read of a file is kept until the file changes.

    Raises `UsageError` where the folder cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        whole = self.folder.resolve()
        self.name = whole.name or str(whole)
        self._known: dict[str, tuple[tuple[int, int], Entry]] = {}
        list(self._paths())

    def entries(self, search: str = "") -> list[Entry]:
        """List the files, the last comparison first, and those that are broken at the end; only
        those of which file, workflow, a framework or the day holds the words, if there are any."""
        found = {path.name: self._entry(path) for path in self._paths()}
        self._known = {name: self._known[name] for name in found if name in self._known}
        ordered = sorted(found.values(), key=lambda one: (one.began, one.name), reverse=True)
        words = search.lower().split()
        return [one for one in ordered if all(word in _searched(one) for word in words)]

    def repeated(self) -> frozenset[str]:
        """Name the workflows of which there are several comparisons."""
        counts = Counter(one.workflow for one in self.entries() if one.broken is None)
        return frozenset(name for name, count in counts.items() if count > 1)

    def read(self, name: str) -> Comparison:
        """Read a comparison by the name of its file. Raises `KeyError` for a name that the folder
        does not list, `UsageError` for a file that cannot be read."""
        for path in self._paths():
            if path.name == name:
                return _read(path)
        raise KeyError(name)

    def _paths(self) -> Iterator[Path]:
        try:
            paths = sorted(self.folder.iterdir())
        except OSError as error:
            hint = "name a folder with comparisons, which `talea compare --out` writes"
            raise UsageError(f"{self.folder} cannot be read: {error.strerror}", hint) from error
        yield from (path for path in paths if path.suffix in _SUFFIXES and path.is_file())

    def _entry(self, path: Path) -> Entry:
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
        except OSError as error:
            return Entry(path.name, broken=f"This cannot be read: {error.strerror}")
        known = self._known.get(path.name)
        if known is None or known[0] != stamp:
            known = stamp, _describe(path)
            self._known[path.name] = known
        return known[1]


def _searched(one: Entry) -> str:
    return " ".join((one.name, one.workflow, one.began, one.mode, *one.keys)).lower()


def _read(path: Path) -> Comparison:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if size > _LARGEST:
        raise UsageError(f"{path.name} is larger than {_LARGEST // 2**20} MiB")
    return Comparison.read(path)


def _describe(path: Path) -> Entry:
    try:
        comparison = _read(path)
        summary = summarise(comparison)
        small = terms(comparison)
        told = [words for words in answer(comparison, summary) if words != small]
    except UsageError as error:
        return Entry(path.name, broken=error.message.replace(str(path), "This"))
    except Exception as error:  # noqa: BLE001 - a stranger's figures may break any sum
        return Entry(path.name, broken=f"Its figures make no sense: {type(error).__name__}")
    return Entry(
        path.name,
        comparison.outline.name,
        comparison.began,
        tuple(one.key for one in comparison.contenders),
        mode_of(comparison),
        len(comparison.runs),
        sum(not run.succeeded for run in comparison.runs),
        max(0, summary.expected_runs - len(comparison.runs)),
        tuple(told),
    )
