"""`ebbmark monitor`: how the system is now, on a terminal or as lines for programs, from `/metrics` alone.

Exit codes: 0 all well, 2 wrong usage, 3 nobody answers.
"""

import argparse
import asyncio
import csv
import io
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
from rich.console import Console
from rich.live import Live

from ebbmark.monitoring.readings import Past, Sight, Values, parse
from ebbmark.monitoring.screen import Screen
from ebbmark.monitoring.targets import UNAVAILABLE, WRONG, MonitorError, from_addresses, from_file
from ebbmark.monitoring.tick import Tick, look

TARGETS = Path(".data/prometheus/targets.json")
_TIMES = httpx.Timeout(2, connect=1)
_LEAST_EVERY = 0.2

Show = Callable[[Tick], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whom to ask, how often, and what to print."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "addresses",
        nargs="*",
        metavar="ADDRESS",
        help="processes, as HOST:PORT or a URL; a name with several addresses stands for them all",
    )
    parser.add_argument(
        "--targets",
        type=Path,
        default=TARGETS,
        metavar="FILE",
        help="without addresses: a file that tells Prometheus of them (%(default)s, which `make up` writes)",
    )
    parser.add_argument(
        "--every", type=float, default=2.0, metavar="S", help="seconds between two looks (%(default)s)"
    )
    parser.add_argument(
        "--window", type=float, default=30.0, metavar="S", help="seconds that rates are of (%(default)s)"
    )
    parser.add_argument("--once", action="store_true", help="look twice, print once, end")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one object a line for each look")
    form.add_argument("--csv", action="store_true", help="the same in short, as a table")


def run(args: argparse.Namespace) -> int:
    """Look until Ctrl-C, or once; return the exit code."""
    try:
        _require_patience(args)
        asyncio.run(_watch(args))
    except MonitorError as exc:
        sys.stderr.write(f"ebbmark monitor: {exc}\n")
        return exc.exit_code
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or its flush at the end fails, too
        return 0
    return 0


def _require_patience(args: argparse.Namespace) -> None:
    if args.every < _LEAST_EVERY:
        raise MonitorError(WRONG, f"between two looks there are {_LEAST_EVERY} s at least")
    if args.window < args.every:
        raise MonitorError(WRONG, "a window is no shorter than the time between two looks")


async def _watch(args: argparse.Namespace) -> None:
    """Show what is seen from the second look on: the first has nothing to be compared with."""
    pasts: dict[str, Past] = {}
    looks = 0
    console = Console()
    with _screen(console, args) as live:
        show = _shown(args, console, live)
        async with httpx.AsyncClient(timeout=_TIMES) as http:
            due = time.monotonic()
            while True:
                answers = await _ask(http, _targets(args))
                pasts = {name: pasts.get(name) or Past(args.window) for name in answers}
                for name, values in answers.items():
                    pasts[name].add(time.monotonic(), values)
                looks += 1
                if looks > 1 or live is not None:
                    tick = look(Sight(pasts), datetime.now(UTC))
                    if args.once and not tick.up:
                        raise MonitorError(UNAVAILABLE, f"nobody answers: {', '.join(tick.down)}")
                    show(tick)
                    if args.once and looks > 1:
                        return
                due = max(due + args.every, time.monotonic())
                await asyncio.sleep(due - time.monotonic())


def _targets(args: argparse.Namespace) -> Mapping[str, str]:
    """Return whom to ask, read anew each time: replicas come and go, and `make up` may choose other ports."""
    targets = from_addresses(args.addresses) if args.addresses else from_file(args.targets)
    if not targets:
        raise MonitorError(WRONG, f"{args.targets} names nobody")
    return targets


async def _ask(http: httpx.AsyncClient, targets: Mapping[str, str]) -> Mapping[str, Values | None]:
    answers = await asyncio.gather(*(_values(http, url) for url in targets.values()))
    return dict(zip(targets, answers, strict=True))


async def _values(http: httpx.AsyncClient, url: str) -> Values | None:
    try:
        answer = await http.get(url, headers={"accept": "text/plain"})
        return parse(answer.text) if answer.is_success else None
    except (httpx.HTTPError, ValueError):
        return None


def _screen(console: Console, args: argparse.Namespace) -> "Live | nullcontext[None]":
    """Take the whole terminal while somebody watches it."""
    if console.is_terminal and not (args.once or args.json or args.csv):
        return Live(console=console, screen=True, auto_refresh=False)
    return nullcontext()


def _shown(args: argparse.Namespace, console: Console, live: Live | None) -> Show:
    if args.json:
        return lambda tick: _print(msgspec.json.encode(tick).decode() + "\n")
    if args.csv:
        _print(_row(list(COLUMNS)))
        return lambda tick: _print(_row([_cell(read(tick)) for read in COLUMNS.values()]))
    if live is not None:
        return lambda tick: live.update(Screen(tick), refresh=True)
    return lambda tick: console.print(Screen(tick))


COLUMNS: Mapping[str, Callable[[Tick], object]] = {
    "time": lambda tick: f"{tick.time:%Y-%m-%dT%H:%M:%SZ}",
    "up": lambda tick: len(tick.up),
    "down": lambda tick: len(tick.down),
    "accepted": lambda tick: tick.throughput.accepted,
    "rendered": lambda tick: tick.throughput.rendered,
    "failed": lambda tick: tick.throughput.failed,
    "accept_p50": lambda tick: tick.accept.p50,
    "accept_p95": lambda tick: tick.accept.p95,
    "result_p50": lambda tick: tick.result.p50,
    "result_p95": lambda tick: tick.result.p95,
    "express_lag": lambda tick: tick.lanes[0].lag,
    "express_wait_p95": lambda tick: tick.lanes[0].wait.p95,
    "bulk_lag": lambda tick: tick.lanes[1].lag,
    "bulk_wait_p95": lambda tick: tick.lanes[1].wait.p95,
    "children": lambda tick: sum(each.children for each in tick.workers),
    "busy": lambda tick: sum(each.busy for each in tick.workers),
    "utilisation": lambda tick: _mean([each.utilisation for each in tick.workers]),
    "dead_letters": lambda tick: tick.dead_letters,
    "deletion_overdue": lambda tick: tick.deletion_overdue,
    "audit_findings": lambda tick: tick.audit_findings,
}
"""What `--csv` tells, by the heads of its columns; times are in seconds, rates a second."""


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _row(cells: list[str]) -> str:
    row = io.StringIO()
    csv.writer(row, lineterminator="\n").writerow(cells)
    return row.getvalue()


def _print(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()
