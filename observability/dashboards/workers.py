"""Workers and what they lean on: utilisation, saturation, errors."""

from observability.dashboards.bounds import SETTINGS, bound
from observability.dashboards.panels import Limits, Page, Panel, Query, or_zero, quantile, rate

_OURS = "{job=~'ingest|worker|janitor'}"

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
                    description="Of the time. 1 for long while lag grows: add workers; 0 then: see the log.",
                    unit="percentunit",
                    limits=Limits(0.9),
                    queries=[
                        Query(
                            rate("ebbmark_children_busy_seconds_total", "process")
                            + " / sum by (process) (ebbmark_children > 0)",
                            "{{process}}",
                        ),
                    ],
                ),
                Panel(
                    title="Photos waiting for a child",
                    description="On average. Above the children for long: workers hold more than they do.",
                    unit="short",
                    limits=Limits(8, 32),
                    queries=[
                        Query(
                            rate("ebbmark_children_wait_seconds_total{job='worker'}", "process"),
                            "{{process}}",
                        )
                    ],
                ),
                Panel(
                    title="CPU, by process",
                    description="Cores of the parents. Near 1: split its agents over more processes.",
                    unit="short",
                    limits=Limits(0.8, 1),
                    queries=[
                        Query(
                            rate(f"process_cpu_seconds_total{_OURS}", "process"),
                            "{{process}}",
                        )
                    ],
                ),
                Panel(
                    title="Memory, by process",
                    description="Resident. Growing without end: a leak; restart it and tell us.",
                    unit="bytes",
                    limits=None,
                    queries=[
                        Query(f"sum by (process) (process_resident_memory_bytes{_OURS})", "{{process}}")
                    ],
                ),
            ],
        ),
        (
            "Work",
            [
                Panel(
                    title="Pixels a second",
                    description="`in`: originals. What a core can do; flat while photos wait: all are busy.",
                    unit="short",
                    limits=None,
                    queries=[Query(rate("ebbmark_rendered_pixels_total", "direction"), "{{direction}}")],
                ),
                Panel(
                    title="Bytes a second",
                    description="Originals fetched, results stored. Near the network's limit: move workers.",
                    unit="Bps",
                    limits=None,
                    queries=[Query(rate("ebbmark_rendered_bytes_total", "direction"), "{{direction}}")],
                ),
                Panel(
                    title="CPU of children for a busy second",
                    description="Near 1: they have a core each. Far below while busy: too few cores.",
                    unit="percentunit",
                    limits=Limits(least=0.2),
                    queries=[
                        Query(
                            rate("ebbmark_children_cpu_seconds_total")
                            + " / "
                            + rate("ebbmark_children_busy_seconds_total"),
                            "CPU",
                        )
                    ],
                ),
            ],
        ),
        (
            "Restarts",
            [
                Panel(
                    title="Children lost, by reason",
                    description="`died`: memory or a hostile file; `timeout`: too large a photo.",
                    unit="ops",
                    limits=Limits(0.01, bound("ChildrenLost")),
                    queries=[Query(or_zero(rate("ebbmark_children_lost_total", "reason")), "{{reason}}")],
                ),
                Panel(
                    title="Children and pools begun",
                    description="A child ends after 500 photos. Pools rising: who waits is killed.",
                    unit="ops",
                    limits=Limits(0.1, 1),
                    queries=[
                        Query(rate("ebbmark_children_started_total"), "children"),
                        Query(rate("ebbmark_pools_started_total"), "pools"),
                    ],
                ),
                Panel(
                    title="Processes begun anew",
                    description="In the last quarter of an hour. More than two each: see the end of its log.",
                    unit="short",
                    limits=Limits(bound("ProcessRestarts"), bound("ProcessRestarts") + 1),
                    queries=[
                        Query(
                            f"sum by (process) (changes(process_start_time_seconds{_OURS}[15m]))",
                            "{{process}}",
                        )
                    ],
                ),
                Panel(
                    title="Consumers found stuck",
                    description="Their process ends with it, and is begun anew. Often: look at the brokers.",
                    unit="ops",
                    limits=Limits(0.001, 0.01),
                    queries=[Query(or_zero(rate("ebbmark_consumer_stalls_total", "agent")), "{{agent}}")],
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
                    title="Connections to the database",
                    description="Of one process. All busy, some wait: raise EBBMARK_LEDGER_CONNECTIONS.",
                    unit="short",
                    limits=Limits.near(SETTINGS["EBBMARK_LEDGER_CONNECTIONS"]),
                    queries=[
                        Query("max(ebbmark_ledger_connections{state='busy'})", "busy"),
                        Query("max(ebbmark_ledger_waiting)", "statements waiting"),
                    ],
                ),
                Panel(
                    title="Not answered",
                    description="Statements, calls, events. Rising: it is down or overloaded.",
                    unit="ops",
                    limits=Limits(0.01, bound("DependencyFails")),
                    queries=[
                        Query(rate("ebbmark_ledger_faults_total"), "ledger"),
                        Query(rate("ebbmark_store_faults_total"), "store"),
                        Query(rate("ebbmark_publish_faults_total"), "log"),
                    ],
                ),
            ],
        ),
    ],
)
