"""Pictures of plans: all tasks and edges are there, and nothing hostile gets through."""

from __future__ import annotations

import itertools
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talea import ir
from talea.drawing import draw_html, draw_mermaid, draw_svg
from talea.drawing.layout import Layout, lay_out
from talea.drawing.scene import BOX_LIMIT, make_scene
from talea.plan import make_plan

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert(1)</script>\"'`|]}%%{{ \x1b[31m \u202e"


def workflow(tasks: dict[str, Any], **more: Any) -> ir.Workflow:
    document = {"name": "w", "model": "openai/m", "agents": {"a": {}}, "tools": {"t": {}}}
    return ir.Workflow.model_validate({**document, "tasks": tasks, **more})


KINDS = workflow(
    {
        "agent": {"agent": "a", "prompt": "p", "retry": {"max_attempts": 3}, "timeout": "90s"},
        "tool": {"tool": "t", "for_each": "inputs.list", "fallback": None},
        "value": {"value": "{{ tasks.agent.output }}", "when": "tasks.agent.status == 'succeeded'"},
        "flow": {"workflow": "sub"},
        "team": {"team": {"manager": "a", "members": ["b"]}, "prompt": "p"},
        "ask": {"ask": "Shall we?", "depends_on": ["agent", "tool"], "trigger": "none_failed"},
        "block": {
            "tasks": {"x": {"value": 1}, "y": {"value": "{{ tasks.x.output }}"}},
            "loop": {"until": "loop.index > 3", "max": 5},
        },
    },
    agents={"a": {}, "b": {}},
    inputs={"list": {"type": "array"}},
    workflows={"sub": {"process": "sequential", "tasks": {"p": {"value": 1}, "q": {"value": 2}}}},
)


def test_mermaid_shows_kinds_edges_triggers_and_what_is_inside() -> None:
    text = draw_mermaid(make_plan(KINDS))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[:4] == ["---", 'title: "w"', "---", "flowchart TB"]
    assert 'n0("<b>agent</b><br/>agent a<br/>3 attempts, within 90 s")' in lines
    assert 'n1[["<b>tool</b><br/>tool t<br/>for each of inputs.list<br/>fallback"]]' in lines
    assert 'subgraph n3["<b>flow</b><br/>workflow sub"]' in lines
    assert 'n4{{"<b>team</b><br/>team a with b"}}' in lines
    assert 'n5[/"<b>ask</b><br/>asks “Shall we?”"/]' in lines
    block = "block<br/>↻ until loop.index #62; 3, at most 5 ×"
    assert f'subgraph n6["<b>block</b><br/>{block}"]' in lines
    assert {"n0 --> n2", "n0 -->|none_failed| n5", "n3_0 --> n3_1", "n6_0 --> n6_1"} <= set(lines)


def test_a_mention_that_the_trigger_does_not_look_at_is_faint() -> None:
    plan = make_plan(
        workflow(
            {
                "a": {"value": 1},
                "b": {"value": 1},
                "c": {
                    "value": "{{ tasks.b.status }}",
                    "depends_on": ["a"],
                    "trigger": "all_done",
                },
            }
        )
    )
    text = draw_mermaid(plan)
    assert "n0 -->|all_done| n2" in text
    assert "n1 -.-> n2" in text
    assert draw_svg(plan).count('stroke-dasharray="2 4"') == 1


def test_the_svg_shows_every_task_and_arrow() -> None:
    root = ET.fromstring(draw_svg(make_plan(KINDS)))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for name in [*KINDS.tasks, "p", "q", "x", "y", "none_failed"]:
        assert name in texts
    arrows = [e for e in root.iter(f"{SVG}path") if "marker-end" in e.attrib]
    assert len(arrows) == len(re.findall(r"-->", draw_mermaid(make_plan(KINDS))))


def hostile_plan() -> Any:
    return make_plan(
        workflow(
            {
                "a": {"ask": HOSTILE.replace("{{", "").replace("}", "")},
                "b": {"for_each": [HOSTILE], "value": 1},
            },
            name=HOSTILE,
            description=HOSTILE,
        )
    )


def test_hostile_labels_stay_text_in_svg_and_html() -> None:
    svg, page = draw_svg(hostile_plan()), draw_html(hostile_plan())
    root = ET.fromstring(svg)
    known = {"svg", "title", "defs", "marker", "path", "rect", "g", "text", "polygon"}
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= known
    assert not [name for e in root.iter() for name in e.attrib if name.startswith("on")]
    for text in (svg, page):
        assert "<script" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "&lt;script&gt;" in svg


