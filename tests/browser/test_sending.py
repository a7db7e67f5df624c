"""What can go wrong while photos go up, in Chromium: a person learns of it, and loses nothing else."""

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Route, expect

from tests.browser.visits import DONE, FAILED, MARK, SHOWN, Visit, assert_shown, jpeg
from tests.people import photo


async def refuse(route: Route) -> None:
    """Answer as the server does to a photo that it takes no note of."""
    problem = {"code": "job-too-large", "detail": "A job may hold 3 MiB in all."}
    await route.fulfill(status=413, content_type="application/problem+json", body=json.dumps(problem))


async def test_a_refused_photo_that_the_job_does_not_hold_keeps_nothing_up(ann: Visit) -> None:
    page = ann.page
    await page.route("**/photos/1", refuse)
    await ann.drop(jpeg("a.jpg"), jpeg("b.jpg"), jpeg("c.jpg"))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await ann.send()
    await ann.see_the_end()
    await expect(page.locator("[data-counts]")).to_have_text("2 of 3 done, 1 failed")
    await expect(page.locator(f"{FAILED} .reason")).to_have_text("A job may hold 3 MiB in all.")
    await page.get_by_role("button", name="Show only the failed").click()
    assert await page.locator("[data-tiles] > li:visible .name").all_inner_texts() == ["b.jpg"]
    await page.get_by_role("button", name="Show only the failed").click()
    await assert_shown(page.locator(SHOWN), 2)
    ann.assert_undisturbed(statuses=[413, 409])


async def test_when_all_are_refused_the_form_comes_back_and_says_why(ann: Visit) -> None:
    page = ann.page
    await page.route("**/photos/*", refuse)
    await ann.drop(jpeg("a.jpg"), jpeg("b.jpg"))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await page.get_by_role("button", name="Mark the photos").click()
    await expect(page.get_by_role("alert")).to_have_text("A job may hold 3 MiB in all.")
    await expect(page).to_have_url(re.compile(r"/$"))
    await expect(page.locator("#previews img")).to_have_count(2)
    ann.assert_undisturbed(statuses=[413, 409])


async def test_a_busy_server_and_a_broken_connection_cost_only_time(ann: Visit) -> None:
    page = ann.page
    tried: list[str] = []

    async def stumble(route: Route) -> None:
        photo_url = route.request.url
        tried.append(photo_url)
        if tried.count(photo_url) > 1:
            await route.continue_()
        elif photo_url.endswith("0"):
            await route.abort("connectionreset")
        else:
            await route.fulfill(status=503, headers={"retry-after": "1"}, body="")

    await page.route(re.compile(r"/photos/\d+$"), stumble)
    await ann.drop(jpeg("a.jpg"), jpeg("b.jpg"))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await ann.send()
    await ann.see_the_end()
    await expect(page.locator("[data-counts]")).to_have_text("2 of 2 done")
    assert len(tried) == 4
    ann.complaints[:] = [text for text in ann.complaints if "ERR_CONNECTION_RESET" not in text]
    ann.assert_undisturbed(statuses=[503])


async def test_a_file_that_vanished_after_it_was_chosen_fails_alone(ann: Visit, tmp_path: Path) -> None:
    page = ann.page
    names = ["stays.jpg", "goes.jpg"]
    for seed, name in enumerate(names):
        (tmp_path / name).write_bytes(photo(seed=seed))
    await page.locator("#files").set_input_files([tmp_path / name for name in names])
    await page.get_by_label("Text", exact=True).fill(MARK)
    (tmp_path / "goes.jpg").unlink()
    await ann.send()
    await ann.see_the_end()
    await expect(page.locator("[data-counts]")).to_have_text("1 of 2 done, 1 failed")
    await expect(page.locator(f"{FAILED} code")).to_have_text("unreadable-file")
    ann.complaints[:] = [text for text in ann.complaints if "ERR_FILE_NOT_FOUND" not in text]
    ann.assert_undisturbed(statuses=[409])


async def test_without_events_the_page_asks_instead(ann: Visit) -> None:
    page = ann.page
    await page.route("**/events", lambda route: route.fulfill(status=503, body=""))
    await ann.drop(jpeg("a.jpg"), jpeg("b.jpg"))
    await page.get_by_label("Text", exact=True).fill(MARK)
    job = await ann.send()
    await ann.see_the_end()
    await assert_shown(page.locator(SHOWN), 2)
    assert [each.method for each in ann.requests if each.url == job] != []
    ann.assert_undisturbed(statuses=[503])


async def test_a_whole_folder_is_taken(ann: Visit, tmp_path: Path) -> None:
    page = ann.page
    (tmp_path / "inner").mkdir()
    for seed, name in enumerate(["a.jpg", "inner/b.jpg"]):
        (tmp_path / name).write_bytes(photo(seed=seed))
    (tmp_path / "readme.txt").write_text("no photo")
    async with page.expect_file_chooser() as choosing:
        await page.get_by_role("button", name="Take a whole folder").click()
    await (await choosing.value).set_files(tmp_path)
    await expect(page.locator("#chosen-count")).to_contain_text("2 photos")
    await expect(page.get_by_role("alert")).to_have_text("1 file left out: not a photo.")
    await page.get_by_label("Text", exact=True).fill(MARK)
    await ann.send()
    await ann.see_the_end()
    await expect(page.locator(DONE)).to_have_count(2)
    ann.assert_undisturbed()


async def test_the_form_is_as_it_was_the_last_time(ann: Visit) -> None:
    page = ann.page
    await ann.drop(jpeg("a.jpg"))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await page.get_by_label("Top left").check()
    await page.get_by_label("Opacity", exact=True).fill("0.8")
    await page.get_by_label("Grayscale", exact=True).check()
    await ann.send()
    await ann.see_the_end()
    await page.goto("/")
    await expect(page.get_by_label("Text", exact=True)).to_have_value(MARK)
    await expect(page.get_by_label("Top left")).to_be_checked()
    await expect(page.locator('output[for="watermark-opacity"]')).to_have_text("80 %")
    await expect(page.get_by_label("Grayscale", exact=True)).to_be_checked()
    await expect(page.get_by_label("Blur", exact=True)).not_to_be_checked()
    ann.assert_undisturbed()


async def test_a_colour_is_chosen_by_its_swatch_or_written(ann: Visit) -> None:
    page = ann.page
    field, swatch = page.get_by_label("Colour", exact=True), page.get_by_label("Choose a colour")
    await expect(field).to_have_value("auto")
    await swatch.fill("#ff8800")
    await expect(field).to_have_value("#ff8800")
    await field.fill("#00AA33")
    await expect(swatch).to_have_value("#00aa33")
    await page.get_by_label("Chessboard").check()
    await page.get_by_label("Shadow").check()
    await ann.drop(jpeg("a.jpg"))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await ann.send()
    await ann.see_the_end()
    await expect(page.locator(DONE)).to_have_count(1)
    ann.assert_undisturbed()


@pytest.mark.parametrize("width", [360, 768, 1280])
async def test_no_page_is_wider_than_its_window(ann: Visit, width: int) -> None:
    page = ann.page
    await page.set_viewport_size({"width": width, "height": 740})
    await ann.drop(jpeg(f"{'long name ' * 20}.jpg"), jpeg("note.jpg", b"no photo"))
    await page.get_by_label("Text", exact=True).fill(MARK)
    widest = "document.documentElement.scrollWidth"
    assert await page.evaluate(widest) == width
    await ann.send()
    await ann.see_the_end()
    assert await page.evaluate(widest) == width
    ann.assert_undisturbed(statuses=[415])
