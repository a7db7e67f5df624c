"""The services over the three ports in memory: what each does when another does not."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from ebbmark.errors import Conflict, Rejected, Unavailable
from ebbmark.events import (
    ExpireJob,
    JobCompleted,
    JobExpired,
    NotifyReceiver,
    PhotoFailed,
    PhotoRendered,
    RenderPhoto,
)
from ebbmark.guard import Braked
from ebbmark.imaging.recipe import parse_recipe
from ebbmark.imaging.render import Rendered, render
from ebbmark.ledger import Claim, JobRow, PhotoRow, Wanted
from ebbmark.ledger.deliveries import Webhook
from ebbmark.pool import ChildLost, PoolLost
from ebbmark.settings import Settings
from ebbmark.states import JobState, PhotoState
from ebbmark.store import job_prefix, result_key
from ebbmark.testing import MemoryLedger, MemoryLog, MemoryStore
from ebbmark.topics import BULK, DEAD_LETTERS, EXPIRATIONS, EXPRESS, JOBS, NOTIFICATIONS, STATUSES, UPLOADS
from ingest.jobs import Door
from ingest.rounds import Again
from ingest.uploads import Spool
from janitor import reconcile
from janitor.app import Sweeper
from janitor.expire import Expirer, order_expirations
from processors.planner import Planner
from processors.projector import Projector
from processors.renderer import Renderer
from tests.people import opened, photo, saved_as

RECIPE = parse_recipe('{"operations": [{"operation": "watermark", "text": "© me"}]}').to_json()


class Children:
    """Renders in this process, and dies of the photo it is told to die of."""

    def __init__(self) -> None:
        self.deadly = b""
        self.killed = 0
        self.rendered = 0
        self.errors: list[Exception] = []
        self.facts: list[Mapping[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def render(
        self, original: bytes, recipe: bytes, logo: bytes | None, facts: Mapping[str, str]
    ) -> Rendered:
        self.entered.set()
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop()
        if original == self.deadly:
            self.killed += 1
            raise ChildLost("died")
        self.rendered += 1
        self.facts.append(facts)
        return render(original, recipe, logo, facts=facts)


class World:
    """Everything, wired by hand; a message is delivered when a test says so."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.now = datetime(2026, 5, 1, tzinfo=UTC)
        self.ledger = MemoryLedger(lambda: self.now)
        self.store = MemoryStore()
        self.log = MemoryLog()
        self.children = Children()
        self.door = Door(self.ledger, self.store, self.log, self.settings)
        self.planner = Planner(self.log)
        self.renderer = Renderer(self.ledger, self.store, self.log, self.children, self.settings.worker)
        self.projector = Projector(self.ledger, self.log, ttl=self.settings.job.ttl)
        self.expirer = Expirer(self.ledger, self.store, self.log, quiet=self.settings.job.quiet)
        self.read = dict.fromkeys(("uploads", "tasks.express", "tasks.bulk", "statuses", "expirations"), 0)

    async def accept(self, *contents: bytes, recipe: bytes = RECIPE) -> JobRow:
        return await self.door.seal(await self.add(*contents, recipe=recipe), len(contents))

    async def add(self, *contents: bytes, recipe: bytes = RECIPE) -> JobRow:
        opened = await self.door.open(idempotency_key=None, recipe=recipe)
        photos = []
        for n, content in enumerate(contents):
            with Spool("", self.settings.photo.bytes) as spool:
                spool.write(content)
                photos.append(await self.door.keep_original(opened.job.id, n, f"{n}.jpg", spool))
        await self.door.add(opened.job, photos)
        return opened.job

    async def deliver(self) -> None:
        """Hand every new message to its consumer, until there is none."""
        consumers = (
            (UPLOADS, self.planner.handle),
            (EXPRESS, self.renderer.handle),
            (BULK, self.renderer.handle),
            (STATUSES, self.projector.handle),
            (EXPIRATIONS, self.expirer.handle),
        )
        moved = True
        while moved:
            moved = False
            for topic, handle in consumers:
                for event in self.log.events(topic)[self.read[topic.name] :]:
                    self.read[topic.name] += 1
                    moved = True
                    await handle(event)

    async def sweep(self) -> None:
        await self.ledger.end_leases(strikes=5)
        await reconcile.give_up(self.ledger, self.store, self.log, strikes=5, ttl=self.settings.job.ttl)
        await reconcile.redispatch(self.ledger, self.log, stale=self.settings.janitor.stale)
        await reconcile.announce(self.ledger, self.log)
        await order_expirations(self.ledger, self.log, grace=self.settings.job.grace)

    async def job(self, job: UUID) -> JobRow:
        snapshot = await self.ledger.snapshot(job)
        assert snapshot is not None
        return snapshot.job

    async def photo(self, job: UUID, n: int = 0) -> PhotoRow:
        snapshot = await self.ledger.snapshot(job)
        assert snapshot is not None
        return snapshot.photos[n]


