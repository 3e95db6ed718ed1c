"""Recording: what models answered becomes a cassette that replays under any framework."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from talea.failures import without_secrets
from talea.gateway.cassette import Cassette, Turn
from talea.gateway.meter import Exchange
from talea.gateway.tape import Tools
from talea.gateway.writing import dumps_cassette


class Recorder:
    """Hears of a gateway's calls, and keeps the answers in the order in which they were asked for.

    No header and no key is ever told to it; a secret that an answer repeats is masked.
    """

    def __init__(self) -> None:
        self._turns: list[tuple[Exchange, Turn]] = []

    def __call__(self, exchange: Exchange, turn: Turn | None) -> None:
        """Keep an answer. A call whose client left before it has none."""
        if turn is not None:
            self._turns.append((exchange, _clean(turn)))

    @property
    def calls(self) -> int:
        """How many answers were kept."""
        return len(self._turns)

    def cassette(self, tools: Tools | None = None) -> Cassette:
        """Give what was kept: by address, and by agent where several answered at one."""
        found: dict[str, dict[str, list[Turn]]] = defaultdict(lambda: defaultdict(list))
        for exchange, turn in sorted(self._turns, key=lambda kept: kept[0].number):
            found[exchange.address][exchange.agent].append(turn)
        tasks: dict[str, Any] = {}
        for address, agents in found.items():
            lists = {agent: tuple(turns) for agent, turns in agents.items()}
            tasks[address] = next(iter(lists.values())) if len(lists) == 1 else lists
        more = {} if tools is None else {"tools": tools}
        return Cassette.model_construct(
            {"talea_cassette", "tasks", *more}, talea_cassette=1, tasks=tasks, **more
        )


def write_cassette(cassette: Cassette, path: str | Path) -> None:
    """Write a cassette whole or not at all. Raises OSError."""
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(dumps_cassette(cassette))
        Path(name).chmod(_mode(target))
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _mode(target: Path) -> int:
    """Give the permissions of the file that is replaced, else those of any new file."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _clean(turn: Turn) -> Turn:
    """Leave out what nobody has said, and mask secrets."""
    shown = turn.model_dump(mode="json", exclude_defaults=True)
    if not shown.keys() - {"usage", "repeat"}:
        shown["content"] = ""
    return Turn.model_validate(without_secrets(shown))
