"""Tools: Python functions as a model sees them, and their binding to what a document names.

A document says which tools there are; the caller of a run gives the code: functions, a file of
functions, or a plugin's. Running them (threads, timeouts) is the kernel's.

MCP servers will be a third source: a server's tools become `BoundTool`s in `bind`.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType, SimpleNamespace, UnionType
from typing import (
    Annotated,
    Any,
    NotRequired,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)
from weakref import WeakKeyDictionary

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from talea import ir
from talea.docstring import parse_docstring
from talea.errors import ErrorType, TaskError, UsageError
from talea.schema import Schema, SchemaError, compile_schema

_Answer = TypeVar("_Answer")
MAX_RESULT_BYTES = 10_000_000
_STARS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
IDEMPOTENCY_KEY = "idempotency_key"
"""A parameter of this name is filled by the kernel, and unknown to the model."""


@dataclass(slots=True, frozen=True)
class ToolContext:
    """What a tool may know of its call; a parameter of this type gets it, unseen by the model.

    `idempotency_key` is the same when this very call is repeated by a retry or a resume, and
    another for every other call: hand it to a service that must not do a thing twice.
    """

    run: str
    address: str
    agent: str | None
    idempotency_key: str


@dataclass(slots=True, frozen=True)
class BoundTool:
    """A tool with its code. `parameters` is the JSON Schema that the model sees."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[..., Any]
    is_async: bool
    schema: Schema = field(repr=False)
    signature: Signature = field(repr=False)

    def prepare(
        self, arguments: Mapping[str, Any], context: ToolContext | None = None
    ) -> dict[str, Any]:
        """Check arguments and turn them into what the function takes, by keyword.

        Raises `TaskError` of type `invalid_arguments`. A function that asks for its context gets
        `context`, which then must be given.
        """
        if not arguments and self.signature.takes_nothing:
            return {}
        problem = self.schema.check(arguments)
        if problem is not None:
            raise TaskError(ErrorType.INVALID_ARGUMENTS, f"tool {self.name!r}: {problem}")
        return self.signature.convert(self.name, arguments) | self.signature.fill(context)

    def problem(self, arguments: Mapping[str, Any]) -> str | None:
        """Say why arguments do not fit; None if the tool can be called with them."""
        problem = self.schema.check(arguments)
        if problem is not None:
            return problem
        try:
            self.signature.convert(self.name, arguments)
        except TaskError as error:
            return error.message
        return None


