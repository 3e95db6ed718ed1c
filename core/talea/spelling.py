"""How a workflow is written: as plain data, as YAML, and the JSON Schema of what can be written.

The schema is for editors. It completes the keys of a task before its kind is known, and judges
them once it is. What only `plan.py` can see (names that must exist, cycles) is not in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, cast

from talea.ir import KIND_KEYS, LANGUAGE_VERSION, Workflow
from talea.source.text import REFUSED, plain_value

_WORKFLOW_KEYS = [
    "talea",
    "name",
    "description",
    "model",
    "process",
    "manager",
    "on_failure",
    "limits",
    "inputs",
    "models",
    "tools",
    "agents",
    "pools",
    "teams",
    "workflows",
    "tasks",
    "outputs",
    "metadata",
]
_TASK_KEYS = [
    "description",
    "depends_on",
    "trigger",
    "when",
    "for_each",
    "max_parallel",
    "agent",
    "pool",
    "capabilities",
    "team",
    "tool",
    "workflow",
    "with",
    "context",
    "prompt",
    "expected_output",
    "ask",
    "value",
    "output",
    "fallback",
    "loop",
    "retry",
    "timeout",
    "priority",
    "on_resume",
    "process",
    "on_failure",
    "tasks",
    "outputs",
]

_FLOW_WIDTH = 60
# White space at the ends of lines, which a block scalar would keep, though nobody could see it.
_UNSEEN_SPACE = re.compile(r"\A\s|[ \t]\n|[ \t]\Z|\t")


def to_data(workflow: Workflow) -> dict[str, Any]:
    """Give a workflow as plain data, as it was written: what was left out stays out."""
    data = workflow.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return _workflow({"talea": LANGUAGE_VERSION, **data})


def dump(workflow: Workflow) -> str:
    """Write a workflow as YAML, such that `loads(dump(workflow)) == workflow`.

    Raises ValueError for what only Python can hold: NaN, numbers of more than 64 bits, and halves
    of surrogate pairs.
    """
    import yaml

    def write(allow_unicode: bool) -> str:
        return yaml.dump(
            to_data(workflow),
            Dumper=_dumper(),
            sort_keys=False,
            default_flow_style=False,
            allow_unicode=allow_unicode,
            width=2**31,
        )

    text = write(True)
    return write(False) if REFUSED.search(text) else text


def _workflow(data: dict[str, Any]) -> dict[str, Any]:
    """Bring the keys of a workflow, and of all in it, into the order that reads best."""
    data["tasks"] = {name: _task(task) for name, task in data["tasks"].items()}
    if "workflows" in data:
        data["workflows"] = {name: _workflow(inner) for name, inner in data["workflows"].items()}
    return _sorted(data, _WORKFLOW_KEYS)


def _task(data: dict[str, Any]) -> dict[str, Any]:
    if "tasks" in data:
        data["tasks"] = {name: _task(task) for name, task in data["tasks"].items()}
    return _sorted(data, _TASK_KEYS)


def _sorted(data: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {**{key: data[key] for key in keys if key in data}, **data}


@cache
def _dumper() -> Any:
    from yaml import SafeDumper

    class Dumper(SafeDumper):
        """Writes what `source.py` reads: core scalars of YAML 1.2, no aliases."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

        def choose_scalar_style(self) -> Any:
            style = super().choose_scalar_style()
            plain_inside = not {'"', "\\"} & set(self.analysis.scalar if self.analysis else "")
            return '"' if style == "'" and plain_inside else style

        def text(self, data: str) -> Any:
            data.encode()
            style = None
            if "\n" in data:
                style = '"' if _UNSEEN_SPACE.search(data) else "|"
            elif not _stays_text(data):
                style = '"'
            untyped = cast("Any", self)  # The stubs leave the value's type open.
            return untyped.represent_scalar("tag:yaml.org,2002:str", data, style=style)

        def whole(self, data: int) -> Any:
            plain_value(str(data))
            return self.represent_int(data)

        def real(self, data: float) -> Any:
            if not math.isfinite(data):
                raise ValueError(f"{data} cannot be written: it is not a number of JSON")
            return self.represent_float(data)

        def mapping(self, data: dict[str, Any]) -> Any:
            return self.represent_mapping(
                "tag:yaml.org,2002:map",
                data.items(),
                flow_style=_is_short(data, data.values()),
            )

        def sequence(self, data: list[Any]) -> Any:
            return self.represent_sequence(
                "tag:yaml.org,2002:seq", data, flow_style=_is_short(data, data)
            )

    Dumper.add_representer(str, Dumper.text)
    Dumper.add_representer(int, Dumper.whole)
    Dumper.add_representer(float, Dumper.real)
    Dumper.add_representer(dict, Dumper.mapping)
    Dumper.add_representer(list, Dumper.sequence)
    return Dumper