@pytest.fixture
def world() -> World:
    return World()


async def test_a_photo_goes_its_way_and_its_job_completes(world: World) -> None:
    job = await world.accept(photo(320, 240))
    await world.deliver()
    row = await world.job(job.id)
    assert (row.state, row.done, row.failed) == (JobState.COMPLETE, 1, 0)
    (status,) = world.log.events(STATUSES)
    assert isinstance(status, PhotoRendered)
    stored = await world.store.get(result_key(job.id, 0, 0))
    assert len(stored) == status.size + status.thumbnail_size
    assert stored[status.size :].startswith(b"\xff\xd8\xff")
    assert world.log.events(JOBS) == [JobCompleted(job=job.id, epoch=0, done=1, failed=0)]


COUNTING = parse_recipe(
    '{"operations": [{"operation": "watermark", "text": "{filename}: {n} of {total}, {date}"}]}'
).to_json()


async def test_marks_that_name_the_number_of_photos_are_drawn_after_the_seal(world: World) -> None:
    job = await world.add(photo(320, 240), photo(320, 240), recipe=COUNTING)
    await world.deliver()
    world.now += 2 * world.settings.janitor.stale
    await world.sweep()
    await world.deliver()
    assert world.children.rendered == 0
    await world.door.seal(job, 2)
    await world.deliver()
    assert world.children.facts == [
        {"filename": str(n), "n": str(n + 1), "total": "2", "date": "2026-05-01"} for n in (0, 1)
    ]
    assert (await world.job(job.id)).state is JobState.COMPLETE


async def test_what_waits_for_the_seal_is_ordered_by_the_janitor_if_the_door_cannot(world: World) -> None:
    job = await world.add(photo(320, 240), recipe=COUNTING)
    world.log.down = True
    with pytest.raises(Unavailable):
        await world.door.seal(job, 1)
    world.log.down = False
    world.now += 2 * world.settings.janitor.stale
    await world.sweep()
    await world.deliver()
    assert (await world.job(job.id)).state is JobState.COMPLETE


async def test_a_logo_has_at_most_two_megabytes(world: World) -> None:
    opened = await world.door.open(idempotency_key=None, recipe=RECIPE)
    least = photo(32, 32)
    with Spool("", 3 * 1024**2) as fitting, Spool("", 3 * 1024**2) as larger:
        fitting.write(least + bytes(2 * 1024**2 - len(least)))
        larger.write(least + bytes(2 * 1024**2 - len(least) + 1))
        assert await world.door.keep_logo(opened.job.id, fitting) == fitting.sha256
        with pytest.raises(Rejected) as refused:
            await world.door.keep_logo(opened.job.id, larger)
    assert refused.value.code == "invalid-logo"
    assert refused.value.detail == "The logo cannot be used. The file is larger than 2 MiB."


async def test_the_first_photos_of_a_job_travel_in_the_express_lane(world: World) -> None:
    await world.accept(*(photo(16, 16) for _ in range(20)))
    await world.deliver()
    assert [order.n for order in world.log.events(EXPRESS)] == list(range(16))
    assert [order.n for order in world.log.events(BULK)] == [16, 17, 18, 19]


async def test_repeated_orders_and_statuses_change_nothing(world: World) -> None:
    job = await world.accept(photo(320, 240))
    await world.deliver()
    before = await world.job(job.id)
    for _ in range(8):
        await world.renderer.handle(RenderPhoto(job=job.id, n=0))
        await world.projector.handle(world.log.events(STATUSES)[0])
    assert await world.job(job.id) == before
    assert world.children.rendered == 1


