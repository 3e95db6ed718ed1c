"""`talea view`: what it lists and shows, and that nobody else and nothing in a file gets further."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from compare.browser import DESKTOP, PHONE, Open
from compare.sample import TEXTS, sample
from compare.test_report import HOSTILE, poisoned
from talea.compare.record import Comparison, Used
from talea.compare.shelf import Shelf
from talea.compare.viewing import Viewer
from talea.errors import UsageError

LATER = "2026-11-27T08:00:00+00:00"


@contextmanager
def serving(folder: Path) -> Iterator[Viewer]:
    with Viewer(str(folder)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two comparisons of one workflow, and one of another; one file is a report."""
    monday = sample()
    tuesday = sample(slower=1.8, seed=9).model_copy(update={"began": LATER})
    other = sample(frameworks=("simple",), name="data-pipeline", cases=1, repeats=3, fails=False)
    (tmp_path / "monday.json").write_text(monday.to_json(), encoding="utf-8")
    (tmp_path / "tuesday.html").write_text(tuesday.to_html(), encoding="utf-8")
    (tmp_path / "other.json").write_text(
        other.model_copy(update={"began": "2026-01-01T00:00:00+00:00"}).to_json(), encoding="utf-8"
    )
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Viewer]:
    with serving(folder) as running:
        yield running


def ask(
    server: Viewer, path: str = "/", method: str = "GET", **headers: str
) -> tuple[int, str, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


# The list.


def test_a_folder_is_listed_by_date_with_what_is_broken_and_why(folder: Path):
    (folder / "cut.json").write_text(sample().to_json()[:500], encoding="utf-8")
    (folder / "page.html").write_text("<h1>hello</h1>", encoding="utf-8")
    (folder / "later.json").write_text('{"talea_comparison": 2}', encoding="utf-8")
    (folder / "bytes.json").write_bytes(b"{\xff\xfe")
    (folder / "notes.txt").write_text("nothing", encoding="utf-8")
    (folder / "folder.json").mkdir()
    found = {entry.name: entry for entry in Shelf(folder).entries()}
    assert [name for name, entry in found.items() if not entry.broken] == [
        "tuesday.html",
        "monday.json",
        "other.json",
    ]
    assert found["tuesday.html"].keys == ("simple", "langgraph", "crewai")
    assert found["other.json"].workflow == "data-pipeline"
    assert "3 runs succeeded on simple" in found["other.json"].answer[0]
    broken = {name: entry.broken or "" for name, entry in found.items() if entry.broken}
    assert set(broken) == {"cut.json", "page.html", "later.json", "bytes.json"}
    assert "holds no comparison" in broken["page.html"]
    assert "talea_comparison" in broken["later.json"]
    assert "Invalid JSON" in broken["cut.json"]
    assert "cannot be read" in broken["bytes.json"]


def test_a_file_is_read_again_when_it_has_changed(folder: Path):
    shelf = Shelf(folder)
    before = {entry.name: entry for entry in shelf.entries()}
    assert shelf.entries()[0] is before["tuesday.html"]
    (folder / "other.json").unlink()
    (folder / "monday.json").write_text(sample(name="renamed").to_json(), encoding="utf-8")
    after = {entry.name: entry for entry in shelf.entries()}
    assert after["monday.json"].workflow == "renamed"
    assert after["tuesday.html"] is before["tuesday.html"]
    assert "other.json" not in after


def test_a_file_that_goes_while_it_is_asked_for_is_told_of(folder: Path, server: Viewer):
    shelf = server.shelf
    listed = shelf.entries()
    for path in folder.iterdir():
        path.unlink()
    (folder / "monday.json").symlink_to(folder / "nowhere.json")
    assert len(listed) == 3
    assert ask(server, "/report?name=monday.json")[0] == 404
    assert "No comparisons are here yet" in ask(server)[1]
    (folder / "monday.json").unlink()
    folder.rmdir()
    status, page, _ = ask(server)
    assert status == 422
    assert "cannot be read" in page


@pytest.mark.parametrize(
    ("search", "names"),
    [
        ("DATA", ["other.json"]),
        ("brief crewai", ["tuesday.html", "monday.json"]),
        ("2026-11-27", ["tuesday.html"]),
        ("brief 2026-01", []),
        (" ", ["tuesday.html", "monday.json", "other.json"]),
    ],
)
def test_a_list_is_searched_by_file_workflow_framework_and_day(
    folder: Path, search: str, names: list[str]
):
    assert [entry.name for entry in Shelf(folder).entries(search)] == names


def test_what_failed_or_is_lacking_is_counted_in_the_list(folder: Path):
    whole = sample()
    cut = whole.model_copy(update={"runs": whole.runs[3:]})
    (folder / "cut-short.json").write_text(cut.to_json(), encoding="utf-8")
    found = {entry.name: entry for entry in Shelf(folder).entries()}
    assert (found["cut-short.json"].failed, found["cut-short.json"].lacking) == (1, 3)
    assert (found["other.json"].failed, found["other.json"].lacking) == (0, 0)


def odd(folder: Path, name: str, **update: Any) -> None:
    """Write a comparison whose runs have a figure that no sum survives."""
    whole = sample(cases=1, repeats=2, fails=False)
    runs = tuple(run.model_copy(update=update) for run in whole.runs)
    (folder / name).write_text(whole.model_copy(update={"runs": runs}).to_json(), encoding="utf-8")


def test_figures_that_make_no_sense_break_their_own_entry_alone(folder: Path):
    odd(folder, "odd.json", used=Used(input_tokens=10**400))
    found = {entry.name: entry.broken for entry in Shelf(folder).entries()}
    assert found["odd.json"] == "Its figures make no sense: OverflowError"
    assert found["monday.json"] is None


def test_figures_that_make_no_sense_are_told_of_in_place_of_a_report(folder: Path, server: Viewer):
    odd(folder, "odd.json", peak_memory=10**400)
    status, page, _ = ask(server, "/report?name=odd.json")
    assert status == 422
    assert "Its figures make no sense: OverflowError." in page
    assert ask(server)[0] == 200


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="nowhere cannot be read"):
        Shelf(tmp_path / "nowhere")


