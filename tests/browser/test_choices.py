"""What a person chooses: several marks, an order, a preset, and a link that says it all."""

import re
from urllib.parse import parse_qsl, urlsplit

from playwright.async_api import Page, expect

from ebbmark.imaging.recipe import Recipe, recipe_from_form
from tests.browser.visits import DONE, MARK, Open, Visit, jpeg
from tests.people import opened, photo

CHOSEN = '[data-steps="chosen"] > .operation:has([name="operations"]:checked)'


async def labels(page: Page) -> list[str]:
    """The ticked operations, from top to bottom."""
    return await page.locator(CHOSEN).evaluate_all("steps => steps.map((step) => step.dataset.label)")


def recipe_of(link: str) -> Recipe:
    fields = dict(parse_qsl(urlsplit(link).query))
    return recipe_from_form([fields.pop("operations")], fields)


async def shared(page: Page) -> str:
    """The link that is copied."""
    await page.get_by_role("button", name="Copy a link to these settings").click()
    await expect(page.locator("#share button")).to_have_text("Copied")
    return await page.evaluate("navigator.clipboard.readText()")


async def test_two_marks_in_an_order_of_one_s_own_reach_the_result(ann: Visit) -> None:
    page = ann.page
    await ann.drop(jpeg("wide.jpg", photo(800, 400)))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await page.get_by_label("Resize", exact=True).check()
    await page.get_by_label("Width", exact=True).fill("200")
    assert await labels(page) == ["resize", "watermark"]
    await page.get_by_role("button", name="Add another mark").click()
    await expect(page.get_by_label("Text of Watermark 2")).to_be_focused()
    await page.get_by_label("Text of Watermark 2").fill("PROOF")
    await page.locator("#watermark-2-text").evaluate("field => field.blur()")
    assert await labels(page) == ["resize", "watermark", "watermark.2"]
    await page.get_by_role("button", name="Do Resize later").click()
    await expect(page.get_by_role("button", name="Do Resize later")).to_be_focused()
    assert await labels(page) == ["watermark", "resize", "watermark.2"]
    await page.get_by_role("button", name="Add another mark").click()
    await page.get_by_label("Text of Watermark 3").fill("third")
    await page.get_by_label("Watermark 3", exact=True).uncheck()
    await ann.send()
    await ann.see_the_end()
    await expect(page.locator(DONE)).to_have_count(1)
    url = await page.locator(f"{DONE} .state").get_by_role("link").get_attribute("href")
    assert url is not None
    result = opened(await (await page.request.get(url)).body())
    assert result.size == (200, 100)
    ann.assert_undisturbed()


async def test_what_was_chosen_is_there_again_the_next_time(ann: Visit) -> None:
    page = ann.page
    await ann.drop(jpeg("a.jpg"))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await page.get_by_role("button", name="Add another mark").click()
    await page.get_by_label("Text of Watermark 2").fill("PROOF")
    await page.get_by_label("Grayscale", exact=True).check()
    await page.get_by_role("button", name="Do Watermark 2 earlier").click()
    order = await labels(page)
    assert order == ["grayscale", "watermark.2", "watermark"]
    await ann.send()
    await ann.see_the_end()
    await page.goto("/")
    assert await labels(page) == order
    await expect(page.locator("#watermark-2-text")).to_have_value("PROOF")
    await expect(page.locator("#watermark-text")).to_have_value(MARK)
    await page.goto("/?operations=blur&radius=0.02")
    assert await labels(page) == ["blur"]
    await expect(page.locator("#blur-radius")).to_have_value("0.02")
    await page.goto("/?operations=watermark&text=x&size=0.0333")
    await expect(page.locator("#watermark-size")).to_have_value("0.0333")  # between two notches
    ann.assert_undisturbed()


