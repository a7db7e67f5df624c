"""What the monitor tells of one moment: numbers and words, the same for eyes and for programs."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from ebbmark.monitoring.readings import Labels, Sight

_LANES = {"express": "tasks.express", "bulk": "tasks.bulk"}
_SERVERS = {"the database": "ebbmark_ledger_faults_total", "the store": "ebbmark_store_faults_total"}
DELETION_LATE = 180.0
"""Seconds beyond a job's grace after which its deletion breaks the promise, as it does for the alerts."""
_SIZES = ("small", "medium", "large")
_STAGES = ("claim", "fetch", "render", "store", "report")


class Waited(Struct, frozen=True):
    """Half of them and 19 of 20 took no longer, in seconds; None when there was none."""

    p50: float | None
    p95: float | None


class Throughput(Struct, frozen=True, kw_only=True):
    """A second."""

    accepted: float
    rendered: float
    failed: float
    pixels: float
    bytes_in: float
    bytes_out: float


class Lane(Struct, frozen=True, kw_only=True):
    """One of the two ways to the workers."""

    lane: str
    lag: int
    oldest: float | None
    """For how many seconds the oldest of them has been there, at most."""
    in_hand: int
    handled: float
    """A second."""
    wait: Waited
    """From acceptance to the first claim."""


class Topic(Struct, frozen=True, kw_only=True):
    """What else waits in Kafka."""

    topic: str
    lag: int
    oldest: float | None
    handled: float


class Worker(Struct, frozen=True, kw_only=True):
    """A process that renders."""

    process: str
    children: int
    busy: int
    utilisation: float | None
    """The share of the time in which its children had a photo in hand, 0 to 1."""
    rendered: float
    cpu: float
    """Cores that the parent uses; its children's are beside it."""
    memory: float
    """Bytes resident, of the parent."""


class Failure(Struct, frozen=True, kw_only=True):
    """Why photos failed within the window."""

    code: str
    where: str
    per_minute: float


class Tick(Struct, frozen=True, kw_only=True):
    """All of it. Rates and quantiles are of the last `window` seconds."""

    time: datetime
    window: float
    up: Sequence[str]
    down: Sequence[str]
    trouble: Sequence[str]
    """What somebody should look at, in sentences; nothing when all is well."""
    throughput: Throughput
    accept: Waited
    result: Waited
    result_by_size: dict[str, Waited]
    stages: dict[str, Waited]
    lanes: Sequence[Lane]
    topics: Sequence[Topic]
    workers: Sequence[Worker]
    failures: Sequence[Failure]
    dead_letters: int | None
    dead_letter_age: float | None
    deletion_overdue: float | None
    audit_findings: int | None


def look(sight: Sight, now: datetime) -> Tick:
    """Return what the processes say now."""
    up = [name for name, past in sight.pasts.items() if past.answers]
    down = [name for name, past in sight.pasts.items() if not past.answers]
    letters = sight.highest("ebbmark_dead_letters_open")
    return Tick(
        time=now,
        window=round(max((past.seconds for past in sight.pasts.values()), default=0.0), 1),
        up=up,
        down=down,
        trouble=_trouble(sight, down),
        throughput=Throughput(
            accepted=sight.rate("ebbmark_photos_accepted_total"),
            rendered=sight.rate("ebbmark_photos_rendered_total"),
            failed=sight.rate("ebbmark_photos_failed_total") + sight.rate("ebbmark_photos_given_up_total"),
            pixels=sight.rate("ebbmark_rendered_pixels_total", direction="in"),
            bytes_in=sight.rate("ebbmark_rendered_bytes_total", direction="in"),
            bytes_out=sight.rate("ebbmark_rendered_bytes_total", direction="out"),
        ),
        accept=_waited(sight, "ebbmark_accept_seconds"),
        result=_waited(sight, "ebbmark_photo_seconds"),
        result_by_size={size: _waited(sight, "ebbmark_photo_seconds", size=size) for size in _SIZES},
        stages={stage: _waited(sight, "ebbmark_render_stage_seconds", stage=stage) for stage in _STAGES},
        lanes=[_lane(sight, lane, topic) for lane, topic in _LANES.items()],
        topics=[
            Topic(
                topic=topic,
                lag=_lag(sight, topic),
                oldest=_oldest(sight, topic),
                handled=_handled(sight, topic),
            )
            for topic in sight.values_of("ebbmark_consumer_lag", "topic")
            if topic not in _LANES.values()
        ],
        workers=[
            _worker(sight, name) for name, past in sight.pasts.items() if _count(past.now("ebbmark_children"))
        ],
        failures=_failures(sight),
        dead_letters=None if letters is None else int(letters),
        dead_letter_age=sight.highest("ebbmark_dead_letter_age_seconds") if letters else None,
        deletion_overdue=sight.highest("ebbmark_expiry_overdue_seconds"),
        audit_findings=_whole(sight.total("ebbmark_audit_findings")),
    )


