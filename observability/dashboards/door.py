"""The door: what is asked, how fast it is answered, and what is refused."""

from observability.dashboards.panels import Limits, Page, Panel, Query, or_zero, quantile, rate

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
                    queries=[Query(rate("ebbmark_http_requests_total", "status"), "{{status}}")],
                ),
                Panel(
                    title="Answered, by route",
                    description="Status asked far more often than photos are sent: clients poll.",
                    unit="reqps",
                    queries=[Query(rate("ebbmark_http_requests_total", "route"), "{{route}}")],
                ),
                Panel(
                    title="Time to the end of the answer",
                    description="95 of 100, by route. Slow uploads alone: the clients' lines are the limit.",
                    unit="s",
                    limits=Limits(1, 5),
                    queries=[Query(quantile(0.95, "ebbmark_http_request_seconds", "route"), "{{route}}")],
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
                    queries=[Query(rate("ebbmark_uploaded_bytes_total"), "originals")],
                ),
                Panel(
                    title="Open",
                    description="Uploads, downloads and watchers. Long at a limit: run another ingest.",
                    unit="short",
                    queries=[
                        Query("sum(ebbmark_uploads_open)", "uploads"),
                        Query("sum(ebbmark_downloads_open)", "downloads"),
                        Query("sum(ebbmark_watchers)", "watchers"),
                    ],
                ),
                Panel(
                    title="Refused, by code",
                    description="A sudden rise of one code: see docs/errors.md.",
                    unit="ops",
                    stacked=True,
                    queries=[Query(or_zero(rate("ebbmark_uploads_refused_total", "code")), "{{code}}")],
                ),
            ],
        ),
    ],
)