async def test_a_photo_that_cannot_be_rendered_fails_with_its_reason(world: World) -> None:
    job = await world.accept(photo(320, 240)[:2000], photo(320, 240))
    await world.deliver()
    failed = await world.photo(job.id)
    assert (failed.state, failed.code) == (PhotoState.FAILED, "corrupt")
    row = await world.job(job.id)
    assert (row.state, row.done, row.failed) == (JobState.COMPLETE, 1, 1)
    assert isinstance(world.log.events(STATUSES)[0], PhotoFailed)


async def test_what_was_removed_goes_with_the_result_as_far_as_the_ledger(world: World) -> None:
    exif = Image.Exif()
    exif[0x8825] = {1: "N"}
    exif[0x010F] = "Ricoh"
    told, silent = saved_as(opened(photo(320, 240)), "JPEG", exif=exif), photo(320, 240)
    job = await world.accept(told, silent)
    await world.deliver()
    assert (await world.photo(job.id)).removed == "location, dates and camera settings"
    assert (await world.photo(job.id, 1)).removed is None
    described = await world.store.described(result_key(job.id, 0, 0))
    assert described["ebb-removed"] == "location, dates and camera settings"
    assert "ebb-removed" not in await world.store.described(result_key(job.id, 0, 1))


async def test_what_the_first_attempt_stored_is_described_as_it_is(world: World) -> None:
    job = await world.accept(photo(320, 240))
    described = {
        "ebb-width": "7",
        "ebb-height": "8",
        "ebb-size": "9",
        "ebb-thumbnail": "10",
        "ebb-type": "image/webp",
    }
    await world.store.put_new(result_key(job.id, 0, 0), b"an earlier result", described)
    await world.deliver()
    row = await world.photo(job.id)
    assert (row.width, row.height, row.result_size, row.thumbnail_size, row.result_type) == (
        7,
        8,
        9,
        10,
        "image/webp",
    )
    assert await world.store.get(result_key(job.id, 0, 0)) == b"an earlier result"


async def test_a_store_that_is_down_costs_time_and_no_strike(world: World) -> None:
    job = await world.accept(photo(320, 240))
    for _ in range(20):
        world.store.down = True
        await world.deliver()
        assert (await world.photo(job.id)).state is PhotoState.RETRYING
        world.now += timedelta(seconds=10)
        await world.sweep()
    world.store.down = False
    await world.deliver()
    assert (await world.photo(job.id)).state is PhotoState.DONE


async def test_a_photo_that_kills_its_child_is_claimed_three_times_and_then_set_aside(world: World) -> None:
    job = await world.accept(photo(320, 240), photo(320, 240, seed=1))
    world.children.deadly = photo(320, 240)
    for _ in range(10):
        await world.deliver()
        world.now += timedelta(minutes=2)
        await world.sweep()
    row = await world.photo(job.id)
    assert (row.state, row.code, world.children.killed) == (PhotoState.FAILED, "poison", 3)
    assert (await world.photo(job.id, 1)).state is PhotoState.DONE
    (letter,) = world.log.events(DEAD_LETTERS)
    assert (letter.reason, letter.job, letter.n) == ("poison", job.id, 0)


async def test_an_outcome_waits_for_the_log_and_is_told_once(world: World) -> None:
    job = await world.accept(photo(320, 240))
    await world.planner.handle(world.log.events(UPLOADS)[0])
    world.log.down = True
    handling = asyncio.create_task(world.renderer.handle(RenderPhoto(job=job.id, n=0)))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(handling), 0.5)
    assert world.children.rendered == 1
    world.log.down = False
    await handling
    assert len(world.log.events(STATUSES)) == 1


async def test_a_worker_that_is_cancelled_gives_the_photo_back_without_a_strike(world: World) -> None:
    job = await world.accept(photo(320, 240))
    entered = asyncio.Event()

    class Never(Children):
        async def render(self, *_: object) -> Rendered:
            entered.set()
            await asyncio.Event().wait()
            raise AssertionError

    slow = Renderer(world.ledger, world.store, world.log, Never(), world.settings.worker)
    handling = asyncio.create_task(slow.handle(RenderPhoto(job=job.id, n=0)))
    await entered.wait()
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling
    assert (await world.photo(job.id)).state is PhotoState.RETRYING
    world.now += timedelta(seconds=1)
    await world.sweep()
    await world.deliver()
    assert (await world.photo(job.id)).state is PhotoState.DONE


