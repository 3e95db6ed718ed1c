"""Plugins as they come: good ones, broken ones, and two that want the same name."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from textwrap import dedent

import pytest

from talea import ir
from talea.errors import Issue, PluginError, UsageError
from talea.plugins import PluginStatus, Registry, discover

ADAPTER = """
    from talea.adapter import Adapter, AgentAnswer

    class Echo(Adapter):
        name = "{name}"
        features = {{}}

        def compile(self, plan, options):
            return plan

        async def execute(self, compiled, run):
            await run.task(0)

        async def answer(self, call):
            return AgentAnswer(call.prompt)
"""
BRINGS = """
    from talea.hookspecs import AdapterSpec, hookimpl

    @hookimpl
    def talea_adapters():
        return [AdapterSpec("{name}", "{module}.adapter:Echo", "Says it again.", {api})]
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Give a function that puts a distribution into a folder of its own, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def put(
        name: str,
        code: str = BRINGS,
        *,
        adapter: str = ADAPTER,
        framework: str | None = None,
        entry: str | None = None,
        api: object = 1,
        entry_points: str | None = None,
    ) -> None:
        module = name.replace("-", "_")
        entry = entry or name.removeprefix("talea-")
        framework = framework or entry
        package = tmp_path / module
        package.mkdir()
        names = {"name": framework, "module": module, "api": api}
        source = dedent(code)
        template = "{module}" in code
        (package / "__init__.py").write_text(source.format(**names) if template else source)
        text = dedent(adapter)
        (package / "adapter.py").write_text(text.format(**names) if adapter is ADAPTER else text)
        info = tmp_path / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        points = entry_points or f"[talea]\n{entry} = {module}\n"
        (info / "entry_points.txt").write_text(points)

    yield put
    for module in set(sys.modules) - before:
        if module.startswith("talea_"):
            del sys.modules[module]


@pytest.fixture
def find(tmp_path: Path) -> Callable[..., Registry]:
    """Give a function that discovers what was installed."""
    return lambda allowed=None: discover(allowed, metadata.distributions(path=[str(tmp_path)]))


def listed(registry: Registry) -> dict[str, tuple[str, str | None, str | None]]:
    return {f.name: (str(f.status), f.reason, f.hint) for f in registry.frameworks()}


def test_a_plugin_is_listed_without_importing_its_adapter(install: Install, find) -> None:
    install("talea-echo", adapter="raise SystemExit('the framework was imported')")
    info = next(f for f in find().frameworks() if f.name == "echo")
    assert (info.status, info.distribution, info.version) == ("ready", "talea-echo", "1.2")
    assert info.summary == "Says it again."
    assert "talea_echo.adapter" not in sys.modules


def test_an_adapter_is_imported_when_it_is_chosen_and_made_once(install: Install, find) -> None:
    install("talea-echo")
    registry = find()
    adapter = registry.get_adapter("echo")
    assert adapter.name == "echo"
    assert registry.get_adapter("echo") is adapter


def test_a_framework_that_is_absent_is_explained_but_not_run(install: Install, find) -> None:
    install("talea-echo", BRINGS.replace("{api})", "{api}, ('json', 'no_such_module'))"))
    registry = find()
    assert listed(registry)["echo"] == (
        "incomplete",
        "no_such_module is not installed",
        "pip install talea-echo",
    )
    assert registry.get_adapter("echo").name == "echo"
    with pytest.raises(PluginError, match="no_such_module is not installed") as told:
        registry.get_adapter("echo", to_run=True)
    assert told.value.hint == "pip install talea-echo"


