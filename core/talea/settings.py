"""The settings file `talea.toml`: what the command line takes where nothing else is said.

    framework = "langgraph"
    model = "openai/gpt-5-mini"

    [journal]
    file = "runs.db"        # from the folder of the settings file
    durability = "full"

It is the one beside the workflow, else the nearest one in the current folder or above it; only one
is read. The Python API reads none.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast, get_args

from talea.errors import UsageError
from talea.kernel.past import Durability

NAME = "talea.toml"
_KNOWN = ("framework", "model", "journal")
_JOURNAL = ("file", "durability")


@dataclass(slots=True, frozen=True)
class Settings:
    """What a settings file says; None for what it does not."""

    framework: str | None = None
    model: str | None = None
    journal: str | None = None
    """The journal's path."""
    durability: Durability | None = None


def find_settings(workflow: str | None = None) -> Settings:
    """Read the settings for a workflow's file, or for the current folder. Raises `UsageError`."""
    folders = [*([Path(workflow).parent] if workflow else []), Path.cwd(), *Path.cwd().parents]
    for folder in folders:
        if (path := folder / NAME).is_file():
            return read_settings(path)
    return Settings()


def read_settings(path: Path) -> Settings:
    """Read a settings file. Raises `UsageError` with what is wrong in it."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # No TOML, or no UTF-8.
        raise UsageError(f"{path}: {error}", "it is a TOML file") from error
    _check_keys(path, given, _KNOWN, "")
    journal: Any = given.get("journal", {})
    if not isinstance(journal, dict):
        raise UsageError(f"{path}: journal is a table", '[journal], and below it file = "runs.db"')
    journal = cast("dict[str, Any]", journal)
    _check_keys(path, journal, _JOURNAL, "journal.")
    durability = _text(path, journal, "durability", "journal.")
    if durability is not None and durability not in get_args(Durability):
        hint = f"it is one of {', '.join(get_args(Durability))}"
        raise UsageError(f"{path}: journal.durability is {durability!r}", hint)
    file = _text(path, journal, "file", "journal.")
    return Settings(
        _text(path, given, "framework"),
        _text(path, given, "model"),
        None if file is None else str(path.parent / Path(file).expanduser()),
        cast("Durability | None", durability),
    )


def _check_keys(path: Path, given: Mapping[str, Any], known: tuple[str, ...], at: str) -> None:
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, 1)
            guess = f"did you mean {at + close[0]!r}? " if close else ""
            hint = f"{guess}there are: {', '.join(at + one for one in known)}"
            raise UsageError(f"{path}: unknown key {at + name!r}", hint)


def _text(path: Path, given: Mapping[str, Any], name: str, at: str = "") -> str | None:
    value = given.get(name)
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise UsageError(f"{path}: {at}{name} is a text, not {value!r}")
    return value
