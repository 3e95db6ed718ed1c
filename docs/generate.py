"""Write the generated parts of the documents: what stands between a pair of markers.

    python docs/generate.py             rewrite them
    python docs/generate.py --check     say which are out of date, and exit with 1 if any is

A part begins with `<!-- generated: NAME -->` and ends with `<!-- end: NAME -->`; `PARTS` says what
makes it. Nothing outside the markers is touched.
"""

from __future__ import annotations

import inspect
import re
import sys
import tomllib
import types
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

ROOT = Path(__file__).parents[1]
_PART = re.compile(
    r"(?P<head><!-- generated: (?P<name>[\w-]+) -->\n)(?P<body>.*?)(?P<tail><!-- end: (?P=name) -->)",
    re.DOTALL,
)


def documents() -> list[Path]:
    """List the files that may have generated parts."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def render(text: str) -> str:
    """Give a document with its generated parts made anew."""

    def fill(part: re.Match[str]) -> str:
        made = PARTS[part["name"]](part["body"]).strip("\n")
        return f"{part['head']}\n{made}\n\n{part['tail']}"

    return _PART.sub(fill, text)


def main(arguments: list[str]) -> int:
    """Rewrite the parts, or check them; give the exit code."""
    stale = [
        path for path in documents() if render(path.read_text("utf-8")) != path.read_text("utf-8")
    ]
    for path in stale:
        name = path.relative_to(ROOT)
        if "--check" in arguments:
            print(f"{name} is out of date: run `just docs`, or python docs/generate.py")
        else:
            path.write_text(render(path.read_text("utf-8")), "utf-8")
            print(f"wrote {name}")
    return 1 if stale and "--check" in arguments else 0


def table(rows: Iterable[Iterable[str]]) -> str:
    """Make a Markdown table; the first row is its head."""
    head, *body = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body))


# The support matrix: from each plugin's `features`, which can be read without its framework.

_WORDS = {"native": "native", "emulated": "emulated", "not_yet": "not yet", "never": "never"}


def support(before: str) -> str:
    """Say for each feature what each framework makes of it."""
    from talea.plan import Feature

    names = sorted(_plugins(), key=lambda name: (name != "simple", name))
    columns = {name: _features(name) for name in names}
    rows = [["feature", *names]]
    for feature in Feature:
        row = [f"`{feature.value}`"]
        for name, features in columns.items():
            found = _cell(before, row[0], name) if features is None else _level(features, feature)
            row.append(found)
        rows.append(row)
    return table(rows)


def support_of(name: str, before: str) -> str:
    """Say for each feature what one framework makes of it, and what carries it or is against it."""
    from talea.plan import Feature

    features = _features(name)
    if features is None:
        return before
    rows = [["feature", "is", "by or why"]]
    for feature in Feature:
        reason = features[feature].reason if feature in features else "it is not known there"
        rows.append([f"`{feature.value}`", _level(features, feature), reason])
    return table(rows)


def options_of(name: str, before: str) -> str:
    """List a framework's options."""
    adapter = _adapter(name)
    if adapter is None:
        return before
    return table([["option", "is"], *([f"`{key}`", told] for key, told in adapter.options.items())])


def _plugins() -> dict[str, Path]:
    """Find the folders of the frameworks of this tree, installed or not."""
    found = sorted((ROOT / "plugins").glob("*/pyproject.toml"))
    return {project.parent.name: project.parent for project in found}


def _features(name: str) -> Any:
    adapter = _adapter(name)
    return None if adapter is None else adapter.features


def _adapter(name: str) -> Any:
    """Import a framework's adapter; None where even that needs the framework, and it is absent."""
    folder = _plugins()[name]
    told = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    sys.path.append(str(folder))
    try:
        (spec,) = import_module(told["entry-points"]["talea"][name]).talea_adapters()
        module, _, adapter = spec.target.partition(":")
        return getattr(import_module(module), adapter)
    except ImportError:
        return None
    finally:
        sys.path.remove(str(folder))


def _level(features: Any, feature: Any) -> str:
    return _WORDS[features[feature].level.value if feature in features else "not_yet"]


