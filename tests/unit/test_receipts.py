"""Receipts over HTTP: true at every step of a job's end, readable for weeks, silent on all else."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from ebbmark.errors import Unavailable
from ebbmark.events import ExpireJob
from ebbmark.ledger.proofs import Audited
from ebbmark.store import Deleted, result_key
from ebbmark.testing import MemoryLedger, MemoryStore
from ingest.tokens import encode, new_token, receipt_id, token_hash
from janitor.expire import Expirer
from tests.people import photo
from tests.unit.test_pages import Seen
from tests.unit.visits import END, House, field, file

# What will be spelt otherwise in Litestar 3.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PAGE = {"accept": "text/html"}
NAME = "very personal name"


class LastAct(MemoryStore):
    """Takes the ledger down with it when it has deleted something, if a test says so."""

    takes_down: MemoryLedger | None = None

    async def delete_prefix(self, prefix: str) -> Deleted:
        deleted = await super().delete_prefix(prefix)
        if self.takes_down is not None:
            self.takes_down.down = True
        return deleted


class Owner:
    """Who sent a job, and a janitor to end it."""

    def __init__(self) -> None:
        self.store = LastAct()
        self.house = House(store=self.store)
        settings = self.house.settings.job
        self.expirer = Expirer(self.house.ledger, self.house.store, self.house.log, quiet=settings.quiet)
        self.quiet = settings.quiet
        self.photo = photo(64, 48)
        self.address = ""
        self.receipt_url = ""
        self.job = UUID(int=0)

    async def send(self) -> None:
        parts = (file(self.photo, f"{NAME}.jpg"), field("operations", "grayscale"), END)
        accepted = (await self.house.form(*parts).answer()).json
        self.address = accepted["status_url"]
        status = await self.get(self.address)
        assert status["receipt_url"] == f"/receipts/{status['receipt_id']}"
        self.receipt_url = status["receipt_url"]
        row = await self.house.ledger.find_job(token_hash(accepted["job_id"]))
        assert row is not None
        self.job = row.id

    async def get(self, path: str) -> dict[str, Any]:
        answer = await self.house.visit("GET", path, b"").answer()
        assert answer.status == 200, answer.body
        return answer.json

    async def receipt(self) -> dict[str, Any]:
        return await self.get(self.receipt_url)

    async def page(self, path: str) -> tuple[int, Seen, str]:
        answer = await self.house.visit("GET", path, b"", headers=PAGE).answer()
        return answer.status, Seen(answer.body.decode()), answer.body.decode()

    async def delete(self) -> None:
        assert (await self.house.visit("DELETE", self.address, b"").answer()).status == 204

    async def expire(self) -> None:
        await self.expirer.handle(ExpireJob(job=self.job))


@pytest.fixture
async def owner() -> Owner:
    owner = Owner()
    await owner.send()
    return owner


async def test_a_receipt_tells_the_truth_at_every_step(owner: Owner) -> None:
    house, counts = owner.house, ("originals", "results", "objects", "bytes")
    living = await owner.receipt()
    assert (living["state"], living["links_die_at"], living["deleted_at"]) == ("living", None, None)
    await house.store.put_new(result_key(owner.job, 0, 0), b"12345", {})
    await owner.delete()
    ending = await owner.receipt()
    assert (ending["state"], ending["deleted_at"], ending["objects"]) == ("ending", None, 0)
    assert ending["links_die_at"] is not None
    await owner.expire()
    deleted = await owner.receipt()
    assert (deleted["state"], deleted["verified_at"]) == ("deleted", None)
    assert deleted["deleted_at"] is not None
    assert [deleted[count] for count in counts] == [1, 1, 2, len(owner.photo) + 5]
    house.now += owner.quiet
    await owner.expire()
    verified = await owner.receipt()
    assert (verified["state"], verified["audited_at"]) == ("verified", None)
    assert verified["verified_at"] > verified["deleted_at"]
    assert [verified[count] for count in counts] == [1, 1, 2, len(owner.photo) + 5]
    house.now += timedelta(minutes=1)
    await house.ledger.proofs.audited(Audited(started_at=house.now, objects=0, bytes=0, findings=0))
    assert (await owner.receipt())["audited_at"] > verified["verified_at"]


async def test_a_deletion_that_was_cut_off_is_told_whole_when_it_is_done(owner: Owner) -> None:
    house, whole = owner.house, len(owner.photo)
    await owner.delete()
    owner.store.takes_down = house.ledger
    with pytest.raises(Unavailable):
        await owner.expire()
    assert await house.store.keys("") == []
    owner.store.takes_down, house.ledger.down = None, False
    assert (await owner.receipt())["state"] == "ending"
    await owner.expire()
    deleted = await owner.receipt()
    assert (deleted["state"], deleted["originals"], deleted["bytes"]) == ("deleted", 1, whole)


async def test_two_janitors_at_once_are_counted_as_one(owner: Owner) -> None:
    await owner.delete()
    await asyncio.gather(*(owner.expire() for _ in range(4)))
    assert (await owner.receipt())["objects"] == 1


async def test_a_receipt_outlives_its_job_and_ends_with_the_tombstone(owner: Owner) -> None:
    await owner.delete()
    await owner.expire()
    assert (await owner.house.visit("GET", owner.address, b"").answer()).told == (404, "unknown-job")
    tombstone = owner.house.settings.job.tombstone
    owner.house.now += tombstone - timedelta(seconds=1)
    await owner.house.ledger.forget(tombstone=tombstone)
    assert (await owner.receipt())["originals"] == 1
    owner.house.now += timedelta(seconds=2)
    await owner.house.ledger.forget(tombstone=tombstone)
    assert (await owner.house.visit("GET", owner.receipt_url, b"").answer()).told == (404, "unknown-receipt")


@pytest.mark.parametrize("state", ["living", "ended"])
async def test_a_receipt_holds_no_names_and_leads_to_nothing(owner: Owner, state: str) -> None:
    if state == "ended":
        await owner.delete()
        await owner.expire()
    token = owner.address.rpartition("/")[2]
    answer = await owner.house.visit("GET", owner.receipt_url, b"").answer()
    status, _, page = await owner.page(owner.receipt_url)
    assert status == 200
    for text in (answer.body.decode(), page):
        for secret in (NAME, "grayscale", token, str(owner.job)):
            assert secret not in text
    assert (answer.headers["cache-control"], answer.headers["x-robots-tag"]) == (
        "private, no-store",
        "noindex",
    )
    as_job = owner.receipt_url.replace("/receipts/", "/jobs/")
    assert (await owner.house.visit("GET", as_job, b"").answer()).told == (404, "unknown-job")
    as_receipt = owner.address.replace("/jobs/", "/receipts/")
    assert (await owner.house.visit("GET", as_receipt, b"").answer()).told == (404, "unknown-receipt")


async def test_people_read_it_as_a_page_and_find_it_wherever_they_look(owner: Owner) -> None:
    async def links(status: int) -> list[str | None]:
        seen_status, seen, _ = await owner.page(owner.address)
        assert seen_status == status
        return [each["href"] for each in seen.all("a") if "receipt" in (each["href"] or "")]

    assert await links(200) == [owner.receipt_url]
    assert "still here" in (await owner.page(owner.receipt_url))[2]
    await owner.delete()
    assert await links(410) == [owner.receipt_url]
    assert "not verified yet" in (await owner.page(owner.receipt_url))[2]
    await owner.expire()
    assert await links(404) == [owner.receipt_url]
    _, seen, page = await owner.page(owner.receipt_url)
    assert "will be listed once more" in page
    assert f"1, {len(owner.photo)} bytes" in seen.text


async def test_a_page_of_no_job_names_a_receipt_all_the_same_so_that_nobody_learns_which_it_is(
    owner: Owner,
) -> None:
    unknown = encode(new_token())
    _, seen, _ = await owner.page(f"/jobs/{unknown}")
    assert f"/receipts/{receipt_id(unknown)}" in [each["href"] for each in seen.all("a")]


@pytest.mark.parametrize("path", ["x", "A" * 22, "A" * 21 + "é", "A" * 500, "%00" * 8])
async def test_what_is_no_receipt_is_unknown(owner: Owner, path: str) -> None:
    answer = await owner.house.visit("GET", f"/receipts/{path}", b"").answer()
    assert answer.told == (404, "unknown-receipt")
