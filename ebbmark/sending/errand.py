"""One job on its way: photos go out while results come in, and whatever happens is accounted for."""

import asyncio
import os
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, unquote

from ebbmark.sending.files import earlier_namesakes, save
from ebbmark.sending.server import POLL, Server
from ebbmark.sending.snapshots import Opened, Status, decoded
from ebbmark.sending.speaker import Speaker
from ebbmark.sending.trouble import INTERRUPTED, RefusedError, SendError

_AT_ONCE = 4
_SEALS = 5
_GONE = {"unknown-job", "job-expired", "job-gone"}


class Errand:
    """One job on its way; once it is open, it ends with a summary, whatever else it ends with.

    Every photo is in one of three lists of the summary: `files` (its result is saved), `failures` (with
    `code` and `detail`) or `unfinished`.
    """

    def __init__(
        self, server: Server, speaker: Speaker, photos: Sequence[Path], out: Path | None, template: str = ""
    ) -> None:
        """Results are saved in `out`; without it nobody waits for them. A template says their names."""
        self._server, self._speaker, self._photos, self._out = server, speaker, photos, out
        self._began = time.monotonic()
        self._status = Status("open", -1, 0, 0, None, [])
        self._job = ""
        self._sealed = self._deleted = False
        self._sending, self._saving = asyncio.Semaphore(_AT_ONCE), asyncio.Semaphore(_AT_ONCE)
        self._tried = 0
        self._entered: set[int] = set()
        self._refused: dict[int, RefusedError] = {}
        self._begun: set[int] = set()
        self._saved: dict[int, Path] = {}
        self._lost: dict[int, RefusedError] = {}
        self._namesakes = earlier_namesakes(photos, template)
        self._ended = [asyncio.Event() for _ in photos]
        self.trouble: SendError | None = None
        """What ended it before its time."""

    async def run(self, fields: Mapping[str, str], logo: tuple[str, bytes] | None) -> None:
        """Open a job, fill it, seal it, fetch what comes of it; a job that is not sealed is deleted.

        Raises:
            SendError: there is no job.
        """
        parts: list[tuple[str, Any]] = [(name, (None, value.encode())) for name, value in fields.items()]
        parts += [("logo", logo)] if logo else []
        headers = {"idempotency-key": uuid.uuid4().hex}
        answer = await self._server.insist("POST", "/jobs", files=parts, headers=headers)
        opened = decoded(answer.content, Opened)
        self._job = opened.status_url
        self._speaker.tell(f"the job is at {self.link}")
        try:
            await self._work(opened)
        except SendError as exc:
            self.trouble = exc
            self._deleted = isinstance(exc, RefusedError) and exc.code in _GONE
        except asyncio.CancelledError:
            _go_on()
            self._speaker.tell("stopping …")
            self.trouble = SendError(INTERRUPTED, "interrupted")
        if not self._sealed and not self._deleted:
            self._deleted = await self._server.delete(self._job)

    @property
    def link(self) -> str:
        """Where the job is, for people too."""
        return f"{self._server.url}{self._job}"

    @property
    def state(self) -> str:
        """The job's state as far as it is known; `deleted` when it is gone."""
        if self._deleted:
            return "deleted"
        return "rendering" if self._sealed and self._status.state == "open" else self._status.state

    def summary(self) -> dict[str, Any]:
        """Return what became of the job and of each photo, for programs."""
        failures = self._failures()
        files = [
            {"n": n, "source": str(self._photos[n]), "file": str(path)}
            for n, path in sorted(self._saved.items())
        ]
        accounted = {each["n"] for each in (*files, *failures)}
        return {
            "job": self.link,
            "state": self.state,
            "total": len(self._photos),
            "done": len(files) if self._out else self._status.done,
            "failed": len(failures),
            "seconds": round(time.monotonic() - self._began, 3),
            "files": files,
            "failures": failures,
            "unfinished": [
                {"n": n, "source": str(path)} for n, path in enumerate(self._photos) if n not in accounted
            ],
        }

    async def _work(self, opened: Opened) -> None:
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._fill())
                if self._out:
                    self._tasks.create_task(self._follow(opened))
        except BaseExceptionGroup as group:
            _raise_the_first(group)

    async def _fill(self) -> None:
        async with asyncio.TaskGroup() as senders:
            for n in range(len(self._photos)):
                senders.create_task(self._put(n))
        await self._seal()

    async def _put(self, n: int) -> None:
        name = quote(os.fsencode(self._photos[n].name))
        async with self._sending:
            try:
                await self._server.upload(f"{self._job}/photos/{n}", name, self._photos[n])
            except RefusedError as exc:
                if exc.code in {*_GONE, "job-sealed"}:
                    raise
                self._refused[n] = exc
                self._ended[n].set()
            else:
                self._entered.add(n)
        self._tried += 1
        self._say()

    async def _seal(self) -> None:
        """Seal the job with the photos that the server entered, good or bad.

        Of the refused it enters some, as failed. Which ones its status tells, perhaps a moment late.
        """
        for tries in range(1, _SEALS + 1):
            if self._refused or tries > 1:
                self._look(await self._server.status(self._job))
            try:
                if not self._entered:
                    raise self._refused[min(self._refused)]
                await self._server.insist("POST", f"{self._job}/seal", json={"total": len(self._entered)})
            except RefusedError as exc:
                if tries == _SEALS or (self._entered and exc.code != "wrong-total"):
                    raise
            else:
                self._sealed = True
                return
            await asyncio.sleep(POLL)

    async def _follow(self, opened: Opened) -> None:
        async with aclosing(self._server.follow(opened.status_url, opened.events_url)) as told:
            async for status in told:
                self._look(status)
                if self._status.state == "complete":
                    return

    def _look(self, status: Status) -> None:
        if status.version < self._status.version:
            return  # a late answer
        self._status = status
        self._sealed = self._sealed or status.total is not None
        for photo in status.photos:
            self._entered.add(photo.n)
            if photo.state == "failed":
                self._ended[photo.n].set()
            elif photo.state == "done" and photo.url and self._out and photo.n not in self._begun:
                self._begun.add(photo.n)
                self._tasks.create_task(self._download(photo.n, photo.url, self._out))
        self._say()

    async def _download(self, n: int, url: str, folder: Path) -> None:
        for earlier in self._namesakes[n]:
            await self._ended[earlier].wait()
        async with self._saving:
            try:
                answer = await self._server.insist("GET", url)
                self._saved[n] = save(
                    folder, _name_of(answer.headers.get("content-disposition", "")), answer.content
                )
            except RefusedError as exc:
                self._lost[n] = exc
            self._ended[n].set()

    def _failures(self) -> list[dict[str, Any]]:
        """Return what failed, was not even entered, or could not be fetched, in the order of the photos."""
        reasons: dict[int, tuple[str | None, str | None]] = {
            n: (each.code, each.detail)
            for n, each in (*self._refused.items(), *self._lost.items())
            if n in self._lost or n not in self._entered
        }
        reasons |= {
            each.n: (each.code, each.detail) for each in self._status.photos if each.state == "failed"
        }
        return [
            {"n": n, "source": str(self._photos[n]), "code": code, "detail": detail}
            for n, (code, detail) in sorted(reasons.items())
        ]

    def _say(self) -> None:
        count = len(self._photos)
        failed = len(self._failures())
        parts = [f"sent {self._tried} of {count}"] if self._tried < count else []
        parts.append(f"{self._status.done} of {count} done")
        parts += [f"{failed} failed"] if failed else []
        self._speaker.progress(", ".join(parts))


def _name_of(disposition: str) -> str:
    named = re.search(r"filename\*=UTF-8''([^;\s]+)", disposition)
    return unquote(named[1]) if named else "photo"


def _go_on() -> None:
    """Take the cancellation back: there is something left to do, and to say."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def _raise_the_first(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    raise first
