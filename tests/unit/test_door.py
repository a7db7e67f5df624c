"""What comes in over HTTP, and what a request that fails leaves behind."""

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from prometheus_client import REGISTRY

from ebbmark.errors import Unavailable
from ebbmark.events import ExpireJob
from ebbmark.ledger import NewPhoto
from ebbmark.settings import Http, Job, Settings
from ebbmark.states import JobState
from ebbmark.store import job_prefix
from ebbmark.testing import MemoryLedger, MemoryLog, MemoryStore
from ebbmark.topics import UPLOADS, E, Topic
from ingest import jobs
from ingest.jobs import Door
from ingest.tokens import token_hash
from ingest.uploads import Spool
from janitor.expire import Expirer
from tests.people import photo
from tests.unit.visits import END, House, Visit, field, file

KEY = "a key of more than sixteen"
GREY = field("operations", "grayscale")
BLUR = field("operations", "blur")


@pytest.fixture
def house() -> House:
    return House()


async def state_of(house: House, visit: Visit) -> JobState:
    row = await house.ledger.find_job(token_hash(visit.json["job_id"]))
    assert row is not None
    return row.state


# Requests with one Idempotency-Key


async def test_a_hanging_upload_that_fails_leaves_the_job_that_its_repeat_was_answered(house: House) -> None:
    first = house.form(file(photo(64, 48)), GREY, key=KEY)
    await first.settled()
    repeat = await house.form(file(photo(64, 48)), GREY, END, key=KEY).answer()
    assert repeat.status == 202
    await first.leave().answer()
    assert first.status == 499
    assert await state_of(house, repeat) is JobState.RENDERING


async def test_another_body_with_the_same_key_is_refused_whoever_comes_first(house: House) -> None:
    first = house.form(file(photo(64, 48)), GREY, key=KEY)
    await first.settled()
    second = await house.form(BLUR, file(photo(64, 48, seed=2)), END, key=KEY).answer()
    assert second.status == 202
    await first.send(END).end().answer()
    assert first.told == (422, "idempotency-key-reused")
    assert await state_of(house, second) is JobState.RENDERING
    third = await house.form(BLUR, file(photo(64, 48, seed=2)), END, key=KEY).answer()
    assert (third.status, third.json["job_id"]) == (202, second.json["job_id"])


async def test_another_recipe_with_the_same_key_does_not_change_an_open_job(house: House) -> None:
    opened = await house.form(GREY, END, key=KEY).answer()
    other = await house.form(BLUR, END, key=KEY).answer()
    assert (opened.status, other.told) == (202, (422, "idempotency-key-reused"))
    row = await house.ledger.find_job(token_hash(opened.json["job_id"]))
    assert row is not None
    assert row.state is JobState.OPEN
    assert b"grayscale" in (row.recipe or b"")


async def test_two_that_send_the_same_at_once_are_answered_the_same_job(house: House) -> None:
    body = file(photo(64, 48)), GREY, END
    one, two = await asyncio.gather(house.form(*body, key=KEY).answer(), house.form(*body, key=KEY).answer())
    assert (one.status, two.status) == (202, 202)
    assert one.json["job_id"] == two.json["job_id"]
    assert {event.n for event in house.log.events(UPLOADS)} == {0}


async def test_a_request_that_the_log_refused_takes_nothing_from_its_repeat(house: House) -> None:
    first = house.form(file(photo(64, 48)), GREY, key=KEY)
    repeat = house.form(file(photo(64, 48)), GREY, key=KEY)
    await first.settled()
    await repeat.settled()
    house.log.down = True
    await first.send(END).end().answer()
    house.log.down = False
    await repeat.send(END).end().answer()
    assert (first.told, repeat.status) == ((503, "log-unavailable"), 202)
    assert await state_of(house, repeat) is JobState.RENDERING


