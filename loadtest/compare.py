"""The same photos through one, two and four rendering workers, each a process with one child."""

import argparse
import os
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from loadtest import options, record, run
from loadtest.bench import system
from loadtest.options import FOLDER
from loadtest.record import say
from loadtest.shapes import SHAPES

RENDERERS = (1, 2, 4)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what it takes: the options of `bulk`."""
    parser.add_argument("--renderers", type=int, nargs="+", default=list(RENDERERS), help="how many (1 2 4)")
    options.add_shape_options(parser, SHAPES["bulk"])
    options.add_run_options(parser)


def compare(args: argparse.Namespace) -> int:
    """Measure each on a system of its own, print the table, keep it; 0 when nothing failed anywhere."""
    os.environ["EBBMARK_WORKER_CHILDREN"] = "1"
    rows: list[dict[str, Any]] = []
    for renderers in args.renderers:
        say(f"{renderers} of them …")
        with tempfile.TemporaryDirectory(prefix="ebbmark-compare-") as folder:
            data = Path(folder) / "data"
            with system(data, renderers=renderers) as bench:
                bench.client.close()
                args.url = bench.base_url
                measured, _ = run.measured(args)
        rows.append({"renderers": renderers, **measured})
    report = table(rows)
    say(report)
    kept = record.keep(report, {"rows": rows}, of="compare", folder=args.out or record.RESULTS)
    page = (args.out or FOLDER) / f"{kept.name}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_page(rows), "utf-8")
    say(f"\nThe report: {page.absolute()}")
    return 0 if all(row["verdicts"]["verdict"] == "kept" for row in rows) else 1


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return what each did."""
    first, senders = rows[0]["served_per_second"], rows[0]["options"]["workers"]
    about = (
        f"{rows[0]['counts']['asked']} photos of {rows[0]['mix']} from {senders:g} senders; "
        "every renderer is a process with one child."
    )
    lines = [
        f"| {row['renderers']} | {row['served_per_second']:.1f} | {row['served_per_second'] / first:.2f} "
        f"| {row['steps']['done']['p50']:.2f} | {row['steps']['done']['p95']:.2f} | {row['counts']['wrong']} "
        f"| {row['not_served']} |"
        for row in rows
    ]
    return "\n".join(
        [
            about,
            "",
            "| renderers | photos/s | of the first | done p50 s | done p95 s | wrong | failed |",
            "|---|---|---|---|---|---|---|",
            *lines,
        ]
    )


def _page(rows: Sequence[dict[str, Any]]) -> str:
    from loadtest.plots import compared  # noqa: PLC0415 - matplotlib takes a second that others need not wait
    from loadtest.report import bare  # noqa: PLC0415 - likewise

    bars = [(str(row["renderers"]), row["served_per_second"], row["steps"]["done"]["p95"]) for row in rows]
    return bare(f"<figure>{compared(bars, unit='photos a second')}</figure><pre>{escape(table(rows))}</pre>")
