"""What a person sees and does, in Chromium, against the whole running system."""

import json
import re
import shutil
import zipfile
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta

import playwright.async_api
import pytest
import pytest_asyncio
from playwright.async_api import Download, FilePayload, Page, Route, expect

from ebbmark.imaging.header import PHOTOS
from tests.browser.visits import (
    DONE,
    FAILED,
    JOB_PAGE,
    MARK,
    PATIENCE_MS,
    SHOWN,
    Gate,
    Open,
    Visit,
    assert_shown,
    jpeg,
)
from tests.conftest import CHROMIUM_FLAGS
from tests.people import opened, photo
from tests.system import System


def four_files() -> list[FilePayload]:
    """Three photos and a text that only says it is one."""
    return [
        jpeg("Закат над морем.jpg", photo(640, 480, seed=1)),
        jpeg("🌊.JPG", photo(480, 360, seed=2)),
        jpeg("upright.jpg", photo(640, 480, seed=3, orientation=6)),
        jpeg("note.jpg", b"Dear diary, this is not a photo."),
    ]


async def archive_of(download: Download) -> dict[str, bytes]:
    with zipfile.ZipFile(await download.path()) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def assert_archive(files: dict[str, bytes]) -> None:
    assert set(files) == {"Закат над морем.jpg", "🌊.JPG", "upright.jpg", "manifest.json"}
    assert opened(files["upright.jpg"]).size == (480, 640)
    assert opened(files["Закат над морем.jpg"]).size == (640, 480)
    assert json.loads(files["manifest.json"])


COUNTDOWN = re.compile(r"Everything is deleted in (\d\d?):(\d\d)\.")


async def shown_seconds(page: Page) -> int:
    text = await page.locator("[data-countdown]").inner_text()
    found = COUNTDOWN.fullmatch(text)
    assert found, text
    return 60 * int(found[1]) + int(found[2])


async def assert_counts_down(visit: Visit, job: str) -> None:
    """What the page shows is what the server says is left, to the second, and an hour in all.

    Between two looks at the page the server is asked: however long that takes, its answer lies between them.
    """
    for _ in range(50):
        before = await shown_seconds(visit.page)
        answer = await visit.page.request.get(job, headers={"accept": "application/json"})
        after = await shown_seconds(visit.page)
        status = await answer.json()
        expires, completed, now = (
            datetime.fromisoformat(status[name]) for name in ("expires_at", "completed_at", "server_time")
        )
        assert expires - completed == timedelta(hours=1)
        left = (expires - now).total_seconds()
        assert left <= before
        if left > after - 2:  # it is rounded up, and drawn anew each second unless the machine is busy
            break
    else:
        pytest.fail(f"the page shows {after} s, and {left} s are left")
    text = await visit.page.locator("[data-countdown]").inner_text()
    await expect(visit.page.locator("[data-countdown]")).not_to_have_text(text)
    assert await shown_seconds(visit.page) < before


async def test_dropped_photos_become_results_without_a_reload_and_are_deleted_at_a_click(ann: Visit) -> None:
    page = ann.page
    await ann.drop(*four_files())
    await expect(page.locator("#chosen-count")).to_contain_text("4 photos")
    await page.get_by_label("Text", exact=True).fill(MARK)
    job = await ann.send()
    await ann.see_the_end()

    await expect(page.locator("h1:visible")).to_have_text("Your photos are ready")
    await expect(page.locator("[data-counts]")).to_have_text("3 of 4 done, 1 failed")
    await expect(page).to_have_title("3 of 4 done, 1 failed – Ebbmark")
    assert await page.locator("[data-tiles] .name").all_inner_texts() == [
        each["name"] for each in four_files()
    ]
    await assert_shown(page.locator(SHOWN), 3)
    await expect(page.locator("img.local")).to_have_count(0)
    await expect(page.locator(f"{DONE} .state", has_text="480×640")).to_have_count(1)
    refused = page.locator(FAILED)
    reason = f"This is no photo of a kind that is read: {PHOTOS}."
    await expect(refused.locator(".reason")).to_have_text(reason)
    await expect(refused.locator("code")).to_have_text("unsupported-format")
    assert [each.resource_type for each in ann.requests if each.url == f"{job}/events"] == ["eventsource"]
    assert [each for each in ann.requests if each.url == job] == []
    await assert_counts_down(ann, job)

    async with page.expect_download() as downloading:
        await page.get_by_role("link", name="Download all").click()
    assert_archive(await archive_of(await downloading.value))
    ann.assert_undisturbed(statuses=[415])

    await page.get_by_role("button", name="Delete now").click()
    asked = page.get_by_role("dialog")
    await asked.get_by_role("button", name="Keep").click()
    await expect(asked).to_be_hidden()
    await page.get_by_role("button", name="Delete now").click()
    async with page.expect_response(
        lambda answer: answer.url == job and answer.request.is_navigation_request()
    ) as leaving:
        await asked.get_by_role("button", name="Delete").click()
    assert (await leaving.value).status in {404, 410}  # 404 once nothing at all is left
    await expect(page.locator("h1")).to_have_text(re.compile("are deleted|nothing here"))
    ann.assert_undisturbed(statuses=[415, 410, 404])


