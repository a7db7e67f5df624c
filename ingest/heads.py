"""A request's head costs so many bytes at most: who sends more is told so, and not listened to any more."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ebbmark.errors import LimitExceeded
from ingest import problems
from observability import metrics

_LINGER = 2.0
"""Seconds for the client to read its answer."""

class BoundedHead(HttpToolsProtocol):
    """Counts what the parser is given and keeps to itself: it joins names, values and URLs without a bound.

    That is a head until it is complete, and the trailers and extensions of a body in chunks. What begins
    behind something else in one read is counted from the next on, so it may be twice as long; never more.
    """

    head_bytes: int
    """The most that may be kept."""

    _kept = 0
    _deaf = False

    def data_received(self, data: bytes) -> None:
        """Read on, unless a head was too large; what comes after one is dropped."""
        start = 0
        while start < len(data) and not self._deaf and not self.transport.is_closing():
            end = start + self.head_bytes - self._kept
            if end == start:
                self._refuse()
                return
            piece = data[start:end]
            self._kept += len(piece)
            self._gave = False
            super().data_received(piece)
            if self._gave:
                self._kept = 0
            start = end

    def on_headers_complete(self) -> None:
        """Begin to count anew."""
        self._gave = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Begin to count anew: the body has limits of its own."""
        self._gave = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Begin to count anew."""
        self._gave = True
        super().on_message_complete()

    def _refuse(self) -> None:
        """Answer, if it is this request's turn, and hang up.

        First only our own side: to close with bytes unread would have the kernel take back the answer.
        """
        self._deaf = True
        if not self._next_to_be_answered:
            self.transport.close()
            return
        metrics.HTTP_REQUESTS.labels("unrouted", "other", "431").inc()
        problem = f"The request's line and headers, or its trailers, have more than {self.head_bytes} bytes."
        self.transport.write(problems.unasked(LimitExceeded("head-too-large", problem)))
        self.transport.write_eof()
        self.loop.call_later(_LINGER, self.transport.close)
        if self.cycle:  # whoever reads the body that the trailers belong to learns that it broke off
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    @property
    def _next_to_be_answered(self) -> bool:
        cycle = self.cycle
        if not cycle or cycle.response_complete:
            return True
        return cycle.more_body and not cycle.response_started and not self.pipeline
