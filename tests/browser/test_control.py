"""What a person does about photos that failed or are not wanted any more, in Chromium."""

import re
from collections.abc import Iterator

import pytest
from playwright.async_api import Page, expect

from tests.browser.visits import (
    DONE,
    FAILED,
    JOB_PAGE,
    MARK,
    PATIENCE_MS,
    SHOWN,
    Visit,
    assert_shown,
    jpeg,
)
from tests.people import photo
from tests.system import System

TELLS = "{exif.camera}"  # which a photo without EXIF does not say
OPTIONS_PAGE = re.compile(r"/jobs/[\w-]{20,}/retry$")
COUNTS = """
window.asked = 0;
Notification.requestPermission = async () => { window.asked += 1; return "denied"; };
"""
LISTENS = """
window.rung = [];
window.Notification = class extends Notification {
  constructor(title, options) { super(title, options); window.rung.push([title, options.body]); }
};
"""


@pytest.fixture
def nobody_renders(running_system: System) -> Iterator[System]:
    workers = [process for name, process in running_system.processes.items() if name.startswith("worker")]
    for worker in workers:
        worker.pause()
    try:
        yield running_system
    finally:
        for worker in workers:
            worker.resume()


def workers_go_on(system: System) -> None:
    for name, process in system.processes.items():
        if name.startswith("worker"):
            process.resume()


async def send_what_fails(visit: Visit, text: str) -> str:
    await visit.page.locator("#files").set_input_files(
        [jpeg("a.jpg"), jpeg("b.jpg", photo(320, 240, seed=1))]
    )
    await visit.page.locator("#watermark-text").fill(text)
    return await visit.send()


async def choose_other_words(page: Page) -> None:
    await page.get_by_role("link", name="Retry with other options").click()
    await expect(page).to_have_url(OPTIONS_PAGE)
    await expect(page.locator("main")).to_contain_text("2 failed photos will be rendered again")
    await expect(page.locator("#watermark-text")).to_have_value(TELLS)
    await page.locator("#watermark-text").fill(MARK)
    await page.get_by_role("button", name="Retry the photos").click()
    await expect(page).to_have_url(JOB_PAGE)


async def test_failed_photos_lie_in_a_tray_and_are_retried_with_other_options(ann: Visit) -> None:
    page = ann.page
    await send_what_fails(ann, TELLS)
    await expect(page.locator("h1:visible")).to_have_text(
        "None of the photos could be done", timeout=PATIENCE_MS
    )
    tray = page.locator("[data-tray]")
    await expect(tray.locator("h2")).to_have_text("2 failed")
    await expect(tray.locator("li.fault code")).to_have_text("nothing-to-write")
    await expect(tray.locator(".fix")).to_have_text("Retry with words of your own in it.")
    assert await tray.locator(".names bdi").all_inner_texts() == ["a.jpg", "b.jpg"]

    events = page.url + "/events"
    await tray.get_by_role("button", name="Retry failed").click()  # and again they fail
    await expect(page.locator("h1:visible")).to_have_text("Working on your photos")
    await expect(page.locator("h1:visible")).to_have_text(
        "None of the photos could be done", timeout=PATIENCE_MS
    )
    assert [each.method for each in ann.requests if each.url == events] == ["GET", "GET"]

    await choose_other_words(page)
    await ann.see_the_end()
    await assert_shown(page.locator(SHOWN), 2)
    await expect(tray).to_be_hidden()
    ann.assert_undisturbed()


async def test_the_same_without_scripts(ben: Visit) -> None:
    page = ben.page
    await send_what_fails(ben, TELLS)
    await ben.see_the_end()
    await page.get_by_role("button", name="Retry failed").click()
    await expect(page).to_have_url(JOB_PAGE)
    await expect(page.locator("h1")).to_have_text("None of the photos could be done", timeout=PATIENCE_MS)
    await choose_other_words(page)
    await expect(page.locator("h1")).to_have_text("Your photos are ready", timeout=PATIENCE_MS)
    await assert_shown(page.locator(SHOWN), 2)
    ben.assert_undisturbed()


async def test_what_waits_is_cancelled_and_may_be_wanted_again(ann: Visit, nobody_renders: System) -> None:
    page = ann.page
    await ann.drop(*(jpeg(f"{n}.jpg", photo(320, 240, seed=n)) for n in range(3)))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await ann.send()
    await page.get_by_role("button", name="Cancel 1.jpg").click(timeout=PATIENCE_MS)
    await expect(page.locator(f"{FAILED}[data-n='1'] code")).to_have_text("cancelled")
    await expect(page.locator("[data-tray]")).to_contain_text("This photo was cancelled before it was done.")

    await page.get_by_role("button", name="Cancel what is left").click(timeout=PATIENCE_MS)
    await expect(page.locator("h1:visible")).to_have_text("None of the photos could be done")
    await expect(page.locator("[data-counts]")).to_have_text("0 of 3 done, 3 failed")
    await expect(page.locator("[data-countdown]")).to_have_text(re.compile("is deleted in"))
    assert await page.get_by_role("button", name="Cancel").count() == 0

    await page.get_by_role("button", name="Retry these 3").click()
    await expect(page.locator(FAILED)).to_have_count(0)
    workers_go_on(nobody_renders)
    await expect(page.locator(DONE)).to_have_count(3, timeout=2 * PATIENCE_MS)
    ann.assert_undisturbed()


async def test_what_waits_is_cancelled_without_scripts(ben: Visit, nobody_renders: System) -> None:
    page = ben.page
    await send_what_fails(ben, MARK)
    await page.get_by_role("button", name="Cancel a.jpg").click()
    await expect(page.locator(f"{FAILED} code")).to_have_text("cancelled")
    await page.get_by_role("button", name="Cancel what is left").click()
    await expect(page.locator("[data-counts]")).to_have_text("0 of 2 done, 2 failed")
    assert nobody_renders.processes["worker-1"].exit_code is None
    ben.assert_undisturbed()


async def test_whoever_pressed_the_bell_is_notified_of_the_end_once(
    ann: Visit, nobody_renders: System
) -> None:
    page = ann.page
    await page.context.grant_permissions(["notifications"])
    await page.add_init_script(LISTENS)
    await page.goto("/")
    await ann.drop(jpeg("a.jpg"))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await ann.send()
    bell = page.get_by_role("button", name="Notify me")
    await bell.click(timeout=PATIENCE_MS)
    await expect(page.get_by_role("button", name="Notification on")).to_have_attribute("aria-pressed", "true")
    assert await page.evaluate("window.rung") == []
    workers_go_on(nobody_renders)
    await ann.see_the_end()
    assert await page.evaluate("window.rung") == [["Your photos are ready", "1 of 1 done"]]
    ann.assert_undisturbed()


async def test_nobody_is_asked_for_leave_to_notify_who_does_not_press_the_bell(ann: Visit) -> None:
    await ann.page.add_init_script(COUNTS)
    await ann.page.goto("/")
    await ann.drop(jpeg("a.jpg"))
    await ann.page.get_by_label("Text", exact=True).fill(MARK)
    await ann.send()
    await ann.see_the_end()
    assert await ann.page.evaluate("window.asked") == 0
    ann.assert_undisturbed()