async def test_the_same_without_scripts(ben: Visit) -> None:
    page = ben.page
    await page.locator("#files").set_input_files(four_files())
    await page.locator("#watermark-text").fill(MARK)
    async with page.expect_response(lambda answer: answer.request.method == "POST") as sending:
        await page.get_by_role("button", name="Mark the photos").click()
    assert (await sending.value).status == 303
    await expect(page).to_have_url(JOB_PAGE)
    await ben.see_the_end()  # the page reloads by itself

    await expect(page.locator("[data-counts]")).to_have_text("3 of 4 done, 1 failed")
    await expect(page.locator("[data-countdown]")).to_have_text(
        re.compile(r"^Everything is deleted at \d\d:\d\d UTC\.$")
    )
    await assert_shown(page.locator(SHOWN), 3)
    await expect(page.locator(f"{FAILED} code")).to_have_text("unsupported-format")

    async with page.expect_download() as downloading:
        await page.get_by_role("link", name="Download all").click()
    assert_archive(await archive_of(await downloading.value))
    await page.get_by_role("button", name="Delete now").click()
    await expect(page.locator("h1")).to_have_text(re.compile("are deleted|nothing here"))
    ben.assert_undisturbed(statuses=[410, 404])


@pytest_asyncio.fixture(loop_scope="session")
async def in_the_house(running_system: System) -> AsyncGenerator[Visit]:
    """Ben again, at a service in the house: on plain HTTP, by a name that no browser trusts."""
    async with playwright.async_api.async_playwright() as driver:
        names = "--host-resolver-rules=MAP lan.test 127.0.0.1"
        launched = await driver.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=[*CHROMIUM_FLAGS, names],
        )
        origin = running_system.base_url.replace("127.0.0.1", "lan.test")
        context = await launched.new_context(base_url=origin, java_script_enabled=False)
        visit = Visit(await context.new_page(), origin)
        visit.listen()
        await visit.page.goto("/")
        yield visit
        await launched.close()


@pytest.mark.usefixtures("browser")
async def test_forms_work_in_the_house_where_no_certificate_is(in_the_house: Visit) -> None:
    page = in_the_house.page
    await page.locator("#files").set_input_files([jpeg("a.jpg")])
    await page.locator("#watermark-text").fill(MARK)
    await page.get_by_role("button", name="Mark the photos").click()
    await expect(page).to_have_url(JOB_PAGE)
    await in_the_house.see_the_end()
    async with page.expect_response(lambda answer: answer.request.method == "POST") as deleting:
        await page.get_by_role("button", name="Delete now").click()
    assert (await deleting.value).status == 303
    await expect(page.locator("h1")).to_have_text(re.compile("are deleted|nothing here"))
    in_the_house.complaints[:] = [
        text for text in in_the_house.complaints if "Cross-Origin-Opener-Policy" not in text
    ]
    in_the_house.assert_undisturbed(statuses=[404, 410])


async def test_a_refused_form_is_there_again_when_one_goes_back(ben: Visit) -> None:
    page = ben.page
    await page.locator("#files").set_input_files([jpeg("note.jpg", b"no photo")])
    await page.locator("#watermark-text").fill(MARK)
    await page.get_by_role("group", name="Position", exact=True).get_by_label("Top left").check()
    await page.get_by_role("button", name="Mark the photos").click()
    await expect(page.locator("h1")).to_have_text("That did not work")
    await expect(page.locator("main")).to_contain_text("Go back in your browser")
    await page.go_back()
    await expect(page.locator("#watermark-text")).to_have_value(MARK)
    await expect(
        page.get_by_role("group", name="Position", exact=True).get_by_label("Top left")
    ).to_be_checked()
    ben.assert_undisturbed(statuses=[415])


EDGES = ["#watermark-text", "#convert-format", "#drop", ".grid9"]
BORDER = "element => getComputedStyle(element).borderTopColor"


