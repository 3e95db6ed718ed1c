"""A cassette as YAML that people can read and talea reads back as the same."""

from __future__ import annotations

import re
from typing import Any

import yaml

from talea.gateway.cassette import Cassette

_PLAIN = re.compile(r"[A-Za-z_/][\w ,.!?/'()\[\]-]*[\w.!?)\]]|[A-Za-z_]", re.ASCII)
"""Text that needs no quotes, whatever a reader takes words for: numbers begin otherwise."""
_TORN = re.compile(r"[^\S\n ]|\s\n|^\s|\n\s*\Z(?<!\S\n)")
"""What a block of lines does not keep, or PyYAML does not write as one."""
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_ESCAPED = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
"""What may stand in no document, and which PyYAML would write as it is."""


def dumps_cassette(cassette: Cassette) -> str:
    """Write a cassette as YAML: what is left to defaults in it is left out."""
    data = cassette.model_dump(mode="json", exclude_unset=True)
    text = _dump(data, allow_unicode=True)
    return _dump(data, allow_unicode=False) if _ESCAPED.search(text) else text


def _dump(data: Any, *, allow_unicode: bool) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=allow_unicode, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes text so that YAML 1.1 and 1.2 read the same of it, and each thing in its place."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write what occurs twice twice: a document of talea's has no anchors."""
        return True


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Write plain words plainly, lines as lines, and any other text in quotes."""
    # Half of a surrogate pair, which a model's tokens may part, is in no document.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    style = '"'
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        style = None
    elif "\n" in text.strip("\n") and not _TORN.search(text):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)  # pyright: ignore[reportUnknownMemberType]


_Dumper.add_representer(str, _represent)
