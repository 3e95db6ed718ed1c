"""What is wrong with a document, in plain words: pydantic's errors as issues.

Each kind of error has one function in the table at the end. It is given the place of the error, and
gives the sentence, a hint if there is one, and whether the key or its value is to be pointed at.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, Tag, ValidationError

from talea.errors import DocumentError, Issue
from talea.ir import (
    ENV_PATTERN,
    ID_PATTERN,
    KIND_KEYS,
    MODEL_PATTERN,
    TOOL_ID_PATTERN,
    URL_PATTERN,
    Refused,
)
from talea.source.text import MAX_ISSUES, Source, Steps, describe, shown

M = TypeVar("M", bound=BaseModel)

_MEANT = {
    "args": "with",
    "arguments": "with",
    "condition": "when",
    "dependencies": "depends_on",
    "foreach": "for_each",
    "if": "when",
    "input": "with",
    "llm": "model",
    "needs": "depends_on",
    "question": "ask",
    "repeat": "loop",
    "retries": "retry",
    "steps": "tasks",
    "system_prompt": "instructions",
    "tasks": "tools",
    "version": "talea",
}
"""What other systems call a key of ours."""

_PATTERNS = {
    ENV_PATTERN: "must be the name of an environment variable",
    MODEL_PATTERN: "must be provider/name, such as openai/gpt-5-mini",
    URL_PATTERN: "must be an address that begins with http:// or https://",
}


def read_model(model: type[M], source: Source) -> M:
    """Make a model of a source's data. Raises DocumentError with all that does not fit."""
    try:
        return model.model_validate(source.data)
    except ValidationError as error:
        raise DocumentError(explain(error, model, source)) from None


def places_of(error: ValidationError, model: type[BaseModel], source: Source) -> dict[Steps, bool]:
    """Give where in the data the errors of a failed validation are; False for an unknown key."""
    details = error.errors(include_url=False, include_input=False, include_context=False)
    return {
        _locate(model, detail["loc"], source).path: detail["type"] != "extra_forbidden"
        for detail in details
    }


def explain(error: ValidationError, model: type[BaseModel], source: Source) -> list[Issue]:
    """Give the issues of a failed validation in document order; those beyond 100 are counted."""
    details = error.errors(include_url=False, include_input=False)
    issues = [
        issue
        for detail in details[:MAX_ISSUES]
        if (issue := _issue(detail, _locate(model, detail["loc"], source))) is not None
    ]
    issues.sort(key=lambda issue: (issue.line or 0, issue.col or 0))
    if len(details) > MAX_ISSUES:
        issues.append(Issue(f"and {len(details) - MAX_ISSUES} more problems", file=source.name))
    return issues


def close(name: str, known: Iterable[str]) -> str | None:
    """Give the one known name that a wrong one was probably meant to be."""
    found = difflib.get_close_matches(name[:80], list(known), 1, 0.6)
    return found[0] if found else None


@dataclass(slots=True, frozen=True)
class _Place:
    """Where an error is: in the data, and in the models."""

    source: Source
    path: Steps
    value: Any
    """The value there; None too if there is none."""
    around: dict[str, Any]
    """The mapping that the value is in; an empty one if it is in none."""
    owner: type[BaseModel] | None
    """The model one of whose fields the last step is."""
    annotation: Any

    @property
    def step(self) -> str | int:
        return self.path[-1] if self.path else ""

    @property
    def label(self) -> str:
        """What to call the place in a sentence."""
        if not self.path:
            return "the document"
        if isinstance(self.step, int) and len(self.path) > 1:
            return f"'{self.path[-2]}[{self.step}]'"
        return shown(self.step)


@dataclass(slots=True, frozen=True)
class _Words:
    message: str
    hint: str | None = None
    key: bool = False
    at: Steps | None = None
    """Another place to point at."""
    to: int | None = None