def _stays_text(text: str) -> bool:
    try:
        return isinstance(plain_value(text), str)
    except ValueError:
        return False


def _is_short(whole: object, parts: Iterable[object]) -> bool:
    """Say whether a mapping or list is read best on one line."""
    return not any(isinstance(part, dict | list) for part in parts) and (
        len(repr(whole)) <= _FLOW_WIDTH
    )


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema, 2020-12, of a workflow document, for editors and for `talea schema`."""
    raw = Workflow.model_json_schema()
    definitions = {
        name: _clean(definition)
        for name, definition in raw.pop("$defs").items()
        if name != "JsonValue"
    }
    root = _clean(raw)
    kinds = {task.__name__: task.kind for task in _task_models()}
    definitions["Task"] = _any_task(
        {kind: (name, definitions[name]) for name, kind in kinds.items()}
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A talea workflow",
        "description": "One document says what a workflow does; any framework runs it.",
        "type": "object",
        "properties": _sorted(root["properties"], _WORKFLOW_KEYS),
        "required": root["required"],
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


def _task_models() -> list[Any]:
    from talea import ir

    return [
        ir.AgentTask,
        ir.ToolTask,
        ir.ValueTask,
        ir.WorkflowTask,
        ir.BlockTask,
        ir.TeamTask,
        ir.AskTask,
    ]


def _any_task(kinds: Mapping[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Give the schema of a task: all keys there are, one kind, and then what the kind allows."""
    properties: dict[str, Any] = {}
    for _, definition in kinds.values():
        properties = {**definition["properties"], **properties}
    chosen: list[Any] = []
    for kind, (name, _) in kinds.items():
        keys = [key for key, of in KIND_KEYS.items() if of == kind]
        has = [{"required": [key]} for key in keys]
        condition = has[0] if len(has) == 1 else {"anyOf": has}
        chosen.append({"if": condition, "then": {"$ref": f"#/$defs/{name}"}})
    return {
        "description": "A task: exactly one kind, and any modifiers.",
        "type": "object",
        "properties": _sorted(properties, _TASK_KEYS),
        "oneOf": [{"required": [key]} for key in KIND_KEYS],
        "allOf": chosen,
    }


def _clean(schema: dict[str, Any]) -> dict[str, Any]:
    """Take out of pydantic's schema what says nothing to the writer of a document."""
    out = {key: value for key, value in schema.items() if key not in ("title", "discriminator")}
    if isinstance(out.get("default"), dict | list | None):
        out.pop("default", None)
    if out.get("$ref") == "#/$defs/JsonValue":
        del out["$ref"]
    if "oneOf" in out:
        tagged = out.pop("oneOf")
        if {"$ref": "#/$defs/AskTask"} in tagged:
            return {"$ref": "#/$defs/Task"}
        out["anyOf"] = tagged
    if out.get("type") == "string":
        out.pop("gt", None)  # The bound of a duration, which its text cannot show.
    if "anyOf" in out:
        out = _union(out)
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = _clean(out[key])
    if out.get("additionalProperties") == {}:
        del out["additionalProperties"]
    if "properties" in out:
        out["properties"] = {name: _clean(inner) for name, inner in out["properties"].items()}
    if "patternProperties" in out:
        [(pattern, inner)] = out.pop("patternProperties").items()
        out["propertyNames"] = {"pattern": pattern}
        out["additionalProperties"] = _clean(inner)
    return out


def _union(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave null out, which a writer leaves out too, and a union of one."""
    members: list[dict[str, Any]] = []
    for member in cast("list[dict[str, Any]]", schema.pop("anyOf")):
        cleaned = _clean(member)
        if cleaned != {"type": "null"}:
            members += cleaned.pop("anyOf", None) or [cleaned]
            if "description" in cleaned:
                schema.setdefault("description", cleaned["description"])
    if len(members) == 1:
        return {**members[0], **schema}
    return {**schema, "anyOf": members}
