"""What groups of processes spend on a photo beyond what they spend at rest, and the tables that say so."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loadtest.record import RESULTS

OURS = ("ingest", "worker", "children", "projector", "janitor")
SERVERS = ("kafka", "postgres", "seaweedfs")
SINGLE, BUSY, WHOLE = "single-photo jobs", "single-photo jobs, all it serves", "one job"
"""How photos are sent: in jobs of one, some a second or as many as are served; or all in one job."""

_AIM_MS, _AIM_RATIO = 30.0, 1.25
_SHOWN_MS = 0.05

Cpu = dict[str, float]
"""A figure for each group of processes."""


def shares(before: Cpu, after: Cpu, seconds: float) -> Cpu:
    """Return which share of a core each group took between two readings of CPU seconds."""
    return {name: (now - before[name]) / seconds for name, now in after.items()}


def per_photo(busy: Cpu, rest: Sequence[Cpu], seconds: float, photos: int) -> Cpu:
    """Return the CPU milliseconds of each group for one photo, from its shares of a core.

    Of `busy`, for so many seconds, the mean share at rest is taken off. What comes out below zero is
    told as it is: the group rested more during the work than before and after it.
    """
    each = 1000 * seconds / photos
    return {name: each * (share - _mean([of[name] for of in rest])) for name, share in busy.items()}


def uncertainty(rest: Sequence[Cpu], seconds: float, photos: int) -> float:
    """Return how many of a photo's milliseconds depend on which of the two times at rest is believed."""
    one, other = rest
    return 1000 * seconds / photos * sum(abs(one[name] - other[name]) for name in one) / 2


def _mean(figures: Sequence[float]) -> float:
    return sum(figures) / len(figures)


def sums(row: dict[str, Any]) -> tuple[float, float]:
    """Return the milliseconds of our processes and of the servers; a group below zero counts as nothing."""
    spent: Cpu = row["cpu_ms"]
    ours, servers = (sum(max(0.0, spent[name]) for name in group) for group in (OURS, SERVERS))
    return ours, servers


def below_zero(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield what was left out of sums because it was below zero."""
    for row in rows:
        for name, spent in row["cpu_ms"].items():
            if spent < -_SHOWN_MS:
                yield f"{name} {spent:.1f} ({row['size']}, {row['kind']})"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return what each group spent on a photo, and at rest before and after."""
    most = {name: max(abs(row["cpu_ms"][name]) for row in rows) for name in (*OURS, *SERVERS)}
    names = [name for name, spent in most.items() if spent > _SHOWN_MS]
    head = ["photo", "sent as", *names, "ours", "all", "±", "bare", "ours/bare"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        ours, servers = sums(row)
        cells = [row["size"], row["kind"], *(f"{row['cpu_ms'][name]:.1f}" for name in names)]
        cells += [f"{ours:.1f}", f"{ours + servers:.1f}", f"{row['rest_differs_ms']:.1f}"]
        cells += [f"{row['bare_ms']:.1f}", f"{ours / row['bare_ms']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            "CPU milliseconds for one photo. `worker` is the parent process of the rendering `children`;",
            "`projector` is a worker with planner, projector and notifier. `±` is half of what the rest",
            "before a row and the rest after it differ by: so much of `all` is nobody's for sure.",
            "",
            *lines,
            "",
            f"Of one core at rest: {_at_rest(rows)} (subtracted above).",
            *(f"Below zero, and left out of the sums: {each}." for each in below_zero(rows)),
            f"Targets: a 0.3-MP single-photo job under {_AIM_MS:g} ms in all;",
            f"12 MP in our own processes under {_AIM_RATIO:g} × bare.",
        ]
    )


def _at_rest(rows: Sequence[dict[str, Any]]) -> str:
    rests = [rest for row in rows for rest in row["rest_share_of_a_core"]]
    told: list[str] = []
    for name in rests[0]:
        least, most = (100 * pick(rest[name] for rest in rests) for pick in (min, max))
        if most > _SHOWN_MS:
            told.append(f"{name} {least:.1f} to {most:.1f} %")
    return ", ".join(told)


def newest(folder: Path = RESULTS) -> dict[str, Any] | None:
    """Return the newest kept run of the bench, if there is one that says when it was."""
    found = [json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")]
    runs = [run for run in found if "at" in run and run.get("rows") and "cpu_ms" in run["rows"][0]]
    return max(runs, key=lambda run: run["at"], default=None)


def summary(run: dict[str, Any] | None) -> str:
    """Return the README's table of a run, and in words what it shows."""
    if run is None:
        return "No bench was kept yet."
    head = ("photo", "sent as", "our processes", "Kafka, PostgreSQL, SeaweedFS", "all", "Pillow alone")
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in run["rows"]:
        ours, servers = sums(row)
        cells = [f"{each:.1f}" for each in (ours, servers, ours + servers, row["bare_ms"])]
        lines.append(f"| {' | '.join([_size(row), _sent_as(row), *cells])} |")
    spent = [row["cpu_ms"] for row in run["rows"]]
    least = {name: min(of[name] for of in spent) for name in (*OURS, *SERVERS)}
    left_out = [f"{name}, by {-ms:.1f} at most" for name, ms in least.items() if ms < -_SHOWN_MS]
    notes = [f"Below zero, as its rest was overrated, and counted as nothing: {'; '.join(left_out)}."]
    machine = f"{run['machine']['cores']} cores ({run['machine']['cpu']})"
    return "\n".join(
        [
            *lines,
            "",
            *_words(run["rows"]),
            *(notes if left_out else []),
            "",
            f"Measured on {machine}, the sender included, at {run['commit']}.",
        ]
    )


def _size(row: dict[str, Any]) -> str:
    return row["size"].replace("MP", " MP")


def _sent_as(row: dict[str, Any]) -> str:
    told = {
        SINGLE: f"a job of its own, {row['photos'] / row['seconds']:.0f} a second",
        BUSY: "a job of its own, six senders without a pause",
    }
    return told.get(row["kind"]) or row["kind"].replace("one job of", "one of")


def _words(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    large, small = rows[-1], next(row for row in rows if row["kind"] == SINGLE)
    of_large, of_small = (sums(row)[0] / row["bare_ms"] for row in (large, small))
    yield (
        f"Our own processes spend on {_size(large)} {of_large:.2f} times what Pillow alone does, "
        f"on a job of one photo of {_size(small)} {of_small:.1f} times"
        + (":\nthere the moving costs more than the imaging." if of_small > 2 else ".")
    )
    busy = next((row for row in rows if row["kind"] == BUSY), small)
    reached = [sum(sums(row)) <= _AIM_MS for row in (small, busy)]
    yield f"The aim for such a job is {_AIM_MS:g} in all; " + (
        "it is reached."
        if all(reached)
        else f"it is reached when there is much to do (± {busy['rest_differs_ms']:.1f}), and not otherwise."
        if reached[1]
        else "it is not reached yet."
    )
