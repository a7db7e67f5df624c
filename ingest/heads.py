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
    _in_body = False
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
        self._gave = self._in_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Begin to count anew: the body has limits of its own."""
        self._gave = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Begin to count anew."""
        self._gave, self._in_body = True, False
        super().on_message_complete()

    def _refuse(self) -> None:
        """Answer, if it is this request's turn, and hang up.

        First only our own side: to close with bytes unread would have the kernel take back the answer.
        """
        self._deaf = True
        if self._unanswered:
            metrics.HTTP_REQUESTS.labels("unrouted", "other", "431").inc()
            problem = f"The request's line and headers, or trailers, have more than {self.head_bytes} bytes."
            self.transport.write(problems.unasked(LimitExceeded("head-too-large", problem)))
        elif not self.cycle.response_complete:
            self.transport.close()  # another answer is under way, and this one would be read as part of it
            return
        self.transport.write_eof()
        self.loop.call_later(_LINGER, self.transport.close)
        if self.cycle:  # whoever reads the body that the trailers belong to learns that it broke off
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    @property
    def _unanswered(self) -> bool:
        """Whether the next answer is that to the request which is being read, and has not begun."""
        if self._in_body:
            return not (self.pipeline or self.cycle.response_started)
        return not self.cycle or self.cycle.response_complete
