"""What watchers see over a ledger in memory: the newest, as cheaply as it may be had."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from litestar.response.sse import ServerSentEventMessage

from ebbmark.ledger import Claim, NewJob, NewPhoto, Outcome, Snapshot, Wanted
from ebbmark.testing import MemoryLedger
from ingest import stream
from ingest.stream import Expired, Unknown, Watch
from ingest.tokens import encode, new_token, token_hash

LIFE = timedelta(minutes=10)
RECIPE = b'{"operations":[]}'


class CountingLedger(MemoryLedger):
    """Notes every question for a job; its answers are on their way until a test lets them arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()

    @property
    def heard(self) -> bool:
        """Whether every watcher has heard every change."""
        return all(watcher.empty() for watcher in self._watchers)

    async def find_job(self, token_hash: bytes):  # noqa: ANN201 - as its base
        self.asked.append("find_job")
        return await super().find_job(token_hash)

    async def snapshot(self, job: UUID) -> Snapshot | None:
        self.asked.append("snapshot")
        return await super().snapshot(job)

    async def snapshot_by_token(self, token_hash: bytes) -> Snapshot | None:
        self.asked.append("snapshot_by_token")
        answer = await super().snapshot_by_token(token_hash)
        await self.answers.wait()
        return answer


@pytest.fixture
def ledger() -> CountingLedger:
    return CountingLedger()


@pytest.fixture
async def watch(ledger: CountingLedger) -> AsyncGenerator[Watch]:
    """A watch that listens."""
    watching = Watch(ledger, stream_timeout=LIFE)
    listening = asyncio.create_task(watching.run())
    await until(lambda: watching.listening)
    yield watching
    watching.close()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def until(good: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not good():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)


async def opened(ledger: MemoryLedger, *, photos: int = 0, recipe: bytes | None = RECIPE) -> tuple[UUID, str]:
    """Return a new job and its public id."""
    public_id = encode(new_token())
    job = await ledger.open_job(NewJob(id=uuid4(), token_hash=token_hash(public_id), recipe=recipe))
    new = [NewPhoto(n=n, name=f"{n}.jpg", size=1, sha256=bytes([n])) for n in range(photos)]
    if new:
        await ledger.add_photos(job.id, new, stale=LIFE)
    return job.id, public_id


async def test_looking_at_a_job_is_one_question_and_looking_again_is_none(
    ledger: CountingLedger, watch: Watch
) -> None:
    _, public_id = await opened(ledger)
    first = await watch.look(public_id)
    assert ledger.asked == ["snapshot_by_token"]
    assert await watch.look(public_id) is first
    assert ledger.asked == ["snapshot_by_token"]


async def test_the_names_of_results_are_told_once_for_all_who_download_them(
    ledger: CountingLedger, watch: Watch
) -> None:
    job, public_id = await opened(ledger, photos=2)
    assert (await watch.look(public_id)).file_names == {}
    claim = await claimed(ledger, job, 0)
    done = Outcome(job=job, n=0, epoch=0, fence=claim.fence, size=1, media_type="image/jpeg")
    await ledger.finish([done], ttl=LIFE)
    await until(lambda: ledger.heard)
    names = (await watch.look(public_id)).file_names
    assert names == {0: "0.jpg"}
    assert (await watch.look(public_id)).file_names is names


async def test_a_job_that_never_was_and_one_that_dies_are_told_apart(
    ledger: CountingLedger, watch: Watch
) -> None:
    job, public_id = await opened(ledger)
    await ledger.expire_now(job)
    with pytest.raises(Expired):
        await watch.look(public_id)
    with pytest.raises(Unknown):
        await watch.look(encode(new_token()))


def version(event: ServerSentEventMessage) -> int | str | None:
    """Return the version that a snapshot tells, None for any other event."""
    return event.id if event.event == "snapshot" else None


async def test_a_change_while_the_answer_is_on_its_way_is_told_at_once(
    ledger: CountingLedger, watch: Watch
) -> None:
    job, public_id = await opened(ledger, recipe=None)
    events = watch.events(public_id, 0)
    ledger.answers.clear()
    first = asyncio.create_task(anext(events))
    await until(lambda: ledger.asked != [])
    await ledger.add_photos(job, [], recipe=RECIPE, stale=LIFE)
    await until(lambda: ledger.heard)
    ledger.answers.set()
    assert version(await first) == "1"
    assert version(await anext(events)) == "2"  # and no ping before it
    await events.aclose()


async def test_a_sight_that_was_outdated_on_its_way_is_not_remembered(
    ledger: CountingLedger, watch: Watch
) -> None:
    job, public_id = await opened(ledger, recipe=None)
    ledger.answers.clear()
    looking = asyncio.create_task(watch.look(public_id))
    await until(lambda: ledger.asked != [])
    await ledger.add_photos(job, [], recipe=RECIPE, stale=LIFE)
    await until(lambda: ledger.heard)
    ledger.answers.set()
    assert (await looking).view.version == 1
    assert (await watch.look(public_id)).view.version == 2


async def test_while_nothing_is_heard_every_look_asks_and_afterwards_every_stream_is_told(
    ledger: CountingLedger, watch: Watch
) -> None:
    job, public_id = await opened(ledger, recipe=None)
    events = watch.events(public_id, 0)
    assert version(await anext(events)) == "1"
    following = asyncio.create_task(anext(events))
    ledger.interrupt()
    await until(lambda: not watch.listening)
    ledger.asked.clear()
    await watch.look(public_id)
    await watch.look(public_id)
    assert len(ledger.asked) == 2
    await ledger.add_photos(job, [], recipe=RECIPE, stale=LIFE)
    ledger.reconnect()
    await until(lambda: watch.listening)
    assert version(await following) == "2"
    await events.aclose()


