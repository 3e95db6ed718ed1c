"""What an output has to be: text or JSON, and fit for the task's schema."""

from __future__ import annotations

import re
from typing import Any

from talea.errors import ErrorType, TaskError
from talea.expr import parse_json
from talea.schema import Schema

_FENCE = re.compile(r"\s*```[\w+-]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\s*", re.DOTALL)


def fit_text(text: str, schema: Schema) -> Any:
    """Turn a model's or a tool's text into an output that fits. Raises TaskError(invalid_output).

    A schema that takes the raw text gets it as it is; else one code fence is removed and the rest
    parsed as JSON.
    """
    if schema.takes_raw_text:
        return fit(text, schema)
    fence = _FENCE.fullmatch(text)
    try:
        value = parse_json(fence[1] if fence else text)
    except ValueError as error:
        raise TaskError(
            ErrorType.INVALID_OUTPUT, f"the output must be JSON, and is not: {error}"
        ) from error
    return fit(value, schema)


def fit(value: Any, schema: Schema) -> Any:
    """Give the value if it fits the schema. Raises TaskError(invalid_output)."""
    problem = schema.check(value)
    if problem is not None:
        raise TaskError(ErrorType.INVALID_OUTPUT, f"the output does not fit: {problem}")
    return value


def read_answer(answer: Any, schema: Schema | None) -> tuple[Any, str | None]:
    """Read a person's answer: (value, None), or (None, why it is refused).

    Text stands for itself where only text fits, and is parsed as JSON elsewhere.
    """
    if schema is None:
        refusal = None if isinstance(answer, str) else "the answer must be text"
        return (answer, None) if refusal is None else (None, refusal)
    if isinstance(answer, str) and not schema.admits_only_text:
        try:
            answer = parse_json(answer)
        except ValueError:
            return None, 'the answer must be JSON here, such as true, 3 or "text" in quotes'
    problem = schema.check(answer)
    return (answer, None) if problem is None else (None, problem)
