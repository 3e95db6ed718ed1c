"""A page of HTML that needs no network: what goes in is escaped unless it is HTML by type."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]"
)
_VOID = frozenset({"meta", "img", "input", "br"})
_SPECIAL = ("\u2028", "\u2029", "<", ">", "&")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def visible(text: str) -> str:
    """Show what a reader would not see: control characters, and those that turn text around."""
    return _UNSEEN.sub(_mark, text)


def _mark(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return f"⟨{code:04X}⟩"


def tag(name: str, /, *inside: str | None, **attributes: str | float | bool | None) -> Html:
    """Make an element. `class_` is the attribute `class`, `aria_label` is `aria-label`.

    An attribute that is None or False is left out, one that is True has no value.
    """
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        parts.append(f" {key.rstrip('_').replace('_', '-')}")
        if value is not True:
            parts.append(f'="{escape(visible(str(value)))}"')
    parts.append(">")
    if name not in _VOID:
        parts += [_html(part) for part in inside if part is not None]
        parts.append(f"</{name}>")
    return Html("".join(parts))


def join(*parts: str | None) -> Html:
    """Put parts beside each other."""
    return Html("".join(_html(part) for part in parts if part is not None))


def _html(part: str) -> str:
    return part if isinstance(part, Html) else escape(visible(part))


def header(name: str, above: str, about: str | None, facts: Mapping[str, str]) -> Html:
    """Make the head of a page: its name, a line above it, and facts below."""
    switch = tag("button", "Dark", type="button", id="theme", class_="plain", hidden=True)
    told = [join(tag("span", f"{key} ", tag("b", value)), " ") for key, value in facts.items()]
    return tag(
        "header",
        tag("div", tag("p", above, class_="kicker"), switch, class_="line"),
        tag("h1", name),
        tag("p", about, class_="about") if about else None,
        tag("p", *told, class_="facts") if told else None,
        class_="top wide",
    )


def title(words: str, about: str | None = None) -> Html:
    """Head a part of a page; a section is named by it."""
    name = words.lower()
    return tag(
        "div",
        tag("h2", words, id=f"{name}-title"),
        tag("p", about) if about else None,
        class_="title",
    )


def counted(number: int, word: str) -> str:
    """Give `1 run`, `30 runs`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def data(name: str, value: Any) -> Html:
    """Embed data, as JSON that a script reads by the element's id. A `str` is JSON already."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    for character in _SPECIAL:
        # Within JSON these stand in strings alone, where an escape means the same.
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{escape(name)}">{text}</script>\n')


def asset(name: str) -> str:
    """Read a file that lies beside this module."""
    return files("talea.compare").joinpath("assets", name).read_text(encoding="utf-8")


def policy(styles: list[str], scripts: list[str], *, forms: bool = False) -> str:
    """Give a content security policy that allows these texts, pictures within the page, and no
    more; trusted types keep scripts from making HTML of data."""
    rules: Mapping[str, str] = {
        "default-src": "'none'",
        "style-src": " ".join(map(_digest, styles)),
        "script-src": " ".join(map(_digest, scripts)) or "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'self'" if forms else "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@dataclass(slots=True, frozen=True)
class Page:
    """A whole page, and the policy that stands in it: a server sends it as well."""

    html: str
    policy: str


def document(
    title: str, *body: str, scripts: tuple[str, ...] = ("theme.js",), forms: bool = False
) -> Page:
    """Make a whole page of its body and these scripts, which run as one, in this order."""
    style = asset("page.css")
    script = "\n".join(asset(name) for name in scripts)
    allowed = policy([style], [script], forms=forms)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=allowed),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Html(style)),
    )
    program = tag("script", Html(script), type="module")
    inside = tag("body", *body, program)
    return Page(f'<!doctype html>\n<html lang="en">{head}\n{inside}</html>\n', allowed)