def _issue(detail: Any, place: _Place) -> Issue | None:
    words = _TABLE.get(detail["type"], _other)(place, detail.get("ctx") or {}, detail["msg"])
    if words is None:
        return None
    issue = place.source.issue(
        words.message,
        words.at or place.path,
        key=words.key or detail["loc"][-1:] == ("[key]",),
        hint=words.hint,
    )
    if "api_key" in place.path:
        # Someone may have written the key itself here: it must not reach a log.
        return replace(issue, snippet=None)
    return issue


def _locate(model: type[BaseModel], loc: Sequence[str | int], source: Source) -> _Place:
    """Find the place that pydantic speaks of; its `loc` holds tags of unions, data does not."""
    annotation: Any = model
    owner: type[BaseModel] | None = None
    path: list[str | int] = []
    for step in loc:
        annotation = _bare(annotation)
        tagged = _tagged(annotation)
        if step == "[key]":
            break
        if step in tagged:
            annotation = tagged[str(step)]
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            path.append(step)
            owner, annotation = annotation, _fields(annotation).get(str(step))
        elif typing.get_origin(annotation) in (dict, tuple, list):
            path.append(step)
            arguments = typing.get_args(annotation)
            owner = None
            annotation = arguments[1] if typing.get_origin(annotation) is dict else arguments[0]
        else:
            break
    value: Any = source.data
    around: Any = None
    for step in path:
        around = value
        value = _step(value, step)
    if not isinstance(around, dict):
        around = {}
    return _Place(
        source, tuple(path), value, cast("dict[str, Any]", around), owner, _bare(annotation)
    )


def _step(value: Any, step: str | int) -> Any:
    if isinstance(value, dict):
        return cast("dict[Any, Any]", value).get(step)
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return items[step] if isinstance(step, int) and step < len(items) else None


def _bare(annotation: Any) -> Any:
    """Take `Annotated` and `| None` off."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
            rest = [part for part in typing.get_args(annotation) if part is not type(None)]
            if len(rest) != 1:
                return annotation
            annotation = rest[0]
        else:
            return annotation


def _tagged(annotation: Any) -> dict[str, Any]:
    """Give the members of a union by their tags."""
    return {
        mark.tag: member
        for member in typing.get_args(annotation)
        for mark in getattr(member, "__metadata__", ())
        if isinstance(mark, Tag)
    }


@cache
def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Give a model's fields by the key that a document writes."""
    model.model_rebuild()  # Builds are deferred, and so are the names in annotations.
    return {f.alias or name: f.annotation for name, f in model.model_fields.items()}


def _choices(annotation: Any) -> list[str]:
    """Give the texts that an enum, a literal, or a union of these admits."""
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    if typing.get_origin(annotation) is Literal:
        return [str(value) for value in typing.get_args(annotation)]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [text for part in typing.get_args(annotation) for text in _choices(part)]
    return []


def _missing(place: _Place, context: Any, said: str) -> _Words | None:
    known = _fields(place.owner) if place.owner else {}
    misspelt = close(str(place.step), (key for key in place.around if key not in known))
    if misspelt and _meant(misspelt, known) == place.step:
        return None  # Told with the unknown key.
    return _Words(f"{place.label} is missing")


def _meant(key: str, known: Iterable[str]) -> str | None:
    """Give the known key that an unknown one stands for."""
    known = list(known)
    other = _MEANT.get(key)
    return other if other in known else close(key, known)


def _unknown_key(place: _Place, context: Any, said: str) -> _Words | None:
    key = str(place.step)
    known = list(_fields(place.owner)) if place.owner else []
    if place.value is None and place.source.in_flow(place.path[:-1]):
        trap = _comma(place, known)
        if trap is not None:
            return trap if trap.message else None
    meant = _meant(key, known)
    if ":" in key and key.partition(":")[0] in known:
        hint = "write a space after the colon"
    elif key == "<<":
        hint = "there are no merge keys: write the keys out"
    elif meant:
        hint = f"did you mean {meant!r}?"
    else:
        hint = f"known keys: {', '.join(known)}"
    return _Words(f"unknown key {shown(key)}", hint, key=True)


