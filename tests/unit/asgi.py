"""Asks an application as a server would, message by message, so that a test can be a client of any kind."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

Message = MutableMapping[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass
class Client:
    """One request and what has come of its answer so far; `taking` is awaited before a message is taken.

    It leaves when the answer is whole, or when `left` is set.
    """

    app: Application
    taking: Callable[[Message], Awaitable[None]] | None = None
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> "Client":
        raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"ebbmark.test"), *raw],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self.left.wait()
            return {"type": "http.disconnect"}

        await self.app(scope, receive, self._take)
        return self

    async def _take(self, message: Message) -> None:
        if self.taking is not None:
            await self.taking(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(name.decode().lower(), value.decode()) for name, value in message["headers"]]
        else:
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                self.whole = True
                self.left.set()

    def all(self, name: str) -> list[str]:
        """Every value of this header."""
        return [value for each, value in self.headers if each == name]

    def one(self, name: str) -> str:
        """The value of a header that must be there once."""
        (value,) = self.all(name)
        return value

    def json(self) -> Any:  # noqa: ANN401 - JSON
        return msgspec.json.decode(bytes(self.body))


async def never() -> None:
    """Wait for what does not come."""
    await asyncio.Event().wait()
