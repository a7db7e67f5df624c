"""Requests to ingest over the ports in memory, each of which sends its body when the test says so."""

import asyncio
import json
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self, cast

from litestar import Litestar
from litestar.types import HTTPScope

from ebbmark.pool import ChildPool
from ebbmark.settings import Settings
from ebbmark.testing import MemoryLedger, MemoryLog, MemoryStore

with warnings.catch_warnings():  # Litestar 3 will spell handlers otherwise
    warnings.simplefilter("ignore", DeprecationWarning)
    from ingest.app import create_app

FORM = "multipart/form-data; boundary=x"
END = b"--x--\r\n"


def field(name: str, value: str) -> bytes:
    """A text field of a form."""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file(content: bytes, name: str = "a.jpg", *, of: str = "files") -> bytes:
    """A file of a form; it is known to be whole when the next part begins."""
    head = f'--x\r\nContent-Disposition: form-data; name="{of}"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


class House:
    """Ingest with its three ports in memory; `now` is its clock and the ledger's."""

    def __init__(
        self,
        settings: Settings | None = None,
        store: MemoryStore | None = None,
        *,
        ledger: MemoryLedger | None = None,
        log: MemoryLog | None = None,
        pool: ChildPool | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.now = datetime(2026, 5, 1, tzinfo=UTC)
        self.ledger = ledger or MemoryLedger(lambda: self.now)
        self.store = store or MemoryStore()
        self.log = log or MemoryLog()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.app: Litestar = create_app(
                self.settings, self.ledger, self.store, self.log, pool, clock=self._seconds
            )

    def _seconds(self) -> float:
        return self.now.timestamp()

    def visit(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        client: str = "192.0.2.1",
    ) -> "Visit":
        """Begin a request; without a body it waits for the test to send one."""
        return Visit(self.app, method, path, body, headers or {}, client)

    def form(self, *parts: bytes, key: str | None = None, client: str = "192.0.2.1") -> "Visit":
        """Begin to send a form; it is complete when the last part is its end."""
        headers = {"content-type": FORM} | ({"idempotency-key": key} if key else {})
        begun = self.visit("POST", "/jobs", headers=headers, client=client)
        for part in parts:
            begun.send(part)
        if parts and parts[-1] == END:
            begun.end()
        return begun


class Visit:
    """One request, and its answer when it is there."""

    def __init__(  # noqa: PLR0917 - made by House.visit alone
        self,
        app: Litestar,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        client: str,
    ) -> None:
        self._coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.read = 0
        if body is not None:
            self.send(body)
            self.end()
        raw = {"host": "test", "accept": "application/json", **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path.partition("?")[0],
            "raw_path": path.partition("?")[0].encode(),
            "query_string": path.partition("?")[2].encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in raw.items()],
            "client": (client, 40000),
            "server": ("test", 80),
            "state": {},
        }
        call = cast("Any", app)
        self._task = asyncio.ensure_future(call(cast("HTTPScope", scope), self._receive, self._send))

    def send(self, chunk: bytes) -> Self:
        """Have this much of the body arrive."""
        self._coming.put_nowait({"type": "http.request", "body": chunk, "more_body": True})
        return self

    def end(self) -> Self:
        """Say that the body is whole."""
        self._coming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        return self

    def leave(self) -> Self:
        """Go away."""
        self._coming.put_nowait({"type": "http.disconnect"})
        return self

    async def _receive(self) -> dict[str, Any]:
        message = await self._coming.get()
        self.read += len(message.get("body", b""))
        return message

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")

    async def answer(self) -> "Visit":
        """Return when the answer is whole."""
        async with asyncio.timeout(20):
            await self._task
        return self

    async def settled(self) -> None:
        """Return when all that was sent has been read, and nothing can go on without more."""
        async with asyncio.timeout(20):
            while not self._coming.empty():  # noqa: ASYNC110 - the app empties it, and tells nobody
                await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)

    @property
    def json(self) -> dict[str, Any]:
        """The answer."""
        return json.loads(self.body)

    @property
    def told(self) -> tuple[int, str | None]:
        """Its status, and its code when it is a problem."""
        return self.status, self.json.get("code") if self.body else None