def test_hostile_labels_stay_text_in_mermaid() -> None:
    text = draw_mermaid(hostile_plan())
    assert "<script" not in text
    for line in text.splitlines()[4:]:
        labels = re.findall(r'"([^"]*)"', line)
        assert line.count('"') == 2 * len(labels)
        for label in labels:
            plain = re.sub(r"</?b>|<br/>|#\d+;", "", label)
            assert not re.search(r"[<>`|{}\[\]%;#]", plain)


def test_the_page_allows_its_own_style_and_nothing_else() -> None:
    page = draw_html(make_plan(KINDS))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy[1]
    for reference in ("http://", "https://", "src=", "href=", "<link", "<iframe"):
        assert reference not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_the_same_plan_gives_the_same_picture() -> None:
    again = ir.Workflow.model_validate(KINDS.model_dump(by_alias=True, exclude_unset=True))
    assert draw_svg(make_plan(KINDS)) == draw_svg(make_plan(again))


@st.composite
def plans(draw: st.DrawFn) -> Any:
    count = draw(st.integers(1, 14))
    tasks: dict[str, Any] = {}
    for index in range(count):
        before = [f"t{other}" for other in range(index)]
        wanted = draw(st.lists(st.sampled_from(before), unique=True, max_size=4)) if before else []
        task: dict[str, Any] = {"depends_on": wanted} if wanted else {}
        if draw(st.integers(0, 5)) == 0:
            task["tasks"] = {"u": {"value": 1}, "v": {"value": 1, "depends_on": ["u"]}}
        else:
            task["value"] = 1
        tasks[f"t{index}"] = task
    return make_plan(workflow(tasks))


def check(layout: Layout) -> None:
    """Boxes lie apart and inside of the picture, and every arrow goes down from box to box."""
    for one, other in itertools.combinations(layout.boxes, 2):
        apart = (
            one.x + one.width <= other.x + 0.01
            or other.x + other.width <= one.x + 0.01
            or one.y + one.height <= other.y + 0.01
            or other.y + other.height <= one.y + 0.01
        )
        assert apart, (one.box.title, other.box.title)
    for box in layout.boxes:
        assert box.x >= -0.01
        assert box.x + box.width <= layout.width + 0.01
        assert box.y >= -0.01
        assert box.y + box.height <= layout.height + 0.01
        if box.inside:
            x, y = box.inside_at
            assert x + box.inside.width <= box.width
            assert y + box.inside.height <= box.height
            check(box.inside)
    for line in layout.lines:
        heights = [y for _, y in line.points]
        assert heights == sorted(heights)
        (x1, y1), (x2, y2) = line.points[0], line.points[-1]
        assert any(
            b.x <= x1 <= b.x + b.width and abs(b.y + b.height - y1) < 0.01 for b in layout.boxes
        )
        assert any(b.x <= x2 <= b.x + b.width and abs(b.y - y2) < 0.01 for b in layout.boxes)


@settings(max_examples=60, deadline=None)
@given(plans())
def test_boxes_never_overlap_and_arrows_meet_their_boxes(plan: Any) -> None:
    check(lay_out(make_scene(plan)))


def test_calls_that_multiply_are_drawn_up_to_a_limit() -> None:
    inner: dict[str, Any] = {"w0": {"tasks": {"x": {"value": 1}}}}
    for level in range(1, 12):
        calls = {f"c{i}": {"workflow": f"w{level - 1}"} for i in range(3)}
        inner[f"w{level}"] = {"tasks": calls}
    plan = make_plan(workflow({"top": {"workflow": "w11"}}, workflows=inner))
    text = draw_mermaid(plan)
    boxes = text.count("<b>")
    assert boxes <= BOX_LIMIT
    assert boxes > BOX_LIMIT / 2
    assert "tasks inside)" in text


@pytest.mark.parametrize("count", [400])
def test_many_long_arrows_are_drawn(count: int) -> None:
    tasks = {f"t{i}": {"value": 1, "depends_on": ["t0"]} for i in range(count) if i}
    for i in range(2, count):
        tasks[f"t{i}"]["depends_on"] = ["t0", f"t{i - 1}"]
    plan = make_plan(workflow({"t0": {"value": 1}, **tasks}))
    assert draw_svg(plan).count("marker-end") == 2 * count - 3
