"""The kinds of panel that all dashboards are made of: title, description, unit and limits to each."""

import re
from collections.abc import Sequence
from typing import Any, Self

import msgspec
from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
)

WIDTH = 24
WITH_EXEMPLARS = frozenset(
    {
        "ebbmark_accept_seconds",
        "ebbmark_photo_seconds",
        "ebbmark_queue_seconds",
        "ebbmark_render_stage_seconds",
        "ebbmark_render_step_seconds",
    }
)
"""Histograms whose buckets tell of traces, while traces are asked for."""
_SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
_HEIGHT = {"graph": 8, "stat": 4}


class Query(msgspec.Struct, frozen=True):
    """What a panel asks of Prometheus, and what it calls the answers."""

    expr: str
    legend: str = ""

    @property
    def has_exemplars(self) -> bool:
        """Whether Prometheus may know traces of what is asked for: it keeps them with buckets alone."""
        return not WITH_EXEMPLARS.isdisjoint(re.findall(r"(\w+)_bucket", self.expr))


class Limits(msgspec.Struct, frozen=True):
    """From where on a value is a warning or an alarm, and below what it is an alarm: None for never."""

    warning: float | None = None
    alarm: float | None = None
    least: float | None = None

    @classmethod
    def near(cls, bound: float) -> Self:
        """Return an alarm at the bound, and a warning at three quarters of it."""
        return cls(bound * 3 / 4, bound)

    def steps(self) -> list[Threshold]:
        """Return them as Grafana wants them, from the lowest up."""
        above = [(self.least, "green"), (self.warning, "orange"), (self.alarm, "red")]
        return [Threshold(value=None, color="green" if self.least is None else "red")] + [
            Threshold(value=value, color=color) for value, color in above if value is not None
        ]


_IN_WORDS = {0.5: "half", 0.95: "19 of 20", 0.99: "99 of 100"}
_NO_JUDGEMENT = [Threshold(value=None, color="text")]


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One picture; `kind` is `graph`, a line over time, or `stat`, a number of now."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    limits: Limits | None
    """None for what is neither good nor bad by itself, whatever its value: Grafana is told no colour."""
    kind: str = "graph"
    stacked: bool = False

    @property
    def height(self) -> int:
        """Rows of Grafana's grid."""
        return _HEIGHT[self.kind]

    def build(self, span: int) -> Any:  # noqa: ANN401 - the kinds of panel share no type
        """Return the builder of this panel, `span` of 24 columns wide."""
        panel = self._graph() if self.kind == "graph" else self._stat()
        panel.title(self.title).description(self.description).datasource(_SOURCE)
        panel.unit(self.unit).min(0).span(span).height(self.height)
        steps = _NO_JUDGEMENT if self.limits is None else self.limits.steps()
        panel.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        # One of them: lines of other quantiles have the same dots.
        traced = next((query for query in self.queries if query.has_exemplars), None)
        for place, query in enumerate(self.queries):
            target = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + place)).datasource(_SOURCE)
            if self.kind == "stat":
                target.instant()
            elif query is traced:
                target.exemplar(True)
            panel.with_target(target.legend_format(query.legend or "__auto"))
        return panel

    def _graph(self) -> timeseries.Panel:
        panel = timeseries.Panel().line_width(1.5).fill_opacity(25 if self.stacked else 8)
        panel.show_points(kinds.VisibilityMode.NEVER)
        if self.stacked:
            panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL))
        if self.limits is not None:
            style = common.GraphThresholdsStyleConfig().mode(kinds.GraphTresholdsStyleMode.DASHED)
            panel.thresholds_style(style)
        tooltip = common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI)
        return panel.tooltip(tooltip.sort(kinds.SortOrder.DESCENDING))

    def _stat(self) -> stat.Panel:
        return (
            stat.Panel()
            .graph_mode(kinds.BigValueGraphMode.NONE)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        )


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A dashboard: rows of panels under a heading each."""

    uid: str
    title: str
    description: str
    rows: Sequence[tuple[str, Sequence[Panel]]]

    def build(self) -> Any:  # noqa: ANN401 - the kit's model of a dashboard
        """Return Grafana's model of it; panels of a row share its width."""
        page = dashboard.Dashboard(self.title).uid(self.uid).description(self.description).tags(["ebbmark"])
        page.readonly().time("now-30m", "now").refresh("10s").timezone("browser")
        source = dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus")
        page.with_variable(source)
        link = (
            dashboard.DashboardLink("Ebbmark")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["ebbmark"])
            .as_dropdown(True)
        )
        page.link(link.keep_time(True))
        for heading, panels in self.rows:
            page.with_row(dashboard.Row(heading))
            for panel in panels:
                page.with_panel(panel.build(WIDTH // len(panels)))
        return page.build()


def rate(metric: str, by: str = "") -> str:
    """Return the rate a second of a counter, summed over all processes, by the given labels."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}[$__rate_interval]))"


def quantile(q: float, histogram: str, by: str = "") -> str:
    """Return a quantile of a histogram, or of a selection of it, over all processes, by the given labels."""
    labels = f"le, {by}" if by else "le"
    name, brace, selector = histogram.partition("{")
    buckets = f"{name}_bucket{brace}{selector}"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({buckets}[$__rate_interval])))"


def within(histogram: str, *shares: float) -> list[Query]:
    """Return how long these shares of what a histogram observed took at most, each in words."""
    return [Query(quantile(share, histogram), f"{_IN_WORDS[share]} within") for share in shares]


def mean(histogram: str, by: str) -> str:
    """Return what a histogram observed on average over all processes, by the given labels."""
    return f"{rate(histogram + '_sum', by)} / {rate(histogram + '_count', by)}"


def or_zero(query: str) -> str:
    """Return the query, and 0 while it has no answer, as of what is counted by label and never was."""
    return f"{query} or on () vector(0)"
