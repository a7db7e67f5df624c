"""Workers and what they lean on: utilisation, saturation, errors."""

from observability.dashboards.panels import Limits, Page, Panel, Query, or_zero, quantile, rate

PAGE = Page(
    uid="ebbmark-workers",
    title="Ebbmark / Workers",
    description="How busy the workers are, what they do a second, and how fast ledger and store answer them.",
    rows=[
        (
            "Use",
            [
                Panel(
                    title="Children busy, by process",
                    description="1 for long while lag grows: add workers. 0 while lag grows: see the log.",
                    unit="percentunit",
                    limits=Limits(0.9),
                    queries=[
                        Query("ebbmark_children_busy / (ebbmark_children > 0)", "{{process}}"),
                    ],
                ),
                Panel(
                    title="CPU, by process",
                    description="Cores of the parents. Near 1: split its agents over more processes.",
                    unit="short",
                    limits=Limits(0.8, 1),
                    queries=[
                        Query(
                            "sum by (process) (rate(process_cpu_seconds_total[$__rate_interval]))",
                            "{{process}}",
                        )
                    ],
                ),
                Panel(
                    title="Memory, by process",
                    description="Resident. Growing without end: a leak; restart it and tell us.",
                    unit="bytes",
                    queries=[Query("sum by (process) (process_resident_memory_bytes)", "{{process}}")],
                ),
            ],
        ),
        (
            "Work",
            [
                Panel(
                    title="Pixels a second",
                    description="Of originals. What a core can do; flat while photos wait: all are busy.",
                    unit="short",
                    queries=[Query(rate("ebbmark_rendered_pixels_total"), "pixels")],
                ),
                Panel(
                    title="Bytes a second",
                    description="Originals fetched, results stored. Near the network's limit: move workers.",
                    unit="Bps",
                    queries=[Query(rate("ebbmark_rendered_bytes_total", "direction"), "{{direction}}")],
                ),
                Panel(
                    title="Children lost, by reason",
                    description="`died`: memory or a hostile file; `timeout`: too large a photo.",
                    unit="ops",
                    limits=Limits(0.01, 0.1),
                    queries=[Query(or_zero(rate("ebbmark_children_lost_total", "reason")), "{{reason}}")],
                ),
            ],
        ),
        (
            "What they lean on",
            [
                Panel(
                    title="Ledger, slowest statements",
                    description="95 of 100. All slow: PostgreSQL is; one slow: explain that one.",
                    unit="s",
                    limits=Limits(0.1, 1),
                    queries=[
                        Query(
                            f"topk(8, {quantile(0.95, 'ebbmark_ledger_seconds', 'statement')})",
                            "{{statement}}",
                        )
                    ],
                ),
                Panel(
                    title="Store, by call",
                    description="95 of 100. Slow `put`: see its disks; slow `get`: the network.",
                    unit="s",
                    limits=Limits(0.5, 2.5),
                    queries=[Query(quantile(0.95, "ebbmark_store_seconds", "call"), "{{call}}")],
                ),
                Panel(
                    title="Not answered",
                    description="Statements and calls that got no answer. Rising: it is down or overloaded.",
                    unit="ops",
                    limits=Limits(0.01, 0.1),
                    queries=[
                        Query(rate("ebbmark_ledger_faults_total"), "ledger"),
                        Query(rate("ebbmark_store_faults_total"), "store"),
                    ],
                ),
            ],
        ),
    ],
)
