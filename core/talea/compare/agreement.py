"""Whether outputs are the same, how far, and whether the frameworks can be blamed if not."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, cast

from talea.compare.record import Frozen

Level = Literal["exact", "normalised", "structural", "different", "none"]
LEVELS: tuple[Level, ...] = ("exact", "normalised", "structural", "different")
"""From the best to the worst."""

_SPACE = re.compile(r"\s+")
_NUMBER = re.compile(
    r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\w,]|\.\d)|(?<![\w.,])\d+\.\d+(?![\w,]|\.\d)"
)
"""`1,000`, `1,000.50` and `2.50`, but nothing that goes on: `1.10.2`, `v1.10`."""


class Agreement(Frozen):
    """How far the contenders gave the same in the same repeat of a case.

    `exact` is the same JSON value. `normalised` is the same but for white space, case, Unicode's
    ways to write one letter, and number formats (`1,000.50` and `1000.5`, 1 and 1.0). `structural`
    is JSON of the same keys and types with other values; texts have no structure. `none` means that
    fewer than two gave anything.
    """

    level: Level
    groups: dict[str, tuple[str, ...]]
    """Who gave exactly the same, by a digest of it: each is in one group."""
    within: dict[str, Level]
    """How far each agrees with itself from repeat to repeat; `none` for a single repeat."""
    unsteady: tuple[str, ...] = ()
    """Those that differ from repeat to repeat as much as the contenders differ from each other."""
    missing: tuple[str, ...] = ()
    """Those that gave nothing in some run."""
    blames: bool = False
    """Whether a difference can be put down to the frameworks: there is one, and none of them varies
    as much by itself. Without repeats of a live model that cannot be known, and is not claimed."""


Values = Mapping[str, Mapping[int, Any]]
"""What each contender gave, by its key and the repeat; nothing for a run that gave nothing."""


class Forms:
    """The three forms of values by which they are compared, each made once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}

    def exact(self, value: Any) -> str:
        """Give the value as JSON text; the order of keys means nothing there."""
        return json.dumps(value, sort_keys=True, default=repr)

    def looser(self, exact: str, value: Any, named: bool) -> tuple[str, str]:
        """Give the normalised and the structural form. `named` says that the value is a table of
        named outputs, whose names are no structure of its own."""
        known = self._known.get(exact)
        if known is None:
            try:
                plain = _normalised(value)
                shape = {k: _top(v) for k, v in plain.items()} if named else _top(plain)
                known = self.exact(plain), self.exact(shape)
            except RecursionError:  # nested beyond reason
                known = exact, exact
            self._known[exact] = known
        return known


def agree(
    values: Values, runs: Mapping[str, int], forms: Forms, *, named: bool, repeatable: bool
) -> Agreement:
    """Compare what contenders gave in one case, of `runs` runs each, repeat by repeat.

    `repeatable` says that models answer the same each time, as recorded or simulated ones do.
    """
    exact = {
        key: {repeat: forms.exact(value) for repeat, value in given.items()}
        for key, given in values.items()
        if given
    }
    seen = {text: values[key][at] for key, texts in exact.items() for at, text in texts.items()}
    level_of = partial(_level, seen=seen, forms=forms, named=named)
    by_repeat: defaultdict[int, list[str]] = defaultdict(list)
    for texts in exact.values():
        for repeat, text in texts.items():
            by_repeat[repeat].append(text)
    level = _worst(level_of(texts) for texts in by_repeat.values())
    within: dict[str, Level] = {key: level_of(list(texts.values())) for key, texts in exact.items()}
    return Agreement(
        level=level,
        groups=_groups(exact),
        within=within,
        missing=tuple(key for key, n in runs.items() if n > len(values.get(key, ()))),
        **_blame(level, within, repeatable),
    )


