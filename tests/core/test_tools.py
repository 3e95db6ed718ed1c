"""Functions as tools: their schemas, their arguments, their results, and their binding by name."""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from talea import ir
from talea.errors import ErrorType, TaskError, UsageError
from talea.tools import (
    MAX_RESULT_BYTES,
    ToolContext,
    bind,
    call_at_once,
    from_function,
    load_tools,
    read_result,
)

if TYPE_CHECKING:
    from nowhere import Absent  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

CONTEXT = ToolContext("run1", "notes[0]", "analyst", "run1/notes[0]/1")


class Place(BaseModel):
    city: str
    floor: int = 0


@dataclass
class Point:
    x: int
    y: int = 0


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


def search(
    query: str,
    limit: Annotated[int, Field(ge=1, description="At most so many.")] = 10,
    since: date | None = None,
    order: Literal["new", "old"] = "new",
) -> list[str]:
    """Search the archive.

    It holds all news
    since 1990.

    Args:
        query: What to find,
            in plain words.
        limit (int): Unheard: the annotation says it.
        order: Which: first.

    Returns:
        query: Not a parameter.
    """
    return [query, str(limit), str(since), order]


def refused(function: Callable[..., Any], **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        from_function(function, **options)
    return str(caught.value)


def properties(function: Callable[..., Any]) -> dict[str, Any]:
    return from_function(function).parameters["properties"]


# Schemas


def test_a_function_becomes_a_tool_by_signature_and_docstring() -> None:
    tool = from_function(search)
    assert (tool.name, tool.is_async) == ("search", False)
    assert tool.description == "Search the archive.\n\nIt holds all news\nsince 1990."
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to find, in plain words."},
            "limit": {
                "type": "integer",
                "minimum": 1,
                "description": "At most so many.",
                "default": 10,
            },
            "since": {
                "anyOf": [{"type": "string", "format": "date"}, {"type": "null"}],
                "default": None,
            },
            "order": {
                "type": "string",
                "enum": ["new", "old"],
                "description": "Which: first.",
                "default": "new",
            },
        },
        "required": ["query"],
        "additionalProperties": False,
    }


def test_numpy_and_sphinx_docstrings_are_read() -> None:
    def numpy(a: int, b: int, c: str = "") -> None:
        """Add numbers.

        Parameters
        ----------
        a, b : int
            The numbers.

            Both of them.
        c : str, optional
            A word.

        Returns
        -------
        int
            The sum.
        """

    def sphinx(a: int, b: int = 0) -> None:
        """Add numbers.

        :param int a: the first
            of them
        :param b: the second
        :returns: the sum
        """

    assert from_function(numpy).description == "Add numbers."
    assert properties(numpy)["b"]["description"] == "The numbers. Both of them."
    assert properties(numpy)["c"]["description"] == "A word."
    assert from_function(sphinx).description == "Add numbers."
    assert properties(sphinx)["a"]["description"] == "the first of them"
    assert properties(sphinx)["b"]["description"] == "the second"


def test_a_plain_docstring_is_all_description() -> None:
    def plain(a: int) -> None:
        """Do: it. Note this."""

    def silent_one(a: int) -> None: ...

    assert from_function(plain).description == "Do: it. Note this."
    assert from_function(silent_one).description == "silent one"


def test_names_that_a_model_could_not_have_are_parameters_too() -> None:
    def odd(schema: str, model_config: int, _id: int, json: bool, copy: str = "c") -> None: ...

    tool = from_function(odd)
    given = {"schema": "s", "model_config": 1, "_id": 2, "json": True}
    assert tool.prepare(given) == given


def test_a_default_that_json_cannot_hold_only_makes_optional() -> None:
    def tool(a: Any = object(), b: float = float("inf")) -> None: ...  # noqa: B008

    assert "required" not in from_function(tool).parameters
    assert properties(tool) == {"a": {}, "b": {"type": "number"}}