async def test_orders_that_kafka_lost_are_given_again(world: World) -> None:
    job = await world.accept(photo(320, 240))
    world.read["uploads"] = 1  # lost
    await world.deliver()
    assert (await world.photo(job.id)).state is PhotoState.QUEUED
    world.now += timedelta(seconds=91)
    await world.sweep()
    await world.deliver()
    assert (await world.job(job.id)).state is JobState.COMPLETE


async def test_a_status_that_was_lost_is_made_up_for_by_the_lease(world: World) -> None:
    job = await world.accept(photo(320, 240))
    await world.planner.handle(world.log.events(UPLOADS)[0])
    world.read["uploads"] = 1
    await world.renderer.handle(world.log.events(EXPRESS)[0])
    world.read["tasks.express"] = world.read["statuses"] = 1  # rendered, and the status lost
    for _ in range(4):
        world.now += timedelta(seconds=65)
        await world.sweep()
        await world.deliver()
    assert (await world.job(job.id)).state is JobState.COMPLETE


async def test_a_failure_whose_status_is_lost_ten_times_keeps_its_code(world: World) -> None:
    job = await world.accept(photo(320, 240)[:2000])
    world.read["statuses"] = 10  # what comes before is lost
    while (await world.photo(job.id)).code is None:
        await world.deliver()
        world.now += timedelta(seconds=5)
        await world.sweep()
    assert (await world.photo(job.id)).code == "corrupt"
    assert len(world.log.events(STATUSES)) == 11
    assert not world.log.events(DEAD_LETTERS)


async def test_a_projector_that_is_two_minutes_late_still_brings_failures(world: World) -> None:
    job = await world.accept(photo(320, 240)[:2000])
    world.read["statuses"] = 10**9  # projected below
    told: list[datetime] = []
    while (await world.photo(job.id)).code is None:
        await world.deliver()
        told += [world.now] * (len(world.log.events(STATUSES)) - len(told))
        for when, status in zip(told, world.log.events(STATUSES), strict=True):
            if when <= world.now - timedelta(minutes=2):
                await world.projector.handle(status)
        world.now += timedelta(seconds=5)
        await world.sweep()
    assert (await world.photo(job.id)).code == "corrupt"
    assert not world.log.events(DEAD_LETTERS)


async def test_a_photo_that_kills_its_worker_is_set_aside_though_others_survived_it(world: World) -> None:
    job = await world.accept(photo(320, 240)[:2000])
    world.read["statuses"] = 10**9  # lost
    wanted, kills = Wanted(job=job.id, n=0, epoch=0), 0
    while (await world.photo(job.id)).code is None:
        await world.deliver()
        world.now += timedelta(minutes=3)  # the lease of a report is over, too
        lease = world.settings.worker.lease
        kills += len(await world.ledger.claim([wanted], claimant=uuid4(), lease=lease, strikes=5))
        world.now += 2 * lease
        await world.sweep()
        world.now += timedelta(seconds=5)
        await world.sweep()
    assert ((await world.photo(job.id)).code, kills) == ("poison", 5)
    assert [letter.reason for letter in world.log.events(DEAD_LETTERS)] == ["poison"]


async def test_a_worker_that_is_cancelled_while_it_reports_costs_the_photo_no_strike(world: World) -> None:
    job = await world.accept(photo(320, 240)[:2000])
    for _ in range(10):
        world.log.down = True
        handling = asyncio.create_task(world.renderer.handle(RenderPhoto(job=job.id, n=0)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handling, 0.05)
        world.log.down = False
        assert (await world.photo(job.id)).state is PhotoState.RETRYING
        world.now += timedelta(seconds=1)
        await world.sweep()
    await world.deliver()
    assert (await world.photo(job.id)).code == "corrupt"


async def test_a_report_waits_for_the_ledger_and_keeps_its_claim_until_then(world: World) -> None:
    job = await world.accept(photo(320, 240)[:2000])
    world.children.gate.clear()
    handling = asyncio.create_task(world.renderer.handle(RenderPhoto(job=job.id, n=0)))
    await world.children.entered.wait()
    world.ledger.down = True
    world.children.gate.set()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(handling), 0.3)
    assert len(world.log.events(STATUSES)) == 1
    world.ledger.down = False
    await world.renderer.handle(RenderPhoto(job=job.id, n=0))  # in hand already
    await handling
    assert len(world.log.events(STATUSES)) == 1


