"""Every metric of Ebbmark, each with what to do when it moves. No label ever holds a user's string."""

from prometheus_client import Counter, Gauge, Histogram

_DEPENDENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10)
_LONG = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 900, 3600)
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_EXPIRY = (1, 5, 15, 60, 120, 125, 130, 150, 180, 240, 300, 600, 1800, 3600)

# The door (ingest)

HTTP_REQUESTS = Counter(
    "ebbmark_http_requests_total",
    "Requests answered. Many 5xx: look at /readyz for the dependency that is down.",
    ["route", "method", "status"],
)
HTTP_SECONDS = Histogram(
    "ebbmark_http_request_seconds",
    "Time to the end of the answer. Slow uploads with a fast status: the client's line is the limit.",
    ["route"],
    buckets=_FAST,
)
UPLOADS_OPEN = Gauge(
    "ebbmark_uploads_open",
    "Uploads under way. Long at its limit: run another ingest, or raise EBBMARK_HTTP_UPLOADS.",
)
DOWNLOADS_OPEN = Gauge(
    "ebbmark_downloads_open",
    "Downloads of results and archives under way. Long at its limit: run another ingest, "
    "or raise EBBMARK_HTTP_DOWNLOADS.",
)
ACCEPT_SECONDS = Histogram(
    "ebbmark_accept_seconds",
    "Time from the last byte of a photo, or of the last photo of a form, to its acceptance by ledger and "
    "log. Slow: ebbmark_store_seconds and ebbmark_ledger_seconds say who is.",
    buckets=_FAST,
)
SPOOL_FREE = Gauge(
    "ebbmark_spool_free_bytes",
    "Bytes free on the disk of the spool. Near ebbmark_spool_least_bytes: make room, or uploads are refused.",
)
SPOOL_LEAST = Gauge(
    "ebbmark_spool_least_bytes",
    "Bytes that must be free on that disk, as EBBMARK_HTTP_SPOOL_FREE says. Other than you set it: ingest "
    "has another environment.",
)
UPLOADED_BYTES = Counter(
    "ebbmark_uploaded_bytes_total",
    "Bytes of originals taken in. Flat while uploads are at their limit: the line, or the store, is full.",
)
PHOTOS_ACCEPTED = Counter(
    "ebbmark_photos_accepted_total",
    "Photos queued for rendering: no refused ones, no repeats (nor what Kafka took only at a repeat), and "
    "with the seal what waited for it. Above the rate of those rendered for long: add workers.",
)
UPLOADS_REFUSED = Counter(
    "ebbmark_uploads_refused_total",
    "Uploads and photos refused at the door, by code. A sudden rise of one code: a client went wrong.",
    ["code"],
)
ASKERS_REFUSED = Counter(
    "ebbmark_askers_refused_total",
    "Downloads, event streams and operators refused since there are too many, by code. Rising: run another "
    "ingest, raise the limit, or find the client that asks in a loop.",
    ["code"],
)
PHOTOS_RETRIED = Counter(
    "ebbmark_photos_retried_total",
    "Failed photos that their owners sent round again. Rising: see by which code photos fail.",
)
PHOTOS_CANCELLED = Counter(
    "ebbmark_photos_cancelled_total",
    "Photos that their owners cancelled. Rising: people wait too long; add workers.",
)
PREVIEW_SECONDS = Histogram(
    "ebbmark_preview_seconds",
    "Time to render one preview, with its wait for a child. Slow: raise EBBMARK_PREVIEW_CHILDREN, "
    "or have fewer at once by EBBMARK_PREVIEW_AT_ONCE.",
    buckets=_FAST,
)
PREVIEWS_REFUSED = Counter(
    "ebbmark_previews_refused_total",
    "Previews refused for want of a place or of room on the disk, by code. Rising: raise "
    "EBBMARK_PREVIEW_CHILDREN and EBBMARK_PREVIEW_AT_ONCE.",
    ["code"],
)
WATCHERS = Gauge(
    "ebbmark_watchers", "Open event streams. Far above the number of users: a client reconnects in a loop."
)

# Delivery (every consumer)

