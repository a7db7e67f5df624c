"""Tables of what was measured, made of kept results: `python -m loadtest.table`.

The README has the newest CPU time and the newest run of each whole shape, docs/load.md the newest comparison
of renderers.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtest import compare, spending
from loadtest.record import RESULTS
from loadtest.shapes import SHAPES
from loadtest.words import shown

_ROOT = Path(__file__).parents[1]
README, MANUAL = _ROOT / "README.md", _ROOT / "docs" / "load.md"
_BEGIN, _END = "<!-- {}: made by `python -m loadtest.table` -->", "<!-- {}: end -->"
_COLUMNS = (
    "uploads/s",
    "requests/s",
    "accept p95",
    "status p95",
    "upload → result p95",
    "refused or failed",
    "wrong",
    "verdict",
)


def newest(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the newest kept run of each whole shape, in the order of the shapes; none of a comparison."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text("utf-8"))
        alone = run.get("whole") and "renderers" not in run
        if alone and (run["shape"] not in found or run["at"] > found[run["shape"]]["at"]):
            found[run["shape"]] = run
    return [found[name] for name in SHAPES if name in found]


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Return the table, with the commits and machines that the figures are of."""
    if not runs:
        return "No whole shape was measured yet."
    lines = [f"| shape | {' | '.join(_COLUMNS)} |", f"|{' --- |' * (1 + len(_COLUMNS))}"]
    lines += [f"| `{run['shape']}` | {' | '.join(_cells(run))} |" for run in runs]
    lines += [line for run in runs if run["stairs"] for line in ("", _saturation(run["stairs"]))]
    return "\n".join([*lines, "", _origins(runs)])


def _saturation(of: dict[str, Any]) -> str:
    return (
        f"`stairs` sustained {of['sustained_per_second']:g} uploads/s. Beyond, {of['refused_beyond']} "
        f"uploads were refused, and {shown(of['kept_beyond'], 'part')} of the best throughput was left;\n"
        f"afterwards 95 % of results were there within {shown(of['recovered_p95'], 's')} again."
    )


def _cells(run: dict[str, Any]) -> Sequence[str]:
    steps = [run["steps"][step] for step in ("accept", "status", "done")]
    return (
        f"{run['uploads_per_second']:.1f}",
        f"{run['requests_per_second']:.0f}",
        *(shown(of["p95"], "s") if of["count"] else "—" for of in steps),
        str(run["not_served"]),
        str(run["counts"]["wrong"]),
        run["verdicts"]["verdict"],
    )


def _origins(runs: Sequence[dict[str, Any]]) -> str:
    machines = {f"{each['machine']['cores']} cores ({each['machine']['cpu']})" for each in runs}
    commits = sorted({each["commit"] for each in runs})
    return f"Measured on {', '.join(sorted(machines))}, the generator included, at {', '.join(commits)}."


def comparison(folder: Path = RESULTS) -> str:
    """Return the table of the newest comparison, with the commit and the machine that it is of."""
    kept = (json.loads(path.read_text("utf-8")) for path in folder.glob("*-compare.json"))
    runs = [run for run in kept if all(row["shape"] == compare.SHAPE and row["whole"] for row in run["rows"])]
    if not runs:
        return "It was not measured yet."
    run = max(runs, key=lambda each: each["at"])
    return "\n".join([compare.table(run["rows"]), "", _origins([run])])


def pages(folder: Path = RESULTS) -> Mapping[Path, Mapping[str, str]]:
    """Return the tables of each page by name, made of the newest kept results."""
    spent, loads = spending.summary(spending.newest(folder)), table(newest(folder))
    return {README: {"cpu": spent, "load": loads}, MANUAL: {"load": comparison(folder)}}


def replaced(text: str, tables: Mapping[str, str]) -> str:
    """Return the document with each table between its two marks."""
    for name, made in tables.items():
        begin, end = _BEGIN.format(name), _END.format(name)
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n{made}\n{end}{after}"
    return text


def main() -> int:
    """Write them."""
    for page, tables in pages().items():
        page.write_text(replaced(page.read_text("utf-8"), tables), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