async def test_a_job_past_its_deadline_completes_with_failures(world: World) -> None:
    job = await world.accept(photo(320, 240), photo(320, 240, seed=1))
    world.now += timedelta(minutes=31)
    await world.sweep()
    row = await world.job(job.id)
    assert (row.state, row.failed) == (JobState.COMPLETE, 2)
    assert (await world.photo(job.id)).code == "deadline"


async def test_only_a_completion_with_a_receiver_is_ordered_to_be_told(world: World) -> None:
    heard, unheard = await world.accept(photo(320, 240)), await world.accept(photo(320, 240, seed=1))
    webhook = Webhook(url="https://example.org/", secret=b"s" * 32)
    await world.ledger.deliveries.subscribe(heard.id, webhook)
    await world.deliver()
    assert {each.job for each in world.log.events(JOBS)} == {heard.id, unheard.id}
    assert world.log.events(NOTIFICATIONS) == [NotifyReceiver(job=heard.id)]


async def test_a_completion_that_could_not_be_published_is_announced_later(world: World) -> None:
    job = await world.accept(photo(320, 240))
    await world.planner.handle(world.log.events(UPLOADS)[0])
    await world.renderer.handle(world.log.events(EXPRESS)[0])
    world.log.down = True
    await world.projector.handle(world.log.events(STATUSES)[0])
    world.log.down = False
    assert (await world.job(job.id)).state is JobState.COMPLETE
    assert world.log.events(JOBS) == []
    world.now += timedelta(seconds=11)
    await world.sweep()
    await world.sweep()
    assert world.log.events(JOBS) == [JobCompleted(job=job.id, epoch=0, done=1, failed=0)]


async def test_an_expired_job_loses_its_objects_and_then_its_names(world: World) -> None:
    job = await world.accept(photo(320, 240))
    await world.deliver()
    world.now += timedelta(hours=1, seconds=1)
    await world.sweep()
    assert (await world.job(job.id)).state is JobState.EXPIRING
    assert len(await world.store.keys(job_prefix(job.id))) == 2
    world.now += timedelta(minutes=2)
    world.store.down = True
    await world.sweep()
    with pytest.raises(Unavailable):
        await world.deliver()
    assert (await world.job(job.id)).state is JobState.EXPIRING
    world.store.down = False
    world.now += timedelta(seconds=31)
    await world.sweep()
    await world.deliver()
    assert (await world.job(job.id)).state is JobState.EXPIRED
    assert await world.store.keys("") == []
    assert (await world.photo(job.id)).name is None
    assert world.log.events(JOBS)[-1] == JobExpired(job=job.id)


async def test_the_delay_of_a_deletion_is_observed_once_from_the_death_of_the_links_on(world: World) -> None:
    def observed() -> tuple[float, float]:
        names = ("ebbmark_expiry_seconds_count", "ebbmark_expiry_seconds_sum")
        count, total = (REGISTRY.get_sample_value(name) or 0.0 for name in names)
        return count, total

    await world.accept(photo(320, 240))
    await world.deliver()
    before = observed()
    world.now += timedelta(hours=1, seconds=1)
    await world.sweep()
    world.now += timedelta(minutes=2, seconds=30)
    for _ in range(2):
        await world.sweep()
        await world.deliver()
        world.now += timedelta(minutes=10)
    count, total = (now - then for now, then in zip(observed(), before, strict=True))
    assert count == 1
    assert 150 <= total < 155


async def test_an_object_written_late_is_deleted_by_the_second_look(world: World) -> None:
    job = await world.accept(photo(320, 240))
    await world.deliver()
    await world.door.delete(job.id)
    await world.sweep()
    await world.deliver()
    await world.store.put_new(result_key(job.id, 0, 0), b"late", {})
    world.now += timedelta(minutes=3)
    await world.sweep()
    await world.deliver()
    assert await world.store.keys("") == []


