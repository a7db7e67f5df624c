"""Spans of photos: which are made, what they belong to, and that there are none unless they are asked for."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.openmetrics.exposition import generate_latest
from structlog.testing import capture_logs

from ebbmark.errors import Unavailable
from ebbmark.events import ExpireJob, PhotoRendered, RenderPhoto
from ebbmark.guard import Message, Policy, guarded
from ebbmark.settings import Settings, SettingsError
from ebbmark.testing import MemoryLog
from ebbmark.topics import EXPIRATIONS, EXPRESS, STATUSES, UPLOADS, E, Topic
from observability import tracing
from processors.planner import Planner
from tests.collector import Collector
from tests.people import eventually
from tests.unit.visits import House

JOB = UUID(int=7)
TRACE, ROOT = tracing.ids(JOB, 0)


@pytest.fixture
def spans() -> Iterator[list[tracing.Span]]:
    made: list[tracing.Span] = []
    with tracing.collecting(made.append):
        yield made


def header(trace: int = TRACE, span: int = 5, *, sampled: bool = True) -> list[tuple[str, bytes]]:
    return [("ce_id", b"x"), ("traceparent", b"00-%032x-%016x-%02x" % (trace, span, sampled))]


def handled(headers: object, *, topic: str = "tasks.express", produced: float = 1.0) -> None:
    """Handle one message about photo 0, in a task of its own as the guard does."""

    async def handle() -> None:
        tracing.carry(tracing.arrived(headers, topic, produced))
        with tracing.span("attempt", JOB, 0):
            pass

    asyncio.run(handle())


# Off

QUIET = """
import sys
import ingest.app, processors.app, janitor.app
from observability import tracing
with tracing.exporting("", 1.0, service="worker"):
    assert tracing.traceparent(None, None) is None