async def test_the_edges_of_fields_are_drawn_in_the_colour_for_edges(ann: Visit) -> None:
    page = ann.page
    await page.get_by_label("Convert", exact=True).check()
    for scheme, colour in (("light", "rgb(131, 137, 140)"), ("dark", "rgb(116, 127, 129)")):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert {await page.locator(each).evaluate(BORDER) for each in EDGES} == {colour}
        dot = page.locator(".grid9 input:not(:checked)").first
        shown = "element => [getComputedStyle(element).backgroundColor, getComputedStyle(element).opacity]"
        assert await dot.evaluate(shown) == [colour, "1"]


async def test_nothing_shows_through_the_button_that_sends(ann: Visit) -> None:
    await ann.page.set_viewport_size({"width": 390, "height": 700})
    look = "element => [getComputedStyle(element).backgroundImage, getComputedStyle(element).backgroundColor]"
    assert await ann.page.locator(".send").evaluate(look) == ["none", "rgb(251, 250, 248)"]
    width = await ann.page.locator(".send").evaluate("element => element.getBoundingClientRect().width")
    assert width == 390


async def test_a_job_page_opened_by_its_link_is_alive(ann: Visit, someone: Open) -> None:
    await ann.drop(jpeg("a.jpg"))
    await ann.page.get_by_label("Text", exact=True).fill(MARK)
    job = await ann.send()
    async with someone() as friend:
        answer = await friend.page.goto(job)
        assert answer is not None
        assert answer.status == 200
        await friend.see_the_end()
        await assert_shown(friend.page.locator(SHOWN), 1)
        await expect(friend.page.locator("[data-countdown]")).to_have_text(re.compile(r"in \d+:\d\d"))
        assert [each.method for each in friend.requests if each.url == job] == ["GET"]
        friend.assert_undisturbed()


HOSTILE = ["<img src=x onerror=alert(1)>.jpg", "holiday\u202egpj.exe", "'\"><script>alert(2)</script>.jpg"]


async def test_a_hostile_name_is_text_wherever_it_stands(ann: Visit, someone: Open) -> None:
    page = ann.page
    gate = Gate(page, "**/photos/*")
    await gate.close()
    await ann.drop(*(jpeg(name) for name in HOSTILE))
    await expect(page.locator("#previews img")).to_have_count(3)
    await page.get_by_label("Text", exact=True).fill(MARK)
    job = await ann.send()
    names = page.locator("[data-tiles] .name bdi")
    await expect(names).to_have_count(3)
    assert await names.all_text_contents() == HOSTILE
    gate.open()
    await ann.see_the_end()

    async with someone() as friend:
        await friend.page.goto(job)
        for visit in (ann, friend):
            shown = await visit.page.locator("[data-tiles] .name bdi").all_text_contents()
            assert shown == ["_img src=x onerror=alert(1)_.jpg", "holidaygpj.exe", "script_.jpg"]
            assert await visit.page.locator("img[src=x], [onerror], main script").count() == 0
            visit.assert_undisturbed()


async def test_the_first_of_many_are_done_before_the_last_is_sent(ann: Visit) -> None:
    page, last = ann.page, 119
    gate = Gate(page, f"**/photos/{last}")
    await gate.close()
    small = photo(96, 72)
    await ann.drop(*(jpeg(f"{n:03}.jpg", small) for n in range(last + 1)))
    await page.get_by_label("Text", exact=True).fill(MARK)
    job = await ann.send()

    await expect(page.locator(DONE).nth(15)).to_be_attached(timeout=PATIENCE_MS)
    await assert_shown(page.locator(SHOWN).first, 1)
    await page.get_by_role("button", name="Delete now").click()
    await page.get_by_role("dialog").get_by_role("button", name="Keep").click()
    await expect(page.locator("h1:visible")).to_have_text("Working on your photos")
    await expect(page.locator(f"[data-tiles] > li[data-n='{last}']")).to_have_attribute(
        "data-state", "uploading"
    )

    await expect(page.locator(DONE)).to_have_count(last, timeout=PATIENCE_MS)
    assert len(gate.held) == 1
    gate.open()
    await expect(page.locator("[data-counts]")).to_have_text("120 of 120 done", timeout=PATIENCE_MS)
    await expect(page.locator("h1:visible")).to_have_text("Your photos are ready")
    assert [each.resource_type for each in ann.requests if each.url == f"{job}/events"] == ["eventsource"]
    ann.assert_undisturbed()


