"""A key is seen by the server that it is for, and by nobody else, whatever that server does."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import talea
from talea.errors import RunError
from talea.events import Event

CANARY = "correct-horse-battery-staple"  # Nothing in it looks like a key.


class Echo(BaseHTTPRequestHandler):
    """A server that complains of a request by repeating its key."""

    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        self.rfile.read(int(self.headers["content-length"]))
        key = self.headers["authorization"].removeprefix("Bearer ")
        self.server.keys.append(key)
        told = {"error": {"message": "x" * 150 + f" key {key} is not {key}", "code": key}}
        body = json.dumps(told).encode()
        self.send_response(self.server.status, f"no {key}")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    status = 401

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.keys: list[str] = []


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_key_that_a_server_repeats_is_told_nowhere(
    server: Server, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", CANARY)
    server.status = status
    workflow = talea.loads(f"""
        talea: 1
        name: keyed
        models:
          m:
            model: own/m
            base_url: http://127.0.0.1:{server.server_port}/v1
            api_key: {{env: CANARY}}
        agents: {{w: {{model: m}}}}
        tasks:
          a: {{agent: w, prompt: hi, retry: {{max_attempts: 2, initial_interval: 0s, retry_on: [any]}}}}
          b: {{trigger: one_failed, value: "{{{{ tasks.a.error }}}}"}}
        """)
    events: list[Event] = []
    result = talea.run(workflow, sinks=[events.append])
    assert set(server.keys) == {CANARY}  # So it did travel, and the server did repeat it.
    assert result.tasks["a"].status == "failed"
    with pytest.raises(RunError) as caught:
        raise RunError("failed", "x") from result.tasks["a"].error and result.tasks["a"].error.cause
    told = "\n".join(
        [
            *map(repr, events),
            repr(result),
            json.dumps(result.as_json()),
            repr(workflow),
            workflow.model_dump_json(),
            repr(talea.compile(workflow)),
            *traceback.format_exception(caught.value),
        ]
    )
    assert CANARY not in told
    assert CANARY[:12] not in told  # Nor the half of it that a limit on length would leave.
