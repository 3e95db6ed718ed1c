"""Environments of their own: frameworks whose requirements conflict, or two versions of one.

uv makes them, in the user's cache, one for each set of requirements, and each only once. What is
installed from a folder (a checkout of talea) is installed from there as well.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from talea.compare.contenders import Entry, distribution_of
from talea.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXACT = re.compile(r"==\s*([0-9A-Za-z.]+?)(?:\.\*)?\s*$")
_CAP = re.compile(r"(?:<=?|==|~=)\s*(\d+(?:\.\d+)*)")
_ALWAYS_WATCHED = {"pydantic"}
"""What every framework rests on, and some pin tightly (crewai 1.15: below 2.13)."""
_CAUSE = re.compile(r"^\s*(?:cause:|╰─▶)\s*", re.MULTILINE)
"""Stands before what uv has to say, after a line that says nothing."""
_COMPLETE = "complete"
_TOLD = 1500


def place(entry: Entry) -> Entry:
    """Give an entry with the Python that runs it, whose environment is made if it is not there.

    Raises `UsageError` with uv's own words where it cannot be made.
    """
    if not entry.isolated:
        return entry
    requirements = [_source_of("talea"), _source_of(distribution_of(entry.framework))]
    if entry.agents is not None:
        requirements.append(_source_of(distribution_of(entry.agents)))
    python = _made(tuple(sorted({*requirements, *entry.requirements})))
    key = entry.key
    if entry.requirements:
        key += f"@{_label(entry.requirements[0], entry.framework, python)}"
    return replace(entry, key=key, python=str(python))


def held_back(distribution: str, others: Sequence[str]) -> list[str]:
    """Say which packages that a framework's plugin names others in the same environment hold back.

    Only a registry knows whether there is a newer one that they keep out, and none is asked.
    """
    own = _closure(distribution)
    if not own:
        return []  # It came here by another way than by being installed.
    watched = {name for name, _ in _requires(distribution)} | _ALWAYS_WATCHED
    watched &= own - {"talea"}
    around = {name for other in others for name in _closure(other)}
    by_itself, by_others = _tightest(own, watched), _tightest(around - own, watched)
    return [
        f"{name} {metadata.version(name)}: {other} wants {bounds}"
        for name, (bound, other, bounds) in sorted(by_others.items())
        if name not in by_itself or bound < by_itself[name][0]
    ]


def _tightest(
    distributions: Iterable[str], packages: Collection[str]
) -> dict[str, tuple[tuple[int, ...], str, str]]:
    """Give the lowest version of each package that some distribution keeps out: which, who does,
    and in what words."""
    found: dict[str, tuple[tuple[int, ...], str, str]] = {}
    for one in sorted(distributions):
        for name, bounds in _requires(one):
            bound = _bound(bounds, metadata.version(name)) if name in packages else None
            if bound is not None and (name not in found or bound < found[name][0]):
                found[name] = bound, one, bounds
    return found


def _bound(bounds: str, installed: str) -> tuple[int, ...] | None:
    """Give the version that bounds keep out, if it is the next one after what is installed."""
    found = [tuple(map(int, cap.split("."))) for cap in _CAP.findall(bounds)]
    major = re.search(r"\d+", installed)
    return min((cap for cap in found if major and cap <= (int(major[0]) + 1,)), default=None)


def _made(requirements: tuple[str, ...]) -> Path:
    """Give the Python of an environment that has what is required."""
    told = json.dumps([sys.version_info[:2], sys.base_prefix, requirements])
    folder = _cache() / hashlib.sha256(told.encode()).hexdigest()[:16]
    python = folder / "bin" / "python"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder) as lock:
            # The Python that it was made with may have gone since.
            if not ((folder / _COMPLETE).exists() and python.exists()):
                base = getattr(sys, "_base_executable", sys.executable)
                _uv("venv", "--quiet", "--clear", "--python", base, str(folder), lock=lock)
                given = ["pip", "install", "--quiet", "--python", str(python)]
                _uv(*given, *_as_arguments(requirements), lock=lock)
                (folder / _COMPLETE).write_text("\n".join(requirements) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"an environment cannot be made in {folder.parent}: {error.strerror}",
            "XDG_CACHE_HOME names another folder for it",
        ) from error
    return python


def _as_arguments(requirements: Sequence[str]) -> list[str]:
    """Give uv's arguments for requirements; a checkout is used as it stands, edits included."""
    return [part for one in requirements for part in (["-e", one] if Path(one).is_dir() else [one])]