@dataclass(slots=True, frozen=True)
class Signature:
    """A function's parameters: those that the model fills, and those that the kernel does."""

    adapter: Any
    parameters: Mapping[str, Any]
    names: frozenset[str]
    required: frozenset[str]
    context: tuple[str, ...]
    """Names of the parameters of type `ToolContext`."""
    wants_key: bool
    takes_nothing: bool = False

    @property
    def wants_context(self) -> bool:
        """Say whether the kernel has to fill something."""
        return self.wants_key or bool(self.context)

    def convert(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Make the function's own types of JSON; refuses what they do not admit."""
        try:
            return self.adapter.validate_python(dict(arguments))
        except ValidationError as error:
            problems = [
                f"{'.'.join(str(step) for step in detail['loc'])}: {detail['msg']}"
                for detail in error.errors(include_input=False, include_url=False)
            ]
            message = f"tool {tool!r}: {'; '.join(problems[:3])}"
            raise TaskError(ErrorType.INVALID_ARGUMENTS, message) from error

    def fill(self, context: ToolContext | None) -> dict[str, Any]:
        """Give the parameters that are not the model's."""
        if not (self.context or self.wants_key):
            return {}
        if context is None:
            raise TypeError("this tool asks for its context, and none is given")
        filled: dict[str, Any] = dict.fromkeys(self.context, context)
        return filled | ({IDEMPOTENCY_KEY: context.idempotency_key} if self.wants_key else {})


def from_function(
    function: Callable[..., Any] | BoundTool,
    name: str | None = None,
    *,
    description: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> BoundTool:
    """Make a tool of a function by its signature and docstring.

    `description` and `parameters` stand in for what the function says of itself; it must then
    accept what `parameters` declares. Raises `UsageError` where it cannot be a tool.
    """
    if isinstance(function, BoundTool):
        signature, own, code = (
            function.signature,
            function.description,
            function.function,
        )
    else:
        signature, own, code = _signature_of(function), _describe(function), function
    if parameters is not None:
        _check_declared(_name_of(code), signature, parameters)
    chosen = name or _name_of(code)
    shown = dict(signature.parameters if parameters is None else parameters)
    try:
        schema = compile_schema(shown)
    except SchemaError as error:
        raise UsageError(
            f"tool {chosen!r}: its parameters are no usable schema: {error}"
        ) from error
    return BoundTool(
        name=chosen,
        description=description or own,
        parameters=shown,
        function=code,
        is_async=_is_async(code),
        schema=schema,
        signature=signature,
    )


def bind(
    tools: Mapping[str, ir.Tool],
    given: Mapping[str, Callable[..., Any] | BoundTool] | None = None,
    provided: Mapping[str, Callable[..., Any] | BoundTool] | None = None,
) -> dict[str, BoundTool]:
    """Bind every tool of a document to code: the caller's, else one that a plugin provides.

    Raises `UsageError` that names every tool without code and every function that cannot be used.
    """
    known = {**(provided or {}), **(given or {})}
    bound, missing, problems = dict[str, BoundTool](), list[str](), list[str]()
    for name, tool in tools.items():
        if name not in known:
            missing.append(name)
            continue
        try:
            bound[name] = from_function(
                known[name],
                name,
                description=tool.description,
                parameters=tool.parameters,
            )
        except UsageError as error:
            problems.append(error.message)
    if missing:
        plural = "tools have" if len(missing) > 1 else "tool has"
        problems.insert(0, f"{len(missing)} {plural} no code: {_list(map(repr, missing))}")
    if problems:
        raise UsageError("\n".join(problems), _suggest(missing, known) if missing else None)
    return bound


def stand_in(tool: ir.Tool) -> Callable[..., Any]:
    """Make a function that is never called, for a tool whose results are known already."""

    def absent(**_: Any) -> Any:
        raise TaskError(ErrorType.TOOL_ERROR, "the tool has no code")

    declared = (tool.parameters or {}).get("properties")
    names = cast("dict[str, Any]", declared) if isinstance(declared, dict) else {}
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(n, keyword, default=None, annotation=Any) for n in names]
    cast("Any", absent).__signature__ = inspect.Signature(parameters)
    return absent


def load_tools(source: str | Path) -> dict[str, Callable[..., Any]]:
    """Import a file (`tools.py`) or module (`package.tools`) and give its public functions by name.

    Public are those that `__all__` names, else those defined there whose name has no leading `_`.
    Raises `UsageError`, with file and line, if the import fails. This runs the file: it is for the
    caller of a run to name, and never for a document.
    """
    text = str(source)
    is_file = text.endswith(".py") or "/" in text or "\\" in text
    module = _import_file(Path(text)) if is_file else _import_module(text)
    listed = getattr(module, "__all__", None)
    functions = dict[str, Callable[..., Any]]()
    for name in vars(module) if listed is None else listed:
        if not hasattr(module, name):
            raise UsageError(f"{text}: `__all__` names {name!r}, which is not defined there")
        value = getattr(module, name)
        is_public = listed is not None or (
            not name.startswith("_")
            and inspect.isroutine(value)
            and getattr(value, "__module__", None) == module.__name__
        )
        if is_public and callable(value) and not inspect.isclass(value):
            functions[name] = value
    if not functions:
        raise UsageError(
            f"{text} defines no public function",
            "a tool is a plain function: `def search(query: str)`",
        )
    return functions


def read_result(tool: str, value: Any) -> Any:
    """Give what a tool returned as JSON data: models and dataclasses dumped, text as it is.

    Raises `TaskError` of type `tool_error` for what is no JSON, or more than 10 MB of it.
    """
    try:
        data = value if isinstance(value, str) else to_jsonable_python(value)
        size = len(json.dumps(data, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError) as error:
        what = f"a value of type {type(value).__name__!r} that is no JSON"
        raise TaskError(ErrorType.TOOL_ERROR, f"tool {tool!r} returned {what}") from error
    if size > MAX_RESULT_BYTES:
        what = f"{size / 1e6:.1f} MB, and {MAX_RESULT_BYTES / 1e6:.0f} MB are allowed"
        raise TaskError(ErrorType.TOOL_ERROR, f"tool {tool!r} returned {what}")
    return data


_signatures: WeakKeyDictionary[Callable[..., Any], Signature] = WeakKeyDictionary()
"""Those that were read: many runs bind the same functions, and reading one takes long."""


def _signature_of(function: Callable[..., Any]) -> Signature:
    if not inspect.isfunction(function):
        return _read_signature(function)  # A method or callable object, which may change or go.
    found = _signatures.get(function)
    if found is None:
        found = _signatures[function] = _read_signature(function)
    return found


def _read_signature(function: Callable[..., Any]) -> Signature:
    name = _name_of(function)
    try:
        parameters = inspect.signature(function).parameters
        hints = _hints(function, parameters)
    except (ValueError, TypeError, NameError, SyntaxError, AttributeError) as error:
        raise UsageError(
            f"tool {name!r}: its signature cannot be read: {error}",
            "the types in it must be importable when it runs, not under TYPE_CHECKING alone",
        ) from error
    fields, defaults = dict[str, Any](), dict[str, Any]()
    context = list[str]()
    for parameter in parameters.values():
        if parameter.kind not in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        ):
            stars = _STARS.get(parameter.kind, "")
            raise UsageError(
                f"tool {name!r}: its parameter '{stars}{parameter.name}' cannot be filled by name",
                "give every argument a name of its own: no *args, no **kwargs, no `/`",
            )
        hint = hints.get(parameter.name, Any)
        if _is_context(hint):
            context.append(parameter.name)
        elif parameter.name != IDEMPOTENCY_KEY:
            fields[parameter.name] = _field(parameter, hint)
            defaults[parameter.name] = parameter.default
    adapter, schema = _adapt(name, fields)
    words = parse_docstring(inspect.getdoc(_plain(function))).parameters
    for key, shown in schema["properties"].items():
        if key in words:
            shown.setdefault("description", words[key])
        _show_default(shown, defaults[key])
    return Signature(
        adapter=adapter,
        parameters=schema,
        names=frozenset(fields),
        required=frozenset(schema.get("required", ())),
        context=tuple(context),
        wants_key=IDEMPOTENCY_KEY in parameters,
        takes_nothing=not (fields or context or IDEMPOTENCY_KEY in parameters),
    )


def _hints(
    function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]
) -> dict[str, Any]:
    """Resolve the parameters' annotations; the return type is left alone, it may not resolve."""
    annotations = {
        name: parameter.annotation
        for name, parameter in parameters.items()
        if parameter.annotation is not parameter.empty
    }
    names = getattr(inspect.unwrap(_plain(function)), "__globals__", {})
    return get_type_hints(
        SimpleNamespace(__annotations__=annotations),
        globalns=names,
        include_extras=True,
    )


