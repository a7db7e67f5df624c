"""One message to one receiver: to an address that was looked at, without detours, within its time.

The name is resolved once and the connection goes to what was resolved and judged, so a name that
changes its mind in between leads nowhere. Redirects, proxies and cookies are never followed or kept.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType, TracebackType
from typing import Self

import aiodns
import httpx
from msgspec import Struct

from ebbmark.errors import Rejected
from ebbmark.settings import Webhook as WebhookSettings
from ebbmark.webhooks import Rules, Target

DELIVERED, GONE = "delivered", "gone"
OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        DELIVERED: "The receiver answered 2xx.",
        "refused": "It answered something else; `status` says what.",
        GONE: "It answered 410: it wants no more of this, so it is not asked again.",
        "redirected": "It answered 3xx, which is not followed.",
        "timeout": "It did not answer in time.",
        "unreachable": "No connection, or it broke before the answer.",
        "unresolved": "Its name leads nowhere.",
        "bad-certificate": "Its certificate is not valid for its name, or TLS failed otherwise.",
        "malformed-answer": "It hung up without an answer, or its answer is not HTTP.",
        "forbidden-address": "It leads to an address that is not public, or the rules forbid it by now.",
    }
)
"""What can come of an attempt."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Answer(Struct, frozen=True):
    """What came of an attempt: a code of `OUTCOMES`, and the HTTP status if there was one."""

    outcome: str
    status: int | None = None


class Busy(Exception):
    """Enough is under way to this host; nothing was sent."""


class Names:
    """A resolver without threads: names whose servers never answer, however many, hold up no other."""

    def __init__(self, make: Callable[[], aiodns.DNSResolver] = aiodns.DNSResolver) -> None:
        """`make` is called in the loop, at the first name; by default it does as `resolv.conf` says."""
        self._make = make
        self._resolver: aiodns.DNSResolver | None = None

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host, best first; raises `OSError` when there is none."""
        self._resolver = self._resolver or self._make()
        try:
            found = await self._resolver.getaddrinfo(host, port=port, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as exc:
            raise OSError(*exc.args) from exc
        return list(dict.fromkeys(node.addr[0].decode() for node in found.nodes))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is still asked would be answered to a loop that is no more.
        if self._resolver is not None:
            await self._resolver.close()


class Courier:
    """Carries messages; holds no connection between two of them."""

    def __init__(self, settings: WebhookSettings, resolve: Resolve | None = None) -> None:
        """Read the certificates that are trusted, once."""
        self._settings = settings
        self._rules = Rules.of(settings)
        self._resolve = resolve or Names()
        self._tls = ssl.create_default_context(cadata=settings.authorities or None)
        self._under_way: Counter[str] = Counter()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send the message and say what came of it, within the time of one attempt.

        Raises:
            Busy: as many as allowed are under way to this host.
        """
        try:
            target = self._rules.target(url)
        except Rejected:  # the rules were others when it was accepted
            return Answer("forbidden-address")
        with self._turn(target.host):
            seen: list[int] = []
            try:
                async with asyncio.timeout(self._settings.timeout.total_seconds()):
                    return await self._send(target, headers, body, seen)
            except TimeoutError:  # with an answer seen, only its body was slow
                return _judged(seen[0]) if seen else Answer("timeout")

    @contextmanager
    def _turn(self, host: str) -> Generator[None]:
        if self._under_way[host] >= self._settings.host_attempts:
            raise Busy
        self._under_way[host] += 1
        try:
            yield
        finally:
            self._under_way[host] -= 1
            if not self._under_way[host]:
                del self._under_way[host]

    async def _send(self, target: Target, headers: Mapping[str, str], body: bytes, seen: list[int]) -> Answer:
        try:
            addresses = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError):
            return Answer("unresolved")
        if not addresses:
            return Answer("unresolved")
        if not all(self._rules.admits(address) for address in addresses):
            return Answer("forbidden-address")
        for address in addresses[:-1]:
            answer = await self._send_to(address, target, headers, body, seen)
            if answer is not None:
                return answer
        return await self._send_to(addresses[-1], target, headers, body, seen) or Answer("unreachable")

    async def _send_to(
        self, address: str, target: Target, headers: Mapping[str, str], body: bytes, seen: list[int]
    ) -> Answer | None:
        """Return None when there is no connection to this address."""
        url = httpx.URL(
            scheme=target.scheme, host=address, port=target.port, raw_path=target.path.encode("ascii")
        )
        given = {"host": target.authority, "user-agent": "Ebbmark", "accept": "*/*", **headers}
        patience = httpx.Timeout(
            self._settings.timeout.total_seconds(), connect=self._settings.connect_timeout.total_seconds()
        )
        transport = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False)
        try:
            async with (
                httpx.AsyncClient(transport=transport, trust_env=False, timeout=patience) as client,
                # The certificate is checked against the name, not against where it led.
                client.stream(
                    "POST", url, content=body, headers=given, extensions={"sni_hostname": target.host}
                ) as answer,
            ):
                seen.append(answer.status_code)
                await _hear_out(answer)
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            return Answer("bad-certificate") if _is_tls(exc) else None
        except httpx.TimeoutException:
            return Answer("timeout")
        except httpx.RemoteProtocolError:
            return Answer("malformed-answer")
        except (httpx.HTTPError, OSError):
            return Answer("unreachable")
        return _judged(seen[0])


async def _hear_out(answer: httpx.Response) -> None:
    """Take one piece of the body, which is at most 64 KiB, so that a short answer is not cut off."""
    with suppress(httpx.HTTPError):
        await anext(answer.aiter_raw(), None)


def _judged(status: int) -> Answer:
    if 200 <= status < 300:
        return Answer(DELIVERED, status)
    if status == 410:
        return Answer(GONE, status)
    return Answer("redirected" if 300 <= status < 400 else "refused", status)


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