def _cell(table: str, row: str, column: str) -> str:
    """Read one cell of the table as it stands."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    found = {line[0]: dict(zip(lines[0], line, strict=False)) for line in lines}
    return found.get(row, {}).get(column, _WORDS["not_yet"])


# The language.


def functions(_: str) -> str:
    """List the functions of expressions."""
    from talea.expr import FUNCTIONS

    rows = [["function", "gives", "is"]]
    for one in FUNCTIONS.values():
        call, _, result = one.signature.rpartition(" -> ")
        rows.append([f"`{call}`", result, one.doc])
    return table(rows)


def errors(_: str) -> str:
    """List the types of error, and what retry and fallback make of each."""
    from talea.errors import NEVER_RECOVERED, NEVER_RETRIED, RETRIED_BY_DEFAULT, ErrorType

    rows = [["type", "is", "retried", "recovered by a fallback"]]
    for one in ErrorType:
        retried = "if asked for"
        if one in NEVER_RETRIED:
            retried = "never"
        elif one in RETRIED_BY_DEFAULT:
            retried = "by default"
        lost = one in NEVER_RECOVERED
        rows.append([f"`{one.value}`", _ERRORS[one.value], retried, "never" if lost else "yes"])
    return table(rows)


_ERRORS = {
    "expression": "an expression or a template that cannot be evaluated",
    "invalid_arguments": "arguments that do not fit a tool, or inputs that do not fit a workflow",
    "invalid_output": "output that does not fit `output`",
    "unknown_tool": "a tool that is not there",
    "tool_error": "whatever a tool raised",
    "timeout": "an attempt that took longer than its `timeout`",
    "rate_limit": "the model's server answered 429",
    "server_error": "the model's server answered 500 or above",
    "connection": "the model's server cannot be reached, went away, or is silent",
    "authentication": "the model's server does not accept the key",
    "refused": "the model's refusal, or its content filter",
    "model_error": "any other error of the model's server, or an answer that makes no sense",
    "turns_exhausted": "the last allowed turn still calls tools",
    "loop_exhausted": "`until` was not true at `max`",
    "delegation": "a team's delegation that cannot be carried out",
    "denied": "a person did not allow a call",
    "limit_exceeded": "one of the run's `limits` was crossed",
    "replay_exhausted": "a model call that the cassette does not have",
    "interrupted": "the run was cut off at a task with `on_resume: fail`, or the user ended it",
    "internal": "a fault of talea, a plugin or a framework",
}


def bounds(_: str) -> str:
    """List the bounds on documents, expressions, schemas and tools."""
    from talea.expr import lexer, values
    from talea.load import Bounds
    from talea.schema import checks
    from talea.tools import MAX_RESULT_BYTES

    size = Bounds()
    rows = [
        ["of", "at most"],
        ["a document, its files together", f"{size.max_bytes:,} bytes, {size.max_depth} levels, {size.max_nodes:,} nodes"],
        ["an expression", f"{lexer.MAX_SOURCE:,} characters, {lexer.MAX_TOKENS:,} names, numbers, texts and signs, {lexer.MAX_NESTING} levels"],
        ["an evaluation", f"{values.MAX_STEPS:,} steps"],
        ["a value that an expression makes", f"{values.MAX_TEXT:,} characters, {values.MAX_VALUES:,} values, {values.MAX_DEPTH} levels"],
        ["a whole number", f"{values.MAX_NUMBER}"],
        ["a schema", f"{checks.MAX_SCHEMA_DEPTH} levels, {checks.MAX_CONDITIONS:,} conditions with references written out"],
        ["what a tool gives", f"{MAX_RESULT_BYTES:,} bytes of JSON"],
    ]  # fmt: skip
    return table(rows)


def reference(_: str) -> str:
    """List the keys of every part of a document."""
    from talea import ir

    kinds = [ir.AgentTask, ir.ToolTask, ir.ValueTask, ir.WorkflowTask, ir.BlockTask, ir.TeamTask]
    shared = {name for kind in (ir.RepeatableTask,) for name in kind.model_fields}
    parts = [
        ("A document", ir.Workflow, set[str]()),
        ("One of `workflows`", ir.InlineWorkflow, set()),
        ("One of `models`", ir.Model, set()),
        ("One of `tools`", ir.Tool, set()),
        ("One of `agents`", ir.Agent, set()),
        ("`limits` of an agent or a model", ir.Rates, set()),
        ("One of `pools`", ir.Pool, set()),
        ("One of `teams`", ir.Team, set()),
        ("`limits`", ir.Limits, set()),
        ("Every task", ir.TaskModel, set()),
        ("Every task but `ask`", ir.RepeatableTask, set(ir.TaskModel.model_fields)),
        *((f"Kind {kind.kind}", kind, shared) for kind in kinds),
        ("Kind ask", ir.AskTask, set(ir.TaskModel.model_fields)),
        ("`retry`", ir.Retry, set()),
        ("`loop`", ir.Loop, set()),
    ]
    return "\n\n".join(
        f"#### {title}\n\n{sentence(model)}\n\n{keys(model, without)}"
        for title, model, without in parts
    )


def sentence(thing: Any) -> str:
    """Give the first paragraph of a docstring on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def keys(model: Any, without: Iterable[str] = ()) -> str:
    """List a model's keys: what each takes, what stands in where it is left out, what it is."""
    hints = get_type_hints(model, include_extras=True)
    rows = [["key", "takes", "default", "is"]]
    for name in sorted(model.model_fields, key=lambda name: name not in ("talea", "name")):
        field = model.model_fields[name]
        if name in without:
            continue
        extra = _range(field)
        takes = _word(hints[name]) + (f" {extra}" if extra else "")
        default = "required" if field.is_required() else _default(field)
        if takes.startswith("duration") and default != "–":
            default = f"`{default.strip('`')}s`"
        rows.append(
            [
                f"`{field.alias or name}`",
                takes,
                default,
                field.description or sentence_of(hints[name]),
            ]
        )
    return table(rows)