def _uv(*arguments: str, lock: int) -> None:
    """Have uv do something, by the user's settings and by no project's. It holds the lock as well:
    should this process be killed, nobody else begins before uv has ended."""
    with tempfile.TemporaryDirectory(prefix="talea-") as nowhere:
        done = subprocess.run(  # noqa: S603 - the caller's own requirements
            [_find_uv(), *arguments],
            cwd=nowhere,
            env={name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            pass_fds=[lock],
            check=False,
        )
    if done.returncode:
        said = _CAUSE.split(done.stderr)[-1].strip()[-_TOLD:]
        raise UsageError(f"an environment cannot be made: {said}")


def _find_uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = shutil.which("uv") or (str(beside) if beside.exists() else None)
    if found is None:
        raise UsageError("environments are made by uv, which is not installed", "pip install uv")
    return found


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "talea" / "environments"


@contextmanager
def _alone(folder: Path) -> Generator[int]:
    """Let nobody else make the same environment at the same time; give the lock's descriptor."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _source_of(distribution: str) -> str:
    """Give what is to be required to have the same distribution elsewhere."""
    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return distribution
    told = found.read_text("direct_url.json")
    if told is None:
        return f"{distribution}=={found.version}"
    origin: dict[str, Any] = json.loads(told)
    url: str = origin["url"]
    if "dir_info" in origin:
        folder = unquote(urlsplit(url).path)
        return folder if Path(folder).is_dir() else f"{distribution}=={found.version}"
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    if "subdirectory" in origin:
        url += f"#subdirectory={origin['subdirectory']}"
    return f"{distribution} @ {url}"


def package_of(requirement: str) -> str:
    """Name the package that a requirement is of."""
    name = _NAME.match(requirement)
    assert name is not None
    return name[0]


def _label(requirement: str, framework: str, python: Path) -> str:
    """Tell one version from another: `1.2` of the framework itself, `pydantic-2.13` of another."""
    name = package_of(requirement)
    version = _version(requirement, name, python)
    return version if _plain(name) == framework else f"{name}-{version}"


def _version(requirement: str, distribution: str, python: Path) -> str:
    """Give a version as the requirement says it, else as it is installed."""
    if exact := _EXACT.search(requirement):
        return exact[1]
    code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    done = subprocess.run(  # noqa: S603
        [str(python), "-I", "-c", code, distribution], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UsageError(f"{requirement!r} installs nothing here", "is its marker for another one?")
    return done.stdout.strip()


@cache
def _closure(distribution: str) -> frozenset[str]:
    """Name all that a distribution rests on, itself included, as far as it is installed."""
    found: set[str] = set()
    ahead = [distribution]
    while ahead:
        name = _plain(ahead.pop())
        if name not in found:
            try:
                metadata.distribution(name)
            except metadata.PackageNotFoundError:
                continue
            found.add(name)
            ahead += [required for required, _ in _requires(name)]
    return frozenset(found)


@cache
def _requires(distribution: str) -> tuple[tuple[str, str], ...]:
    """Give what a distribution requires, extras left out: (name, bounds)."""
    found: list[tuple[str, str]] = []
    for line in metadata.requires(distribution) or []:
        required, _, marker = line.partition(";")
        name = _NAME.match(required)
        if name is not None and "extra" not in marker:
            bounds = re.sub(r"^\[[^]]*\]", "", required[name.end() :].strip())
            found.append((_plain(name[0]), bounds.strip(" ()")))
    return tuple(found)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
