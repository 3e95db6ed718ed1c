"""A task's schema as the `response_format` of a chat request, and the answer to it read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from talea.schema import Schema

_VALUE = "value"
_MAX_DEPTH = 10
_STRICT_KEYWORDS = frozenset(
    {
        *(
            "$defs",
            "$ref",
            "additionalProperties",
            "anyOf",
            "const",
            "description",
            "enum",
        ),
        *(
            "exclusiveMaximum",
            "exclusiveMinimum",
            "items",
            "maximum",
            "maxItems",
            "minimum",
        ),
        *(
            "minItems",
            "multipleOf",
            "pattern",
            "properties",
            "required",
            "title",
            "type",
        ),
    }
)
"""What OpenAI's strict mode takes (its guide to structured outputs, "Supported schemas")."""


@dataclass(slots=True, frozen=True)
class ResponseFormat:
    """A schema as a model is asked for it.

    Providers take an object alone at the root, so any other schema is asked for as the one property
    of an object, and taken out of it again.
    """

    schema: Mapping[str, Any]
    wrapped: bool
    raw_text: bool

    @staticmethod
    def of(schema: Schema) -> ResponseFormat:
        """Make the form of a task's schema."""
        source = schema.schema if isinstance(schema.schema, dict) else dict[str, Any]()
        if source.get("type") == "object":
            return ResponseFormat(source, False, False)
        inner: Any = _rebase(source)
        whole: dict[str, Any] = {
            "type": "object",
            "properties": {_VALUE: inner},
            "required": [_VALUE],
            "additionalProperties": False,
        }
        return ResponseFormat(whole, True, schema.takes_raw_text)

    def as_json(self) -> dict[str, Any]:
        """Give the request's `response_format`."""
        named = {
            "name": "answer",
            "schema": self.schema,
            "strict": fits_strict(self.schema),
        }
        return {"type": "json_schema", "json_schema": named}

    def read(self, text: str) -> str:
        """Give the output of a model's text; what is not of the form asked for stays as it is."""
        if not self.wrapped:
            return text
        try:
            whole = json.loads(text)
        except ValueError:
            return text
        if not isinstance(whole, dict) or whole.keys() != {_VALUE}:
            return text
        value = cast("dict[str, Any]", whole)[_VALUE]
        if self.raw_text and isinstance(value, str):
            return value
        return json.dumps(value, ensure_ascii=False)


def fits_strict(schema: Any, depth: int = 0) -> bool:
    """Say whether a schema is of the subset that OpenAI's strict mode takes."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return False
    schema = cast("Mapping[str, Any]", schema)
    if not schema.keys() <= _STRICT_KEYWORDS or not schema.keys() & {
        "type",
        "anyOf",
        "$ref",
        "enum",
        "const",
    }:
        return False
    types = schema.get("type")
    properties: Mapping[str, Any] = schema.get("properties", {})
    is_object = types == "object" or (isinstance(types, list) and "object" in types)
    if is_object and (
        schema.get("additionalProperties") is not False
        or frozenset(schema.get("required", ())) != frozenset(properties)
    ):
        return False
    is_array = types == "array" or (isinstance(types, list) and "array" in types)
    if is_array and "items" not in schema:
        return False
    parts = [
        *properties.values(),
        *schema.get("$defs", {}).values(),
        *schema.get("anyOf", ()),
    ]
    parts += [schema["items"]] if "items" in schema else []
    return all(fits_strict(part, depth + 1) for part in parts)


def _rebase(part: Any) -> Any:
    """Point local references to where the schema stands once it is wrapped."""
    if isinstance(part, list):
        return [_rebase(item) for item in cast("list[Any]", part)]
    if not isinstance(part, Mapping):
        return part
    moved = {key: _rebase(value) for key, value in cast("Mapping[str, Any]", part).items()}
    target = moved.get("$ref")
    if isinstance(target, str) and target.startswith("#"):
        moved["$ref"] = f"#/properties/{_VALUE}{target[1:]}"
    return moved