def _field(parameter: inspect.Parameter, hint: Any) -> Any:
    """Give the type of one argument as pydantic reads it in a TypedDict."""
    if isinstance(parameter.default, FieldInfo):
        hint = Annotated[hint, parameter.default]
        return hint if parameter.default.is_required() else NotRequired[hint]
    return hint if parameter.default is parameter.empty else NotRequired[hint]


def _adapt(name: str, fields: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Make the validator of all arguments and its JSON Schema.

    A TypedDict takes names that a model could not have as fields, such as `schema` and `_id`.
    """
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticUserError
    from typing_extensions import (
        TypedDict,
    )  # pydantic takes no other before Python 3.12

    make: Any = TypedDict  # A type checker knows the form with literal keys alone.
    arguments = make("Arguments", fields)
    arguments.__pydantic_config__ = ConfigDict(extra="forbid")
    try:
        adapter = TypeAdapter[Any](arguments)
        schema = adapter.json_schema(schema_generator=_schema_generator())
    except PydanticUserError as error:
        reason = error.message.split(". ")[0]
        hint = "use types that JSON can hold: str, int, list, dict, dataclasses, pydantic models"
        if error.code == "typed-dict-version":
            reason = "Python's own TypedDict cannot be read before Python 3.12"
            hint = "import TypedDict from typing_extensions, or use a dataclass"
        raise UsageError(
            f"tool {name!r}: its parameters cannot be told to a model: {reason}", hint
        ) from error
    del schema["title"]
    return adapter, {"type": "object", "properties": {}, **schema}


@functools.cache
def _schema_generator() -> Any:
    from pydantic.json_schema import GenerateJsonSchema

    class Plain(GenerateJsonSchema):
        """Leaves out titles, which only repeat names, and a pattern that has look-ahead."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

        def decimal_schema(self, schema: Any) -> dict[str, Any]:
            return {"type": ["number", "string"]}

    return Plain


def _show_default(shown: dict[str, Any], default: Any) -> None:
    """Add a default to a parameter's schema if JSON can hold it."""
    if default is inspect.Parameter.empty or "default" in shown:
        return
    try:
        value = to_jsonable_python(default)
        json.dumps(value, allow_nan=False)
    except ValueError:
        return  # It stands in the code all the same: the argument may be left out.
    shown["default"] = value


def _check_declared(name: str, signature: Signature, parameters: Mapping[str, Any]) -> None:
    """Refuse declared parameters that the function cannot take, or that lack one it must have."""
    declared = cast("Mapping[str, Any]", parameters.get("properties") or {})
    names = frozenset(declared)
    unknown = sorted(names - signature.names)
    lacking = sorted(signature.required - names)
    if unknown:
        raise UsageError(
            f"tool {name!r}: the document declares {_list(map(repr, unknown))},"
            f" and the function takes {_list(map(repr, sorted(signature.names))) or 'nothing'}"
        )
    if lacking:
        raise UsageError(
            f"tool {name!r}: the function needs {_list(map(repr, lacking))},"
            " which the document's parameters do not declare"
        )


def _is_context(hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return ToolContext in get_args(hint)
    return hint is ToolContext


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the function behind a partial or a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function):
        return function
    return type(function).__call__


def _is_async(function: Callable[..., Any]) -> bool:
    plain = _plain(function)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise UsageError(
            f"tool {_name_of(function)!r} is a generator",
            "return a list: a tool answers once",
        )
    return inspect.iscoroutinefunction(plain)


def _name_of(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def _describe(function: Callable[..., Any]) -> str:
    text = parse_docstring(inspect.getdoc(_plain(function))).text
    return text or _name_of(function).strip("_").replace("_", " ")


def _suggest(missing: Iterable[str], known: Mapping[str, object]) -> str:
    close = {name: get_close_matches(name, known, n=1) for name in missing}
    guesses = [f"{near[0]!r} for {name!r}" for name, near in close.items() if near]
    how = "give it with --tools my_tools.py, or tools={...} in Python"
    if guesses:
        return f"did you mean {_list(guesses)}?"
    return f"{how}; given are: {_list(sorted(known))}" if known else how


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r} with tools")
    path = path.resolve()
    name = path.stem
    if name in sys.modules:
        name = f"talea_tools_{name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{str(path)!r} is no Python file")
    _make_importable(path.parent)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Dataclasses and pydantic look their module up by name.
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _import_failure(str(path), error) from error
    return module


