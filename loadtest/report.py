"""What runs found as one page that needs nothing else: verdicts, plots, figures, and the machine."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from loadtest import samples
from loadtest.plots import plots
from loadtest.verdicts import PROMISES
from loadtest.words import shown, told

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2328}
h1,h2{line-height:1.2}table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .7rem;text-align:right;
border-bottom:1px solid #d0d7de}td:first-child,th:first-child{text-align:left}svg{width:100%;height:auto}
figure{margin:1.5rem 0}figcaption{font-weight:600}.kept{color:#1a7f37}.BROKEN,.INVALID{color:#cf222e}
code{background:#f6f8fa;padding:.1rem .3rem;overflow-wrap:anywhere}small{color:#59636e}
"""
_HONEST = """Latencies count from the moment at which a request was planned (open loop), so that waiting for a
busy system counts. The generator ran on the machine that it measured, unless the address says otherwise."""


class UnreadableError(Exception):
    """A file is no result of a load test; the text says which."""


def load(path: Path) -> tuple[dict[str, Any], list[samples.Sample]]:
    """Return a kept run with its samples; the path may be that of any of its files.

    Raises:
        UnreadableError: it is none.
    """
    stem = path.name.removesuffix(".csv.gz").removesuffix(".json").removesuffix(".md").removesuffix(".html")
    try:
        found = json.loads(path.with_name(f"{stem}.json").read_text("utf-8"))
        taken = list(samples.read(path.with_name(f"{stem}.csv.gz")))
    except (OSError, ValueError) as exc:
        raise UnreadableError(f"{path} is no result of a load test: {exc}") from exc
    if found.get("shape") not in PROMISES:
        raise UnreadableError(f"{path} is the result of something else.")
    return found, taken


def page(runs: Sequence[tuple[dict[str, Any], Sequence[samples.Sample]]]) -> str:
    """Return the page."""
    body = [
        "<h1>Ebbmark under load</h1>",
        *(_overview(found for found, _ in runs) if len(runs) > 1 else ()),
        *(line for found, taken in runs for line in _section(found, taken)),
        f"<p><small>{_HONEST}</small></p>",
    ]
    return bare("\n".join(body))


def bare(body: str) -> str:
    """Return a page with this body and our style."""
    head = f'<meta charset="utf-8"><title>Ebbmark under load</title><style>{_STYLE}</style>'
    lines = ["<!doctype html>", f'<html lang="en"><head>{head}</head><body>', body, "</body></html>", ""]
    return "\n".join(lines)


def _overview(runs: Iterator[dict[str, Any]]) -> Iterator[str]:
    yield _table(
        ("shape", "verdict", "uploads/s", "requests/s", "accept p95", "upload → result p95", "commit"),
        [
            (
                found["shape"],
                found["verdicts"]["verdict"],
                f"{found['uploads_per_second']:.1f}",
                f"{found['requests_per_second']:.1f}",
                *(shown(found["steps"][step]["p95"], "s") for step in ("accept", "done")),
                found["commit"],
            )
            for found in runs
        ],
    )


def _section(found: dict[str, Any], taken: Sequence[samples.Sample]) -> Iterator[str]:
    word = found["verdicts"]["verdict"]
    yield f'<h2>{escape(found["shape"])}: <span class="{word}">{word}</span></h2>'
    if not found["whole"]:
        yield "<p>Not the whole shape: it proves nothing of its promises.</p>"
    counts = found["counts"]
    yield f"<p>{escape(told(found))}</p>"
    yield _table(
        ("promise", "measured", "promised", ""),
        [
            (
                each["about"],
                shown(each["measured"], each["unit"]),
                f"{'≥' if each['at_least'] else '≤'} {shown(each['limit'], each['unit'])}",
                "kept" if each["holds"] else "BROKEN",
            )
            for each in found["verdicts"]["promises"]
        ],
    )
    for title, svg in plots(found, taken):
        yield f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>"
    yield _steps(found)
    if len(found["by_phase"]) > 1:
        yield _phases(found)
    if found["failures"]:
        yield _table(("what failed", "times"), sorted(found["failures"].items()))
    yield _table(
        ("run", ""),
        [
            ("command", found["command"]),
            ("commit", found["commit"]),
            ("system", found["url"]),
            ("generator", f"{found['generator_cores']:.2f} of a core, {counts['late']} uploads late"),
            *found["machine"].items(),
        ],
    )


def _steps(found: dict[str, Any]) -> str:
    columns = ("p50", "p90", "p95", "p99", "p99.9", "max")
    rows = [
        (step, of["count"], *(shown(of[name], "s") for name in columns))
        for step, of in found["steps"].items()
        if of["count"]
    ]
    return _table(("step", "count", *columns), rows)


def _phases(found: dict[str, Any]) -> str:
    columns = (
        "phase",
        "asked/s",
        "served/s",
        "refused",
        "failed",
        "accept p95",
        "upload → result p95",
        "sustained",
    )
    return _table(
        columns,
        [
            (
                each["name"],
                f"{each['asked_per_second']:.1f}",
                f"{each['served_per_second']:.1f}",
                each["refused"],
                each["failed"],
                shown(each["accept_p95"], "s"),
                shown(each["done_p95"], "s"),
                "yes" if each["sustained"] else "no",
            )
            for each in found["by_phase"]
        ],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["<table>", f"<tr>{''.join(f'<th>{escape(each)}</th>' for each in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows]
    return "\n".join([*lines, "</table>"])
