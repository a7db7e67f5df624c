"""What one may choose from, and links to settings, over HTTP: the page is filled by the server alone."""

import json
from urllib.parse import quote, urlencode

import pytest

from ebbmark.imaging.recipe import Recipe, parse_recipe
from ebbmark.presets import shipped
from ebbmark.settings import Recipe as Choices
from ebbmark.settings import Settings
from ebbmark.topics import UPLOADS
from ingest.tokens import token_hash
from tests.people import photo
from tests.unit.test_pages import Seen
from tests.unit.visits import END, FORM, House, Visit, field, file

PAGE = {"accept": "text/html", "sec-fetch-site": "same-origin"}
GREY = '{"operations": [{"operation": "grayscale"}], "name": "{stem}"}'
MARKS = {
    "operations": [
        {"operation": "resize", "width": 900, "height": 700, "fit": "exact"},
        {"operation": "watermark", "text": "© <Ann>\nStudio", "size": 0.0333},
        {"operation": "watermark", "text": "PROOF", "position": "tiled", "outline": False, "logo": True},
    ]
}


@pytest.fixture
def house() -> House:
    return House()


async def open_link(house: House, query: str, **headers: str) -> Visit:
    return await house.visit("GET", f"/?{query}", b"", headers={**PAGE, **headers}).answer()


def ticked(seen: Seen) -> list[str | None]:
    boxes = [each for each in seen.all("input") if each.get("name") == "operations"]
    return [each["value"] for each in boxes if "checked" in each]


def asked_for(page: str) -> list[tuple[str, str]]:
    """What a browser without scripts sends of this form as it stands."""
    seen = Seen(page)
    texts, fields, choice = iter(seen.texts), [], ""
    for tag, each in seen.elements:
        name = each.get("name") or ""
        if tag == "textarea":
            fields.append((name, next(texts).replace("\n", "\r\n")))
        elif tag == "select":
            choice = name
        elif tag == "option" and "selected" in each:
            fields.append((choice, each["value"] or ""))
        elif (
            tag == "input"
            and name
            and ("checked" in each or each.get("type") not in {"checkbox", "file", "radio"})
        ):
            fields.append((name, each.get("value") or ""))
    return fields


@pytest.mark.parametrize(
    "query",
    [
        f"recipe={quote(json.dumps(MARKS))}",
        urlencode(
            {
                "operations": "resize,watermark,watermark.2",
                "width": "900",
                "height": "700",
                "fit": "exact",
                "watermark.text": "© <Ann>\nStudio",
                "watermark.size": "0.0333",
                "watermark.2.text": "PROOF",
                "watermark.2.position": "tiled",
                "watermark.2.outline": "false",
                "watermark.2.logo": "true",
            }
        ),
    ],
    ids=["as JSON", "in short form"],
)
async def test_a_link_fills_the_form_which_then_asks_for_just_that(house: House, query: str) -> None:
    shown = await open_link(house, query)
    assert shown.status == 200
    page = shown.body.decode()
    assert ticked(Seen(page)) == ["resize", "watermark", "watermark.2"]
    sent = [field(name, value) for name, value in asked_for(page)]
    logo = file(photo(32, 32, form="PNG"), "logo.png", of="logo")
    assert await taken(house, *sent, logo) == parse_recipe(json.dumps(MARKS))


async def taken(house: House, *parts: bytes) -> Recipe:
    """The recipe that a browser without scripts is understood to ask for."""
    form = house.visit("POST", "/jobs", headers={**PAGE, "content-type": FORM})
    for part in (file(photo(64, 48)), *parts, END):
        form.send(part)
    answer = await form.end().answer()
    assert answer.status == 303, answer.body
    row = await house.ledger.read_job(house.log.events(UPLOADS)[0].job)
    assert row is not None
    return parse_recipe(row.recipe or b"")


@pytest.mark.parametrize(
    ("order", "performed"),
    [
        (field("order", "watermark"), ["Resize", "Watermark", "Convert"]),
        (field("order", "convert,watermark,blur"), ["Resize", "Convert", "Watermark"]),
        (b"", ["Watermark", "Convert", "Resize"]),
    ],
    ids=["what was ticked since goes where it is of use", "what stood there keeps its order", "own form"],
)
async def test_a_form_without_scripts_is_performed_in_an_order_of_use(
    house: House, order: bytes, performed: list[str]
) -> None:
    ticked = [field("operations", name) for name in ("watermark", "convert", "resize")]
    fields = [field("watermark.text", "x"), field("format", "webp"), field("resize.width", "9")]
    recipe = await taken(house, *([order] if order else []), *ticked, *fields, field("blur.radius", "0.01"))
    assert [type(each).__name__ for each in recipe.operations] == performed


async def test_a_logo_chosen_in_the_first_mark_is_in_it_whatever_the_second_says(house: House) -> None:
    marks = [
        field("operations", "watermark"),
        field("operations", "watermark.2"),
        field("order", "watermark"),
    ]
    said = [field("watermark.2.logo", "false"), field("watermark.2.logo", "true")]
    logo = file(photo(32, 32, form="PNG"), "logo.png", of="logo")
    first, second = (await taken(house, *marks, *said, logo)).operations
    assert first.wants_logo()
    assert second.wants_logo()


