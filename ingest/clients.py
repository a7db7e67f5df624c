"""What one client may have of this process at once: a share of the places, however many it asks for."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import AddressValueError, IPv6Address

from ebbmark.errors import LimitExceeded
from observability import metrics

_HOST_BITS = 64


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

    def __init__(self, total: int, each: int, refusal: LimitExceeded) -> None:
        """Raise `refusal` when there is no place."""
        self._free = asyncio.Semaphore(total)
        self._each = each
        self._refusal = refusal
        self._held: Counter[str] = Counter()

    @asynccontextmanager
    async def take(self, client: str, *, wait: float = 0.0) -> AsyncGenerator[None]:
        """Hold a place; wait so many seconds for one when the client has its share still free.

        Raises:
            LimitExceeded: there was none.
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

    def _refused(self) -> LimitExceeded:
        metrics.UPLOADS_REFUSED.labels(self._refusal.code).inc()
        return LimitExceeded(self._refusal.code, self._refusal.detail, retry_after=self._refusal.retry_after)