MESSAGES = Counter(
    "ebbmark_messages_total",
    "Messages dealt with, by topic and outcome. `dead` above zero: look at the dead letters.",
    ["topic", "outcome"],
)
MESSAGE_RETRIES = Counter(
    "ebbmark_message_retries_total",
    "Handlers tried again because a dependency did not answer. Rising: /readyz names the dependency.",
    ["topic"],
)
MESSAGE_SECONDS = Histogram(
    "ebbmark_message_seconds",
    "Time a message was in hand, by topic, with every try. Slow in one topic: its consumer is, or what that "
    "leans on; slow in all: PostgreSQL or Kafka.",
    ["topic"],
    buckets=_FAST,
)
SLOT_WAIT_SECONDS = Counter(
    "ebbmark_slot_wait_seconds_total",
    "Seconds in which a consumer had a message and no slot for it. Its rate near 1: all slots are always "
    "taken; add workers.",
    ["topic"],
)
MESSAGES_OPEN = Gauge(
    "ebbmark_messages_open",
    "Messages being handled. At zero while `ebbmark_consumer_lag` grows: the consumer is stuck, "
    "and ends within EBBMARK_KAFKA_STALL.",
    ["topic"],
)
MESSAGES_DEAD_IN_A_ROW = Gauge(
    "ebbmark_messages_dead_in_a_row",
    "Messages given up with none handled between. At 20 the process stops: the fault is ours, see its log.",
    ["topic"],
)

CONSUMER_PARTITIONS = Gauge(
    "ebbmark_consumer_partitions",
    "Partitions that this process consumes, by agent and topic. Zero for long in one while others have "
    "several: it was not admitted to its group, see its log; fewer in all than the topic has: nobody has "
    "the rest.",
    ["agent", "topic"],
)
CONSUMER_LAG = Gauge(
    "ebbmark_consumer_lag",
    "Events in this process's partitions that are not done, by agent and topic. Growing for minutes: "
    "add workers; growing while nothing is handled: see the line `stuck` in its log.",
    ["agent", "topic"],
)
CONSUMER_LAG_SECONDS = Gauge(
    "ebbmark_consumer_lag_seconds",
    "For how long the oldest of them has been in its log, at most, by agent and topic. Beyond the time a "
    "photo may take: add workers; growing as fast as the clock: the consumer stands still, see its log.",
    ["agent", "topic"],
)
CONSUMER_BLIND = Gauge(
    "ebbmark_consumer_blind",
    "1 while a consumer cannot see how far behind it is, and its lag is as it was last seen. For minutes: "
    "Kafka is down; if it answers others, the process ends by itself and is to be started anew.",
    ["agent"],
)
CONSUMER_STALLS = Counter(
    "ebbmark_consumer_stalls_total",
    "Consumers found stuck; the process ends with it. Each is a line `stuck` or `cut off` in the log. More "
    "than one an hour: look at the brokers.",
    ["agent"],
)

# The worker renders

STAGE_SECONDS = Histogram(
    "ebbmark_render_stage_seconds",
    "Time of one photo in each stage. The slowest names what to mend: claim the ledger, fetch and store the "
    "object store, render the cores, report Kafka.",
    ["stage"],
    buckets=_FAST,
)
PHOTO_SECONDS = Histogram(
    "ebbmark_photo_seconds",
    "Time from a photo's acceptance to its stored result, by the original's size: small to 2 MP, medium to "
    "8, large beyond. Slow: ebbmark_queue_seconds says whether it waited, the stages where it was slow.",
    ["size"],
    buckets=_LONG,
)
QUEUE_SECONDS = Histogram(
    "ebbmark_queue_seconds",
    "Time from a photo's acceptance to its first claim, by lane. Rising in `express`: add workers.",
    ["lane"],
    buckets=_LONG,
)
STEP_SECONDS = Histogram(
    "ebbmark_render_step_seconds",
    "Time in the child by step: decode, each operation, encode, thumbnail. "
    "One operation far above the others: cheaper parameters, or more cores.",
    ["step"],
    buckets=_FAST,
)
PIXELS = Counter(
    "ebbmark_rendered_pixels_total",
    "Pixels of originals (`in`) and results (`out`) of what was rendered. The rate of `in` a core is what a "
    "worker can do; flat while photos wait: add workers.",
    ["direction"],
)
BYTES = Counter(
    "ebbmark_rendered_bytes_total",
    "Bytes of originals fetched (`in`) and of results stored (`out`). Near what the network carries: "
    "put workers nearer to the store.",
    ["direction"],
)
CHILDREN = Gauge("ebbmark_children", "Rendering children of a worker. Zero: it renders nothing; see its log.")
CHILDREN_BUSY = Gauge(
    "ebbmark_children_busy",
    "Children with a photo in hand. All of them, always, while lag grows: add workers.",
)
CHILDREN_BUSY_SECONDS = Counter(
    "ebbmark_children_busy_seconds_total",
    "Seconds that children had a photo in hand. Its rate over `ebbmark_children` is how busy they are: near "
    "1 while lag grows, add workers.",
)
CHILDREN_WAIT_SECONDS = Counter(
    "ebbmark_children_wait_seconds_total",
    "Seconds that photos in hand waited for a child. Its rate is how many wait: above `ebbmark_children` for "
    "long, lower EBBMARK_WORKER_SLOTS or add cores.",
)
CHILDREN_CPU_SECONDS = Counter(
    "ebbmark_children_cpu_seconds_total",
    "CPU time of children for what they rendered. Far below their busy seconds: too few cores for them.",
)
CHILDREN_STARTED = Counter(
    "ebbmark_children_started_total",
    "Children that rendered their first photo; each ends after EBBMARK_WORKER_CHILD_PHOTOS. Above a few a "
    "minute: see which are lost.",
)
POOLS_STARTED = Counter(
    "ebbmark_pools_started_total",
    "Pools of children: one for each worker, and one for each that broke. Rising: something kills children "
    "that wait, or their fork server; see the kernel's log for memory.",
)
PHOTOS_RENDERED = Counter(
    "ebbmark_photos_rendered_total",
    "Results stored and reported, repeated ones included. Zero while photos are accepted: see that a worker "
    "runs the renderer, and its log.",
)
PHOTOS_FAILED = Counter(
    "ebbmark_photos_failed_total",
    "Photos reported as failed, by code. `poison`: keep the original and find out.",
    ["code"],
)
PHOTOS_RELEASED = Counter(
    "ebbmark_photos_released_total",
    "Photos given back to be tried again: their `child` was lost, a `dependency` did not answer, or their "
    "worker was told to `stop`. Rising: the children lost, or /readyz, say why.",
    ["reason"],
)
CLAIMS_REFUSED = Counter(
    "ebbmark_claims_refused_total",
    "Orders dropped since nobody may claim the photo (any more). Many: messages are repeated; "
    "look for rebalances.",
)
CHILDREN_LOST = Counter(
    "ebbmark_children_lost_total",
    "Children that died or were killed at their time limit, of a worker or for previews. Rising: a hostile "
    "file, or too little memory.",
    ["reason"],
)