async def test_deleting_while_photos_go_up_asks_once_and_leaves(ann: Visit) -> None:
    page = ann.page
    gate = Gate(page, "**/photos/1")
    await gate.close()
    await ann.drop(jpeg("a.jpg"), jpeg("b.jpg"))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await ann.send()
    await expect(page.locator(DONE)).to_have_count(1, timeout=PATIENCE_MS)
    await page.get_by_role("button", name="Delete now").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator("h1:visible")).to_have_text(re.compile("are deleted|nothing here"))
    gate.open()
    ann.assert_undisturbed(statuses=[404, 410])


async def test_a_deletion_that_fails_is_told_and_may_be_tried_again(ann: Visit) -> None:
    page = ann.page
    answers = [500, 503]

    async def stumble(route: Route) -> None:
        if route.request.method != "DELETE" or not answers:
            await route.continue_()
            return
        problem = {"code": "internal-error", "detail": "Something went wrong on our side."}
        await route.fulfill(status=answers.pop(0), headers={"retry-after": "2"}, body=json.dumps(problem))

    async def delete() -> None:
        await page.get_by_role("button", name="Delete now").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()

    await ann.drop(jpeg("a.jpg"))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await page.route(JOB_PAGE, stumble)
    await ann.send()
    await ann.see_the_end()
    notice = page.locator("[data-notice]")
    await delete()
    await expect(notice).to_have_text("Nothing was deleted. Something went wrong on our side.")
    await expect(page.locator("h1:visible")).to_have_text("Your photos are ready")
    await expect(page.locator("[data-countdown]")).to_have_text(re.compile(r"in \d+:\d\d"))
    await delete()
    await expect(notice).to_have_text("Deleting … The server does not answer; trying again.")
    await expect(page.locator("h1:visible")).to_have_text(re.compile("are deleted|nothing here"))
    ann.assert_undisturbed(statuses=[500, 503, 404, 410])


async def test_a_job_deleted_elsewhere_gives_the_photos_back_for_another_try(ann: Visit) -> None:
    page = ann.page
    gate = Gate(page, "**/photos/1")
    await gate.close()
    await ann.drop(jpeg("a.jpg"), jpeg("b.jpg"))
    await page.get_by_label("Text", exact=True).fill(MARK)
    job = await ann.send()
    await expect(page.locator(DONE)).to_have_count(1, timeout=PATIENCE_MS)
    assert (await page.request.delete(job)).status == 204
    gate.open()
    await expect(page.get_by_role("alert")).to_have_text(
        "The job was deleted in the meantime; send the photos again."
    )
    await expect(page.locator("#previews img")).to_have_count(2)

    assert await ann.send() != job
    await ann.see_the_end()
    await assert_shown(page.locator(SHOWN), 2)
    await page.get_by_role("button", name="Delete now").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator("h1:visible")).to_have_text(re.compile("are deleted|nothing here"))
    ann.assert_undisturbed(statuses=[404, 409, 410])


async def test_a_photo_too_large_fails_alone(ann: Visit) -> None:
    page = ann.page
    await ann.drop(jpeg("good.jpg"), jpeg("huge.jpg", photo() + bytes(2 * 1024**2)))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await ann.send()
    await ann.see_the_end()
    await expect(page.locator("[data-counts]")).to_have_text("1 of 2 done, 1 failed")
    await expect(page.locator(f"{FAILED} .reason")).to_have_text("The file is larger than 1 MiB.")
    await expect(page.locator(f"{FAILED} code")).to_have_text("file-too-large")
    ann.assert_undisturbed(statuses=[413])


async def test_photos_too_large_together_are_not_even_sent(ann: Visit) -> None:
    page = ann.page
    await ann.drop(*(jpeg(f"{n}.jpg", photo() + bytes(1000 * 1024)) for n in range(4)))
    await page.get_by_label("Text", exact=True).fill(MARK)
    await page.get_by_role("button", name="Mark the photos").click()
    await expect(page.get_by_role("alert")).to_have_text("A job may hold 3 MB in all; leave some photos out.")
    posts = [each for each in ann.requests if each.method == "POST"]
    assert [each for each in posts if "/preview?" not in each.url] == []
    await page.get_by_role("button", name="Remove 0.jpg").click()
    await page.get_by_role("button", name="Mark the photos").click()
    await ann.see_the_end()
    await expect(page.locator("[data-counts]")).to_have_text("3 of 3 done")
    ann.assert_undisturbed()


async def test_a_photo_can_be_left_out_again(ann: Visit) -> None:
    page = ann.page
    await ann.drop(jpeg("a.jpg"), jpeg("b.jpg"), jpeg("broken.jpg", b"no photo"))
    await expect(page.locator("#previews .unseen bdi")).to_have_text("broken.jpg")
    await page.get_by_role("button", name="Remove broken.jpg").click()
    await page.get_by_role("button", name="Remove a.jpg").press("Enter")
    await expect(page.locator("#chosen-count")).to_contain_text("1 photo,")
    await page.get_by_label("Text", exact=True).fill(MARK)
    await ann.send()
    await ann.see_the_end()
    assert await page.locator("[data-tiles] .name").all_inner_texts() == ["b.jpg"]
    ann.assert_undisturbed()


