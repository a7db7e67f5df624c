"""A run in figures: what was asked, what was served, and how long each step took."""

import math
from collections.abc import Sequence
from typing import Any

from loadtest.samples import Sample, figures, percentile

STEPS = ("accept", "events", "status", "result", "done")
IN_TIME = 2.0
"""Seconds within which 95 % of results are there when a rate is sustained, and nothing is refused."""


def summary(outcome: dict[str, Any], samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the outcome of a run with the figures of its samples; latencies in seconds."""
    counts = outcome["counts"]
    uploads = [each for each in samples if each.step == "accept"]
    done = [each for each in samples if each.step == "done"]
    requests = [each for each in samples if each.step != "done"]
    reasons: dict[str, int] = {}
    for each in samples:
        if each.outcome != "ok":
            key = f"{each.step}: {each.reason}"
            reasons[key] = reasons.get(key, 0) + 1
    length = max((phase["end"] for phase in outcome["phases"]), default=0.0) or outcome["seconds"]
    lateness = [each.late for each in uploads]
    by_phase = [_phase(phase, uploads, done) for phase in outcome["phases"]]
    return {
        **outcome,
        "steps": {step: figures(latencies(samples, step)) for step in STEPS},
        "late": {**figures(lateness), "part": counts["late"] / max(1, counts["asked"])},
        "failures": reasons,
        "lost": counts["accepted"] - counts["served"] - counts["wrong"],
        "uploads_per_second": len(uploads) / length,
        "requests_per_second": len(requests) / length,
        "served_per_second": counts["served"] / max(outcome["seconds"], 1e-9),
        "generator_cores": outcome["generator_cpu_seconds"] / max(outcome["seconds"], 1e-9),
        "not_served": counts["errors"] + counts["refused"] + max(0, counts["accepted"] - len(done)),
        "drift": _drift(done, length),
        "stairs": _stairs(by_phase, done),
        "by_phase": by_phase,
    }


def latencies(samples: Sequence[Sample], step: str) -> list[float]:
    """Return the latencies of a step; a photo that never came back counts with the wait for it."""
    return [each.seconds for each in samples if each.step == step and _counts(each)]


def _counts(sample: Sample) -> bool:
    return sample.outcome == "ok" or (sample.step == "done" and sample.reason == "lost")


def _phase(phase: dict[str, Any], uploads: Sequence[Sample], done: Sequence[Sample]) -> dict[str, Any]:
    """Return what was asked for in a phase, and what of any phase was served while it lasted."""
    begin, end = phase["begin"], phase.get("end", math.inf)
    seconds = max(end - begin, 1e-9)
    asked = [each for each in uploads if begin <= each.planned < end]
    of_phase = [each for each in done if begin <= each.planned < end]
    served = sum(each.outcome == "ok" and begin <= each.ended < end for each in done)
    refused = sum(each.outcome == "refused" for each in asked)
    failed = sum(each.outcome == "error" for each in (*asked, *of_phase))
    accept = [each.seconds for each in asked if each.outcome == "ok"]
    found = {
        **phase,
        "asked_per_second": len(asked) / seconds,
        "served_per_second": served / seconds,
        "refused": refused,
        "failed": failed,
        "accept_p95": percentile(accept, 95),
        "done_p95": percentile(latencies(of_phase, "done"), 95),
    }
    return {**found, "sustained": not refused and not failed and found["done_p95"] <= IN_TIME}


def _drift(done: Sequence[Sample], length: float) -> float:
    """Return how much slower the last quarter's results were than the first quarter's."""
    first = percentile(latencies([each for each in done if each.planned < length / 4], "done"), 95)
    last = percentile(latencies([each for each in done if each.planned >= 3 * length / 4], "done"), 95)
    return last / first


def _stairs(by_phase: Sequence[dict[str, Any]], done: Sequence[Sample]) -> dict[str, float]:
    """Return the highest rate that was sustained, and what was left of it beyond and afterwards."""
    climb, beyond, recovery = (
        [phase for phase in by_phase if phase["name"] == name] for name in ("climb", "beyond", "recovery")
    )
    if not (climb and beyond and recovery):
        return {}
    back = (recovery[0]["begin"] + recovery[0]["end"]) / 2
    recovered = [each for each in done if back <= each.planned]
    best = max(phase["served_per_second"] for phase in climb)
    return {
        "sustained_per_second": max((phase["rate"] for phase in climb if phase["sustained"]), default=0.0),
        "best_per_second": best,
        "kept_beyond": min(phase["served_per_second"] for phase in beyond) / max(best, 1e-9),
        "refused_beyond": sum(phase["refused"] for phase in beyond),
        "recovered_p95": percentile(latencies(recovered, "done"), 95),
    }
