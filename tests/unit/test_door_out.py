"""What goes out over HTTP, from a ledger and a store in memory, to clients of every kind."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from prometheus_client import REGISTRY

from ebbmark.ledger import NewJob, NewPhoto, Outcome, Wanted
from ebbmark.settings import Settings
from ebbmark.store import result_key
from ebbmark.testing import MemoryLedger, MemoryLog, MemoryStore
from ingest.app import create_app
from ingest.sending import CutOff
from ingest.tokens import encode, new_token, token_hash
from tests.unit.asgi import Client, Message, never

# What will be spelt otherwise in Litestar 3.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

RESULT = bytes(range(256)) * 4096  # 1 MiB
THUMBNAIL = b"a small picture"
HOUR = timedelta(hours=1)
PLACES = 2
TOKEN = "a token of sixteen or more"  # noqa: S105 - of nobody


class CountingStore(MemoryStore):
    """Notes how much was taken from it."""

    def __init__(self) -> None:
        super().__init__()
        self.streamed = 0

    async def stream(self, key: str, start: int, length: int) -> AsyncIterator[bytes]:
        async for chunk in super().stream(key, start, length):
            self.streamed += len(chunk)
            yield chunk


class House:
    """The application, with what stands behind it."""

    def __init__(self, ledger: MemoryLedger | None = None, **http: object) -> None:
        settings = Settings()
        limits = msgspec.structs.replace(settings.http, **({"downloads": PLACES} | http))
        operator = msgspec.structs.replace(settings.operator, token=TOKEN)
        self.settings = msgspec.structs.replace(settings, http=limits, operator=operator)
        self.now = datetime(2026, 5, 1, tzinfo=UTC)
        self.ledger = ledger or MemoryLedger(lambda: self.now)
        self.store = CountingStore()
        self.app = create_app(self.settings, self.ledger, self.store, MemoryLog())

    async def opened(self, photos: int) -> tuple[UUID, str]:
        """Return a job that holds photos and its address."""
        public_id = encode(new_token())
        job = await self.ledger.open_job(
            NewJob(id=uuid4(), token_hash=token_hash(public_id), recipe=b'{"operations":[]}')
        )
        new = [NewPhoto(n=n, name=f"{n}.jpg", size=1, sha256=bytes([n])) for n in range(photos)]
        await self.ledger.add_photos(job.id, new, stale=HOUR)
        return job.id, f"/jobs/{public_id}"

    async def done(self, photos: int = 1, *, ttl: timedelta = HOUR) -> str:
        """Return the address of a job that is complete."""
        job, address = await self.opened(photos)
        await self.ledger.seal(job, photos, deadline=HOUR, ttl=ttl)
        wanted = [Wanted(job=job, n=n, epoch=0) for n in range(photos)]
        await self.ledger.claim(wanted, claimant=uuid4(), lease=HOUR, strikes=5)
        for each in wanted:
            await self.store.put_new(result_key(job, 0, each.n), RESULT + THUMBNAIL, {})
        outcomes = [
            Outcome(
                job=job,
                n=each.n,
                epoch=0,
                fence=1,
                width=1,
                height=1,
                size=len(RESULT),
                thumbnail_size=len(THUMBNAIL),
                media_type="image/jpeg",
            )
            for each in wanted
        ]
        await self.ledger.finish(outcomes, ttl=ttl)
        return address

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Client:
        return await Client(self.app).ask("GET", path, headers)


@pytest.fixture
def house() -> House:
    return House()


class SlowToTell(MemoryLedger):
    """Its word of a change is still on its way when a test looks."""

    def _changed(self, job: Any) -> None:  # noqa: ANN401 - a row of its own
        heard, self._watchers = self._watchers, []
        super()._changed(job)
        self._watchers = heard


@pytest.mark.parametrize(("method", "path", "status"), [("DELETE", "", 204), ("POST", "/delete", 303)])
async def test_who_deleted_a_job_sees_at_once_that_it_is_gone(method: str, path: str, status: int) -> None:
    house = House(SlowToTell())
    job = await house.done()
    watch = house.app.state["watch"]
    listening = asyncio.create_task(watch.run())
    await until(lambda: watch.listening)
    assert (await house.get(job)).status == 200
    assert (await Client(house.app).ask(method, job + path)).status == status
    assert (await house.get(job)).status == 410
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


def causes(error: BaseException | None) -> list[type[BaseException]]:
    found: list[type[BaseException]] = []
    while error is not None:
        found.append(type(error))
        error = error.__cause__
    return found


async def until(good: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not good():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)


class Sleeper(Client):
    """A client that takes the head and one piece, and then nothing until it wakes."""

    def __init__(self, house: House) -> None:
        super().__init__(house.app, self._sleep)
        self.asleep = False
        self.wakes = asyncio.Event()

    async def _sleep(self, _: Message) -> None:
        if len(self.body) > 0 and not self.wakes.is_set():
            self.asleep = True
            await self.wakes.wait()


def refusals(of: str) -> dict[str, float]:
    """Who was refused so far, by code."""
    return {
        sample.labels["code"]: sample.value
        for each in REGISTRY.collect()
        for sample in each.samples
        if sample.name == f"ebbmark_{of}_refused_total"
    }


async def test_who_asks_and_is_refused_is_no_upload_that_is_refused() -> None:
    house = House(watchers_per_client=1, downloads_per_client=1, operator_attempts=1)
    askers, uploads = refusals("askers"), refusals("uploads")
    _, job = await house.opened(1)
    watcher, loader = Sleeper(house), Sleeper(house)
    busy = [
        asyncio.create_task(watcher.ask("GET", f"{job}/events")),
        asyncio.create_task(loader.ask("GET", f"{await house.done()}/photos/0")),
    ]
    await until(lambda: bool(watcher.body) and loader.asleep)
    done = await house.done()
    assert (await house.get(f"{job}/events")).json()["code"] == "too-many-watchers"
    assert (await house.get(f"{done}/photos/0")).json()["code"] == "too-many-downloads"
    for code in ("operator-token-wrong", "too-many-attempts"):
        assert (await house.get("/dlq", {"authorization": "Bearer x"})).json()["code"] == code
    watcher.left.set()
    for each in (watcher, loader):
        each.wakes.set()
    await asyncio.gather(*busy, return_exceptions=True)  # the stream is cut off
    more = {code: count - askers.get(code, 0) for code, count in refusals("askers").items()}
    assert more == {"too-many-watchers": 1, "too-many-downloads": 1, "too-many-attempts": 1}
    assert refusals("uploads") == uploads


async def test_results_thumbnails_and_the_archive_have_the_length_that_is_said(house: House) -> None:
    job = await house.done(2)
    for path, content in (("/photos/1", RESULT), ("/photos/1/thumbnail", THUMBNAIL)):
        answer = await house.get(job + path)
        assert (answer.status, answer.whole, bytes(answer.body)) == (200, True, content)
        assert answer.one("content-length") == str(len(content))
    archive = await house.get(f"{job}/archive")
    assert archive.one("content-length") == str(len(archive.body))
    with zipfile.ZipFile(io.BytesIO(archive.body)) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == ["0.jpg", "1.jpg", "manifest.json"]
        assert opened.read("1.jpg") == RESULT


async def test_every_answer_keeps_its_address_from_other_sites_and_tells_it_to_its_own(house: House) -> None:
    for path in ("/", await house.done(), "/jobs/none", "/docs"):
        answer = await house.get(path, {"accept": "text/html"})
        assert answer.one("referrer-policy") == "same-origin"


@pytest.mark.parametrize(
    ("headers", "status", "said", "length"),
    [
        ({"range": "bytes=0-99"}, 206, [f"bytes 0-99/{len(RESULT)}"], 100),
        ({"range": f"bytes=0-{'9' * 5000}"}, 206, [f"bytes 0-{len(RESULT) - 1}/{len(RESULT)}"], len(RESULT)),
        ({"range": "bytes=0-99", "if-range": '"0-0"'}, 206, [f"bytes 0-99/{len(RESULT)}"], 100),
        ({"range": "bytes=0-99", "if-range": '"1-0"'}, 200, [], len(RESULT)),
        ({"range": "bytes=99999999-"}, 416, [f"bytes */{len(RESULT)}"], None),
        ({"range": "bytes=99999999-", "if-none-match": 'W/"0-0"'}, 304, [], 0),
        ({"if-none-match": '"7", "0-0"'}, 304, [], 0),
    ],
)
async def test_conditions_are_kept(
    house: House, headers: dict[str, str], status: int, said: list[str], length: int | None
) -> None:
    answer = await house.get(f"{await house.done()}/photos/0", headers)
    assert (answer.status, answer.all("content-range")) == (status, said)
    assert length is None or len(answer.body) == length


async def test_a_status_is_known_by_a_weak_etag_in_a_list(house: House) -> None:
    job = await house.done()
    etag = (await house.get(job)).one("etag").removeprefix("W/")
    assert (await house.get(job, {"if-none-match": f'"x", W/{etag}'})).status == 304


async def test_head_says_what_get_says_and_has_no_body(house: House) -> None:
    job = await house.done()
    for path in ("/", job, f"{job}/photos/0", f"{job}/archive", f"{job}/events", "/healthz", "/nowhere"):
        told, head = await house.get(path), await Client(house.app).ask("HEAD", path)
        assert (head.status, head.whole, bytes(head.body)) == (told.status, True, b"")
        assert sorted(head.headers) == sorted(told.headers)
    for _ in range(PLACES + 1):
        assert (await Client(house.app).ask("HEAD", f"{job}/archive")).status == 200


async def test_what_no_route_answers_is_safe_and_counted_too(house: House) -> None:
    before = counted("unrouted", "GET", "404")
    answer = await house.get("/nowhere")
    assert (answer.status, answer.json()["code"]) == (404, "not-found")
    assert answer.one("x-content-type-options") == "nosniff"
    assert "default-src 'none'" in answer.one("content-security-policy")
    assert counted("unrouted", "GET", "404") == before + 1


def counted(*labels: str) -> float:
    names = dict(zip(("route", "method", "status"), labels, strict=True))
    return REGISTRY.get_sample_value("ebbmark_http_requests_total", names) or 0.0


@pytest.mark.parametrize("path", ["", "/events", "/photos/0", "/photos/0/thumbnail", "/archive"])
async def test_no_header_is_there_twice(house: House, path: str) -> None:
    answer = await house.get(await house.done() + path)
    names = [name for name, _ in answer.headers]
    assert len(names) == len(set(names))


async def test_nothing_is_fetched_for_a_reader_that_takes_nothing(house: House) -> None:
    job = await house.done(3)
    for path in ("/photos/0", "/archive"):
        house.store.streamed = 0
        sleeper = Sleeper(house)
        reading = asyncio.create_task(sleeper.ask("GET", job + path))
        await until(lambda sleeper=sleeper: sleeper.asleep)
        assert house.store.streamed < len(RESULT)
        sleeper.wakes.set()
        assert (await reading).whole


async def test_only_so_many_downloads_are_under_way_at_once(house: House) -> None:
    job = await house.done()
    sleepers = [Sleeper(house) for _ in range(PLACES)]
    paths = ("/photos/0", "/archive")
    reading = [
        asyncio.create_task(each.ask("GET", job + path)) for each, path in zip(sleepers, paths, strict=True)
    ]
    await until(lambda: all(each.asleep for each in sleepers))
    for path in paths:
        refused = await house.get(job + path)
        assert (refused.status, refused.json()["code"]) == (503, "too-many-downloads")
        assert int(refused.one("retry-after")) > 0
    assert (await house.get(f"{job}/photos/0/thumbnail")).status == 200
    for each in sleepers:
        each.wakes.set()
    assert all(each.whole for each in await asyncio.gather(*reading))
    assert (await house.get(f"{job}/archive")).status == 200


@pytest.mark.parametrize("path", ["/photos/0", "/photos/0/thumbnail", "/archive"])
async def test_what_the_store_does_not_give_is_a_503_and_takes_no_place(house: House, path: str) -> None:
    job = await house.done()
    house.store.down = True
    for _ in range(PLACES + 1):
        refused = await house.get(job + path)
        assert (refused.status, refused.json()["code"]) == (503, "store-unavailable")
        assert int(refused.one("retry-after")) > 0
    house.store.down = False
    assert (await house.get(job + path)).status == 200
    await house.store.delete_prefix("")
    assert (await house.get(job + path)).json()["code"] == "object-missing"


async def test_a_client_that_went_silent_is_left_and_its_place_is_free() -> None:
    house = House(downloads=1, chunk_timeout=timedelta(milliseconds=20))
    job = await house.done()
    sleeper = Sleeper(house)
    with pytest.raises(Exception, match="response started") as broken:
        await sleeper.ask("GET", f"{job}/archive")
    assert CutOff in causes(broken.value)
    assert not sleeper.whole
    assert (await house.get(f"{job}/archive")).status == 200


async def test_a_download_ends_visibly_when_the_grace_of_its_job_is_over() -> None:
    house = House()
    house.settings = msgspec.structs.replace(
        house.settings, job=msgspec.structs.replace(house.settings.job, grace=timedelta(0))
    )
    house.app = create_app(house.settings, house.ledger, house.store, MemoryLog())
    job = await house.done(ttl=timedelta(milliseconds=50))
    with pytest.raises(Exception, match="response started") as broken:
        await Client(house.app, lambda message: never() if message.get("body") else asyncio.sleep(0)).ask(
            "GET", f"{job}/photos/0"
        )
    assert CutOff in causes(broken.value)
