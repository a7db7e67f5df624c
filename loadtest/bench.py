"""`make bench`: the CPU milliseconds of one photo in every process, beside a bare Pillow loop."""

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import IO, Any

import psutil
from PIL import Image, ImageDraw, ImageFont

from loadtest.client import Client
from loadtest.corpus import SIZES, sample
from loadtest.own import free_port, ready
from loadtest.record import keep, say
from loadtest.spending import (
    BUSY,
    OURS,
    SERVERS,
    SINGLE,
    WHOLE,
    Cpu,
    per_photo,
    shares,
    table,
    uncertainty,
)

_FIELDS = {"operations": "watermark", "text": "© Studio 2026"}
_PLAN = (
    ("0.3MP", SINGLE, 300, 60),
    ("0.3MP", BUSY, 900, 60),
    ("0.3MP", WHOLE, 200, 60),
    ("2MP", WHOLE, 60, 20),
    ("12MP", WHOLE, 16, 4),
)
"""What is sent: size, how, number of photos; and loops of bare Pillow."""
_RATE = 20.0
"""Jobs of one photo a second, which leave the machine more than half of its time."""
_SENDERS = 6
"""So many, each with its next job as soon as the last is accepted."""
_REST = 15.0
_SETTLE = 2.0
"""Seconds in which what the last photos leave to be done comes to its end."""


class Bench:
    """A system of its own, and what its processes spend."""

    def __init__(self, base_url: str, processes: dict[str, int], renderers: Sequence[str] = ()) -> None:
        """`processes` are process ids by name; `renderers` is where the workers that render show metrics."""
        self.base_url = base_url
        self.renderers = renderers
        self.client = Client(base_url)
        self._processes = processes

    def spent(self) -> Cpu:
        """Return the CPU seconds of each group so far."""
        spent: Cpu = dict.fromkeys((*OURS, *SERVERS), 0.0)
        for name, pid in self._processes.items():
            group = name.rstrip("-0123456789")
            if group not in spent:
                continue
            process = psutil.Process(pid)
            times = process.cpu_times()
            spent[group] += times.user + times.system
            below = times.children_user + times.children_system
            for child in process.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    of_child = child.cpu_times()
                    below += (
                        of_child.user + of_child.system + of_child.children_user + of_child.children_system
                    )
            spent["children" if group == "worker" else group] += below
        return spent

    def rest(self, seconds: float) -> Cpu:
        """Return which share of a core each group takes while there is nothing to do."""
        time.sleep(_SETTLE)
        return self._shares(lambda: time.sleep(seconds))[0]

    def _shares(self, work: Callable[[], None]) -> tuple[Cpu, float]:
        before, began = self.spent(), time.monotonic()
        work()
        after, took = self.spent(), time.monotonic() - began
        return shares(before, after, took), took

    def measured(self, photos: int, work: Callable[[], None], *, rest: float) -> dict[str, Any]:
        """Return what a photo of the work costs, beyond the rest that is taken just before and after it."""
        before = self.rest(rest)
        busy, took = self._shares(work)
        around = [before, self.rest(rest)]
        return {
            "photos": photos,
            "seconds": took,
            "rest_share_of_a_core": around,
            "cpu_ms": per_photo(busy, around, took, photos),
            "rest_differs_ms": uncertainty(around, took, photos),
        }


