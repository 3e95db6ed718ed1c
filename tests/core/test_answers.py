"""Reading what models' servers answer: nothing that one of them may send breaks the reader."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talea.gateway.answers import begin_stream, read_answer, read_failure
from talea.gateway.cassette import Fault, ToolCall, Turn, loads_cassette
from talea.gateway.chat import CHAT, RESPONSES
from talea.gateway.meter import Exchange
from talea.gateway.recorder import Recorder
from talea.gateway.writing import dumps_cassette

# Shapes near to what is expected, with anything in any place.
LEAF = st.none() | st.booleans() | st.integers(-2, 10**30) | st.floats() | st.sampled_from(
    ["", "text", '{"a": 1}', '{"a": NaN}', "\ud83d"]
)  # fmt: skip


def shape(**fields: Any) -> st.SearchStrategy[Any]:
    return LEAF | st.fixed_dictionaries({}, optional=fields)


def several(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return LEAF | st.lists(one, max_size=3)


USAGE = shape(prompt_tokens=LEAF, completion_tokens=LEAF, input_tokens=LEAF, cost=LEAF)
ERROR = shape(code=LEAF, message=LEAF)
CALL = shape(index=LEAF, function=shape(name=LEAF, arguments=LEAF))
MESSAGE = shape(content=LEAF, refusal=LEAF, tool_calls=several(CALL))
CHOICE = shape(message=MESSAGE, delta=MESSAGE, finish_reason=LEAF)
COMPLETION = shape(choices=several(CHOICE), usage=USAGE, error=ERROR)
PART = shape(type=st.sampled_from(["output_text", "refusal"]), text=LEAF, refusal=LEAF)
ITEM = shape(
    type=st.sampled_from(["message", "function_call", "reasoning"]),
    name=LEAF,
    arguments=LEAF,
    content=several(PART),
)
RESPONSE = shape(output=several(ITEM), usage=USAGE, error=ERROR)
KINDS = [
    "response.output_text.delta",
    "response.function_call_arguments.delta",
    "response.output_item.added",
    "response.completed",
    "response.failed",
    "error",
]
EVENT = shape(
    type=st.sampled_from(KINDS),
    delta=LEAF,
    item=ITEM,
    output_index=LEAF,
    response=RESPONSE,
    code=LEAF,
    message=LEAF,
)


def check_kept(turn: Turn) -> None:
    """Record a turn, and read it back: it is the same, but for halves of characters."""
    recorder = Recorder()
    recorder(Exchange(1, None, "notes", "a", 1, CHAT, "m", False, "", 0, ()), turn)
    (kept,) = loads_cassette(dumps_cassette(recorder.cassette())).tasks["notes"]
    assert isinstance(kept, Turn)
    assert kept.fault == whole(turn.fault, Fault)
    assert (kept.text or "") == mend(turn.text or "")
    assert [(mend(call.name), call.arguments) for call in kept.tool_calls] == [
        (mend(call.name), whole(call, ToolCall).arguments) for call in turn.tool_calls
    ]
    assert kept.usage == turn.usage


def mend(text: str) -> str:
    return text.replace("\ud83d", "\ufffd")


def whole(value: Any, kind: type[Any]) -> Any:
    return value and kind.model_validate_json(mend(written(value)))


def written(value: Any) -> str:
    return json.dumps(value.model_dump(mode="json", exclude_unset=True), ensure_ascii=False)


@given(st.lists(COMPLETION, max_size=3), st.lists(EVENT, max_size=3))
def test_any_stream_can_be_read(chunks: list[Any], events: list[Any]) -> None:
    for form, told in ((CHAT, chunks), (RESPONSES, events)):
        stream = begin_stream(form)
        for one in told:
            stream.add(one)
        check_kept(stream.turn())


@given(COMPLETION, RESPONSE)
def test_any_answer_can_be_read(completion: Any, response: Any) -> None:
    for form, told in ((CHAT, completion), (RESPONSES, response)):
        turn = read_answer(form, told)
        if turn is not None:
            check_kept(turn)


@given(shape(error=ERROR))
def test_any_error_can_be_read(told: Any) -> None:
    turn = read_failure(500, None, json.dumps(told).encode())
    assert turn.fault is not None
    assert turn.fault.status == 500
    check_kept(turn)


@pytest.mark.parametrize("arguments", ['{"a": NaN}', '{"a": 1e999}', "[1]", "{", "", "[" * 9999])
def test_arguments_that_are_no_structure_stay_as_they_came(arguments: str) -> None:
    function = {"name": "search", "arguments": arguments}
    turn = read_answer(CHAT, {"choices": [{"message": {"tool_calls": [{"function": function}]}}]})
    assert turn is not None
    assert [(call.name, call.arguments) for call in turn.tool_calls] == [("search", arguments)]


def test_what_a_server_says_of_no_tokens_is_not_believed() -> None:
    choices = [{"message": {"content": "Hello."}}]
    for count in (True, -1, 1.5, "3", None, float("nan")):
        usage = {"prompt_tokens": count, "completion_tokens": 2, "cost": float("inf")}
        turn = read_answer(CHAT, {"choices": choices, "usage": usage})
        assert turn is not None
        used = turn.usage
        assert (turn.content, used.input_tokens, used.output_tokens) == ("Hello.", None, 2)
        assert used.cost is None