def _comma(place: _Place, known: list[str]) -> _Words | None:
    """Recognise `{prompt: Write, then stop}`: what follows the comma has become a key."""
    keys = list(place.around)
    at = keys.index(str(place.step))

    def stray(index: int) -> bool:
        return place.around[keys[index]] is None and keys[index] not in known

    if at and stray(at - 1):
        return _Words("")  # Told with the first of them.
    if not at or not isinstance(place.around[keys[at - 1]], str):
        return None
    last = at
    while last + 1 < len(keys) and stray(last + 1):
        last += 1
    before = (*place.path[:-1], keys[at - 1])
    start, _ = place.source.span(before)
    _, end = place.source.span((*place.path[:-1], keys[last]), key=True)
    text = place.source.text[start:end]
    if len(text) > 80 or '"' in text or "\n" in text:
        text = "…"
    return _Words(
        f"unknown key {shown(place.step)}: the comma before it ended the text",
        f'quote the text: {keys[at - 1]}: "{text}"',
        key=True,
    )


def _wrong_type(expected: str) -> Callable[[_Place, Any, str], _Words]:
    def words(place: _Place, context: Any, said: str) -> _Words:
        value = place.value
        found = repr(value) if isinstance(value, float) else describe(value)
        return _Words(
            f"{place.label} must be {expected}, not {found}",
            _type_hint(place, expected),
        )

    return words


def _type_hint(place: _Place, expected: str) -> str | None:
    value = place.value
    if place.step == "api_key":
        return "a key is never written here: name the environment variable, {env: NAME}"
    if expected == _TEXT and isinstance(value, bool | int | float):
        return f'quote it: "{place.source.raw(place.path)}"'
    if expected == _TEXT and isinstance(value, dict | list):
        raw = place.source.raw(place.path)
        if raw[:1] in ("{", "[") and len(raw) <= 60 and "\n" not in raw and '"' not in raw:
            return f'if it is text, quote the text: "{raw}"'
    if expected in (_WHOLE, _NUMBER) and isinstance(value, str) and _DIGITS.fullmatch(value):
        return f"without quotes: {value}"
    if expected == _BOOLEAN and isinstance(value, str):
        return "write true or false, without quotes"
    if expected == _LIST and isinstance(value, str) and len(value) <= 60:
        return f"write a list: [{value}]"
    if expected == _MAPPING and isinstance(value, list) and _keyed(place.annotation):
        return "give each item a name of its own, as its key"
    return None


def _keyed(annotation: Any) -> bool:
    """Say whether a mapping gives ids to models, so that a list is a likely mistake."""
    if typing.get_origin(annotation) is not dict:
        return False
    inner = _bare(typing.get_args(annotation)[1])
    return bool(_tagged(inner)) or (isinstance(inner, type) and issubclass(inner, BaseModel))


_TEXT, _WHOLE, _NUMBER, _BOOLEAN = "text", "a whole number", "a number", "true or false"
_LIST, _MAPPING = "a list", "a mapping"
_DIGITS = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")


def _expected(place: _Place, context: Any, said: str) -> _Words:
    choices = _choices(place.annotation)
    if choices:
        return _choice(place, context, said)
    return _Words(f"{place.label} {said}, not {describe(place.value)}")


def _choice(place: _Place, context: Any, said: str) -> _Words:
    choices = _choices(place.annotation)
    found = close(place.value, choices) if isinstance(place.value, str) else None
    value = shown(place.value) if isinstance(place.value, str) else describe(place.value)
    hint = f"did you mean {found!r}?" if found else None
    if len(choices) > 8:
        message = f"{place.label} cannot be {value}"
        return _Words(message, hint or f"it is one of {', '.join(choices)}")
    return _Words(f"{place.label} must be one of {', '.join(choices)}, not {value}", hint)


def _bound(sign: str, words: str) -> Callable[[_Place, Any, str], _Words]:
    return lambda place, context, said: _Words(
        f"{place.label} must be {words} {context[sign]:g}, not {shown(place.value)}"
    )


