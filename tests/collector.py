"""A collector of spans as strangers run them: an HTTP server on loopback that speaks OTLP."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


@dataclass(frozen=True)
class Seen:
    """One span as it arrived; ids are numbers, times nanoseconds."""

    service: str
    name: str
    trace: int
    id: int
    parent: int | None
    start: int
    end: int
    attributes: Mapping[str, str | int | float | bool]
    error: str | None


class Collector:
    """Takes what it is sent, while it is open."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.bodies: list[bytes] = []
        self.refuses = False
        """Answer what is sent with an error, for good."""
        self.silent = False
        """Take what is sent and say nothing, until this changes."""
        self.refused = 0
        self.asked = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.collector = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.silent = False
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"

    def trace(self, trace: int) -> list[Seen]:
        """Return what came of this trace, in the order in which it began."""
        return sorted((each for each in self.spans if each.trace == trace), key=lambda each: each.start)

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_seen(about["service.name"], span) for span in scope.spans]


def _seen(service: str, span: Span) -> Seen:
    return Seen(
        service=service,
        name=span.name,
        trace=int.from_bytes(span.trace_id),
        id=int.from_bytes(span.span_id),
        parent=int.from_bytes(span.parent_span_id) or None,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes={
            each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes
        },
        error=span.status.message if span.status.code == Status.STATUS_CODE_ERROR else None,
    )


class _Server(ThreadingHTTPServer):
    collector: Collector
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is none of a collector's faults."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        collector = self.server.collector
        collector.asked += 1
        while collector.silent:
            time.sleep(0.02)
        collector.refused += collector.refuses
        self.send_response(400 if collector.refuses else 200)
        if not collector.refuses:
            collector.take(body)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...
