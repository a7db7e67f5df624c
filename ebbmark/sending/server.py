"""One Ebbmark behind its HTTP interface; once it has answered, it may be busy or away for a while."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from ebbmark.sending.files import pieces, size_of
from ebbmark.sending.snapshots import Status, decoded, snapshots
from ebbmark.sending.trouble import UNAVAILABLE, WRONG, RefusedError, SendError

POLL = 0.5

_TRIES = 12
_FIRST_TRIES = 3
_LONGEST_PAUSE = 10.0
_LONGEST_ASKED = 30.0
_REPEATED = {408, 429, 502, 503, 504}
_TIMES = httpx.Timeout(60, connect=5)
SILENCE = httpx.Timeout(20, connect=5)  # of the event stream, which pings every 15 s
_LAST_WORD = 5.0


class Server:
    """One Ebbmark behind its HTTP interface."""

    def __init__(self, url: str, on_wait: Callable[[str], None]) -> None:
        """Connect to nothing yet. `on_wait` hears a sentence before each pause.

        Raises:
            SendError: this is no address.
        """
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as exc:
            raise SendError(WRONG, f"this is not an address: {url}") from exc
        if address.scheme not in {"http", "https"} or not address.host:
            raise SendError(WRONG, f"this is not an address: {url}")
        self.url = url.rstrip("/")
        self._http = httpx.AsyncClient(
            base_url=address, timeout=_TIMES, headers={"accept": "application/json"}
        )
        self._on_wait = on_wait
        self._answered = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def insist(self, method: str, url: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        """Send until it is answered; wait as long as the server asks, within reason.

        Raises:
            RefusedError: it is answered with a problem that no repeat will change.
            SendError: nobody answers, or never in time.
        """
        return await self._insist(lambda: self._http.build_request(method, url, **request))

    async def upload(self, url: str, name: str, path: Path) -> None:
        """Send what the file holds, anew with every try.

        Raises:
            RefusedError: as `insist`, or the file cannot be read.
            SendError: as `insist`.
        """

        def request() -> httpx.Request:
            headers = {
                "x-filename": name,
                "content-type": "application/octet-stream",
                "content-length": str(size_of(path)),
            }
            return self._http.build_request("PUT", url, content=_asynchronous(pieces(path)), headers=headers)

        await self._insist(request)

    async def _insist(self, request: Callable[[], httpx.Request]) -> httpx.Response:
        trouble = ""
        for tries in range(1, _TRIES + 1):
            pause = min(_LONGEST_PAUSE, 0.25 * 2**tries)
            try:
                answer = await self._http.send(request())
            except httpx.TransportError as exc:
                trouble = f"nobody answers at {self.url}"
                absent = isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout)
                if absent and not self._answered and tries >= _FIRST_TRIES:
                    break
            else:
                self._answered = True
                if answer.is_success:
                    return answer
                refusal = _refusal(answer)
                if answer.status_code not in _REPEATED:
                    raise refusal
                trouble = str(refusal)
                asked = answer.headers.get("retry-after", "")
                pause = max(pause, min(_LONGEST_ASKED, float(asked)) if asked.isdecimal() else 0.0)
            if tries < _TRIES:
                self._on_wait("waiting for the server …")
                await asyncio.sleep(pause)
        raise SendError(UNAVAILABLE, trouble)

    async def status(self, job: str) -> Status:
        """Return the job as it is now, or was a moment ago."""
        return decoded((await self.insist("GET", job)).content, Status)

    async def follow(self, job: str, events: str) -> AsyncGenerator[Status]:
        """Yield the job as it changes, for ever: from its event stream, or by asking while there is none."""
        seen = "0"
        while True:
            headers = {"accept": "text/event-stream", "last-event-id": seen}
            with suppress(httpx.TransportError):
                async with self._http.stream("GET", events, headers=headers, timeout=SILENCE) as stream:
                    if stream.is_success:
                        async with aclosing(snapshots(stream.aiter_bytes())) as told:
                            async for version, status in told:
                                seen = version
                                yield status
            yield await self.status(job)
            await asyncio.sleep(POLL)

    async def delete(self, job: str) -> bool:
        """Ask once, and briefly, to have the job deleted; tell whether it is."""
        with suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(_LAST_WORD):
                return (await self._http.delete(job)).status_code in {204, 404, 410}
        return False


async def _asynchronous(body: Generator[bytes]) -> AsyncGenerator[bytes]:
    for piece in body:  # a disk is as good as at once; httpx wants to be asked to wait
        yield piece


def _refusal(answer: httpx.Response) -> RefusedError:
    with suppress(msgspec.MsgspecError, KeyError):
        problem = msgspec.json.decode(answer.content, type=dict[str, Any])
        return RefusedError(str(problem["code"]), str(problem["detail"]))
    return RefusedError(f"http-{answer.status_code}", f"The server answered {answer.status_code}.")
