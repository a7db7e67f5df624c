"""What operators may see and do about dead letters over HTTP, and what nobody else may."""

import json
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from structlog.testing import capture_logs

from ebbmark.errors import Unavailable
from ebbmark.events import DeadLetter, ExpireJob, RenderPhoto
from ebbmark.ledger import NewJob, NewPhoto, Outcome, Wanted
from ebbmark.ledger.letters import LetterState, letter_id
from ebbmark.settings import Http, Operator, Settings
from ebbmark.states import JobState, PhotoState
from ebbmark.testing import MemoryLedger
from ebbmark.testing.memory_letters import MemoryLetters
from ebbmark.topics import EXPIRATIONS, EXPRESS
from ingest.letters import Wish
from ingest.redrive import AT_ONCE, Redriver
from tests.unit.visits import House, Visit

TOKEN = "a token for tests alone"  # noqa: S105 - opens nothing
BEARER = {"authorization": f"Bearer {TOKEN}"}
GARBAGE = b'\xff{"secret\\": \x00<script>'


@pytest.fixture
def house() -> House:
    return House(Settings(operator=Operator(token=TOKEN)))


def message(house: House, offset: int = 0, **changes: object) -> DeadLetter:
    values = {
        "reason": "malformed-event",
        "attempts": 1,
        "first_seen": house.now,
        "last_seen": house.now,
        "topic": "uploads",
        "partition": 3,
        "offset": offset,
        "original": GARBAGE,
    }
    return DeadLetter(**(values | changes))  # pyright: ignore[reportArgumentType]


def order(house: House, offset: int = 0, *, job: UUID | None = None) -> DeadLetter:
    """A message that a consumer failed to handle, with a field that this version does not know."""
    job = job or uuid4()
    original = b'{"type":"ExpireJob","later":1,"job":"%s"}' % str(job).encode()
    return message(
        house, offset, reason="handler-failed", topic="expirations", original=original, job=job, attempts=3
    )


async def poison(house: House, photos: int = 1, *, code: str = "poison") -> UUID:
    """Return a complete job whose photos were all given up, each with its letter."""
    job = uuid4()
    ledger, stale = house.ledger, timedelta(seconds=90)
    await ledger.open_job(NewJob(id=job, token_hash=job.bytes * 2, recipe=b"[]"))
    new = [NewPhoto(n=n, name="a.jpg", size=9, sha256=b"x" * 32) for n in range(photos)]
    await ledger.add_photos(job, new, stale=stale)
    await ledger.seal(job, photos, deadline=timedelta(minutes=30), ttl=timedelta(hours=1))
    await fail(house, job, photos, code=code)
    return job


async def fail(house: House, job: UUID, photos: int = 1, *, epoch: int = 0, code: str = "poison") -> None:
    wanted = [Wanted(job=job, n=n, epoch=epoch) for n in range(photos)]
    claims = await house.ledger.claim(wanted, claimant=uuid4(), lease=timedelta(seconds=20), strikes=5)
    await house.ledger.finish(
        [
            Outcome(job=job, n=each.n, epoch=epoch, fence=each.fence, code=code, detail="Given up.")
            for each in claims
        ],
        ttl=timedelta(hours=1),
    )
    for n in range(photos):
        letter = message(house, -1, reason=code, topic="tasks.express", partition=-1, job=job, n=n)
        await house.ledger.letters.enter(msgspec.structs.replace(letter, epoch=epoch, original=b"{}"))


def ask(house: House, method: str, path: str, body: object = None, **headers: str) -> Awaitable[Visit]:
    content = b"" if body is None else json.dumps(body).encode()
    return house.visit(method, path, content, headers=BEARER | headers).answer()


async def redrive(house: House, **wish: object) -> dict[str, Any]:
    visit = await ask(house, "POST", "/dlq/redrive", wish)
    assert visit.status == 200, visit.body
    return visit.json


async def states(house: House) -> set[str]:
    return {each["state"] for each in (await ask(house, "GET", "/dlq")).json["letters"]}


