"""The tools of the data pipeline: plain functions that know nothing of workflows."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean, median
from typing import Any

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Reading:
    """One cleaned reading of a meter."""

    site: str
    time: str
    kwh: float

    @property
    def hour(self) -> int:
        """The hour of the day."""
        return datetime.fromisoformat(self.time).hour


def read_csv(path: str) -> list[dict[str, str]]:
    """Read the rows of a CSV file; a relative path is one beside this file."""
    with (_HERE / path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def clean(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Bring readings into one form: mend units and names, drop what is missing or doubled."""
    kept: dict[tuple[str, str], Reading] = {}
    dropped: list[str] = []
    mended = 0
    for row in rows:
        site, time = row["site"].strip().lower(), row["time"]
        number, _, unit = row["kwh"].partition(" ")
        try:
            kwh = float(number) / (1000 if unit == "Wh" else 1)
        except ValueError:
            dropped.append(f"{site} {time} (no reading)")
            continue
        if kwh < 0:
            dropped.append(f"{site} {time} (negative)")
        elif (site, time) in kept:
            dropped.append(f"{site} {time} (twice)")
        else:
            kept[site, time] = Reading(site, time, round(kwh, 2))
            mended += site != row["site"] or bool(unit)
    return {"rows": list(kept.values()), "mended": mended, "dropped": dropped}


def summarise(site: str, rows: list[Reading]) -> dict[str, Any]:
    """Sum one site up, and find readings far from what is usual at their hour.

    Far is more than 50 percent and 8 kWh from the median of the same hour on the other days.
    """
    by_hour: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        by_hour[row.hour].append(row.kwh)
    usual = {hour: median(values) for hour, values in by_hour.items()}
    outliers = [
        {**asdict(row), "usual": round(usual[row.hour], 1)}
        for row in rows
        if abs(row.kwh - usual[row.hour]) > max(8.0, 0.5 * usual[row.hour])
    ]
    peak = max(usual, key=lambda hour: usual[hour])
    values = [row.kwh for row in rows]
    return {
        "site": site,
        "kwh": round(sum(values), 1),
        "mean": round(mean(values), 1),
        "peak": f"{peak:02d}:00",
        "outliers": outliers,
    }


def write_text(path: str, text: str) -> str:
    """Write a text file and give its path."""
    Path(path).write_text(text, encoding="utf-8")
    return path
