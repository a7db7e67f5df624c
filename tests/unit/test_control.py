"""What an owner may do with a sealed job over HTTP: retry what failed, cancel what waits."""

import json
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from ebbmark.ledger import JobRow, Outcome, PhotoRow, Wanted
from ebbmark.states import JobState, PhotoState
from ebbmark.topics import UPLOADS
from ingest.remedies import retryable
from ingest.tokens import token_hash
from tests.people import photo
from tests.unit.visits import END, FORM, House, Visit, field, file

HOUR = timedelta(hours=1)
JSON = {"content-type": "application/json"}
URLENCODED = {"content-type": "application/x-www-form-urlencoded"}
BROWSER = {"accept": "text/html", "sec-fetch-site": "same-origin"}


class Owner:
    """Somebody with a sealed job of photos; `n` of them is photo `n`."""

    def __init__(self, house: House, url: str, job: UUID) -> None:
        self.house = house
        self.url = url
        self.job = job

    async def ask(self, path: str, body: object = None, **headers: str) -> Visit:
        sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = {} if body is None or "content-type" in headers else JSON
        return await self.house.visit(
            "POST", f"{self.url}/{path}", sent, headers={**kind, **headers}
        ).answer()

    async def ended(self, *codes: str | None, epoch: int = 0) -> None:
        """Have the first photos end so, None for done."""
        wanted = [Wanted(job=self.job, n=n, epoch=epoch) for n in range(len(codes))]
        claims = await self.house.ledger.claim(wanted, claimant=uuid4(), lease=HOUR, strikes=5)
        outcomes = [
            Outcome(
                job=each.job,
                n=each.n,
                epoch=each.epoch,
                fence=each.fence,
                code=codes[each.n],
                detail=codes[each.n] and "It went wrong.",
            )
            for each in claims
        ]
        await self.house.ledger.finish(outcomes, ttl=HOUR)

    async def row(self) -> JobRow:
        row = await self.house.ledger.read_job(self.job)
        assert row is not None
        return row

    async def states(self) -> list[tuple[PhotoState, str | None]]:
        snapshot = await self.house.ledger.snapshot(self.job)
        assert snapshot is not None
        return [(row.state, row.code) for row in snapshot.photos]

    def ordered(self) -> list[tuple[int, int]]:
        """Photos and epochs that were ordered after the upload."""
        return [(each.n, each.epoch) for each in self.house.log.events(UPLOADS) if each.epoch]


@pytest.fixture
def house() -> House:
    return House()


async def owner_of(house: House, *files: bytes) -> Owner:
    parts = [file(content, f"{n}.jpg") for n, content in enumerate(files)]
    sent = await house.form(*parts, field("operations", "grayscale"), END).answer()
    assert sent.status == 202
    job = await house.ledger.find_job(token_hash(sent.json["job_id"]))
    assert job is not None
    return Owner(house, sent.json["status_url"], job.id)


@pytest.fixture
async def owner(house: House) -> Owner:
    """Three photos, and a text that is none."""
    return await owner_of(house, *(photo(64, 48, seed=n) for n in range(3)), b"no photo")


# Retry


async def test_what_failed_goes_round_again_and_is_ordered(owner: Owner) -> None:
    await owner.ended(None, "poison", "deadline")
    answer = await owner.ask("retry")
    assert (answer.status, answer.json["state"], answer.json["failed"]) == (202, "rendering", 1)
    assert [each["state"] for each in answer.json["photos"]] == ["done", "queued", "queued", "failed"]
    assert owner.ordered() == [(1, 1), (2, 1)]
    assert (answer.headers["location"], answer.json["expires_at"]) == (owner.url, None)


async def test_without_numbers_only_what_may_fare_better_is_retried(owner: Owner) -> None:
    await owner.ended("corrupt", "poison", None)
    await owner.ask("retry")
    assert owner.ordered() == [(1, 1)]


async def test_a_preset_may_be_asked_for_and_changed(owner: Owner) -> None:
    await owner.ended("poison", None, None)
    answer = await owner.ask("retry", {"preset": "web-proof", "text": "MINE", "operations": "grayscale"})
    assert answer.status == 202
    steps = json.loads((await owner.row()).recipe or b"")["operations"]
    assert [each["operation"] for each in steps] == ["resize", "grayscale", "watermark", "convert"]
    assert steps[2]["text"] == "MINE"
    refused = await owner.ask("retry", {"preset": "nobody"})
    assert refused.told == (422, "unknown-preset")