def _import_module(name: str) -> ModuleType:
    _make_importable(Path.cwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _import_failure(name, error) from error


def _make_importable(folder: Path) -> None:
    """Let a file of tools import its neighbours, now and later, after all that is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _import_failure(source: str, error: BaseException) -> UsageError:
    """Say where an import failed: in the file itself, if it came that far."""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    else:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith("<frozen")
            and frame.filename != __file__
            and not frame.filename.startswith(str(Path(importlib.__file__).parent))
        ]
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else source
    hint = None
    if isinstance(error, ModuleNotFoundError):
        missing = str(error.name)
        hint = f"install {missing!r} where talea runs"
        if source == missing or source.startswith(f"{missing}."):
            hint = "name a file (tools.py), or a module that can be imported from here"
    elif isinstance(error, SystemExit):
        hint = "put what the file does as a program below `if __name__ == '__main__':`"
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    words = f"{type(error).__name__}: {reason}".rstrip(": ")
    return UsageError(f"the tools of {source!r} cannot be imported: {place}: {words}", hint)


async def call_at_once(calls: Iterable[Coroutine[Any, Any, _Answer]]) -> list[_Answer]:
    """Make the calls of tools that a model makes at once; give their answers in the same order.

    The first error ends the others. A TaskGroup, up to Python 3.12, then leaves a cancellation
    behind in the task that it is in, and a later timeout of it would be taken for another one's.
    """
    running = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*running)
    except BaseException:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise
