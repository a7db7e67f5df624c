"""The pictures of the dashboards in the documentation: their own definitions, drawn from a Prometheus's data.

python docs/panels.py --prometheus http://127.0.0.1:9090 --from 2026-11-27T15:00:00Z --to 2026-11-27T15:10:00Z
"""  # noqa: INP001 - a script, not a package

import argparse
import io
import json
import math
import re
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import matplotlib as mpl
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from observability.dashboards.__main__ import PAGES
from observability.dashboards.panels import WIDTH, Page, Panel

IMAGES = Path(__file__).parent / "images"
MOST_BYTES = 200_000
COLOURS = 256
"""Of a picture; few enough to make it small, and enough for every line and its edges."""
POINTS = 120
SCRAPED_EVERY = 5.0
SERIES = 10
"""Lines of one panel; the rest is left out, the smallest first."""
COLUMN, ROW, HEADING = 0.6, 0.34, 0.34
"""Inches: of a column and a row of Grafana's grid, and of the heading of a row of panels."""
LETTER = 0.048
"""Inches of a small letter, on average."""
LEGEND_ROWS = 2
INK, QUIET, RULE = "#1f2430", "#6b7280", "#d8dce3"
SHADES = {"green": "#2f855a", "orange": "#dd9a1e", "red": "#c53030"}


@dataclass(frozen=True)
class Series:
    """The answers to one query under one name: a value for each moment, NaN where there is none."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True)
class Window:
    """From when to when, in seconds since 1970."""

    begin: float
    end: float

    @property
    def step(self) -> float:
        """Seconds between two points; never closer than what is scraped."""
        return max(SCRAPED_EVERY, (self.end - self.begin) / POINTS)

    @property
    def moments(self) -> Sequence[float]:
        """The points."""
        count = int((self.end - self.begin) / self.step + 1e-6) + 1
        return [self.begin + n * self.step for n in range(count)]


def _number(value: float, unit: str = "") -> str:
    for least, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= least:
            return f"{value / least:.3g} {sign}{unit}"
    return f"{value:.3g} {unit}".strip()


def _seconds(value: float) -> str:
    if value >= 120:
        return f"{value / 60:.3g} min"
    return f"{value:.3g} s" if value >= 1 or value == 0 else f"{value * 1000:.3g} ms"


UNITS: Mapping[str, Callable[[float], str]] = {
    "s": _seconds,
    "bytes": lambda value: _number(value, "B"),
    "Bps": lambda value: _number(value, "B/s"),
    "percentunit": lambda value: f"{value * 100:.4g} %",
    "ops": lambda value: _number(value, "/s"),
    "reqps": lambda value: _number(value, "/s"),
    "short": _number,
}


class Prometheus:
    """What it knows of a window of time."""

    def __init__(self, url: str, window: Window) -> None:
        self._client = httpx.Client(base_url=url, timeout=60)
        self._window = window

    def ask(self, panel: Panel) -> Sequence[Series]:
        """Return the answers to all queries of a panel, those with the largest values if they are many."""
        found = [series for query in panel.queries for series in self._series(query.expr, query.legend)]
        highest = sorted(found, key=_highest, reverse=True)[:SERIES]
        return [series for series in found if series in highest]

    def _series(self, expr: str, legend: str) -> Sequence[Series]:
        window = self._window
        interval = max(window.step + SCRAPED_EVERY, 4 * SCRAPED_EVERY)  # as Grafana makes it
        asked = {
            "query": expr.replace("$__rate_interval", f"{interval:.0f}s"),
            "start": window.begin,
            "end": window.end,
            "step": window.step,
        }
        answer = self._client.post("/api/v1/query_range", data=asked).raise_for_status().json()
        told: list[Series] = []
        for each in answer["data"]["result"]:
            at = {
                round((moment - window.begin) / window.step): float(value) for moment, value in each["values"]
            }
            values = [at.get(n, math.nan) for n in range(len(window.moments))]
            if not all(map(math.isnan, values)):
                told.append(Series(_name(legend, each["metric"]), values))
        return told


def _name(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).strip(" ,")


def _highest(series: Series) -> float:
    return max((value for value in series.values if not math.isnan(value)), default=0.0)


def draw(page: Page, prometheus: Prometheus, window: Window) -> Figure:
    """Return the dashboard as it was in that window; panels that had no answers are left out."""
    answered = [
        (heading, [(panel, told) for panel in panels if (told := prometheus.ask(panel))])
        for heading, panels in page.rows
    ]
    rows = [(heading, panels) for heading, panels in answered if panels]
    heights = [max(panel.height for panel, _ in panels) * ROW for _, panels in rows]
    wide, high = WIDTH * COLUMN, sum(heights) + HEADING * (len(rows) + 2)
    figure = Figure(figsize=(wide, high), facecolor="white")
    top = high - HEADING
    began, ended = (datetime.fromtimestamp(each, UTC) for each in (window.begin, window.end))
    figure.text(0.12 / wide, top / high, page.title, fontsize=13, weight="bold", color=INK, va="center")
    figure.text(
        1 - 0.12 / wide,
        top / high,
        f"{began:%Y-%m-%d %H:%M:%S} to {ended:%H:%M:%S} UTC",
        fontsize=9,
        color=QUIET,
        ha="right",
        va="center",
    )
    for (heading, panels), height in zip(rows, heights, strict=True):
        top -= HEADING
        figure.text(0.12 / wide, top / high, heading, fontsize=10, weight="bold", color=QUIET, va="center")
        each = wide / len(panels)
        for place, (panel, told) in enumerate(panels):
            box = (place * each, top - height - HEADING / 2, each, height)
            _frame(figure, panel, box, (wide, high))
            if panel.kind == "stat":
                _stat(figure, panel, told, box, (wide, high))
            else:
                left, bottom, width = box[0] + 0.62, box[1] + 0.6, box[2] - 0.82
                inner = (left / wide, bottom / high, width / wide, (height - 1.34) / high)
                _graph(figure.add_axes(inner), panel, told, window)
        top -= height
    return figure


Box = tuple[float, float, float, float]


def _frame(figure: Figure, panel: Panel, box: Box, size: tuple[float, float]) -> None:
    left, bottom, width, height = box
    wide, high = size
    gap = 0.06
    figure.patches.append(
        mpl.patches.FancyBboxPatch(
            ((left + gap) / wide, (bottom + gap) / high),
            (width - 2 * gap) / wide,
            (height - 2 * gap) / high,
            boxstyle="square,pad=0",
            edgecolor=RULE,
            facecolor="white",
            linewidth=0.8,
            transform=figure.transFigure,
            zorder=-1,
        )
    )
    at, down = (left + 0.16) / wide, bottom + height
    figure.text(at, (down - 0.24) / high, panel.title, fontsize=9, weight="bold", color=INK, va="center")
    if panel.kind != "stat":
        lines = textwrap.fill(panel.description, int((width - 0.3) / LETTER))
        figure.text(at, (down - 0.36) / high, lines, fontsize=6.4, color=QUIET, va="top")


def _stat(figure: Figure, panel: Panel, told: Sequence[Series], box: Box, size: tuple[float, float]) -> None:
    left, bottom, width, height = box
    last = [value for value in told[0].values if not math.isnan(value)][-1]
    colour = "green"
    for step in panel.limits.steps() if panel.limits is not None else ():
        if step.value is None or last >= step.value:
            colour = step.color
    figure.text(
        (left + width / 2) / size[0],
        (bottom + height * 0.4) / size[1],
        UNITS[panel.unit](last),
        fontsize=19,
        weight="bold",
        color=SHADES[colour],
        ha="center",
        va="center",
    )


def _graph(axes: Axes, panel: Panel, told: Sequence[Series], window: Window) -> None:
    moments = [datetime.fromtimestamp(each, UTC) for each in window.moments]
    names = [series.name for series in told]
    if panel.stacked:
        layers = _together(told)
        axes.stackplot(moments, *layers, labels=names, alpha=0.55, linewidth=0)
    else:
        for series in told:
            axes.plot(moments, series.values, label=series.name, linewidth=1.2)
    highest = max(map(_highest, told))
    highest = (axes.get_ylim()[1] if highest > 0 else 1.0) * 1.08
    axes.set_ylim(0, highest)
    axes.set_xlim(moments[0], moments[-1])
    for step in panel.limits.steps() if panel.limits is not None else ():
        if step.value is not None and step.value < highest:
            axes.axhline(step.value, color=SHADES[step.color], linewidth=0.8, linestyle="--")
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=5))
    axes.xaxis.set_major_formatter(
        dates.DateFormatter("%H:%M:%S" if window.end - window.begin < 300 else "%H:%M")
    )
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    axes.yaxis.set_major_formatter(lambda value, _: UNITS[panel.unit](value))
    axes.tick_params(labelsize=6.2, colors=QUIET, length=2)
    axes.grid(color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(RULE)
    if any(names):
        inches = axes.get_position().width * WIDTH * COLUMN
        columns = max(1, int((inches + 0.4) / (max(map(len, names)) * LETTER + 0.3)))
        lines, labels = axes.get_legend_handles_labels()
        axes.legend(
            lines[: columns * LEGEND_ROWS],
            labels[: columns * LEGEND_ROWS],
            loc="upper left",
            bbox_to_anchor=(-0.35 / inches, -0.13),
            ncols=columns,
            fontsize=5.8,
            frameon=False,
            handlelength=1.0,
            columnspacing=0.9,
            borderaxespad=0,
            labelcolor=INK,
        )


def _together(told: Sequence[Series]) -> Sequence[Sequence[float]]:
    """Return values that can be added up: 0 for what is missing, unless all of a moment is."""
    missing = [
        all(map(math.isnan, moment)) for moment in zip(*(series.values for series in told), strict=True)
    ]
    return [
        [
            math.nan if nothing else (0 if math.isnan(value) else value)
            for value, nothing in zip(series.values, missing, strict=True)
        ]
        for series in told
    ]


def small(figure: Figure) -> bytes:
    """Return the picture as a PNG of few colours."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    packed = io.BytesIO()
    picture = (
        Image.open(drawn)
        .convert("RGB")
        .quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    )
    picture.save(packed, "PNG", optimize=True)
    return packed.getvalue()


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _known(data: Path) -> str | None:
    """Return the address of the local stack's Prometheus, when it runs."""
    try:
        return json.loads((data / "endpoints.json").read_text("utf-8"))["prometheus"]
    except (FileNotFoundError, KeyError):
        return None


def main() -> None:
    """Draw every dashboard, or those that were named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", help="its URL; that of the local stack when it is left out")
    parser.add_argument("--data", type=Path, default=Path(".data"), help="folder of the local stack")
    parser.add_argument("--from", dest="begin", type=_moment, help="ISO 8601, UTC unless it says otherwise")
    parser.add_argument(
        "--to", dest="end", type=_moment, default=time.time(), help="the same; now by default"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the window is without --from")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    parser.add_argument("only", nargs="*", metavar="DASHBOARD", help="uids, all by default")
    args = parser.parse_args()
    url = args.prometheus or _known(args.data)
    if url is None:
        parser.error("no Prometheus is known: name it with --prometheus")
    window = Window(args.end - args.minutes * 60 if args.begin is None else args.begin, args.end)
    prometheus = Prometheus(url, window)
    for page in PAGES:
        if not args.only or page.uid in args.only:
            picture = small(draw(page, prometheus, window))
            if len(picture) > MOST_BYTES:
                parser.error(f"{page.uid} has {len(picture)} bytes, and {MOST_BYTES} are the most.")
            path = args.out / f"dashboard-{page.uid.removeprefix('ebbmark-')}.png"
            path.write_bytes(picture)
            sys.stdout.write(f"{path} {len(picture)} bytes\n")


if __name__ == "__main__":
    main()