@pytest.mark.parametrize("port", ["ledger", "store", "log"])
async def test_an_upload_is_not_accepted_while_a_dependency_is_down(world: World, port: str) -> None:
    ports = {"ledger": world.ledger, "store": world.store, "log": world.log}
    ports[port].down = True
    with pytest.raises(Unavailable):
        await world.accept(photo(320, 240))


async def test_the_door_tells_conflicts_apart(world: World) -> None:
    job = await world.accept(photo(64, 48))
    with Spool("", 10**6) as spool:
        spool.write(photo(64, 48, seed=2))
        late = await world.door.keep_original(job.id, 5, "late.jpg", spool)
    with pytest.raises(Conflict, match="job-sealed"):
        await world.door.add(job, [late])
    with pytest.raises(Conflict, match="wrong-total"):
        await world.door.seal(job, 9)
    unknown = msgspec.structs.replace(job, id=uuid4())
    with pytest.raises(Conflict, match="job-gone"):
        await world.door.seal(unknown, 1)
    with pytest.raises(Rejected, match="invalid-idempotency-key"):
        await world.door.open(idempotency_key="short")


async def test_what_nobody_foresaw_is_tried_again_with_the_same_claim(world: World) -> None:
    job = await world.accept(photo(320, 240))
    order = RenderPhoto(job=job.id, n=0)
    world.children.errors = [KeyError("a bug of ours"), KeyError("a bug of ours")]
    for _ in range(2):
        with pytest.raises(KeyError):
            await world.renderer.handle(order)
    await world.renderer.handle(order)
    (status,) = world.log.events(STATUSES)
    assert status.fence == 1, "three tries under one claim, for one strike"


async def test_a_pool_that_is_gone_stops_the_worker_and_costs_the_photo_nothing(world: World) -> None:
    job = await world.accept(photo(320, 240))
    for _ in range(20):
        world.children.errors = [PoolLost("the fork server is gone")]
        with pytest.raises(Braked):
            await world.renderer.handle(RenderPhoto(job=job.id, n=0))
        await world.sweep()
    await world.deliver()
    assert (await world.photo(job.id)).state is PhotoState.DONE


async def test_an_order_repeated_while_its_photo_is_in_hand_is_dropped(world: World) -> None:
    job = await world.accept(photo(320, 240))
    order = RenderPhoto(job=job.id, n=0)
    world.children.gate.clear()
    first = asyncio.create_task(world.renderer.handle(order))
    await world.children.entered.wait()
    await world.renderer.handle(order)
    world.children.gate.set()
    await first
    assert world.children.rendered == 1


async def test_a_photo_that_is_cancelled_in_hand_and_wanted_again_is_rendered_anew(world: World) -> None:
    job = await world.accept(photo(320, 240))
    world.children.gate.clear()
    first = asyncio.create_task(world.renderer.handle(RenderPhoto(job=job.id, n=0)))
    await world.children.entered.wait()
    await world.door.cancel(job.id)
    assert (await world.job(job.id)).state is JobState.COMPLETE
    await world.door.retry(job.id, Again(frozenset({0})))
    world.children.entered.clear()
    second = asyncio.create_task(world.renderer.handle(RenderPhoto(job=job.id, n=0, epoch=1)))
    async with asyncio.timeout(20):
        await world.children.entered.wait()
    world.children.gate.set()
    await asyncio.gather(first, second)
    await world.deliver()
    row = await world.photo(job.id)
    assert (row.state, row.epoch) == (PhotoState.DONE, 1)
    for epoch in (0, 1):
        assert await world.store.get(result_key(job.id, epoch, 0))
    assert [(each.epoch, each.done) for each in world.log.events(JOBS)] == [(1, 1)]


async def test_what_a_late_worker_stored_of_a_cancelled_photo_goes_with_the_job(world: World) -> None:
    job = await world.accept(photo(320, 240))
    world.children.gate.clear()
    handling = asyncio.create_task(world.renderer.handle(RenderPhoto(job=job.id, n=0)))
    await world.children.entered.wait()
    await world.door.cancel(job.id, 0)
    world.children.gate.set()
    await handling
    await world.deliver()
    row = await world.photo(job.id)
    assert (row.state, row.code) == (PhotoState.FAILED, "cancelled")
    assert await world.store.get(result_key(job.id, 0, 0))
    await world.ledger.expire_now(job.id)
    await world.expirer.handle(ExpireJob(job=job.id))
    assert await world.store.keys(job_prefix(job.id)) == []