# Who may ask, and for what.


def test_what_is_sent_may_load_nothing_and_be_framed_by_nobody(server: Viewer):
    status, page, headers = ask(server, "/report?name=monday.json")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.endswith("; frame-ancestors 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
    in_page = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert in_page is not None
    assert in_page[1].replace("&#x27;", "'") == policy.removesuffix("; frame-ancestors 'none'")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "localhost:1", "127.0.0.1:{port}.evil.example", ""]
)
def test_another_name_for_this_server_is_refused(server: Viewer, host: str):
    status, page, _ = ask(server, Host=host.format(port=server.server_address[1]))
    assert status == 421
    assert "market-brief" not in page


def test_its_own_names_are_answered(server: Viewer):
    for name in ("127.0.0.1", "localhost"):
        assert ask(server, Host=f"{name}:{server.server_address[1]}")[0] == 200


def test_two_hosts_in_one_request_are_refused(server: Viewer):
    own = f"127.0.0.1:{server.server_address[1]}"
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.putrequest("GET", "/", skip_host=True)
    connection.putheader("Host", own)
    connection.putheader("Host", "evil.example")
    connection.endheaders()
    assert connection.getresponse().status == 421
    connection.close()


@pytest.mark.parametrize(
    "name",
    [
        "../secret.json",
        "..%2Fsecret.json",
        "%2Fetc%2Fpasswd",
        "nothing.json",
        "",
        ".",
        "monday.json%00",
        "sub/inner.json",
    ],
)
def test_only_what_is_listed_is_read(folder: Path, name: str):
    inner = folder / "shelf"
    (inner / "sub").mkdir(parents=True)
    (inner / "monday.json").write_text(sample().to_json(), encoding="utf-8")
    for secret in (folder / "secret.json", inner / "sub" / "inner.json"):
        secret.write_text(sample(name="a-secret").to_json(), encoding="utf-8")
    with serving(inner) as server:
        for path in (f"/report?name={name}", f"/{name}", f"/sides?a=monday.json&b={name}"):
            status, page, _ = ask(server, path)
            assert (status, "a-secret" in page) == (404, False) or path == "/"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_there_is_nothing_to_do_but_read(server: Viewer, method: str):
    assert ask(server, method=method)[0] == 501


