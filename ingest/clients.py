"""What one client may have of this process at once: a share of the places, however many it asks for."""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from ipaddress import AddressValueError, IPv6Address
from typing import TypeVar

from prometheus_client import Counter as Counted

from ebbmark.errors import LimitExceeded, Unavailable

R = TypeVar("R", LimitExceeded, Unavailable, LimitExceeded | Unavailable)

_HOST_BITS = 64
_MINUTE = 60.0
_CLIENTS = 10_000


def client_key(host: str | None) -> str:
    """Return what tells clients apart: the address, or an IPv6 network, which one client has to itself."""
    try:
        address = IPv6Address(host or "")
    except AddressValueError:
        return host or ""
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS))


class Places:
    """So many at once in this process, and so many of them for one client; remembers only who is there."""

    def __init__(
        self,
        total: int,
        each: int,
        refusal: LimitExceeded | Unavailable,
        *,
        counted_in: Counted,
    ) -> None:
        """Raise `refusal` when there is no place, and count it by its code."""
        self._free = asyncio.Semaphore(total)
        self._each = each
        self._refusal = refusal
        self._counted_in = counted_in
        self._held: Counter[str] = Counter()

    @asynccontextmanager
    async def take(self, client: str, *, wait: float = 0.0) -> AsyncGenerator[None]:
        """Hold a place; wait so many seconds for one when the client has its share still free.

        Raises the refusal when there was none.
        """
        if self._held[client] >= self._each:
            raise self._refused()
        self._held[client] += 1
        try:
            await self._acquire(wait)
            try:
                yield
            finally:
                self._free.release()
        finally:
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]

    async def _acquire(self, wait: float) -> None:
        if not wait and self._free.locked():
            raise self._refused()
        try:
            async with asyncio.timeout(wait or None):
                await self._free.acquire()
        except TimeoutError as exc:
            raise self._refused() from exc

    def _refused(self) -> LimitExceeded | Unavailable:
        return _counted(self._refusal, self._refusal.retry_after, self._counted_in)


class Rate:
    """So many in a minute for each client; a client that was quiet may have a minute's worth at once."""

    def __init__(
        self,
        each: int,
        refusal: LimitExceeded,
        *,
        clock: Callable[[], float] = time.monotonic,
        counted_in: Counted,
    ) -> None:
        """Let everybody have everything when `each` is 0."""
        self._each = each
        self._refusal = refusal
        self._clock = clock
        self._counted_in = counted_in
        self._full_again: OrderedDict[str, float] = OrderedDict()

    def require(self, client: str) -> None:
        """Return when there may be one more; note nothing.

        Raises:
            LimitExceeded: it would be too many; says when there may be another.
        """
        if self._each:
            self._with_one_more(client)

    def spend(self, client: str) -> None:
        """Note one more.

        Raises:
            LimitExceeded: it is too many; says when there may be another.
        """
        if not self._each:
            return
        self._full_again[client] = self._with_one_more(client)
        self._full_again.move_to_end(client)
        # The one that has been quiet for longest is the nearest to have all of it again.
        if len(self._full_again) > _CLIENTS:
            self._full_again.popitem(last=False)

    def _with_one_more(self, client: str) -> float:
        now, interval = self._clock(), _MINUTE / self._each
        full = max(now, self._full_again.get(client, now)) + interval
        if full - now > _MINUTE + interval / 2:
            raise _counted(self._refusal, full - now - _MINUTE, self._counted_in)
        return full


def _counted(refusal: R, retry_after: float | None, counted_in: Counted) -> R:
    counted_in.labels(refusal.code).inc()
    return type(refusal)(refusal.code, refusal.detail, retry_after=retry_after)
