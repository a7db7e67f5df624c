"""The machine, PostgreSQL and Kafka: what there is of them, and how much of it is left."""

from observability.dashboards.bounds import MAX_CONNECTIONS, SETTINGS, bound
from observability.dashboards.panels import Limits, Page, Panel, Query, quantile, rate

KAFKA_ALONE = "Kafka, by an exporter of its own: in Compose alone"
"""The row that stays empty on the local stack, for which no such exporter is packaged."""

_CORES = "scalar(count(count by (cpu) (node_cpu_seconds_total)))"

PAGE = Page(
    uid="ebbmark-machine",
    title="Ebbmark / Machine",
    description="CPU, memory and disks by the node exporter, PostgreSQL by its exporter, Kafka as we see it.",
    rows=[
        (
            "CPU and memory",
            [
                Panel(
                    title="CPU, by mode",
                    description="Of all cores. Near 1: everything waits; add cores, or workers elsewhere.",
                    unit="percentunit",
                    stacked=True,
                    limits=Limits(0.8, 0.95),
                    queries=[
                        Query(
                            rate("node_cpu_seconds_total{mode!='idle'}", "mode") + f" / {_CORES}",
                            "{{mode}}",
                        )
                    ],
                ),
                Panel(
                    title="CPU of our processes",
                    description="Cores. What is missing to the left picture, the servers take.",
                    unit="short",
                    stacked=True,
                    limits=None,
                    queries=[
                        Query(rate("process_cpu_seconds_total{job!='loadtest'}", "process"), "{{process}}"),
                        Query(rate("ebbmark_children_cpu_seconds_total"), "children"),
                    ],
                ),
                Panel(
                    title="Load for each core",
                    description="Threads that run or want to. Above 1 for long: there are too few cores.",
                    unit="short",
                    limits=Limits(1, 2),
                    queries=[Query(f"node_load1 / {_CORES}", "one minute")],
                ),
                Panel(
                    title="Memory left",
                    description="Of all. Near 0: children are killed; see which process grows on Workers.",
                    unit="percentunit",
                    limits=Limits(least=0.1),
                    queries=[
                        Query("node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "available")
                    ],
                ),
            ],
        ),
        (
            "Disks",
            [
                Panel(
                    title="Time in which disks were busy",
                    description="By disk. Near 1: Kafka, PostgreSQL or the store wait for it.",
                    unit="percentunit",
                    limits=Limits(0.7, 0.9),
                    queries=[Query(rate("node_disk_io_time_seconds_total", "device"), "{{device}}")],
                ),
                Panel(
                    title="Bytes written and read",
                    description="All disks. Far above what was uploaded: see which server writes.",
                    unit="Bps",
                    limits=None,
                    queries=[
                        Query(rate("node_disk_written_bytes_total"), "written"),
                        Query(rate("node_disk_read_bytes_total"), "read"),
                    ],
                ),
                Panel(
                    title="Disk left",
                    description="By file system. Below a tenth: make it larger, or jobs shorter.",
                    unit="percentunit",
                    limits=Limits(least=bound("DiskAlmostFull")),
                    queries=[
                        Query(
                            "min by (device) (node_filesystem_avail_bytes{fstype!~'tmpfs|ramfs'}"
                            " / (node_filesystem_size_bytes{fstype!~'tmpfs|ramfs'} > 0))",
                            "{{device}}",
                        )
                    ],
                ),
            ],
        ),
        (
            "PostgreSQL",
            [
                Panel(
                    title="Transactions",
                    description="A statement each. Rolled back more than now and then: see its log.",
                    unit="ops",
                    limits=None,
                    queries=[
                        Query(rate("pg_stat_database_xact_commit"), "committed"),
                        Query(rate("pg_stat_database_xact_rollback"), "rolled back"),
                    ],
                ),
                Panel(
                    title="Connections, by state",
                    description=f"Near max_connections, which is {MAX_CONNECTIONS} here: "
                    "lower EBBMARK_LEDGER_CONNECTIONS.",
                    unit="short",
                    stacked=True,
                    limits=Limits.near(MAX_CONNECTIONS),
                    queries=[Query("sum by (state) (pg_stat_activity_count) > 0", "{{state}}")],
                ),
                Panel(
                    title="Read from memory",
                    description="Of the blocks that were read. Below 95 %: give it more shared_buffers.",
                    unit="percentunit",
                    limits=Limits(least=0.95),
                    queries=[
                        Query(
                            f"{rate('pg_stat_database_blks_hit')} / ({rate('pg_stat_database_blks_hit')}"
                            f" + {rate('pg_stat_database_blks_read')})",
                            "from memory",
                        )
                    ],
                ),
                Panel(
                    title="Rows written",
                    description="Updates far above the rest: photos go round again; see Pipeline.",
                    unit="ops",
                    limits=None,
                    queries=[
                        Query(rate("pg_stat_database_tup_inserted"), "inserted"),
                        Query(rate("pg_stat_database_tup_updated"), "updated"),
                        Query(rate("pg_stat_database_tup_deleted"), "deleted"),
                    ],
                ),
            ],
        ),
        (
            "PostgreSQL, what it holds",
            [
                Panel(
                    title="Locks, by mode",
                    description="None are of rows. Exclusive ones for long: somebody alters a table.",
                    unit="short",
                    limits=None,
                    queries=[Query("sum by (mode) (pg_locks_count) > 0", "{{mode}}")],
                ),
                Panel(
                    title="Deadlocks",
                    description="Each is tried again. More than one a minute: tell us, with its log.",
                    unit="ops",
                    limits=Limits(0.02, 0.2),
                    queries=[Query(rate("pg_stat_database_deadlocks"), "deadlocks")],
                ),
                Panel(
                    title="Size, by database",
                    description="Growing while jobs do not: rows are not forgotten, or vacuum does not pass.",
                    unit="bytes",
                    limits=None,
                    queries=[Query("max by (datname) (pg_database_size_bytes)", "{{datname}}")],
                ),
            ],
        ),
        (
            "Kafka, as our processes see it",
            [
                Panel(
                    title="Acknowledgement, by topic",
                    description="95 of 100 publications. Slow in all: its disks are, or a replica lags.",
                    unit="s",
                    limits=Limits(0.1, 1),
                    queries=[Query(quantile(0.95, "ebbmark_publish_seconds", "topic"), "{{topic}}")],
                ),
                Panel(
                    title="Publications, by topic",
                    description="Each of one event or some. `statuses` below the tasks: workers are behind.",
                    unit="ops",
                    limits=None,
                    queries=[Query(rate("ebbmark_publish_seconds_count", "topic"), "{{topic}}")],
                ),
                Panel(
                    title="Not acknowledged, not seen",
                    description="A second, and how many consumers get no answer. Rising: it is down.",
                    unit="short",
                    limits=Limits(bound("PublishFails") / 300, 1),  # which counts them over five minutes
                    queries=[
                        Query(rate("ebbmark_publish_faults_total"), "not acknowledged"),
                        Query("sum(ebbmark_consumer_blind)", "consumers that see nothing"),
                    ],
                ),
            ],
        ),
        (
            KAFKA_ALONE,
            [
                Panel(
                    title="Brokers",
                    description="Fewer than there should be: one is down.",
                    unit="short",
                    limits=Limits(least=1),
                    queries=[Query("max(kafka_brokers)", "brokers")],
                ),
                Panel(
                    title="Partitions with too few replicas",
                    description="Above zero for long: a broker is down or cannot keep up.",
                    unit="short",
                    limits=Limits(1, 10),
                    queries=[
                        Query("sum(kafka_topic_partition_under_replicated_partition)", "under-replicated")
                    ],
                ),
                Panel(
                    title="Lag, by group",
                    description="Also of groups that nobody consumes for, which none of ours can see.",
                    unit="short",
                    limits=Limits.near(SETTINGS["EBBMARK_HTTP_BACKLOG"]),
                    queries=[
                        Query("sum by (consumergroup) (kafka_consumergroup_lag_sum)", "{{consumergroup}}")
                    ],
                ),
            ],
        ),
    ],
)