def _groups(exact: Mapping[str, Mapping[int, str]]) -> dict[str, tuple[str, ...]]:
    """Put those together that gave the same in every repeat that both have."""
    groups: list[list[str]] = []
    for key, mine in exact.items():
        for group in groups:
            first = exact[group[0]]
            shared = mine.keys() & first.keys()
            if shared and all(mine[repeat] == first[repeat] for repeat in shared):
                group.append(key)
                break
        else:
            groups.append([key])
    return {
        _digest("\n".join(f"{at} {text}" for at, text in exact[group[0]].items())): tuple(group)
        for group in groups
    }


def join(parts: Sequence[Agreement], keys: Sequence[str]) -> Agreement:
    """Join agreements over cases: the worst of each counts, and groups agree in every case."""
    level = _worst(part.level for part in parts)
    worst = [part for part in parts if part.level == level]
    within: dict[str, Level] = {
        key: _worst(part.within[key] for part in parts if key in part.within)
        for key in keys
        if any(key in part.within for part in parts)
    }
    groups: dict[str, list[str]] = {}
    for key in within:
        mine = [
            next((digest for digest, keys in part.groups.items() if key in keys), "")
            for part in parts
        ]
        groups.setdefault(mine[0] if len(mine) == 1 else _digest("\n".join(mine)), []).append(key)
    return Agreement(
        level=level,
        groups={digest: tuple(keys) for digest, keys in groups.items()},
        within=within,
        unsteady=tuple(key for key in within if any(key in part.unsteady for part in worst)),
        missing=tuple(key for key in keys if any(key in part.missing for part in parts)),
        blames=bool(worst) and all(part.blames for part in worst),
    )


def _blame(level: Level, within: Mapping[str, Level], repeatable: bool) -> dict[str, Any]:
    if level in ("exact", "none"):
        return {}
    unsteady = tuple(
        key
        for key, own in within.items()
        if own != "none" and LEVELS.index(own) >= LEVELS.index(level)
    )
    known = repeatable or "none" not in within.values()
    return {"unsteady": unsteady, "blames": known and not unsteady}


def _worst(levels: Iterable[Level]) -> Level:
    told = [LEVELS.index(level) for level in levels if level != "none"]
    return LEVELS[max(told)] if told else "none"


def _level(texts: Sequence[str], seen: Mapping[str, Any], forms: Forms, named: bool) -> Level:
    if len(texts) < 2:
        return "none"
    distinct = set(texts)
    if len(distinct) == 1:
        return "exact"
    pairs = [forms.looser(text, seen[text], named) for text in distinct]
    if len({normalised for normalised, _ in pairs}) == 1:
        return "normalised"
    return "structural" if len({shape for _, shape in pairs}) == 1 else "different"


def _normalised(value: Any) -> Any:
    match value:
        case bool() | None:
            return value
        case int() | float():
            return _number(value)
        case str():
            return _text(value)
        case dict():
            return {key: _normalised(one) for key, one in cast("dict[str, Any]", value).items()}
        case list() | tuple():
            return [_normalised(one) for one in cast("Sequence[Any]", value)]
        case _:
            return repr(value)


def _text(text: str) -> Any:
    """Normalise a text; one that holds a JSON object or list counts as what it holds."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return _normalised(json.loads(text))
        except (ValueError, RecursionError):
            pass
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return _NUMBER.sub(_plain_number, _SPACE.sub(" ", plain).strip())


def _plain_number(found: re.Match[str]) -> str:
    number = found[0].replace(",", "")
    return number.rstrip("0").rstrip(".") if "." in number else number


def _number(value: float) -> float | int | str:
    try:
        return int(value) if value == int(value) else value
    except (ValueError, OverflowError):  # nan, inf
        return repr(value)


def _top(value: Any) -> Any:
    """Give the shape of an output. A text, number or the like by itself has none, and stays."""
    return _shape(value) if isinstance(value, dict | list) else value


def _shape(value: Any) -> Any:
    match value:
        case dict():
            return {k: _shape(v) for k, v in cast("dict[str, Any]", value).items()}
        case list():
            kinds = {json.dumps(_shape(one), sort_keys=True) for one in cast("list[Any]", value)}
            return sorted(kinds)
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case None:
            return "null"
        case _:
            return "text"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
