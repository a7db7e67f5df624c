"""What somebody wants to know first: does it keep its promises, how much goes through, what waits."""

from typing import NamedTuple

from observability.dashboards.bounds import (
    ACCEPTED_WITHIN,
    DELETION_LATE,
    RESULT_WITHIN,
    SETTINGS,
    bound,
    budget,
    kept,
    pace,
)
from observability.dashboards.panels import Limits, Page, Panel, Query, or_zero, quantile, rate, within


class _Promise(NamedTuple):
    """What is promised, who is alerted when it is broken fast, and the rule that records which part is."""

    title: str
    description: str
    alert: str
    broken: str
    legend: str


_PROMISES = (
    _Promise(
        "Handed in well",
        "Forms, photos and seals without 5xx. Below: see Door and /readyz.",
        "AcceptFailsFast",
        "ebbmark:accept_errors",
        "handed in",
    ),
    _Promise(
        f"Accepted within {ACCEPTED_WITHIN:g} s",
        "Of all photos, from their last byte. Below: Workers shows who is slow.",
        "AcceptLateFast",
        "ebbmark:accept_late",
        "accepted",
    ),
    _Promise(
        "Requests answered well",
        "All, without 5xx. Below: see Door and /readyz.",
        "DoorFailsFast",
        "ebbmark:http_errors",
        "answered",
    ),
    _Promise(
        f"Result within {RESULT_WITHIN:g} s",
        "Of the photos. Below: see Pipeline.",
        "ResultsLateFast",
        "ebbmark:late_results",
        "results",
    ),
    _Promise(
        "Deleted in time",
        "Of the time. Below: the janitor or the store is stuck; see its log.",
        "DeletionLateFast",
        "ebbmark:deletion_late",
        "deleted",
    ),
)

