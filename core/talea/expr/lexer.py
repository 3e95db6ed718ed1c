"""From an expression's source to a text of the same length that Python's parser may see.

The parser must never see what could overflow its stack, so length, nesting and number of tokens are
bounded here. What the language has beyond Python is masked, character for character, so that places
stay true: keys that are Python's keywords, line breaks, and the content of texts, which is read
here (Python refuses a line break inside a quoted text).
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass, field

from talea.errors import ExpressionError

MAX_SOURCE = 10_000
"""Characters of one expression."""
MAX_TOKENS = 1_000
"""Names, numbers, texts and operators of one expression."""
MAX_NESTING = 32
"""Levels of brackets, prefix operators and `else`. 199 parentheses overflow a 256 KB thread."""

TEXT = r"'[^'\\]*(?:\\.[^'\\]*)*'|\"[^\"\\]*(?:\\.[^\"\\]*)*\""
_TOKEN = re.compile(
    rf"""
    (?P<space>\s+)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.]))
  | (?P<text>{TEXT})
  | (?P<operator>\*\*|//|==|!=|<=|>=|:=|->|&&|\|\||[-+*/%<>()\[\]{{}},:.=])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPES = {
    "\\": "\\", "'": "'", '"': '"', "/": "/", "n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f",
}  # fmt: skip
_KEYWORDS = frozenset(
    {"and", "or", "not", "in", "is", "if", "else", "for", "True", "False", "None"}
)
_CLOSES = {")": "(", "]": "[", "}": "{"}
_OTHER_LANGUAGES = {
    "&&": "write `and`",
    "||": "write `or`",
    "!": "write `not`",
    "?": "write `a if condition else b`",
    "=": "write `==` to compare",
    ":=": "an expression gives no names",
    "**": "there are no powers",
    "|": "there are no filters: write a function, such as `upper(text)`",
    "#": "comments belong into the YAML",
    "$": "write a path, such as `inputs.topic`",
    "`": "write texts in quotes",
    "“": "write plain quotes",
    "”": "write plain quotes",
    "‘": "write plain quotes",
    "’": "write plain quotes",
}


@dataclass(slots=True)
class Masked:
    """A source that Python's parser may see, and what was masked in it.

    `texts` holds the content of each text by its start, `keys` the names of keys by their end.
    """

    code: str
    texts: dict[int, str] = field(default_factory=dict[int, str])
    keys: dict[int, str] = field(default_factory=dict[int, str])


def mask(source: str) -> Masked:
    """Read the tokens of an expression. Raises ExpressionError with the place."""
    if len(source) > MAX_SOURCE:
        message = f"the expression is longer than {MAX_SOURCE:,} characters"
        raise ExpressionError(message, source)
    masked = Masked("")
    pieces: list[str] = []
    nesting = _Nesting(source)
    before, kind_before, place, tokens = "", "", 0, 0
    while place < len(source):
        match = _TOKEN.match(source, place)
        if match is None:
            raise _unknown(source, place)
        token, kind = match[0], match.lastgroup or ""
        start, place = place, match.end()
        if kind == "space":
            pieces.append(" " * len(token))
            continue
        tokens += 1
        if tokens > MAX_TOKENS:
            message = f"the expression has more than {MAX_TOKENS:,} parts"
            raise ExpressionError(message, source, start, place)
        if kind == "name":
            kind = _kind_of_name(source, start, token, before)
        nesting.follow(token, kind, kind_before, start)
        if kind == "text":
            _check_before_text(source, start, place, before, kind_before)
            masked.texts[start] = _content(source, start, token)
            pieces.append(f"{token[0]}{'_' * (len(token) - 2)}{token[0]}")
        elif kind == "key" and keyword.iskeyword(token):
            masked.keys[place] = token
            pieces.append("_" * len(token))
        else:
            _check_operator(source, start, place, token, nesting.level)
            pieces.append(token)
        before, kind_before = token, "closed" if token in _CLOSES else kind
    nesting.end()
    if not tokens:
        raise ExpressionError("the expression is empty", source)
    masked.code = "".join(pieces)
    return masked


