"""Finding, listing and blocking plugins.

pluggy's own discovery loads everything in one go, and one broken plugin ends it. So this is a loop
over the entry points of the group `talea`: a plugin that cannot be used is listed with its reason,
and stops nothing else. Listing imports the plugins' packages, never their frameworks.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from functools import cache, partial
from importlib import import_module, metadata
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import pluggy

from talea import hookspecs
from talea.errors import Issue, PluginError, TaleaError
from talea.hookspecs import PROJECT, AdapterSpec, hookimpl

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from talea.adapter import Adapter, Options, Run
    from talea.events import Sink
    from talea.ir import Workflow
    from talea.plan import Plan

GROUP = "talea"
ALLOW_LIST = "TALEA_PLUGINS"
_REQUIREMENT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")
API_VERSION = 1
"""The adapter contract that this talea speaks: `adapter.API_VERSION`, which imports too much."""

KNOWN = {
    "simple": "A fast scheduler in process, with a plain agent loop on the openai SDK.",
    "langgraph": "LangGraph's StateGraph, with LangChain's agents.",
    "crewai": "CrewAI's Flows and Crews.",
}
"""The frameworks of talea's own plugins: what to install is known without asking anybody."""


class PluginStatus(StrEnum):
    """How a plugin or a framework stands."""

    READY = "ready"
    BROKEN = "broken"
    INCOMPLETE = "incomplete"
    """The plugin is there, and its framework is not."""
    CONFLICT = "conflict"
    UNKNOWN_API = "unknown_api"
    BLOCKED = "blocked"
    MISSING = "missing"


@dataclass(slots=True)
class PluginInfo:
    """One plugin, and why it cannot be used if it cannot. `name` is that of its entry point."""

    name: str
    distribution: str | None
    version: str | None
    status: PluginStatus = PluginStatus.READY
    reason: str | None = None
    hint: str | None = None
    hooks: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """The distribution and its version, as far as they are known."""
        return " ".join(part for part in (self.distribution, self.version) if part) or self.name


@dataclass(slots=True)
class FrameworkInfo:
    """One framework, and why it cannot be chosen if it cannot."""

    name: str
    summary: str
    distribution: str | None
    version: str | None
    status: PluginStatus
    reason: str | None = None
    hint: str | None = None


@dataclass(slots=True, frozen=True)
class _Provider:
    """A plugin that brings a framework."""

    spec: AdapterSpec
    plugin: PluginInfo


class _Core:
    """The core's own implementations, around which those of plugins are wrapped."""

    @hookimpl(trylast=True)
    def talea_compile(self, adapter: Adapter[Any], plan: Plan, options: Options) -> Any:
        return adapter.compile(plan, options)

    @hookimpl(trylast=True)
    def talea_execute(self, adapter: Adapter[Any], compiled: Any, run: Run) -> Awaitable[None]:
        return adapter.execute(compiled, run)


