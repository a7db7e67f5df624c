"""Previews over HTTP, in real children: what is shown, what is refused, and that nobody else is held up."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from ebbmark.pool import ChildPool, Confines
from ebbmark.settings import Http, Photo, Preview, Settings
from ingest.previews import previewing
from observability import metrics
from tests.people import opened, photo
from tests.unit.visits import END, FORM, House, Visit, field, file

GREY = field("operations", "grayscale")
MARK = field("operations", "watermark") + field("text", "© me")
LIMITS = Preview(edge=256, bytes=200_000, pixels=1_000_000, per_minute=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncGenerator[ChildPool]:
    async with ChildPool(Confines(children=1, seconds=20, memory=1024**3, calls=500)) as pool:
        await pool.warm()
        yield pool


@pytest.fixture
def pool(shared: ChildPool) -> ChildPool:
    return shared


Ask = Callable[..., Visit]


def house(pool: ChildPool | None, limits: Preview = LIMITS) -> House:
    return House(msgspec.structs.replace(Settings(), preview=limits), pool=pool)


def ask(at: House, *parts: bytes, query: str = "", client: str = "192.0.2.1") -> Visit:
    visit = at.visit("POST", f"/preview{query}", headers={"content-type": FORM}, client=client)
    for part in parts:
        visit.send(part)
    return visit.end() if parts and parts[-1] == END else visit


def ask_json(at: House, body: object) -> Visit:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return at.visit("POST", "/preview", raw, headers={"content-type": "application/json"})


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_photo_is_shown_small_with_its_sizes_and_nothing_of_it_is_kept(pool: ChildPool) -> None:
    at = house(pool)
    shown = await ask(at, file(photo(800, 600), of="file"), GREY, END).answer()
    assert (shown.status, shown.headers["content-type"]) == (200, "image/jpeg")
    assert shown.headers["cache-control"] == "no-store"
    sizes = [shown.headers[f"x-{name}"] for name in ("width", "height", "result-width", "result-height")]
    assert sizes == ["256", "192", "800", "600"]
    assert opened(shown.body).size == (256, 192)
    assert opened(shown.body).mode == "L"
    assert await at.store.keys("") == []
    assert at.log.records == []


async def test_without_a_photo_one_of_ours_is_shown(pool: ChildPool) -> None:
    shown = await ask(house(pool), GREY, END).answer()
    assert (shown.status, shown.headers["x-result-width"]) == (200, "4032")


@pytest.mark.parametrize(
    "body",
    [
        {"operations": [{"operation": "resize", "width": 100}]},
        {"operations": [{"operation": "resize", "width": 100}], "name": "{stem}"},
        {"recipe": {"operations": [{"operation": "resize", "width": 100}]}},
        {"operations": "resize", "width": 100},
        {"operations": ["resize", "grayscale"], "width": 100},
        {"operations": ["resize"], "width": 100, "name": "{stem}"},
    ],
)
async def test_a_recipe_may_be_json_of_every_shape(pool: ChildPool, body: object) -> None:
    shown = await ask_json(house(pool), body).answer()
    assert (shown.status, shown.headers["x-width"]) == (200, "100")


async def test_a_logo_is_carried_by_the_mark(pool: ChildPool) -> None:
    at, logo = house(pool), file(photo(64, 48, form="PNG"), of="logo")
    plain = await ask(at, file(photo(800, 600)), field("operations", "watermark"), logo, END).answer()
    assert plain.status == 200
    missing = await ask(at, MARK, field("logo", "true"), END).answer()
    assert missing.told == (422, "missing-logo")


async def test_a_mark_says_the_file_s_name_and_the_numbers_that_are_told(pool: ChildPool) -> None:
    at = house(pool)
    says = field("operations", "watermark") + field("position", "center") + field("size", "0.1")
    one = file(photo(400, 300), "sea.jpg")
    told = await ask(
        at, one, says, field("text", "{filename} {n}/{total}"), END, query="?n=3&total=9"
    ).answer()
    same = await ask(at, one, says, field("text", "sea 3/9"), END).answer()
    other = await ask(at, one, says, field("text", "sea 3/8"), END).answer()
    assert opened(told.body).tobytes() == opened(same.body).tobytes()
    assert told.body != other.body


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ((file(b"only text"), GREY), (415, "unsupported-format")),
        ((file(b""), GREY), (422, "empty-file")),
        ((file(photo(400, 300)[:2000]), GREY), (422, "corrupt")),
        ((file(photo(1100, 1000)), GREY), (413, "too-many-pixels")),
        ((file(photo(64, 48) + bytes(200_000)), GREY), (413, "file-too-large")),
        ((file(photo(64, 48)), file(photo(64, 48)), GREY), (413, "too-many-files")),
        ((file(photo(64, 48), of="files"), file(photo(64, 48), of="file"), GREY), (413, "too-many-files")),
        ((file(photo(64, 48), of="picture"), GREY), (422, "unknown-field")),
        ((file(photo(64, 48)),), (422, "no-operations")),
        ((field("operations", "sepia-ish"),), (422, "unknown-operation")),
        ((GREY, field("operations", "resize")), (422, "invalid-parameter")),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_told_with_the_code_that_it_would_have_in_a_job(
    pool: ChildPool, parts: tuple[bytes, ...], told: tuple[int, str]
) -> None:
    assert (await ask(house(pool), *parts, END).answer()).told == told


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", (422, "invalid-recipe")),
        (b"[]", (422, "invalid-recipe")),
        (b"\xff", (422, "invalid-recipe")),
        (b"{}", (422, "no-operations")),
        (b'{"operations": []}', (422, "no-operations")),
        (b'{"operations": [{"operation": "blur"}], "radius": 0.01}', (422, "invalid-recipe")),
        (b'{"operations": [{"operation": "blur"}], "name": "a/b"}', (422, "invalid-name")),
        (b'{"operations": "blur", "radius": 7}', (422, "invalid-parameter")),
        (b" " * 70_000, (413, "body-too-large")),
    ],
)
async def test_json_that_is_no_recipe_is_refused(pool: ChildPool, body: bytes, told: tuple[int, str]) -> None:
    assert (await ask_json(house(pool), body).answer()).told == told


async def test_a_body_that_is_far_too_long_is_not_read_to_its_end(pool: ChildPool) -> None:
    visit = ask(house(pool), file(photo(64, 48))[:-2])
    for _ in range(30):
        visit.send(bytes(100_000))
    assert (await visit.leave().answer()).told == (413, "file-too-large")


async def test_a_client_has_so_many_in_a_minute_and_another_has_its_own(pool: ChildPool) -> None:
    at = house(pool, msgspec.structs.replace(LIMITS, per_minute=2))
    told = [(await ask(at, GREY, END).answer()).status for _ in range(2)]
    refused = await ask(at, GREY, END).answer()
    assert (told, refused.told) == ([200, 200], (429, "too-many-previews"))
    assert int(refused.headers["retry-after"]) in range(1, 61)
    assert (await ask(at, GREY, END, client="192.0.2.2").answer()).status == 200
    at.now += timedelta(seconds=31)
    assert (await ask(at, GREY, END).answer()).status == 200


async def test_who_holds_many_places_is_refused_more_and_all_together_have_so_many(pool: ChildPool) -> None:
    at = house(pool, msgspec.structs.replace(LIMITS, at_once=3, per_client=2))
    slow = [ask(at, GREY) for _ in range(2)]
    for each in slow:
        await each.settled()
    mine = await ask(at, GREY, END).answer()
    assert (mine.told, mine.headers["retry-after"]) == ((503, "previews-busy"), "5")
    third = ask(at, GREY, client="192.0.2.2")
    await third.settled()
    others = await ask(at, GREY, END, client="192.0.2.3").answer()
    assert others.told == (503, "previews-busy")
    for each in (*slow, third):
        assert (await each.send(END).end().answer()).status == 200
    assert (await ask(at, GREY, END).answer()).status == 200


async def test_a_preview_that_is_refused_is_no_upload_that_is_refused(pool: ChildPool) -> None:
    at = house(pool, msgspec.structs.replace(LIMITS, per_minute=1, at_once=1))
    full = House(msgspec.structs.replace(Settings(), preview=LIMITS, http=Http(spool_free=2**60)), pool=pool)
    before = refused_uploads()
    slow = ask(at, GREY)
    await slow.settled()
    assert (await ask(at, GREY, END, client="192.0.2.2").answer()).told == (503, "previews-busy")
    assert (await slow.send(END).end().answer()).status == 200
    assert (await ask(at, GREY, END).answer()).told == (429, "too-many-previews")
    assert (await ask(full, GREY, END).answer()).told == (503, "storage-full")
    assert refused_uploads() == before


def refused_uploads() -> dict[str, float]:
    (counter,) = metrics.UPLOADS_REFUSED.collect()
    return {each.labels["code"]: each.value for each in counter.samples if each.name.endswith("_total")}


async def test_without_children_there_are_no_previews_and_the_page_shows_none() -> None:
    at = house(None, msgspec.structs.replace(LIMITS, children=0))
    assert (await ask(at, GREY, END).answer()).told == (503, "no-previews")
    assert b"preview.js" not in (await at.visit("GET", "/", b"").answer()).body
    assert b"preview.js" in (await house(None).visit("GET", "/", b"").answer()).body


async def test_another_site_s_page_cannot_have_previews_made(pool: ChildPool) -> None:
    headers = {"content-type": FORM, "sec-fetch-site": "cross-site"}
    refused = await house(pool).visit("POST", "/preview", GREY + END, headers=headers).answer()
    assert refused.told == (403, "cross-site")


async def test_a_child_that_hangs_costs_its_preview_and_meanwhile_everything_else_is_answered() -> None:
    settings = msgspec.structs.replace(
        Settings(), preview=msgspec.structs.replace(LIMITS, timeout=timedelta(seconds=3))
    )
    async with previewing(settings) as small:
        assert small is not None
        await small.warm()
        at = House(settings, pool=small)
        hanging = asyncio.ensure_future(small.run(signal.pause))
        while not small.busy:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        waiting = ask(at, file(photo(64, 48)), GREY, END)
        await waiting.settled()
        assert (await at.visit("GET", "/healthz", b"").answer()).status == 200
        assert waiting.status == 0
        with pytest.raises(Exception, match="timeout"):
            await hanging
        assert (await waiting.answer()).status == 200


async def test_a_preview_that_takes_too_long_is_refused_as_such() -> None:
    settings = msgspec.structs.replace(
        Settings(),
        preview=msgspec.structs.replace(LIMITS, timeout=timedelta(seconds=0.02), pixels=60_000_000),
        photo=Photo(),
    )
    async with previewing(settings) as small:
        assert small is not None
        await small.warm()
        visit = ask(House(settings, pool=small), GREY, END)
        assert (await visit.answer()).told == (413, "preview-failed")


async def test_the_description_says_what_is_sent_and_what_comes(pool: ChildPool) -> None:
    document: Any = msgspec.json.decode(msgspec.json.encode(house(pool).app.openapi_schema.to_schema()))
    told = document["paths"]["/preview"]["post"]
    assert told["requestBody"]["content"].keys() == {"multipart/form-data", "application/json"}
    assert told["responses"].keys() == {"200", "400", "403", "408", "413", "415", "422", "429", "503"}
    assert "image/*" in told["responses"]["200"]["content"]
    assert "X-Result-Width" in told["responses"]["200"]["description"]
