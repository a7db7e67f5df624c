"""What comes in over HTTP, and what a request that fails leaves behind."""

import asyncio

import pytest

from ebbmark.states import JobState
from ebbmark.topics import UPLOADS
from ingest.tokens import token_hash
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
