"""The bucket as it should be, and with one thing wrong at a time."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from prometheus_client import REGISTRY

from ebbmark.errors import Unavailable
from ebbmark.events import ExpireJob
from ebbmark.settings import Settings
from ebbmark.store import Stored, Unfinished, original_key, result_key
from ebbmark.testing import MemoryLedger, MemoryLog, MemoryStore
from ebbmark.topics import EXPIRATIONS
from janitor.audit import KINDS, Audit, Finding
from janitor.expire import Expirer, order_expirations
from janitor.report import look, machine_readable, table
from janitor.rounds import Rounds
from tests.contract.ledgers import claim, done, finish, new_job, new_photo, seal, see_photo

MINUTE = timedelta(minutes=1)
TIMES = Settings().job
LIFE = TIMES.upload_deadline + TIMES.deadline + TIMES.ttl + TIMES.grace
STALE = Settings().janitor.stale


class Slow(MemoryStore):
    """Lets something happen while a page of a listing is on its way."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def listing(self, prefix: str) -> AsyncIterator[Sequence[Stored]]:
        async for page in super().listing(prefix):
            if self.meanwhile is not None:
                then, self.meanwhile = self.meanwhile, None
                await then()
            yield page


class House:
    """A ledger and a store with one clock, and jobs in every state."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 1, tzinfo=UTC)
        self.settings = Settings()
        self.ledger = MemoryLedger(lambda: self.now)
        self.store = Slow(lambda: self.now)
        self.log = MemoryLog()
        self.expirer = Expirer(self.ledger, self.store, self.log, quiet=TIMES.quiet)
        self.rounds = Rounds(self.settings, self.ledger, self.store)

    async def open(self, photos: int = 2) -> UUID:
        job = new_job()
        await self.ledger.open_job(job)
        for n in range(photos):
            await self.store.put(original_key(job.id, n, new_photo(n).sha256), b"original")
        await self.ledger.add_photos(job.id, [new_photo(n) for n in range(photos)], stale=STALE)
        return job.id

    async def render(self, job: UUID, *photos: int) -> None:
        claims = await claim(self.ledger, job, *photos)
        for each in claims:
            await self.store.put_new(result_key(job, each.epoch, each.n), b"result", {})
        await finish(self.ledger, *map(done, claims))

    async def completed(self) -> UUID:
        job = await self.open()
        await seal(self.ledger, job, 2)
        await self.render(job, 0, 1)
        return job

    async def delete(self, job: UUID) -> None:
        """Have it deleted and verified."""
        await self.ledger.expire_now(job)
        await self.expirer.handle(ExpireJob(job=job))
        self.now += TIMES.quiet
        await self.expirer.handle(ExpireJob(job=job))

    async def look(self) -> tuple[Audit, Sequence[Finding]]:
        return await look(self.settings, self.ledger, self.store)

    async def found(self) -> list[tuple[str, str]]:
        _, findings = await self.look()
        return sorted((each.kind, each.key) for each in findings)


@pytest.fixture
async def house() -> House:
    """All is well here, in jobs of every kind."""
    house = House()
    await house.delete(await house.completed())
    await house.completed()
    await house.render(await house.open(), 1)
    await house.ledger.expire_now(await house.open())
    return house


async def test_where_all_is_well_nothing_is_found_and_everything_is_counted(house: House) -> None:
    audit, findings = await house.look()
    assert findings == []
    stored = [each async for page in house.store.listing("") for each in page]
    assert (audit.audited.objects, audit.audited.bytes) == (len(stored), sum(each.size for each in stored))
    assert (audit.audited.started_at, len(stored)) == (house.now, 9)
    assert audit.counts == dict.fromkeys(KINDS, 0)


async def test_an_empty_bucket_and_an_empty_ledger_agree() -> None:
    audit, findings = await House().look()
    assert (audit.audited.objects, findings) == (0, [])


async def test_objects_of_nobody_are_orphans_and_go_when_they_are_seen_a_second_time(house: House) -> None:
    key = original_key(uuid4(), 0, b"a" * 32)
    await house.store.put(key, b"?")
    assert (await house.rounds.go()).counts["orphan"] == 1
    assert await house.store.keys(key) == [key]
    assert (await house.rounds.go()).counts["orphan"] == 1
    assert await house.store.keys(key) == []
    assert (await house.rounds.go()).counts == dict.fromkeys(KINDS, 0)


async def test_a_janitor_with_another_database_deletes_nothing_at_once(house: House) -> None:
    before = await house.store.keys("")
    audit = await Rounds(house.settings, MemoryLedger(lambda: house.now), house.store).go()
    assert audit.counts["orphan"] == len(before) == 9
    assert await house.store.keys("") == before


async def test_what_is_written_after_the_second_listing_is_an_orphan_and_goes_the_way_of_all_deletions(
    house: House,
) -> None:
    job = new_job(receipt_hash=b"receipt")
    await house.ledger.open_job(job)
    await house.delete(job.id)
    await house.store.put_new(result_key(job.id, 0, 0), b"late", {})
    assert (await house.rounds.go()).counts["orphan"] == 1
    await order_expirations(house.ledger, house.log, grace=TIMES.grace)
    assert ExpireJob(job=job.id) in house.log.events(EXPIRATIONS)
    await house.expirer.handle(ExpireJob(job=job.id))
    assert await house.store.keys(result_key(job.id, 0, 0)) == []
    assert (await house.rounds.go()).counts["orphan"] == 0
    receipt = await house.ledger.proofs.receipt(b"receipt")
    assert receipt is not None
    assert (receipt.deleted.results, receipt.deleted.bytes) == (1, 4)
    assert receipt.verified_at is not None
    assert receipt.audited_at == house.now


async def test_what_should_be_gone_for_ten_minutes_is_overdue_and_left_alone() -> None:
    house = House()
    job = await house.open(1)
    await seal(house.ledger, job, 1)
    key = original_key(job, 0, new_photo(0).sha256)
    house.now += LIFE - TIMES.upload_deadline + 9 * MINUTE
    assert await house.found() == []
    house.now += 2 * MINUTE
    assert await house.found() == [("overdue", key)]
    await house.rounds.go()
    assert await house.store.keys("") == [key]


@pytest.mark.parametrize("which", ["original", "result"])
async def test_what_must_be_there_and_is_not_is_missing(house: House, which: str) -> None:
    job = await house.open(3)
    await house.render(job, 1)
    originals = [original_key(job, n, new_photo(n).sha256) for n in range(3)]
    lost = originals[2] if which == "original" else result_key(job, 0, 1)
    await house.store.delete([lost, originals[1]])  # the second is not needed any more
    assert await house.found() == [("missing", lost)]


async def test_a_bucket_that_was_lost_is_missing_whole(house: House) -> None:
    await house.store.delete_prefix("")
    assert [kind for kind, _ in await house.found()] == ["missing"] * 4


async def test_much_is_compared_page_by_page_and_one_thing_is_found() -> None:
    house = House()
    jobs = sorted([await house.open(300) for _ in range(8)])
    assert await house.found() == []
    lost = [original_key(jobs[0], 0, new_photo(0).sha256), original_key(jobs[6], 299, new_photo(299).sha256)]
    await house.store.delete(lost)
    await house.store.put("jobs/somebody's.jpg", b"?")
    assert await house.found() == sorted(
        [("foreign", "jobs/somebody's.jpg"), *(("missing", key) for key in lost)]
    )


async def test_keys_that_nobody_here_makes_are_told_and_never_deleted(house: House) -> None:
    await house.store.put("holiday.jpg", b"?")
    for _ in range(3):
        assert (await house.rounds.go()).counts["foreign"] == 1
    assert await house.store.get("holiday.jpg") == b"?"


async def test_uploads_that_never_ended_are_found_after_the_upload_deadline_and_aborted(house: House) -> None:
    house.store.uploads = [Unfinished("jobs/x", "1", house.now)]
    house.now += TIMES.upload_deadline
    assert (await house.rounds.go()).counts["unfinished"] == 0
    house.now += MINUTE
    assert (await house.rounds.go()).counts["unfinished"] == 1
    assert house.store.uploads == []


# What changes while it is looked at


async def test_a_job_that_is_deleted_in_the_middle_is_no_finding(house: House) -> None:
    job = await house.completed()
    house.store.meanwhile = lambda: house.delete(job)
    assert await house.found() == []


async def test_a_photo_that_is_finished_in_the_middle_is_no_finding(house: House) -> None:
    job = await house.open()
    house.store.meanwhile = lambda: house.render(job, 0, 1)
    assert await house.found() == []
    assert (await see_photo(house.ledger, job)).result_size


async def test_a_job_that_is_opened_in_the_middle_is_no_finding(house: House) -> None:
    async def meanwhile() -> None:
        await house.open(5)

    house.store.meanwhile = meanwhile
    assert await house.found() == []


async def test_a_job_whose_links_die_in_the_middle_misses_nothing() -> None:
    house = House()
    job = await house.completed()

    async def meanwhile() -> None:
        house.now += TIMES.ttl
        await order_expirations(house.ledger, house.log, grace=TIMES.grace)
        await house.expirer.handle(ExpireJob(job=job))

    house.store.meanwhile = meanwhile
    assert await house.found() == []
    assert await house.store.keys("") == []


# What is told


def measured(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_the_metrics_tell_of_the_last_audit(house: House) -> None:
    await house.store.put("holiday.jpg", b"?")
    await house.rounds.go()
    assert {kind: measured("ebbmark_audit_findings", kind=kind) for kind in KINDS} == {
        **dict.fromkeys(KINDS, 0.0),
        "foreign": 1.0,
    }
    assert measured("ebbmark_audit_timestamp_seconds") == house.now.timestamp()
    assert measured("ebbmark_audit_objects") == 10


@pytest.mark.parametrize("port", ["ledger", "store"])
async def test_an_audit_that_comes_to_no_end_is_none(house: House, port: str) -> None:
    await house.rounds.go()
    before = measured("ebbmark_audit_timestamp_seconds")
    house.now += MINUTE

    async def meanwhile() -> None:
        getattr(house, port).down = True

    house.store.meanwhile = meanwhile
    with pytest.raises(Unavailable):
        await house.rounds.go()
    assert measured("ebbmark_audit_timestamp_seconds") == before


async def test_who_does_not_lead_does_not_go_and_who_leads_goes_at_once(house: House) -> None:
    leading, audited = asyncio.Event(), asyncio.Event()
    asked: list[bool] = []

    class Watched(Slow):
        async def listing(self, prefix: str) -> AsyncIterator[Sequence[Stored]]:
            asked.append(leading.is_set())
            audited.set()
            async for page in super().listing(prefix):
                yield page

    rounds = Rounds(house.settings, house.ledger, Watched(lambda: house.now))
    going = asyncio.create_task(rounds.go_for_ever(leading))
    await asyncio.sleep(0)
    leading.set()
    await asyncio.wait_for(audited.wait(), 10)
    going.cancel()
    assert asked == [True]


async def test_a_report_is_readable_by_people_and_programs(house: House) -> None:
    orphan = original_key(uuid4(), 0, b"a" * 32)
    await house.store.put(orphan, b"12345")
    audit, findings = await house.look()
    told = table(audit, findings)
    assert told.startswith("10 objects, ")
    assert f"\norphan     {orphan}\n" in told
    assert all(f"\n{kind} " in told for kind in KINDS)
    report = json.loads(machine_readable(audit, findings))
    assert report["findings"] == audit.counts
    assert report["shown"] == [{"kind": "orphan", "job": orphan.split("/")[1], "key": orphan}]
    many = msgspec.structs.replace(audit, audited=msgspec.structs.replace(audit.audited, findings=5000))
    assert table(many, findings).endswith("… and 4999 more\n")


async def test_looking_changes_nothing(house: House) -> None:
    await house.store.put(original_key(uuid4(), 0, b"a" * 32), b"?")
    house.store.uploads = [Unfinished("jobs/x", "1", house.now - LIFE)]
    for _ in range(3):
        assert len(await house.found()) == 2