def _waited(sight: Sight, histogram: str, **labels: str) -> Waited:
    return Waited(sight.quantile(0.5, histogram, **labels), sight.quantile(0.95, histogram, **labels))


def _lag(sight: Sight, topic: str) -> int:
    return int(sight.total("ebbmark_consumer_lag", topic=topic) or 0)


def _oldest(sight: Sight, topic: str) -> float | None:
    return sight.highest("ebbmark_consumer_lag_seconds", topic=topic)


def _handled(sight: Sight, topic: str) -> float:
    return sight.rate("ebbmark_messages_total", topic=topic)


def _lane(sight: Sight, lane: str, topic: str) -> Lane:
    return Lane(
        lane=lane,
        lag=_lag(sight, topic),
        oldest=_oldest(sight, topic),
        in_hand=int(sight.total("ebbmark_messages_open", topic=topic) or 0),
        handled=_handled(sight, topic),
        wait=_waited(sight, "ebbmark_queue_seconds", lane=lane),
    )


def _worker(sight: Sight, name: str) -> Worker:
    past = sight.pasts[name]
    children = _count(past.now("ebbmark_children"))
    spent = sight.rate_of(name, "ebbmark_children_busy_seconds_total")
    return Worker(
        process=name,
        children=children,
        busy=_count(past.now("ebbmark_children_busy")),
        utilisation=min(1.0, spent / children) if children and past.seconds else None,
        rendered=sight.rate_of(name, "ebbmark_photos_rendered_total"),
        cpu=sight.rate_of(name, "process_cpu_seconds_total"),
        memory=sum(past.now("process_resident_memory_bytes").values()),
    )


def _failures(sight: Sight) -> list[Failure]:
    metrics = {
        "rendering": "ebbmark_photos_failed_total",
        "given up": "ebbmark_photos_given_up_total",
        "at the door": "ebbmark_uploads_refused_total",
    }
    found = [
        Failure(code=code, where=where, per_minute=60 * sight.rate(name, code=code))
        for where, name in metrics.items()
        for code in sight.values_of(name, "code")
    ]
    return sorted((each for each in found if each.per_minute), key=lambda each: -each.per_minute)


def _trouble(sight: Sight, down: Sequence[str]) -> list[str]:
    found = [f"{name} does not answer" for name in down]
    leaders = sight.total("ebbmark_janitor_leader") or 0
    if leaders != 1:
        found.append(f"{leaders:.0f} janitors lead" if leaders else "no janitor leads")
    if not sight.total("ebbmark_children"):
        found.append("no worker renders")
    blind = [agent for agent in sight.values_of("ebbmark_consumer_blind", "agent") if _blind(sight, agent)]
    if blind:
        found.append(f"Kafka does not answer {', '.join(blind)}")
    for what, name in _SERVERS.items():
        if rate := sight.rate(name):
            found.append(f"{what} left {60 * rate:.0f} questions a minute unanswered")
    if letters := sight.highest("ebbmark_dead_letters_open"):
        found.append(f"{letters:.0f} dead letters are open")
    if (overdue := sight.highest("ebbmark_expiry_overdue_seconds") or 0.0) > DELETION_LATE:
        found.append(f"a deletion is {overdue / 60:.0f} minutes late")
    if findings := sight.total("ebbmark_audit_findings"):
        found.append(f"the audit found {findings:.0f} objects that are wrong")
    return found


def _blind(sight: Sight, agent: str) -> bool:
    return bool(sight.total("ebbmark_consumer_blind", agent=agent))


def _count(series: Mapping[Labels, float]) -> int:
    return int(sum(series.values()))


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
