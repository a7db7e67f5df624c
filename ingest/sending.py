"""A download is sent whole or visibly broken, holds little in memory, and lets go of its place in the end."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing

from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Message, Receive, Scope, Send

_PIECE = 64 * 1024
"""So small that a slow client takes one within its patience."""


class CutOff(Exception):
    """The job's end came in the middle of a download, or its client went silent; the connection breaks."""


class Sending(ASGIStreamingResponse):
    """Sends what `body` yields, and then leaves `held`."""

    def __init__(
        self,
        body: AsyncGenerator[bytes],
        held: AsyncExitStack,
        *,
        status: int,
        media_type: str,
        headers: Mapping[str, str],
        seconds: float,
        patience: float,
    ) -> None:
        """Take `seconds` at most, and for each piece no longer than `patience`."""
        super().__init__(
            iterator=_pieces(body), status_code=status, media_type=media_type, headers=dict(headers)
        )
        self._held = held
        self._seconds = seconds
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raise `CutOff` when time is up."""
        clock = asyncio.get_running_loop().time
        until = clock() + self._seconds

        async def patiently(message: Message) -> None:
            limit.reschedule(min(until, clock() + self._patience))
            await send(message)
            limit.reschedule(until)

        async with self._held:
            try:
                async with asyncio.timeout_at(until) as limit:
                    await super().__call__(scope, receive, patiently)
            except TimeoutError as exc:
                raise CutOff from exc


async def begun(body: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Return the same bytes when the first of them have come: what fails until then can still be answered.

    Raises:
        Unavailable: the store does not answer, or has no such object.
    """
    first: list[bytes] = []
    async for chunk in body:
        first.append(chunk)
        if len(first) > 1:  # the first one of an archive asks the store for nothing
            break

    async def going_on() -> AsyncGenerator[bytes]:
        for chunk in first:
            yield chunk
        first.clear()
        async for chunk in body:
            yield chunk

    return going_on()


async def _pieces(body: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(body):
        async for chunk in body:
            for at in range(0, len(chunk), _PIECE):
                yield chunk[at : at + _PIECE]
