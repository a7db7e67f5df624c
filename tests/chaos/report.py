"""A finished run as a chapter of the manual; what stands there is made here, never typed."""

import json
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.faults import CATALOGUE, KEPT

ELSEWHERE: Mapping[str, tuple[str, Sequence[str]]] = {
    "I13": (
        "one photo beside 500 of another waits for what is in hand at most",
        ["tests/unit/test_fairness.py"],
    ),
    "I18": (
        "no word of a user is read as a tag, a path, a header or an entry of an archive",
        ["tests/unit/test_names.py", "tests/unit/test_pages.py", "tests/unit/test_archive.py"],
    ),
}
"""Promises of which a run under faults tells nothing, with their claims, and the tests that hold them."""
MANUAL = Path("docs/operating.md")
LAST = Path(__file__).parent / "last.json"
"""The run that the manual tells of."""
_BEGIN, _END = "<!-- chaos: begin -->", "<!-- chaos: end -->"


def chapter(report: dict[str, Any]) -> str:
    """Return the chapter, in Markdown, without its heading."""
    verdicts = report["verdicts"]
    violated = sum(verdict["violations"] for verdict in verdicts)
    unseen = report.get("unseen", [])
    lines = [
        (
            f"The last long run: {report['started'][:10]}, {report['machine']}, commit {report['commit']}; "
            f"seed {report['seed']}, {report['minutes']:g} min, {report['faults']} faults, "
            f"{report['accepted']} jobs accepted with {report['photos']} photos. Violations: {violated}."
            + (f" Besides, no effect was seen of: {', '.join(unseen)}." if unseen else "")
        ),
        "",
        "| | what must hold | looked at | violations |",
        "| --- | --- | ---: | ---: |",
        *(f"| {v['invariant']} | {v['claim']} | {v['looked_at']} | {v['violations']} |" for v in verdicts),
        *(
            f"| {number} | {claim} | not here: {', '.join(map(_code, tests))} | |"
            for number, (claim, tests) in ELSEWHERE.items()
        ),
        "",
        *(_outage(each) for each in report.get("outages", ())),
        *_memory(report.get("memory", {})),
        "Recovery is the time from the end of a fault until a fresh job of six photos is complete. Every",
        f"fault is passed when {KEPT}; what more it takes is said.",
        "",
        "| fault | how it begins; how it ends | passed when, besides | times | recovery: median, longest |",
        "| --- | --- | --- | ---: | ---: |",
    ]
    kinds = {fault.kind: fault for fault in CATALOGUE.values()}
    for kind, fault in kinds.items():
        seconds = report["recovery"].get(kind, [])
        besides = fault.passes.removesuffix(KEPT).removesuffix("; ")
        lines.append(f"| {kind} | {fault.how} | {besides} | {len(seconds)} | {_recovery(seconds)} |")
    return "\n".join([*lines, *(f"\n{remark}" for remark in report.get("remarks", ()))])


def _code(words: str) -> str:
    return f"`{words}`"


def _outage(outage: dict[str, Any]) -> str:
    back = (
        "nothing went through"
        if outage["back"] is None
        else f"a fresh job was complete {outage['back']:.1f} s"
    )
    return (
        f"In the middle of it {outage['of']} was gone for {outage['seconds']:g} s; {back} after its return.\n"
    )


def _memory(held: dict[str, dict[str, int]]) -> list[str]:
    mib = 1024**2
    told = [f"{name} {each['rest'] // mib}, {each['highest'] // mib}" for name, each in held.items()]
    return [f"Memory without children, at rest and at most, in MiB: {'; '.join(told)}.\n"] if told else []


def _recovery(seconds: Sequence[float]) -> str:
    """Return the median and the longest; a negative one stands for never."""
    good = [each for each in seconds if each >= 0]
    if not good:
        return "never" if seconds else "—"
    told = f"{statistics.median(good):.1f} s, {max(good):.1f} s"
    return told if len(good) == len(seconds) else f"{told}, never"


def written(manual: str, report: dict[str, Any]) -> str:
    """Return the manual with this run in its chapter."""
    before, begin, rest = manual.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{MANUAL} has no place for it: {_BEGIN} … {_END}")
    return f"{before}{begin}\n\n{chapter(report)}\n\n{end}{after}"


def successor(report: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    """Return the report, unless the last one tells more.

    Raises:
        ValueError: it is of fewer faults, or something did not hold.
    """
    if report["faults"] < last["faults"]:
        message = f"the manual tells of {last['faults']} faults, and this run is of {report['faults']}"
        raise ValueError(message)
    if any(verdict["violations"] for verdict in report["verdicts"]):
        message = "something did not hold: that is to be mended, not documented"
        raise ValueError(message)
    return report


def write_document(path: Path) -> None:
    """Make this run the one that the manual tells of.

    Raises:
        ValueError: it is of fewer faults than the one that the manual tells of.
    """
    report = successor(json.loads(path.read_text("utf-8")), json.loads(LAST.read_text("utf-8")))
    if path.resolve() != LAST.resolve():
        shutil.copyfile(path, LAST)
    MANUAL.write_text(written(MANUAL.read_text("utf-8"), report), "utf-8")
