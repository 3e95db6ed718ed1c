"""`talea gateway`: the gateway as a server of its own, for programs that talea does not run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import click

from talea.cli import INTERRUPTED
from talea.cli.terminal import clean, one_line, say, to_json
from talea.cli.words import cost, seconds, tokens
from talea.errors import EndpointError, TaskError, UsageError
from talea.events import Usage
from talea.prices import price

if TYPE_CHECKING:
    from talea.adapter import Endpoint
    from talea.gateway.meter import Exchange
    from talea.gateway.recorder import Recorder
    from talea.gateway.server import Door

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
_RUN = "gateway"
"""The run that all calls belong to."""


@click.command()
@click.option(
    "--upstream",
    metavar="PROVIDER|URL",
    help="Ask there. A provider is one known by name, such as openai or ollama.",
)
@click.option(
    "--key",
    "variable",
    metavar="VARIABLE",
    help="The environment variable with the key. Default: the provider's; for another URL none.",
)
@click.option("--offline", is_flag=True, help="Let a stand-in answer in place of models.")
@click.option("--replay", metavar="CASSETTE", help="Let a cassette answer in place of models.")
@click.option("--record", metavar="FILE", help="Write what was answered to a cassette, at the end.")
@click.option("--faults", metavar="FILE", help="Let calls go wrong by these rules.")
@click.option("--save-prompts", is_flag=True, help="Keep prompts: --json has them.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: any free one.")
@click.option("--json", "as_json", is_flag=True, help="Print each call as a line of JSON.")
def gateway(  # noqa: PLR0917 - click passes them by name
    upstream: str | None,
    variable: str | None,
    offline: bool,
    replay: str | None,
    record: str | None,
    faults: str | None,
    save_prompts: bool,
    port: int,
    as_json: bool,
) -> None:
    """Stand between your own programs and their models, until Ctrl-C.

    A program sets the address that is printed as its base_url, and nothing else: its calls are
    counted here, and can be recorded, replayed or made to fail. The key stays with the gateway.
    """
    from talea.gateway.faults import load_faults
    from talea.gateway.recorder import Recorder
    from talea.gateway.server import Gateway

    endpoint = _find_endpoint(upstream, variable, offline=offline, replay=replay)
    server = Gateway(
        _make_source(endpoint, replay),
        faults=load_faults(faults) if faults else None,
        save_prompts=save_prompts,
        port=port,
    )
    calls: _Calls = SimpleQueue()
    server.subscribe(lambda call, _: calls.put(call))
    screen, recorder = _Screen(endpoint, as_json=as_json), Recorder()
    if record is not None:
        _check_writable(record)
        server.subscribe(recorder)
    with _until_signalled(calls):
        try:
            server.start()
        except OSError as error:
            raise UsageError(f"port {port} cannot be had: {error.strerror}") from error
        try:
            screen.greet(server.open(_RUN, {"": endpoint} if endpoint else None), replay)
            screen.follow(calls)
        finally:
            server.close()
            if record is not None:
                _write(recorder, record)
        screen.close(calls, record if recorder.calls else None)


def _find_endpoint(
    upstream: str | None, variable: str | None, *, offline: bool, replay: str | None
) -> Endpoint | None:
    """Find what is asked, and see that its key is there; None where nothing outside is."""
    given = {"--upstream": upstream, "--offline": offline, "--replay": replay}
    chosen = [name for name, value in given.items() if value]
    if len(chosen) != 1:
        raise UsageError(
            f"{' and '.join(chosen)} exclude each other" if chosen else "nobody would answer",
            "give one of --upstream, --offline and --replay",
        )
    if upstream is None:
        if variable is not None:
            raise UsageError("--key goes with --upstream", "leave it out: nothing outside is asked")
        return None
    from talea.endpoint import find_upstream

    endpoint = find_upstream(upstream, variable=variable)
    try:
        endpoint.key()
    except TaskError as error:
        raise EndpointError(error.message, "set it, or name another one: --key VARIABLE") from None
    return endpoint


def _make_source(endpoint: Endpoint | None, replay: str | None) -> Any:
    """Make what answers."""
    if endpoint is not None:
        from talea.gateway.upstream import Upstream

        return Upstream()
    if replay is not None:
        from talea.gateway.cassette import Player, load_cassette

        return Player(load_cassette(replay))
    from talea.gateway.standin import StandIn

    return StandIn()


def _check_writable(file: str) -> None:
    """See that a file can be written, before there is anything to lose."""
    place = Path(file)
    if place.is_dir() or not os.access(place.parent, os.W_OK):
        raise UsageError(f"{file} cannot be written", "name a file in a folder that is there")


def _write(recorder: Recorder, file: str) -> None:
    """Write what was recorded; where nothing was, a file of before stays as it is."""
    from talea.gateway.recorder import write_cassette

    if not recorder.calls:
        return
    try:
        write_cassette(recorder.cassette(), file)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error


_Calls = SimpleQueue["Exchange | None"]
"""Calls that have ended; None when a signal says that it is enough."""


@contextmanager
def _until_signalled(calls: _Calls) -> Generator[None]:
    """Put None among the calls at the first signal to end; a second SIGINT ends at once."""
    told = False

    def tell(number: int, _frame: Any) -> None:
        nonlocal told
        if told and number == signal.SIGINT:
            os._exit(INTERRUPTED)
        told = True
        calls.put(None)  # Of all queues this one can be used by what interrupts its reader.

    before = {number: signal.signal(number, tell) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Screen:
    """What is told: of how to come in, of each call as it ends, and of all at the end.

    With `as_json` standard output has the calls alone, and all else goes to standard error.
    """

    def __init__(self, endpoint: Endpoint | None, *, as_json: bool) -> None:
        self._endpoint = endpoint
        self._as_json = as_json
        self._used = Usage()
        self._failed = 0

    def greet(self, door: Door, replay: str | None) -> None:
        """Say who answers, and how a program comes in."""
        who = f"Replaying {replay}" if replay else "Offline: a stand-in answers"
        if self._endpoint is not None:
            who = f"Asking {self._endpoint.base_url}"
        apart = door.base_url("TASK", "AGENT")
        for line in (
            f"{who}. Programs come in by",
            "",
            f"  OPENAI_BASE_URL={door.url}",
            "  OPENAI_API_KEY=none",
            "",
            "or, to have their tasks and agents told apart, by",
            "",
            f"  {apart}",
            "",
            "Ctrl-C ends it.",
            "",
        ):
            self._say(line)

    def follow(self, calls: _Calls) -> None:
        """Tell each call as it ends, until it is enough."""
        while (call := calls.get()) is not None:
            self._tell(call)

    def close(self, calls: _Calls, recorded: str | None) -> None:
        """Tell the calls that were cut off, and what all came to."""
        while not calls.empty():
            if (call := calls.get()) is not None:
                self._tell(call)
        count = self._used.model_calls
        if not count:
            self._say("No call was made.")
            return
        failed = f" ({self._failed} failed)" if self._failed else ""
        made = f"{count} call{'' if count == 1 else 's'}{failed}"
        where = f". Recorded to {recorded}." if recorded else ""
        self._say(f"\n{made}, {tokens(self._used)}, {cost(self._used)}{where}")

    def _tell(self, call: Exchange) -> None:
        used = Usage(1, call.input_tokens, call.output_tokens, call.cost)
        if used.cost is None and self._endpoint is not None:
            # Not in the gateway's thread: the first price takes a while to find.
            used.cost = call.cost = price(self._endpoint.provider, call.model, used)
        self._used.begin_call()
        if not _used_nothing(call):
            self._used.end_call(used)
        self._failed += call.status != 200 or call.error is not None
        line = to_json(call.as_json(), indent=None) if self._as_json else _line(call, used)
        _print(line)

    def _say(self, line: str) -> None:
        (say if self._as_json else _print)(clean(line))


def _print(line: str) -> None:
    """Print a line. That nobody reads any more is no reason to let the programs down."""
    try:
        click.echo(line)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _used_nothing(call: Exchange) -> bool:
    """Say whether a call was refused, which costs nothing."""
    return call.status >= 400 and not (call.input_tokens or call.output_tokens)


def _line(call: Exchange, used: Usage) -> str:
    """Give the line for a call: the figures in columns, then all else."""
    from talea.gateway.service import ADDRESS, AGENT

    clock = time.strftime("%H:%M:%S", time.localtime(call.began + call.duration))
    spent = "" if _used_nothing(call) else tokens(used)
    dollars = "" if call.cost is None else cost(used)
    named = (call.address, call.agent) != (ADDRESS, AGENT)
    notes = [
        f"{call.agent} at {call.address}" if named else "",
        f"calls {', '.join(call.tools_called)}" if call.tools_called else "",
        f"fault: {call.fault}" if call.fault else "",
        call.error or "",
    ]
    figures = (
        f"{clock}  {call.status or 'cut'}  {seconds(call.duration):>7}  {spent:>22}"
        f"  {dollars:>8}  {one_line(call.model, 40)}"
    )
    told = one_line("; ".join(note for note in notes if note), 300)
    return f"{figures}  {told}".rstrip()