async def test_what_is_named_is_retried_whatever_failed_it(owner: Owner) -> None:
    await owner.ended("corrupt", "poison", "poison")
    answer = await owner.ask("retry", {"photos": [0, 2]})
    assert (answer.status, owner.ordered()) == (202, [(0, 1), (2, 1)])


async def test_what_was_cancelled_comes_back_only_by_name(owner: Owner) -> None:
    await owner.ended(None, "poison")
    await owner.ask("photos/2/cancel")
    await owner.ask("retry")
    assert owner.ordered() == [(1, 1)]
    answer = await owner.ask("retry", {"photos": [2]})
    assert (answer.status, owner.ordered()) == (202, [(1, 1), (2, 1)])


@pytest.mark.parametrize("body", [None, {"photos": [3]}], ids=["all", "the refused one"])
async def test_what_has_no_original_cannot_be_retried(owner: Owner, body: object) -> None:
    await owner.ended(None, None, None)
    answer = await owner.ask("retry", body)
    assert answer.told == (409, "nothing-to-retry")
    assert (await owner.row()).state is JobState.COMPLETE


async def test_to_ask_twice_is_to_ask_once(owner: Owner) -> None:
    await owner.ended(None, "poison", "poison")
    first, second = await owner.ask("retry"), await owner.ask("retry")
    assert (first.status, second.status) == (202, 202)
    assert (owner.ordered(), (await owner.row()).epoch) == ([(1, 1), (2, 1)], 1)


async def test_photos_that_are_in_their_first_round_are_nothing_to_retry(owner: Owner) -> None:
    assert (await owner.ask("retry")).told == (409, "nothing-to-retry")


async def test_an_open_job_is_told_to_seal_first(house: House) -> None:
    opened = await house.form(field("operations", "grayscale"), END).answer()
    job = await house.ledger.find_job(token_hash(opened.json["job_id"]))
    assert job is not None
    answer = await Owner(house, opened.json["status_url"], job.id).ask("retry")
    assert answer.told == (409, "nothing-to-retry")
    assert "seal" in answer.json["detail"]


async def test_a_number_that_no_photo_has_is_unknown(owner: Owner) -> None:
    await owner.ended(None, "poison", None)
    assert (await owner.ask("retry", {"photos": [1, 9]})).told == (404, "unknown-photo")
    assert owner.ordered() == []


async def test_a_job_is_retried_as_long_as_it_is_young(owner: Owner) -> None:
    house = owner.house
    for epoch in range(7):
        await owner.ended("poison", None, None, epoch=epoch)
        house.now += timedelta(minutes=59)
        answer = await owner.ask("retry")
        if answer.status != 202:
            break
    assert answer.told == (409, "too-late-to-retry")
    assert epoch == 6  # after six hours, by default
    assert (await owner.row()).live


@pytest.mark.parametrize(
    "recipe",
    [
        {"recipe": {"operations": [{"operation": "blur", "radius": 0.02}]}},
        {"operations": "blur", "radius": 0.02},
        {"operations": ["blur"], "radius": "0.02", "photos": [1]},
    ],
    ids=["recipe", "short form", "short form with photos"],
)
async def test_other_options_are_taken_for_what_is_rendered_from_now_on(owner: Owner, recipe: object) -> None:
    await owner.ended(None, "poison", None)
    assert (await owner.ask("retry", recipe)).status == 202
    wanted = json.loads((await owner.row()).recipe or b"")
    assert wanted == {"operations": [{"operation": "blur", "radius": 0.02}]}
    assert (await owner.states())[0] == (PhotoState.DONE, None)


