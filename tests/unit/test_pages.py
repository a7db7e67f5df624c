"""Pages: whatever they are given, they are whole, escaped, and load only themselves."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from ebbmark.imaging.gravity import PLACES
from ebbmark.imaging.operation import operations_schema
from ebbmark.imaging.recipe import recipe_from_form
from ebbmark.presets import Preset, shipped
from ebbmark.states import JobState, PhotoState
from ingest import pages
from ingest.schemas import ReceiptState

LIMITS = pages.UploadLimits(
    files=500, file_bytes=25 * 1024**2, job_bytes=2 * 1024**3, ttl=timedelta(hours=1), preview_bytes=1
)
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;{{7*7}}.jpg"
URL = "/jobs/AAAAAAAAAAAAAAAAAAAAAA"
EMPTY_ELEMENTS = {"img", "input", "link", "meta", "br", "hr"}
PLUGIN: Mapping[str, Any] = {
    "name": "frame-it",
    "title": "Frame it",
    "summary": "Put a frame around every photo.",
    "parameters": {
        "type": "object",
        "properties": {
            "wood": {"title": "Wood", "enum": ["oak", "ash"]},
            "glass": {"title": "Glass", "type": "boolean", "default": True},
            "width": {"title": "Width", "type": "integer", "minimum": 1, "maximum": 99},
            "inscription": {"title": "Inscription", "type": "string", "description": "Engraved & gilded."},
        },
        "required": ["wood"],
    },
}


class Seen(HTMLParser):
    """The elements of a page, each with its attributes, and its text; unbalanced tags are an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.texts: list[str] = []
        """What stands in each textarea."""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "textarea":
            self.texts.append("")
        if tag not in EMPTY_ELEMENTS:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        assert not (self._open[-1:] in (["script"], ["style"]) and data.strip()), "inline script or style"
        self.text += data
        if self._open[-1:] == ["textarea"]:
            self.texts[-1] += data

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def photo(
    n: int,
    state: PhotoState,
    name: str = "a.jpg",
    detail: str = "It is no photo.",
    *,
    code: str = "unsupported-format",
    retryable: bool = False,
) -> dict[str, Any]:
    done, failed = state is PhotoState.DONE, state is PhotoState.FAILED
    return {
        "n": n,
        "name": name,
        "state": state.value,
        "code": code if failed else None,
        "detail": detail if failed else None,
        "fix": "Convert it." if failed else None,
        "retryable": failed and retryable,
        "width": 640 if done else None,
        "height": 480 if done else None,
        "bytes": 1000 if done else None,
        "removed": ["the location"] if done else [],
        "url": f"{URL}/photos/{n}" if done else None,
        "thumbnail_url": f"{URL}/photos/{n}/thumbnail" if done else None,
    }


def status(state: JobState, photos: list[dict[str, Any]]) -> dict[str, Any]:
    complete = state is JobState.COMPLETE
    return {
        "job_id": "AAAAAAAAAAAAAAAAAAAAAA",
        "state": state.value,
        "total": None if state is JobState.OPEN else len(photos),
        "done": sum(each["state"] == "done" for each in photos),
        "failed": sum(each["state"] == "failed" for each in photos),
        "version": 7,
        "created_at": "2026-01-01T10:00:00+00:00",
        "completed_at": "2026-01-01T10:01:00+00:00" if complete else None,
        "expires_at": "2026-01-01T11:01:00+00:00" if complete else None,
        "status_url": URL,
        "events_url": f"{URL}/events",
        "archive_url": f"{URL}/archive" if complete else None,
        "receipt_id": "BBBBBBBBBBBBBBBBBBBBBB",
        "receipt_url": "/receipts/BBBBBBBBBBBBBBBBBBBBBB",
        "photos": photos,
        "server_time": "2026-01-01T10:02:00+00:00",
    }


def receipt(state: ReceiptState) -> dict[str, Any]:
    moments = ("created_at", "completed_at", "links_die_at", "deleted_at", "verified_at", "audited_at")
    counts = ("originals", "results", "objects", "bytes")
    return {"state": state.value, **dict.fromkeys(moments), **dict.fromkeys(counts, 0)} | {
        "created_at": "2026-01-01T10:00:00+00:00"
    }


def hostile_plugin() -> dict[str, Any]:
    parameter = {"title": HOSTILE, "description": HOSTILE, "type": "string", "default": HOSTILE}
    choice = {"title": "C", "enum": [HOSTILE], "default": HOSTILE}
    return {
        "name": HOSTILE,
        "title": HOSTILE,
        "summary": HOSTILE,
        "parameters": {"type": "object", "properties": {"p": parameter, "c": choice}, "required": []},
    }


