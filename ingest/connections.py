"""Connections are held on our terms: who sends no request is let go, and one client has a share of them."""

import asyncio
from collections import Counter
from typing import Any, ClassVar

from litestar import Request
from litestar.datastructures import State
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from ebbmark.errors import LimitExceeded, Rejected, Unavailable
from ebbmark.settings import Http
from ingest.clients import client_key
from ingest.heads import BoundedHead

_REFUSED = "refused"
_ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz", "/metrics"})


class Connections:
    """Who is connected, and who of them has not sent a request yet, the longest wait first."""

    def __init__(self, http: Http) -> None:
        """Count proxies whose word is taken for their clients as nobody: all come through them."""
        self.header_timeout = http.header_timeout.total_seconds()
        self._most = http.connections
        self._each = http.connections_per_client
        self._proxies = ProxyHeadersMiddleware(_nothing, http.forwarded_allow_ips).trusted_hosts
        self._of_client: Counter[str] = Counter()
        self.waiting: dict[Connection, None] = {}

    def enter(self, connection: "Connection") -> None:
        """Count it in; above the limit, the one that has waited longest makes room."""
        self._of_client[connection.host] += 1
        if self._of_client.total() > self._most and self.waiting:
            next(iter(self.waiting)).let_go()

    def leave(self, connection: "Connection") -> None:
        """Count it out; it may have left before."""
        if connection.left:
            return
        connection.left = True
        self._of_client[connection.host] -= 1
        if not self._of_client[connection.host]:
            del self._of_client[connection.host]

    def refusal(self, host: str) -> Rejected | Unavailable | None:
        """Return why a request of this client is not answered now."""
        if self._of_client[host] > self._each and host not in self._proxies:
            return LimitExceeded("too-many-connections", "You hold too many connections; close some.")
        if self._of_client.total() > self._most:
            return Unavailable("overloaded", "Too many clients are connected; try again in a moment.")
        return None


class Connection(BoundedHead):
    """A connection that ends by itself unless the head of a request comes in time."""

    table: ClassVar[Connections]

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn does
        """Wait for a request."""
        super().connection_made(transport)
        self.host = client_key(self.client[0] if self.client else None)
        self.left = False
        self._timer: asyncio.TimerHandle | None = None
        self.table.enter(self)
        self._refused = self.table.refusal(self.host) is not None
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Read on; a further request must come in time, too, once it has begun."""
        if self._timer is None and not self._answering:
            self._await_head()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Have the request refused if there were too many connections, and still are."""
        super().on_message_begin()
        refusal = self.table.refusal(self.host) if self._refused else None
        self._refused = refusal is not None
        self.scope.setdefault("state", {})[_REFUSED] = refusal

    def on_headers_complete(self) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room."""
        self._stop_waiting()
        self.table.leave(self)
        super().connection_lost(exc)

    def let_go(self) -> None:
        """End it without a word: nothing was asked."""
        self._stop_waiting()
        self.table.leave(self)  # now, as the loop tells of the end only when it comes to it
        self.transport.close()

    @property
    def _answering(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.table.header_timeout, self.let_go)
        self.table.waiting[self] = None

    def _stop_waiting(self) -> None:
        self.table.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def protocol(http: Http) -> type[Connection]:
    """Return the protocol of one server, with a table of its own."""
    return type(
        "LimitedConnection", (Connection,), {"table": Connections(http), "head_bytes": http.head_bytes}
    )


def refuse(request: Request[object, object, State]) -> None:
    """Refuse the request of a connection too many; whether the process lives is answered always.

    Raises:
        LimitExceeded: the client has more than its share, code `too-many-connections`.
        Unavailable: there are too many in all, code `overloaded`.
    """
    refusal = request.scope["state"].get(_REFUSED)
    if refusal is not None and request.scope["path"] not in _ALWAYS_ANSWERED:
        raise refusal


async def _nothing(*_: Any) -> None:  # noqa: ANN401 - an ASGI application in whose place nobody calls
    return