def test_a_field_as_default_is_what_pydantic_makes_of_it() -> None:
    one, some = Field(ge=1), Field([1], description="some")

    def tool(a: int = one, b: list[int] = some) -> None: ...

    bound = from_function(tool)
    assert bound.parameters["required"] == ["a"]
    assert properties(tool)["b"]["description"] == "some"
    assert bound.prepare({"a": 1}) == {"a": 1, "b": [1]}
    with pytest.raises(TaskError):
        bound.prepare({"a": 0})


def test_partials_methods_and_callable_objects_are_tools() -> None:
    class Shop:
        def buy(self, what: str) -> str:
            """Buy it."""
            return what

        async def __call__(self, what: str) -> str:
            """Sell it."""
            return what

    method, called = from_function(Shop().buy), from_function(Shop())
    part = from_function(functools.partial(search, "cats"))
    assert (method.name, list(method.parameters["properties"])) == ("buy", ["what"])
    assert (called.description, called.is_async) == ("Sell it.", True)
    assert (part.name, "query" in part.parameters["properties"]) == ("search", False)


def test_a_decorated_function_keeps_its_signature() -> None:
    @functools.wraps(search)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return search(*args, **kwargs)

    assert from_function(wrapper).parameters == from_function(search).parameters


def test_what_cannot_be_filled_by_name_is_refused() -> None:
    def starred(*words: str) -> None: ...
    def keywords(**options: str) -> None: ...
    def positional(a: int, /) -> None: ...

    assert "'*words'" in refused(starred)
    assert "'**options'" in refused(keywords)
    assert "no `/`" in refused(positional)


def test_types_that_json_cannot_hold_are_refused_by_name() -> None:
    class Socket: ...

    def opaque(a: Any) -> None: ...

    opaque.__annotations__["a"] = Socket
    message = refused(opaque)
    assert "'opaque'" in message
    assert "Socket" in message


def test_pythons_own_typed_dict_is_a_type_or_refused_with_another_that_is() -> None:
    class Row(typing.TypedDict):
        a: int

    def store(row: Any) -> None: ...

    store.__annotations__["row"] = Row
    if sys.version_info >= (3, 12):
        assert from_function(store).prepare({"row": {"a": 1}}) == {"row": {"a": 1}}
    else:
        message = refused(store)
        assert "Python's own TypedDict cannot be read" in message
        assert "import TypedDict from typing_extensions" in message


def test_a_type_that_cannot_be_resolved_is_refused_except_as_a_result() -> None:
    def wants(a: Absent) -> None: ...
    def gives(a: int) -> Absent: ...

    assert "'Absent' is not defined" in refused(wants)
    assert from_function(gives).prepare({"a": 1}) == {"a": 1}


def test_a_generator_is_refused() -> None:
    def drip(a: int) -> Iterator[int]:
        yield a

    assert "generator" in refused(drip)


# Arguments


def test_arguments_become_the_functions_own_types() -> None:
    def order(
        place: Place, points: list[Point], size: Size, price: Decimal, day: date, tags: set[str]
    ) -> None: ...

    given = {
        "place": {"city": "Rome"},
        "points": [{"x": 1}],
        "size": "l",
        "price": "1.10",
        "day": "2026-01-02",
        "tags": ["a", "b"],
    }
    assert from_function(order).prepare(given) == {
        "place": Place(city="Rome"),
        "points": [Point(1)],
        "size": Size.LARGE,
        "price": Decimal("1.10"),
        "day": date(2026, 1, 2),
        "tags": {"a", "b"},
    }


def test_arguments_left_out_are_left_to_the_function() -> None:
    tool = from_function(search)
    assert tool.prepare({"query": "cats"}) == {"query": "cats"}
    assert tool.function(**tool.prepare({"query": "cats", "since": "2026-01-02"})) == [
        *("cats", "10", "2026-01-02", "new")
    ]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({}, "query"),
        ({"query": 1}, "query"),
        ({"query": "a", "limit": "3"}, "limit"),
        ({"query": "a", "limit": True}, "limit"),
        ({"query": "a", "limit": 0}, "limit"),
        ({"query": "a", "qurey": "b"}, "qurey"),
        ({"query": "a", "since": "soon"}, "since"),
        ([], "object"),
    ],
)
def test_unfit_arguments_are_told_by_name(arguments: Any, word: str) -> None:
    with pytest.raises(TaskError, match="'search'") as caught:
        from_function(search).prepare(arguments)
    assert caught.value.type is ErrorType.INVALID_ARGUMENTS
    assert word in caught.value.message


