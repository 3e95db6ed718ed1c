"""A plan as SVG, and as a page that holds the SVG and nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from itertools import pairwise

from talea.drawing.layout import (
    FRAME,
    LINE_HEIGHT,
    LINE_SIZE,
    PADDING,
    TITLE_SIZE,
    Layout,
    Line,
    Placed,
    Point,
    lay_out,
    text_width,
)
from talea.drawing.scene import clip, make_scene
from talea.plan.graph import Plan

_MARGIN = 24.0
_HEADING = 34.0
_FONT = "ui-sans-serif, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"
_COLOURS = {
    "agent": ("#e8f0fe", "#3b6fc4"),
    "tool": ("#fff3d6", "#b7791f"),
    "value": ("#f1f3f5", "#6b7280"),
    "workflow": ("#f6fbfa", "#2a8577"),
    "tasks": ("#fbfbfd", "#8a8fa3"),
    "team": ("#f1e9fd", "#7a4fc0"),
    "ask": ("#fde8ef", "#c2416b"),
}
_INK, _GREY, _ARROW = "#1a1d23", "#4b5261", "#5b6270"


def draw_svg(plan: Plan) -> str:
    """Give the picture as one SVG document."""
    return "".join(_document(plan)) + "\n"


def draw_html(plan: Plan) -> str:
    """Give a page that holds the picture. Its policy allows its own style and nothing else."""
    style = (
        "body{margin:2rem;font-family:system-ui,sans-serif;background:#fff;color:#1a1d23}"
        "svg{max-width:100%;height:auto}p{max-width:60rem;color:#4b5261}"
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    name = escape(clip(plan.name, 200))
    described = plan.workflow.description if plan.scope is None else None
    about = f"<p>{escape(clip(described, 2000))}</p>\n" if described else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{name}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"{about}{draw_svg(plan)}</body>\n</html>\n"
    )


def _document(plan: Plan) -> Iterator[str]:
    layout = lay_out(make_scene(plan))
    name = clip(plan.name, 100)
    width = max(layout.width, text_width(name, 17, bold=True)) + 2 * _MARGIN
    height = layout.height + 2 * _MARGIN + _HEADING
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(width)}" height="{_n(height)}"'
        f' viewBox="0 0 {_n(width)} {_n(height)}" role="img" aria-label="{escape(name)}"'
        f' font-family="{_FONT}">\n<title>{escape(name)}</title>\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8"'
        f' markerHeight="8" orient="auto"><path d="M0 0.5 8 4 0 7.5z" fill="{_ARROW}"/></marker>'
        "</defs>\n"
        f'<rect width="{_n(width)}" height="{_n(height)}" fill="#ffffff"/>\n'
    )
    yield _text(_MARGIN, _MARGIN + 15, name, 17, _INK, bold=True)
    yield from _layout(layout, ((width - layout.width) / 2, _MARGIN + _HEADING))
    yield "</svg>"


def _layout(layout: Layout, at: Point) -> Iterator[str]:
    yield f'<g transform="translate({_n(at[0])} {_n(at[1])})">\n'
    for line in layout.lines:
        yield _line(line)
    for placed in layout.boxes:
        yield from _placed(placed)
    yield from _labels(layout.lines)
    yield "</g>\n"


def _placed(placed: Placed) -> Iterator[str]:
    box = placed.box
    fill, stroke = _COLOURS[box.kind]
    yield f"<g>\n<title>{escape(box.title)}: {escape('; '.join(box.lines))}</title>\n"
    if box.many:
        yield _shape(placed, "#ffffff", stroke, 5.0)
    yield _shape(placed, fill, stroke)
    x = placed.x + (FRAME if placed.inside else placed.width / 2)
    anchor = "start" if placed.inside else "middle"
    y = placed.y + PADDING + TITLE_SIZE - 2
    yield _text(x, y, box.title, TITLE_SIZE, _INK, bold=True, anchor=anchor)
    for line in box.lines:
        y += LINE_HEIGHT
        yield _text(x, y, line, LINE_SIZE, _GREY, anchor=anchor)
    if placed.inside is not None:
        dx, dy = placed.inside_at
        yield from _layout(placed.inside, (placed.x + dx, placed.y + dy))
    yield "</g>\n"


def _shape(placed: Placed, fill: str, stroke: str, shift: float = 0.0) -> str:
    """Give the outline by kind: a person's part has slanted sides, an agent's is round."""
    x, y = placed.x + shift, placed.y + shift
    width, height = placed.width, placed.height
    paint = f'fill="{fill}" stroke="{stroke}" stroke-width="1.4"'
    kind = placed.box.kind
    if kind == "ask":
        corners = [(x + 8, y), (x + width, y), (x + width - 8, y + height), (x, y + height)]
        points = " ".join(f"{_n(a)},{_n(b)}" for a, b in corners)
        return f'<polygon points="{points}" {paint} stroke-linejoin="round"/>\n'
    radius = {"agent": 14, "team": 14, "tasks": 8, "workflow": 8}.get(kind, 2)
    dashes = ' stroke-dasharray="6 4"' if kind == "tasks" else ""
    rect = (
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"'
        f' rx="{radius}" {paint}{dashes}/>\n'
    )
    if kind == "tool" and not shift:
        sides = f"M{_n(x + 5)} {_n(y)}v{_n(height)}M{_n(x + width - 5)} {_n(y)}v{_n(height)}"
        rect += f'<path d="{sides}" stroke="{stroke}" fill="none"/>\n'
    return rect


def _line(line: Line) -> str:
    points = line.points
    way = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for number, ((x1, y1), (x2, y2)) in enumerate(pairwise(points)):
        if number % 2 == 0:
            way.append(f"V{_n(y2)}" if y1 != y2 else "")
        else:
            bend = (y2 - y1) / 2
            way.append(f"C{_n(x1)} {_n(y1 + bend)} {_n(x2)} {_n(y2 - bend)} {_n(x2)} {_n(y2)}")
    dashes = ' stroke-dasharray="2 4"' if line.arrow.faint else ""
    return (
        f'<path d="{"".join(way)}" fill="none" stroke="{_ARROW}" stroke-width="1.4"{dashes}'
        ' marker-end="url(#tip)"/>\n'
    )


def _labels(lines: list[Line]) -> Iterator[str]:
    """Write triggers on the arrows' last bends; once where two would cover each other."""
    written: list[tuple[int, float]] = []
    for line in lines:
        label, target = line.arrow.label, line.arrow.target
        if label is None:
            continue
        (x1, y1), (x2, y2) = line.points[-3], line.points[-2]
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        width = text_width(label, 10) + 10
        if any(other == target and abs(x - at) < width for other, at in written):
            continue
        written.append((target, x))
        yield (
            f'<rect x="{_n(x - width / 2)}" y="{_n(y - 8)}" width="{_n(width)}" height="16" rx="8"'
            f' fill="#ffffff" stroke="#d5d9e0"/>\n'
        )
        yield _text(x, y + 3.5, label, 10, _GREY, anchor="middle")


def _text(
    x: float, y: float, text: str, size: float, fill: str, *, bold: bool = False, anchor: str = ""
) -> str:
    weight = ' font-weight="600"' if bold else ""
    where = f' text-anchor="{anchor}"' if anchor else ""
    return (
        f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" fill="{fill}"{weight}{where}>'
        f"{escape(text)}</text>\n"
    )


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