@dataclass(slots=True)
class Registry:
    """All plugins that were found. `discover` makes one; most callers use the functions below."""

    manager: pluggy.PluginManager
    allowed: str | None = None
    plugins: list[PluginInfo] = field(default_factory=list[PluginInfo])
    _providers: dict[str, list[_Provider]] = field(default_factory=dict[str, list[_Provider]])
    _infos: dict[str, PluginInfo] = field(default_factory=dict[str, PluginInfo])
    _adapters: dict[str, Adapter[Any]] = field(default_factory=dict[str, "Adapter[Any]"])
    _runnable: set[str] = field(default_factory=set[str])
    """The frameworks whose modules were found to be installed."""

    def add(self, info: PluginInfo, load: Callable[[], object]) -> None:
        """Load and register a plugin; what is wrong with it is noted in `info`."""
        self.plugins.append(info)
        try:
            plugin = load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a stranger's code does
            _break(info, f"it cannot be imported: {_describe(error)}", _import_hint(info, error))
            return
        name = info.name if info.name not in self._infos else f"{info.name} ({info.origin})"
        self._infos[name] = info
        try:
            self.manager.register(plugin, name)
            self._check_hooks(plugin, info)
            specs = self._ask_adapters(plugin)
        except Exception as error:  # noqa: BLE001 - as above
            if self.manager.is_registered(plugin):
                self.manager.unregister(plugin)
            message = error.message if isinstance(error, PluginError) else _describe(error)
            _break(info, message, getattr(error, "hint", None) or _complain(info))
            return
        for spec in specs:
            self._providers.setdefault(spec.name, []).append(_Provider(spec, info))
            if spec.api != API_VERSION:
                info.status = PluginStatus.UNKNOWN_API
                info.reason, info.hint = _api_reason(spec), _api_hint(spec, info)

    def _check_hooks(self, plugin: object, info: PluginInfo) -> None:
        callers = self.manager.get_hookcallers(plugin) or []
        info.hooks = tuple(sorted(caller.name for caller in callers))
        known = [name for name in vars(hookspecs) if name.startswith(f"{PROJECT}_")]
        for caller in callers:
            own = [impl for impl in caller.get_hookimpls() if impl.plugin is plugin]
            if not caller.has_spec() and not all(impl.optionalhook for impl in own):
                close = get_close_matches(caller.name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"hooks: {', '.join(known)}"
                raise PluginError(f"there is no hook {caller.name!r}", hint)
        if not callers:
            raise PluginError(
                "it implements no hook", "mark functions with talea.hookspecs.hookimpl"
            )

    def _ask_adapters(self, plugin: object) -> list[AdapterSpec]:
        specs = list(self.rows("talea_adapters", only=plugin))
        for spec in specs:
            if not isinstance(spec, AdapterSpec):
                raise PluginError(f"talea_adapters gave {spec!r}, which is no AdapterSpec")
            if not (spec.name and spec.target.count(":") == 1):
                raise PluginError(f"talea_adapters gave {spec!r}: a target is 'module:Class'")
        return specs

    def each(
        self, hook: str, *, only: object = None, **arguments: Any
    ) -> Iterator[tuple[PluginInfo, Any]]:
        """Call a hook plugin by plugin; give each plugin with its result."""
        everybody = self.manager.get_plugins()
        for name, plugin in self.manager.list_name_plugin():
            if name in self._infos and (only is None or plugin is only):
                caller = self.manager.subset_hook_caller(hook, everybody - {plugin})
                for result in caller(**arguments):
                    yield self._infos[name], result

    def rows(self, hook: str, *, only: object = None, **arguments: Any) -> Iterator[Any]:
        """Call a hook whose results are lists; give what stands in them."""
        for plugin, result in self.each(hook, only=only, **arguments):
            try:
                yield from list(result)
            except Exception as error:
                blamed = _blame(plugin, error, hook)
                if blamed is error:
                    raise
                raise blamed from error

    def add_commands(self, cli: click.Group) -> list[PluginError]:
        """Let plugins add commands; give the failures, which stop nothing else."""
        failures: list[PluginError] = []
        for name, plugin in self.manager.list_name_plugin():
            try:
                if name in self._infos:
                    list(self.each("talea_commands", only=plugin, cli=cli))
            except PluginError as error:
                failures.append(error)
        return failures

    def culprit(self, error: BaseException) -> PluginInfo | None:
        """Find the plugin in whose package an error arose: the innermost frame tells."""
        roots = {
            _root(plugin): self._infos[name]
            for name, plugin in self.manager.list_name_plugin()
            if plugin is not None and name in self._infos
        }
        found: PluginInfo | None = None
        entry = error.__traceback__
        while entry is not None:
            module = str(entry.tb_frame.f_globals.get("__name__", ""))
            found = roots.get(module.partition(".")[0]) or found
            entry = entry.tb_next
        return found

    def frameworks(self) -> list[FrameworkInfo]:
        """List every framework: those that plugins bring, those that are broken, those known."""
        found = {name: self._framework(name) for name in self._providers}
        for plugin in self.plugins:
            if plugin.status in (PluginStatus.BROKEN, PluginStatus.BLOCKED):
                found.setdefault(plugin.name, _listed(plugin, KNOWN.get(plugin.name, "")))
        for name, summary in KNOWN.items():
            found.setdefault(name, _missing(name, summary))
        order = list(KNOWN)
        return sorted(
            found.values(),
            key=lambda info: (
                order.index(info.name) if info.name in KNOWN else len(order),
                info.name,
            ),
        )

    def _framework(self, name: str) -> FrameworkInfo:
        providers = self._providers[name]
        first = providers[0]
        info = _listed(first.plugin, first.spec.summary, name)
        if len(providers) > 1:
            info.status = PluginStatus.CONFLICT
            info.distribution = info.version = None
            info.reason = f"{_join([p.plugin.origin for p in providers])} both bring it"
            info.hint = _conflict_hint(providers)
        elif first.spec.api != API_VERSION:
            info.status = PluginStatus.UNKNOWN_API
            info.reason, info.hint = _api_reason(first.spec), _api_hint(first.spec, first.plugin)
        elif absent := [module for module in first.spec.needs if find_spec(module) is None]:
            info.status = PluginStatus.INCOMPLETE
            info.reason = f"{_join(absent)} {'is' if len(absent) == 1 else 'are'} not installed"
            info.hint = f"pip install {first.plugin.distribution}"
        else:
            info.status, info.reason, info.hint = PluginStatus.READY, None, None
        return info

    def get_adapter(self, name: str, *, to_run: bool = False) -> Adapter[Any]:
        """Give the adapter of a framework, whose module is imported now.

        Raises PluginError where it is unknown, broken, of an unknown API version or in conflict;
        and, if it is `to_run`, where the framework itself is not installed.
        """
        if name not in (self._runnable if to_run else self._adapters):
            provider = self._choose(name, to_run=to_run)
            if name not in self._adapters:
                self._adapters[name] = _load_adapter(provider.spec, provider.plugin)
            if to_run:
                self._runnable.add(name)
        return self._adapters[name]

    def _choose(self, name: str, *, to_run: bool) -> _Provider:
        infos = {info.name: info for info in self.frameworks()}
        info = infos.get(name)
        ready = [other.name for other in infos.values() if other.status is PluginStatus.READY]
        if info is None:
            raise PluginError(f"unknown framework {name!r}", _unknown_hint(name, ready, infos))
        lacks_framework = info.status is PluginStatus.INCOMPLETE
        if info.status is PluginStatus.READY or (lacks_framework and not to_run):
            return self._providers[name][0]
        origin = f" ({info.distribution} {info.version})" if info.distribution else ""
        installed = f" Installed: {_join(ready) or 'none'}."
        raise PluginError(
            f"the framework {name!r}{origin} cannot be used: {info.reason}",
            f"{info.hint}.{installed}" if info.status is PluginStatus.MISSING else info.hint,
        )

    def offered(self, hook: str, name: str) -> Any | None:
        """Give what plugins offer under a name; None if none does.

        `hook` is one whose results are mappings. Raises PluginError if two plugins offer it.
        """
        offers = [(plugin, table[name]) for plugin, table in self.each(hook) if name in table]
        if len(offers) > 1:
            names = _join([plugin.origin for plugin, _ in offers])
            kind = hook.removeprefix(f"{PROJECT}_")
            raise PluginError(
                f"{names} both offer {name!r} among their {kind}",
                f"leave one out: {ALLOW_LIST} lists the plugins to be used",
            )
        return offers[0][1] if offers else None


def discover(
    allowed: str | None = None, distributions: Iterable[metadata.Distribution] | None = None
) -> Registry:
    """Find and register every plugin that is installed and allowed.

    `allowed` is the value of `TALEA_PLUGINS`: names of entry points, or `none`; all if it is None
    or empty.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    registry = Registry(manager, allowed or None)
    manager.add_hookcall_monitoring(_watch, partial(_name_culprit, registry))
    manager.register(_Core(), "(core)")
    names = None if not allowed else {part.strip() for part in allowed.split(",")} - {"none", ""}
    missing = set(names or ())
    found = metadata.distributions() if distributions is None else distributions
    for info, load in sorted(_entry_points(found), key=lambda found: found[0].name):
        missing.discard(info.name)
        if names is not None and info.name not in names:
            info.status = PluginStatus.BLOCKED
            info.reason = f"{ALLOW_LIST}={allowed} leaves it out"
            info.hint = f"add {info.name!r} to {ALLOW_LIST}"
            registry.plugins.append(info)
        else:
            registry.add(info, load)
    for name in sorted(missing):
        hint = f"pip install talea-{name}" if name in KNOWN else None
        reason = f"{ALLOW_LIST} names it, and it is not installed"
        registry.plugins.append(PluginInfo(name, None, None, PluginStatus.MISSING, reason, hint))
    return registry


def _entry_points(
    distributions: Iterable[metadata.Distribution],
) -> Iterator[tuple[PluginInfo, Callable[[], object]]]:
    """Give every entry point of the group. The first distribution of a name on the path wins."""
    seen: set[str] = set()
    for distribution in distributions:
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except (OSError, ValueError):
            continue  # It cannot be known whether it is a plugin, and whose metadata it is.
        if f"[{GROUP}]" not in text:
            continue
        name, version = _identify(distribution)
        key = (name or "").lower().replace("_", "-")
        if key in seen and key:
            continue
        seen.add(key)
        try:
            points = list(distribution.entry_points.select(group=GROUP))
        except Exception as error:  # noqa: BLE001 - a bad line raises whatever it happens to
            yield PluginInfo(name or "?", name, version), _fail(error)
            continue
        for point in points:
            yield PluginInfo(point.name, name, version), point.load


def _identify(distribution: metadata.Distribution) -> tuple[str | None, str | None]:
    try:
        return distribution.metadata["Name"], distribution.version
    except Exception:  # noqa: BLE001 - metadata without its file, or without a name
        return None, None


def _fail(error: Exception) -> Callable[[], object]:
    def load() -> object:
        raise error

    return load


def _load_adapter(spec: AdapterSpec, plugin: PluginInfo) -> Adapter[Any]:
    from talea.adapter import Adapter

    module_name, _, class_name = spec.target.partition(":")
    what = f"the framework {spec.name!r} ({plugin.origin})"
    try:
        found: object = getattr(import_module(module_name), class_name, None)
    except ImportError as error:
        hint = _import_hint(plugin, error, module_name.partition(".")[0])
        raise PluginError(f"{what} cannot be imported: {error}", hint) from error
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{what} cannot be imported: {_describe(error)}", _complain(plugin)
        ) from error
    if not (isinstance(found, type) and issubclass(found, Adapter)):
        raise PluginError(f"{what}: {spec.target!r} is no Adapter", _complain(plugin))
    adapter_type = cast("type[Adapter[Any]]", found)
    try:
        adapter = adapter_type()
    except Exception as error:
        raise PluginError(
            f"{what}: {class_name} cannot be made: {_describe(error)}", _complain(plugin)
        ) from error
    if getattr(adapter, "name", None) != spec.name:
        told = getattr(adapter, "name", None)
        raise PluginError(f"{what}: its adapter calls itself {told!r}", _complain(plugin))
    return adapter


# What is said where something is wrong.


def _listed(plugin: PluginInfo, summary: str, name: str | None = None) -> FrameworkInfo:
    return FrameworkInfo(
        name or plugin.name, summary, plugin.distribution, plugin.version,
        plugin.status, plugin.reason, plugin.hint,
    )  # fmt: skip


def _missing(name: str, summary: str) -> FrameworkInfo:
    return FrameworkInfo(
        name, summary, None, None, PluginStatus.MISSING, "it is not installed",
        f"pip install talea-{name}",
    )  # fmt: skip


def _break(info: PluginInfo, reason: str, hint: str) -> None:
    info.status, info.reason, info.hint = PluginStatus.BROKEN, reason, hint


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _import_hint(plugin: PluginInfo, error: BaseException, package: str | None = None) -> str:
    """Say what to install: what the plugin needs is a requirement of its distribution."""
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if absent is None or plugin.distribution is None:
        return _complain(plugin)
    if package is not None and absent.partition(".")[0] == package:
        return f"pip install --force-reinstall {plugin.distribution}"
    return f"pip install {plugin.distribution}"


def _complain(plugin: PluginInfo) -> str:
    return (
        f"tell the authors of {plugin.distribution or plugin.name}; meanwhile"
        f" `pip uninstall {plugin.distribution or plugin.name}`, or leave it out by {ALLOW_LIST}"
    )


def _api_reason(spec: AdapterSpec) -> str:
    return (
        f"it speaks version {spec.api!r} of the adapter contract, and this talea version"
        f" {API_VERSION}"
    )


def _api_hint(spec: AdapterSpec, plugin: PluginInfo) -> str:
    newer = isinstance(spec.api, int) and spec.api > API_VERSION  # pyright: ignore[reportUnnecessaryIsInstance]
    return f"pip install --upgrade {'talea' if newer else plugin.distribution or plugin.name}"


def _conflict_hint(providers: Sequence[_Provider]) -> str:
    distributions = [p.plugin.distribution or p.plugin.name for p in providers]
    if len({p.plugin.name for p in providers}) == 1:
        return f"pip uninstall one of {_join(distributions)}"
    return f"pip uninstall one of {_join(distributions)}, or leave it out by {ALLOW_LIST}"


def _unknown_hint(name: str, ready: Sequence[str], infos: Mapping[str, FrameworkInfo]) -> str:
    close = get_close_matches(name, list(infos), n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    absent = [f"talea-{other}" for other in KNOWN if other not in ready]
    more = f"; more by pip install {_join(absent, 'or')}" if absent else ""
    return f"{guess}installed: {_join(ready) or 'none'}{more}"


def _join(names: Sequence[str], word: str = "and") -> str:
    return f" {word} ".join([part for part in (", ".join(names[:-1]), *names[-1:]) if part])


# Naming the plugin whose hook raised.


def _watch(_name: str, _impls: Sequence[pluggy.HookImpl], _arguments: Mapping[str, Any]) -> None:
    """Do nothing before a call: pluggy wants to be told."""


def _name_culprit(
    registry: Registry,
    outcome: pluggy.Result[Any],
    hook: str,
    _impls: Sequence[pluggy.HookImpl],
    _arguments: Mapping[str, Any],
) -> None:
    error = outcome.exception
    if isinstance(error, Exception) and (plugin := registry.culprit(error)):
        outcome.force_exception(_blame(plugin, error, hook))
    elif error is None and hook == "talea_execute":
        outcome.force_result(_guard(registry, outcome.get_result(), hook))


async def _guard(registry: Registry, execution: Awaitable[None], hook: str) -> None:
    try:
        await execution
    except Exception as error:
        if plugin := registry.culprit(error):
            blamed = _blame(plugin, error, hook)
            if blamed is not error:
                raise blamed from error
        raise


def _blame(plugin: PluginInfo, error: Exception, hook: str) -> Exception:
    """Name the plugin whose hook raised.

    What a plugin raises as a `TaleaError` is its word to the reader and stays as it is.
    """
    if isinstance(error, TaleaError):
        error.add_note(f"raised by the plugin {plugin.name!r} in its hook {hook}")
        return error
    blamed = PluginError(
        f"the plugin {plugin.name!r} ({plugin.origin}) failed in its hook {hook}:"
        f" {_describe(error)}",
        _complain(plugin),
    )
    blamed.__cause__ = error
    return blamed


def _root(plugin: object) -> str:
    module = plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
    return module.partition(".")[0]


# The plugins of this process.


@cache
def registry() -> Registry:
    """Give the plugins of this process, found once."""
    return discover(os.environ.get(ALLOW_LIST))


def manager() -> pluggy.PluginManager:
    """Give pluggy's manager, with every plugin registered that can be used."""
    return registry().manager


def plugins() -> list[PluginInfo]:
    """List every plugin, also those that cannot be used."""
    return registry().plugins


def frameworks() -> list[FrameworkInfo]:
    """List every framework, also those that cannot be used, and those that could be installed."""
    return registry().frameworks()


def get_adapter(name: str, *, to_run: bool = False) -> Adapter[Any]:
    """Give the adapter of a framework. Raises PluginError where it cannot be used."""
    return registry().get_adapter(name, to_run=to_run)


def check(workflow: Workflow) -> list[Issue]:
    """Give what the plugins' house rules have to say of a workflow, and the pools whose strategy
    nobody offers."""
    return [*_unknown_strategies(workflow), *registry().rows("talea_check", workflow=workflow)]


def _unknown_strategies(workflow: Workflow) -> list[Issue]:
    from talea.balance import STRATEGIES
    from talea.plan import make_plan
    from talea.plan.problems import Problems

    problems = Problems()
    plans = make_plan(workflow).plans()
    for document in {id(plan.workflow): plan.workflow for plan in plans}.values():
        wanted = {name: pool.balance for name, pool in document.pools.items()}
        if STRATEGIES.keys() >= set(wanted.values()):
            continue
        known = dict.fromkeys([*STRATEGIES, *registry().rows("talea_strategies")])
        for name, balance in wanted.items():
            if balance not in known:
                problems.unknown(document, "strategy", balance, known, ("pools", name, "balance"))
    return problems.in_order()


def sinks(workflow: Workflow, framework: str) -> list[Sink]:
    """Give the plugins' sinks for a run."""
    return list(registry().rows("talea_sinks", workflow=workflow, framework=framework))


def tool(name: str) -> Callable[..., Any] | None:
    """Give the tool that a plugin offers under a name."""
    return registry().offered("talea_tools", name)


def strategy(name: str) -> Callable[..., Any] | None:
    """Give what makes the load-balancing strategy that a plugin offers under a name."""
    return registry().offered("talea_strategies", name)


def reader(suffix: str) -> Callable[[Path], Workflow] | None:
    """Give the reader that a plugin offers for files of a suffix such as `.toml`."""
    return registry().offered("talea_readers", suffix)


def versions(framework: str) -> dict[str, str]:
    """Give the versions that a run depends on: talea, the plugin, and what the plugin requires."""
    found = {"python": sys.version.partition(" ")[0], "talea": metadata.version(PROJECT)}
    plugin = next((info.distribution for info in frameworks() if info.name == framework), None)
    if plugin is None:
        return found
    required = [
        name[0]
        for line in metadata.requires(plugin) or []
        if "extra ==" not in line and (name := _REQUIREMENT.match(line))
    ]
    for name in [plugin, *required]:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # A requirement of another platform.
    return found