class SilentLog(MemoryLog):
    """Takes in nothing until a test lets it answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def publish(self, topic: Topic[E], events: Sequence[E]) -> None:
        await self.answers.wait()
        await super().publish(topic, events)


@pytest.fixture
async def ordering() -> AsyncIterator[tuple[House, SilentLog, Visit]]:
    """A request that has sealed its job, and waits for Kafka to take the order."""
    silent = SilentLog()
    house = House(log=silent)
    first = house.form(file(photo(64, 48)), GREY, END, key=KEY)
    await first.settled()
    yield house, silent, first
    silent.answers.set()
    await first.answer()


async def test_a_repeat_is_not_accepted_before_the_order_of_the_first_is_acknowledged(
    ordering: tuple[House, SilentLog, Visit],
) -> None:
    house, silent, first = ordering
    repeat = house.form(file(photo(64, 48)), GREY, END, key=KEY)
    await repeat.settled()
    assert repeat.status == 0
    silent.down = True
    silent.answers.set()
    await asyncio.gather(first.answer(), repeat.answer())
    assert [first.told, repeat.told] == [(503, "log-unavailable")] * 2
    assert len(await house.ledger.expire_due(grace=timedelta(0))) == 1


async def test_a_repeat_orders_what_an_ingest_that_hangs_has_not_and_does_not_count_it(
    ordering: tuple[House, SilentLog, Visit],
) -> None:
    house, silent, _ = ordering
    other = House(ledger=house.ledger, store=house.store)
    accepted = _accepted()
    repeat = await other.form(file(photo(64, 48)), GREY, END, key=KEY).answer()
    assert repeat.status == 202
    assert ([event.n for event in other.log.events(UPLOADS)], silent.records) == ([0], [])
    assert _accepted() == accepted


async def test_a_form_that_was_answered_lives_on_when_its_upload_deadline_has_come(house: House) -> None:
    form = await house.form(file(photo(64, 48)), GREY, END, key=KEY).answer()
    assert form.status == 202
    house.now += 2 * house.settings.job.upload_deadline
    assert await house.ledger.expire_due(grace=timedelta(0)) == []
    assert await state_of(house, form) is JobState.RENDERING


async def test_a_form_that_waits_for_kafka_at_its_upload_deadline_is_gone_and_gets_no_202(
    ordering: tuple[House, SilentLog, Visit],
) -> None:
    house, silent, first = ordering
    house.now += house.settings.job.upload_deadline
    for _ in range(2):
        due = await house.ledger.expire_due(grace=timedelta(0))
    assert len(due) == 1
    silent.answers.set()
    assert (await first.answer()).told == (409, "job-gone")


async def test_a_repeat_has_a_form_accepted_that_the_first_request_could_not(
    ordering: tuple[House, SilentLog, Visit],
) -> None:
    house, _, _ = ordering
    other = House(ledger=house.ledger, store=house.store)
    repeat = await other.form(file(photo(64, 48)), GREY, END, key=KEY).answer()
    assert repeat.status == 202
    house.now += 2 * house.settings.job.upload_deadline
    for _ in range(2):
        assert await house.ledger.expire_due(grace=timedelta(0)) == []
    assert await state_of(house, repeat) is JobState.RENDERING


class ForgetfulLedger(MemoryLedger):
    """Notes that a form is accepted, and is gone before it can say so."""

    async def accepted(self, job: UUID) -> bool:
        await super().accepted(job)
        self.down = True
        raise Unavailable("ledger-unavailable", "The database does not answer.")


async def test_a_form_whose_acceptance_is_noted_and_not_answered_is_deleted_when_the_ledger_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "_AGAIN", 0.01)
    ledger = ForgetfulLedger()
    house = House(ledger=ledger)
    form = await house.form(file(photo(64, 48)), GREY, END).answer()
    assert form.told == (503, "ledger-unavailable")
    (key,) = await house.store.keys("")
    await asyncio.sleep(0.05)
    ledger.down = False
    due: Sequence[UUID] = []
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if due := await ledger.expire_due(grace=timedelta(0)):
            break
    assert due == [UUID(key.split("/")[1])]


async def test_a_form_is_counted_once_however_often_it_comes(house: House) -> None:
    accepted = _accepted()
    body = file(photo(64, 48)), file(photo(64, 48, seed=2)), GREY
    at_once = [house.form(*body, key=KEY) for _ in range(2)]
    for form in at_once:
        await form.settled()
    await asyncio.gather(*(form.send(END).end().answer() for form in at_once))
    later = await house.form(*body, END, key=KEY).answer()
    assert [form.status for form in (*at_once, later)] == [202] * 3
    assert _accepted() == accepted + 2


def _accepted() -> float:
    return REGISTRY.get_sample_value("ebbmark_photos_accepted_total") or 0.0


async def test_a_form_that_the_log_does_not_take_leaves_no_job(house: House) -> None:
    form = house.form(file(photo(64, 48)), GREY)
    await form.settled()
    house.log.down = True
    await form.send(END).end().answer()
    assert form.told == (503, "log-unavailable")
    (key,) = await house.store.keys("")
    assert await house.ledger.expire_due(grace=timedelta(0)) == [UUID(key.split("/")[1])]


async def test_a_form_is_sealed_with_its_photos_and_each_is_ordered_once(house: House) -> None:
    form = await house.form(
        file(photo(64, 48)), file(b"no photo"), file(photo(64, 48, seed=2)), GREY, END
    ).answer()
    assert (form.json["state"], form.json["total"]) == ("rendering", 3)
    assert [event.n for event in house.log.events(UPLOADS)] == [0, 2]
    assert await state_of(house, form) is JobState.RENDERING


async def test_a_form_that_fails_alone_leaves_no_job(house: House) -> None:
    first = house.form(file(photo(64, 48)), GREY, key=KEY)
    await first.settled()
    await first.leave().answer()
    again = await house.form(file(photo(64, 48)), GREY, END, key=KEY).answer()
    assert again.status == 202
    assert len(await house.ledger.expire_due(grace=house.settings.job.grace)) == 1


# Photo by photo


async def opened(house: House) -> str:
    answer = await house.form(GREY, END).answer()
    return f"/jobs/{answer.json['job_id']}"


@pytest.mark.parametrize("n", ["-1", "1_0", "+1", "01", "1.0", " 1", "٣", "2147483648", "9" * 30])
async def test_a_number_that_is_not_plain_is_refused_before_anything_is_stored(house: House, n: str) -> None:
    job = await opened(house)
    refused = await house.visit("PUT", f"{job}/photos/{n}", photo(64, 48)).answer()
    assert refused.told in {(422, "invalid-number"), (413, "too-many-files")}
    assert await house.store.keys("") == []
    unknown = await house.visit("GET", f"{job}/photos/{n}", b"").answer()
    assert unknown.told == (404, "unknown-photo")


async def test_plain_numbers_are_places(house: House) -> None:
    job = await opened(house)
    last = house.settings.job.files - 1
    for n in (0, 10, last):
        answer = await house.visit("PUT", f"{job}/photos/{n}", photo(64, 48)).answer()
        assert (answer.status, answer.json["n"]) == (201, n)
    beyond = await house.visit("PUT", f"{job}/photos/{last + 1}", photo(64, 48)).answer()
    assert beyond.told == (413, "too-many-files")


# Uploads that take too long


def hurried(**job: timedelta) -> House:
    return House(Settings(job=Job(**job)))


@pytest.mark.parametrize("deadline", [timedelta(0), timedelta(milliseconds=100)])
async def test_a_form_is_cut_off_at_the_upload_deadline_whether_it_hangs_or_flows(
    deadline: timedelta,
) -> None:
    house = hurried(upload_deadline=deadline)
    form = house.form(file(photo(64, 48)), GREY)
    await form.answer()
    assert form.told == (408, "upload-deadline")
    due = await house.ledger.expire_due(grace=timedelta(0))
    assert all(UUID(key.split("/")[1]) in due for key in await house.store.keys(""))


async def test_a_photo_is_cut_off_at_the_deadline_of_its_job_not_at_one_of_its_own() -> None:
    house = hurried(upload_deadline=timedelta(minutes=30))
    job = await opened(house)
    house.now += timedelta(minutes=30) - timedelta(milliseconds=100)
    answer = await house.visit("PUT", f"{job}/photos/0").send(photo(64, 48)).answer()
    assert answer.told == (408, "upload-deadline")
    assert await house.store.keys("") == []


async def delete_fully(house: House, job: UUID) -> None:
    """Delete all a job has, see it gone twice."""
    expirer = Expirer(house.ledger, house.store, house.log, quiet=house.settings.job.quiet)
    for _ in range(3):
        for due in await house.ledger.expire_due(grace=timedelta(0)):
            await expirer.handle(ExpireJob(job=due))
        house.now += timedelta(minutes=5)
    assert await house.store.keys(job_prefix(job)) == []


async def deleted_while_it_is_sent(house: House) -> tuple[Visit, UUID]:
    """A form under way whose job another request was answered, and had deleted and verified."""
    form = house.form(file(photo(64, 48)), field("ratio", ""), key=KEY)
    await form.settled()
    repeat = await house.form(GREY, END, key=KEY).answer()
    row = await house.ledger.find_job(token_hash(repeat.json["job_id"]))
    assert row is not None
    deleted = await house.visit("DELETE", f"/jobs/{repeat.json['job_id']}", b"").answer()
    assert (repeat.status, deleted.status) == (202, 204)
    await delete_fully(house, row.id)
    return form, row.id


async def test_what_a_form_wrote_into_a_deleted_job_is_deleted_when_the_form_ends() -> None:
    house = House()
    form, job = await deleted_while_it_is_sent(house)
    form.send(file(photo(64, 48, seed=2))).send(GREY)
    await form.settled()
    assert len(await house.store.keys(job_prefix(job))) == 1
    await form.send(END).end().answer()
    assert form.told == (409, "job-gone")
    await delete_fully(house, job)


async def test_a_form_stops_writing_into_a_deleted_job_before_it_is_verified() -> None:
    house = hurried(quiet=timedelta(0))
    form, job = await deleted_while_it_is_sent(house)
    await form.send(file(photo(64, 48, seed=2))).send(END).end().answer()
    assert form.told == (409, "job-gone")
    assert await house.store.keys(job_prefix(job)) == []


# Places for uploads


def crowded(**http: object) -> House:
    values = {"uploads": 4, "uploads_per_client": 2, "chunk_timeout": timedelta(seconds=30)} | http
    return House(Settings(http=msgspec.convert(values, Http)))


async def test_one_client_cannot_hold_the_places_of_all() -> None:
    house = crowded()
    held = [house.form(field("a", "b")) for _ in range(2)]
    for form in held:
        await form.settled()
    third = await house.form(file(photo(64, 48)), GREY, END).answer()
    other = await house.form(file(photo(64, 48)), GREY, END, client="192.0.2.2").answer()
    assert third.told == (429, "too-many-uploads")
    assert int(third.headers["retry-after"]) >= 1
    assert other.status == 202
    for form in held:
        await form.leave().answer()
    assert (await house.form(file(photo(64, 48)), GREY, END).answer()).status == 202


async def test_the_addresses_of_one_ipv6_network_are_one_client() -> None:
    house = crowded()
    for n in range(2):
        await house.form(field("a", "b"), client=f"2001:db8::{n}:1").settled()
    again = await house.form(file(photo(64, 48)), GREY, END, client="2001:db8::ffff").answer()
    other = await house.form(file(photo(64, 48)), GREY, END, client="2001:db8:0:1::1").answer()
    assert (again.told, other.status) == ((429, "too-many-uploads"), 202)


async def test_a_refused_upload_gives_its_place_back_before_the_rest_of_it_comes() -> None:
    house = crowded(uploads=1)
    refused = house.form(file(photo(64, 48), of="other"), GREY)
    await refused.settled()
    assert (await house.form(file(photo(64, 48)), GREY, END).answer()).status == 202
    await refused.send(bytes(1000)).end().answer()
    assert refused.told == (422, "unknown-field")


async def test_an_upload_that_trickles_is_given_up() -> None:
    house = crowded(chunk_timeout=timedelta(milliseconds=50), upload_rate=100_000)
    form = house.form(b"--x\r\n")
    async with asyncio.timeout(20):
        while not form.status:
            form.send(b"x")
            await asyncio.sleep(0.01)
    assert form.told == (408, "upload-too-slow")


async def test_many_text_fields_are_too_much_together() -> None:
    fields = [field(f"text{n}", "x" * 60_000) for n in range(4)]
    answer = await House().form(*fields, END).answer()
    assert answer.told == (413, "form-too-large")


async def test_few_large_originals_are_in_memory_at_once(house: House) -> None:
    under_way, most = 0, 0

    class Slow(MemoryStore):
        async def put(self, key: str, data: bytes | Path) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            await super().put(key, data)
            under_way -= 1

    door = Door(house.ledger, Slow(), house.log, house.settings)
    large = photo(64, 48) + bytes(300_000)

    async def keep(n: int) -> None:
        with Spool("", 10**6) as spool:
            spool.write(large)
            await door.keep_original(UUID(int=1), n, "a.jpg", spool)

    await asyncio.gather(*(keep(n) for n in range(20)))
    assert 0 < most <= 4


# What is refused stores nothing


class Meeting(MemoryStore):
    """Lets no original in before so many stand at the door."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._barrier = asyncio.Barrier(size)

    async def put(self, key: str, data: bytes | Path) -> None:
        async with asyncio.timeout(20):
            await self._barrier.wait()
        await super().put(key, data)