# The ledger's movements

OUTCOMES_APPLIED = Counter(
    "ebbmark_outcomes_applied_total",
    "Outcomes handed to the ledger by the projector, repeated ones included. Below those rendered and failed "
    "for long: the projector is behind; see `ebbmark_message_seconds` of `statuses`.",
)
JOBS_COMPLETED = Counter(
    "ebbmark_jobs_completed_total",
    "Jobs whose last photo ended. Zero while photos are rendered: a job waits for one; see its time line.",
)

# What everything depends on

LEDGER_SECONDS = Histogram(
    "ebbmark_ledger_seconds",
    "Time of one statement with its wait for a connection, by statement. All slow: PostgreSQL is; "
    "one slow: explain that one.",
    ["statement"],
    buckets=_DEPENDENCY,
)
LEDGER_FAULTS = Counter(
    "ebbmark_ledger_faults_total", "Statements the database did not answer. Rising: it is down or overloaded."
)
LEDGER_CONNECTIONS = Gauge(
    "ebbmark_ledger_connections",
    "Connections of a process to the database, `busy` and `idle`. All busy, always: raise "
    "EBBMARK_LEDGER_CONNECTIONS, as far as max_connections allows.",
    ["state"],
)
LEDGER_WAITING = Gauge(
    "ebbmark_ledger_waiting",
    "Statements of a process that wait for a connection. Above zero for long: the database is slow, or see "
    "`ebbmark_ledger_connections`.",
)
STORE_SECONDS = Histogram(
    "ebbmark_store_seconds",
    "Time of one call of the object store, by call. Slow `put`: see its disks; slow `get`: the network.",
    ["call"],
    buckets=_DEPENDENCY,
)
STORE_FAULTS = Counter(
    "ebbmark_store_faults_total", "Calls the object store did not answer. Rising: it is down or overloaded."
)

PUBLISH_SECONDS = Histogram(
    "ebbmark_publish_seconds",
    "Time until Kafka has acknowledged events that were published together, by topic. Slow in all: its "
    "disks are, or a replica lags.",
    ["topic"],
    buckets=_DEPENDENCY,
)
PUBLISH_FAULTS = Counter(
    "ebbmark_publish_faults_total",
    "Publications that Kafka did not acknowledge. Rising: it is down or overloaded.",
)

# Traces

SPANS = Counter(
    "ebbmark_spans_total",
    "Spans `made` and `sent`, while traces are asked for. `made` far above `sent`: the endpoint of "
    "EBBMARK_TRACE_ENDPOINT does not take them; nothing else suffers.",
    ["outcome"],
)

# Webhooks

