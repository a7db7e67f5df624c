"""What a run found, in words: the same in the terminal, in the kept report and on the page."""

from collections.abc import Iterator, Sequence
from typing import Any


def told(found: dict[str, Any]) -> str:
    """Return what was sent and what came back, in a sentence."""
    counts = found["counts"]
    return (
        f"{found['shape']}, {found['loop']} loop, photos of {found['mix']}, watched by {found['watch']}: "
        f"{counts['asked']} uploads in {found['seconds']:.1f} s ({found['uploads_per_second']:.1f}/s), "
        f"{found['requests_per_second']:.1f} requests/s, {counts['served']} results verified, "
        f"{counts['wrong']} wrong, {counts['refused']} requests refused, {counts['errors']} failed."
    )


def markdown(found: dict[str, Any]) -> str:
    """Return the summary for people."""
    lines = [
        told(found),
        "",
        "| step, ms from its planned start | count | p50 | p90 | p95 | p99 | max |",
        "|---|---|---|---|---|---|---|",
    ]
    for step, of in found["steps"].items():
        if of["count"]:
            cells = " | ".join(f"{1000 * of[name]:.0f}" for name in ("p50", "p90", "p95", "p99", "max"))
            lines.append(f"| {step} | {of['count']} | {cells} |")
    if len(found["by_phase"]) > 1:
        lines += ["", *_phases(found["by_phase"])]
    lines += [
        "",
        _generator(found),
        "",
        *verdict_lines(found["verdicts"]),
    ]
    return "\n".join(lines)


def _generator(found: dict[str, Any]) -> str:
    late = found["late"]
    return (
        f"The generator took {found['generator_cores']:.2f} of a core, at priority "
        f"{found['generator_priority']}; {late['part']:.1%} of uploads were sent more than 50 ms late "
        f"(p99 {1000 * late['p99']:.0f} ms)."
    )


def _phases(phases: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| phase | asked/s | served/s | refused | failed | accept p95 ms | done p95 ms | sustained |"
    yield "|---|---|---|---|---|---|---|---|"
    for each in phases:
        accept, done = (1000 * each[name] for name in ("accept_p95", "done_p95"))
        yield (
            f"| {each['name']} | {each['asked_per_second']:.1f} | {each['served_per_second']:.1f} "
            f"| {each['refused']} | {each['failed']} | {accept:.0f} | {done:.0f} "
            f"| {'yes' if each['sustained'] else 'no'} |"
        )


def verdict_lines(verdicts: dict[str, Any]) -> Iterator[str]:
    """Yield the verdict in a word, and each promise in a line."""
    shortened = "" if verdicts["whole"] else " (not the whole shape: it proves nothing of it)"
    yield f"**{verdicts['shape']}: {verdicts['verdict']}**{shortened}"
    yield ""
    for each in verdicts["promises"]:
        sign = "≥" if each["at_least"] else "≤"
        mark = "kept" if each["holds"] else "BROKEN"
        measured, limit = (shown(each[name], each["unit"]) for name in ("measured", "limit"))
        yield f"- {each['about']}: {measured}, promised {sign} {limit}: {mark}"


def shown(value: float | None, unit: str) -> str:
    """Return a figure with its unit as people read it."""
    if value is None or value != value:  # noqa: PLR0124 - NaN is what was not measured
        return "not measured"
    if unit == "s":
        return f"{1000 * value:.0f} ms"
    if unit == "part":
        return f"{100 * value:.1f} %"
    return f"{value:g}"
