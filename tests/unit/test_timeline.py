"""Time lines: what the ledger knows of each photo's way, as programs and as people are told it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbmark.ledger import Outcome, Wanted
from ebbmark.states import JobState, PhotoState
from ingest import bars, pages
from ingest.schemas import PhotoTimes, Timeline
from ingest.tokens import token_hash
from observability import tracing
from tests.people import photo as picture
from tests.unit.test_pages import HOSTILE, Seen
from tests.unit.visits import END, House, field, file

# What will be spelt otherwise in Litestar 3.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

START = datetime(2026, 5, 1, 14, 3, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MARK = {"width": "28", "height": "28"}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def times(state: PhotoState, *, n: int = 0, name: str = "a.jpg", **more: Any) -> PhotoTimes:  # noqa: ANN401 - fields
    values: dict[str, Any] = {
        "code": None,
        "round": 1,
        "attempts": 1,
        "accepted_at": START,
        "round_at": more.get("accepted_at", START),
        "claimed_at": None,
        "ended_at": None,
        "trace_id": "0" * 32,
    }
    return PhotoTimes(n=n, name=name, state=state, **(values | more))


def timeline(*photos: PhotoTimes, now: float = 10) -> Timeline:
    return Timeline(
        job_id="AAAAAAAAAAAAAAAAAAAAAA",
        state=JobState.RENDERING,
        status_url="/jobs/AAAAAAAAAAAAAAAAAAAAAA",
        photos=list(photos),
        server_time=at(now),
    )


def chart_of(*photos: PhotoTimes, now: float = 10) -> bars.Chart:
    drawn = bars.chart(timeline(*photos, now=now))
    assert drawn is not None
    return drawn


# Over HTTP


class Owner:
    """Who sent two photos, and the workers who deal with them."""

    def __init__(self) -> None:
        self.house = House()
        self.address = ""
        self.job = UUID(int=0)

    async def send(self, *files: bytes) -> None:
        accepted = (await self.house.form(*files, field("operations", "grayscale"), END).answer()).json
        self.address = accepted["status_url"]
        row = await self.house.ledger.find_job(token_hash(accepted["job_id"]))
        assert row is not None
        self.job = row.id

    async def work(self, *, waits: timedelta, takes: timedelta, n: int = 0) -> None:
        ledger, day = self.house.ledger, timedelta(days=1)
        self.house.now += waits
        wanted = [Wanted(job=self.job, n=n, epoch=0)]
        (claim,) = await ledger.claim(wanted, claimant=uuid4(), lease=day, strikes=5)
        self.house.now += takes
        outcome = Outcome(job=self.job, n=n, epoch=0, fence=claim.fence, width=1, height=1, size=1)
        await ledger.finish([outcome], ttl=day)

    async def ask(self, path: str = "/timeline", **headers: str) -> Any:  # noqa: ANN401 - an answer
        return await self.house.visit("GET", self.address + path, b"", headers=headers).answer()


@pytest.fixture
async def owner() -> Owner:
    owner = Owner()
    await owner.send(file(picture(64, 48)), file(b"no photo", "note.txt"))
    return owner


async def test_programs_are_told_the_times_of_every_photo(owner: Owner) -> None:
    began = owner.house.now
    await owner.work(waits=2 * SECOND, takes=SECOND)
    answer = await owner.ask()
    done, refused = answer.json["photos"]
    assert (answer.status, answer.headers["cache-control"]) == (200, "private, no-store")
    assert (done["state"], done["round"], done["attempts"]) == ("done", 1, 1)
    moments = [datetime.fromisoformat(done[name]) for name in ("accepted_at", "claimed_at", "ended_at")]
    assert moments == [began, began + 2 * SECOND, began + 3 * SECOND]
    assert (refused["code"], refused["attempts"]) == ("unsupported-format", 0)
    assert refused["ended_at"] == refused["accepted_at"]


async def test_a_photo_names_its_trace(owner: Owner) -> None:
    photos: Sequence[dict[str, Any]] = (await owner.ask()).json["photos"]
    assert [int(each["trace_id"], 16) for each in photos] == [
        tracing.ids(owner.job, 0)[0],
        tracing.ids(owner.job, 1)[0],
    ]


async def test_people_are_shown_a_page_that_loads_only_itself(owner: Owner) -> None:
    await owner.work(waits=2 * SECOND, takes=SECOND)
    answer = await owner.ask(accept="text/html")
    seen = Seen(answer.body.decode())
    assert answer.headers["content-security-policy"] == pages.CSP
    assert answer.headers["content-type"].startswith("text/html")
    assert {"a.jpg", "note.txt"} <= set(seen.text.split())
    assert "waited 2.00 s, rendered in 1.00 s" in seen.text
    assert seen.all("script") == []
    assert [each for _, each in seen.elements if "style" in each] == []
    assert [each for each in seen.all("meta") if each.get("http-equiv") == "refresh"] == []


def test_a_name_is_shown_as_it_is_and_never_read_as_a_page() -> None:
    seen = Seen(pages.timeline_page(timeline(times(PhotoState.QUEUED, name=HOSTILE))))
    assert HOSTILE in seen.text
    assert seen.all("script", "img") == [{"src": seen.all("img")[0]["src"], "alt": "", **MARK}]


async def test_the_page_reloads_until_every_photo_has_ended(owner: Owner) -> None:
    seen = Seen((await owner.ask(accept="text/html")).body.decode())
    assert [each for each in seen.all("meta") if each.get("http-equiv") == "refresh"] != []


async def test_the_page_of_the_job_leads_to_it(owner: Owner) -> None:
    seen = Seen((await owner.ask("", accept="text/html")).body.decode())
    assert f"{owner.address}/timeline" in [each.get("href") for each in seen.all("a")]


async def test_a_job_without_photos_has_an_empty_one(owner: Owner) -> None:
    answer = await owner.house.form(field("operations", "grayscale"), END).answer()
    owner.address = answer.json["status_url"]
    assert (await owner.ask()).json["photos"] == []
    assert "There are no photos yet." in (await owner.ask(accept="text/html")).body.decode()


async def test_a_job_that_is_gone_has_none(owner: Owner) -> None:
    await owner.house.visit("DELETE", owner.address, b"").answer()
    assert (await owner.ask()).status == 410
    owner.address = "/jobs/AAAAAAAAAAAAAAAAAAAAAA"
    assert (await owner.ask()).status == 404


# In words

SAID = [
    (times(PhotoState.QUEUED), "waiting for 10 s"),
    (times(PhotoState.RENDERING, claimed_at=at(4)), "waited 4.00 s, rendering for 6.00 s"),
    (times(PhotoState.DONE, claimed_at=at(1), ended_at=at(1.5)), "waited 1.00 s, rendered in 0.50 s"),
    (
        times(PhotoState.DONE, claimed_at=at(3), ended_at=at(4), attempts=2, round=2, round_at=at(1)),
        "waited 2.00 s, rendered in 1.00 s, 2 attempts, round 2",
    ),
    (times(PhotoState.DONE, ended_at=at(2)), "done after 2.00 s"),
    (times(PhotoState.RETRYING, claimed_at=at(4)), "waiting for 10 s"),
    (
        times(PhotoState.FAILED, claimed_at=at(1), ended_at=at(3), code="corrupt"),
        "waited 1.00 s, failed after 2.00 s",
    ),
    (times(PhotoState.FAILED, ended_at=START, attempts=0, code="empty-file"), "refused when it came"),
    (times(PhotoState.FAILED, ended_at=at(99), attempts=0, code="deadline"), "given up after 1 min 39 s"),
    (times(PhotoState.FAILED, claimed_at=at(1), ended_at=at(3), code="cancelled"), "cancelled after 3.00 s"),
]


@pytest.mark.parametrize(("photo", "says"), SAID, ids=[says for _, says in SAID])
def test_a_line_says_what_became_of_the_photo(photo: PhotoTimes, says: str) -> None:
    (bar,) = chart_of(photo).bars
    assert bar.says == says


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (-1, "0.00 s"),
        (9.5, "9.50 s"),
        (59, "59 s"),
        (61, "1 min 01 s"),
        (7260, "2 h 01 min"),
    ],
)
def test_times_are_spelt_as_people_say_them(seconds: float, says: str) -> None:
    assert bars.spelt(seconds) == says


# As bars


def test_bars_are_drawn_to_one_scale() -> None:
    first = times(PhotoState.DONE, claimed_at=at(1), ended_at=at(2))
    later = times(PhotoState.FAILED, n=1, accepted_at=at(1), claimed_at=at(3), ended_at=at(4), code="corrupt")
    drawn = chart_of(first, later)
    assert [bar.parts for bar in drawn.bars] == [
        [bars.Part("wait", 0, 250), bars.Part("work", 250, 250)],
        [bars.Part("wait", 250, 500), bars.Part("fail", 750, 250)],
    ]
    assert (drawn.span, drawn.ended) == ("4.00 s", True)


moments = st.floats(-5, 5000).map(at)


@st.composite
def any_photo(draw: st.DrawFn) -> PhotoTimes:
    """Whatever clocks and versions have left in the rows."""
    return times(
        draw(st.sampled_from(PhotoState)),
        accepted_at=draw(moments),
        round_at=draw(moments),
        claimed_at=draw(st.none() | moments),
        ended_at=draw(st.none() | moments),
        attempts=draw(st.integers(0, 9)),
        code=draw(st.none() | st.just("cancelled")),
    )


@given(st.lists(any_photo(), min_size=1, max_size=5), st.floats(-5, 5000))
def test_no_bar_leaves_the_page_whatever_the_rows_hold(photos: list[PhotoTimes], now: float) -> None:
    for bar in chart_of(*photos, now=now).bars:
        assert bar.says
        for part in bar.parts:
            assert part.start >= 0
            assert part.width > 0
            assert part.start + part.width <= bars.WIDTH + 0.1