async def test_a_refused_form_says_why_and_loses_nothing(ann: Visit, ben: Visit) -> None:
    await ann.drop(jpeg("a.jpg"))
    await ann.page.get_by_role("button", name="Mark the photos").click()
    await expect(ann.page.get_by_role("alert")).to_have_text("watermark needs a text, a logo or both.")
    await expect(ann.page.locator("#previews img")).to_have_count(1)
    await ann.page.get_by_label("Text", exact=True).fill(MARK)
    await ann.send()
    await ann.see_the_end()
    ann.assert_undisturbed(statuses=[422])

    await ben.page.locator("#files").set_input_files([jpeg("a.jpg")])
    await ben.page.get_by_role("button", name="Mark the photos").click()
    await expect(ben.page.locator("main")).to_contain_text("watermark needs a text, a logo or both.")
    await expect(ben.page.locator("main code")).to_have_text("invalid-parameter")


async def test_every_operation_of_the_form_reaches_the_result(ann: Visit) -> None:
    page = ann.page
    await ann.drop(jpeg("wide.jpg", photo(800, 400)))
    await page.get_by_label("Watermark", exact=True).uncheck()
    await page.get_by_label("Resize", exact=True).check()
    await page.get_by_label("Width", exact=True).fill("200")
    await page.get_by_label("Grayscale", exact=True).check()
    await page.get_by_label("Convert", exact=True).check()
    await page.get_by_label("Format", exact=True).select_option("png")
    await ann.send()
    await ann.see_the_end()
    async with page.expect_download() as downloading:
        await page.locator(f"{DONE} .state").get_by_role("link").click()
    download = await downloading.value
    assert download.suggested_filename == "wide.png"
    result = opened((await download.path()).read_bytes())
    assert (result.format, result.size) == ("PNG", (200, 100))
    assert len(set(result.convert("RGB").getpixel((20, 50)))) == 1
    ann.assert_undisturbed()


async def test_the_description_of_the_interface_shows_every_operation(someone: Open) -> None:
    async with someone() as visit:
        await visit.page.goto("/docs")
        await expect(visit.page.locator(".opblock").first).to_be_visible()
        paths = await visit.page.locator(".opblock-summary-path").all_text_contents()
        described = await (await visit.page.request.get("/openapi.json")).json()
        assert len(paths) == sum(len(methods) for methods in described["paths"].values())
        visit.assert_undisturbed()


async def test_a_wrong_link_says_so(someone: Open) -> None:
    async with someone() as visit:
        answer = await visit.page.goto(f"/jobs/{'a' * 22}")
        assert answer is not None
        assert answer.status == 404
        await expect(visit.page.locator("h1")).to_have_text("There is nothing here")
        await visit.page.get_by_role("link", name="Mark more photos").click()
        await expect(visit.page.locator("h1:visible")).to_have_text("Mark your photos")
        visit.assert_undisturbed(statuses=[404])


async def assert_accessible(page: Page) -> None:
    assert await page.locator("html").get_attribute("lang") == "en"
    await expect(page.locator("h1:visible")).to_have_count(1)
    nameless = await page.locator("input:not([type=hidden]), select, textarea, progress").evaluate_all(
        """fields => fields.filter((field) => !field.labels?.length && !field.ariaLabel)
          .map((field) => field.outerHTML)"""
    )
    assert nameless == []
    assert await page.locator("img:not([alt])").count() == 0
    ids = await page.locator("[id]").evaluate_all("elements => elements.map((element) => element.id)")
    assert len(ids) == len(set(ids))


async def test_forms_have_labels_and_the_keyboard_reaches_everything(ann: Visit) -> None:
    page = ann.page
    await assert_accessible(page)
    reached: list[str] = []
    while "send" not in reached:
        assert len(reached) < 60
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.id"))
    assert reached.index("files") < reached.index("watermark-text") < reached.index("send")

    await page.locator("#files").set_input_files([jpeg("a.jpg")])
    await page.locator("#watermark-text").fill(MARK)
    await page.locator("#send").press("Enter")
    await ann.see_the_end()
    await assert_accessible(page)
    await page.get_by_role("button", name="Delete now").press("Enter")
    await expect(page.get_by_role("button", name="Keep")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    ann.assert_undisturbed()
