"""One trace a photo while spans are asked for; otherwise no span is made, no header sent, no SDK loaded.

A photo's trace and its first span, `accept`, have ids that follow from its job and number. So whoever speaks
of a photo finds its trace without being told, and nothing about it is kept: a message without a header, an
order that a janitor makes out of the ledger and a later round all belong to it. What a header adds is whose
consequence a message is. Spans hold what logs hold: the job's UUID, numbers and codes; nothing of a user's.
"""

import hashlib
import importlib
import random
import re
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol
from uuid import UUID

HEADER = "traceparent"
_SHAPE = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_LOW = 2**64 - 1

Attribute = str | int | float | bool


class Span:
    """A span that ended: times are nanoseconds since 1970, `error` says in a word what went wrong."""

    __slots__ = ("attributes", "end", "error", "id", "name", "parent", "start", "trace")

    def __init__(
        self, name: str, trace: int, parent: int | None, start: int, *, id_: int | None = None
    ) -> None:
        """Begin it; without an id it gets one of its own."""
        self.name = name
        self.trace = trace
        self.id = id_ or random.getrandbits(64) or 1
        self.parent = parent
        self.start = start
        self.end = start
        self.attributes: dict[str, Attribute] = {}
        self.error: str | None = None


class Sink(Protocol):
    """Takes spans that ended; never blocks, never raises."""

    def __call__(self, span: Span) -> None: ...


class _Tracing:
    sink: Sink | None = None
    bound: int = 0
    """Traces whose lower half is smaller are sampled: every process draws the same ones."""


class Arrival:
    """How a message came to be handled."""

    __slots__ = ("parent", "produced", "sampled", "told", "topic", "trace")

    def __init__(self, header: bytes, topic: str, produced: int) -> None:
        """An absent or malformed header makes it the consequence of the photo's acceptance."""
        found = _SHAPE.fullmatch(header)
        self.trace = int(found[1], 16) if found else 0
        self.parent = int(found[2], 16) if found else 0
        self.sampled = bool(int(found[3], 16) & 1) if found else False
        self.topic = topic
        self.produced = produced
        self.told = False


_tracing = _Tracing()
_current: ContextVar[Span | None] = ContextVar("current_span", default=None)
_arrival: ContextVar[Arrival | None] = ContextVar("arrival", default=None)
_NOTHING = nullcontext()


@contextmanager
def exporting(endpoint: str, ratio: float, *, service: str, instance: str = "") -> Generator[None]:
    """Send the spans of this share of all photos to the endpoint; without one do nothing."""
    if not endpoint:
        yield
        return
    exporter = importlib.import_module("observability.otlp").Exporter(endpoint, service, instance)
    with collecting(exporter, ratio):
        try:
            yield
        finally:
            exporter.close()


@contextmanager
def collecting(sink: Sink, ratio: float = 1.0) -> Generator[None]:
    """Give the spans of this share of all photos to `sink`."""
    _tracing.sink, _tracing.bound = sink, round(ratio * 2**64)
    try:
        yield
    finally:
        _tracing.sink = None


def ids(job: UUID, n: int) -> tuple[int, int]:
    """Return the ids of a photo's trace and of the span of its acceptance."""
    digest = hashlib.blake2b(job.bytes + n.to_bytes(8), digest_size=24, person=b"ebbmark-trace").digest()
    return int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:]) or 1


def traceparent(job: UUID | None, n: int | None) -> bytes | None:
    """Return the header of a message about this photo; None when it is to have none."""
    if _tracing.sink is None or job is None or n is None:
        return None
    trace, span = ids(job, n)
    current = _current.get()
    sampled = (trace & _LOW) < _tracing.bound
    if current is not None and current.trace == trace:
        span, sampled = current.id, True
    return b"00-%032x-%016x-%02x" % (trace, span, sampled)


def arrived(headers: object, topic: str, timestamp: float | None) -> Arrival | None:
    """Return how a message came, from its Kafka headers and the seconds at which it was produced."""
    if _tracing.sink is None:
        return None
    pairs: Iterable[tuple[str, bytes | None]] = headers if isinstance(headers, list | tuple) else ()
    found = next((value for name, value in pairs if name == HEADER), None)
    return Arrival(found or b"", topic, int((timestamp or time.time()) * 1e9))


def carry(arrival: Arrival | None) -> None:
    """Let the spans of this task be consequences of that message."""
    if arrival is not None:
        _arrival.set(arrival)