@pytest.mark.parametrize(
    ("error", "told"),
    [(ConnectionResetError(), False), (BrokenPipeError(), False), (ValueError("a mistake"), True)],
)
def test_a_browser_that_has_gone_is_nothing_to_tell(
    server: Viewer, capsys: pytest.CaptureFixture[str], error: Exception, told: bool
):
    try:
        raise error
    except Exception:
        server.handle_error(None, ("127.0.0.1", 1))
    assert ("a mistake" in capsys.readouterr().err) is told


def test_head_is_get_without_the_page(server: Viewer):
    status, page, headers = ask(server, method="HEAD")
    assert (status, page) == (200, "")
    assert int(headers["Content-Length"]) == len(ask(server)[1].encode())


def test_a_broken_file_is_told_of_when_it_is_asked_for(folder: Path, server: Viewer):
    (folder / "cut.json").write_text("{", encoding="utf-8")
    status, page, _ = ask(server, "/report?name=cut.json")
    assert status == 422
    assert "cut.json is no comparison" in page


# In a browser.


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_from_the_list_to_a_report_and_back(browse: Open, server: Viewer, viewport: dict[str, int]):
    visit = browse(server.url, server.url, viewport=viewport)
    page = visit.page
    assert page.locator("h1").inner_text() == server.shelf.folder.name
    assert page.locator(".shelf h2").all_inner_texts() == [
        "tuesday.html",
        "monday.json",
        "data-pipeline",
    ]
    facts = page.locator(".shelf .facts span:first-child").all_inner_texts()
    assert facts == ["market-brief", "market-brief", "other.json"]
    assert visit.wide()[0] <= visit.wide()[1]
    page.get_by_role("link", name="tuesday.html").click()
    assert page.url == f"{server.url}report?name=tuesday.html"
    assert "File tuesday.html" in page.locator("header").inner_text()
    page.get_by_role("button", name="draft on simple").click()
    assert page.locator("tr.opened .side").count() == 3
    page.get_by_role("link", name="All comparisons").click()
    assert page.url == server.url
    assert visit.faults == []


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_two_stand_side_by_side_with_how_they_differ(
    browse: Open, server: Viewer, viewport: dict[str, int]
):
    visit = browse(server.url, server.url, viewport=viewport)
    page = visit.page
    page.get_by_role("button", name="Show A and B side by side").click()
    assert "a=monday.json" in page.url
    assert "b=tuesday.html" in page.url
    groups = page.locator("tbody.group")
    assert [group.locator("tr").first.inner_text().strip() for group in groups.all()] == [
        "simple",
        "langgraph",
        "crewai",
    ]
    row = groups.nth(2).locator("tr").filter(has_text="In the framework itself")
    found = re.fullmatch(
        r"(\d\.\d\d) × \((\d\.\d\d) to (\d\.\d\d)\)\s+wall times of two sessions",
        row.locator("td").nth(2).inner_text(),
    )
    assert found is not None
    assert float(found[2]) <= 1.8 <= float(found[3])
    assert row.locator(".better, .worse").count() == 0
    assert groups.nth(2).locator("tr").filter(has_text="CPU").locator(".worse").count() == 1
    same = groups.nth(0).locator("tr").filter(has_text="Tokens in")
    assert same.locator("td").nth(2).inner_text() == "the same"
    assert visit.wide()[0] <= visit.wide()[1]
    page.goto(f"{server.url}sides?a=monday.json&b=other.json")
    notices = " ".join(page.locator(".notice").all_inner_texts())
    assert "Only A has langgraph, crewai." in notices
    assert visit.faults == []


def test_many_comparisons_are_searched(browse: Open, folder: Path, server: Viewer):
    assert browse(server.url, server.url).page.get_by_label("Search").count() == 0
    text = (folder / "other.json").read_text(encoding="utf-8")
    for number in range(8):
        (folder / f"more{number}.json").write_text(text, encoding="utf-8")
    visit = browse(server.url, server.url)
    page = visit.page
    page.get_by_label("Search").fill("<brief> tuesday")
    page.get_by_role("button", name="Find").click()
    assert "None of the comparisons has these words." in page.inner_text("main")
    assert page.get_by_label("Search").input_value() == "<brief> tuesday"
    page.get_by_label("Search").fill("brief tuesday")
    page.get_by_role("button", name="Find").click()
    assert page.locator(".shelf h2").all_inner_texts() == ["tuesday.html"]
    page.get_by_role("link", name="All", exact=True).click()
    assert page.locator(".shelf h2").count() == 11
    assert visit.faults == []


