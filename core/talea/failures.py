"""Why a task failed, told of whatever was raised: one place maps errors, for all frameworks.

Every framework raises its model client's errors or subclasses of them, so they are told by status
code and by class name, and no client is imported.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

from talea.errors import ErrorType, TaskError

MAX_LENGTH = 200
_MAX_CAUSES = 10
_TRANSIENT = {408, 409, 425}
"""Statuses by which a server says that the same request may well succeed later."""

_CONNECTION = {
    "APIConnectionError",  # openai and anthropic; APITimeoutError is one
    "TransportError",  # httpx: timeouts, broken connections, broken protocol
    "ClientConnectionError",  # aiohttp
    "ServerTimeoutError",
    "ClientPayloadError",
    "ConnectionError",  # Python's own, and requests'
    "Timeout",
    "TimeoutError",
    "gaierror",
    "SSLError",
}
UNREACHABLE = "talea_unreachable"
"""The code of the error that the gateway answers where the model's server cannot be reached."""
_UNREADABLE = {"JSONDecodeError", "APIResponseValidationError", "UnicodeDecodeError"}
_BY_CODE = (
    ("talea_limit", ErrorType.LIMIT_EXCEEDED),
    ("replay_exhausted", ErrorType.REPLAY_EXHAUSTED),
    ("content_filter", ErrorType.REFUSED),
    ("content_policy_violation", ErrorType.REFUSED),
    ("insufficient_quota", ErrorType.MODEL_ERROR),  # Waiting does not help.
    ("rate_limit", ErrorType.RATE_LIMIT),
    ("overloaded", ErrorType.SERVER_ERROR),
    ("server_error", ErrorType.SERVER_ERROR),
)

_SECRETS = (
    (re.compile(r"://[^/\s@]+@"), "://***@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s'\"]+"), r"\1 ***"),
    (
        re.compile(
            r"(?i)\b((?:api|access|secret|private|auth)[-_ ]?(?:key|token)(?: provided)?"
            r"|authorization"
            r"|token|secret|password)([\"']?\s*[:=]\s*[\"']?)[^\s'\",;]+"
        ),
        r"\1\2***",
    ),
    (
        re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|pplx|AIza|ghp|csk|fw)[-_]?[\w*-]{8,}"),
        "***",
    ),
    # What is left of long random text: letters and digits mixed, such as tokens in paths.
    (re.compile(r"(?=[\w+=-]*\d)(?=[\w+=-]*[A-Za-z])[\w+=-]{24,}"), "***"),
)


_READ = set[str]()
"""Copied where it is gone through: another thread may be reading a further one."""
_SHORTEST_SECRET = 8
"""A shorter one would blot out words that only look like it."""


def remember_secret(secret: str) -> None:
    """Keep in mind a secret that was read in this process, so that no message repeats it."""
    if len(secret) >= _SHORTEST_SECRET:
        _READ.add(secret)


def without_secrets(value: Any) -> Any:
    """Give JSON data in which no text holds a secret that was read in this process."""
    if isinstance(value, str):
        for secret in tuple(_READ):
            value = value.replace(secret, "***")
        return value
    if isinstance(value, list):
        return [without_secrets(part) for part in cast("list[Any]", value)]
    if isinstance(value, dict):
        parts = cast("dict[str, Any]", value).items()
        return {without_secrets(key): without_secrets(part) for key, part in parts}
    return value


def hide_secrets(text: str) -> str:
    """Blot out the secrets that were read in this process."""
    for secret in tuple(_READ):
        text = text.replace(secret, "***")
    return text


def harmless(error: BaseException | None) -> BaseException | None:
    """Give an error as the cause of a failure; None if its words, or its causes', tell a secret.

    A server may repeat the key that it was sent, and a traceback prints all of it.
    """
    seen: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if seen is None:
            return error
        words = _written(seen, str) + _written(seen, repr)
        if any(secret in words for secret in tuple(_READ)):
            return None
        seen = seen.__cause__ or seen.__context__
    return None


def _written(error: BaseException, write: Callable[[object], str]) -> str:
    """Give an error's own words; none where its class, a stranger's, cannot even tell."""
    try:
        return write(error)
    except Exception:  # noqa: BLE001
        return ""


def to_task_error(error: BaseException) -> TaskError:
    """Tell what failed. A `TaskError` passes as it is; what is not known is `internal`.

    Where the error itself says nothing, the ones that it was raised from are asked.
    """
    if isinstance(error, TaskError):
        return error
    for cause in _causes(error):
        if isinstance(cause, TaskError):
            return cause
        told = _tell(cause)
        if told is not None:
            told.__cause__ = error
            return told
    told = TaskError(ErrorType.INTERNAL, f"{type(error).__name__}: {_words(error)}".rstrip(": "))
    told.__cause__ = error
    return told