HOSTILE_PRESET = Preset(name="x", title=HOSTILE, summary=HOSTILE, recipe=shipped()["web-proof"].recipe)


def retry_page(
    state: JobState, recipe: bytes | None = None, *, has_logo: bool = True, code: str = HOSTILE
) -> str:
    failed = photo(0, PhotoState.FAILED, HOSTILE, HOSTILE, code=code, retryable=True)
    return pages.retry_page(operations_schema(), status(state, [failed]), recipe=recipe, has_logo=has_logo)


EVERY_PHOTO = [photo(n, state, HOSTILE, HOSTILE) for n, state in enumerate(PhotoState)]
PAGES: dict[str, Callable[[], str]] = {
    "upload": lambda: pages.upload_page(
        [*operations_schema(), PLUGIN, hostile_plugin()],
        LIMITS,
        presets=[*shipped().values(), HOSTILE_PRESET],
        given=shipped()["newsroom"].recipe,
        preset="newsroom",
    ),
    "open job": lambda: pages.job_page(status(JobState.OPEN, EVERY_PHOTO)),
    "complete job": lambda: pages.job_page(status(JobState.COMPLETE, EVERY_PHOTO)),
    "options": lambda: retry_page(JobState.COMPLETE),
    "no options yet": lambda: retry_page(JobState.RENDERING),
    "expired": lambda: pages.gone_page("expired"),
    "unknown": lambda: pages.gone_page("unknown"),
    "gone, with a receipt": lambda: pages.gone_page("expired", "/receipts/BBBBBBBBBBBBBBBBBBBBBB"),
    **{f"receipt, {state}": lambda state=state: pages.receipt_page(receipt(state)) for state in ReceiptState},
    "problem": lambda: pages.problem_page(422, HOSTILE, HOSTILE, HOSTILE),
    "refused form": lambda: pages.problem_page(422, HOSTILE, HOSTILE, HOSTILE, of_form=True),
    "dead letters": pages.letters_page,
    "fault": lambda: pages.problem_page(503, HOSTILE, "", HOSTILE),
}

every_page = pytest.mark.parametrize("render", PAGES.values(), ids=PAGES.keys())


@every_page
def test_a_page_obeys_its_policy_whatever_people_wrote(render: Callable[[], str]) -> None:
    seen = Seen(render())
    for tag, attributes in seen.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert tag not in {"style", "iframe", "object", "embed", "base", "svg"}
    assert all(attributes.get("src") for attributes in seen.all("script"))
    assert "x" not in {attributes.get("src") for attributes in seen.all("img")}


@every_page
def test_what_a_page_loads_is_there_and_carries_the_version(render: Callable[[], str]) -> None:
    seen = Seen(render())
    loaded = {each["href"] for each in seen.all("link")} | {each["src"] for each in seen.all("script", "img")}
    own = {address for address in loaded if address and not address.startswith(URL)}
    assert own
    for address in own:
        folder, _, name = address.rpartition("/")
        assert folder == f"/static/{pages.STATIC_VERSION}"
        assert (pages.STATIC_FOLDER / name).is_file()
    assert all((each["href"] or "").startswith(("/", "#")) for each in seen.all("a"))


@every_page
def test_a_page_has_a_language_a_title_and_names_for_its_fields(render: Callable[[], str]) -> None:
    seen = Seen(render())
    assert seen.all("html") == [{"lang": "en"}]
    assert len(seen.all("title")) == 1
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in seen.all("meta")
    labelled = {each.get("for") for each in seen.all("label")}
    for each in seen.all("select", "textarea"):
        assert each["id"] in labelled


def test_every_static_file_is_used_and_what_scripts_import_is_there() -> None:
    files = {path.name: path.read_text() for path in pages.STATIC_FOLDER.iterdir()}
    imported = {name for text in files.values() for name in re.findall(r'from "\./([\w.-]+)"', text)}
    assert imported <= files.keys()
    drawn = {
        name
        for render in PAGES.values()
        for name in re.findall(rf"/static/{pages.STATIC_VERSION}/([\w.-]+)", render())
    }
    assert files.keys() - imported - drawn == {"docs.js"}