def bare(content: bytes, count: int) -> float:
    """Return the CPU milliseconds of decode, paste of a ready mark, and encode, with Pillow alone."""
    with Image.open(io.BytesIO(content)) as image:
        edge = min(image.size)
    font = ImageFont.load_default(max(10, edge // 20))
    left, top, right, bottom = (int(v) for v in font.getbbox(_FIELDS["text"]))
    mark = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mark).text((-left, -top), _FIELDS["text"], fill=153, font=font)
    began = time.process_time()
    for _ in range(count):
        with Image.open(io.BytesIO(content)) as image:
            image.paste((255, 255, 255), (image.width - mark.width - 9, image.height - mark.height - 9), mark)
            image.save(io.BytesIO(), "JPEG", quality=90)
    return 1000 * (time.process_time() - began) / count


def single_jobs(bench: Bench, content: bytes, count: int, rate: float) -> None:
    """Send one-photo jobs at an even rate, and wait until the last is complete."""
    began = time.monotonic()
    jobs: list[str] = []
    for n in range(count):
        jobs.append(bench.client.send_form("photo.jpg", content, _FIELDS))
        time.sleep(max(0.0, began + (n + 1) / rate - time.monotonic()))
    for job in jobs:
        bench.client.wait(job)


def busy_jobs(bench: Bench, content: bytes, count: int) -> None:
    """Send one-photo jobs as fast as they are accepted, and wait until the last is complete."""

    def send(sender: int) -> list[str]:
        client = Client(bench.base_url)
        try:
            return [client.send_form("photo.jpg", content, _FIELDS) for _ in range(sender, count, _SENDERS)]
        finally:
            client.close()

    with ThreadPoolExecutor(_SENDERS) as pool:
        jobs = list(pool.map(send, range(_SENDERS)))
    for job in chain.from_iterable(jobs):
        bench.client.wait(job)


def one_job(bench: Bench, content: bytes, count: int) -> None:
    """Send one job of many photos as the page does, and wait until it is complete."""
    job = bench.client.send_folder([(f"{n}.jpg", content) for n in range(count)], _FIELDS)
    bench.client.wait(job)


@contextmanager
def system(data: Path, *, renderers: int = 1) -> Generator[Bench]:
    """Run the whole system for a measurement: so many workers render, another one does all the rest."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "devstack",
        "up",
        "--data",
        str(data),
        "--port",
        str(port),
        "--workers",
        "0",
    ]
    with ExitStack() as started:
        log = started.enter_context((data.parent / "up.log").open("wb"))
        os.environ["EBBMARK_HTTP_JOBS_PER_MINUTE"] = "0"  # one client opens them all
        running = _started(started, command, log, signal.SIGINT)
        base_url = f"http://127.0.0.1:{port}"
        _wait_until_ready(base_url, running)
        noted = json.loads((data / "processes.json").read_text("utf-8"))
        processes = {name: int(entry["pid"]) for name, entry in noted.items()}
        env = _environment(json.loads((data / "endpoints.json").read_text("utf-8")))
        rendering = [("worker" if n == 0 else f"worker-{n + 1}", "renderer") for n in range(renderers)]
        shown: list[str] = []
        for name, agents in (*rendering, ("projector", "planner,projector,notifier")):
            worker = [sys.executable, "-m", "ebbmark.cli", "worker", "--agents", agents]
            own = {**env, "EBBMARK_WORKER_METRICS_PORT": str(free_port())}
            processes[name] = _started(started, worker, log, signal.SIGTERM, own).pid
            if agents == "renderer":
                shown.append(f"http://127.0.0.1:{own['EBBMARK_WORKER_METRICS_PORT']}/metrics")
        yield Bench(base_url, processes, shown)


def _started(
    stack: ExitStack,
    command: list[str],
    log: IO[bytes],
    end: signal.Signals,
    env: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env)  # noqa: S603 - our own
    stack.callback(process.wait, 60)
    stack.callback(process.send_signal, end)
    return process


def _environment(endpoints: dict[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "EBBMARK_KAFKA_BOOTSTRAP": endpoints["kafka"],
        "EBBMARK_LEDGER_URL": endpoints["postgres"],
        "EBBMARK_STORE_ENDPOINT": endpoints["s3"],
        "EBBMARK_STORE_ACCESS_KEY": endpoints["s3_access_key"],
        "EBBMARK_STORE_SECRET_KEY": endpoints["s3_secret_key"],
    }


def main() -> int:
    """Measure, print, and keep the raw results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer photos, nothing kept")
    args = parser.parse_args()
    less = 4 if args.quick else 1
    with tempfile.TemporaryDirectory(prefix="ebbmark-bench-") as folder:
        contents = {size: sample(size, Path(folder) / "corpus") for size in SIZES}
        with system(Path(folder) / "data") as bench:
            say("warming up …")
            single_jobs(bench, contents["0.3MP"], 400 // less, 40)
            one_job(bench, contents["2MP"], 40 // less)
            one_job(bench, contents["12MP"], 4)
            rows = [
                _row(bench, size, contents[size], kind, max(4, count // less), loops, _REST / less)
                for size, kind, count, loops in _PLAN
            ]
            bench.client.close()
    report = table(rows)
    say(report)
    if not args.quick:
        keep(report, {"rows": rows})
    return 0


def _row(  # noqa: PLR0917 - a row of the plan
    bench: Bench, size: str, content: bytes, kind: str, photos: int, loops: int, rest: float
) -> dict[str, Any]:
    def work() -> None:
        if kind == SINGLE:
            single_jobs(bench, content, photos, _RATE)
        elif kind == BUSY:
            busy_jobs(bench, content, photos)
        else:
            one_job(bench, content, photos)

    before = bare(content, loops)
    found = bench.measured(photos, work, rest=rest)
    after = bare(content, loops)
    kind = f"{WHOLE} of {photos}" if kind == WHOLE else kind
    say(f"{size} {kind}: done")
    return {"size": size, "kind": kind, "bytes": len(content), **found, "bare_ms": (before + after) / 2}


def _wait_until_ready(base_url: str, running: subprocess.Popen[bytes]) -> None:
    while running.poll() is None:
        if ready(base_url):
            return
        time.sleep(0.1)
    message = "the system did not start"
    raise SystemExit(message)


if __name__ == "__main__":
    raise SystemExit(main())
