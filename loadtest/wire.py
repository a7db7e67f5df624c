"""One person's connection, as thin as it can be: the generator shares two cores with what it measures."""

import uuid
from collections.abc import Mapping
from typing import Any

import gevent.socket
from geventhttpclient import HTTPClient
from geventhttpclient.connectionpool import ConnectionPool

_BOUNDARY = "ebbmark-load-0d6a5f2c9b"
_BLOCK = 64 * 1024
FORM_TYPE = f"multipart/form-data; boundary={_BOUNDARY}"


def form(name: str, content: bytes, fields: Mapping[str, str]) -> bytes:
    """Return the body of a form with one photo."""
    parts = [
        f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        + content
    ]
    parts += [
        f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="{field}"\r\n\r\n{value}'.encode()
        for field, value in fields.items()
    ]
    return b"\r\n".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])


class Answer:
    """An answer that was read to its end."""

    __slots__ = ("body", "etag", "location", "retry_after", "status")

    def __init__(self, response: Any) -> None:  # noqa: ANN401 - geventhttpclient's
        """Read it."""
        self.body: bytes = bytes(response.read())
        self.status: int = response.status_code
        self.etag: str = response.get("etag") or ""
        self.location: str = response.get("location") or ""
        self.retry_after: str | None = response.get("retry-after")

    @property
    def refused(self) -> bool:
        """Whether the server was honest about having too much to do: it says when to come back."""
        return self.status in {429, 503} and self.retry_after is not None

    @property
    def pause(self) -> float:
        """Seconds after which to come back."""
        asked = self.retry_after or ""
        return min(5.0, float(asked)) if asked.isdecimal() else 1.0


class Wire:
    """A connection that is made with the first request and kept; closed by the person who leaves."""

    def __init__(
        self, host: str, port: int, *, tls: bool = False, address: str | None, patience: float
    ) -> None:
        """Requests come from `address`; a silence longer than `patience` seconds is an error."""
        self._http = HTTPClient(
            host,
            port,
            headers={"accept": "application/json", "user-agent": "ebbmark-load"},
            block_size=_BLOCK,
            connection_timeout=patience,
            network_timeout=patience,
            disable_ipv6=True,
            ssl=tls,
        )
        if address is not None:
            pool = _From(
                *(host, port, host, port),
                size=1,
                connection_timeout=patience,
                network_timeout=patience,
                disable_ipv6=True,
            )
            pool.address = address
            self._http._connection_pool = pool  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no other way

    def close(self) -> None:
        """Leave."""
        self._http.close()

    def post(self, path: str, body: bytes) -> Answer:
        """Send a form once; sending it again would be another job."""
        headers = {"content-type": FORM_TYPE, "idempotency-key": uuid.uuid4().hex}
        return Answer(self._http.request("POST", path, body=body, headers=headers))

    def get(self, path: str, *, etag: str = "", accept: str = "") -> Answer:
        """Ask for it, unless it is what the ETag names."""
        headers = {"if-none-match": etag} if etag else {}
        if accept:
            headers["accept"] = accept
        return Answer(self._http.request("GET", path, headers=headers))


class _From(ConnectionPool):
    """Makes its connections from one address."""

    address: str = ""

    def _create_tcp_socket(self, family: int, socktype: int, protocol: int) -> gevent.socket.socket:
        made = super()._create_tcp_socket(family, socktype, protocol)
        made.bind((self.address, 0))
        return made