def scrub(text: str) -> str:
    """Make one short line of a message, without anything that looks like a secret."""
    line = " ".join(hide_secrets(text).split())
    for pattern, instead in _SECRETS:
        line = pattern.sub(instead, line[: 10 * MAX_LENGTH])
    return line if len(line) <= MAX_LENGTH else f"{line[: MAX_LENGTH - 1]}…"


def said_by(error: BaseException, *, first_line: bool = False) -> str:
    """Give the text of any exception, fit to be shown."""
    text = _written(error, str).strip()
    return scrub("".join(text.splitlines()[:1]) if first_line else text)


def root_of(error: BaseException) -> str:
    """Name what an error came of in the first place, fit to be shown."""
    root = list(_causes(error))[-1]
    return f"{type(root).__name__}: {_words(root)}".rstrip(": ")


def _tell(error: BaseException) -> TaskError | None:
    names = {base.__name__ for base in type(error).__mro__}
    status, code = _status(error), _code(error)
    known = next((kind for word, kind in _BY_CODE if word in code), None)
    if UNREACHABLE in code:
        return TaskError(ErrorType.CONNECTION, _words(error))
    if names & _UNREADABLE:
        return TaskError(ErrorType.SERVER_ERROR, "the model's answer cannot be read: it is no JSON")
    if status is not None:
        kind = known if known is not None and status < 500 else _by_status(status)
        if kind is ErrorType.LIMIT_EXCEEDED:
            return TaskError(kind, _words(error))  # The gateway's word: no server was asked.
        message = f"the model's server answered {status}: {_words(error)}".rstrip(": ")
        return TaskError(kind, message, retry_after=_retry_after(error))
    if "ContentFilterFinishReasonError" in names:
        return TaskError(ErrorType.REFUSED, "the model's content filter stopped the answer")
    if "LengthFinishReasonError" in names:
        return TaskError(ErrorType.MODEL_ERROR, "the answer was cut off at the token limit")
    if names & _CONNECTION:
        return TaskError(ErrorType.CONNECTION, f"no connection to the model: {root_of(error)}")
    if known is not None or "APIError" in names:  # An error that comes within a stream.
        return TaskError(known or ErrorType.MODEL_ERROR, f"the model failed: {_words(error)}")
    return None


def _by_status(status: int) -> ErrorType:
    if status == 429:
        return ErrorType.RATE_LIMIT
    if status >= 500 or status in _TRANSIENT:
        return ErrorType.SERVER_ERROR
    return ErrorType.AUTHENTICATION if status in (401, 403) else ErrorType.MODEL_ERROR


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error and those it was raised from; of a group, the first."""
    current: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if current is None:
            return
        yield current
        if isinstance(current, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", current)
            current = group.exceptions[0]
        else:
            current = current.__cause__


def _status(error: BaseException) -> int | None:
    """Find an HTTP status of an error, as the clients store it in one place or another."""
    response = getattr(error, "response", None)
    for value in (
        getattr(error, "status_code", None),
        getattr(response, "status_code", None),
        getattr(error, "code", None),  # google's, urllib's
    ):
        if isinstance(value, int) and not isinstance(value, bool) and 300 <= value <= 599:
            return value
    return None


def _code(error: BaseException) -> str:
    """Give all codes by which a server names an error, as one lower-case text."""
    body = _body(error)
    codes = [getattr(error, "code", None), getattr(error, "type", None)]
    codes += [body.get("code"), body.get("type")]
    return " ".join(code for code in codes if isinstance(code, str)).lower()


def _body(error: BaseException) -> Mapping[str, Any]:
    """Give the error object that a server sent, `{"error": {…}}` opened."""
    body: Any = getattr(error, "body", None)
    if body is None:
        try:
            body = json.loads(getattr(getattr(error, "response", None), "text", ""))
        except (
            ValueError,
            TypeError,
            RuntimeError,
        ):  # A stream that was not read: RuntimeError.
            return {}
    if not isinstance(body, Mapping):
        return {}
    body = cast("Mapping[str, Any]", body)
    inner = body.get("error")
    return cast("Mapping[str, Any]", inner) if isinstance(inner, Mapping) else body


def _words(error: BaseException) -> str:
    """Give an error's own words, fit to be shown."""
    message = _body(error).get("message")
    if isinstance(message, str):
        return scrub(message)
    return said_by(error, first_line=True)


def _retry_after(error: BaseException) -> float | None:
    """Read how many seconds a server asks to wait: milliseconds, seconds or an HTTP date."""
    response = getattr(error, "response", None)
    headers: Any = getattr(response, "headers", None) or getattr(error, "headers", None) or {}
    exact = _number(headers.get("retry-after-ms"))
    if exact is not None:
        return exact / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or not isinstance(value, str):
        return seconds
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
