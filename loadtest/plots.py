"""Plots of a run as SVG to be put into a page: no file, no script, no other address."""

import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from loadtest.samples import Sample, percentile
from loadtest.verdicts import PROMISES

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "ebbmark",  # the same run gives the same picture
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
_LABELS = {"accept": "accept", "status": "status", "result": "result", "done": "upload → result"}
_COLOURS = {"accept": "#1f6feb", "status": "#8250df", "result": "#2da44e", "done": "#bc4c00"}


def plots(found: dict[str, Any], samples: Sequence[Sample]) -> Iterator[tuple[str, str]]:
    """Yield the title and the SVG of each plot that this run has something for."""
    yield "Asked and served", _drawn(lambda axes: _rates(axes, samples))
    for step in ("accept", "status", "done"):
        of_step = [each for each in samples if each.step == step and each.outcome == "ok"]
        if of_step:
            limit = _limit(found["shape"], step)
            yield (
                f"{_LABELS[step].capitalize()}, second by second",
                _drawn(lambda axes, s=of_step, c=_COLOURS[step], m=limit: _latencies(axes, s, c, m)),
            )
    yield "All latencies", _drawn(lambda axes: _distribution(axes, samples))
    yield "Photos on their way", _drawn(lambda axes: _on_their_way(axes, samples))
    yield "How late the generator was", _drawn(lambda axes: _lateness(axes, samples))


def compared(rows: Sequence[tuple[str, float, float]], *, unit: str) -> str:
    """Return bars of what was served, and of the latency from upload to result (p95), for each case."""
    with mpl.rc_context(_STYLE):
        drawing = Figure(figsize=(8, 2.8), layout="constrained")
        left, right = drawing.subplots(1, 2)
        names = [name for name, _, _ in rows]
        left.bar(names, [served for _, served, _ in rows], color="#2da44e")
        left.set_ylabel(unit)
        right.bar(names, [p95 for _, _, p95 in rows], color="#bc4c00")
        right.set_ylabel("upload → result, p95, s")
        return _svg(drawing)


def _limit(shape: str, step: str) -> float | None:
    return next((each.limit for each in PROMISES[shape] if each.figure == f"steps.{step}.p95"), None)


def _by_second(samples: Sequence[Sample], when: Callable[[Sample], float]) -> dict[int, list[Sample]]:
    seconds: defaultdict[int, list[Sample]] = defaultdict(list)
    for each in samples:
        seconds[int(when(each))].append(each)
    return dict(sorted(seconds.items()))


def _rates(axes: Axes, samples: Sequence[Sample]) -> None:
    uploads = [each for each in samples if each.step == "accept"]
    done = [each for each in samples if each.step == "done" and each.outcome == "ok"]
    refused = [each for each in uploads if each.outcome == "refused"]
    failed = [each for each in samples if each.outcome == "error"]
    last = max((int(each.ended) for each in samples), default=0)
    asked = Counter(int(each.planned) for each in uploads)
    axes.step(range(last + 1), [asked[n] for n in range(last + 1)], where="post", color="0.4", label="asked")
    for of, colour, label in (
        (done, "#2da44e", "served"),
        (refused, "#bf8700", "refused"),
        (failed, "#cf222e", "failed"),
    ):
        if of or label == "served":
            ended = Counter(int(each.ended) for each in of)
            axes.plot(range(last + 1), [ended[n] for n in range(last + 1)], color=colour, label=label, lw=1)
    _seconds(axes, "uploads a second")
    _legend(axes)


def _latencies(axes: Axes, samples: Sequence[Sample], colour: str, limit: float | None) -> None:
    seconds = _by_second(samples, lambda each: each.planned)
    for percent, style in ((50, "-"), (95, "--"), (100, ":")):
        axes.plot(
            list(seconds),
            [1000 * percentile([each.seconds for each in of], percent) for of in seconds.values()],
            style,
            color=colour,
            lw=1,
            label="largest" if percent == 100 else f"p{percent}",
        )
    if limit is not None:
        axes.axhline(1000 * limit, color="#cf222e", lw=0.8, label="promised of the p95")
    _logarithmic(axes)
    _seconds(axes, "ms")
    _legend(axes)


def _distribution(axes: Axes, samples: Sequence[Sample]) -> None:
    for step, label in _LABELS.items():
        values = sorted(each.seconds for each in samples if each.step == step and each.outcome == "ok")
        if values:
            # As the tail is what matters, the axis gives each nine of the percentage the same room.
            beyond = [1 - n / len(values) for n in range(len(values))]
            axes.plot(beyond, [1000 * value for value in values], color=_COLOURS[step], label=label, lw=1)
    axes.set(xscale="log", xlabel="percentile", ylabel="ms")
    axes.invert_xaxis()
    ticks = [0.5, 0.1, 0.05, 0.01, 0.001]
    axes.set_xticks(ticks, [f"p{100 - 100 * each:g}" for each in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    _logarithmic(axes)
    _legend(axes)


def _on_their_way(axes: Axes, samples: Sequence[Sample]) -> None:
    changes: Counter[float] = Counter()
    for each in samples:
        if each.step == "done":
            changes[each.planned] += 1
            changes[each.ended] -= 1
    at, level, levels = sorted(changes), 0, list[int]()
    for moment in at:
        level += changes[moment]
        levels.append(level)
    axes.step(at, levels, where="post", color="0.3", lw=0.8)
    _seconds(axes, "photos")


def _lateness(axes: Axes, samples: Sequence[Sample]) -> None:
    uploads = [each for each in samples if each.step == "accept"]
    seconds = _by_second(uploads, lambda each: each.planned)
    axes.plot(
        list(seconds), [1000 * max(each.late for each in of) for of in seconds.values()], color="0.3", lw=1
    )
    axes.axhline(50, color="#cf222e", lw=0.8)
    _seconds(axes, "ms, latest of each second")


def _seconds(axes: Axes, label: str) -> None:
    axes.set(xlabel="seconds", ylabel=label)
    axes.set_xlim(left=0)
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0)


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=4, frameon=False)


def _drawn(draw: Callable[[Axes], None]) -> str:
    with mpl.rc_context(_STYLE):
        drawing = Figure(figsize=(8, 2.6), layout="constrained")
        draw(drawing.subplots())
        return _svg(drawing)


def _svg(drawing: Figure) -> str:
    text = io.StringIO()
    drawing.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
