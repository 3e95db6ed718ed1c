"""`talea explain`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from talea.cli.options import options_option
from talea.cli.reading import read_workflow
from talea.cli.terminal import clean, one_line, table, to_json
from talea.errors import PluginError, TaleaError

if TYPE_CHECKING:
    from talea.adapter import Adapter, Feature, Support
    from talea.plan import Plan

_TASKS_NAMED = 4
"""Tasks that are named for a feature; of more, the number is told."""


@click.command()
@click.argument("file")
@click.option("-f", "--framework", help="Explain this one alone.")
@options_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(
    file: str, framework: str | None, options: list[tuple[str, str]], as_json: bool
) -> None:
    """Say which features a workflow needs, and how each framework has them.

    A feature is native, emulated (it works, and talea carries it), or refused.
    """
    from talea.plan import make_plan
    from talea.plugins import get_adapter

    plan = make_plan(read_workflow(file))
    needs: dict[Feature, list[str]] = {}
    for task, feature in plan.needs:
        needs.setdefault(feature, []).append(task or "the workflow")
    adapters = {framework: get_adapter(framework)} if framework else _installed()
    if as_json:
        click.echo(to_json(_as_object(plan, needs, adapters, dict(options))))
        return
    if not any(not isinstance(adapter, str) for adapter in adapters.values()):
        click.echo("No framework is installed: pip install talea-simple")
    for line in _tell(plan, needs, adapters, dict(options)):
        click.echo(clean(line))


def _installed() -> dict[str, Adapter[Any] | str]:
    """Give the adapter of each framework that is installed, or why there is none."""
    from talea.plugins import PluginStatus, frameworks, get_adapter

    found: dict[str, Adapter[Any] | str] = {}
    for info in frameworks():
        if info.status is PluginStatus.MISSING:
            continue
        try:
            found[info.name] = get_adapter(info.name)
        except PluginError as error:
            found[info.name] = str(error)
    return found


def _tell(
    plan: Plan,
    needs: Mapping[Feature, list[str]],
    adapters: Mapping[str, Adapter[Any] | str],
    options: Mapping[str, str],
) -> Iterator[str]:
    good = {name: one for name, one in adapters.items() if not isinstance(one, str)}
    rows = [("FEATURE", *(name.upper() for name in good), "NEEDED BY")]
    for feature, tasks in needs.items():
        words = [_word(_support(one, feature)) for one in good.values()]
        rows.append((feature.value, *words, _name_tasks(tasks)))
    yield f"{plan.name} needs {len(needs)} feature{'' if len(needs) == 1 else 's'}.\n"
    yield table(rows)
    for name, adapter in adapters.items():
        yield ""
        if isinstance(adapter, str):
            yield adapter
        else:
            yield from _tell_one(name, adapter, plan, needs, options)


def _tell_one(
    name: str,
    adapter: Adapter[Any],
    plan: Plan,
    needs: Mapping[Feature, list[str]],
    options: Mapping[str, str],
) -> Iterator[str]:
    supports = {feature: _support(adapter, feature) for feature in needs}
    runs = all(support.runs for support in supports.values())
    yield f"{name} {'can run it.' if runs else 'cannot run it.'}"
    by_reason: dict[tuple[str, str], list[str]] = {}
    for feature, support in supports.items():
        by_reason.setdefault((_word(support), support.reason), []).append(feature.value)
    order = ("refused, never", "refused, not yet", "emulated", "native")
    for (word, reason), features in sorted(by_reason.items(), key=lambda e: order.index(e[0][0])):
        yield f"  {word}: {', '.join(features)}: {reason}"
    becomes = dict(adapter.describe(plan, options)) if runs else {}
    if whole := becomes.pop("", None):
        yield f"  The whole: {whole}"
    if becomes:
        yield table(list(becomes.items()), indent="    ")


def _support(adapter: Adapter[Any], feature: Feature) -> Support:
    from talea.adapter import Level, Support

    unknown = Support(Level.NOT_YET, "the plugin does not know this feature")
    return adapter.features.get(feature, unknown)


_WORDS = {"not_yet": "refused, not yet", "never": "refused, never"}


def _word(support: Support) -> str:
    return _WORDS.get(support.level.value, support.level.value)


def _name_tasks(tasks: list[str]) -> str:
    more = len(tasks) - _TASKS_NAMED
    named = ", ".join(tasks[:_TASKS_NAMED])
    return one_line(f"{named} and {more} more" if more > 0 else named)


def _as_object(
    plan: Plan,
    needs: Mapping[Feature, list[str]],
    adapters: Mapping[str, Adapter[Any] | str],
    options: Mapping[str, str],
) -> dict[str, Any]:
    frameworks: dict[str, Any] = {}
    for name, adapter in adapters.items():
        if isinstance(adapter, str):
            frameworks[name] = {"runs": False, "error": adapter}
            continue
        supports = {feature: _support(adapter, feature) for feature in needs}
        runs = all(support.runs for support in supports.values())
        frameworks[name] = {
            "runs": runs,
            "features": {
                feature.value: {"level": support.level.value, "reason": support.reason}
                for feature, support in supports.items()
            },
            "becomes": _describe(adapter, plan, options) if runs else {},
        }
    return {
        "workflow": plan.name,
        "needs": {feature.value: tasks for feature, tasks in needs.items()},
        "frameworks": frameworks,
    }


def _describe(adapter: Adapter[Any], plan: Plan, options: Mapping[str, str]) -> dict[str, Any]:
    try:
        return dict(adapter.describe(plan, options))
    except TaleaError as error:
        return {"": str(error)}
