"""A load test while it runs, by the load generator's own metrics: what it asks for, and what it is served."""

from observability.dashboards.bounds import ANY
from observability.dashboards.panels import Limits, Page, Panel, Query, or_zero, quantile, rate, within

PAGE = Page(
    uid="ebbmark-load",
    title="Ebbmark / Load test",
    description="What the load generator asks for, what it is served, and whether it can be believed.",
    rows=[
        (
            "Asked and served",
            [
                Panel(
                    title="Rate asked, rate served",
                    description="Requests. Served below asked: the system cannot keep up, or refuses.",
                    unit="reqps",
                    limits=None,
                    queries=[
                        Query("sum(ebbmark_load_rate_planned)", "planned"),
                        Query(rate("ebbmark_load_asked_total"), "asked"),
                        Query(rate("ebbmark_load_answered_total{outcome='ok'}"), "served"),
                    ],
                ),
                Panel(
                    title="Served, by request",
                    description="In an open loop each keeps its planned rate, however slow the system is.",
                    unit="reqps",
                    limits=None,
                    queries=[
                        Query(rate("ebbmark_load_answered_total{outcome='ok'}", "request"), "{{request}}")
                    ],
                ),
                Panel(
                    title="Not served, by reason",
                    description="`refused` is honest. `lost` and `failed`: see the ledger; others: see Door.",
                    unit="reqps",
                    stacked=True,
                    limits=Limits(0.01, 1),
                    queries=[Query(rate("ebbmark_load_errors_total", "reason"), "{{reason}}")],
                ),
            ],
        ),
        (
            "Latency from the planned start",
            [
                Panel(
                    title="Accepting a photo",
                    description="Until the whole 202. High while Door is fast: it waits before the door.",
                    unit="s",
                    limits=Limits(0.1, 0.15),
                    queries=within("ebbmark_load_seconds{step='accept'}", 0.5, 0.95, 0.99),
                ),
                Panel(
                    title="Upload → result",
                    description="Until its last byte. High: Pipeline shows the stage, Machine what is full.",
                    unit="s",
                    limits=Limits(1, 2),
                    queries=within("ebbmark_load_seconds{step='done'}", 0.5, 0.95, 0.99),
                ),
                Panel(
                    title="Status and download",
                    description="19 of 20. A slow status: see Door; a slow result: the store, on Workers.",
                    unit="s",
                    limits=Limits(0.03, 0.15),
                    queries=[
                        Query(
                            quantile(0.95, "ebbmark_load_seconds{step=~'status|result'}", "step"), "{{step}}"
                        )
                    ],
                ),
            ],
        ),
        (
            "Whether it can be believed",
            [
                Panel(
                    title="Sent late",
                    description="99 of 100 requests. Above 50 ms: the generator has too little CPU.",
                    unit="s",
                    limits=Limits(0.025, 0.05),
                    queries=[Query(quantile(0.99, "ebbmark_load_late_seconds"), "late")],
                ),
                Panel(
                    title="Under way",
                    description="Photos without a result growing at an even rate: it cannot keep up.",
                    unit="short",
                    limits=None,
                    queries=[
                        Query("sum(ebbmark_load_users)", "users"),
                        Query("sum(ebbmark_load_unfinished)", "photos without a result"),
                    ],
                ),
                Panel(
                    title="Results compared",
                    description="Each with what was asked for. Below what is served: it falls behind.",
                    unit="ops",
                    limits=None,
                    queries=[
                        Query(rate("ebbmark_load_verified_total"), "right"),
                    ],
                ),
                Panel(
                    title="Wrong results",
                    description="Not what was asked for. One: stop, and find out.",
                    unit="ops",
                    limits=Limits(alarm=ANY),
                    queries=[
                        Query(or_zero(rate("ebbmark_load_wrong_results_total", "reason")), "{{reason}}")
                    ],
                ),
                Panel(
                    title="Bytes",
                    description="Photos sent, results received. Flat at one value: the line is full.",
                    unit="Bps",
                    limits=None,
                    queries=[
                        Query(rate("ebbmark_load_sent_bytes_total"), "sent"),
                        Query(rate("ebbmark_load_received_bytes_total"), "received"),
                    ],
                ),
            ],
        ),
    ],
)