# Who may

CLOSED = [
    ("GET", "/dlq"),
    ("GET", "/dlq/0123456789abcdef0123456789abcdef"),
    ("POST", "/dlq/redrive"),
    ("POST", "/dlq/0123456789abcdef0123456789abcdef/resolve"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN[:-1]}",
        "Bearer ü",
    ],
)
async def test_nobody_gets_in_without_the_token(house: House, method: str, path: str, shown: str) -> None:
    visit = await house.visit(method, path, b"{}", headers={"authorization": shown}).answer()
    assert visit.told == (401, "operator-token-wrong")
    assert visit.headers["www-authenticate"] == "Bearer"
    assert TOKEN.encode() not in visit.body


@pytest.mark.parametrize(("method", "path"), CLOSED)
@pytest.mark.parametrize("shown", ["", "Bearer ", f"Bearer {TOKEN}"])
async def test_while_no_token_is_set_nobody_gets_in_at_all(method: str, path: str, shown: str) -> None:
    visit = await House().visit(method, path, b"{}", headers={"authorization": shown}).answer()
    assert visit.told == (403, "operator-token-unset")


async def test_the_token_is_asked_for_before_the_body_is_read(house: House) -> None:
    visit = house.visit("POST", "/dlq/redrive")
    await visit.answer()
    assert (visit.status, visit.read) == (401, 0)


@pytest.mark.parametrize("path", ["/dlq/redrive", "/dlq/0123456789abcdef0123456789abcdef/resolve"])
async def test_pages_of_other_sites_cannot_write_even_with_the_token(house: House, path: str) -> None:
    visit = await ask(house, "POST", path, {"all": True}, **{"sec-fetch-site": "cross-site"})
    assert visit.told == (403, "cross-site")


async def guess(house: House, shown: str = "not it", *, client: str = "192.0.2.1") -> Visit:
    headers = {"authorization": f"Bearer {shown}"}
    return await house.visit("GET", "/dlq", b"", headers=headers, client=client).answer()


async def test_who_guessed_too_often_is_refused_even_with_the_right_token_and_others_are_not(
    house: House,
) -> None:
    told = [(await guess(house)).told for _ in range(10)]
    assert told == [(401, "operator-token-wrong")] * 10
    for shown in ("not it", TOKEN):
        refused = await guess(house, shown)
        assert (refused.told, refused.headers["retry-after"]) == ((429, "too-many-attempts"), "6")
    assert (await guess(house, TOKEN, client="192.0.2.2")).status == 200
    house.now += timedelta(seconds=6)
    assert (await guess(house, TOKEN)).status == 200
    assert (await guess(house)).status == 401
    assert (await guess(house, TOKEN)).status == 429


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_guesses_are_counted_over_all_that_is_closed(house: House, method: str, path: str) -> None:
    for _ in range(10):
        await house.visit(method, path, b"{}", headers={"authorization": "Bearer x"}).answer()
    assert (await guess(house, TOKEN)).told == (429, "too-many-attempts")


async def test_the_right_token_may_be_shown_as_often_as_one_likes(house: House) -> None:
    assert {(await guess(house, TOKEN)).status for _ in range(30)} == {200}


@pytest.mark.parametrize("shown", ["", "Bearer", "Bearer  ", f"Basic {TOKEN}"])
async def test_who_shows_no_token_is_not_counted(house: House, shown: str) -> None:
    for _ in range(30):
        visit = await house.visit("GET", "/dlq", b"", headers={"authorization": shown}).answer()
        assert visit.told == (401, "operator-token-wrong")
    assert (await guess(house, TOKEN)).status == 200


async def test_guesses_may_be_left_uncounted() -> None:
    house = House(Settings(operator=Operator(token=TOKEN), http=Http(operator_attempts=0)))
    assert {(await guess(house)).status for _ in range(30)} == {401}