@pytest.mark.parametrize("state", [JobState.OPEN, JobState.RENDERING, JobState.COMPLETE])
@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("photo_state", PhotoState)
def test_a_job_is_drawn_in_every_state(state: JobState, count: int, photo_state: PhotoState) -> None:
    page = pages.job_page(status(state, [photo(n, photo_state, f"{n}.jpg") for n in range(count)]))
    seen = Seen(page)
    tiles = [each for each in seen.all("li") if "data-n" in each]
    assert [(each["data-n"], each["data-state"]) for each in tiles] == [
        (str(n), photo_state.value) for n in range(count)
    ]
    assert all(f"{n}.jpg" in seen.text for n in range(count))
    thumbnails = [each["src"] for each in seen.all("img") if (each["src"] or "").startswith(URL)]
    assert len(thumbnails) == (count if photo_state is PhotoState.DONE else 0)
    assert ("It is no photo." in seen.text) == (photo_state is PhotoState.FAILED and count > 0)
    (archive,) = (each for each in seen.all("a") if "data-archive" in each)
    may_download = state is JobState.COMPLETE and photo_state is PhotoState.DONE and count > 0
    assert ("hidden" not in archive) == may_download
    assert ('http-equiv="refresh"' in page) == (state is not JobState.COMPLETE)


def test_a_job_tells_how_far_it_is_and_when_it_ends() -> None:
    photos = [photo(0, PhotoState.DONE), photo(1, PhotoState.FAILED), photo(2, PhotoState.DONE)]
    seen = Seen(pages.job_page(status(JobState.COMPLETE, photos)))
    assert "2 of 3 done, 1 failed – Ebbmark" in seen.text
    assert "Your photos are ready" in seen.text
    assert "Everything is deleted at 11:01 UTC." in seen.text
    nothing = Seen(pages.job_page(status(JobState.COMPLETE, [photo(0, PhotoState.FAILED)])))
    assert "None of the photos could be done" in nothing.text


def forms_to(page: str, action: str) -> int:
    """Return how many forms that a person can see lead there."""
    return sum(
        each.get("action") == f"{URL}/{action}" and "hidden" not in each for each in Seen(page).all("form")
    )


def test_what_failed_lies_in_a_tray_in_groups_with_what_to_do() -> None:
    photos = [
        photo(0, PhotoState.FAILED, "a.jpg", "It is broken.", code="corrupt"),
        photo(1, PhotoState.FAILED, "b.jpg", "Again and again.", code="poison", retryable=True),
        photo(2, PhotoState.FAILED, "c.jpg", "Again and again.", code="poison", retryable=True),
        photo(3, PhotoState.DONE, "d.jpg"),
    ]
    page = pages.job_page(status(JobState.COMPLETE, photos))
    tray = page.split("data-tray ")[1].split("</section>")[0]
    assert re.findall(r"<strong>(.*?)</strong> <code>(.*?)</code>", tray) == [
        ("Again and again.", "poison"),
        ("It is broken.", "corrupt"),
    ]
    assert re.findall(r"<bdi>(.*?)</bdi>", tray) == ["b.jpg", "c.jpg", "a.jpg"]
    assert tray.count("Convert it.") == 2
    assert ("3 failed" in tray, forms_to(page, "retry")) == (True, 2)
    assert {"type": "hidden", "name": "photos", "value": "1,2"} in Seen(page).all("input")


@pytest.mark.parametrize(
    ("state", "code", "retryable", "forms"),
    [
        (JobState.COMPLETE, "poison", True, 1),
        (JobState.COMPLETE, "corrupt", False, 0),
        (JobState.RENDERING, "poison", True, 1),
        (JobState.OPEN, "poison", True, 0),
        (JobState.COMPLETE, "cancelled", True, 1),
    ],
)
def test_a_retry_is_offered_where_it_can_help(
    state: JobState, code: str, forms: int, *, retryable: bool
) -> None:
    failed = photo(0, PhotoState.FAILED, code=code, retryable=retryable)
    page = pages.job_page(status(state, [failed, photo(1, PhotoState.DONE)]))
    assert forms_to(page, "retry") == forms
    offered = [
        each for each in Seen(page).all("a") if each["href"] == f"{URL}/retry" and "hidden" not in each
    ]
    assert bool(offered) == (state is JobState.COMPLETE and code == "poison")


def test_a_page_without_failures_shows_no_tray() -> None:
    page = pages.job_page(status(JobState.COMPLETE, [photo(0, PhotoState.DONE)]))
    assert [each for each in Seen(page).all("section") if "data-tray" in each and "hidden" in each]


