"""What was measured, request by request, and the figures that are made of it."""

import csv
import gzip
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

PERCENTILES = (50, 90, 95, 99, 99.9)


class Sample(NamedTuple):
    """One step of one photo's way."""

    step: str
    """accept, events, status, result or done."""
    planned: float
    """Seconds from the begin of the run at which it was to begin."""
    late: float
    """Seconds by which the generator began later."""
    seconds: float
    """From `planned` to the last byte of the answer, or to the moment it was given up."""
    outcome: str
    """ok, refused or error."""
    reason: str
    """Why it was not ok; empty otherwise."""

    @property
    def ended(self) -> float:
        """Seconds from the begin of the run at which it ended."""
        return self.planned + self.seconds


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of the values that so many percent of them do not exceed; NaN without any."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100 - 1e-9) - 1)]


def figures(values: Sequence[float]) -> dict[str, float]:
    """Return how many there are, their percentiles and the largest."""
    shown = {f"p{percent:g}": percentile(values, percent) for percent in PERCENTILES}
    return {"count": len(values), **shown, "max": max(values, default=math.nan)}


def write(path: Path, samples: Iterable[Sample]) -> None:
    """Write them all, as compressed CSV; the same samples give the same bytes."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(Sample._fields)
    for each in samples:
        rows.writerow(
            (
                each.step,
                f"{each.planned:.4f}",
                f"{each.late:.4f}",
                f"{each.seconds:.4f}",
                each.outcome,
                each.reason,
            )
        )
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def read(path: Path) -> Iterator[Sample]:
    """Yield what was written."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for step, planned, late, seconds, outcome, reason in rows:
            yield Sample(step, float(planned), float(late), float(seconds), outcome, reason)
