"""Every metric of the load generator: what is asked of the system, and what comes back."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_MILLISECONDS = (
    1,
    2.5,
    5,
    10,
    20,
    30,
    50,
    75,
    100,
    150,
    250,
    500,
    1e3,
    1.5e3,
    2e3,
    4e3,
    8e3,
    15e3,
    30e3,
    60e3,
)
_SECONDS = tuple(each / 1000 for each in _MILLISECONDS)
"""Every promised limit is one of them, so that Prometheus can say whether it was kept."""

REGISTRY = CollectorRegistry()
PORT = 9646
"""Where Prometheus looks for them."""

INFO = Gauge(
    "ebbmark_load_info",
    "1 for the shape that runs, and its loop: `open` sends when it is time, `closed` once answered.",
    ["shape", "loop"],
    registry=REGISTRY,
)
RATE_PLANNED = Gauge(
    "ebbmark_load_rate_planned",
    "Requests a second that the plan asks for now. 0 while the last results are waited for.",
    ["request"],
    registry=REGISTRY,
)
ASKED = Counter(
    "ebbmark_load_asked_total",
    "Requests whose time has come. Its rate above that of the answers: the system cannot keep up.",
    ["request"],
    registry=REGISTRY,
)
ANSWERED = Counter(
    "ebbmark_load_answered_total",
    "Requests answered: `ok`, `refused` with 429 or 503 and a time to come back, `error` otherwise.",
    ["request", "outcome"],
    registry=REGISTRY,
)
SECONDS = Histogram(
    "ebbmark_load_seconds",
    "Latency from the planned start, by step: `accept`, `status`, `result`, `done` from upload to result. "
    "High with low ebbmark_http_request_seconds: requests wait before the door is theirs.",
    ["step"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
ERRORS = Counter(
    "ebbmark_load_errors_total",
    "Requests that were not served, by reason. `refused`: the system says so honestly; `lost`: an accepted "
    "photo never came back, see the ledger.",
    ["request", "reason"],
    registry=REGISTRY,
)
WRONG_RESULTS = Counter(
    "ebbmark_load_wrong_results_total",
    "Results that are not what was asked for, by reason. Above zero: stop, and find out.",
    ["reason"],
    registry=REGISTRY,
)
VERIFIED = Counter("ebbmark_load_verified_total", "Results that were compared and right.", registry=REGISTRY)
LATE_SECONDS = Histogram(
    "ebbmark_load_late_seconds",
    "How long after its time the generator sent a request. High: the generator has too little CPU; "
    "measure from another machine.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
    registry=REGISTRY,
)
LATE = Counter(
    "ebbmark_load_late_total",
    "Uploads sent more than 50 ms after their time. Above 1 % of them the run proves nothing.",
    registry=REGISTRY,
)
USERS = Gauge(
    "ebbmark_load_users", "Users: senders of a closed loop, or photos on their way.", registry=REGISTRY
)
UNFINISHED = Gauge(
    "ebbmark_load_unfinished",
    "Accepted photos whose result has not come. Growing at an even rate: the system cannot keep up.",
    registry=REGISTRY,
)
SENT_BYTES = Counter("ebbmark_load_sent_bytes_total", "Bytes of photos sent.", registry=REGISTRY)
RECEIVED_BYTES = Counter("ebbmark_load_received_bytes_total", "Bytes of results received.", registry=REGISTRY)

REQUESTS = ("upload", "events", "status", "result")
STEPS = ("accept", "status", "result", "done")
OUTCOMES = ("ok", "refused", "error")
REASONS = ("refused", "timeout", "connection", "client", "server", "failed", "lost")
WRONGS = ("unreadable", "size", "format", "bytes")


def begin(shape: str, loop: str) -> None:
    """Have every series there from the start: a rate needs a zero to grow from."""
    INFO.labels(shape, loop).set(1)
    for request in REQUESTS:
        RATE_PLANNED.labels(request)
        ASKED.labels(request)
        for outcome in OUTCOMES:
            ANSWERED.labels(request, outcome)
        for reason in REASONS:
            ERRORS.labels(request, reason)
    for step in STEPS:
        SECONDS.labels(step)
    for reason in WRONGS:
        WRONG_RESULTS.labels(reason)