PAGE = Page(
    uid="ebbmark-overview",
    title="Ebbmark / Overview",
    description="Promises, throughput, latency, errors, backlog, and what was deleted.",
    rows=[
        (
            "Promises, of the last 30 minutes",
            [
                Panel(
                    title=each.title,
                    description=each.description,
                    unit="percentunit",
                    kind="stat",
                    limits=Limits(least=kept(each.alert)),
                    queries=[Query(f"1 - {each.broken}:ratio30m")],
                )
                for each in _PROMISES
            ],
        ),
        (
            "What is to be dealt with",
            [
                Panel(
                    title="Deletion overdue",
                    description="How long an ended job has had bytes. 3 min: the janitor is stuck.",
                    unit="s",
                    kind="stat",
                    limits=Limits.near(DELETION_LATE),
                    queries=[Query("max(ebbmark_expiry_overdue_seconds)")],
                ),
                Panel(
                    title="Audit findings",
                    description="What the last audit of the bucket found wrong. Above zero: see the runbook.",
                    unit="short",
                    kind="stat",
                    limits=Limits(alarm=bound("AuditFindings") + 1),
                    queries=[Query("sum(ebbmark_audit_findings) or vector(0)")],
                ),
                Panel(
                    title="Since the last audit",
                    description="Of the bucket. Half an hour: none comes to its end; see the janitor's log.",
                    unit="s",
                    kind="stat",
                    limits=Limits.near(bound("AuditsMissing")),
                    queries=[Query("time() - max(ebbmark_audit_timestamp_seconds)")],
                ),
                Panel(
                    title="Open dead letters",
                    description="Given up and not yet dealt with. Above zero: `ebbmark dlq list`.",
                    unit="short",
                    kind="stat",
                    limits=Limits(warning=bound("DeadLettersOpen") + 1),
                    queries=[Query("max(ebbmark_dead_letters_open)")],
                ),
                Panel(
                    title="Leaders",
                    description="Janitors that act. Other than 1: nothing is deleted; see their logs.",
                    unit="short",
                    kind="stat",
                    limits=Limits(least=bound("NoLeader"), alarm=bound("NoLeader") + 1),
                    queries=[Query("sum(ebbmark_janitor_leader)")],
                ),
            ],
        ),
        (
            "Throughput and latency",
            [
                Panel(
                    title="Photos a second",
                    description="Accepted above rendered for long: add workers; entered below: see Pipeline.",
                    unit="ops",
                    limits=None,
                    queries=[
                        Query(rate("ebbmark_photos_accepted_total"), "accepted"),
                        Query(rate("ebbmark_photos_rendered_total"), "rendered"),
                        Query(or_zero(rate("ebbmark_photos_failed_total")), "failed"),
                        Query(rate("ebbmark_outcomes_applied_total"), "entered in the ledger"),
                    ],
                ),
                Panel(
                    title="Upload → result",
                    description="From acceptance to the stored result. Rising: Pipeline shows the stage.",
                    unit="s",
                    limits=Limits.near(RESULT_WITHIN),
                    queries=within("ebbmark_photo_seconds", 0.5, 0.95, 0.99),
                ),
                Panel(
                    title="Upload → result, by size",
                    description="19 of 20; small to 2 MP, medium to 8. `large` alone rising: more cores.",
                    unit="s",
                    limits=Limits.near(RESULT_WITHIN),
                    queries=[Query(quantile(0.95, "ebbmark_photo_seconds", "size"), "{{size}}")],
                ),
                Panel(
                    title="Budgets of the promises",
                    description="Used in the last hour, times the even pace. Above 1 for a month: broken.",
                    unit="short",
                    limits=Limits(pace("DoorFailsSlowly"), pace("DoorFailsFast")),
                    queries=[
                        Query(f"{each.broken}:ratio1h / {budget(each.alert):g}", each.legend)
                        for each in _PROMISES
                    ],
                ),
            ],
        ),
        (
            "Backlog",
            [
                Panel(
                    title="Oldest event that waits, by group",
                    description="How long it is there. A renderer rising: add workers; another: its log.",
                    unit="s",
                    limits=Limits(RESULT_WITHIN, SETTINGS["EBBMARK_JOB_DEADLINE"]),
                    queries=[Query("max by (agent) (ebbmark_consumer_lag_seconds)", "{{agent}}")],
                ),
                Panel(
                    title="Events that wait, by group",
                    description="Or are in hand. Growing in the renderers: more comes; add workers.",
                    unit="short",
                    limits=Limits.near(SETTINGS["EBBMARK_HTTP_BACKLOG"]),
                    queries=[Query("sum by (agent) (ebbmark_consumer_lag)", "{{agent}}")],
                ),
                Panel(
                    title="Wait for a worker, by lane",
                    description="19 of 20. `express` stays low while `bulk` is full; else: add workers.",
                    unit="s",
                    limits=Limits.near(RESULT_WITHIN),
                    queries=[Query(quantile(0.95, "ebbmark_queue_seconds", "lane"), "{{lane}}")],
                ),
            ],
        ),
        (
            "Errors and ends",
            [
                Panel(
                    title="Failures by code",
                    description="One code alone rising: a client sends what cannot be rendered.",
                    unit="ops",
                    stacked=True,
                    limits=None,
                    queries=[
                        Query(or_zero(rate("ebbmark_photos_failed_total", "code")), "{{code}}"),
                        Query(
                            or_zero(rate("ebbmark_photos_given_up_total", "code")),
                            "{{code}}, given up",
                        ),
                    ],
                ),
                Panel(
                    title="Jobs ended",
                    description="Completed, and an hour later deleted: the second line follows the first.",
                    unit="ops",
                    limits=None,
                    queries=[
                        Query(rate("ebbmark_jobs_completed_total"), "completed"),
                        Query(rate("ebbmark_jobs_expired_total"), "deleted"),
                    ],
                ),
                Panel(
                    title="Links dead → objects gone",
                    description="19 of 20 jobs: grace and a moment. Beyond 5 min: the janitor is behind.",
                    unit="s",
                    limits=Limits.near(SETTINGS["EBBMARK_JOB_GRACE"] + DELETION_LATE),
                    queries=within("ebbmark_expiry_seconds", 0.95),
                ),
                Panel(
                    title="In the bucket",
                    description="At the last audit. Growing while uploads are not: nothing is deleted.",
                    unit="bytes",
                    limits=None,
                    queries=[Query("max(ebbmark_audit_bytes)", "bytes")],
                ),
            ],
        ),
    ],
)
