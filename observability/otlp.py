"""OpenTelemetry is at home here: spans go out in batches, from a thread, and hold up nothing."""

import logging
import os
import socket
import threading
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from observability import logs, metrics
from observability.tracing import Span

log = logs.get(__name__)

_MOST = 8192
"""Spans that wait to be sent; beyond, the oldest are dropped."""
_TIMEOUT = 5.0
_LAST_WORD = 2.0
"""Seconds for what is left when the process ends."""
_EVERY = 1000.0
"""Milliseconds between two batches."""
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Exporter:
    """Takes spans and sends them; used from one thread."""

    def __init__(self, endpoint: str, service: str, instance: str) -> None:
        """Connect to nothing yet."""
        # Ours say the same once; theirs say it with every batch, and for each span that finds no room.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._ids = _Ids()
        self._provider = TracerProvider(
            id_generator=self._ids,
            resource=Resource(
                {
                    "service.namespace": "ebbmark",
                    "service.name": service,
                    "service.instance.id": instance or f"{socket.gethostname()}-{os.getpid()}",
                }
            ),
            shutdown_on_exit=False,
        )
        self._sender = _Sender(OTLPSpanExporter(endpoint, timeout=_TIMEOUT))
        self._provider.add_span_processor(
            BatchSpanProcessor(self._sender, max_queue_size=_MOST, schedule_delay_millis=_EVERY)
        )
        self._tracer = self._provider.get_tracer("ebbmark")

    def __call__(self, span: Span) -> None:
        """Take a span that ended."""
        self._ids.trace, self._ids.span = span.trace, span.id
        parent = None
        if span.parent is not None:
            context = SpanContext(span.trace, span.parent, is_remote=True, trace_flags=_SAMPLED)
            parent = NonRecordingSpan(context)
        made = self._tracer.start_span(
            span.name,
            context=set_span_in_context(parent or NonRecordingSpan(_NO_PARENT)),
            attributes={f"ebbmark.{name}": value for name, value in span.attributes.items()},
            start_time=span.start,
        )
        if span.error is not None:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(span.end)
        metrics.SPANS.labels("made").inc()

    def close(self) -> None:
        """Send what is left, within two seconds."""
        leaving = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        leaving.start()
        leaving.join(_LAST_WORD)
        self._sender.shutdown()


_NO_PARENT = SpanContext(0, 0, is_remote=False)


class _Ids(IdGenerator):
    """Gives the next span the ids that it has."""

    trace = 0
    span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class _Sender(SpanExporter):
    """Counts what was taken, and says when that changes."""

    def __init__(self, inner: OTLPSpanExporter) -> None:
        self._inner = inner
        self._heard = True
        self._closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        heard = result is SpanExportResult.SUCCESS
        if heard:
            metrics.SPANS.labels("sent").inc(len(spans))
        if heard != self._heard:
            self._heard = heard
            if heard:
                log.info("spans are taken again")
            else:
                log.warning("spans are not taken", lost=len(spans))
        return result

    def shutdown(self) -> None:
        if not self._closed:
            self._closed = True
            self._inner.shutdown()