def test_a_long_argument_is_not_repeated() -> None:
    with pytest.raises(TaskError) as caught:
        from_function(search).prepare({"query": "a", "since": "x" * 10_000})
    assert len(caught.value.message) < 300


def test_context_and_key_are_filled_and_unknown_to_the_model() -> None:
    def pay(
        amount: int, context: ToolContext, maybe: ToolContext | None = None, *, idempotency_key: str
    ) -> None: ...

    tool = from_function(pay)
    assert list(tool.parameters["properties"]) == ["amount"]
    assert tool.prepare({"amount": 1}, CONTEXT) == {
        "amount": 1,
        "context": CONTEXT,
        "maybe": CONTEXT,
        "idempotency_key": "run1/notes[0]/1",
    }
    with pytest.raises(TaskError):
        tool.prepare({"amount": 1, "idempotency_key": "mine"}, CONTEXT)
    with pytest.raises(TypeError):
        tool.prepare({"amount": 1})


# Results


@dataclass
class Report:
    title: str
    places: list[Place] = field(default_factory=list[Place])


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("text {{ }}", "text {{ }}"),
        (None, None),
        ([1, 2.5, True, {"a": "ä"}], [1, 2.5, True, {"a": "ä"}]),
        (Place(city="Rome"), {"city": "Rome", "floor": 0}),
        (
            Report("r", [Place(city="Rome")]),
            {"title": "r", "places": [{"city": "Rome", "floor": 0}]},
        ),
        ((date(2026, 1, 2), Size.SMALL), ["2026-01-02", "s"]),
        (10**30, 10**30),
    ],
)
def test_results_are_json_data(value: Any, data: Any) -> None:
    assert read_result("t", value) == data


def cycle() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    "value", [object(), float("nan"), [float("inf")], b"\xff", "\ud800", cycle(), {"a": search}]
)
def test_what_is_no_json_is_a_tool_error(value: Any) -> None:
    with pytest.raises(
        TaskError, match="'t' returned a value of type .* that is no JSON"
    ) as caught:
        read_result("t", value)
    assert caught.value.type is ErrorType.TOOL_ERROR


