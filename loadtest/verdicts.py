"""What is promised of each shape, in one table, and whether a run kept it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One figure of a run and its limit."""

    about: str
    figure: str
    """Where it stands in the summary: names joined by dots."""
    limit: float
    unit: str = ""
    at_least: bool = False

    def holds(self, measured: float) -> bool:
        """Return whether it is kept; what was not measured is not."""
        if math.isnan(measured):
            return False
        return measured >= self.limit if self.at_least else measured <= self.limit


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one promise."""

    about: str
    measured: float
    limit: float
    unit: str
    at_least: bool
    holds: bool


def _p95(step: str, about: str, seconds: float) -> Promise:
    return Promise(about=f"{about}, p95", figure=f"steps.{step}.p95", limit=seconds, unit="s")


ON_TIME = Promise(about="uploads that the generator sent late", figure="late.part", limit=0.01, unit="part")
"""Without it a run proves nothing: the generator, not the system, was too slow."""
_ALL_WELL = (
    Promise(about="errors and refusals", figure="not_served", limit=0),
    Promise(about="wrong results", figure="counts.wrong", limit=0),
)
_NOTHING_LOST = (
    Promise(about="wrong results", figure="counts.wrong", limit=0),
    Promise(about="accepted photos that never came back", figure="lost", limit=0),
)

PROMISES: Mapping[str, Sequence[Promise]] = {
    "short": (*_ALL_WELL, _p95("accept", "accept", 0.1), _p95("done", "upload to result", 1)),
    "steady30": (*_ALL_WELL, _p95("accept", "accept", 0.1), _p95("done", "upload to result", 1)),
    "peak100": (
        *_ALL_WELL,
        _p95("accept", "accept", 0.15),
        _p95("status", "status", 0.03),
        _p95("done", "upload to result", 2),
    ),
    "ramp": (*_ALL_WELL, _p95("accept", "accept", 0.1), _p95("status", "status", 0.03)),
    "burst": (*_ALL_WELL, _p95("done", "upload to result", 5)),
    "stairs": (
        *_NOTHING_LOST,
        Promise(about="requests that failed without an honest refusal", figure="counts.errors", limit=0),
        Promise(
            about="throughput beyond what is sustained, of the best",
            figure="stairs.kept_beyond",
            limit=0.9,
            unit="part",
            at_least=True,
        ),
        Promise(about="upload to result after it, p95", figure="stairs.recovered_p95", limit=1, unit="s"),
    ),
    "soak": (
        *_ALL_WELL,
        _p95("accept", "accept", 0.5),
        Promise(about="last quarter's p95 of the first's", figure="drift", limit=1.5, unit="part"),
    ),
    "bulk": _ALL_WELL,
    "heavy": _ALL_WELL,
}


def verdicts(summary: Mapping[str, Any]) -> list[Verdict]:
    """Return what became of each promise of the run's shape."""
    return [judged(each, summary) for each in PROMISES[summary["shape"]]]


def judged(promise: Promise, summary: Mapping[str, Any]) -> Verdict:
    """Return what became of one promise."""
    measured = figure(promise.figure, summary)
    return Verdict(
        about=promise.about,
        measured=measured,
        limit=promise.limit,
        unit=promise.unit,
        at_least=promise.at_least,
        holds=promise.holds(measured),
    )


def figure(path: str, summary: Mapping[str, Any]) -> float:
    """Return one figure of a summary; NaN where there is none."""
    found: Any = summary
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return math.nan
        found = found[name]
    return math.nan if found is None else float(found)


Word = Literal["kept", "BROKEN", "INVALID"]


def word(summary: Mapping[str, Any]) -> Word:
    """Return the run's verdict in a word: `INVALID` when the generator itself could not keep pace."""
    if summary["loop"] == "open" and not judged(ON_TIME, summary).holds:
        return "INVALID"
    return "kept" if all(each.holds for each in verdicts(summary)) else "BROKEN"


def as_json(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdicts for programs."""
    on_time = [judged(ON_TIME, summary)] if summary["loop"] == "open" else []
    return {
        "shape": summary["shape"],
        "whole": summary["whole"],
        "verdict": word(summary),
        "promises": [asdict(each) for each in (*verdicts(summary), *on_time)],
    }