async def test_other_options_wait_until_all_photos_have_ended(owner: Owner) -> None:
    await owner.ended(None, "poison")
    answer = await owner.ask("retry", {"operations": "blur"})
    assert answer.told == (409, "photos-under-way")
    assert b"grayscale" in ((await owner.row()).recipe or b"")
    same = await owner.ask("retry", {"operations": "grayscale"})
    assert (same.status, owner.ordered()) == (202, [(1, 1)])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", (422, "invalid-retry")),
        (b"[]", (422, "invalid-retry")),
        (b'{"photos": 1.5}', (422, "invalid-retry")),
        (b'{"photos": [-1]}', (422, "invalid-retry")),
        (b'{"photos": ["\xd9\xa3"]}', (422, "invalid-retry")),
        (b'{"photos": [[1]]}', (422, "invalid-retry")),
        (b'{"photos": "' + b"9" * 5000 + b'"}', (422, "invalid-retry")),
        (b'{"photos": ' + b"[" * 60_000, (422, "invalid-retry")),
        (b'{"width": 3}', (422, "no-operations")),
        (b'{"width": []}', (422, "invalid-retry")),
        (b'{"operations": []}', (422, "invalid-retry")),
        (b'{"operations": "burnish"}', (422, "unknown-operation")),
        (b'{"recipe": {"operations": 1}}', (422, "invalid-recipe")),
        (b'{"operations": "watermark", "logo": true}', (422, "missing-logo")),
        (b" " * 70_000, (413, "body-too-large")),
    ],
)
async def test_a_retry_that_says_nothing_we_know_is_refused(
    owner: Owner, body: bytes, told: tuple[int, str]
) -> None:
    await owner.ended(None, "poison", None)
    assert (await owner.ask("retry", body, **JSON)).told == told
    assert owner.ordered() == []


async def test_a_plain_form_leads_back_to_the_page(owner: Owner) -> None:
    await owner.ended("poison", "poison", "poison")
    answer = await owner.ask("retry", b"photos=0,2", **URLENCODED, **BROWSER)
    assert (answer.status, answer.headers["location"]) == (303, owner.url)
    assert owner.ordered() == [(0, 1), (2, 1)]


async def test_the_form_of_the_options_page_retries_with_what_is_chosen(owner: Owner) -> None:
    await owner.ended("poison", None, None)
    page = await owner.house.visit("GET", f"{owner.url}/retry", b"", headers=BROWSER).answer()
    assert (page.status, "Retry with other options" in page.body.decode()) == (200, True)
    form = field("operations", "blur") + field("radius", "0.03") + field("width", "77") + END
    answer = await owner.ask("retry", form, **{"content-type": FORM}, **BROWSER)
    assert answer.status == 303
    wanted = json.loads((await owner.row()).recipe or b"")
    assert wanted == {"operations": [{"operation": "blur", "radius": 0.03}]}


async def test_the_first_of_several_marks_carries_the_logo_unless_the_form_says_which(owner: Owner) -> None:
    await owner.ended("poison", None, None)
    two = field("operations", "watermark,watermark") + field("watermark.2.text", "PROOF")
    sent = two + file(photo(32, 32), "logo.png", of="logo") + END
    assert (await owner.ask("retry", sent, **{"content-type": FORM})).status == 202
    assert [step["logo"] for step in json.loads((await owner.row()).recipe or b"")["operations"]] == [
        True,
        False,
    ]
    await owner.ended("poison", epoch=1)
    other = two + field("watermark.text", "me") + field("watermark.2.logo", "true")
    sent = other + file(photo(32, 32), "logo.png", of="logo") + END
    assert (await owner.ask("retry", sent, **{"content-type": FORM})).status == 202
    assert [step["logo"] for step in json.loads((await owner.row()).recipe or b"")["operations"]] == [
        False,
        True,
    ]


async def test_another_logo_comes_with_the_form_and_stays_for_the_next_one(owner: Owner) -> None:
    await owner.ended("poison", None, None)
    marked = field("operations", "watermark") + field("text", "me")
    first = marked + file(photo(32, 32), "logo.png", of="logo") + END
    assert (await owner.ask("retry", first, **{"content-type": FORM}, **BROWSER)).status == 303
    kept = (await owner.row()).logo_sha256
    assert kept is not None
    assert await owner.house.store.get(f"jobs/{owner.job}/logo-{kept[:8].hex()}") == photo(32, 32)
    await owner.ended("poison", epoch=1)
    second = marked + field("keep_logo", "true") + END
    assert (await owner.ask("retry", second, **{"content-type": FORM}, **BROWSER)).status == 303
    assert b'"logo":true' in ((await owner.row()).recipe or b"")
    await owner.ended("poison", epoch=2)
    without = marked + END
    assert (await owner.ask("retry", without, **{"content-type": FORM}, **BROWSER)).status == 303
    assert b'"logo":false' in ((await owner.row()).recipe or b"")


async def test_a_retry_brings_no_photos(owner: Owner) -> None:
    await owner.ended("poison", None, None)
    form = file(photo(64, 48)) + END
    assert (await owner.ask("retry", form, **{"content-type": FORM})).told == (422, "unknown-field")


