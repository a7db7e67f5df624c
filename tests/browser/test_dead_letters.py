"""What an operator sees and does about dead letters, in Chromium; the token is kept nowhere."""

import re
import secrets
from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest
from confluent_kafka import Producer
from playwright.async_api import expect

from ebbmark.eventlog import KafkaLog
from ebbmark.events import DeadLetter, ExpireJob
from ebbmark.settings import Operator, Settings
from ebbmark.topics import DEAD_LETTERS, EXPIRATIONS, UPLOADS
from tests.browser.visits import Open, Visit
from tests.system import System

TOKEN = secrets.token_hex(20)
HOSTILE = b"<img src=x onerror=alert(1)>\xff"


@pytest.fixture(scope="module")
def system_settings(room: Settings) -> Settings:
    return msgspec.structs.replace(
        room,
        worker=msgspec.structs.replace(room.worker, children=1),
        operator=Operator(token=TOKEN),
        log=msgspec.structs.replace(room.log, format="console"),
    )


@pytest.fixture(scope="module")
def garbage(running_system: System) -> None:
    """Three messages that nobody can read."""
    kafka = running_system.settings.kafka
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 2})
    for partition in range(3):
        producer.produce(kafka.prefix + UPLOADS.name, HOSTILE, partition=partition)
    assert producer.flush(10) == 0


async def come_in(visit: Visit, token: str = TOKEN) -> None:
    await visit.page.goto("/operator/dead-letters")
    await visit.page.get_by_label("Operator token").fill(token)
    await visit.page.get_by_role("button", name="Open").click()


async def settled(visit: Visit, count: int) -> None:
    """Wait until as many are entered and shown."""
    rows = visit.page.locator("#letters > tr[data-id]")
    for _ in range(100):
        await visit.page.get_by_role("button", name="Show", exact=True).click()
        await expect(visit.page.locator("body[aria-busy]")).to_have_count(0)
        if await rows.count() == count:
            return
    await expect(rows).to_have_count(count)


async def counted(visit: Visit, said: re.Pattern[str]) -> None:
    """Wait until the summary, which may be some seconds old, says so."""
    summary = visit.page.locator("#summary")
    for _ in range(100):
        if said.fullmatch(await summary.inner_text()):
            return
        await visit.page.get_by_role("button", name="Show", exact=True).click()
        await expect(visit.page.locator("body[aria-busy]")).to_have_count(0)
    await expect(summary).to_have_text(said)


@pytest.mark.usefixtures("garbage")
async def test_letters_are_inspected_tried_dry_and_resolved(someone: Open) -> None:
    async with someone() as visit:
        page = visit.page
        await come_in(visit)
        await settled(visit, 3)
        await counted(visit, re.compile(r"3 open, the oldest for \d+ (s|min)\."))
        await expect(page.locator("#letters [data-of=reason]").first).to_have_text("malformed-event")

        await page.get_by_role("button", name="Inspect").first.click()
        shown = page.locator(".inspected")
        await expect(shown).to_contain_text(r"<img src=x onerror=alert(1)>\xff")
        await expect(shown).to_contain_text("nothing reads it better the second time")
        await page.get_by_role("button", name="Inspect").first.click()
        await expect(shown).to_have_count(0)

        await page.get_by_label("Choose all that are shown").check()
        await page.get_by_role("button", name="Try it dry").click()
        await expect(page.locator("#told")).to_contain_text("0 would be redriven, 3 refused.")
        await expect(page.locator("#told")).to_contain_text("3 × malformed: ")
        await expect(page.locator("#really")).to_be_disabled()

        await page.get_by_role("button", name="Resolve").first.click()
        await expect(page.locator("#letters tr[data-state=resolved]")).to_have_count(1)
        await expect(page.locator("#summary")).to_contain_text("2 open")
        visit.assert_undisturbed()


async def test_what_was_tried_dry_is_redriven(someone: Open, running_system: System) -> None:
    settings = running_system.settings.kafka
    seen, job = datetime.now(UTC), uuid4()
    letter = DeadLetter(
        reason="handler-failed",
        attempts=3,
        first_seen=seen,
        last_seen=seen,
        topic=EXPIRATIONS.name,
        partition=0,
        offset=2**40,
        original=EXPIRATIONS.encode(ExpireJob(job=job)),
        job=job,
    )
    async with KafkaLog(settings, source="test") as log:
        await log.publish(DEAD_LETTERS, [letter])
    async with someone() as visit:
        page = visit.page
        await come_in(visit)
        await page.locator("#job").fill(str(job))
        await settled(visit, 1)
        await page.locator("#which").select_option("job")
        await page.get_by_role("button", name="Try it dry").click()
        await expect(page.locator("#told")).to_have_text("1 would be redriven, 0 refused.")
        await expect(page.locator("#letters tr")).to_have_attribute("data-state", "open")
        await page.get_by_label("even if redriven often").check()
        await expect(page.locator("#really")).to_be_disabled()  # other than what was tried
        await page.get_by_role("button", name="Try it dry").click()
        await page.locator("#really").click()
        await expect(page.locator("#told")).to_have_text("1 redriven, 0 refused.")
        await expect(page.locator("#none")).to_be_visible()  # none of this job is open any more
        await page.locator("#state").select_option("redriven")
        await settled(visit, 1)
        visit.assert_undisturbed()


async def test_a_wrong_token_opens_nothing(someone: Open) -> None:
    async with someone() as visit:
        await come_in(visit, "not the token at all")
        await expect(visit.page.get_by_role("alert")).to_contain_text("operator token")
        await expect(visit.page.locator("#room")).to_be_hidden()
        visit.assert_undisturbed(statuses=[401])


async def test_the_token_is_in_no_address_and_no_storage_and_gone_after_a_reload(someone: Open) -> None:
    async with someone() as visit:
        page = visit.page
        await come_in(visit)
        await expect(page.locator("#room")).to_be_visible()
        assert TOKEN not in "".join(each.url for each in visit.requests) + page.url
        kept = await page.evaluate(
            "JSON.stringify([localStorage, sessionStorage, document.cookie, document.body.outerHTML])"
        )
        assert TOKEN not in kept
        assert await page.get_by_label("Operator token").input_value() == ""
        await page.reload()
        await expect(page.locator("#room")).to_be_hidden()
        await expect(page.get_by_label("Operator token")).to_have_value("")


async def test_without_scripts_it_says_what_to_do_and_sends_no_token(someone: Open) -> None:
    async with someone(scripts=False) as visit:
        await visit.page.goto("/operator/dead-letters")
        await expect(visit.page.get_by_text("This page needs scripts.")).to_be_visible()
        await expect(visit.page.get_by_role("button", name="Open")).to_be_disabled()