print(*sorted(name for name in sys.modules if name.startswith(("opentelemetry", "requests"))))
"""


def test_no_process_loads_the_sdk_unless_there_is_an_endpoint() -> None:
    loaded = subprocess.run([sys.executable, "-c", QUIET], check=True, capture_output=True, text=True)
    assert loaded.stdout.strip() == ""


async def test_without_an_endpoint_no_message_has_a_header_and_no_span_is_made() -> None:
    log = MemoryLog()
    await log.publish(EXPRESS, [RenderPhoto(job=JOB, n=0)])
    assert "traceparent" not in log.records[0].headers
    assert tracing.arrived(header(), "tasks.express", 1.0) is None
    assert tracing.span("attempt", JOB, 0) is tracing.span("plan", uuid4(), 1), "one object for all"
    assert (tracing.now(), tracing.exemplar()) == (0, None)


@pytest.mark.parametrize("endpoint", ["jaeger:4318", "file:///etc/passwd"])
def test_an_endpoint_that_is_no_address_is_refused_at_the_start(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="EBBMARK_TRACE_ENDPOINT"):
        Settings.from_env({"EBBMARK_TRACE_ENDPOINT": endpoint})


def test_more_than_all_photos_cannot_be_traced() -> None:
    with pytest.raises(SettingsError, match="EBBMARK_TRACE_RATIO"):
        Settings.from_env({"EBBMARK_TRACE_RATIO": "1.5"})


# Which trace

PLACES = st.tuples(st.uuids(), st.integers(0, 2**31 - 1))


@given(PLACES, PLACES)
def test_a_photo_has_always_the_same_trace_and_no_other_photo_has_it(
    one: tuple[UUID, int], other: tuple[UUID, int]
) -> None:
    assert (tracing.ids(*one) == tracing.ids(*other)) is (one == other)


def test_ids_are_those_of_the_version_before() -> None:
    """Processes of two versions run side by side."""
    assert f"{TRACE:032x}-{ROOT:016x}" == "0d1d4a3b1365f08cbc343a995feba454-a024bb6c1e872444"


@pytest.mark.usefixtures("spans")
async def test_messages_about_photos_have_a_header_and_others_none() -> None:
    log = MemoryLog()
    rendered = PhotoRendered(
        job=JOB, n=0, fence=1, width=1, height=1, size=1, thumbnail_size=1, media_type="image/png"
    )
    await log.publish(STATUSES, [rendered])
    await log.publish(EXPIRATIONS, [ExpireJob(job=JOB)])
    about_photo, about_job = log.records
    assert about_photo.headers["traceparent"] == f"00-{TRACE:032x}-{ROOT:016x}-01".encode()
    assert "traceparent" not in about_job.headers


async def test_what_a_handler_publishes_is_its_consequence(spans: list[tracing.Span]) -> None:
    log = MemoryLog()
    with tracing.span("plan", JOB, 0):
        await log.publish(EXPRESS, [RenderPhoto(job=JOB, n=0), RenderPhoto(job=JOB, n=1)])
    (plan,) = spans
    other = tracing.ids(JOB, 1)
    assert [record.headers["traceparent"] for record in log.records] == [
        b"00-%032x-%016x-01" % (TRACE, plan.id),
        b"00-%032x-%016x-01" % other,  # another photo's is none of it
    ]


def test_a_message_is_the_consequence_of_what_its_header_says_after_a_wait(spans: list[tracing.Span]) -> None:
    handled(header(span=5))
    wait, attempt = spans
    assert (wait.name, wait.trace, wait.parent, wait.start) == ("wait", TRACE, 5, 10**9)
    assert (attempt.name, attempt.trace, attempt.parent) == ("attempt", TRACE, 5)
    assert wait.end == attempt.start <= attempt.end


FOREIGN = header(trace=99)
ODD = [None, [], (), {}, "x", [("traceparent", None)], [("traceparent", b"")], FOREIGN]


@pytest.mark.parametrize("headers", ODD, ids=str)
def test_a_message_without_a_header_of_ours_is_the_consequence_of_the_acceptance(
    spans: list[tracing.Span], headers: object
) -> None:
    handled(headers)
    assert [(each.trace, each.parent) for each in spans] == [(TRACE, ROOT)] * 2


@given(st.binary(max_size=80))
def test_no_header_whatever_it_holds_keeps_a_message_from_being_handled(value: bytes) -> None:
    made: list[tracing.Span] = []
    with tracing.collecting(made.append):
        handled([("traceparent", value)])
    assert [each.trace for each in made] == [TRACE] * 2


def test_a_clock_that_runs_ahead_makes_no_wait_negative(spans: list[tracing.Span]) -> None:
    handled(header(), produced=4e9)
    wait, attempt = spans
    assert wait.start == wait.end == attempt.start


def test_a_clock_that_is_set_back_ends_no_span_before_it_began(spans: list[tracing.Span]) -> None:
    tracing.accepted(JOB, 0, 4 * 10**18)
    assert spans[0].start == spans[0].end


# How many

SOME = [(UUID(int=n), n % 5) for n in range(2000)]


def sampled(ratio: float) -> set[tuple[UUID, int]]:
    made: list[tracing.Span] = []
    with tracing.collecting(made.append, ratio):
        for job, n in SOME:
            tracing.accepted(job, n, 1)
    return {(UUID(str(each.attributes["job"])), int(each.attributes["n"])) for each in made}


def test_a_share_of_the_photos_is_traced_and_of_a_larger_share_no_fewer() -> None:
    assert sampled(0) == set()
    assert sampled(1) == set(SOME)
    assert 120 < len(sampled(0.1)) < 280
    assert sampled(0.1) < sampled(0.5)


@pytest.mark.parametrize("said", [True, False])
def test_whether_a_photo_is_traced_is_said_where_its_message_was_made(said: bool) -> None:  # noqa: FBT001 - a case
    made: list[tracing.Span] = []
    with tracing.collecting(made.append, 0.0 if said else 1.0):
        handled(header(sampled=said))
    assert bool(made) is said


def test_what_is_not_traced_says_so_in_its_header() -> None:
    with tracing.collecting(lambda _: None, 0.0):
        assert tracing.traceparent(JOB, 0) == f"00-{TRACE:032x}-{ROOT:016x}-00".encode()


# What they say


def test_a_photo_that_is_accepted_again_keeps_its_one_beginning(spans: list[tracing.Span]) -> None:
    tracing.accepted(JOB, 0, 1)
    tracing.accepted(JOB, 0, 2, again=True)
    first, again = spans
    assert (first.id, first.parent) == (ROOT, None)
    assert (again.id != ROOT, again.parent) == (True, ROOT)


def test_what_has_happened_lasted_since_it_began(spans: list[tracing.Span]) -> None:
    tracing.mark("redispatch", JOB, 0, began=5, epoch=1)
    tracing.mark("give up", JOB, 0, error="poison")
    took, moment = spans
    assert (took.start, took.parent, took.attributes["epoch"]) == (5, ROOT, 1)
    assert (moment.start > 5, moment.error) == (True, "poison")


def test_an_error_is_known_by_its_code_and_a_surprise_by_its_kind(spans: list[tracing.Span]) -> None:
    for error in (Unavailable("log-unavailable", "Kafka is down."), ValueError("Grandma.jpg")):
        with pytest.raises(type(error)), tracing.span("attempt", JOB, 0):
            raise error
    assert [each.error for each in spans] == ["log-unavailable", "ValueError"]


class Flaky(MemoryLog):
    """Does not answer the first few times."""

    def __init__(self, *, failures: int) -> None:
        super().__init__()
        self._failures = failures

    async def publish(self, topic: Topic[E], events: Sequence[E]) -> None:
        self._failures -= 1
        self.down = self._failures >= 0
        await super().publish(topic, events)


async def test_each_try_of_a_message_is_a_span_and_it_waited_once(spans: list[tracing.Span]) -> None:
    log = Flaky(failures=2)

    async def stream() -> AsyncIterator[Message]:
        yield Message(
            topic="uploads",
            partition=0,
            offset=0,
            generation=1,
            value=b'{"type":"PhotoUploaded","job":"%s","n":0}' % str(JOB).encode(),
            ack=lambda: None,
            arrival=tracing.arrived(header(), "uploads", 1.0),
        )

    async def give_up(_: Message, reason: str, attempts: int, first_seen: datetime) -> None:
        pytest.fail(f"{reason} {attempts} {first_seen}")

    await guarded(
        stream(),
        topic="uploads",
        decode=UPLOADS.decode,
        handle=Planner(log).handle,
        give_up=give_up,
        slots=asyncio.Semaphore(1),
        policy=Policy(first_wait=0.001, longest_wait=0.002),
    )
    wait, *plans = spans
    assert wait.name == "wait"
    assert {each.name for each in plans} == {"plan"}
    assert [each.error for each in plans] == ["log-unavailable", "log-unavailable", None]
    assert {each.parent for each in spans} == {5}


def test_steps_of_another_process_follow_each_other_within_what_waited_for_them(
    spans: list[tracing.Span],
) -> None:
    with tracing.span("attempt", JOB, 0):
        tracing.steps(2.0, [("decode", 0.5), ("encode", 0.25)])
    decode, encode, attempt = spans
    assert (decode.start, decode.end) == (2_000_000_000, 2_500_000_000)
    assert (encode.start, encode.end) == (2_500_000_000, 2_750_000_000)
    assert decode.parent == encode.parent == attempt.id


# Exemplars


def observed(registry: CollectorRegistry) -> str:
    histogram = Histogram("h", "h", registry=registry)
    with tracing.span("attempt", JOB, 0), tracing.stage("claim", histogram.observe):
        pass
    return generate_latest(registry).decode()


def test_an_observation_leads_to_the_trace_it_is_of(spans: list[tracing.Span]) -> None:
    assert f'# {{trace_id="{TRACE:032x}"}}' in observed(CollectorRegistry())
    assert [each.name for each in spans] == ["claim", "attempt"]
    assert spans[0].parent == spans[1].id


def test_an_observation_is_made_and_leads_nowhere_without_traces() -> None:
    text = observed(CollectorRegistry())
    assert "h_count 1.0" in text
    assert "trace_id" not in text


@pytest.mark.parametrize(
    ("accepts", "told"),
    [
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text"),
        ("text/plain;version=0.0.4", "text/plain"),
        ("*/*", "text/plain"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what will be spelt otherwise in Litestar 3
async def test_the_door_shows_openmetrics_to_whom_accepts_it(accepts: str, told: str) -> None:
    shown = await House().visit("GET", "/metrics", b"", headers={"accept": accepts}).answer()
    assert shown.headers["content-type"].startswith(told)
    assert (b"# EOF" in shown.body) is ("openmetrics" in told)


# Where they go


def test_spans_arrive_as_they_were_made() -> None:
    with Collector() as collector, tracing.exporting(collector.url, 1.0, service="worker", instance="w-1"):
        tracing.accepted(JOB, 0, 10**18)
        with tracing.span("attempt", JOB, 0, epoch=3):
            tracing.failed("child-lost-died")
        root, attempt = eventually(lambda: collector.trace(TRACE), lambda seen: len(seen) == 2)
    assert (root.id, root.parent, root.start, root.error) == (ROOT, None, 10**18, None)
    assert (attempt.parent, attempt.error, attempt.service) == (ROOT, "child-lost-died", "worker")
    assert attempt.attributes == {"ebbmark.job": str(JOB), "ebbmark.n": 0, "ebbmark.epoch": 3}


def test_what_is_left_when_the_process_ends_is_sent() -> None:
    with Collector() as collector:
        with tracing.exporting(collector.url, 1.0, service="worker"):
            tracing.accepted(JOB, 0, 1)
        assert [each.name for each in collector.trace(TRACE)] == ["accept"]


def test_an_endpoint_that_takes_nothing_is_said_once_and_that_it_does_again() -> None:
    with Collector() as collector:
        collector.refuses = True
        with capture_logs() as said, tracing.exporting(collector.url, 1.0, service="worker"):
            for count in range(1, 4):
                tracing.accepted(JOB, 0, 1)
                eventually(lambda: collector.refused, lambda refused, count=count: refused >= count)
            collector.refuses = False
            tracing.accepted(JOB, 0, 1)
            eventually(lambda: collector.spans, bool)
    assert [line["event"] for line in said] == ["spans are not taken", "spans are taken again"]
