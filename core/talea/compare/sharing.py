"""Long texts that stand in a page once, however often they stand in its comparison.

Frameworks that agree put out the same text in every run, and a prompt holds what went before it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

from talea.compare.record import Comparison, RunRecord

_LONG = 200
_WORTH = 1_000_000
"""Characters; below, a text or a page is as well off as it is."""
_LARGEST = 2**29
"""Characters that are restored; a stranger's page may ask for more than there is room for."""

Shared = dict[str, Any]
"""What a page holds beside its comparison: `texts`, and the `mark` before the number of one."""


def share(comparison: Comparison) -> tuple[str, Shared]:
    """Give the comparison's JSON text with numbers for long texts that come again, and those."""
    counts = Counter(text for run in comparison.runs for text in _long(run))
    texts = [text for text, times in counts.items() if times > 1]
    if sum(len(text) * (counts[text] - 1) for text in texts) < _WORTH:
        return comparison.model_dump_json(), {"mark": "", "texts": []}
    numbers = {text: number for number, text in enumerate(texts)}
    mark = "text "
    while True:
        text = _dumped(comparison, numbers, mark)
        if text.count(f'"{mark}') == sum(counts[text] for text in texts):
            return text, {"mark": mark, "texts": texts}
        mark = f"+{mark}"  # Somebody else's text begins so.


def restore(text: str, shared: Shared) -> str:
    """Give the JSON text that was shared. Raises `ValueError` where it is too long."""
    mark, texts = shared["mark"], shared["texts"]
    if not texts:
        return text
    left = _LARGEST

    def whole(one: str) -> str:
        nonlocal left
        if not one.startswith(mark):
            return one
        found = texts[int(one.removeprefix(mark))]
        left -= len(found)
        if left < 0:
            raise ValueError("it is too long as a whole")
        return found

    return json.dumps(_each(json.loads(text), whole), ensure_ascii=False)


def _long(run: RunRecord) -> Iterator[str]:
    """Give the long texts of a run: outputs and prompts, for keys and errors are short."""
    yield from _texts(run.outputs)
    for task in run.tasks.values():
        yield from _texts(task.output)
    for call in run.calls:
        yield from _texts(call.prompt)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if len(value) >= _LONG:
            yield value
    elif isinstance(value, dict):
        for one in cast("dict[str, Any]", value).values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in cast("list[Any]", value):
            yield from _texts(one)


def _dumped(comparison: Comparison, numbers: dict[str, int], mark: str) -> str:
    def short(text: str) -> str:
        return f"{mark}{numbers[text]}" if len(text) >= _LONG and text in numbers else text

    runs = tuple(
        run.model_copy(
            update={
                "outputs": _each(run.outputs, short),
                "tasks": {
                    address: task.model_copy(update={"output": _each(task.output, short)})
                    for address, task in run.tasks.items()
                },
                "calls": tuple(
                    call.model_copy(update={"prompt": _each(call.prompt, short)})
                    for call in run.calls
                ),
            }
        )
        for run in comparison.runs
    )
    return comparison.model_copy(update={"runs": runs}).model_dump_json()


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """Change the texts in a value, at any depth; keys stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _each(one, change) for key, one in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_each(one, change) for one in cast("list[Any]", value)]
    if isinstance(value, tuple):
        return tuple(_each(one, change) for one in cast("tuple[Any, ...]", value))
    return value