async def test_what_was_remembered_before_a_loss_is_not_believed_after_it(
    ledger: CountingLedger, watch: Watch
) -> None:
    job, public_id = await opened(ledger, recipe=None)
    await watch.look(public_id)
    ledger.interrupt()
    await ledger.add_photos(job, [], recipe=RECIPE, stale=LIFE)
    await until(lambda: not watch.listening)
    assert (await watch.look(public_id)).view.version == 2


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """What renders is read again after a moment."""
    monkeypatch.setattr(stream, "_AGAIN", 0.05)


async def claimed(ledger: MemoryLedger, job: UUID, n: int) -> Claim:
    (claim,) = await ledger.claim([Wanted(job=job, n=n, epoch=0)], claimant=uuid4(), lease=LIFE, strikes=5)
    return claim


def states(event: ServerSentEventMessage) -> list[str]:
    assert event.event == "snapshot"
    return [photo["state"] for photo in msgspec.json.decode(str(event.data))["photos"]]


@pytest.mark.usefixtures("restless")
async def test_a_claim_is_seen_within_moments_with_the_same_version(
    ledger: CountingLedger, watch: Watch
) -> None:
    job, public_id = await opened(ledger, photos=2)
    events = watch.events(public_id, 0)
    first = await anext(events)
    assert (version(first), states(first)) == ("2", ["queued", "queued"])
    claim = await claimed(ledger, job, 1)
    second = await anext(events)
    assert (version(second), states(second)) == ("2", ["queued", "rendering"])
    await ledger.release(claim, strikes=-1, retry_after=LIFE)
    third = await anext(events)
    assert (version(third), states(third)) == ("3", ["queued", "retrying"])
    await events.aclose()


@pytest.mark.usefixtures("restless")
async def test_ten_watchers_of_a_job_that_renders_ask_as_often_as_one(
    ledger: CountingLedger, watch: Watch
) -> None:
    job, public_id = await opened(ledger, photos=1)
    await until(lambda: ledger.heard)
    streams = [watch.events(public_id, 0) for _ in range(10)]
    await asyncio.gather(*map(anext, streams))
    assert len(ledger.asked) == 1
    await claimed(ledger, job, 0)
    assert {tuple(states(each)) for each in await asyncio.gather(*map(anext, streams))} == {("rendering",)}
    assert len(ledger.asked) < 5
    for each in streams:
        await each.aclose()


async def test_many_jobs_that_wait_are_read_again_no_faster_than_few(
    watch: Watch, ledger: CountingLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_AGAIN", 0.02)
    monkeypatch.setattr(stream, "_SHORTEST_PAUSE", 0.001)
    monkeypatch.setattr(stream, "_READ_AGAIN", 40)
    jobs = [await opened(ledger, photos=1) for _ in range(80)]
    streams = [asyncio.create_task(_drain(watch, public_id)) for _, public_id in jobs]
    await until(lambda: len(watch._waiting) == len(jobs))  # noqa: SLF001 - as many as watch
    asked = len(ledger.asked)
    await asyncio.sleep(1)  # two seconds from reading to reading: in this one few are due
    assert len(ledger.asked) - asked <= len(jobs)
    watch.close()
    await asyncio.gather(*streams)


async def _drain(watch: Watch, public_id: str) -> None:
    async for _ in watch.events(public_id, 0):
        pass


async def test_a_client_that_comes_back_sees_what_its_version_does_not_tell_and_never_an_earlier_one(
    ledger: CountingLedger, watch: Watch
) -> None:
    job, public_id = await opened(ledger, photos=1)
    await claimed(ledger, job, 0)
    same = watch.events(public_id, 2)
    assert states(await anext(same)) == ["rendering"]
    later = watch.events(public_id, 3)
    waiting = asyncio.create_task(anext(later))
    await ledger.add_photos(job, [], stale=LIFE)
    await ledger.add_photos(job, [], stale=LIFE)
    assert version(await waiting) == "4"
    await same.aclose()
    await later.aclose()


async def test_a_stream_ends_at_its_time_also_while_nothing_changes(
    ledger: CountingLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_PING", 3600.0)
    _, public_id = await opened(ledger)
    deaf = Watch(ledger, stream_timeout=timedelta(milliseconds=1))
    async with asyncio.timeout(20):
        assert [version(event) async for event in deaf.events(public_id, 0)] == ["1"]


async def test_two_states_of_one_version_have_two_etags_and_one_state_has_one(ledger: CountingLedger) -> None:
    watch = Watch(ledger, stream_timeout=LIFE)
    job, public_id = await opened(ledger, photos=1)
    queued = (await watch.look(public_id)).etag
    assert (await watch.look(public_id)).etag == queued
    await claimed(ledger, job, 0)
    rendering = await watch.look(public_id)
    assert rendering.view.version == 2
    assert rendering.etag != queued


async def test_who_asks_after_a_change_was_heard_gets_no_answer_to_an_earlier_question(
    ledger: CountingLedger, watch: Watch
) -> None:
    job, public_id = await opened(ledger, recipe=None)
    ledger.answers.clear()
    early = [asyncio.create_task(watch.look(public_id)) for _ in range(3)]
    await until(lambda: ledger.asked != [])
    await ledger.add_photos(job, [], recipe=RECIPE, stale=LIFE)
    await until(lambda: ledger.heard)
    late = asyncio.create_task(watch.look(public_id))
    await until(lambda: len(ledger.asked) > 1)
    ledger.answers.set()
    assert {each.view.version for each in await asyncio.gather(*early)} == {1}
    assert (await late).view.version == 2
    assert len(ledger.asked) == 2
