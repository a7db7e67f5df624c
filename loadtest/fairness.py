"""`make fairness`: what a client with one photo waits while another's 500 are being rendered."""

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from loadtest.bench import Bench, one_job, single_jobs, system
from loadtest.client import Client
from loadtest.corpus import SIZES, sample
from loadtest.record import keep, say

_FIELDS = {"operations": "watermark", "text": "© Studio 2026"}
_NEWCOMER, _BULK = "127.0.0.2", "127.0.0.3"
_LOOK = 0.02
"""Seconds between two looks at a job: how exact a wait is."""
_ALLOWED = 2.0
"""Seconds that a newcomer may wait beyond what its lane and the worker have in hand when it comes."""


def answered(client: Client, content: bytes) -> float:
    """Return the seconds from the first byte of a photo sent to the last byte of its result received."""
    began = time.monotonic()
    job = client.send_form("photo.jpg", content, _FIELDS)
    client.wait(job, pause=_LOOK)
    client.insist("GET", f"{job}/photos/0")
    return time.monotonic() - began


def idle_waits(client: Client, content: bytes, count: int, pause: float) -> list[float]:
    """Return what single photos take when nobody else is there."""
    waits: list[float] = []
    for _ in range(count):
        waits.append(answered(client, content))
        time.sleep(pause)
    return waits


def waits_beside(bench: Bench, bulk: bytes, photos: int, content: bytes, pause: float) -> dict[str, Any]:
    """Return what single photos take from the moment a job of many is accepted until it is complete."""
    newcomer = Client(bench.base_url, address=_NEWCOMER)
    other = Client(bench.base_url, address=_BULK)
    job = other.send_all([(f"{n}.jpg", bulk) for n in range(photos)], _FIELDS)
    began, waits = time.monotonic(), list[float]()
    with ThreadPoolExecutor(1) as pool:
        complete = pool.submit(other.wait, job, pause=1.0)  # its status is long, and costs CPU
        while not complete.done():
            wait = answered(newcomer, content)
            if not complete.done():
                waits.append(wait)
            time.sleep(pause)
        took = time.monotonic() - began
        failed: int = complete.result()["failed"]
    newcomer.close()
    other.close()
    return {"waits": waits, "bulk_seconds": took, "bulk_failed": failed}


def verdict(idle: list[float], beside: dict[str, Any], photos: int, in_hand: int) -> dict[str, float]:
    """Return the wait behind the bulk, and what is promised.

    A newcomer may wait for the photos that are in hand when it comes, at the pace at which the photos of the
    bulk are rendered, and two seconds more.
    """
    pace = beside["bulk_seconds"] / photos
    return {
        "wait_median": median(beside["waits"]) - median(idle),
        "wait_p95": p95(beside["waits"]) - median(idle),
        "wait_max": max(beside["waits"]) - median(idle),
        "promised": in_hand * pace + _ALLOWED,
        "in_turn": beside["bulk_seconds"],
    }


def p95(values: list[float]) -> float:
    """Return the value that 95 of 100 do not exceed."""
    return quantiles(values, n=20, method="inclusive")[-1]


def main() -> int:
    """Measure, print, and keep the raw results; end with 1 when the promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=500, help="photos of the bulk (500)")
    parser.add_argument("--size", choices=list(SIZES), default="2MP", help="their size (2MP)")
    parser.add_argument("--singles", type=int, default=40, help="single photos on the idle system (40)")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two of them (0.2)")
    parser.add_argument("--children", type=int, default=os.cpu_count() or 1, help="of the worker (cores)")
    args = parser.parse_args()
    in_hand = 2 * args.children + 2
    os.environ["EBBMARK_WORKER_CHILDREN"], os.environ["EBBMARK_WORKER_SLOTS"] = (
        str(args.children),
        str(in_hand),
    )
    with tempfile.TemporaryDirectory(prefix="ebbmark-fairness-") as folder:
        content, bulk = (sample(size, Path(folder) / "corpus") for size in ("0.3MP", args.size))
        with system(Path(folder) / "data") as bench:
            say("warming up …")
            single_jobs(bench, content, 20, 10)
            one_job(bench, bulk, 20)
            client = Client(bench.base_url, address=_NEWCOMER)
            say(f"{args.singles} single photos, nobody else there …")
            idle = idle_waits(client, content, args.singles, args.pause)
            client.close()
            say(f"single photos beside a job of {args.photos} …")
            beside = waits_beside(bench, bulk, args.photos, content, args.pause)
            bench.client.close()
    if len(beside["waits"]) < 2:
        say("The bulk was complete before two newcomers were: send more of it.")
        return 2
    found = verdict(idle, beside, args.photos, in_hand)
    report = _report(idle, beside, found, f"{args.photos} photos of {args.size}", in_hand)
    say(report)
    keep(report, {"arguments": vars(args), "idle": idle, "beside": beside, "verdict": found}, of="fairness")
    return 0 if found["wait_p95"] <= found["promised"] else 1


def _report(
    idle: list[float], beside: dict[str, Any], found: dict[str, float], bulk: str, in_hand: int
) -> str:
    rows = {"nobody else there": idle, f"beside another's job of {bulk}": beside["waits"]}
    lines = [
        f"| {name} | {len(of)} | {median(of):.2f} | {p95(of):.2f} | {max(of):.2f} |"
        for name, of in rows.items()
    ]
    table = "\n".join(lines)
    kept = "kept" if found["wait_p95"] <= found["promised"] else "BROKEN"
    behind = ", ".join(f"{found[f'wait_{name}']:.2f} s ({name})" for name in ("median", "p95", "max"))
    return f"""Seconds from sending one 0.3-MP photo as a job of its own to having its result.

| a client with one photo | measured | median | p95 | longest |
|---|---|---|---|---|
{table}

The bulk took {beside["bulk_seconds"]:.1f} s; {beside["bulk_failed"]} of it failed.
Behind it a newcomer waits longer than alone by {behind}.
Promised: p95 within {found["promised"]:.2f} s, which is {in_hand} photos in hand at the bulk's pace
and {_ALLOWED:.0f} s: {kept}."""


if __name__ == "__main__":
    raise SystemExit(main())