def sentence_of(hint: Any) -> str:
    """Give the description that an annotation carries."""
    return next(
        (str(one.description) for one in get_args(hint)[1:] if getattr(one, "description", None)),
        "",
    )


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}):
        return "–"
    if isinstance(value, StrEnum):
        return f"`{value.value}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, BaseModel):
        return "–"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _range(field: Any) -> str:
    """Say between what a number lies; a duration's default is written in seconds."""
    found = {
        key: getattr(one, key)
        for one in field.metadata
        for key in ("ge", "gt", "le")
        if hasattr(one, key)
    }
    least = (
        f"from {found['ge']:,}"
        if "ge" in found
        else f"over {found['gt']:,}"
        if "gt" in found
        else ""
    )
    most = f"to {found['le']:,}" if "le" in found else ""
    return " ".join(part for part in (least, most) if part)


def _word(hint: Any) -> str:
    from talea import ir
    from talea.gateway import cassette

    named = [
        (ir.Id, "id"), (ir.ToolId, "tool id"), (ir.Expression, "expression"),
        (ir.Condition, "expression, or `true` or `false`"), (ir.Text, "text with holes"),
        (ir.Structure, "data with holes"), (ir.JsonSchema, "JSON Schema"), (ir.Duration, "duration"),
        (ir.Retried, "type of error, or `any`"), (ir.Task, "task"), (ir.JsonValue, "any JSON"),
        (cassette.Seconds, "seconds, or a duration"), (cassette.Address, "address"), (cassette.Turns, "turns"),
    ]  # fmt: skip
    for known, word in named:
        if hint == known:
            return word
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _word(arguments[0])
    if origin in (Union, types.UnionType):
        words = [_word(one) for one in arguments if one is not type(None)]
        return " or ".join(dict.fromkeys(words))
    if origin is tuple:
        return f"list of {_many(_word(arguments[0]))}"
    if origin is list:
        return "list"
    if origin is dict:
        return f"mapping of {_many(_word(arguments[0]))} to {_many(_word(arguments[1]))}"
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return ", ".join(f"`{one.value}`" for one in hint)
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return _PARTS_OF_A_DOCUMENT.get(hint.__name__, hint.__name__)
    if hint is Any or "TypeAliasType" in type(hint).__name__:
        return "any JSON"
    return _PLAIN[getattr(hint, "__name__", str(hint))]


