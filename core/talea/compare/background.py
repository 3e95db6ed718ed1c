"""What a report says beside its figures: the workflow, the versions, the machine, the settings."""

from __future__ import annotations

import base64
import json
import shlex
from typing import Any

from talea.compare import figures
from talea.compare.page import Html, counted, join, tag, title
from talea.compare.record import Comparison, Contender, Settings


def colours_of(comparison: Comparison) -> dict[str, int]:
    """Number the contenders: each number has its colour and shape."""
    return {one.key: place for place, one in enumerate(comparison.contenders)}


def mode_of(comparison: Comparison) -> str:
    """Say who answered in place of models, or that models did; and if calls were made to fail."""
    words = {
        "offline": "offline, simulated models",
        "replay": "replayed answers",
        "live": "live models",
    }[comparison.settings.mode]
    return f"{words}, with faults" if comparison.settings.faults else words


def workflow(comparison: Comparison) -> Html:
    """Show the workflow, and what it was given."""
    outline = comparison.outline
    picture = None
    if outline.picture:
        # As an image a picture runs nothing and asks for nothing, whatever stands in it.
        source = base64.b64encode(outline.picture.encode()).decode()
        alt = f"The workflow {outline.name}: {', '.join(list(outline.tasks)[:40])}"
        image = tag("img", src=f"data:image/svg+xml;base64,{source}", alt=alt)
        picture = tag(
            "figure",
            image,
            class_="card picture",
            tabindex=0,
            role="group",
            aria_label="Picture of the workflow",
        )
    source = outline.source
    text = (
        tag("details", tag("summary", "Its text"), tag("pre", source, tabindex=0))
        if source
        else None
    )
    inputs = [
        tag(
            "details",
            tag("summary", f"Inputs of {case.id}"),
            tag("pre", _pretty(case.inputs), tabindex=0),
        )
        for case in comparison.cases[:100]
        if case.inputs
    ]
    about = f"{counted(len(outline.tasks), 'task')}, {counted(len(comparison.cases), 'case')}"
    return join(
        title("Workflow", about),
        tag(
            "div",
            picture,
            tag("div", text, *inputs, class_="card pad") if text or inputs else None,
            class_="stack",
        ),
    )


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def setup(comparison: Comparison) -> Html:
    """Say in which versions, on which machine and how it was compared, and how to repeat it."""
    settings, machine = comparison.settings, comparison.machine
    pairs = {
        "Models": mode_of(comparison),
        "Model": settings.model,
        "Cassette": settings.cassette,
        "Recorded": settings.recorded,
        "Faults": settings.faults,
        "Repeats": f"{settings.repeat} of each case, in turns, after {settings.warmup} to warm up",
        "Seed": str(settings.seed),
        "Timeout": f"{settings.timeout:g} s",
        "Took": f"{comparison.seconds:.0f} s, from {comparison.began}",
        "System": machine.system,
        "Processor": f"{machine.processor}, {counted(machine.cores, 'core')}",
        "Memory": f"{machine.memory / 2**30:.0f} GiB" if machine.memory else None,
        "Python": machine.python,
        "talea": machine.talea,
    }
    listed = [
        join(tag("dt", name), tag("dd", value))
        for name, value in pairs.items()
        if value is not None
    ]
    colours = colours_of(comparison)
    return join(
        title("Setup"),
        tag(
            "div",
            _again(settings),
            tag(
                "div", *(_contender(one, colours) for one in comparison.contenders), class_="beside"
            ),
            tag("dl", *listed, class_="pairs card pad"),
            class_="stack",
        ),
    )


def _again(settings: Settings) -> Html | None:
    """Give the command that does it again, with what that would ask for and write over; and the one
    that replays what was recorded."""
    if settings.command is None:
        return None
    replay = _replay(settings.command, settings.recorded) if settings.recorded else None
    asks = "This asks models again" if settings.mode == "live" else None
    over = f"records over {settings.recorded}" if replay else None
    warning = " and ".join(one for one in (asks, over) if one)
    return tag(
        "div",
        tag("h3", "To repeat it"),
        _command(settings.command),
        tag("p", f"{warning[0].upper()}{warning[1:]}.", class_="soft small") if warning else None,
        join(
            tag("h3", "To replay what was recorded"),
            _command(replay),
            tag("p", "This asks no model, and writes over no recording.", class_="soft small"),
        )
        if replay
        else None,
        class_="card pad stack",
    )


def _command(words: str) -> Html:
    copy = tag("button", "Copy", type="button", class_="copy", hidden=True)
    return tag("div", tag("pre", words, tabindex=0), copy, class_="command")


def _replay(command: str, recorded: str) -> str | None:
    """Turn a command that records into one that replays that; None where it cannot be read."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    kept: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--record":
            next(left, None)
        elif word != "--record-tools" and not word.startswith("--record="):
            kept.append(word)
    return shlex.join([*kept, "--replay", recorded]) if len(kept) < len(words) else None


def _contender(one: Contender, colours: dict[str, int]) -> Html:
    """Say in which versions, and on which terms, a framework took part."""
    options = {"agents": one.agents, **one.options}
    told = [
        ("framework", one.framework if one.framework != one.key else None),
        ("environment", "its own" if one.isolated else None),
        ("Python", one.python),
        *((name, value) for name, value in options.items()),
        *((name, version) for name, version in one.versions.items() if name != "python"),
    ]
    listed = [join(tag("dt", name), tag("dd", value)) for name, value in told if value]
    return tag(
        "div",
        figures.who(one.key, colours, "h3"),
        tag("p", f"Did not take part: {one.refused}", class_="notice bad") if one.refused else None,
        tag("dl", *listed, class_="pairs small"),
        _terms(
            "Emulates",
            tag(
                "dl",
                *(
                    tag("div", tag("dt", feature), tag("dd", how))
                    for feature, how in one.emulated.items()
                ),
            ),
        )
        if one.emulated
        else None,
        _terms(
            "Held back by what shares its environment",
            tag("ul", *(tag("li", what) for what in one.held_back), class_="plain"),
        )
        if one.held_back
        else None,
        *(tag("p", note, class_="soft small") for note in one.notes),
        class_="card pad stack",
    )


def _terms(words: str, listed: Html) -> Html:
    return tag("div", tag("h4", words), listed, class_="terms")