async def test_a_photo_that_killed_its_child_is_done_when_it_is_retried_after_the_fix(world: World) -> None:
    job = await world.accept(photo(320, 240), photo(320, 240, seed=1))
    world.children.deadly = photo(320, 240)
    for _ in range(10):
        await world.deliver()
        world.now += timedelta(minutes=2)
        await world.sweep()
    assert (await world.photo(job.id)).code == "poison"
    world.children.deadly = b""
    await world.door.retry(job.id, Again())
    await world.deliver()
    row = await world.job(job.id)
    assert (row.state, row.done, row.failed, row.epoch) == (JobState.COMPLETE, 2, 0, 1)
    told = [each for each in world.log.events(JOBS) if isinstance(each, JobCompleted)]
    assert [(each.epoch, each.done, each.failed) for each in told] == [(0, 1, 1), (1, 2, 0)]


async def test_a_lease_is_kept_for_as_long_as_its_photo_is_in_hand(world: World) -> None:
    lease = timedelta(milliseconds=30)
    settings = msgspec.structs.replace(world.settings.worker, lease=lease)
    renderer = Renderer(world.ledger, world.store, world.log, world.children, settings)
    job = await world.accept(photo(320, 240))
    world.children.gate.clear()
    handling = asyncio.create_task(renderer.handle(RenderPhoto(job=job.id, n=0)))
    keeping = asyncio.create_task(renderer.keep_leases())
    await world.children.entered.wait()
    for _ in range(5):  # renewed with the ledger's clock, so that it ends a lease after the last of them
        world.now += lease
        await asyncio.sleep(lease.total_seconds())
        await world.ledger.end_leases(strikes=5)
        assert (await world.photo(job.id)).state is PhotoState.RENDERING
    keeping.cancel()
    world.now += 2 * lease
    await world.ledger.end_leases(strikes=5)
    assert (await world.photo(job.id)).state is PhotoState.RETRYING
    world.children.gate.set()
    await handling


class Faulty(MemoryLedger):
    """Refuses to renew at first, for a reason that nobody foresaw."""

    asked = 0

    async def renew(self, claims: Sequence[Claim], *, lease: timedelta) -> None:
        self.asked += 1
        if self.asked == 1:
            raise RuntimeError("cannot execute UPDATE in a read-only transaction")
        await super().renew(claims, lease=lease)


async def test_leases_are_renewed_after_a_fault_that_nobody_foresaw(world: World) -> None:
    ledger = world.ledger
    ledger.__class__ = Faulty
    assert isinstance(ledger, Faulty)
    settings = msgspec.structs.replace(world.settings.worker, lease=timedelta(milliseconds=30))
    renderer = Renderer(ledger, world.store, world.log, world.children, settings)
    job = await world.accept(photo(320, 240))
    world.children.gate.clear()
    handling = asyncio.create_task(renderer.handle(RenderPhoto(job=job.id, n=0)))
    keeping = asyncio.create_task(renderer.keep_leases())
    await world.children.entered.wait()
    async with asyncio.timeout(10):
        while ledger.asked < 3:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    keeping.cancel()
    world.children.gate.set()
    await handling


class SlowStore(MemoryStore):
    """Never says what it holds of one place."""

    silent = ""

    async def described(self, key: str) -> Mapping[str, str]:
        if key == self.silent:
            await asyncio.Event().wait()
        return await super().described(key)


async def test_a_store_that_is_slow_for_one_photo_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "_LOOK_WITHIN", 0.05)
    job = await world.accept(photo(320, 240), photo(320, 240, seed=1))
    world.now += timedelta(hours=1)
    store = SlowStore()
    store.silent = result_key(job.id, 0, 0)
    ttl = world.settings.job.ttl
    assert await reconcile.give_up(world.ledger, store, world.log, strikes=5, ttl=ttl) == 1
    assert [(await world.photo(job.id, n)).state for n in (0, 1)] == [PhotoState.QUEUED, PhotoState.FAILED]
    store.silent = ""
    assert await reconcile.give_up(world.ledger, store, world.log, strikes=5, ttl=ttl) == 1
    assert (await world.photo(job.id, 0)).state is PhotoState.FAILED