def _empty(place: _Place, context: Any, said: str) -> _Words:
    return _Words(f"{place.label} must not be empty")


def _too_long(place: _Place, context: Any, said: str) -> _Words:
    return _Words(f"{place.label} must not be longer than {context['max_length']} characters")


def _pattern(place: _Place, context: Any, said: str) -> _Words:
    pattern = context["pattern"]
    if pattern == ID_PATTERN:
        return _bad_id(
            place,
            "lower-case letters, digits and _, beginning with a letter, at most 64",
        )
    if pattern == TOOL_ID_PATTERN:
        return _bad_id(place, "letters, digits, _ and -, at most 64")
    return _Words(f"{place.label} {_PATTERNS.get(pattern, 'does not have the right form')}")


def _bad_id(place: _Place, form: str) -> _Words:
    name = str(place.step)
    hint = None
    foreign = next((c for c in name if c.isalpha() and not c.isascii()), None)
    if foreign:
        hint = f"{foreign!r} is {unicodedata.name(foreign, 'no ASCII letter')}"
    else:
        better = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        if re.fullmatch(ID_PATTERN, better):
            hint = f"call it {better!r}"
    return _Words(f"{shown(name)} cannot be an id: {form}", hint, key=True)


def _value(place: _Place, context: Any, said: str) -> _Words:
    error = context.get("error")
    hint = error.hint if isinstance(error, Refused) else None
    return _Words(f"{place.label}: {error}", hint)


def _kind(place: _Place, context: Any, said: str) -> _Words:
    value: Any = place.value
    if not isinstance(value, dict):
        return _Words(
            f"a task is a mapping, not {describe(value)}",
            "such as {agent: writer, prompt: Write a poem.}",
        )
    keys = list(cast("dict[str, Any]", value))
    found = [key for key in keys if key in KIND_KEYS]
    if found:
        names = " and ".join(map(repr, found[:2]))
        return _Words(
            f"a task has exactly one kind, but this one has {names}",
            "keep one, or make two tasks",
            key=True,
            at=(*place.path, found[1]),
        )
    misspelt = [(key, meant) for key in keys if (meant := close(key, KIND_KEYS))]
    if misspelt:
        key, meant = misspelt[0]
        hint = f"did you mean {meant!r} by {shown(key)}?"
    elif "prompt" in keys:
        hint = "say who answers the prompt: agent, pool, capabilities or team"
    else:
        hint = None
    return _Words(f"the task has no kind: it needs one of {', '.join(KIND_KEYS)}", hint, key=True)


def _deep(place: _Place, context: Any, said: str) -> _Words:
    return _Words(f"{place.label} is nested too deeply")


def _other(place: _Place, context: Any, said: str) -> _Words:
    return _Words(f"{place.label}: {said}")


_TABLE: dict[str, Callable[[_Place, Any, str], _Words | None]] = {
    "missing": _missing,
    "extra_forbidden": _unknown_key,
    "string_type": _wrong_type(_TEXT),
    "int_type": _wrong_type(_WHOLE),
    "int_from_float": _wrong_type(_WHOLE),
    "float_type": _wrong_type(_NUMBER),
    "bool_type": _wrong_type(_BOOLEAN),
    "list_type": _wrong_type(_LIST),
    "tuple_type": _wrong_type(_LIST),
    "dict_type": _wrong_type(_MAPPING),
    "model_type": _wrong_type(_MAPPING),
    "expected": _expected,
    "enum": _choice,
    "literal_error": _choice,
    "greater_than": _bound("gt", "more than"),
    "greater_than_equal": _bound("ge", "at least"),
    "less_than": _bound("lt", "less than"),
    "less_than_equal": _bound("le", "at most"),
    "too_short": _empty,
    "string_too_short": _empty,
    "string_too_long": _too_long,
    "string_pattern_mismatch": _pattern,
    "value_error": _value,
    "task_kind": _kind,
    "recursion_loop": _deep,
}