@pytest.mark.parametrize(
    ("code", "reason", "hint"),
    [
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'", "pip install talea-bad"),
        ("1 / 0", "ZeroDivisionError: division by zero", "pip uninstall talea-bad"),
        ("import sys; sys.exit('no')", "SystemExit: no", "TALEA_PLUGINS"),
        ("x = 1", "it implements no hook", "hookimpl"),
        (
            "from talea.hookspecs import hookimpl\n@hookimpl\ndef talea_adaptors(): return []",
            "there is no hook 'talea_adaptors'",
            "did you mean 'talea_adapters'?",
        ),
        (
            "from talea.hookspecs import hookimpl\n@hookimpl\ndef talea_check(flow): return []",
            "Argument(s) {'flow'}",
            "pip uninstall talea-bad",
        ),
        (
            "from talea.hookspecs import hookimpl\n@hookimpl\ndef talea_adapters(): return ['bad']",
            "'bad', which is no AdapterSpec",
            "pip uninstall talea-bad",
        ),
        (
            "from talea.hookspecs import hookimpl\n@hookimpl\ndef talea_adapters(): 1 / 0",
            "failed in its hook talea_adapters: ZeroDivisionError: division by zero",
            "pip uninstall talea-bad",
        ),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_named_and_stops_nothing_else(
    install: Install, find, code: str, reason: str, hint: str
) -> None:
    install("talea-bad", code)
    install("talea-echo")
    registry = find()
    status, why, advice = listed(registry)["bad"]
    assert status == "broken"
    assert reason in (why or "")
    assert hint in (advice or "")
    assert registry.get_adapter("echo").name == "echo"
    with pytest.raises(PluginError) as caught:
        registry.get_adapter("bad")
    assert "talea-bad 1.2" in caught.value.message
    assert reason in caught.value.message


def test_unreadable_entry_points_are_named_and_stop_nothing_else(install: Install, find) -> None:
    install("talea-bad", entry_points="[talea]\nthis line says nothing\n")
    install("talea-echo")
    registry = find()
    assert [(p.name, p.status) for p in registry.plugins] == [
        ("echo", "ready"),
        ("talea-bad", "broken"),
    ]


def test_metadata_without_its_file_is_no_reason_to_stop(
    install: Install, find, tmp_path: Path
) -> None:
    install("talea-echo")
    (tmp_path / "talea_echo-1.2.dist-info" / "METADATA").unlink()
    assert find().get_adapter("echo").name == "echo"


@pytest.mark.parametrize(("api", "upgrade"), [(2, "talea"), (0, "talea-echo"), ("1", "talea-echo")])
def test_an_unknown_api_version_is_refused_with_what_to_upgrade(
    install: Install, find, api: object, upgrade: str
) -> None:
    install("talea-echo", api=repr(api))
    registry = find()
    status, reason, hint = listed(registry)["echo"]
    assert (status, hint) == ("unknown_api", f"pip install --upgrade {upgrade}")
    assert f"speaks version {api!r}" in (reason or "")
    with pytest.raises(PluginError, match="speaks version"):
        registry.get_adapter("echo")


@pytest.mark.parametrize("entry", ["echo", "other"])
def test_two_plugins_with_one_framework_are_an_error_that_names_both(
    install: Install, find, entry: str
) -> None:
    install("talea-echo")
    install("talea-another", framework="echo", entry=entry)
    install("talea-fine")
    registry = find()
    status, reason, _ = listed(registry)["echo"]
    assert status == "conflict"
    assert {"talea-echo", "talea-another"} <= set((reason or "").split())
    assert registry.get_adapter("fine").name == "fine"
    with pytest.raises(PluginError) as caught:
        registry.get_adapter("echo")
    assert "talea-echo 1.2" in caught.value.message
    assert "talea-another 1.2" in caught.value.message
    assert "pip uninstall one of" in (caught.value.hint or "")


def test_an_unknown_framework_tells_what_is_installed_and_what_could_be(
    install: Install, find
) -> None:
    install("talea-echo")
    with pytest.raises(PluginError) as caught:
        find().get_adapter("ecko")
    assert caught.value.message == "unknown framework 'ecko'"
    assert caught.value.hint == (
        "did you mean 'echo'? installed: echo;"
        " more by pip install talea-simple, talea-langgraph or talea-crewai"
    )


@pytest.mark.parametrize("name", ["simple", "langgraph", "crewai"])
def test_a_known_framework_that_is_missing_tells_what_to_install(
    install: Install, find, name: str
) -> None:
    install("talea-echo")
    registry = find()
    assert listed(registry)[name] == (
        "missing",
        "it is not installed",
        f"pip install talea-{name}",
    )
    with pytest.raises(PluginError) as caught:
        registry.get_adapter(name)
    assert f"pip install talea-{name}" in (caught.value.hint or "")
    assert "Installed: echo" in (caught.value.hint or "")


def test_a_framework_that_cannot_be_imported_says_what_to_install(install: Install, find) -> None:
    install("talea-echo", adapter="import the_framework_itself")
    registry = find()
    assert listed(registry)["echo"][0] == "ready"
    with pytest.raises(PluginError) as caught:
        registry.get_adapter("echo")
    assert "No module named 'the_framework_itself'" in caught.value.message
    assert caught.value.hint == "pip install talea-echo"


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ("raise RuntimeError('version clash')", "cannot be imported: RuntimeError: version clash"),
        ("x = 1", "'talea_echo.adapter:Echo' is no Adapter"),
        ("class Echo: pass", "'talea_echo.adapter:Echo' is no Adapter"),
        ("from talea.adapter import Adapter\nclass Echo(Adapter): pass", "cannot be made"),
        (dedent(ADAPTER).format(name="ekko"), "its adapter calls itself 'ekko'"),
    ],
)
def test_an_adapter_that_is_none_is_named(
    install: Install, find, adapter: str, message: str
) -> None:
    install("talea-echo", adapter=adapter)
    with pytest.raises(PluginError, match=r"talea-echo 1\.2") as caught:
        find().get_adapter("echo")
    assert message in caught.value.message