async def test_anybody_may_count_and_learns_nothing_of_any_job(house: House) -> None:
    job = await poison(house, 2)
    await house.ledger.letters.enter(message(house))
    house.now += timedelta(minutes=5)
    visit = await house.visit("GET", "/dlq/stats", b"").answer()
    assert visit.json == {
        "open": 3,
        "oldest_open_seconds": 300,
        "counts": [
            {"reason": "malformed-event", "state": "open", "letters": 1},
            {"reason": "poison", "state": "open", "letters": 2},
        ],
    }
    assert str(job) not in visit.body.decode()


async def test_what_an_operator_did_is_counted_at_once(house: House) -> None:
    await poison(house)
    await house.ledger.letters.enter(message(house))

    async def told() -> int:
        return (await house.visit("GET", "/dlq/stats", b"").answer()).json["open"]

    assert await told() == 2
    await redrive(house, reason="poison")
    assert await told() == 1
    (letter,) = (await ask(house, "GET", "/dlq?state=open")).json["letters"]
    await ask(house, "POST", f"/dlq/{letter['id']}/resolve")
    assert await told() == 0


# Looking


async def test_letters_are_listed_page_by_page(house: House) -> None:
    for offset in range(5):
        await house.ledger.letters.enter(message(house, offset))
    first = (await ask(house, "GET", "/dlq?limit=3")).json
    second = (await ask(house, "GET", f"/dlq?limit=3&cursor={first['cursor']}")).json
    assert [[each["offset"] for each in page["letters"]] for page in (first, second)] == [[4, 3, 2], [1, 0]]
    assert second["cursor"] is None


async def test_letters_are_chosen_by_reason_job_and_state(house: House) -> None:
    job = await poison(house)
    await house.ledger.letters.enter(message(house))

    async def reasons(query: str) -> list[str]:
        return [each["reason"] for each in (await ask(house, "GET", f"/dlq?{query}")).json["letters"]]

    assert await reasons("") == ["malformed-event", "poison"]
    assert await reasons("reason=poison") == ["poison"]
    assert await reasons("reason=%00") == []
    assert await reasons(f"job={job}") == ["poison"]
    assert await reasons("state=resolved") == []
    assert (await ask(house, "GET", "/dlq?state=lost")).status == 400
    assert (await ask(house, "GET", "/dlq?cursor=-1")).status == 400
    assert (await ask(house, "GET", "/dlq?limit=100000")).status == 400


async def test_of_a_message_only_the_beginning_is_shown_and_escaped(house: House) -> None:
    letter = message(house, original=GARBAGE + b"a" * 1000)
    await house.ledger.letters.enter(letter)
    visit = await ask(house, "GET", f"/dlq/{letter_id(letter)}")
    shown = visit.json["letter"]
    assert shown["preview"].startswith(r'\xff{"secret\x5c": \x00<script>aaa')
    assert shown["preview"].endswith("a" * 10)
    assert len(shown["preview"]) < 300
    assert shown["size"] == len(GARBAGE) + 1000
    assert visit.json["refusal"] == "malformed"
    assert visit.headers["cache-control"] == "private, no-store"


async def test_a_photo_s_letter_says_that_it_can_be_redriven(house: House) -> None:
    job = await poison(house)
    (letter,) = (await ask(house, "GET", f"/dlq?job={job}")).json["letters"]
    seen = (await ask(house, "GET", f"/dlq/{letter['id']}")).json
    assert (seen["letter"]["photo_state"], seen["refusal"], seen["detail"]) == ("failed", None, None)


@pytest.mark.parametrize("letter", ["0123456789abcdef0123456789abcdef", "%00", "nobody", "ü"])
async def test_a_letter_that_is_not_there_is_unknown(house: House, letter: str) -> None:
    assert (await ask(house, "GET", f"/dlq/{letter}")).told == (404, "unknown-letter")
    assert (await ask(house, "POST", f"/dlq/{letter}/resolve")).told == (404, "unknown-letter")


