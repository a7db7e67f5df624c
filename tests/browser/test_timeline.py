"""The time line of a job in Chromium: found, readable on a phone, and the same without scripts."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.visits import MARK, PATIENCE_MS, Visit, jpeg
from tests.people import photo

pytestmark = pytest.mark.servers

FILES = [jpeg("a.jpg", photo(640, 480, seed=1)), jpeg("note.jpg", b"Dear diary, this is not a photo.")]
DONE = re.compile(r"waited \d.*, rendered in \d")


async def assert_times(visit: Visit) -> None:
    page = visit.page
    await page.get_by_role("link", name="Time line").click()
    await expect(page.locator("h1")).to_have_text("Time line")
    done, refused = page.locator(".lines li").nth(0), page.locator(".lines li").nth(1)
    await expect(done.locator(".says")).to_contain_text(DONE, timeout=PATIENCE_MS)
    await expect(refused.locator(".says")).to_contain_text("refused when it came")
    (wait,) = await done.locator("rect.wait").all()
    (work,) = await done.locator("rect.work").all()
    left, right = await wait.bounding_box(), await work.bounding_box()
    assert left is not None
    assert right is not None
    assert left["x"] < right["x"], "a photo waits before it is rendered"
    assert right["width"] > 1
    assert "0, 0, 0" not in await work.evaluate("rect => getComputedStyle(rect).fill"), "it has a colour"
    await page.set_viewport_size({"width": 360, "height": 800})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    await page.get_by_role("link", name="Back to the photos").click()
    await expect(page.locator("h1:visible")).to_have_text("Your photos are ready")


async def test_a_person_finds_when_each_photo_was_taken_up_and_done(ann: Visit) -> None:
    await ann.drop(*FILES)
    await ann.page.get_by_label("Text", exact=True).fill(MARK)
    await ann.send()
    await ann.see_the_end()
    await assert_times(ann)
    ann.assert_undisturbed(statuses=[415])


async def test_the_same_without_scripts(ben: Visit) -> None:
    page = ben.page
    await page.locator("#files").set_input_files(FILES)
    await page.locator("#watermark-text").fill(MARK)
    async with page.expect_response(lambda answer: answer.request.method == "POST") as sending:
        await page.get_by_role("button", name="Mark the photos").click()
    assert (await sending.value).status == 303
    await assert_times(ben)