@pytest.mark.parametrize("state", [JobState.OPEN, JobState.RENDERING, JobState.COMPLETE])
def test_what_has_not_ended_can_be_cancelled_one_by_one_and_together(state: JobState) -> None:
    photos = [photo(n, each) for n, each in enumerate(PhotoState)]
    page = pages.job_page(status(state, photos))
    assert [forms_to(page, f"photos/{n}/cancel") for n in range(5)] == [1, 1, 1, 0, 0]
    assert forms_to(page, "cancel") == (state is JobState.RENDERING)


def test_the_options_of_a_retry_are_those_of_the_last_time() -> None:
    wanted = recipe_from_form(
        ["watermark", "resize"],
        {"text": "© <me>", "position": "tiled", "watermark.size": "0.2", "width": "320"},
    )
    seen = Seen(retry_page(JobState.COMPLETE, wanted.to_json(), has_logo=False, code="poison"))
    inputs = seen.all("input")
    ticked = {each["value"] for each in inputs if each.get("name") == "operations" and "checked" in each}
    assert ticked == {"watermark", "resize"}
    assert "© <me>" in seen.text
    places = [each for each in inputs if each.get("name") == "watermark.position" and "checked" in each]
    assert [each["value"] for each in places] == ["tiled"]
    assert [each["value"] for each in inputs if each.get("id") == "watermark-size"] == ["0.2"]
    assert [each["value"] for each in inputs if each.get("id") == "resize-width"] == ["320"]
    assert "keep_logo" not in {each.get("name") for each in inputs}
    assert "1 failed photo will be rendered again" in seen.text


def test_a_recipe_that_repeats_an_operation_is_retried_step_by_step() -> None:
    wanted = recipe_from_form(
        ["watermark,resize,watermark"],
        {"watermark.text": "© <me>", "width": "320", "watermark.2.text": "PROOF", "watermark.2.logo": "true"},
    )
    seen = Seen(retry_page(JobState.COMPLETE, wanted.to_json(), has_logo=True, code="poison"))
    inputs = seen.all("input")
    ticked = [each["value"] for each in inputs if each.get("name") == "operations" and "checked" in each]
    assert ticked == ["watermark", "resize", "watermark.2"]
    assert {"type": "hidden", "name": "order", "value": "watermark,resize,watermark.2"} in inputs
    assert seen.texts[:2] == ["© <me>", "PROOF"]
    assert [each["value"] for each in inputs if each.get("name") == "keep_logo"] == ["true"]
    logos = {each["name"]: "checked" in each for each in inputs if (each.get("name") or "").endswith(".logo")}
    assert (logos["watermark.logo"], logos["watermark.2.logo"]) == (False, True)


def test_a_retry_leaves_out_what_is_not_installed_any_more() -> None:
    gone = b'{"operations": [{"operation": "gone", "x": 1}, {"operation": "grayscale"}]}'
    seen = Seen(retry_page(JobState.COMPLETE, gone, code="poison"))
    boxes = [each for each in seen.all("input") if each.get("name") == "operations"]
    assert [each["value"] for each in boxes if "checked" in each] == ["grayscale"]


def test_other_options_are_not_offered_for_what_was_cancelled() -> None:
    assert "Nothing to retry" in Seen(retry_page(JobState.COMPLETE, code="cancelled")).text


