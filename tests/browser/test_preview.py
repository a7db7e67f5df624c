"""The preview on the upload page follows the options, says what it shows, and holds up nothing."""

import re

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.browser.visits import MARK, Open, Visit, jpeg
from tests.people import photo

PATH = "**/preview*"


def figure(page: Page) -> Locator:
    return page.get_by_role("figure", name="Preview")


async def shown(page: Page, words: str | re.Pattern[str]) -> str:
    """Return the address of the picture once the caption says this, and the picture is there."""
    await expect(page.locator("#preview-says")).to_have_text(words)
    await expect(figure(page)).to_have_attribute("aria-busy", "false")
    picture = figure(page).locator("img")
    await expect(picture).to_be_visible()
    await expect(picture).to_have_js_property("complete", value=True)
    assert await picture.evaluate("picture => picture.naturalWidth") > 0
    return await picture.evaluate("picture => picture.src")


async def changed(page: Page, before: str) -> str:
    """Return the address of the next picture."""
    await expect(figure(page).locator("img")).not_to_have_attribute("src", before)
    await expect(figure(page)).to_have_attribute("aria-busy", "false")
    return await figure(page).locator("img").evaluate("picture => picture.src")


async def test_it_shows_a_photo_of_ours_and_then_the_first_one_that_is_chosen(ann: Visit) -> None:
    page = ann.page
    await shown(page, "Preview of a photo of ours: 4032 × 3024 pixels")
    await ann.drop(jpeg("one.jpg", photo(900, 600)), jpeg("two.jpg", photo(640, 480)))
    first = await shown(page, "Preview of one.jpg: 900 × 600 pixels")
    assert await figure(page).locator("img").get_attribute("alt") == "one.jpg with the chosen options"
    await page.get_by_label("Text", exact=True).fill(MARK)
    second = await changed(page, first)
    await page.get_by_title("Top left", exact=True).click()
    await changed(page, second)
    await page.get_by_role("button", name="Remove one.jpg").click()
    await shown(page, "Preview of two.jpg: 640 × 480 pixels")
    ann.assert_undisturbed()


async def test_it_is_as_large_as_the_result_says_and_the_screen_has_room_for(ann: Visit) -> None:
    page = ann.page
    await shown(page, re.compile("a photo of ours"))
    await page.get_by_role("checkbox", name="Resize").check()
    await page.get_by_label("Width", exact=True).fill("300")
    await shown(page, "Preview of a photo of ours: 300 × 225 pixels")
    assert await figure(page).locator("img").evaluate("picture => picture.naturalWidth") == 300
    ann.assert_undisturbed()


async def test_it_says_in_the_server_s_words_why_there_is_none(ann: Visit) -> None:
    page = ann.page
    await shown(page, re.compile("a photo of ours"))
    await page.get_by_label("Colour", exact=True).fill("purple")
    says = page.locator("#preview-says")
    await expect(says).to_have_text(re.compile("watermark: color must be"))
    await page.get_by_label("Colour", exact=True).fill("#ff8800")
    await shown(page, "Preview of a photo of ours: 4032 × 3024 pixels")
    await page.get_by_role("checkbox", name="Watermark").uncheck()
    await expect(says).to_have_text("Choose what to do, and see it here.")
    ann.assert_undisturbed(statuses=[422])


async def test_it_waits_when_it_is_told_to_and_asks_again(ann: Visit) -> None:
    page = ann.page
    await shown(page, re.compile("a photo of ours"))
    refusals = 0

    async def refuse_once(route: Route) -> None:
        nonlocal refusals
        refusals += 1
        if refusals == 1:
            await route.fulfill(
                status=503, headers={"retry-after": "1"}, json={"code": "previews-busy", "detail": "Busy."}
            )
        else:
            await route.continue_()

    await page.route(PATH, refuse_once)
    before = await figure(page).locator("img").evaluate("picture => picture.src")
    await page.get_by_label("Text", exact=True).fill(MARK)
    await changed(page, before)
    assert refusals == 2
    ann.assert_undisturbed(statuses=[503])


async def test_where_there_are_none_just_now_it_says_so_and_sends_the_photo_once(ann: Visit) -> None:
    page, asked = ann.page, 0
    await shown(page, re.compile("a photo of ours"))

    async def refuse(route: Route) -> None:
        nonlocal asked
        asked += 1
        problem = {"code": "no-previews", "detail": "No previews can be made just now."}
        await route.fulfill(status=503, headers={"retry-after": "1"}, json=problem)

    await page.route(PATH, refuse)
    await page.get_by_label("Text", exact=True).fill(MARK)
    await expect(page.locator("#preview-says")).to_have_text("No previews can be made just now.")
    await expect(figure(page)).to_have_attribute("aria-busy", "false")
    await page.wait_for_timeout(1500)  # longer than it was told to wait
    assert asked == 1
    ann.assert_undisturbed(statuses=[503])


async def test_of_many_changes_only_the_last_is_waited_for(ann: Visit) -> None:
    page = ann.page
    first = await shown(page, re.compile("a photo of ours"))
    before = len([each for each in ann.requests if "/preview?" in each.url])
    await page.get_by_label("Text", exact=True).press_sequentially("a longer text than that", delay=10)
    await changed(page, first)
    after = len([each for each in ann.requests if "/preview?" in each.url])
    assert 1 <= after - before < 23
    ann.assert_undisturbed()


async def test_photos_are_sent_whatever_becomes_of_previews(ann: Visit) -> None:
    page = ann.page
    await page.route(PATH, lambda route: route.abort())
    await ann.drop(jpeg("one.jpg"))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await expect(page.locator("#preview-says")).to_have_text(
        "The server cannot be reached; there is no preview."
    )
    await ann.send()
    await ann.see_the_end()


async def test_without_scripts_there_is_none_and_nothing_asks_for_it(ben: Visit) -> None:
    await expect(ben.page.get_by_role("button", name="Mark the photos")).to_be_visible()
    await expect(ben.page.locator("#preview")).to_be_hidden()
    assert [each for each in ben.requests if "preview?" in each.url] == []
    ben.assert_undisturbed()


@pytest.mark.parametrize("width", [360, 800, 1280])
async def test_it_stays_in_sight_beside_the_options_at_every_width(someone: Open, width: int) -> None:
    async with someone() as visit:
        page = visit.page
        await page.set_viewport_size({"width": width, "height": 800})
        await page.goto("/")
        await shown(page, re.compile("a photo of ours"))
        last = page.get_by_role("checkbox", name="Blur")
        await last.scroll_into_view_if_needed()
        await expect(figure(page).locator("img")).to_be_in_viewport(ratio=0.9)
        await expect(last).to_be_in_viewport()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        visit.assert_undisturbed()