class _Nesting:
    """How deep the parser will have to recurse, told from the tokens alone."""

    __slots__ = ("brackets", "elses", "prefixes", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.brackets: list[tuple[str, int, int]] = []
        """The open ones: each with its place, and the prefixes and `else` before it."""
        self.elses = 0
        self.prefixes = 0

    @property
    def level(self) -> int:
        return len(self.brackets)

    def follow(self, token: str, kind: str, kind_before: str, start: int) -> None:
        if kind in {"number", "text", "key", "name"}:
            self.prefixes = 0
        elif kind == "keyword":
            self.prefixes = self.prefixes + 1 if token == "not" else 0
            self.elses += token == "else"
        elif token in "([{":
            self.brackets.append((token, start, self.elses + self.prefixes))
            self.elses, self.prefixes = self.elses + self.prefixes + 1, 0
        elif token in _CLOSES:
            if not self.brackets or self.brackets[-1][0] != _CLOSES[token]:
                raise ExpressionError(f"{token!r} closes nothing", self.source, start, start + 1)
            self.elses, self.prefixes = self.brackets.pop()[2], 0
        elif token == ",":
            self.elses = self.brackets[-1][2] + 1 if self.brackets else 0
        elif token in "+-" and kind_before in {"", "keyword", "operator"}:
            self.prefixes += 1
        if self.elses + self.prefixes > MAX_NESTING:
            message = f"the expression has more than {MAX_NESTING} levels"
            raise ExpressionError(message, self.source, start, start + len(token))

    def end(self) -> None:
        if self.brackets:
            bracket, start, _ = self.brackets[-1]
            raise ExpressionError(f"{bracket!r} is never closed", self.source, start, start + 1)


def _kind_of_name(source: str, start: int, token: str, before: str) -> str:
    if before == ".":
        return "key"
    if not keyword.iskeyword(token):
        return "name"
    if token not in _KEYWORDS:
        message = f"{token!r} is not part of the language"
        raise ExpressionError(message, source, start, start + len(token))
    return "keyword"


def _check_before_text(source: str, start: int, end: int, before: str, kind_before: str) -> None:
    if kind_before == "text":
        hint = "write `+` between them"
        raise ExpressionError("two texts side by side", source, start, end, hint=hint)
    if kind_before == "name":
        message = f"{before!r} cannot stand before a text"
        raise ExpressionError(message, source, start - len(before), end)


def _check_operator(source: str, start: int, end: int, token: str, level: int) -> None:
    if token == "=" and level:  # a named argument
        return
    if token in _OTHER_LANGUAGES:
        message = f"{token!r} is not part of the language"
        raise ExpressionError(message, source, start, end, hint=_OTHER_LANGUAGES[token])


def _unknown(source: str, place: int) -> ExpressionError:
    character = source[place]
    end = place + 1
    hint = _OTHER_LANGUAGES.get(character)
    if character in "'\"":
        message, end = "the text that begins here never ends", len(source)
    elif character.isdigit():
        message, hint = "this is not a number", "write it like 12, 0.5 or 1e3"
    elif character.isalpha():
        message, hint = (f"{character!r} cannot be part of a name", 'write ["key"] for other keys')
    elif character.isprintable():
        message = f"{character!r} is not part of the language"
    else:
        message = f"the character U+{ord(character):04X} is not part of the language"
    return ExpressionError(message, source, place, end, hint=hint)


def _content(source: str, start: int, token: str) -> str:
    """Give what a quoted text says. Line breaks are part of it, and CR LF is one of them."""

    def unescape(match: re.Match[str]) -> str:
        code, character = match.groups()
        place = start + 1 + match.start()
        if code is None:
            if character not in _ESCAPES:
                raise ExpressionError(
                    f"'\\{character}' is no escape", source, place, place + 2,
                    hint="write \\\\ for a backslash",
                )  # fmt: skip
            return _ESCAPES[character]
        number = int(code[1:], 16)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise ExpressionError(
                f"'\\{code}' is no character", source, place, place + 1 + len(code),
                hint="write \\U and eight digits beyond \\uffff",
            )  # fmt: skip
        return chr(number)

    content = token[1:-1]
    return _ESCAPE.sub(unescape, content) if "\\" in content else content
