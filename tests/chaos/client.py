"""A client that remembers every 202 and holds the system to it: each job is seen through and checked."""

import asyncio
import hashlib
import io
import json
import threading
import time
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Collection, Coroutine
from concurrent.futures import Future
from datetime import datetime
from random import Random
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from tests.chaos import owners, photos
from tests.chaos.hooks import Hooks
from tests.chaos.photos import CODES, Kind
from tests.chaos.sent import WAYS, Sent, Way

SIZES = (1, 2, 5, 8, 13, 21, 34, 34)
"""Photos in a job: large ones, as one job costs its client as much as fifteen photos."""
MOST_UNDER_WAY = 32
PATIENCE = 20.0
_GIVE_UP = 240.0
_KEY_HOLDS = 20.0
_WITH_HOOKS: frozenset[Way] = frozenset({"form", "filled", "deleted", "cancelled", "retried"})
_HOOKED, _PREVIEWED, _REFUSED = 0.3, 0.15, 0.1
"""Shares of jobs: with a webhook, previewed first, and of those with one first sent with a forbidden one."""
_TRY_AGAIN = {408, 409, 429, 500, 502, 503}
GONE = {404, 410}


class Client:
    """Sends from an open loop in a thread of its own, at most `MOST_UNDER_WAY` jobs at once."""

    def __init__(self, base_url: str, *, seed: int, hooks: Hooks, rest: float = 8.0) -> None:
        """Equal seeds make equal jobs; what happens to them is up to the system.

        A share of them has a webhook from `hooks`. `rest` is the longest pause, in seconds, before results
        are read a second time.
        """
        self.rest = rest
        self.hooks = hooks
        self.patience = _GIVE_UP
        """Seconds after which an accepted job must be complete, and a request be taken."""
        self.log: list[Sent] = []
        self.violations: list[tuple[str, str]] = []
        """Each with the invariant it is against."""
        self.counts: Counter[str] = Counter()
        self._base_url = base_url
        self.rng = Random(seed)
        self._run = f"{Random().getrandbits(32):08x}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-client", daemon=True)
        self.http: httpx.AsyncClient
        self._burying: Future[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._sending: Future[None] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._in_loop(self._open()).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_sending()
        self._in_loop(self._close()).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start_sending(self, rate: float) -> None:
        """Send about so many photos a second, until `stop_sending`."""
        self._sending = self._in_loop(self._send_for_ever(rate))
        if self._burying is None:
            self._burying = self._in_loop(owners.bury_for_ever(self))

    def stop_sending(self) -> None:
        """Begin no more jobs; those under way are followed to their end."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def send(self, way: Way = "form", *, count: int = 6, small: bool = True, **more: Any) -> Sent:  # noqa: ANN401 - of Sent
        """Begin one job now and return what is remembered of it, while it goes on."""
        sent = self._new(way, count, small=small, **more)
        self._loop.call_soon_threadsafe(self._begin, sent)
        return sent

    def bury(self) -> int:
        """Ask, once all has expired, for everything that was accepted or deleted; return how many jobs."""
        if self._burying is not None:
            self._burying.cancel()
            self._burying = None
        known = [sent for sent in self.log if sent.url]
        self._in_loop(owners.bury(self, [sent for sent in known if not sent.buried])).result(300)
        return sum(sent.buried for sent in known)

    @property
    def open(self) -> int:
        """How many jobs are under way."""
        return len(self._under_way)

    @property
    def accepted(self) -> list[Sent]:
        """The jobs that were answered 202."""
        return [sent for sent in self.log if sent.accepted_at]

    def _in_loop(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _open(self) -> None:
        self.http = httpx.AsyncClient(
            base_url=self._base_url,
            timeout=PATIENCE,
            headers={"accept": "application/json"},
            limits=httpx.Limits(max_connections=100),
        )

    async def _close(self) -> None:
        if self._burying is not None:
            self._burying.cancel()
        for task in list(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self.http.aclose()

    async def _send_for_ever(self, rate: float) -> None:
        due = time.monotonic()
        while True:
            if self.open >= MOST_UNDER_WAY:
                self.counts["held back"] += 1  # the loop is open, but not without a bound
                await asyncio.sleep(1)
                due = time.monotonic()
                continue
            sent = self._new(self.rng.choice(WAYS), self.rng.choice(SIZES))
            self._begin(sent)
            due += self.rng.expovariate(1) * len(sent.photos) / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _new(self, way: Way, count: int, *, small: bool = False, **more: Any) -> Sent:  # noqa: ANN401 - of Sent
        number = len(self.log)
        kinds: list[Kind] = ["good", *(self._kind() for _ in range(count - 1))]
        with_hook = way in _WITH_HOOKS and not small and self.rng.random() < _HOOKED
        made = [
            photos.make(self.rng, f"{self._run}-{number}-{n}", kind=kind, small=small)
            for n, kind in enumerate(kinds)
        ]
        sent = Sent(number, way, made, f"{self._run}-{number}-{self.rng.getrandbits(64):016x}", **more)
        if way == "retried":
            sent.recipe, sent.code = owners.DATED, owners.NO_DATE
        if with_hook:
            sent.hook = self.hooks.new(f"{self._run}-{number}")
        self.log.append(sent)
        return sent

    def _kind(self) -> Kind:
        return self.rng.choices(("good", "broken", "text", "empty"), (0.92, 0.04, 0.02, 0.02))[0]

    def _begin(self, sent: Sent) -> None:
        task = self._loop.create_task(self._see_through(sent))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _see_through(self, sent: Sent) -> None:
        try:
            await getattr(self, f"_{sent.way}")(sent)
        except Exception as exc:  # noqa: BLE001 - a client that breaks must be seen in the verdict
            self.against("I1", f"job {sent.number} ({sent.way}, {sent.state}): {type(exc).__name__}: {exc}")

    def against(self, invariant: str, what: str) -> None:
        """Note a violation."""
        self.violations.append((invariant, what))

    # The ways of sending.

    async def _form(self, sent: Sent) -> None:
        if self.rng.random() < _PREVIEWED:
            await owners.preview(self, sent)
        if sent.hook is not None and self.rng.random() < _REFUSED:
            await owners.try_a_forbidden_hook(self, sent)
        await self.submit(sent)
        await self.follow(sent)

    async def _cancelled(self, sent: Sent) -> None:
        await owners.cancel(self, sent)

    async def _retried(self, sent: Sent) -> None:
        await owners.retry(self, sent)

    async def _repeated(self, sent: Sent) -> None:
        """The same request two or three times, at once and later: one job."""
        answers = await asyncio.gather(*(self.ask(lambda: self._post(sent)) for _ in range(2)))
        self.took(sent, answers[0])
        again = await self.ask(lambda: self._post(sent))
        urls = {answer.json()["status_url"] for answer in (*answers, again)}
        # A key is good for as long as its job lives, and no longer.
        if len(urls) != 1 and time.monotonic() - sent.accepted_at < _KEY_HOLDS:
            self.against("I8", f"job {sent.number}: one key, {len(urls)} jobs")
        self.counts["keys repeated"] += 1
        await self.follow(sent)

    async def _filled(self, sent: Sent) -> None:
        """Opened, filled photo by photo, sealed; each of the three as often as it takes."""
        opened = await self.ask(
            lambda: self.http.post(
                "/jobs",
                files=[(name, (None, value)) for name, value in sent.fields.items()],
                headers={"idempotency-key": sent.key},
            )
        )
        sent.url, sent.job = opened.json()["status_url"], opened.json().get("webhook_job") or ""
        for n, photo in enumerate(sent.photos):
            answer = await self.ask(
                lambda n=n, photo=photo: self.http.put(
                    f"{sent.url}/photos/{n}", content=photo.content, headers={"x-filename": quote(photo.name)}
                )
            )
            if answer.status_code in GONE:
                return self._left_behind(sent)
            if photo.kind in {"text", "empty"} and answer.status_code in {415, 422}:
                continue
            if answer.status_code != 201:
                raise AssertionError(f"PUT was answered {answer.status_code}: {answer.text[:200]}")
        sealed = await self.ask(lambda: self.http.post(f"{sent.url}/seal", json={"total": len(sent.photos)}))
        if sealed.status_code in GONE:
            return self._left_behind(sent)
        self.took(sent, sealed)
        return await self.follow(sent)

    def _left_behind(self, sent: Sent) -> None:
        """An outage that took longer than the upload deadline: nothing was promised, nothing may be left."""
        sent.state = "aborted"
        self.counts["too late to seal"] += 1

    async def _aborted(self, sent: Sent) -> None:
        """Hang up in the middle; no 202, so nothing may be left of it."""

        async def body() -> AsyncIterator[bytes]:
            whole = sent.multipart()
            half = self.rng.randrange(len(whole) // 4, len(whole) * 9 // 10)
            for at in range(0, half, 16 * 1024):
                yield whole[at : min(at + 16 * 1024, half)]
            raise _HungUp

        try:
            answer = await self.http.post(
                "/upload", content=body(), headers={"content-type": "multipart/form-data; boundary=chaos"}
            )
        except (_HungUp, httpx.TransportError):
            answer = None
        if answer is not None and answer.status_code < 400:
            self.against("I9", f"job {sent.number}: half an upload was answered {answer.status_code}")
        sent.state = "aborted"
        self.counts["uploads aborted"] += 1

    async def _deleted(self, sent: Sent) -> None:
        """Sent, accepted and deleted by its owner: from then on there is nothing."""
        await self.submit(sent)
        await asyncio.sleep(self.rng.uniform(0, 2))
        # Not followed any more: it need not complete.
        sent.state = "deleted"
        await self.ask(lambda: self.http.delete(sent.url))
        answer = await self.ask(lambda: self.http.get(sent.url))
        if answer.status_code not in GONE:
            self.against("I10", f"job {sent.number}: deleted, and answered {answer.status_code}")
        self.counts["jobs deleted"] += 1

    async def submit(self, sent: Sent) -> None:
        """Send it as one form, until it is accepted."""
        self.took(sent, await self.ask(lambda: self._post(sent)))

    def took(self, sent: Sent, answer: httpx.Response) -> None:
        """Remember the answer that says that all of it is accepted."""
        if answer.status_code != 202:
            sent.state = "refused"
            raise AssertionError(f"{answer.status_code} {answer.text[:200]}")
        sent.url = answer.json()["status_url"]
        sent.job = sent.job or answer.json().get("webhook_job") or ""
        sent.accepted_at, sent.state = time.monotonic(), "accepted"

    async def _post(self, sent: Sent) -> httpx.Response:
        return await self.http.post(
            "/upload",
            content=sent.multipart(),
            headers={"content-type": "multipart/form-data; boundary=chaos", "idempotency-key": sent.key},
        )

    async def ask(self, call: Any, *, fine: Collection[int] = ()) -> httpx.Response:  # noqa: ANN401 - a request
        """Ask until it is taken; 503, 429, 408 and 409 are honest reasons to ask again unless `fine`."""
        began = time.monotonic()
        while True:
            wait = 0.3
            try:
                answer: httpx.Response = await call()
            except httpx.TransportError as exc:
                self.counts[f"no answer: {type(exc).__name__}"] += 1
            else:
                self.counts[f"answered {answer.status_code}"] += 1
                if answer.status_code in {500, 502} or answer.status_code > 503:
                    self.against("I1", f"an answer of {answer.status_code}: {answer.text[:200]}")
                if answer.status_code == 503 and "retry-after" not in answer.headers:
                    self.against("I1", "a 503 without Retry-After")
                if answer.status_code not in _TRY_AGAIN or answer.status_code in fine:
                    return answer
                wait = min(float(answer.headers.get("retry-after", 1)), 1.0)
            if time.monotonic() - began > self.patience:  # which may have grown meanwhile
                raise TimeoutError(f"not taken within {self.patience:.0f} s")
            await asyncio.sleep(wait)

    # What becomes of it.

    async def follow(self, sent: Sent) -> None:
        """See it complete, judge it, and read its results."""
        if await self.until_complete(sent):
            await self.read(sent)

    async def until_complete(self, sent: Sent) -> bool:
        """Wait for that and judge it; False when its links have died before it was seen."""
        streamed = self.rng.random() < 0.5
        began = time.monotonic()
        status: dict[str, Any] | None = None
        while status is None or status["state"] != "complete":
            if streamed:
                try:
                    status = await self._stream(sent) or status
                except httpx.TransportError as exc:
                    self.counts[f"stream broken: {type(exc).__name__}"] += 1
            answer = await self.ask(lambda: self.http.get(sent.url))
            if answer.status_code in GONE:
                self.unread(sent)
                return False
            status = self.seen(sent, answer.json())
            if time.monotonic() - began > self.patience:
                raise TimeoutError(f"not complete after {self.patience:.0f} s: {_brief(status)}")
            if status["state"] != "complete":
                await asyncio.sleep(0.5)
        sent.state = "complete"
        sent.expires_at = datetime.fromisoformat(status["expires_at"]).timestamp()
        self._judge(sent, status)
        return True

    async def read(self, sent: Sent) -> None:
        """Read its results twice, and maybe its archive."""
        for _ in range(2):
            if not await self._read_results(sent):
                return self.unread(sent)
            await asyncio.sleep(self.rng.uniform(0, self.rest))
        if sent.results and self.rng.random() < 0.5 and not await self._read_archive(sent):
            return self.unread(sent)
        sent.state = "checked"
        return None

    def unread(self, sent: Sent) -> None:
        """Its hour (a minute here) was over before all could be read; the ledger has to tell how it ended."""
        sent.state = "unread"
        self.counts["died before they were read"] += 1

    def seen(self, sent: Sent, status: dict[str, Any]) -> dict[str, Any]:
        """Hold a status to what was seen before."""
        if status["version"] < sent.version:
            self.against("I7", f"job {sent.number}: version {status['version']} after {sent.version}")
        sent.version = status["version"]
        if status["total"] is not None and status["done"] + status["failed"] > status["total"]:
            self.against("I2", f"job {sent.number}: {_brief(status)}")
        return status

    async def _stream(self, sent: Sent) -> dict[str, Any] | None:
        """Read events until the stream ends, ten seconds at most; return the last snapshot."""
        last: dict[str, Any] | None = None
        until = time.monotonic() + 10
        async with self.http.stream("GET", f"{sent.url}/events", timeout=5) as answer:
            if answer.status_code != 200:
                return None
            self.counts["streams"] += 1
            event = ""
            async for line in answer.aiter_lines():
                name, _, value = line.partition(":")
                if name == "event":
                    event = value.strip()
                elif name == "data" and event == "snapshot":
                    last = self.seen(sent, json.loads(value))
                if time.monotonic() > until or (last is not None and last["state"] == "complete"):
                    break
        return last

    def _judge(self, sent: Sent, status: dict[str, Any]) -> None:
        """Hold each photo to what must become of it."""
        for photo, row in zip(sent.photos, status["photos"], strict=True):
            wanted = CODES.get(photo.kind) or sent.code
            seen = row["state"], row["code"]
            if seen == ("failed", "cancelled") and row["n"] in sent.cancelled:
                continue
            if row["state"] == "failed" and not (row["detail"] and row["fix"]):
                self.against("I5", f"job {sent.number} photo {row['n']}: {row['code']} without a sentence")
            if seen != (("failed", wanted) if wanted else ("done", None)):
                self.against(
                    "I1" if photo.kind == "good" else "I5",
                    f"job {sent.number} photo {row['n']} ({photo.kind}): {row['state']} {row['code']}",
                )
        states = Counter(row["state"] for row in status["photos"])
        if (states["done"], states["failed"]) != (status["done"], status["failed"]) or sum(
            states.values()
        ) != status["total"]:
            self.against("I2", f"job {sent.number}: {_brief(status)} but {dict(states)}")
        self.counts["photos ended"] += len(sent.photos)

    async def _read_results(self, sent: Sent) -> bool:
        """Read every result; the second time each must be what it was. False when the links have died."""
        for n, photo in enumerate(sent.photos):
            if photo.kind != "good" or sent.code or n in sent.cancelled:
                continue
            answer = await self.ask(lambda n=n: self.http.get(f"{sent.url}/photos/{n}"))
            if answer.status_code in GONE:
                return False
            if answer.status_code != 200:
                self.against("I1", f"job {sent.number} result {n}: answered {answer.status_code}")
                continue
            first = n not in sent.results
            now = answer.headers["etag"], hashlib.sha256(answer.content).hexdigest()
            known = sent.results.setdefault(n, now)
            if known != now:
                self.against("I3", f"job {sent.number} result {n}: another ETag or other bytes")
            elif first and (wrong := photos.faults_of(photo, answer.content)):
                self.against("I3", f"job {sent.number} result {n}: {wrong}")
            self.counts["results read"] += 1
        return True

    async def _read_archive(self, sent: Sent) -> bool:
        try:
            answer = await self.ask(lambda: self.http.get(f"{sent.url}/archive"))
        except zipfile.BadZipFile as exc:
            self.against("I3", f"job {sent.number}: {exc}")
            return True
        if answer.status_code in GONE:
            return False
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            members = {hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
        if missing := {digest for _, digest in sent.results.values()} - members:
            self.against("I3", f"job {sent.number}: {len(missing)} results are not in its archive")
        self.counts["archives read"] += 1
        return True


class _HungUp(Exception):
    pass


def _brief(status: dict[str, Any]) -> str:
    return f"{status['state']}, {status['done']} done and {status['failed']} failed of {status['total']}"
