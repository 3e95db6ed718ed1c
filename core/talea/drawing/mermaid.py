"""A plan as Mermaid text, which GitHub, GitLab and many editors draw."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from talea.drawing.scene import Box, Scene, clip, make_scene
from talea.plan.graph import Plan

_SHAPES = {
    "agent": '("{}")',
    "tool": '[["{}"]]',
    "value": '["{}"]',
    "workflow": '[("{}")]',
    "tasks": '["{}"]',
    "team": '{{{{"{}"}}}}',
    "ask": '[/"{}"/]',
}
_CLASSES = {
    "agent": "fill:#e8f0fe,stroke:#3b6fc4,color:#111",
    "tool": "fill:#fff3d6,stroke:#b7791f,color:#111",
    "value": "fill:#f1f3f5,stroke:#6b7280,color:#111",
    "workflow": "fill:#f6fbfa,stroke:#2a8577,color:#111",
    "tasks": "fill:#fbfbfd,stroke:#8a8fa3,color:#111",
    "team": "fill:#f1e9fd,stroke:#7a4fc0,color:#111",
    "ask": "fill:#fde8ef,stroke:#c2416b,color:#111",
}
_SPECIAL = re.compile(r"""[^\w\s.,:()=!?+*/'“”…×↻-]""")


def draw_mermaid(plan: Plan) -> str:
    """Give a flowchart. Blocks and workflows are subgraphs; labels of arrows name triggers."""
    lines = ["---", f"title: {_quote(plan.name)}", "---", "flowchart TB"]
    kinds: dict[str, list[str]] = {}
    lines += _draw(make_scene(plan), "  ", kinds)
    for kind, keys in kinds.items():
        lines += [f"  classDef {kind} {_CLASSES[kind]}", f"  class {','.join(keys)} {kind}"]
    return "\n".join(lines) + "\n"


def _draw(scene: Scene, indent: str, kinds: dict[str, list[str]]) -> Iterator[str]:
    for box in scene.boxes:
        kinds.setdefault(box.kind, []).append(box.key)
        if box.inside is None:
            yield f"{indent}{box.key}{_SHAPES[box.kind].format(_label(box))}"
            continue
        yield f'{indent}subgraph {box.key}["{_label(box)}"]'
        yield f"{indent}  direction TB"
        yield from _draw(box.inside, f"{indent}  ", kinds)
        yield f"{indent}end"
    for arrow in scene.arrows:
        source, target = scene.boxes[arrow.source].key, scene.boxes[arrow.target].key
        line = "-.->" if arrow.faint else "-->"
        label = f"|{arrow.label}|" if arrow.label else ""
        yield f"{indent}{source} {line}{label} {target}"


def _quote(name: str) -> str:
    text = json.dumps(clip(name, 100), ensure_ascii=False)
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _label(box: Box) -> str:
    return "<br/>".join([f"<b>{_escape(box.title)}</b>", *(_escape(line) for line in box.lines)])


def _escape(text: str) -> str:
    """Write what could end a label, or start markup in it, as Mermaid's entity codes."""
    return _SPECIAL.sub(lambda found: f"#{ord(found[0])};", text)
