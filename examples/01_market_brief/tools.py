"""The tools of the market brief: plain functions over the archive that lies beside them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_ARCHIVE = json.loads((Path(__file__).parent / "archive.json").read_text(encoding="utf-8"))
_PROMISES = ("guaranteed", "certain to", "without risk", "you should buy", "will rise")


def search(query: str, region: str, limit: int = 3) -> list[dict[str, Any]]:
    """Search the news archive.

    Args:
        query: a few words.
        region: the region that the articles are about.
        limit: how many articles to give at most.
    """
    words = set(re.findall(r"[a-z]+", query.lower()))
    found = [
        (len(words & set(re.findall(r"[a-z]+", f"{one['title']} {one['text']}".lower()))), one)
        for one in _ARCHIVE["articles"]
        if one["region"] == region
    ]
    ranked = sorted(found, key=lambda pair: (-pair[0], pair[1]["date"]))
    return [article for matches, article in ranked[:limit] if matches]


def price_index(region: str) -> dict[str, Any]:
    """Give the yearly price index of a region, and its change over the last year."""
    years = _ARCHIVE["price_index"][region]
    before, last = list(years.values())[-2:]
    return {"usd_per_kwh": years, "change_percent": round((last - before) / before * 100, 1)}


def legal_check(text: str) -> dict[str, Any]:
    """Find wording that reads like a promise or advice, and give the notice to print."""
    findings = [f"the wording {promise!r}" for promise in _PROMISES if promise in text.lower()]
    notice = "*This brief describes a market. It is not advice to buy or sell anything.*"
    return {"findings": findings, "notice": notice}
