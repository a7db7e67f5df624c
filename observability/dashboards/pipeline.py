"""The way of one photo, stage by stage: the slowest names the bottleneck."""

from observability.dashboards.bounds import ANY, RESULT_WITHIN, SETTINGS
from observability.dashboards.panels import Limits, Page, Panel, Query, mean, or_zero, quantile, rate

PAGE = Page(
    uid="ebbmark-pipeline",
    title="Ebbmark / Pipeline",
    description="From the queue to the ledger: waits, stages, steps, messages and second chances.",
    rows=[
        (
            "Where the time goes",
            [
                Panel(
                    title="Wait for a worker, by lane",
                    description="95 of 100 first claims. `express` rising: add workers.",
                    unit="s",
                    limits=Limits.near(RESULT_WITHIN),
                    queries=[Query(quantile(0.95, "ebbmark_queue_seconds", "lane"), "{{lane}}")],
                ),
                Panel(
                    title="Stages",
                    description="A photo's mean time in each. `claim`: the ledger; `fetch`, `store`: S3.",
                    unit="s",
                    stacked=True,
                    limits=Limits.near(RESULT_WITHIN),
                    queries=[
                        Query(
                            mean("ebbmark_render_stage_seconds", "stage"),
                            "{{stage}}",
                        )
                    ],
                ),
                Panel(
                    title="Steps in the child",
                    description="Mean time by step. One operation above all others: cheaper parameters.",
                    unit="s",
                    stacked=True,
                    limits=Limits.near(SETTINGS["EBBMARK_WORKER_CHILD_TIMEOUT"]),
                    queries=[
                        Query(
                            mean("ebbmark_render_step_seconds", "step"),
                            "{{step}}",
                        )
                    ],
                ),
            ],
        ),
        (
            "Lag of each topic",
            [
                Panel(
                    title="Oldest event, by topic",
                    description="How long it is there, at most. As fast as the clock: nobody takes any.",
                    unit="s",
                    limits=Limits(RESULT_WITHIN, SETTINGS["EBBMARK_JOB_DEADLINE"]),
                    queries=[Query("max by (topic) (ebbmark_consumer_lag_seconds)", "{{topic}}")],
                ),
                Panel(
                    title="Events, by topic",
                    description="Not done yet. The first topic that grows names the stage that is too slow.",
                    unit="short",
                    limits=Limits.near(SETTINGS["EBBMARK_HTTP_BACKLOG"]),
                    queries=[Query("sum by (topic) (ebbmark_consumer_lag)", "{{topic}}")],
                ),
                Panel(
                    title="Partitions consumed, by topic",
                    description="In all. Fewer than the topic has, for minutes: nobody consumes the rest.",
                    unit="short",
                    limits=None,
                    queries=[Query("sum by (topic) (ebbmark_consumer_partitions)", "{{topic}}")],
                ),
                Panel(
                    title="All slots taken, by topic",
                    description="Share of the time in which an event waited for one. 1: that stage is full.",
                    unit="percentunit",
                    limits=Limits(0.9),
                    queries=[
                        Query(
                            "max by (topic) (rate(ebbmark_slot_wait_seconds_total[$__rate_interval]))",
                            "{{topic}}",
                        )
                    ],
                ),
            ],
        ),
        (
            "Messages",
            [
                Panel(
                    title="Handled, by topic",
                    description="A photo is a message in three topics: the lines lie close together.",
                    unit="ops",
                    limits=None,
                    queries=[
                        Query(rate("ebbmark_messages_total{outcome='handled'}", "topic"), "{{topic}}"),
                        Query(rate("ebbmark_messages_total{outcome='dead'}"), "given up"),
                    ],
                ),
                Panel(
                    title="Time in hand, by topic",
                    description="19 of 20, all tries. Slow in one: that consumer is; in all: the ledger.",
                    unit="s",
                    limits=Limits(1, 10),
                    queries=[Query(quantile(0.95, "ebbmark_message_seconds", "topic"), "{{topic}}")],
                ),
                Panel(
                    title="In hand, by topic",
                    description="Messages being handled. At zero while uploads go on: a consumer is stuck.",
                    unit="short",
                    limits=None,
                    queries=[Query("sum by (topic) (ebbmark_messages_open)", "{{topic}}")],
                ),
                Panel(
                    title="Tried again",
                    description="Since a dependency did not answer. Rising: /readyz names it.",
                    unit="ops",
                    limits=Limits(0.1, 1),
                    queries=[Query(or_zero(rate("ebbmark_message_retries_total", "topic")), "{{topic}}")],
                ),
            ],
        ),
        (
            "Second chances",
            [
                Panel(
                    title="Sent round again, refused, given up",
                    description="Refusals are harmless repeats. Redispatch without faults: add workers.",
                    unit="ops",
                    limits=None,
                    queries=[
                        Query(rate("ebbmark_photos_redispatched_total"), "dispatched again"),
                        Query(rate("ebbmark_leases_ended_total"), "taken back"),
                        Query(rate("ebbmark_photos_found_rendered_total"), "found rendered"),
                        Query(
                            or_zero(rate("ebbmark_photos_released_total", "reason")), "released, {{reason}}"
                        ),
                        Query(rate("ebbmark_claims_refused_total"), "claims refused"),
                        Query(or_zero(rate("ebbmark_photos_given_up_total")), "given up"),
                    ],
                ),
                Panel(
                    title="What owners did about photos",
                    description="Many cancelled: they wait too long, add workers. Retried: see the codes.",
                    unit="ops",
                    limits=None,
                    queries=[
                        Query(rate("ebbmark_photos_retried_total"), "retried"),
                        Query(rate("ebbmark_photos_cancelled_total"), "cancelled"),
                    ],
                ),
                Panel(
                    title="Dead letters, by reason",
                    description="Entered a second. Rising: `ebbmark dlq list` shows them.",
                    unit="ops",
                    limits=Limits(warning=ANY),
                    queries=[Query(or_zero(rate("ebbmark_dead_letters_total", "reason")), "{{reason}}")],
                ),
                Panel(
                    title="Oldest dead letter",
                    description="For how long it has been open. Beyond an hour: nobody looks at them.",
                    unit="s",
                    limits=Limits(600, 3600),
                    queries=[Query("max(ebbmark_dead_letter_age_seconds)", "oldest")],
                ),
            ],
        ),
        (
            "Webhooks",
            [
                Panel(
                    title="Attempts to tell a receiver, by outcome",
                    description="Only failures: the way out is blocked, or see /jobs/{id}/deliveries.",
                    unit="ops",
                    stacked=True,
                    limits=None,
                    queries=[
                        Query(or_zero(rate("ebbmark_deliveries_total", "outcome")), "{{outcome}}"),
                        Query(rate("ebbmark_deliveries_given_up_total"), "given up, too late"),
                    ],
                ),
                Panel(
                    title="Oldest event that is not told",
                    description="For how long it has been due. Growing while attempts are few: a notifier.",
                    unit="s",
                    limits=None,
                    queries=[Query("max(ebbmark_delivery_age_seconds)", "oldest")],
                ),
            ],
        ),
        (
            "The janitor",
            [
                Panel(
                    title="Sweeps of the janitor",
                    description="No `ok` for a minute: nothing is repaired or deleted.",
                    unit="ops",
                    limits=None,
                    queries=[Query(rate("ebbmark_janitor_sweeps_total", "outcome"), "{{outcome}}")],
                ),
                Panel(
                    title="Objects deleted",
                    description="From the store. Zero while jobs end: it refuses; see the janitor's log.",
                    unit="ops",
                    limits=None,
                    queries=[Query(rate("ebbmark_objects_deleted_total"), "deleted")],
                ),
                Panel(
                    title="Steps of a sweep",
                    description="Mean time of each. Together beyond two seconds: sweeps come late.",
                    unit="s",
                    stacked=True,
                    limits=Limits(SETTINGS["EBBMARK_JANITOR_SWEEP"], 5 * SETTINGS["EBBMARK_JANITOR_SWEEP"]),
                    queries=[Query(mean("ebbmark_janitor_step_seconds", "step"), "{{step}}")],
                ),
            ],
        ),
    ],
)
