"""A finished run as a chapter of the manual; what stands there is made here, never typed."""

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

from tests.chaos.faults import CATALOGUE

MANUAL = Path("docs/operating.md")
LAST = Path(__file__).parent / "last.json"
"""The run that the manual tells of."""
_BEGIN, _END = "<!-- chaos: begin -->", "<!-- chaos: end -->"


def chapter(report: dict[str, Any]) -> str:
    """Return the chapter, in Markdown, without its heading."""
    verdicts = report["verdicts"]
    violated = sum(verdict["violations"] for verdict in verdicts)
    lines = [
        (
            f"The last long run: {report['started'][:10]}, {report['machine']}; seed {report['seed']}, "
            f"{report['minutes']:g} min, {report['faults']} faults, {report['accepted']} jobs accepted with "
            f"{report['photos']} photos. Violations: {violated}."
        ),
        "",
        "| | what must hold | looked at | violations |",
        "| --- | --- | ---: | ---: |",
        *(f"| {v['invariant']} | {v['claim']} | {v['looked_at']} | {v['violations']} |" for v in verdicts),
        "",
        "Recovery is the time from the end of a fault until a fresh job of six photos is complete.",
        "",
        "| fault | times | recovery: median, longest | passed when |",
        "| --- | ---: | ---: | --- |",
    ]
    passes = {fault.kind: fault.passes for fault in CATALOGUE.values()} | report["passes"]
    for kind, seconds in sorted(report["recovery"].items()):
        good = [each for each in seconds if each >= 0]
        time = f"{statistics.median(good):.1f} s, {max(good):.1f} s" if good else "never"
        lines.append(f"| {kind} | {len(seconds)} | {time} | {passes[kind]} |")
    return "\n".join(lines)


def written(manual: str, report: dict[str, Any]) -> str:
    """Return the manual with this run in its chapter."""
    before, begin, rest = manual.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{MANUAL} has no place for it: {_BEGIN} … {_END}")
    return f"{before}{begin}\n\n{chapter(report)}\n\n{end}{after}"


def write_document(path: Path) -> None:
    """Make this run the one that the manual tells of."""
    if path.resolve() != LAST.resolve():
        shutil.copyfile(path, LAST)
    report = json.loads(LAST.read_text("utf-8"))
    MANUAL.write_text(written(MANUAL.read_text("utf-8"), report), "utf-8")