async def test_an_end_is_announced_even_if_the_log_was_down_when_it_came(world: World) -> None:
    job = await world.accept(photo(320, 240))
    await world.ledger.expire_now(job.id)
    order = ExpireJob(job=job.id)
    world.log.down = True
    with pytest.raises(Unavailable):
        await world.expirer.handle(order)
    assert (await world.job(job.id)).state is JobState.EXPIRED
    world.log.down = False
    for _ in range(3):
        await world.expirer.handle(order)
    assert world.log.events(JOBS) == [JobExpired(job=job.id)]


async def test_no_photo_is_given_up_before_its_dead_letter_is_in_the_log(world: World) -> None:
    job = await world.accept(photo(320, 240))
    world.now += timedelta(hours=1)
    world.log.down = True
    with pytest.raises(Unavailable):
        await reconcile.give_up(world.ledger, world.store, world.log, strikes=5, ttl=world.settings.job.ttl)
    assert (await world.photo(job.id)).state is PhotoState.QUEUED
    world.log.down = False
    await reconcile.give_up(world.ledger, world.store, world.log, strikes=5, ttl=world.settings.job.ttl)
    assert (await world.photo(job.id)).code == "deadline"
    assert [letter.job for letter in world.log.events(DEAD_LETTERS)] == [job.id]


async def test_what_was_rendered_is_done_though_nobody_hears_its_status(world: World) -> None:
    job = await world.accept(photo(320, 240))
    described = {
        "ebb-width": "320",
        "ebb-height": "240",
        "ebb-size": "3",
        "ebb-thumbnail": "1",
        "ebb-type": "image/jpeg",
    }
    await world.store.put_new(result_key(job.id, 0, 0), b"abcd", described)
    world.now += timedelta(hours=1)
    assert not await reconcile.give_up(
        world.ledger, world.store, world.log, strikes=5, ttl=world.settings.job.ttl
    )
    ended = await world.photo(job.id)
    assert (ended.state, ended.code, ended.width, ended.result_size) == (PhotoState.DONE, None, 320, 3)
    assert (await world.job(job.id)).state is JobState.COMPLETE
    assert not world.log.events(DEAD_LETTERS)


async def test_a_log_that_is_down_keeps_no_link_alive_and_delays_no_order_beyond_its_return(
    world: World,
) -> None:
    job, old = await world.accept(photo(320, 240)), await world.accept(photo(320, 240, seed=1))
    await world.ledger.expire_now(old.id)
    sweeper = Sweeper(world.settings, world.ledger, world.store, world.log)
    world.now += world.settings.janitor.stale
    world.log.down = True
    for _ in range(9):
        assert await sweeper.sweep() == "unavailable"
        world.now += timedelta(seconds=10)
    world.log.down = False
    assert await sweeper.sweep() == "ok"
    assert [(order.job, order.n) for order in world.log.events(EXPRESS)] == [(job.id, 0)]


async def test_an_outage_of_the_ledger_ends_no_lease_of_the_living(world: World) -> None:
    clock = [0.0]
    sweeper = Sweeper(world.settings, world.ledger, world.store, world.log, lambda: clock[0])
    lease = world.settings.worker.lease

    async def sweep_for(span: timedelta) -> None:
        for _ in range(int(span.total_seconds())):
            await sweeper.sweep()
            clock[0] += 1
            world.now += timedelta(seconds=1)

    await sweep_for(2 * lease)
    job = await world.accept(photo(320, 240))
    wanted = [Wanted(job=job.id, n=0, epoch=0)]
    (claim,) = await world.ledger.claim(wanted, claimant=uuid4(), lease=lease, strikes=5)
    world.ledger.down = True
    await sweep_for(3 * lease)
    world.ledger.down = False
    await sweep_for(lease / 2)
    await world.ledger.renew([claim], lease=lease)
    await sweep_for(lease)
    assert (await world.photo(job.id)).state is PhotoState.RENDERING
    await sweep_for(lease)
    assert (await world.photo(job.id)).state is not PhotoState.RENDERING, "its worker never came back"