_PLAIN = {
    "str": "text", "int": "whole number", "float": "number", "bool": "`true` or `false`",
    "StrictBool": "`true` or `false`",
}  # fmt: skip
_PARTS_OF_A_DOCUMENT = {
    "SecretRef": "`{env: NAME}`", "Loop": "see `loop`", "Retry": "see `retry`", "Limits": "see `limits`", "Rates": "`{requests_per_minute, tokens_per_minute}`",
    "InlineWorkflow": "workflow", "ToolCall": "`{name, arguments}`",
    "TokenUsage": "`{input_tokens, output_tokens, cost}`", "Fault": "see faults", "Delegate": "`{to, task}`",
    "Handoff": "`{to}`", "Model": "model", "Tool": "tool", "Agent": "agent", "Pool": "pool", "Team": "team",
}  # fmt: skip
_SINGULAR = {"text": "texts", "id": "ids", "tool id": "tool ids", "address": "addresses"}


def _many(word: str) -> str:
    if word in ("model", "tool", "agent", "pool", "team", "workflow", "task"):
        return f"{word}s"
    return _SINGULAR.get(word, word)


# The command line, Python, plugins, cassettes.


def commands(_: str) -> str:
    """Give the help of every command."""
    import click

    from talea.cli import COMMANDS, cli

    def tell(name: str, command: click.Command, parent: click.Context) -> Iterator[str]:
        context = click.Context(command, info_name=name, parent=parent, terminal_width=100)
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```"
        if isinstance(command, click.Group):
            for inner, one in command.commands.items():
                yield from tell(inner, one, context)

    top = click.Context(cli, info_name="talea", **cli.context_settings)
    parts: list[str] = []
    for name in COMMANDS:
        command = cli.get_command(top, name)
        assert command is not None
        parts += tell(name, command, top)
    return "\n\n".join(parts)


def names(_: str) -> str:
    """List what `import talea` offers."""
    import talea

    rows = [["name", "is"]]
    for name in sorted(talea.__all__, key=lambda name: (name[0].isupper(), name)):
        thing = getattr(talea, name)
        told = (
            sentence(thing)
            if inspect.isclass(thing) or inspect.isfunction(thing)
            else _ALIASES.get(name, "")
        )
        rows.append([f"`talea.{name}`", told])
    return table(rows)


_ALIASES = {
    "Event": "Any of the events below.",
    "hookimpl": "Marks a plugin's function as a hook: see plugins.md.",
}


def events(_: str) -> str:
    """List the events of a run."""
    from talea import events as room

    rows = [["event", "fields besides `time`", "tells"]]
    for one in get_args(room.Event):
        fields = [name for name in one.__dataclass_fields__ if name != "time"]
        rows.append([f"`{one.__name__}`", ", ".join(f"`{name}`" for name in fields), sentence(one)])
    return table(rows)


def hooks(_: str) -> str:
    """Give every hook with its example, from its docstring."""
    from talea import hookspecs

    parts: list[str] = []
    for name, function in vars(hookspecs).items():
        if not name.startswith("talea_") or not callable(function):
            continue
        words, _, example = (inspect.getdoc(function) or "").partition("Example:\n")
        arguments = ", ".join(inspect.signature(function).parameters)
        # As the formatter wants it outside of a docstring.
        code = re.sub(r"\n\n(?=@|class |def )", "\n\n\n", inspect.cleandoc(example))
        code = code.replace("'''", '"""')
        parts.append(f"### `{name}({arguments})`\n\n{words.strip()}\n\n```python\n{code}\n```")
    return "\n\n".join(parts)


def turn_keys(_: str) -> str:
    """List the keys of a turn."""
    from talea.gateway.cassette import Turn

    return keys(Turn)


def fault_keys(_: str) -> str:
    """List the keys of a fault."""
    from talea.gateway.cassette import Fault

    return keys(Fault)


PARTS: dict[str, Callable[[str], str]] = {
    "support": support,
    **{f"support-{name}": partial(support_of, name) for name in _plugins()},
    **{f"options-{name}": partial(options_of, name) for name in ("crewai", "langgraph")},
    "functions": functions,
    "errors": errors,
    "bounds": bounds,
    "reference": reference,
    "commands": commands,
    "names": names,
    "events": events,
    "hooks": hooks,
    "turn": turn_keys,
    "fault": fault_keys,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