def test_outputs_that_differ_between_two_are_named(browse: Open, folder: Path, server: Viewer):
    changed = sample(
        output=lambda task, key, repeat: f"{task} anew" if task == "draft" else TEXTS[task]
    )
    (folder / "changed.json").write_text(changed.to_json(), encoding="utf-8")
    page = browse(f"{server.url}sides?a=monday.json&b=changed.json", server.url).page
    row = page.locator("tbody.group").first.locator("tr").last
    assert row.locator("th").inner_text() == "Outputs"
    assert row.locator("td").last.inner_text() == "same\ntasks that differ: draft"


def test_comparisons_without_a_common_case_are_not_compared(
    browse: Open, folder: Path, server: Viewer
):
    there = sample(cases=1)
    cases = tuple(case.model_copy(update={"id": "elsewhere"}) for case in there.cases)
    runs = tuple(run.model_copy(update={"case": "elsewhere"}) for run in there.runs)
    moved = there.model_copy(update={"cases": cases, "runs": runs})
    (folder / "moved.json").write_text(moved.to_json(), encoding="utf-8")
    page = browse(f"{server.url}sides?a=monday.json&b=moved.json", server.url).page
    assert "They have no case in common" in " ".join(page.locator(".notice").all_inner_texts())
    for name in ("Duration", "Peak memory"):
        row = page.locator("tbody.group").first.locator("tr").filter(has_text=name)
        assert row.locator("td").last.inner_text() == "–"


def test_other_machines_and_texts_are_pointed_out(browse: Open, folder: Path, server: Viewer):
    there = Comparison.read(folder / "monday.json")
    moved = there.model_copy(
        update={
            "machine": there.machine.model_copy(update={"processor": "another"}),
            "outline": there.outline.model_copy(update={"source": "talea: 1"}),
        }
    )
    (folder / "moved.json").write_text(moved.to_json(), encoding="utf-8")
    page = browse(f"{server.url}sides?a=monday.json&b=moved.json", server.url).page
    notices = " ".join(page.locator(".notice").all_inner_texts())
    assert "different machines" in notices
    assert "not the same text" in notices


def test_what_strangers_left_in_the_folder_runs_nothing(browse: Open, folder: Path, server: Viewer):
    trap = poisoned(sample(cases=1, repeats=2)).to_html()
    own_script = "<script>window.pwned=1;fetch('http://127.0.0.1:9/')</script>"
    trap = trap.replace("</body>", f"{own_script}</body>")
    trap = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", trap)
    (
        folder / f"{'<img src=x onerror=window.pwned=1>' if os.name == 'posix' else 'trap'}.html"
    ).write_text(trap, encoding="utf-8")
    visit = browse(server.url, server.url, viewport=PHONE)
    page = visit.page
    assert page.evaluate("window.pwned") is None
    assert visit.wide()[0] <= visit.wide()[1]
    page.get_by_role("link", name="market-brief\"'>").click()
    assert page.locator("h1").inner_text().startswith("market-brief\"'><script>")
    assert page.evaluate("window.pwned") is None
    assert own_script not in page.content()
    assert HOSTILE.split("'")[0] in page.locator("h1").inner_text()
    assert visit.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_keyboards_screen_readers_and_eyes_find_their_way(
    browse: Open, folder: Path, server: Viewer, scheme: str
):
    (folder / "cut.json").write_text("{", encoding="utf-8")
    for path in ("", "sides?a=monday.json&b=tuesday.html"):
        visit = browse(f"{server.url}{path}", server.url, color_scheme=scheme, bypass_csp=True)
        assert visit.broken_rules() == []


# The command.


def test_the_command_serves_until_it_is_interrupted(folder: Path):
    command = [sys.executable, "-m", "talea", "view", str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
            assert found is not None
            with urllib.request.urlopen(found[0], timeout=10) as answer:
                assert "market-brief" in answer.read().decode()
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_a_port_that_is_taken_is_named(server: Viewer, folder: Path):
    port = server.server_address[1]
    done = subprocess.run([sys.executable, "-m", "talea", "view", str(folder), "--port", str(port)], capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 2
    assert f"port {port} cannot be had" in done.stderr
