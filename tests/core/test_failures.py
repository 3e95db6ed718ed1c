"""What went wrong, told of the errors that model clients raise."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import openai
import pytest

from talea.errors import ErrorType, TaskError
from talea.failures import MAX_LENGTH, scrub, to_task_error

CANARY = "sk-canary-0123456789abcdef"
REQUEST = httpx.Request("POST", "http://127.0.0.1/v1/chat/completions")


def status_error(
    status: int, error: object = None, headers: dict[str, str] | None = None
) -> openai.APIStatusError:
    """Make the error as the openai client does."""
    content = json.dumps({"error": error}) if error is not None else "<html>"
    response = httpx.Response(status, headers=headers, text=content, request=REQUEST)
    client = openai.OpenAI(api_key="x", http_client=httpx.Client(verify=False))
    with client:
        return client._make_status_error_from_response(response)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (429, None, ErrorType.RATE_LIMIT),
        (429, "insufficient_quota", ErrorType.MODEL_ERROR),
        (500, None, ErrorType.SERVER_ERROR),
        (503, "rate_limit_exceeded", ErrorType.SERVER_ERROR),
        (529, "overloaded_error", ErrorType.SERVER_ERROR),
        (408, None, ErrorType.SERVER_ERROR),
        (409, None, ErrorType.SERVER_ERROR),
        (409, "replay_exhausted", ErrorType.REPLAY_EXHAUSTED),
        (401, None, ErrorType.AUTHENTICATION),
        (403, None, ErrorType.AUTHENTICATION),
        (400, None, ErrorType.MODEL_ERROR),
        (400, "content_filter", ErrorType.REFUSED),
        (404, "model_not_found", ErrorType.MODEL_ERROR),
        (422, None, ErrorType.MODEL_ERROR),
    ],
)
def test_a_status_tells_the_type(status: int, code: str | None, expected: ErrorType) -> None:
    by_openai = status_error(status, {"message": "so it is", "code": code})
    response = by_openai.response
    by_httpx = httpx.HTTPStatusError("bad", request=REQUEST, response=response)
    for error in (by_openai, by_httpx):
        told = to_task_error(error)
        assert told.type is expected
        assert str(status) in told.message
        assert "so it is" in told.message
        assert told.__cause__ is error


def test_a_status_without_json_is_told_too() -> None:
    assert to_task_error(status_error(502)).type is ErrorType.SERVER_ERROR


@pytest.mark.parametrize(
    "error",
    [
        openai.APIConnectionError(request=REQUEST),
        openai.APITimeoutError(request=REQUEST),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("peer closed connection"),
        ConnectionResetError("reset"),
        TimeoutError(),
    ],
)
def test_what_breaks_on_the_way_is_a_connection_error(error: Exception) -> None:
    assert to_task_error(error).type is ErrorType.CONNECTION


def test_the_root_of_a_connection_error_is_told() -> None:
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = httpx.ConnectError("All connection attempts failed")
    assert "All connection attempts failed" in to_task_error(error).message


def garbage() -> Exception:
    try:
        json.loads("<html>")
    except ValueError as error:
        return error
    raise AssertionError


def test_an_answer_that_is_no_json_is_the_servers_fault() -> None:
    response = httpx.Response(200, text="<html>", request=REQUEST)
    invalid = openai.APIResponseValidationError(response, body=None)
    for error in (garbage(), invalid):
        assert to_task_error(error).type is ErrorType.SERVER_ERROR


def test_an_error_within_a_stream_is_told_by_its_code() -> None:
    body = {"message": "busy", "code": "rate_limit_exceeded"}
    error = openai.APIError("busy", REQUEST, body=body)
    assert to_task_error(error).type is ErrorType.RATE_LIMIT
    plain = openai.APIError("no", REQUEST, body=None)
    assert to_task_error(plain).type is ErrorType.MODEL_ERROR


def test_errors_of_the_clients_parser_are_told() -> None:
    assert to_task_error(openai.ContentFilterFinishReasonError()).type is ErrorType.REFUSED


def test_a_task_error_passes_as_it_is() -> None:
    error = TaskError("denied", "no")
    assert to_task_error(error) is error
    wrapper = RuntimeError("agent failed")
    wrapper.__cause__ = error
    assert to_task_error(wrapper) is error


def test_an_error_is_told_by_what_it_was_raised_from() -> None:
    wrapper = RuntimeError("the agent failed")
    wrapper.__cause__ = status_error(429, {"message": "slow down"}, {"retry-after": "7"})
    told = to_task_error(wrapper)
    assert (told.type, told.retry_after) == (ErrorType.RATE_LIMIT, 7.0)
    assert told.__cause__ is wrapper


@pytest.mark.parametrize(
    "error", [KeyError("x"), AttributeError("y"), RuntimeError(), OSError("z")]
)
def test_anything_else_is_internal(error: Exception) -> None:
    told = to_task_error(error)
    assert told.type is ErrorType.INTERNAL
    assert told.message.startswith(type(error).__name__)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after": "9", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({}, None),
    ],
)
def test_the_time_to_wait_is_read(headers: dict[str, str], expected: float | None) -> None:
    assert to_task_error(status_error(429, {}, headers)).retry_after == expected


def test_the_time_to_wait_may_be_a_date() -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    headers = {"retry-after": format_datetime(moment, usegmt=True)}
    told = to_task_error(status_error(503, {}, headers)).retry_after
    assert told is not None
    assert 3000 < told <= 3600


@pytest.mark.parametrize(
    "text",
    [
        f"Incorrect API key provided: {CANARY}.",
        f"Illegal header value b'Bearer {CANARY}'",
        f"https://user:{CANARY}@host/v1 failed",
        f'{{"api_key": "{CANARY}"}}',
        f"OPENAI_API_KEY={CANARY}",
        f"connect to http://127.0.0.1:1/run/{CANARY}x9-_Zk3/at",
        f"password: {CANARY}",
    ],
)
def test_nothing_like_a_key_is_repeated(text: str) -> None:
    assert "canary" not in scrub(text)
    assert "canary" not in to_task_error(RuntimeError(text)).message
    assert "canary" not in to_task_error(status_error(401, {"message": text})).message


@pytest.mark.parametrize(
    "text",
    [
        "This model's maximum context length is 128000 tokens.",
        "The model `gpt-5-mini` does not exist",
        "Unknown parameter: 'reasoning_effort_for_everything'",
    ],
)
def test_other_words_stay(text: str) -> None:
    assert scrub(text) == text


def test_a_message_is_one_short_line() -> None:
    long: Any = "word " * 10_000
    told = to_task_error(status_error(400, {"message": f"first\nsecond {long}"}))
    assert "\n" not in told.message
    assert len(told.message) < MAX_LENGTH + 60