async def put(house: House, job: str, n: int, content: bytes) -> tuple[int, str | None]:
    return (await house.visit("PUT", f"{job}/photos/{n}", content).answer()).told


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_place_keeps_one_photo_and_the_store_one_original(*, at_once: bool) -> None:
    house = House(store=Meeting(6 if at_once else 1))
    job = await opened(house)
    bodies = [photo(64, 48, seed=seed) for seed in range(6)]
    if at_once:
        told = await asyncio.gather(*(put(house, job, 0, body) for body in bodies))
    else:
        told = [await put(house, job, 0, body) for body in bodies]
    assert sorted(told, key=str) == [(201, None), *[(409, "photo-exists")] * 5]
    (key,) = await house.store.keys("")
    assert await house.store.get(key) == bodies[told.index((201, None))]


async def test_the_same_photo_again_is_accepted_and_stored_once(house: House) -> None:
    job = await opened(house)
    told = await asyncio.gather(*(put(house, job, 0, photo(64, 48)) for _ in range(4)))
    assert told == [(201, None)] * 4
    assert await put(house, job, 0, photo(64, 48)) == (201, None)
    assert len(await house.store.keys("")) == 1


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_job_holds_no_more_bytes_than_it_may_however_they_come(*, at_once: bool) -> None:
    size = len(photo(64, 48))
    house = House(Settings(job=Job(bytes=2 * size + size // 2)), Meeting(6 if at_once else 1))
    job = await opened(house)
    if at_once:
        told = await asyncio.gather(*(put(house, job, n, photo(64, 48)) for n in range(6)))
    else:
        told = [await put(house, job, n, photo(64, 48)) for n in range(6)]
    assert sorted(told, key=str) == [(201, None)] * 2 + [(413, "job-too-large")] * 4
    assert len(await house.store.keys("")) == 2


async def test_a_photo_that_comes_after_the_seal_or_the_end_stores_nothing(house: House) -> None:
    job = await opened(house)
    assert await put(house, job, 0, photo(64, 48)) == (201, None)
    late = house.visit("PUT", f"{job}/photos/1").send(photo(64, 48))
    lost = house.visit("PUT", f"{job}/photos/2").send(photo(64, 48))
    await late.settled()
    await lost.settled()
    await house.visit(
        "POST", f"{job}/seal", b'{"total": 1}', headers={"content-type": "application/json"}
    ).answer()
    await late.end().answer()
    await house.visit("DELETE", job, b"").answer()
    await lost.end().answer()
    assert (late.told, lost.told) == ((409, "job-sealed"), (409, "job-gone"))
    assert len(await house.store.keys("")) == 1


async def test_who_opens_job_after_job_waits_and_others_do_not() -> None:
    house = House(Settings(http=Http(jobs_per_minute=3)))
    told = [(await house.form(GREY, END).answer()).status for _ in range(3)]
    refused = await house.form(GREY, END).answer()
    assert (told, refused.told) == ([202] * 3, (429, "too-many-jobs"))
    assert 15 <= int(refused.headers["retry-after"]) <= 20
    assert (await house.form(GREY, END, client="192.0.2.2").answer()).status == 202


async def test_who_is_refused_takes_no_room_from_others() -> None:
    house = House(Settings(http=Http(jobs_per_minute=3, backlog_jobs=5)))
    told = [(await house.form(GREY, END).answer()).status for _ in range(9)]
    assert told == [202] * 3 + [429] * 6
    for _ in range(4):
        wrong = await house.form(field("operations", "nonsense"), END, client="192.0.2.2").answer()
        assert wrong.status in {422, 429}
    assert (await house.form(GREY, END, client="192.0.2.3").answer()).status == 202


# Room


async def test_nothing_is_read_when_the_disk_has_no_room_to_spare() -> None:
    house = House(Settings(http=Http(spool_free=2**62)))
    form = house.form(file(photo(64, 48)), GREY, END)
    assert (await form.answer()).told == (503, "storage-full")
    assert int(form.headers["retry-after"]) >= 1
    assert await house.store.keys("") == []


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process may grow beyond a mebibyte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024**2, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_disk")
async def test_an_upload_that_fills_the_disk_is_told_so_and_leaves_no_file(tmp_path: Path) -> None:
    house = House(Settings(http=Http(spool=str(tmp_path), spool_free=0)))
    large = photo(64, 48) + bytes(2 * 1024**2)
    form = await house.form(file(large), GREY, END).answer()
    job = await opened(house)
    single = await put(house, job, 0, large)
    assert (form.told, single) == ((503, "storage-full"), (503, "storage-full"))
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - pathlib's way would block, too
    assert await put(house, job, 0, photo(64, 48)) == (201, None)


async def test_a_spool_whose_folder_is_gone_is_no_fault_of_the_sender(tmp_path: Path) -> None:
    house = House(Settings(http=Http(spool=str(tmp_path / "gone"), spool_free=0)))
    form = await house.form(file(photo(64, 48) + bytes(300_000)), GREY, END).answer()
    assert form.told == (503, "storage-full")


async def test_a_form_is_refused_while_the_backlog_is_full() -> None:
    house = House(Settings(http=Http(backlog=1)))
    job = await opened(house)
    row = await house.ledger.find_job(token_hash(job.removeprefix("/jobs/")))
    assert row is not None
    fresh = House(house.settings, ledger=house.ledger)
    await house.ledger.add_photos(
        row.id, [NewPhoto(n=0, name="", size=1, sha256=b"")], stale=timedelta(minutes=1)
    )
    refused = await fresh.form(file(photo(64, 48)), GREY, END).answer()
    assert refused.told == (503, "backlog-full")
    assert int(refused.headers["retry-after"]) == 30
    assert await put(fresh, job, 1, photo(64, 48)) == (503, "backlog-full")


# Seals


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{}", "`total`"),
        (b'{"total": "3"}', "$.total"),
        (b'{"total": 0}', "$.total"),
        (b'{"total": 1e40}', "$.total"),
        (b'{"total": 2147483648}', "$.total"),
        (b"", "total"),
        (b"[]", "object"),
        (b'{"total": \xff}', "total"),
    ],
)
async def test_a_seal_that_is_wrong_says_what_is(house: House, body: bytes, words: str) -> None:
    job = await opened(house)
    answer = await house.visit("POST", f"{job}/seal", body).answer()
    assert answer.told == (422, "invalid-seal")
    assert words in answer.json["detail"]
    assert answer.json["detail"].endswith(".")


async def test_a_seal_is_short_and_comes_at_once() -> None:
    house = House(Settings(http=Http(chunk_timeout=timedelta(milliseconds=50))))
    job = await opened(house)
    long = await house.visit("POST", f"{job}/seal", bytes(5000)).answer()
    slow = await house.visit("POST", f"{job}/seal").send(b"{").answer()
    assert (long.told, slow.told) == ((413, "body-too-large"), (408, "upload-too-slow"))