DELIVERIES = Counter(
    "ebbmark_deliveries_total",
    "Attempts to tell a receiver, by outcome. Only failures: the notifier's way out is blocked, or look at "
    "/jobs/{id}/deliveries.",
    ["outcome"],
)
DELIVERY_SECONDS = Histogram(
    "ebbmark_delivery_seconds",
    "Time of one attempt to tell a receiver. At its limit: a receiver works before it answers.",
    buckets=_FAST,
)
DELIVERIES_GIVEN_UP = Counter(
    "ebbmark_deliveries_given_up_total",
    "Deliveries given up since it was too late. Rising: a receiver was away for as long as its job lived.",
)
DELIVERY_AGE = Gauge(
    "ebbmark_delivery_age_seconds",
    "For how long the longest undelivered event has been due, in the leading janitor. "
    "Growing while attempts are few: run a notifier.",
)

# Dead letters

DEAD_LETTERS = Counter(
    "ebbmark_dead_letters_total",
    "Messages and photos that were given up, by reason, as the janitors entered them. "
    "Rising: `ebbmark dlq list`.",
    ["reason"],
)
DEAD_LETTERS_OPEN = Gauge(
    "ebbmark_dead_letters_open",
    "Dead letters nobody has redriven or resolved, in the leading janitor. Above zero: see the runbook.",
)
DEAD_LETTER_AGE = Gauge(
    "ebbmark_dead_letter_age_seconds",
    "For how long the oldest open dead letter has been there, in the leading janitor. "
    "Above an hour: nobody looks.",
)

# The janitor

LEADER = Gauge(
    "ebbmark_janitor_leader", "1 in the janitor that acts. A sum other than 1 for a minute: see its log."
)
SWEEPS = Counter(
    "ebbmark_janitor_sweeps_total",
    "Sweeps by outcome. No `ok` for a minute: nothing is repaired or deleted.",
    ["outcome"],
)
SWEEP_STEP_SECONDS = Histogram(
    "ebbmark_janitor_step_seconds",
    "Time of each step of a sweep. One that takes longer than EBBMARK_JANITOR_SWEEP holds up the others: see "
    "what it leans on.",
    ["step"],
    buckets=_FAST,
)
LEASES_ENDED = Counter(
    "ebbmark_leases_ended_total",
    "Photos taken back from workers that did not renew their lease. Rising: workers die, or are cut off from "
    "the database.",
)
PHOTOS_FOUND_RENDERED = Counter(
    "ebbmark_photos_found_rendered_total",
    "Photos out of strikes or time that had a result all the same. Rising: statuses are lost, or no "
    "projector runs.",
)
PHOTOS_REDISPATCHED = Counter(
    "ebbmark_photos_redispatched_total",
    "Photos dispatched again since nobody claimed them, or for a retry. Rising without faults: add workers.",
)
PHOTOS_GIVEN_UP = Counter(
    "ebbmark_photos_given_up_total",
    "Photos the ledger failed by itself, by code. `deadline`: add workers.",
    ["code"],
)
EXPIRY_OVERDUE = Gauge(
    "ebbmark_expiry_overdue_seconds",
    "For how long beyond its grace an expired job still has bytes in the store, in the leading janitor. "
    "Above 3 minutes: the janitor or the store is stuck.",
)
EXPIRY_SECONDS = Histogram(
    "ebbmark_expiry_seconds",
    "Time from the death of a job's links to its last object gone: EBBMARK_JOB_GRACE and a moment, without "
    "the grace when its owner deleted it. Beyond 5 minutes: the janitor or the store is behind.",
    buckets=_EXPIRY,
)
JOBS_EXPIRED = Counter(
    "ebbmark_jobs_expired_total",
    "Jobs whose every object is deleted. Below those completed an hour before: see "
    "`ebbmark_expiry_overdue_seconds`.",
)
OBJECTS_DELETED = Counter(
    "ebbmark_objects_deleted_total",
    "Objects deleted from the store. Zero while jobs expire: the store refuses; see the janitor's log.",
)
AUDIT_FINDINGS = Gauge(
    "ebbmark_audit_findings",
    "What the leading janitor's last audit of the bucket found wrong, by kind. Above zero: "
    'see "Audit findings" in the operating manual.',
    ["kind"],
)
AUDIT_TIMESTAMP = Gauge(
    "ebbmark_audit_timestamp_seconds",
    "When the last audit that came to its end began. Its highest value older than half an hour: see the "
    "janitor's log.",
)
AUDIT_OBJECTS = Gauge(
    "ebbmark_audit_objects",
    "Objects in the bucket at the last audit. Growing while uploads are not: nothing is deleted.",
)
AUDIT_BYTES = Gauge(
    "ebbmark_audit_bytes", "Their bytes. Near what the store holds: make it larger, or jobs shorter."
)