async def test_a_letter_is_resolved(house: House) -> None:
    letter = message(house)
    await house.ledger.letters.enter(letter)
    with capture_logs() as lines:
        visit = await ask(house, "POST", f"/dlq/{letter_id(letter)}/resolve")
    assert (visit.status, visit.json["state"]) == (200, "resolved")
    (line,) = [line for line in lines if line["event"] == "dead letter resolved"]
    assert line["letter"] == letter_id(letter)


# Redriving


async def test_a_photo_begins_a_new_round_and_is_ordered(house: House) -> None:
    job = await poison(house)
    answer = await redrive(house, job=str(job))
    assert (answer["redriven"], answer["refused"], answer["cursor"]) == (1, 0, None)
    assert house.log.events(EXPRESS) == [RenderPhoto(job=job, n=0, epoch=1)]
    snapshot = await house.ledger.snapshot(job)
    assert snapshot is not None
    assert (snapshot.job.state, snapshot.photos[0].state) == (JobState.RENDERING, PhotoState.QUEUED)
    assert await states(house) == {"redriven"}


async def test_a_dry_run_tells_what_would_come_of_it_and_does_nothing(house: House) -> None:
    job = await poison(house)
    await house.ledger.letters.enter(message(house))
    answer = await redrive(house, all=True, dry_run=True)
    assert (answer["dry_run"], answer["redriven"], answer["refused"]) == (True, 1, 1)
    assert [(each["reason"], each["refusal"]) for each in answer["outcomes"]] == [
        ("malformed-event", "malformed"),
        ("poison", None),
    ]
    assert answer["outcomes"][1]["job"] == str(job)
    assert house.log.records == []
    assert await states(house) == {"open"}


async def test_a_message_is_published_anew_byte_for_byte_under_its_key(house: House) -> None:
    letter = order(house)
    await house.ledger.letters.enter(letter)
    assert (await redrive(house, reason="handler-failed"))["redriven"] == 1
    (record,) = house.log.records
    assert (record.topic, record.key, record.value) == ("expirations", str(letter.job), letter.original)
    assert house.log.events(EXPIRATIONS) == [ExpireJob(job=letter.job or uuid4())]


async def refusal(house: House, letter: DeadLetter) -> str | None:
    await house.ledger.letters.enter(letter)
    (outcome,) = (await redrive(house, ids=[letter_id(letter)]))["outcomes"]
    assert (outcome["refusal"] is None) == (outcome["detail"] is None)
    return outcome["refusal"]


async def test_what_no_consumer_could_read_is_refused(house: House) -> None:
    assert await refusal(house, message(house)) == "malformed"
    assert await refusal(house, message(house, 1, topic="gone", reason="handler-failed")) == "unknown-topic"
    assert house.log.records == []


async def test_what_only_an_older_version_could_not_read_is_redriven(house: House) -> None:
    letter = msgspec.structs.replace(order(house), reason="malformed-event")
    assert await refusal(house, letter) is None
    assert len(house.log.records) == 1


async def test_a_photo_whose_job_is_gone_is_refused(house: House) -> None:
    job = await poison(house)
    house.now += timedelta(hours=2)
    (outcome,) = (await redrive(house, job=str(job)))["outcomes"]
    assert outcome["refusal"] == "job-gone"
    unknown = message(house, -1, reason="poison", partition=-1, job=uuid4(), n=0, epoch=0)
    assert await refusal(house, unknown) == "job-gone"


async def test_a_photo_of_a_job_that_is_still_filled_is_refused(house: House) -> None:
    job = uuid4()
    await house.ledger.open_job(NewJob(id=job, token_hash=b"x" * 32, recipe=b"[]"))
    new = [NewPhoto(n=0, name="a.jpg", size=9, sha256=b"x" * 32)]
    await house.ledger.add_photos(job, new, stale=timedelta(seconds=90))
    await fail(house, job)
    (outcome,) = (await redrive(house, job=str(job)))["outcomes"]
    assert outcome["refusal"] == "job-open"