async def test_a_link_to_the_settings_says_what_the_form_says_and_nothing_else(
    ann: Visit, someone: Open
) -> None:
    page = ann.page
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.get_by_label("Text", exact=True).fill(f"{MARK}\n& more")
    await page.get_by_label("Tiled", exact=True).check()
    await page.get_by_label("Outline", exact=True).uncheck()
    await page.get_by_label("Convert", exact=True).check()
    await page.get_by_label("Format", exact=True).select_option("webp")
    link = await shared(page)
    fields = {"operations", "watermark.text", "watermark.position", "watermark.outline", "convert.format"}
    assert {name for name, _ in parse_qsl(urlsplit(link).query)} == fields
    async with someone(scripts=False) as friend:
        await friend.page.goto(link)
        await expect(friend.page.locator("#watermark-text")).to_have_value(f"{MARK}\n& more")
        await expect(friend.page.locator("#watermark-outline")).not_to_be_checked()
        await expect(friend.page.locator("#convert-format")).to_have_value("webp")
        friend.assert_undisturbed()
    async with someone() as other:
        await other.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await other.page.goto(link)
        assert recipe_of(await shared(other.page)) == recipe_of(link)
        other.assert_undisturbed()
    ann.assert_undisturbed()


async def test_a_preset_fills_the_form_and_the_photos_stay_chosen(ann: Visit) -> None:
    page = ann.page
    await ann.drop(jpeg("a.jpg"), jpeg("b.jpg"))
    await page.get_by_role("link", name="Web proof").click()
    await expect(page.get_by_role("link", name="Web proof")).to_have_attribute("aria-current", "true")
    await expect(page.locator("#watermark-text")).to_have_value("PROOF")
    await expect(page.locator('output[for="watermark-opacity"]')).to_have_text("25 %")
    assert await labels(page) == ["resize", "watermark", "convert"]
    await expect(page.locator("#previews img")).to_have_count(2)
    await page.get_by_role("button", name="Add another mark").click()
    await page.get_by_label("Text of Watermark 2").fill(MARK)
    assert await labels(page) == ["resize", "watermark", "watermark.2", "convert"]
    await page.get_by_role("link", name="Newsroom").click()
    await expect(page.get_by_role("link", name="Web proof")).not_to_have_attribute("aria-current", "true")
    await expect(page.locator("#resize-width")).to_have_value("2400")
    await page.get_by_role("link", name="Archive as WebP").click()
    await expect(page.locator("#convert-quality")).to_have_value("92")
    assert await labels(page) == ["convert"]
    await ann.send()
    await ann.see_the_end()
    await expect(page.locator(DONE)).to_have_count(2)
    ann.assert_undisturbed()


async def test_a_second_mark_and_a_preset_need_no_scripts(ben: Visit) -> None:
    page = ben.page
    await page.get_by_role("link", name="Numbered proof").click()
    await expect(page).to_have_url(re.compile(r"/\?preset=numbered-proof$"))
    await page.get_by_label("Watermark 2", exact=True).check()
    await page.get_by_label("Text of Watermark 2").fill(MARK)
    await page.locator("#files").set_input_files([jpeg("a.jpg", photo(1600, 900))])
    await page.get_by_role("button", name="Mark the photos").click()
    await ben.see_the_end()
    await expect(page.locator(f"{DONE} .state", has_text="1200×675")).to_have_count(1)
    ben.assert_undisturbed()


async def test_a_wrong_link_is_a_page_with_a_sentence(someone: Open) -> None:
    async with someone() as visit:
        await visit.page.goto("/?operations=sharpest")
        await expect(visit.page.locator("main")).to_contain_text("There is no operation 'sharpest'")
        await visit.page.get_by_role("link", name="Mark more photos").click()
        await expect(visit.page.locator("h1:visible")).to_have_text("Mark your photos")
        visit.assert_undisturbed(statuses=[422])


async def test_no_form_is_wider_than_a_small_phone(ann: Visit) -> None:
    page = ann.page
    await page.set_viewport_size({"width": 360, "height": 700})
    for address in ("/", "/?preset=web-proof", "/?preset=newsroom"):
        await page.goto(address)
        for box in await page.locator('[name="operations"]').all():
            await box.check()
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
