"""The same photos through one, two and four rendering workers, each a process with one child."""

import argparse
import os
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from loadtest import options, record, renderers, run, samples
from loadtest.bench import system
from loadtest.options import FOLDER
from loadtest.record import say
from loadtest.shapes import SHAPES
from loadtest.words import markdown

SHAPE = "heavy"
"""Photos so large, from so many senders, that one renderer is what they wait for."""
RENDERERS = (1, 2, 4)
_COLUMNS = (
    *("renderers", "photos/s", "of the first", "done p50 s", "done p95 s"),
    *("rendered by each", "wrong", "failed"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what it takes: the options of its shape."""
    parser.add_argument("--renderers", type=int, nargs="+", default=list(RENDERERS), help="how many (1 2 4)")
    options.add_shape_options(parser, SHAPES[SHAPE])
    options.add_run_options(parser)


def compare(args: argparse.Namespace) -> int:
    """Measure each on a system of its own, print the table, keep it; 0 when nothing failed anywhere.

    Beside the table every run is kept as one of its own, with its samples.
    """
    os.environ["EBBMARK_WORKER_CHILDREN"] = "1"
    rows: list[dict[str, Any]] = []
    for count in args.renderers:
        say(f"{count} of them …")
        with (
            tempfile.TemporaryDirectory(prefix="ebbmark-compare-") as at,
            system(Path(at) / "data", renderers=count) as bench,
        ):
            bench.client.close()
            args.url = bench.base_url
            renderers.wait_until_shared(bench.renderers)
            measured, taken = run.measured(args)
            shares = [renderers.rendered(each) for each in bench.renderers]
        rows.append({**measured, "renderers": count, "rendered": shares})
        folder = run.folder_of(args, measured)
        kept = record.keep(markdown(rows[-1]), rows[-1], of=f"compare-{count}", folder=folder)
        samples.write(kept.with_name(f"{kept.name}.csv.gz"), taken)
    report = table(rows)
    say(report)
    kept = record.keep(report, {"rows": rows}, of="compare", folder=run.folder_of(args, rows[-1]))
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
        "every renderer is a process with one child.\n"
        "What each rendered counts the photos before the load, too."
    )
    lines = [
        f"| {row['renderers']} | {row['served_per_second']:.1f} | {row['served_per_second'] / first:.2f} "
        f"| {row['steps']['done']['p50']:.2f} | {row['steps']['done']['p95']:.2f} | {_shares(row)} "
        f"| {row['counts']['wrong']} | {row['not_served']} |"
        for row in rows
    ]
    return "\n".join(
        [
            about,
            "",
            f"| {' | '.join(_COLUMNS)} |",
            "|---|---|---|---|---|---|---|---|",
            *lines,
        ]
    )


def _shares(row: dict[str, Any]) -> str:
    return " + ".join(str(each) for each in row["rendered"])


def _page(rows: Sequence[dict[str, Any]]) -> str:
    from loadtest.plots import compared  # noqa: PLC0415 - matplotlib takes a second that others need not wait
    from loadtest.report import bare  # noqa: PLC0415 - likewise

    bars = [(str(row["renderers"]), row["served_per_second"], row["steps"]["done"]["p95"]) for row in rows]
    return bare(f"<figure>{compared(bars, unit='photos a second')}</figure><pre>{escape(table(rows))}</pre>")
