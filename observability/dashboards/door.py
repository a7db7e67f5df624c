"""The door: what is asked, how fast it is answered, and what is refused."""

from observability.dashboards.bounds import ACCEPTED_WITHIN, ANY, SETTINGS, number
from observability.dashboards.panels import Limits, Page, Panel, Query, or_zero, quantile, rate, within

_ANSWERS = "ebbmark_http_request_seconds{route!~'.*/events'}"
"""An event stream lasts as long as its job, however fast it is answered."""

PAGE = Page(
    uid="ebbmark-door",
    title="Ebbmark / Door",
    description="Requests, their latency, uploads, downloads and watchers, and what was refused.",
    rows=[
        (
            "Requests",
            [
                Panel(
                    title="Answered, by status",
                    description="Many 5xx: /readyz names what is down. Many 429: a client went wrong.",
                    unit="reqps",
                    stacked=True,
                    limits=None,
                    queries=[Query(rate("ebbmark_http_requests_total", "status"), "{{status}}")],
                ),
                Panel(
                    title="Answered, by route",
                    description="Status asked far more often than photos are sent: clients poll.",
                    unit="reqps",
                    limits=None,
                    queries=[Query(rate("ebbmark_http_requests_total", "route"), "{{route}}")],
                ),
                Panel(
                    title="Time to the end of the answer",
                    description="19 of 20, but for event streams. Slow uploads alone: the clients' lines.",
                    unit="s",
                    limits=Limits(1, 5),
                    queries=[Query(quantile(0.95, _ANSWERS, "route"), "{{route}}")],
                ),
                Panel(
                    title="Last byte → acceptance",
                    description="What ledger, store and log take. Slow: Workers shows which of them is.",
                    unit="s",
                    limits=Limits.near(ACCEPTED_WITHIN),
                    queries=within("ebbmark_accept_seconds", 0.5, 0.95, 0.99),
                ),
            ],
        ),
        (
            "Bytes and connections",
            [
                Panel(
                    title="Taken in",
                    description="Bytes of originals a second. Flat at one value: the line is full.",
                    unit="Bps",
                    limits=None,
                    queries=[Query(rate("ebbmark_uploaded_bytes_total"), "originals")],
                ),
                Panel(
                    title="Room for uploads",
                    description="Free on the spool's disk, times what must be. Near 1: they are refused.",
                    unit="short",
                    limits=Limits(least=number("SpoolLow", r"< ([\d.]+) \*")),
                    queries=[
                        Query("min(ebbmark_spool_free_bytes / (ebbmark_spool_least_bytes > 0))", "the least")
                    ],
                ),
                Panel(
                    title="Uploads under way",
                    description="Of one process. Long at its limit: run another ingest.",
                    unit="short",
                    limits=Limits.near(SETTINGS["EBBMARK_HTTP_UPLOADS"]),
                    queries=[Query("max(ebbmark_uploads_open)", "uploads")],
                ),
                Panel(
                    title="Downloads under way",
                    description="Of one process. Long at its limit: run another ingest.",
                    unit="short",
                    limits=Limits.near(SETTINGS["EBBMARK_HTTP_DOWNLOADS"]),
                    queries=[Query("max(ebbmark_downloads_open)", "downloads")],
                ),
                Panel(
                    title="Watchers",
                    description="Of one process. Far above the number of users: a client reconnects.",
                    unit="short",
                    limits=Limits.near(SETTINGS["EBBMARK_HTTP_WATCHERS"]),
                    queries=[Query("max(ebbmark_watchers)", "watchers")],
                ),
            ],
        ),
        (
            "Refused, and previews",
            [
                Panel(
                    title="Uploads refused, by code",
                    description="And photos. A sudden rise of one code: see docs/errors.md.",
                    unit="ops",
                    stacked=True,
                    limits=None,
                    queries=[Query(or_zero(rate("ebbmark_uploads_refused_total", "code")), "{{code}}")],
                ),
                Panel(
                    title="Askers refused, by code",
                    description="Downloads, watchers, operators: too many at once. See docs/errors.md.",
                    unit="ops",
                    stacked=True,
                    limits=Limits(warning=ANY),
                    queries=[Query(or_zero(rate("ebbmark_askers_refused_total", "code")), "{{code}}")],
                ),
                Panel(
                    title="Previews refused, by code",
                    description="For want of a place or of room. Rising: raise EBBMARK_PREVIEW_CHILDREN.",
                    unit="ops",
                    stacked=True,
                    limits=Limits(warning=ANY),
                    queries=[Query(or_zero(rate("ebbmark_previews_refused_total", "code")), "{{code}}")],
                ),
                Panel(
                    title="Time of a preview",
                    description="With its wait for a child. Slow: more of them, or fewer previews at once.",
                    unit="s",
                    limits=Limits.near(SETTINGS["EBBMARK_PREVIEW_TIMEOUT"]),
                    queries=within("ebbmark_preview_seconds", 0.5, 0.95),
                ),
            ],
        ),
    ],
)