async def test_what_the_log_does_not_take_the_janitor_orders(owner: Owner) -> None:
    await owner.ended("poison", None, None)
    owner.house.log.down = True
    assert (await owner.ask("retry")).status == 202
    owner.house.now += timedelta(minutes=2)
    assert [(each.n, each.epoch) for each in await owner.house.ledger.overdue(limit=9)] == [(0, 1)]


async def test_another_site_can_neither_retry_nor_cancel(owner: Owner) -> None:
    await owner.ended(None, "poison")
    for path in ("retry", "cancel", "photos/2/cancel"):
        answer = await owner.ask(path, **{"sec-fetch-site": "cross-site"})
        assert answer.told == (403, "cross-site")
    assert [state for state, _ in await owner.states()] == ["done", "failed", "queued", "failed"]


@pytest.mark.parametrize("path", ["retry", "cancel", "photos/0/cancel"])
async def test_a_job_that_is_gone_is_neither_retried_nor_cancelled(owner: Owner, path: str) -> None:
    await owner.ended("poison", "poison", "poison")
    await owner.house.ledger.expire_now(owner.job)
    assert (await owner.ask(path)).told == (410, "job-expired")


async def test_retries_count_as_jobs_for_a_client(owner: Owner) -> None:
    await owner.ended("poison", None, None)
    limit = owner.house.settings.http.jobs_per_minute
    told = [(await owner.ask("retry", {"photos": [0]})).status for _ in range(limit)]
    assert told == [202] * (limit - 1) + [429], "the first was spent on the job itself"
    owner.house.now += timedelta(seconds=60 / limit)
    assert (await owner.ask("retry", {"photos": [0]})).status == 202


# Cancel


async def test_a_waiting_photo_is_cancelled_by_its_number(owner: Owner) -> None:
    answer = await owner.ask("photos/1/cancel")
    assert (answer.status, answer.json["photos"][1]["code"]) == (202, "cancelled")
    assert (answer.json["failed"], answer.json["state"]) == (2, "rendering")
    assert (await owner.ask("photos/1/cancel")).status == 202
    assert (await owner.row()).failed == 2


async def test_what_is_left_is_cancelled_and_the_job_is_complete(owner: Owner) -> None:
    await owner.ended(None)
    answer = await owner.ask("cancel")
    assert (answer.status, answer.json["state"]) == (202, "complete")
    assert (answer.json["done"], answer.json["failed"], answer.json["total"]) == (1, 3, 4)
    assert (await owner.ask("cancel")).status == 202


async def test_what_has_ended_otherwise_is_not_cancelled(owner: Owner) -> None:
    await owner.ended(None, "poison")
    for n in (0, 1, 3):
        assert (await owner.ask(f"photos/{n}/cancel")).told == (409, "photo-ended")
    for n in ("9", "01"):
        assert (await owner.ask(f"photos/{n}/cancel")).told == (404, "unknown-photo")


async def test_a_form_to_cancel_leads_back_to_the_page(owner: Owner) -> None:
    for path in ("photos/0/cancel", "cancel"):
        answer = await owner.ask(path, b"", **URLENCODED, **BROWSER)
        assert (answer.status, answer.headers["location"]) == (303, owner.url)
    assert {state for state, _ in await owner.states()} == {PhotoState.FAILED}


# What the status says of failed photos


@pytest.mark.parametrize("size", [0, 1])
def test_without_an_original_no_code_is_worth_a_retry(size: int) -> None:
    row = PhotoRow(
        n=0,
        name="a.jpg",
        state=PhotoState.FAILED,
        epoch=0,
        sha256=b"",
        size=size,
        code="poison",
        detail="",
        width=None,
        height=None,
        result_size=None,
        thumbnail_size=None,
        result_type=None,
    )
    assert retryable(row) == bool(size)


async def test_a_failed_photo_says_what_to_do_and_whether_a_retry_can_help(owner: Owner) -> None:
    await owner.ended(None, "corrupt", "of-a-plugin")
    told = (await owner.house.visit("GET", owner.url, b"").answer()).json["photos"]
    assert [each["retryable"] for each in told] == [False, False, True, False]
    assert [bool(each["fix"]) for each in told] == [False, True, True, True]
    listed = json.loads((await owner.house.visit("GET", "/problems", b"").answer()).body)
    fixes = {each["code"]: each["fix"] for each in listed}
    assert (told[1]["fix"], told[3]["fix"]) == (fixes["corrupt"], fixes["unsupported-format"])
