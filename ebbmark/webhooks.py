"""Where a webhook may point, and how its messages are signed: Standard Webhooks 1.0.

An address is read once, by the one grammar below, and requests are built from the parts: there is
no second parser that could see another host in it.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from msgspec import Struct

from ebbmark.errors import Rejected
from ebbmark.settings import Webhook as WebhookSettings

PREFIX = "whsec_"
_SHORTEST_SECRET, _LONGEST_SECRET = 24, 64
_LONGEST_URL = 2048

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:[/?][!-~]*)?)",
    re.ASCII | re.IGNORECASE,
)
_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_PORTS = {"https": 443, "http": 80}
_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")
_SPECIAL = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20")))
"""Not for the public, though `ipaddress` of the older Pythons says so of some."""

Address = IPv4Address | IPv6Address


class Target(Struct, frozen=True):
    """A webhook's address in parts; an IPv6 `host` is without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The host and port as the header `Host` has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class Rules(Struct, frozen=True):
    """Where webhooks may go in this installation."""

    schemes: frozenset[str]
    ports: frozenset[int]
    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def of(cls, settings: WebhookSettings) -> "Rules":
        """Return the rules that the settings make."""
        schemes = frozenset({"https", "http"} if settings.allow_http else {"https"})
        return cls(schemes, settings.allowed_ports(), settings.allowed_networks())

    def target(self, url: str) -> Target:
        """Take the address apart; whether a name leads somewhere allowed is seen at each attempt.

        Raises:
            Rejected: code `invalid-webhook`; it is not such an address, or its literal host is forbidden.
        """
        parts = _URL.fullmatch(url)
        if parts is None or len(url) > _LONGEST_URL or re.search(r"[#\\]", url):
            raise Rejected("invalid-webhook", "A webhook is an address such as https://example.org/hook.")
        scheme, host = parts["scheme"].lower(), parts["host"].lower()
        port = int(parts["port"]) if parts["port"] else _PORTS[scheme]
        if scheme not in self.schemes:
            raise Rejected("invalid-webhook", "A webhook must begin with https://.")
        if port not in self.ports:
            allowed = ", ".join(str(each) for each in sorted(self.ports))
            raise Rejected("invalid-webhook", f"A webhook's port must be one of {allowed}.")
        if host.startswith("[") or _ENDS_IN_A_NUMBER.fullmatch(host):
            host = host.strip("[]")
            self._check_literal(host)
        elif not _NAME.fullmatch(host) or len(host) > 253:
            raise Rejected("invalid-webhook", "The webhook's host is not a name of the domain name system.")
        path = parts["path"]
        return Target(scheme, host, port, path if path.startswith("/") else f"/{path}")

    def _check_literal(self, host: str) -> None:
        try:
            ip_address(host)  # four plain decimals, or IPv6: no octal, hexadecimal or shortened forms
        except ValueError as exc:
            raise Rejected(
                "invalid-webhook", "The webhook's host is a number that is no plain address."
            ) from exc
        if not self.admits(host):
            raise Rejected("invalid-webhook", "The webhook's address is not a public one.")

    def admits(self, text: str) -> bool:
        """Return whether a connection may be made to this address: it is public, or in a network of ours.

        An IPv6 address that stands for an IPv4 one is what that one is.
        """
        address = _unwrapped(ip_address(text))
        if any(address in network for network in self.networks):
            return True
        if isinstance(address, IPv6Address) and address not in _UNICAST:
            return False
        if any(address in network for network in _SPECIAL):
            return False
        return address.is_global and not address.is_multicast and not address.is_reserved


def _unwrapped(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def new_secret() -> bytes:
    """Return a secret as long as the digest it keys."""
    return secrets.token_bytes(32)


def show_secret(secret: bytes) -> str:
    """Return the secret as senders and receivers write it."""
    return PREFIX + base64.b64encode(secret).decode()


def parse_secret(text: str) -> bytes:
    """Read a secret as it is written.

    Raises:
        Rejected: code `invalid-webhook`.
    """
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not text.startswith(PREFIX) or not _SHORTEST_SECRET <= len(secret) <= _LONGEST_SECRET:
        raise Rejected(
            "invalid-webhook",
            f"A webhook's secret is {PREFIX} and {_SHORTEST_SECRET} to {_LONGEST_SECRET} bytes in base64.",
        )
    return secret


def signed_headers(secret: bytes, event: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers by which a receiver knows the message as ours, whole and recent."""
    digest = hmac.new(secret, f"{event}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": event,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