async def test_a_photo_that_went_on_is_refused(house: House) -> None:
    job = await poison(house)
    await house.ledger.redrive(
        [Wanted(job=job, n=0, epoch=0)], stale=timedelta(seconds=90), deadline=timedelta(minutes=30)
    )
    (outcome,) = (await redrive(house, job=str(job)))["outcomes"]
    assert outcome["refusal"] == "photo-moved-on"
    await fail(house, job, epoch=1)
    later, earlier = (await redrive(house, job=str(job)))["outcomes"]
    assert (later["refusal"], earlier["refusal"]) == (None, "photo-moved-on")


async def test_a_letter_is_redriven_once_unless_somebody_insists(house: House) -> None:
    letter = order(house)
    assert await refusal(house, letter) is None
    assert await refusal(house, letter) == "not-open"
    assert (await redrive(house, all=True))["outcomes"] == []
    assert (await redrive(house, ids=[letter_id(letter)], force=True))["redriven"] == 1
    assert len(house.log.records) == 2


async def test_a_photo_that_comes_back_each_time_is_refused_until_somebody_insists(house: House) -> None:
    job = await poison(house)
    for epoch in (1, 2, 3):
        assert (await redrive(house, job=str(job)))["redriven"] == 1
        await fail(house, job, epoch=epoch)
    answer = await redrive(house, job=str(job))
    assert [each["refusal"] for each in answer["outcomes"]] == ["redriven-too-often"]
    assert (await redrive(house, job=str(job), force=True))["redriven"] == 1


async def test_a_message_that_comes_back_each_time_is_refused(house: House) -> None:
    job = uuid4()
    for offset in range(3):
        assert await refusal(house, order(house, offset, job=job)) is None
    assert await refusal(house, order(house, 9, job=job)) == "redriven-too-often"


async def test_a_letter_nobody_knows_is_refused_beside_the_others(house: House) -> None:
    letter = order(house)
    await house.ledger.letters.enter(letter)
    answer = await redrive(house, ids=["0" * 32, letter_id(letter)])
    assert [(each["id"], each["refusal"]) for each in answer["outcomes"]] == [
        ("0" * 32, "unknown-letter"),
        (letter_id(letter), None),
    ]


async def test_more_than_one_answer_holds_are_redriven_with_the_cursor(house: House) -> None:
    for offset in range(AT_ONCE + 3):
        await house.ledger.letters.enter(order(house, offset))
    first = await redrive(house, all=True, rate=1000)
    second = await redrive(house, all=True, rate=1000, cursor=first["cursor"])
    assert (first["redriven"], second["redriven"], second["cursor"]) == (AT_ONCE, 3, None)
    assert len(house.log.records) == AT_ONCE + 3


class Forgetful(MemoryLetters):
    """Fails when it is to note that a letter was redriven."""

    async def redriven(self, letter: str) -> None:
        del letter
        raise Unavailable("ledger-unavailable", "The ledger does not answer.")


class ForgetfulLedger(MemoryLedger):
    @property
    def letters(self) -> MemoryLetters:
        return Forgetful(self._letters, self._jobs, self._answer)


async def test_what_was_sent_round_is_logged_though_nobody_could_note_it() -> None:
    house = House(Settings(operator=Operator(token=TOKEN)), ledger=ForgetfulLedger())
    letter = order(house)
    await house.ledger.letters.enter(letter)
    with capture_logs() as lines:
        visit = await ask(house, "POST", "/dlq/redrive", {"reason": "handler-failed"})
    assert visit.told == (503, "ledger-unavailable")
    assert len(house.log.records) == 1
    (line,) = [line for line in lines if line["event"] == "dead letter redriven"]
    assert line["letter"] == letter_id(letter)