def test_the_allow_list_leaves_out_all_others(install: Install, find) -> None:
    install("talea-echo")
    install("talea-other", "raise RuntimeError('it was loaded')")
    registry = find("echo")
    assert listed(registry)["other"][0] == "blocked"
    assert registry.get_adapter("echo").name == "echo"
    with pytest.raises(PluginError, match="TALEA_PLUGINS=echo leaves it out"):
        registry.get_adapter("other")


def test_the_allow_list_none_blocks_every_plugin(install: Install, find) -> None:
    install("talea-echo")
    assert {p.status for p in find("none").plugins} == {PluginStatus.BLOCKED}


def test_an_empty_allow_list_is_no_list(install: Install, find) -> None:
    install("talea-echo")
    assert [p.status for p in find("").plugins] == ["ready"]


def test_the_allow_list_may_name_what_is_not_installed(install: Install, find) -> None:
    install("talea-echo")
    plugins = {p.name: p for p in find("echo, crewai").plugins}
    assert plugins["crewai"].status == "missing"
    assert plugins["crewai"].hint == "pip install talea-crewai"


def test_a_hook_that_raises_is_named_with_its_plugin(install: Install, find) -> None:
    install(
        "talea-rules",
        """
        from talea.hookspecs import hookimpl

        @hookimpl
        def talea_check(workflow):
            yield workflow.no_such_field

        @hookimpl
        def talea_tools():
            raise ValueError("no tools today")
        """,
    )
    registry = find()
    workflow = ir.Workflow(name="w", tasks={"a": {"value": 1}})
    words = r"the plugin 'rules' \(talea-rules 1.2\) failed in its hook talea_{}: {}"
    with pytest.raises(PluginError, match=words.format("check", "AttributeError")) as caught:
        list(registry.rows("talea_check", workflow=workflow))
    assert isinstance(caught.value.__cause__, AttributeError)
    with pytest.raises(PluginError, match=words.format("tools", "ValueError: no tools today")):
        registry.offered("talea_tools", "search")


