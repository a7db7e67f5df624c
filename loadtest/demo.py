"""`make demo`: a folder of photos goes through a running system; the archive and a summary come back."""

import argparse
import io
import json
import statistics
import sys
import threading
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import httpx
from PIL import Image

from loadtest.client import AwayError, Client
from loadtest.corpus import holiday

_WIDTH = 1200
_FIELDS = {"operations": "resize,watermark", "width": str(_WIDTH), "text": "© Ebbmark demo"}


class Clock:
    """When each photo was sent and when its result was first seen, in seconds since the start."""

    def __init__(self) -> None:
        """Start now."""
        self._began = time.monotonic()
        self.sent: dict[int, float] = {}
        self.seen: dict[int, float] = {}

    def now(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._began

    def watch(self, base_url: str, job: str) -> None:
        """Note results as the event stream tells of them, until it ends."""
        with (
            suppress(httpx.TransportError),  # who sends the photos hears of it, too
            httpx.stream("GET", f"{base_url}{job}/events", timeout=120) as stream,
        ):
            for line in stream.iter_lines():
                if line.startswith("data: {"):
                    for photo in json.loads(line[6:])["photos"]:
                        if photo["state"] == "done":
                            self.seen.setdefault(photo["n"], self.now())


def main() -> int:
    """Run the demo; return 0 when every photo came back as it should, 3 when the server went away."""
    try:
        return _demo()
    except AwayError as exc:
        sys.stderr.write(f"{exc}\n")
        return 3


def _demo() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--count", type=int, default=40, help="photos to send")
    parser.add_argument("--out", type=Path, default=Path(".data/demo"), help="where the archive is saved")
    args = parser.parse_args()
    client = Client(args.url)
    try:
        client.http.get("/readyz").raise_for_status()
    except httpx.HTTPError:
        sys.stderr.write(f"Nobody is ready at {args.url}. Start it first: make up\n")
        return 3
    _say(f"Making {args.count} photos …")
    photos = holiday(args.count)
    clock = Clock()
    watching: list[threading.Thread] = []

    def follow(job: str) -> None:
        watching.append(threading.Thread(target=clock.watch, args=(args.url, job), daemon=True))
        watching[0].start()
        _say(f"Watch them: {args.url}{job}")

    job = client.send_folder(
        photos, _FIELDS, on_open=follow, on_sent=lambda n: clock.sent.setdefault(n, clock.now())
    )
    uploaded = clock.now()
    status = client.wait(job)
    completed = clock.now()
    watching[0].join(30)
    archive = client.insist("GET", f"{job}/archive").content
    args.out.mkdir(parents=True, exist_ok=True)
    saved = args.out / "ebbmark.zip"
    saved.write_bytes(archive)
    client.close()
    wrong = check(archive, len(photos))
    _say(_summary(clock, status, uploaded, completed, sum(len(content) for _, content in photos)))
    _say(f"  archive        {saved} ({len(archive) / 1e6:.1f} MB)")
    for sentence in wrong:
        _say(f"  WRONG: {sentence}")
    return 1 if wrong or status["failed"] else 0


def check(archive: bytes, count: int) -> list[str]:
    """Return what is wrong with the archive, in sentences."""
    wrong: list[str] = []
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        damaged = opened.testzip()
        if damaged:
            wrong.append(f"{damaged} is damaged")
        names = [name for name in opened.namelist() if name != "manifest.json"]
        if len(names) != count:
            wrong.append(f"{len(names)} results of {count} photos")
        for name in names:
            with Image.open(io.BytesIO(opened.read(name))) as image:
                image.load()
                if image.width > _WIDTH:
                    wrong.append(f"{name} is {image.width} wide")
    return wrong


def _summary(clock: Clock, status: dict[str, int], uploaded: float, completed: float, size: int) -> str:
    waits = sorted(clock.seen[n] - clock.sent[n] for n in clock.seen if n in clock.sent)
    before_the_end = sum(1 for seen in clock.seen.values() if seen < uploaded)
    typical = statistics.median(waits) if waits else 0
    slow = waits[int(len(waits) * 0.95)] if waits else 0
    return f"""
  photos         {status["done"]} done, {status["failed"]} failed ({size / 1e6:.1f} MB)
  first result   {min(clock.seen.values(), default=0):.2f} s after the start
  before the end {before_the_end} results were there before the last photo was sent
  upload→result  {typical:.2f} s typical, {slow:.2f} s for the slowest twentieth
  all            sent in {uploaded:.2f} s, complete after {completed:.2f} s"""


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