def test_a_huge_result_is_refused() -> None:
    assert read_result("t", "x" * (MAX_RESULT_BYTES - 2))
    for huge in ("x" * MAX_RESULT_BYTES, ["ä" * (MAX_RESULT_BYTES // 2)]):
        with pytest.raises(TaskError, match="10 MB are allowed") as caught:
            read_result("t", huge)
        assert caught.value.type is ErrorType.TOOL_ERROR


# Binding


def test_the_document_decides_what_the_model_sees() -> None:
    declared = {
        "type": "object",
        "properties": {"query": {"type": "string", "maxLength": 5}},
        "required": ["query"],
    }
    tools = {"find": ir.Tool(description="Find it.", parameters=declared), "search": ir.Tool()}
    bound = bind(tools, {"find": search, "search": search})
    assert (bound["find"].name, bound["find"].description) == ("find", "Find it.")
    assert bound["find"].parameters == declared
    assert bound["search"].description.startswith("Search the archive.")
    assert bound["find"].prepare({"query": "cats"}) == {"query": "cats"}
    for arguments in ({"query": "too long"}, {"query": "cats", "colour": "red"}):
        with pytest.raises(TaskError):
            bound["find"].prepare(arguments)


def test_what_the_document_declares_the_function_must_take() -> None:
    extra = {"type": "object", "properties": {"query": {}, "colour": {}}}
    lacking = {"type": "object", "properties": {"limit": {"type": "integer"}}}
    assert "declares 'colour'" in refused(search, parameters=extra)
    assert "needs 'query'" in refused(search, parameters=lacking)
    broken = {"type": "object", "properties": {"query": {"type": "strin"}}}
    assert "no usable schema" in refused(search, parameters=broken)


def test_the_callers_code_comes_before_a_plugins() -> None:
    def own(a: int) -> None: ...

    tools = {"x": ir.Tool(), "y": ir.Tool()}
    bound = bind(tools, {"x": own}, {"x": search, "y": from_function(search)})
    assert bound["x"].function is own
    assert (bound["y"].name, bound["y"].function) == ("y", search)


def test_all_that_is_unbound_or_unusable_is_told_at_once() -> None:
    def starred(*words: str) -> None: ...

    tools = {name: ir.Tool() for name in ("serch", "mail", "starred")}
    with pytest.raises(UsageError) as caught:
        bind(tools, {"search": search, "starred": starred})
    message = str(caught.value)
    assert "'serch', 'mail'" in message
    assert "did you mean 'search' for 'serch'?" in message
    assert "*words" in message


def test_without_any_code_the_way_to_give_it_is_told() -> None:
    with pytest.raises(UsageError, match="--tools"):
        bind({"search": ir.Tool()})


# Files


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder to write modules to; what they change in the interpreter is undone."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, text: str, name: str = "my_tools.py") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def failure(source: str | Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_tools(source)
    return str(caught.value)


def test_a_file_gives_the_public_functions_defined_there(folder: Path) -> None:
    write(folder, "def helper(a: int): ...\n", "neighbour.py")
    source = write(
        folder,
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from json import dumps\n"
        "from neighbour import helper\n"
        "@dataclass\n"
        "class Point:\n    x: int\n"
        "def move(to: Point): return to\n"
        "async def wait(s: float): ...\n"
        "def _private(): ...\n"
        "value = 3\n",
    )
    found = load_tools(source)
    assert list(found) == ["move", "wait"]
    assert from_function(found["move"]).prepare({"to": {"x": 1}})["to"].x == 1
    assert from_function(found["wait"]).is_async
    assert list(load_tools(Path(source))) == ["move", "wait"]


def test_all_is_respected(folder: Path) -> None:
    text = "from json import dumps\n__all__ = ['dumps', 'value']\nvalue = 3\ndef other(): ...\n"
    assert list(load_tools(write(folder, text))) == ["dumps"]
    assert "'absent'" in failure(write(folder, "__all__ = ['absent']\n", "b.py"))


def test_a_module_is_found_from_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "shop").mkdir()
    write(folder, "def buy(what: str): ...\n", "shop/tools_of_shop.py")
    monkeypatch.chdir(folder)
    assert list(load_tools("shop.tools_of_shop")) == ["buy"]
    message = failure("shop.absent")
    assert "No module named 'shop.absent'" in message
    assert "name a file" in message


def test_a_failing_import_is_told_with_file_line_and_hint(folder: Path) -> None:
    cases = {
        "def f(:\n": (":1: SyntaxError", ""),
        "import os\nimport absent_module\n": (":2: ModuleNotFoundError", "install 'absent_module'"),
        "\n\n1 / 0\n": (":3: ZeroDivisionError", ""),
        "import sys\nsys.exit(2)\n": (":2: SystemExit: 2", "__name__"),
        "import json\njson.loads('x')\n": ("JSONDecodeError", ""),
    }
    for i, (text, (place, hint)) in enumerate(cases.items()):
        source = write(folder, text, f"failing_{i}.py")
        message = failure(source)
        assert place in message
        assert source in message
        assert hint in message
        assert f"failing_{i}" not in sys.modules


def test_a_file_without_functions_is_told(folder: Path) -> None:
    assert "defines no public function" in failure(write(folder, "x = 1\n"))
    assert "there is no file" in failure(folder / "absent.py")


# Calls at once ------------------------------------------------------------------------------------


def test_the_first_error_of_calls_at_once_ends_the_others_and_leaves_nothing_behind() -> None:
    ended: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("hang")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("first")

    async def make() -> int:
        with pytest.raises(KeyError):
            await call_at_once([hang(), fail()])
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(make()) == 0
    assert ended == ["hang"]


def test_a_cancellation_ends_all_calls_at_once() -> None:
    ended: list[int] = []

    async def hang(number: int) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(number)

    async def make() -> None:
        task = asyncio.ensure_future(call_at_once([hang(1), hang(2)]))
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(make())
    assert ended == [1, 2]