def form_of(*operations: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of the fields that a page's form has for each operation, in order."""
    fields: dict[str, list[str]] = {}
    current = ""
    for each in Seen(pages.upload_page(operations, LIMITS)).all("input", "select", "textarea"):
        name = each.get("name")
        if name == "operations":
            current = each["value"] or ""
            fields[current] = []
        elif name and name != "name" and current:  # which is the results'
            fields[current].append(name)
    return fields


def test_the_form_has_every_parameter_of_every_operation_and_nothing_else() -> None:
    schema: list[dict[str, Any]] = operations_schema()  # pyright: ignore[reportAssignmentType] - JSON
    fields = form_of(*schema)
    for operation in schema:
        name, parameters = operation["name"], set(operation["parameters"]["properties"])
        told = {f"{name}.{parameter}" for parameter in parameters}
        # The logo of the first mark is said by its file.
        assert set(fields[name]) == ({*told, "logo"} - {"watermark.logo"} if name == "watermark" else told)
    assert next(iter(fields)) == "watermark"
    assert {f"{each}.2" for each in ("watermark",)} == fields.keys() - {each["name"] for each in schema}


def test_the_form_as_it_stands_asks_for_the_defaults() -> None:
    """A field's value, sent as it is, means what leaving it out means."""
    watermark = [each for each in operations_schema() if each["name"] == "watermark"]
    page = Seen(pages.upload_page(watermark, LIMITS))
    sent: dict[str, str] = {"text": "© me"}
    for each in page.all("input"):
        chosen = each.get("type") not in {"checkbox", "radio"} or "checked" in each
        if (each.get("name") or "").startswith("watermark.") and chosen:
            sent[str(each["name"])] = each.get("value") or ""
    sent = {name: value for name, value in sent.items() if not name.startswith("watermark.2.")}
    default = recipe_from_form(["watermark"], {"text": "© me"})
    assert recipe_from_form(["watermark"], sent) == default


@pytest.mark.parametrize("mark", ["watermark", "watermark.2"])
def test_a_form_has_every_position_of_a_mark_once_the_nine_places_in_their_rows(mark: str) -> None:
    (watermark,) = [each for each in operations_schema() if each["name"] == "watermark"]
    page = Seen(pages.upload_page([watermark], LIMITS))
    shown = [each["value"] for each in page.all("input") if each.get("name") == f"{mark}.position"]
    assert shown == [*PLACES, "tiled", "chessboard"]
    assert sorted(map(str, shown)) == watermark["parameters"]["properties"]["position"]["enum"]


def test_an_operation_nobody_foresaw_gets_a_form() -> None:
    names = ("wood", "glass", "glass", "width", "inscription")
    assert form_of(PLUGIN) == {"frame-it": [f"frame-it.{name}" for name in names]}
    seen = Seen(pages.upload_page([PLUGIN], LIMITS))
    by_id = {each.get("id"): each for each in seen.all("input", "select")}
    assert "checked" in by_id["frame-it-glass"]
    assert (by_id["frame-it-width"]["min"], by_id["frame-it-width"]["max"]) == ("1", "99")
    assert (by_id["frame-it-width"]["step"], by_id["frame-it-width"]["value"]) == ("1", "")
    assert by_id["frame-it-inscription"]["type"] == "text"
    assert [each["value"] for each in seen.all("option")] == ["oak", "ash"]
    assert "Engraved & gilded." in seen.text


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(hours=1), "An hour"),
        (timedelta(hours=3), "3 hours"),
        (timedelta(minutes=1), "A minute"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(days=2), "2 days"),
        (timedelta(seconds=45), "45 seconds"),
    ],
)
def test_the_page_says_how_long_photos_live(span: timedelta, words: str) -> None:
    limits = msgspec.structs.replace(LIMITS, ttl=span)
    assert f"{words} later every byte is gone." in pages.upload_page(operations_schema(), limits)


@pytest.mark.parametrize(("count", "seconds"), [(0, 3), (9, 3), (50, 8), (500, 15)])
def test_without_scripts_a_page_of_many_photos_reloads_less_often_and_at_a_click(
    count: int, seconds: int
) -> None:
    photos = [photo(n, PhotoState.QUEUED) for n in range(count)]
    seen = Seen(pages.job_page(status(JobState.RENDERING, photos)))
    assert {"http-equiv": "refresh", "content": str(seconds)} in seen.all("meta")
    assert {"href": URL} in seen.all("a")
    assert f"every {seconds} seconds" in seen.text
    assert {"href": URL} not in Seen(pages.job_page(status(JobState.COMPLETE, photos))).all("a")


def test_nothing_that_an_operator_types_can_get_into_an_address() -> None:
    seen = Seen(pages.letters_page())
    assert [each for each in seen.all("input", "select", "button") if "name" in each] == []
    assert [each for each in seen.all("form") if {"action", "method"} & set(each)] == []
    (token,) = [each for each in seen.all("input") if each.get("type") == "password"]
    assert token["autocomplete"] == "off"
    script = (pages.STATIC_FOLDER / "deadletters.js").read_text()
    assert not re.search(r"localStorage|sessionStorage|indexedDB|cookie|location|history|innerHTML", script)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_what_a_form_is_made_of_stands_out_from_its_ground(scheme: int) -> None:
    css = (pages.STATIC_FOLDER / "ebbmark.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", css.split(":root {")[scheme + 1].split("}")[0]))
    for ground in ("ground", "sheet", "wash"):
        assert contrast(colours["edge"], colours[ground]) >= 3
        assert contrast(colours["ink"], colours[ground]) >= 4.5
        assert contrast(colours["accent"], colours[ground]) >= 3