WRAPPERS = """
    from talea.errors import UsageError
    from talea.hookspecs import hookimpl

    @hookimpl(wrapper=True)
    def talea_compile(adapter, plan, options):
        compiled = yield
        if options.get("refuse"):
            raise UsageError("not in this house")
        return ("wrapped", compiled) if plan is not None else 1 / 0

    @hookimpl(wrapper=True)
    def talea_execute(adapter, compiled, run):
        inner = yield

        async def execute():
            await inner
            run.append("wrapped")
            1 / len(run[1:])

        return execute()
"""


def test_wrappers_see_every_framework_and_are_named_when_they_raise(install: Install, find) -> None:
    class Adapter:
        name = "any"

        def compile(self, plan: object, options: object) -> object:
            if plan == "bad":
                raise KeyError("a fault of the framework")
            return plan

        async def execute(self, compiled: object, run: list[object]) -> None:
            if compiled == "bad":
                raise KeyError("a fault of the framework")
            if compiled:
                run.append(compiled)

    install("talea-audit", WRAPPERS)
    hook = find().manager.hook
    adapter = Adapter()
    assert hook.talea_compile(adapter=adapter, plan="p", options={}) == ("wrapped", "p")
    with pytest.raises(PluginError, match=r"'audit' .* hook talea_compile: ZeroDivisionError"):
        hook.talea_compile(adapter=adapter, plan=None, options={})
    with pytest.raises(UsageError, match="not in this house") as caught:
        hook.talea_compile(adapter=adapter, plan="p", options={"refuse": "1"})
    assert "'audit'" in caught.value.__notes__[0]
    run: list[object] = []
    asyncio.run(hook.talea_execute(adapter=adapter, compiled="c", run=run))
    assert run == ["c", "wrapped"]
    with pytest.raises(PluginError, match=r"'audit' .* hook talea_execute: ZeroDivisionError"):
        asyncio.run(hook.talea_execute(adapter=adapter, compiled="", run=[]))


def test_what_two_plugins_offer_under_one_name_is_an_error_when_it_is_wanted(
    install: Install, find
) -> None:
    for name in ("one", "two"):
        install(
            f"talea-{name}",
            f"""
            from talea.hookspecs import hookimpl

            @hookimpl
            def talea_tools():
                return {{"both": print, "{name}": len}}
            """,
        )
    registry = find()
    assert registry.offered("talea_tools", "one") is len
    assert registry.offered("talea_tools", "none") is None
    with pytest.raises(PluginError, match=r"talea-one 1\.2 and talea-two 1\.2 both offer 'both'"):
        registry.offered("talea_tools", "both")


def test_commands_that_cannot_be_added_stop_no_others(install: Install, find) -> None:
    install(
        "talea-bad",
        "from talea.hookspecs import hookimpl\n@hookimpl\ndef talea_commands(cli): 1 / 0",
    )
    install(
        "talea-good",
        "from talea.hookspecs import hookimpl\n"
        "@hookimpl\ndef talea_commands(cli): cli.append('good')",
    )
    cli: list[str] = []
    failures = find().add_commands(cli)
    assert cli == ["good"]
    assert ["'bad'" in failure.message for failure in failures] == [True]


def test_house_rules_are_given_as_issues(install: Install, find) -> None:
    install(
        "talea-rules",
        """
        from talea.errors import Issue
        from talea.hookspecs import hookimpl

        @hookimpl
        def talea_check(workflow):
            yield Issue(f"{workflow.name} is a bad name", path="name")
        """,
    )
    workflow = ir.Workflow(name="w", tasks={"a": {"value": 1}})
    assert list(find().rows("talea_check", workflow=workflow)) == [
        Issue("w is a bad name", path="name")
    ]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_talea_imports_next_to_nothing() -> None:
    heavy = ["pydantic", "pluggy", "yaml", "click", "rich", "asyncio", "jsonschema_rs", "openai"]
    code = f"import sys, talea; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code) == "[]"


def test_listing_frameworks_imports_no_framework() -> None:
    code = (
        "import sys, talea; talea.frameworks(); "
        "print([m for m in ('openai', 'langgraph', 'crewai', 'talea_simple.adapter')"
        " if m in sys.modules])"
    )
    assert run_python(code) == "[]"
