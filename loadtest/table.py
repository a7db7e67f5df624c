"""The README's tables of CPU time and of what the system did under load: `python -m loadtest.table`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest import spending
from loadtest.record import RESULTS
from loadtest.shapes import SHAPES
from loadtest.words import shown

README = Path(__file__).parents[1] / "README.md"
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
    """Return the newest kept run of each whole shape, in the order of the shapes."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text("utf-8"))
        if run.get("whole") and (run["shape"] not in found or run["at"] > found[run["shape"]]["at"]):
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


def replaced(text: str, folder: Path = RESULTS) -> str:
    """Return the document with both tables, each between its two marks, of the newest kept results."""
    for name, made in (("cpu", spending.summary(spending.newest(folder))), ("load", table(newest(folder)))):
        begin, end = _BEGIN.format(name), _END.format(name)
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n{made}\n{end}{after}"
    return text


def main() -> int:
    """Write them."""
    README.write_text(replaced(README.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