async def test_a_log_that_is_down_loses_no_photo_and_leaves_messages_open(house: House) -> None:
    job = await poison(house)
    await house.ledger.letters.enter(order(house))
    house.log.down = True
    visit = await ask(house, "POST", "/dlq/redrive", {"reason": "handler-failed"})
    assert visit.told == (503, "log-unavailable")
    assert (await redrive(house, job=str(job)))["redriven"] == 1
    house.now += timedelta(seconds=91)
    assert await house.ledger.overdue(limit=9) == [Wanted(job=job, n=0, epoch=1)]
    house.log.down = False
    assert (await redrive(house, reason="handler-failed"))["redriven"] == 1


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"dry_run": True},
        {"ids": []},
        {"ids": ["short"]},
        {"ids": ["0" * 32] * 201},
        {"reason": "<script>"},
        {"reason": "poison", "all": True},
        {"job": "nobody"},
        {"all": True, "rate": 0},
        {"all": True, "hurry": True},
        [],
    ],
)
async def test_a_wish_that_is_not_clear_is_refused(house: House, wish: object) -> None:
    assert (await ask(house, "POST", "/dlq/redrive", wish)).told == (422, "invalid-redrive")


async def test_a_body_that_is_no_json_or_too_long_is_refused(house: House) -> None:
    broken = await house.visit("POST", "/dlq/redrive", b"\xff", headers=BEARER).answer()
    assert broken.told == (422, "invalid-redrive")
    long = await house.visit("POST", "/dlq/redrive", b" " * 200_000, headers=BEARER).answer()
    assert long.told == (413, "body-too-large")


async def test_who_redrove_what_is_logged_and_the_token_is_not(house: House) -> None:
    job = await poison(house, 2)
    with capture_logs() as lines:
        await redrive(house, job=str(job), dry_run=True)
        await redrive(house, job=str(job))
    dry, real = [line for line in lines if line["event"] == "redrive asked for"]
    assert (dry["dry_run"], dry["redriven"], dry["letters"]) == (True, 0, 2)
    assert (real["by"], real["force"], real["redriven"], real["letters"]) == ("job", False, 2, 2)
    each = [line for line in lines if line["event"] == "dead letter redriven"]
    assert len({line["letter"] for line in each}) == 2
    assert {line["who"] for line in (*each, dry, real)} == {real["who"]}
    assert len(real["who"]) == 8
    assert TOKEN not in repr(lines)
    assert TOKEN not in repr(house.settings)


# The pace


class Clock:
    """Time that passes only while somebody waits for it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


async def test_letters_go_out_at_the_pace_that_is_wished(house: House) -> None:
    for offset in range(5):
        await house.ledger.letters.enter(order(house, offset))
    clock = Clock()
    redriver = Redriver(house.ledger, house.log, house.settings, clock=clock, sleep=clock.sleep)
    await redriver.redrive(Wish(all=True, rate=4), who="ann")
    assert clock.waits == [0, 0.25, 0.25, 0.25, 0.25]


async def test_a_slow_redrive_is_continued_by_the_next_request(house: House) -> None:
    for offset in range(50):
        await house.ledger.letters.enter(order(house, offset))
    clock = Clock()
    redriver = Redriver(house.ledger, house.log, house.settings, clock=clock, sleep=clock.sleep)
    cursor: int | None = None
    rounds: list[int] = []
    while cursor is not None or not rounds:
        begun = clock.now
        done = await redriver.redrive(Wish(all=True, rate=1, cursor=cursor), who="ann")
        rounds.append(len(done.verdicts))
        cursor = done.cursor
        assert clock.now - begun <= 20
    assert rounds == [21, 21, 8]
    assert len(house.log.records) == 50
    rows = (await ask(house, "GET", "/dlq?limit=200")).json["letters"]
    assert {each["state"] for each in rows} == {LetterState.REDRIVEN}


async def test_a_dry_run_does_not_wait(house: House) -> None:
    for offset in range(5):
        await house.ledger.letters.enter(order(house, offset))
    clock = Clock()
    redriver = Redriver(house.ledger, house.log, house.settings, clock=clock, sleep=clock.sleep)
    await redriver.redrive(Wish(all=True, rate=0.1, dry_run=True), who="ann")
    assert clock.waits == []