async def test_a_plain_page_has_a_mark_ticked_and_names_no_preset_as_chosen(house: House) -> None:
    for query in ("", "utm_source=x&text=y"):
        seen = Seen((await open_link(house, query)).body.decode())
        assert ticked(seen) == ["watermark"]
        links = [each for each in seen.all("a") if (each["href"] or "").startswith("/?preset=")]
        assert [each["href"] for each in links] == [f"/?preset={name}" for name in shipped()]
        assert not [each for each in links if "aria-current" in each]


@pytest.mark.parametrize(
    "query",
    ["operations=grayscale&name={stem}-{n}", f"recipe={quote(GREY)}&name={{stem}}-{{n}}"],
    ids=["short form", "JSON"],
)
async def test_a_link_says_what_results_are_called(house: House, query: str) -> None:
    seen = Seen((await open_link(house, query)).body.decode())
    (called,) = [each for each in seen.all("input") if each.get("name") == "name"]
    assert called["value"] == "{stem}-{n}"


async def test_a_link_to_a_preset_fills_the_form_and_fields_go_before_it(house: House) -> None:
    seen = Seen((await open_link(house, "preset=web-proof&text=MINE")).body.decode())
    assert ticked(seen) == ["resize", "watermark", "convert"]
    assert seen.texts[0] == "MINE"
    assert [each["href"] for each in seen.all("a") if each.get("aria-current")] == ["/?preset=web-proof"]


@pytest.mark.parametrize(
    ("query", "code", "sentence"),
    [
        ("recipe=nonsense", "invalid-recipe", "A recipe is JSON such as"),
        ("recipe=%ff", "invalid-recipe", "This link is broken"),
        ("&".join(f"a{n}=1" for n in range(300)), "invalid-recipe", "This link is broken"),
        ("preset=nobody", "unknown-preset", "There is no preset 'nobody'"),
        ("operations=sharpest", "unknown-operation", "There is no operation 'sharpest'"),
        ("operations=watermark", "invalid-parameter", "watermark needs a text, a logo or both."),
        ("operations=resize&width=0", "invalid-parameter", "width must be a whole number from 1 to 16384."),
        ("operations=resize&width=5&utm=1", "invalid-parameter", "takes a parameter 'utm'"),
        (f"operations={'blur,' * 5000}", "too-many-operations", "at most 16 operations"),
    ],
)
async def test_a_wrong_link_gives_a_page_with_a_sentence(
    house: House, query: str, code: str, sentence: str
) -> None:
    shown = await open_link(house, query)
    assert shown.status == 422
    seen = Seen(shown.body.decode())
    assert code in seen.text
    assert sentence in seen.text
    assert {"class": "button primary", "href": "/"} in seen.all("a")
    told = await open_link(house, query, accept="application/json")
    assert told.told == (422, code)


async def test_presets_are_listed_with_recipes_that_are_accepted(house: House) -> None:
    listed = (await house.visit("GET", "/presets", b"").answer()).json
    assert [each["name"] for each in listed] == [*shipped()]
    for each in listed:
        assert parse_recipe(json.dumps(each["recipe"])) == shipped()[each["name"]].recipe
        assert (await open_link(house, each["url"].partition("?")[2])).status == 200


async def test_a_form_names_a_preset_and_changes_it(house: House) -> None:
    fields = [field("preset", "web-proof"), field("text", "MINE"), field("operations", "grayscale")]
    sent = await house.form(*fields, END).answer()
    assert sent.status == 202
    job = await house.ledger.find_job(token_hash(sent.json["job_id"]))
    assert job is not None
    steps = json.loads(job.recipe or b"")["operations"]
    assert [each["operation"] for each in steps] == ["resize", "grayscale", "watermark", "convert"]
    assert steps[2]["text"] == "MINE"


async def test_a_form_with_a_preset_that_is_not_there_is_refused(house: House) -> None:
    sent = await house.form(field("preset", "nobody"), END).answer()
    assert sent.told == (422, "unknown-preset")


async def test_a_logo_goes_to_the_mark_of_a_preset(house: House) -> None:
    logo = file(photo(32, 32, form="PNG"), "logo.png", of="logo")
    sent = await house.form(field("preset", "web-proof"), logo, END).answer()
    job = await house.ledger.find_job(token_hash(sent.json["job_id"]))
    assert job is not None
    assert json.loads(job.recipe or b"")["operations"][1]["logo"] is True


async def test_an_operator_s_presets_are_shown(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("presets") / "own.toml"
    path.write_text('[grey]\ntitle = "All <grey>"\noperations = [{operation = "grayscale"}]\n')
    house = House(Settings(recipe=Choices(presets=str(path))))
    assert (await house.visit("GET", "/presets", b"").answer()).json[-1]["name"] == "grey"
    assert "All <grey>" in Seen((await open_link(house, "")).body.decode()).text
