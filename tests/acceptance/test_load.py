"""A load test of the real system: it is measured, judged and shown, and a wrong result does not escape."""

import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

import httpx
import pytest
from PIL import Image

from loadtest import own, report
from tests.serving import serving
from tests.system import System, free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 110.0
pytestmark = pytest.mark.timeout(240)


def command(url: str, folder: Path, *shape: str, port: int = 0) -> list[str]:
    where = ["--url", url, "--out", folder / "kept", "--corpus", folder / "corpus", "--metrics-port", port]
    return [sys.executable, "-m", "loadtest", "run", *shape, *map(str, where)]


def run(url: str, folder: Path, *shape: str) -> tuple[int, dict[str, Any]]:
    """Run a shape to its end; return the exit code and what was kept."""
    done = subprocess.run(
        command(url, folder, *shape),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    kept = list((folder / "kept").glob("*.json"))
    assert kept, done.stdout + done.stderr
    return done.returncode, json.loads(kept[0].read_text("utf-8"))


def counted(text: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_shape_is_run_judged_and_shown_to_prometheus_while_it_runs(
    running_system: System, tmp_path: Path
) -> None:
    port = free_port()
    running = subprocess.Popen(
        command(running_system.base_url, tmp_path, "steady30", "--rate", "4", "--seconds", "6", port=port),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    shown, planned = "", set[float]()
    try:
        deadline = time.monotonic() + PATIENCE
        while counted(shown, "ebbmark_load_verified_total") < 5 and running.poll() is None:
            assert time.monotonic() < deadline
            try:
                shown = httpx.get(f"http://127.0.0.1:{port}/metrics").text
                planned.add(counted(shown, 'ebbmark_load_rate_planned{request="upload"}'))
            except httpx.TransportError:
                pass  # it does not listen yet, or any more
            time.sleep(0.05)
        said, _ = running.communicate(timeout=PATIENCE)
    finally:
        running.kill()
        running.communicate()

    assert counted(shown, "ebbmark_load_verified_total") >= 5, said
    assert counted(shown, 'ebbmark_load_asked_total{request="upload"}') >= 5
    assert planned <= {0, 4}
    assert 4 in planned, "a slow system is still asked when the last request was planned"
    assert counted(shown, 'ebbmark_load_seconds_count{step="done"}') >= 5
    assert counted(shown, 'ebbmark_load_info{loop="open",shape="steady30"}') == 1
    assert 'ebbmark_load_wrong_results_total{reason="size"} 0.0' in shown

    (kept,) = (tmp_path / "kept").glob("*.json")
    found = json.loads(kept.read_text("utf-8"))
    counts = found["counts"]
    assert (counts["asked"], counts["served"], counts["wrong"]) == (24, 24, 0), (found["failures"], said)
    assert found["steps"]["accept"]["count"] == 24
    assert found["steps"]["done"]["p95"] >= found["steps"]["accept"]["p50"] > 0
    assert found["not_served"] == found["lost"] == 0
    assert not found["whole"]
    promises = {each["about"]: each for each in found["verdicts"]["promises"]}
    assert promises["errors and refusals"]["holds"]
    assert promises["wrong results"]["holds"]
    (page,) = re.findall(r"The report: (\S+\.html)", said)
    assert Path(page).parent == tmp_path / "kept"
    assert "<svg" in Path(page).read_text("utf-8")


def test_users_of_a_closed_loop_come_ask_and_go(running_system: System, tmp_path: Path) -> None:
    shape = ("ramp", "--users", "4", "--ramp", "1", "--hold", "3", "--pause", "0.2")
    _, found = run(running_system.base_url, tmp_path, *shape)
    assert found["loop"] == "closed"
    assert found["counts"]["served"] == found["counts"]["asked"] > 4
    assert found["steps"]["status"]["count"] >= 3 * found["counts"]["served"]
    assert found["not_served"] == 0


def test_a_bulk_ends_with_its_last_photo(running_system: System, tmp_path: Path) -> None:
    code, found = run(
        running_system.base_url, tmp_path, "bulk", "--count", "7", "--workers", "3", "--mix", "0.3MP"
    )
    assert code == 0
    assert found["counts"]["served"] == found["counts"]["asked"] == 7


def test_a_result_that_is_somebody_else_s_is_found(running_system: System, tmp_path: Path) -> None:
    shape = ("peak100", "--rate", "3", "--seconds", "5")
    with spoiling(running_system.base_url, nth=30) as url:
        code, found = run(url, tmp_path, *shape)
    assert (found["counts"]["asked"], found["counts"]["wrong"], found["counts"]["served"]) == (15, 1, 14)
    assert found["failures"] == {"done: wrong-size": 1}
    assert found["verdicts"]["verdict"] != "kept"
    assert code == 1
    broken = [each["about"] for each in found["verdicts"]["promises"] if not each["holds"]]
    assert "wrong results" in broken


def test_where_nobody_answers_nothing_is_measured(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = subprocess.run(
        command(url, tmp_path, "short"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr == f"Nobody is ready at {url}.\n"


def test_where_none_runs_it_starts_one_of_its_own_and_stops_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "URL", f"http://127.0.0.1:{free_port()}")
    with own.reached(own.URL) as url:
        assert url != own.URL
        assert own.ready(url)
    assert not own.ready(url)


def test_renderers_are_compared_once_each_has_its_share_and_the_run_can_be_read_again(tmp_path: Path) -> None:
    where = ["--out", tmp_path, "--corpus", tmp_path / "corpus", "--metrics-port", 0]
    words = ["--renderers", 2, "--count", 6, "--workers", 3, "--mix", "0.3MP", *where]
    comparing = subprocess.Popen(
        [sys.executable, "-m", "loadtest", "compare", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = comparing.communicate(timeout=200)
    finally:
        comparing.send_signal(signal.SIGINT)  # who is killed leaves its system behind
        comparing.wait(60)
    assert comparing.returncode == 0, said
    (kept,) = tmp_path.glob("*-compare.json")
    (row,) = json.loads(kept.read_text("utf-8"))["rows"]
    assert (row["renderers"], row["counts"]["served"]) == (2, 6)
    assert len(row["rendered"]) == 2
    assert min(row["rendered"]) > 0, "both did some of the 30, learning included"
    (path,) = tmp_path.glob("*-compare-2.csv.gz")
    found, taken = report.load(path)
    assert found["renderers"] == 2
    assert sum(each.step == "done" for each in taken) == 6


@contextmanager
def spoiling(url: str, *, nth: int) -> Iterator[str]:
    """Pass all requests on, and answer the nth one for a result with another photo.

    The first 24 are those by which the load test learns what is right.
    """
    lock, results = Lock(), [0]
    other = io.BytesIO()
    Image.new("RGB", (320, 200), "gray").save(other, "JPEG")

    class Between(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = system.request(self.command, self.path, content=body, headers=headers)
            content = answer.content
            if self.path.endswith("/photos/0"):
                with lock:
                    results[0] += 1
                    if results[0] == nth:
                        content = other.getvalue()
            self.send_response(answer.status_code)
            for name in ("content-type", "location", "retry-after", "etag"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            if answer.status_code != 304:
                self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - its name is the method's

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Between)
    server.daemon_threads = True
    with httpx.Client(base_url=url, timeout=PATIENCE) as system, serving(server) as between:
        yield between
