"""`talea gateway` as people use it: a process of its own, and programs that set its address."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from standing import environment, standing
from talea.gateway.cassette import Cassette, Player, load_cassette
from talea.gateway.server import Gateway

CANARY = "sk-canary-0123456789abcdef"
TURNS: list[dict[str, Any]] = [
    {"content": "One.", "usage": {"input_tokens": 1500, "output_tokens": 3, "cost": 0.25}},
    {"tool_calls": [{"name": "search", "arguments": {"q": "cats"}}]},
    {"content": "Three. " * 20},
]
ASKED: Any = [{"role": "user", "content": "Say something."}]


@contextmanager
def provider(*turns: dict[str, Any]) -> Iterator[str]:
    """Stand for a provider that gives these answers; gives its address."""
    tasks = {"call": list(turns)}
    with Gateway(Player(Cassette.model_validate({"talea_cassette": 1, "tasks": tasks}))) as gateway:
        yield gateway.open().url


@contextmanager
def strict_provider() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Stand for a provider that notes the headers it is sent, and answers everyone the same."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            seen.append({name.lower(): text for name, text in self.headers.items()})
            message = {"role": "assistant", "content": "Hello."}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            body = json.dumps({"id": "x", "object": "chat.completion", "choices": [choice]})
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("set-cookie", "session=1")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chat(client: OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(model="gpt-5-mini", messages=ASKED, **more)


def use(client: OpenAI) -> list[Any]:
    """Be a program: three calls, the last one streamed and by the Responses API."""
    first, second = chat(client), chat(client)
    with client.responses.stream(model="gpt-5-mini", input="And now?") as stream:
        third = stream.get_final_response().output_text
    (called,) = second.choices[0].message.tool_calls
    return [first.choices[0].message.content, called.function.arguments, third]


ANSWERS = ["One.", '{"q": "cats"}', "Three. " * 20]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_counts_the_calls_of_any_program_and_ends_in_order(tmp_path: Path, number: int) -> None:
    with provider(*TURNS) as url, standing("--upstream", url, cwd=tmp_path) as running:
        with running.client() as client:
            assert use(client) == ANSWERS
        code, out, err = running.end(number)
    assert (code, err) == (0, "")
    *lines, blank, total = out.strip().split("\n")
    assert blank == ""
    assert len(lines) == 3
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d  200  +[\d.]+ m?s  +1,500 \+ 3 tokens  +\$0\.2500  gpt-5-mini", lines[0]
    )
    assert lines[1].endswith("gpt-5-mini  calls search")
    assert "  200  " in lines[2]
    assert re.fullmatch(r"3 calls, 1,5\d\d \+ \d+ tokens, cost unknown", total)


def test_what_is_recorded_is_replayed(tmp_path: Path) -> None:
    with provider(*TURNS) as url:
        arguments = ("--upstream", url, "--record", "calls.yaml")
        with standing(*arguments, cwd=tmp_path) as running:
            with running.client() as client:
                assert use(client) == ANSWERS
            code, out, _ = running.end()
    assert code == 0
    assert out.rstrip().endswith("Recorded to calls.yaml.")
    (turns,) = load_cassette(tmp_path / "calls.yaml").tasks.values()
    assert len(turns) == 3
    with standing("--replay", "calls.yaml", cwd=tmp_path) as running:
        with running.client() as client:
            assert use(client) == ANSWERS
            with pytest.raises(openai.ConflictError, match="extra model call"):
                chat(client)
        code, out, _ = running.end()
    assert code == 0
    assert "4 calls (1 failed)" in out
    assert "the framework made an extra model call" in out


def test_prints_json_lines_alone_to_standard_output(tmp_path: Path) -> None:
    with standing("--offline", "--json", "--save-prompts", cwd=tmp_path) as running:
        with running.client() as client:
            chat(client)
        apart = running.url.replace("/v1", "/at/notes%5B0%5D/agent/writer/v1")
        with running.client(apart) as client:
            list(chat(client, stream=True))
            list(chat(client, stream=True))
        code, out, err = running.end()
    assert code == 0
    first, *_, last = map(json.loads, out.splitlines())
    assert (first["address"], first["agent"], first["status"]) == ("call", "model", 200)
    assert (last["address"], last["agent"], last["stream"]) == ("notes[0]", "writer", True)
    assert first["prompt"][0]["content"] == "Say something."
    assert first["user_agent"].startswith("OpenAI/")
    assert first["input_tokens"] > 0
    assert "$0.0000" in err


def test_keeps_prompts_only_on_request(tmp_path: Path) -> None:
    with standing("--offline", "--json", cwd=tmp_path) as running:
        with running.client() as client:
            chat(client)
        _, out, err = running.end()
    assert json.loads(out)["prompt"] is None
    assert "Say something" not in out + err


def test_the_key_goes_to_the_upstream_and_nowhere_else(tmp_path: Path) -> None:
    with strict_provider() as (url, seen):
        arguments = ("--upstream", url, "--key", "MINE", "--record", "calls.yaml", "--json")
        with standing(*arguments, cwd=tmp_path, MINE=CANARY) as running:
            with running.client() as client:
                answer = client.chat.completions.with_raw_response.create(
                    model="m", messages=ASKED, extra_headers={"x-mine": "private"}
                )
            head, (code, out, err) = "".join(running.head), running.end()
    (headers,) = seen
    assert headers["authorization"] == f"Bearer {CANARY}"
    assert "none" not in headers["authorization"]
    assert "x-mine" not in headers
    assert "set-cookie" not in answer.headers
    assert code == 0
    written = (tmp_path / "calls.yaml").read_text("utf-8")
    assert "Hello." in written
    assert CANARY not in head + out + err + written + str(answer.headers)


def test_a_url_gets_no_providers_key(tmp_path: Path) -> None:
    with (
        strict_provider() as (url, seen),
        standing("--upstream", url, cwd=tmp_path, OPENAI_API_KEY=CANARY) as running,
        running.client() as client,
    ):
        chat(client)
    assert "authorization" not in seen[0]


def test_an_upstream_that_is_not_there_is_told(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # Nobody listens.
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with standing("--upstream", url, cwd=tmp_path) as running:
            with running.client() as client, pytest.raises(openai.APIStatusError) as caught:
                chat(client)
            _, out, _ = running.end()
    assert caught.value.status_code == 502
    assert "cannot be reached" in str(caught.value)
    assert "cannot be reached" in out
    assert "1 call (1 failed)" in out


def test_faults_befall_any_source(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text(
        "talea_faults: 1\nrules: [{at: '*', first: 1, fault: {status: 503}}]\n"
    )
    with standing("--offline", "--faults", "faults.yaml", cwd=tmp_path) as running:
        with running.client() as client:
            with pytest.raises(openai.InternalServerError):
                chat(client)
            chat(client)
        _, out, _ = running.end()
    assert "fault: status" in out
    assert "2 calls (1 failed)" in out


def test_nobody_without_the_secret_comes_in(tmp_path: Path) -> None:
    with standing("--offline", cwd=tmp_path) as running:
        stranger = re.sub(r"/run/[^/]+/", "/run/guessed/", running.url)
        assert httpx.get(f"{stranger}/models").status_code == 404
        assert httpx.get(f"{running.url}/models").status_code == 200
        port = httpx.URL(running.url).port
        assert port is not None
        # It listens on loopback alone.
        listening = Path("/proc/net/tcp")
        if listening.exists():
            ours = [
                line
                for line in listening.read_text().splitlines()
                if f":{port:04X} 00000000" in line
            ]
            assert ours
            assert all(" 0100007F:" in line for line in ours)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "give one of --upstream, --offline and --replay"),
        (("--offline", "--replay", "x.yaml"), "--offline and --replay exclude each other"),
        (("--upstream", "opnai"), "did you mean 'openai'"),
        (("--upstream", "openai"), "OPENAI_API_KEY is not set"),
        (("--replay", "nowhere.yaml"), "nowhere.yaml: the cassette cannot be read"),
        (("--offline", "--faults", "nowhere.yaml"), "the fault rules cannot be read"),
        (("--offline", "--record", "no/such/calls.yaml"), "no/such/calls.yaml cannot be written"),
        (("--offline", "--key", "MINE"), "--key"),
    ],
)
def test_says_at_once_what_is_wrong(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "talea", "gateway", *arguments],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, encoding="utf-8",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "talea", "gateway", "--offline", "--port", port],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, encoding="utf-8",
        )  # fmt: skip
    assert done.returncode == 2
    assert f"port {port} cannot be had" in done.stderr


def test_a_reader_that_has_gone_lets_no_program_down(tmp_path: Path) -> None:
    with standing("--offline", "--record", "calls.yaml", cwd=tmp_path) as running:
        assert running.process.stdout is not None
        running.process.stdout.close()
        with running.client() as client:
            chat(client)
            chat(client)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=30) == 0
    assert len(load_cassette(tmp_path / "calls.yaml").tasks["call"]) == 2