def now() -> int:
    """Return the time in nanoseconds, 0 while no spans are asked for."""
    return time.time_ns() if _tracing.sink is not None else 0


def accepted(job: UUID, n: int, began: int, *, again: bool = False) -> None:
    """Tell that a photo was accepted; `again` when it had been before: the trace keeps one beginning."""
    if _tracing.sink is None:
        return
    trace, root = ids(job, n)
    if (trace & _LOW) < _tracing.bound:
        span = Span("accept", trace, root, began) if again else Span("accept", trace, None, began, id_=root)
        span.attributes |= {"job": str(job), "n": n}
        _end(span)


def mark(
    name: str, job: UUID, n: int, *, began: int = 0, error: str | None = None, **attributes: Attribute
) -> None:
    """Tell of something that has happened to a photo, just now or since `began`, by `now`."""
    with span(name, job, n, **attributes) as made:
        if made is not None:
            made.error = error
            made.start = began or made.start


def span(name: str, job: UUID, n: int, **attributes: Attribute) -> AbstractContextManager[Span | None]:
    """Time what is done about a photo: a consequence of the message in hand, or else of its acceptance."""
    if _tracing.sink is None:
        return _NOTHING
    trace, parent = ids(job, n)
    sampled = (trace & _LOW) < _tracing.bound
    arrival = _arrival.get()
    if arrival is not None and arrival.trace == trace:
        parent, sampled = arrival.parent, arrival.sampled
    if not sampled:
        return _NOTHING
    made = Span(name, trace, parent, time.time_ns())
    made.attributes = {"job": str(job), "n": n, **attributes}
    if arrival is not None and not arrival.told:
        arrival.told = True
        waited = Span("wait", trace, parent, min(arrival.produced, made.start))
        waited.attributes = {"job": str(job), "n": n, "topic": arrival.topic}
        _end(waited, made.start)
    return _Running(made)


def set_attributes(**attributes: Attribute) -> None:
    """Add to the span that is running, if one is."""
    current = _current.get()
    if current is not None:
        current.attributes |= attributes


def failed(error: str) -> None:
    """Say that what is running went wrong without raising."""
    current = _current.get()
    if current is not None:
        current.error = error


def exemplar() -> dict[str, str] | None:
    """Return what leads from an observation to the trace of the photo it is of; None when there is none."""
    current = _current.get()
    return None if current is None else {"trace_id": f"{current.trace:032x}"}


def exemplar_of(job: UUID, n: int) -> dict[str, str] | None:
    """Return what leads from an observation to the trace of this photo; None when it has none."""
    trace, _ = ids(job, n)
    sampled = _tracing.sink is not None and (trace & _LOW) < _tracing.bound
    return {"trace_id": f"{trace:032x}"} if sampled else None


def steps(began: float, taken: Iterable[tuple[str, float]]) -> None:
    """Tell of steps that another process took one after the other, from `began` on, all in seconds."""
    current = _current.get()
    if current is None:
        return
    start = int(began * 1e9)
    for name, seconds in taken:
        step = Span(name, current.trace, current.id, start)
        start += int(seconds * 1e9)
        _end(step, start)


class stage:  # noqa: N801 - reads as the verb it is: `with stage(...)`
    """Time a stage: an observation always, and a span within the one that is running."""

    __slots__ = ("_began", "_name", "_observe", "_running")

    def __init__(self, name: str, observe: Callable[[float, dict[str, str] | None], None]) -> None:
        """`observe` takes seconds and an exemplar, as a histogram's does."""
        self._name = name
        self._observe = observe
        self._running: _Running | None = None
        self._began = 0.0

    def __enter__(self) -> None:
        current = _current.get()
        if current is not None:
            self._running = _Running(Span(self._name, current.trace, current.id, time.time_ns()))
            self._running.__enter__()
        self._began = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._observe(time.perf_counter() - self._began, exemplar())
        if self._running is not None:
            self._running.__exit__(kind, error, trace)


class _Running:
    """Makes a span the current one, and ends it."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token = _current.set(self._span)
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self._token)
        if error is not None and self._span.error is None:
            # What an error says may quote a photo; its code never does.
            code = getattr(error, "code", None)
            self._span.error = code if isinstance(code, str) else type(error).__name__
        _end(self._span)


def _end(span: Span, end: int | None = None) -> None:
    span.end = max(span.start, time.time_ns() if end is None else end)
    if _tracing.sink is not None:
        _tracing.sink(span)
