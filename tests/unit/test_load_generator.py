"""The load generator against a server that is slow, or hangs up early: it asks for what was planned."""

import io
import json
import subprocess
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageOps

from loadtest import samples
from loadtest.bar import state
from loadtest.recorder import LATE
from loadtest.shapes import SHAPES
from tests.serving import serving

ROOT = Path(__file__).parents[2]
LEARNED = 24
"""Uploads by which it learns what is right, of photos of 0.3 MP."""
pytestmark = pytest.mark.timeout(120)


class Marker(ThreadingHTTPServer):
    """Marks every photo at once, but may hold its answers, and tell only later that a job is complete."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *, held: float = 0.0, complete_after: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.held = held
        self.complete_after = complete_after
        self.jobs: list[tuple[float, bytes]] = []
        self.streams: Counter[int] = Counter()
        self.lock = Lock()

    @property
    def learned(self) -> bool:
        return len(self.jobs) > LEARNED

    def open(self, photo: bytes) -> int:
        with self.lock:
            self.jobs.append((time.monotonic(), marked(photo)))
            return len(self.jobs) - 1

    def status(self, job: int) -> dict[str, object]:
        begun, _ = self.jobs[job]
        complete = not self.learned or time.monotonic() - begun >= self.complete_after
        return {"state": "complete" if complete else "rendering", "failed": 0}


class _Handler(BaseHTTPRequestHandler):
    server: Marker
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        boundary = body.partition(b"\r\n")[0]
        job = self.server.open(body.partition(b"\r\n\r\n")[2].partition(b"\r\n" + boundary)[0])
        self.answer(202, b"{}", location=f"/jobs/{job}")

    def do_GET(self) -> None:
        _, kind, *rest = self.path.split("/")
        if kind == "readyz":
            self.answer(200, b"{}")
            return
        job, told = int(rest[0]), json.dumps(self.server.status(int(rest[0]))).encode()
        if rest[1:] == ["events"]:
            self.server.streams[job] += 1
            self.answer(200, b"event: snapshot\ndata: " + told + b"\n\n")
        elif rest[1:]:
            self.answer(200, self.server.jobs[job][1])
        else:
            self.answer(200, told)

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        if self.server.learned:
            time.sleep(self.server.held)
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def marked(photo: bytes) -> bytes:
    """Return the photo upright, with a mark in a corner."""
    with Image.open(io.BytesIO(photo)) as image:
        frame = ImageOps.exif_transpose(image)
    ImageDraw.Draw(frame).rectangle((8, 8, 40, 24), fill="white")
    file = io.BytesIO()
    frame.save(file, "JPEG", quality=90)
    return file.getvalue()


def run(server: Marker, folder: Path, *shape: str) -> tuple[dict[str, Any], list[samples.Sample]]:
    """Run a shape; return what was kept of it, and its samples."""
    with serving(server) as url:
        where = ["--url", url, "--out", folder / "kept", "--corpus", folder / "corpus", "--metrics-port", 0]
        done = subprocess.run(
            [sys.executable, "-m", "loadtest", "run", *shape, *map(str, where)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
    kept = list((folder / "kept").glob("*.json"))
    assert kept, done.stdout + done.stderr
    taken = list(samples.read(kept[0].with_suffix(".csv.gz")))
    return json.loads(kept[0].read_text("utf-8")), taken


def test_in_an_open_loop_nobody_is_put_off_by_a_server_that_holds_its_answers(tmp_path: Path) -> None:
    found, taken = run(Marker(held=2.0), tmp_path, "steady30", "--rate", "5", "--seconds", "4")
    counts = found["counts"]
    assert (counts["asked"], counts["served"]) == (20, 20)
    # Who waits for an answer is two seconds late; a busy machine holds everybody up for a moment.
    assert found["late"]["max"] < 0.5
    assert found["late"]["p50"] < LATE
    planned = sorted(each.planned for each in taken if each.step == "accept")
    gaps = [after - before for before, after in pairwise(planned)]
    assert gaps == pytest.approx([0.2] * 19, abs=0.002)
    waited = [each.seconds for each in taken if each.step == "done"]
    assert min(waited) >= 6.0, "the upload, the event stream and the result were held for 2 s each"


def test_an_event_stream_that_ends_too_early_is_opened_again_after_a_pause(tmp_path: Path) -> None:
    server = Marker(complete_after=1.2)
    found, _ = run(server, tmp_path, "steady30", "--rate", "3", "--seconds", "1")
    assert found["counts"]["served"] == 3
    assert all(3 <= count <= 4 for count in server.streams.values()), server.streams


def test_the_bar_moves_while_photos_are_made_and_first_results_looked_at(tmp_path: Path) -> None:
    with serving(Marker()) as url:
        shape = ("short", "--rate", 1, "--seconds", 1)
        words = [*shape, "--url", url, "--corpus", tmp_path, "--metrics-port", 0]
        done = subprocess.run(
            [sys.executable, "-m", "loadtest.generator", "--into", tmp_path, *map(str, words)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=90,
        )
    plan = SHAPES["short"].plan("short", {"rate": 1, "seconds": 1})
    seen = [state(plan, json.loads(line)) for line in done.stdout.splitlines()]
    prepared = [(each["told"].partition(",")[0], each["completed"], each["total"]) for each in seen[:32]]
    assert prepared[:8] == [("making the photos", n + 1, 8) for n in range(8)]
    assert prepared[8:] == [("looking at the first results", n + 1, LEARNED) for n in range(LEARNED)]
    assert all(each["total"] == 1 for each in seen[32:])
    assert seen[-1]["told"] == "1 of 1 served"
