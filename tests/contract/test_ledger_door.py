"""Opening, filling, sealing and deleting a job: what ingest asks of the ledger."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest

from ebbmark.ledger import Ledger, NewPhoto
from ebbmark.states import JobState, PhotoState
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    MOMENT,
    RECIPE,
    STALE,
    TTL,
    claim,
    completed_with,
    delete_fully,
    done,
    finish,
    new_job,
    new_photo,
    open_with,
    refused_photo,
    seal,
    sealed_with,
    see,
    see_photo,
)


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


async def test_it_says_that_it_answers(ledger: Ledger) -> None:
    await ledger.ready()


async def test_a_job_opens_empty_and_living(ledger: Ledger) -> None:
    wanted = new_job(fingerprint=b"f", sealed_token=b"s", logo_sha256=b"l")
    job = await ledger.open_job(wanted)
    assert (job.id, job.state, job.live) == (wanted.id, JobState.OPEN, True)
    assert (job.total, job.done, job.failed, job.bytes, job.epoch) == (None, 0, 0, 0, 0)
    assert (job.recipe, job.fingerprint, job.sealed_token, job.logo_sha256) == (RECIPE, b"f", b"s", b"l")
    assert (job.completed_at, job.expires_at) == (None, None)
    assert job.created_at <= job.now


async def test_a_job_is_found_by_its_token_alone(ledger: Ledger) -> None:
    wanted = new_job()
    await ledger.open_job(wanted)
    found = await ledger.find_job(wanted.token_hash)
    assert found is not None
    assert found.id == wanted.id
    assert await ledger.find_job(b"another" * 4) is None


async def test_opening_again_with_the_same_idempotency_hash_returns_the_earlier_job(ledger: Ledger) -> None:
    earlier = await ledger.open_job(new_job(idempotency_hash=b"key", fingerprint=b"first"))
    later = new_job(idempotency_hash=b"key", fingerprint=b"second")
    answer = await ledger.open_job(later)
    assert (answer.id, answer.fingerprint) == (earlier.id, b"first")
    assert await ledger.find_job(later.token_hash) is None


async def test_jobs_without_an_idempotency_hash_have_nothing_in_common(ledger: Ledger) -> None:
    one, two = await ledger.open_job(new_job()), await ledger.open_job(new_job())
    assert one.id != two.id


async def test_opening_the_very_same_job_twice_is_opening_it_once(ledger: Ledger) -> None:
    wanted = new_job()
    assert (await ledger.open_job(wanted)).id == (await ledger.open_job(wanted)).id == wanted.id


async def test_eight_at_once_with_one_idempotency_hash_open_one_job(ledger: Ledger) -> None:
    opened = await asyncio.gather(*(ledger.open_job(new_job(idempotency_hash=b"race")) for _ in range(8)))
    assert len({job.id for job in opened}) == 1


async def test_a_dying_job_frees_its_idempotency_hash(ledger: Ledger) -> None:
    earlier = await ledger.open_job(new_job(idempotency_hash=b"free"))
    await ledger.expire_now(earlier.id)
    assert (await ledger.open_job(new_job(idempotency_hash=b"free"))).id != earlier.id


async def test_photos_are_entered_as_queued_and_returned_in_order(ledger: Ledger) -> None:
    job = await open_with(ledger, 0)
    rows = await ledger.add_photos(job, [new_photo(2), new_photo(0)], stale=STALE)
    assert [(row.n, row.name, row.size, row.state) for row in rows] == [
        (0, "photo 0.jpg", 1000, PhotoState.QUEUED),
        (2, "photo 2.jpg", 1002, PhotoState.QUEUED),
    ]
    assert (await see(ledger, job)).job.bytes == 2002


async def test_the_first_photo_of_a_number_is_kept(ledger: Ledger) -> None:
    job = await open_with(ledger, [new_photo(0, sha256=b"first")])
    rows = await ledger.add_photos(job, [new_photo(0, sha256=b"second"), new_photo(1)], stale=STALE)
    assert [row.sha256 for row in rows] == [b"first", bytes([1]) * 32]
    assert (await see(ledger, job)).job.bytes == 2001


async def test_only_the_rows_asked_for_come_back(ledger: Ledger) -> None:
    job = await open_with(ledger, 3)
    assert [row.n for row in await ledger.add_photos(job, [new_photo(1)], stale=STALE)] == [1]


async def test_a_photo_refused_at_the_door_is_failed_and_counted(ledger: Ledger) -> None:
    job = await open_with(ledger, [refused_photo(0), new_photo(1)])
    seen = await see(ledger, job)
    assert (seen.job.done, seen.job.failed) == (0, 1)
    assert (seen.photos[0].state, seen.photos[0].code) == (PhotoState.FAILED, "not-an-image")
    assert seen.photos[0].detail == "This is not a photo."
    assert await claim(ledger, job, 0) == []


async def test_recipe_logo_and_fingerprint_are_entered_when_given_and_kept_when_not(ledger: Ledger) -> None:
    job = await open_with(ledger, 0, recipe=None)
    await ledger.add_photos(job, [], recipe=RECIPE, logo_sha256=b"logo", fingerprint=b"print", stale=STALE)
    await ledger.add_photos(job, [new_photo(0)], stale=STALE)
    seen = (await see(ledger, job)).job
    assert (seen.recipe, seen.logo_sha256, seen.fingerprint) == (RECIPE, b"logo", b"print")


async def test_a_sealed_job_takes_no_photos_but_shows_those_it_has(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 1)
    before = await see(ledger, job)
    rows = await ledger.add_photos(job, [new_photo(0), new_photo(1)], recipe=b"other", stale=STALE)
    assert [row.n for row in rows] == [0]
    after = await see(ledger, job)
    assert (after.photos, after.job.version, after.job.recipe) == (before.photos, before.job.version, RECIPE)


async def test_nothing_is_entered_after_the_upload_deadline(bench: Bench) -> None:
    job = await open_with(bench.ledger, 0, upload_deadline=timedelta(minutes=30))
    await bench.advance(timedelta(minutes=30) - MOMENT)
    assert len(await bench.ledger.add_photos(job, [new_photo(0)], stale=STALE)) == 1
    await bench.advance(MOMENT)
    assert await bench.ledger.add_photos(job, [new_photo(1)], stale=STALE) == []


async def test_a_job_nobody_opened_takes_no_photos(ledger: Ledger) -> None:
    assert await ledger.add_photos(uuid4(), [new_photo(0)], stale=STALE) == []


async def test_sealing_starts_the_wait_for_every_photo(ledger: Ledger) -> None:
    job = await open_with(ledger, 2)
    sealed = await seal(ledger, job, 2)
    assert sealed is not None
    assert (sealed.state, sealed.total, sealed.expires_at) == (JobState.RENDERING, 2, None)


@pytest.mark.parametrize("total", [1, 3])
async def test_a_job_of_another_number_of_photos_stays_open(ledger: Ledger, total: int) -> None:
    job = await open_with(ledger, 2)
    answer = await seal(ledger, job, total)
    assert answer is not None
    assert (answer.state, answer.total) == (JobState.OPEN, None)
    assert len(await ledger.add_photos(job, [new_photo(2)], stale=STALE)) == 1


async def test_a_job_without_a_recipe_stays_open(ledger: Ledger) -> None:
    job = await open_with(ledger, 1, recipe=None)
    answer = await seal(ledger, job, 1)
    assert answer is not None
    assert answer.state is JobState.OPEN


@pytest.mark.parametrize("photos", [[], [refused_photo(0), refused_photo(1)]])
async def test_sealing_completes_a_job_whose_photos_have_all_ended(
    ledger: Ledger, photos: list[NewPhoto]
) -> None:
    job = await open_with(ledger, photos)
    sealed = await seal(ledger, job, len(photos))
    assert sealed is not None
    assert (sealed.state, sealed.failed) == (JobState.COMPLETE, len(photos))
    assert sealed.expires_at is not None
    assert sealed.completed_at is not None
    assert sealed.expires_at - sealed.completed_at == TTL


async def test_photos_may_be_finished_before_the_job_is_sealed(ledger: Ledger) -> None:
    job = await open_with(ledger, 2)
    claims = await claim(ledger, job, 0, 1)
    assert await finish(ledger, *map(done, claims)) == 0
    assert (await see(ledger, job)).job.state is JobState.OPEN
    sealed = await seal(ledger, job, 2)
    assert sealed is not None
    assert (sealed.state, sealed.done) == (JobState.COMPLETE, 2)


async def test_sealing_again_changes_nothing(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 0)
    before = (await see(bench.ledger, job)).job
    await bench.ledger.seal(job, 7, deadline=MOMENT, ttl=MOMENT)
    after = await seal(bench.ledger, job, 0)
    assert after is not None
    assert (after.total, after.version, after.expires_at) == (0, before.version, before.expires_at)


async def test_sealing_what_is_gone_says_so(ledger: Ledger) -> None:
    assert await seal(ledger, uuid4(), 1) is None


async def test_a_dying_job_cannot_be_sealed(ledger: Ledger) -> None:
    job = await open_with(ledger, 1)
    await ledger.expire_now(job)
    answer = await seal(ledger, job, 1)
    assert answer is not None
    assert (answer.state, answer.total) == (JobState.EXPIRING, None)


async def test_the_owner_can_delete_a_job_in_any_living_state_once(ledger: Ledger) -> None:
    for job in (
        await open_with(ledger, 1),
        await sealed_with(ledger, 1),
        await completed_with(ledger, 1),
    ):
        assert await ledger.expire_now(job)
        seen = (await see(ledger, job)).job
        assert (seen.state, seen.live) == (JobState.EXPIRING, False)
        assert not await ledger.expire_now(job)
        assert await ledger.expire_due(grace=TTL) == [job]


async def test_what_never_was_cannot_be_deleted(ledger: Ledger) -> None:
    assert not await ledger.expire_now(uuid4())


async def test_links_die_with_the_clock_whatever_the_janitor_does(bench: Bench) -> None:
    job = await completed_with(bench.ledger, 1)
    await bench.advance(TTL - MOMENT)
    assert (await see(bench.ledger, job)).job.live
    await bench.advance(MOMENT)
    seen = (await see(bench.ledger, job)).job
    assert (seen.state, seen.live) == (JobState.COMPLETE, False)


async def test_a_dying_job_is_found_and_an_expired_one_is_not(bench: Bench) -> None:
    wanted = new_job()
    await bench.ledger.open_job(wanted)
    await bench.ledger.expire_now(wanted.id)
    assert await bench.ledger.find_job(wanted.token_hash) is not None
    await delete_fully(bench, wanted.id)
    assert await bench.ledger.find_job(wanted.token_hash) is None


async def test_a_snapshot_holds_all_photos_in_order(ledger: Ledger) -> None:
    job = await open_with(ledger, [new_photo(n) for n in (11, 2, 30)])
    seen = await see(ledger, job)
    assert [photo.n for photo in seen.photos] == [2, 11, 30]
    assert seen.photos[0].sha256 == bytes([2]) * 32
    assert await ledger.snapshot(uuid4()) is None


async def test_a_job_and_its_photos_are_seen_by_its_token_alone(ledger: Ledger) -> None:
    wanted = new_job()
    await open_with(ledger, 1)
    await ledger.open_job(wanted)
    await ledger.add_photos(wanted.id, [new_photo(n) for n in (11, 2)], stale=STALE)
    seen = await ledger.snapshot_by_token(wanted.token_hash)
    assert seen is not None
    assert (seen.job.id, [photo.n for photo in seen.photos]) == (wanted.id, [2, 11])
    by_id = await see(ledger, wanted.id)
    assert seen.photos == by_id.photos
    assert seen.job == msgspec.structs.replace(by_id.job, now=seen.job.now)
    assert await ledger.snapshot_by_token(b"another" * 4) is None


async def test_a_dying_job_is_seen_by_its_token_and_an_expired_one_is_not(bench: Bench) -> None:
    wanted = new_job()
    await bench.ledger.open_job(wanted)
    await bench.ledger.expire_now(wanted.id)
    seen = await bench.ledger.snapshot_by_token(wanted.token_hash)
    assert seen is not None
    assert not seen.job.live
    await delete_fully(bench, wanted.id)
    assert await bench.ledger.snapshot_by_token(wanted.token_hash) is None


@pytest.mark.parametrize("name", ['"quoted"\\', "ünïcødé 写真.jpg", "<img onerror>", "\U0001f4f7.png"])
async def test_names_come_back_as_they_were_given(ledger: Ledger, name: str) -> None:
    job = await open_with(ledger, [new_photo(0, name=name)])
    assert (await see_photo(ledger, job)).name == name


async def test_the_version_grows_with_everything_a_watcher_can_see(ledger: Ledger) -> None:
    versions: list[int] = []

    async def look() -> None:
        versions.append((await see(ledger, job)).job.version)

    job = await open_with(ledger, 0)
    await look()
    await ledger.add_photos(job, [new_photo(0)], stale=STALE)
    await look()
    await seal(ledger, job, 1)
    await look()
    await finish(ledger, *map(done, await claim(ledger, job, 0)))
    await look()
    await ledger.expire_now(job)
    await look()
    assert versions == sorted(set(versions))


async def test_a_place_is_free_until_a_photo_has_it(ledger: Ledger) -> None:
    job = await open_with(ledger, [new_photo(3, sha256=b"digest")])
    free, taken = await ledger.look(job, 0), await ledger.look(job, 3)
    assert free is not None
    assert taken is not None
    assert (free.taken, taken.taken) == (None, b"digest")
    assert (taken.job.id, taken.job.state) == (job, JobState.OPEN)
    assert await ledger.look(uuid4(), 0) is None


async def test_photos_beyond_the_bytes_of_a_job_are_not_entered(ledger: Ledger) -> None:
    job = await open_with(ledger, [new_photo(0, size=600)])
    assert await ledger.add_photos(job, [new_photo(1, size=401)], most=1000, stale=STALE) == []
    assert [row.n for row in await ledger.add_photos(job, [new_photo(0)], most=1000, stale=STALE)] == [0]
    assert len(await ledger.add_photos(job, [new_photo(1, size=400)], most=1000, stale=STALE)) == 1
    seen = await see(ledger, job)
    assert (seen.job.bytes, len(seen.photos)) == (1000, 2)


async def test_photos_that_come_at_once_stay_within_the_bytes_of_a_job(ledger: Ledger) -> None:
    job = await open_with(ledger, 0)
    await asyncio.gather(
        *(ledger.add_photos(job, [new_photo(n, size=300)], most=1000, stale=STALE) for n in range(8))
    )
    seen = await see(ledger, job)
    assert (seen.job.bytes, len(seen.photos)) == (900, 3)
