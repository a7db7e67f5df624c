"""Names in braces stand for facts; nothing a file or its sender says is ever read as a template."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbmark.imaging.bidi import FSI, PDI
from ebbmark.imaging.facts import LONGEST_FACT, LONGEST_TEXT, NAMES, expand, facts_of, waits_for_total
from ebbmark.imaging.recipe import parse_recipe
from tests.unit.imaging.photos import flat, rendered, saved, watermark

EVERY = {name: f"<{name}>" for name in NAMES}


def words(template: str, **facts: str) -> str:
    """The text without the signs that keep a fact's direction to itself."""
    known = {name.replace("_", "."): value for name, value in facts.items()}
    return expand(template, known).translate({ord(FSI): None, ord(PDI): None})


def test_what_its_file_does_not_say_is_known_by_the_same_names_to_jobs_and_previews() -> None:
    assert facts_of("sea.at.dawn.jpg", 0, 9, date(2026, 5, 1)) == {
        "filename": "sea.at.dawn",
        "n": "1",
        "total": "9",
        "date": "2026-05-01",
    }
    assert facts_of("sea", 8, None, None) == {"filename": "sea", "n": "9"}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_stands_for_its_fact(name: str) -> None:
    text = expand(f"a {{{name}}} b", EVERY)
    assert text == f"a {FSI}<{name}>{PDI} b"


@pytest.mark.parametrize(
    "template",
    [
        "{",
        "}",
        "{}",
        "{0}",
        "{n!r}",
        "{n:>9}",
        "{n.__class__}",
        "{unknown}",
        "{ n }",
        "{N}",
        "%s",
        "$n",
        "{exif}",
    ],
)
def test_what_is_no_name_stays_as_it_is(template: str) -> None:
    assert words(template, n="7") == template


@pytest.mark.parametrize(
    ("template", "expected"),
    [("{{n}}", "{n}"), ("{{{n}}}", "{7}"), ("{{", "{"), ("}}", "}"), ("{n}}}", "7}")],
)
def test_doubled_braces_stand_for_one(template: str, expected: str) -> None:
    assert words(template, n="7") == expected


def test_a_fact_is_not_read_as_a_template() -> None:
    assert words("{filename}", filename="{n} {{ {copyright} %s", n="7") == "{n} {{ {copyright} %s"


def test_what_is_not_known_leaves_nothing_and_no_blanks_at_the_edges() -> None:
    assert expand("{exif.date}\nby {exif.artist} \n{n}", {}) == "by"
    assert not expand("{exif.date}", {})


def test_a_fact_is_one_line_without_signs_that_control_or_turn() -> None:
    assert words("{filename}", filename="a\r\n\x00b\x1b[31m\u202egpj\u2069\u2028c") == "a b [31mgpj c"


def test_a_fact_and_the_whole_have_a_longest_length() -> None:
    assert words("{copyright}!", copyright="x" * 500) == "x" * LONGEST_FACT + "!"
    text = expand("{copyright}" * 15, {"copyright": "x" * 500})
    assert len(text.rstrip(PDI)) <= LONGEST_TEXT
    assert text.count(FSI) == text.count(PDI)


@given(st.text(max_size=200), st.dictionaries(st.sampled_from(sorted(NAMES)), st.text(max_size=100)))
def test_any_template_and_any_fact_make_a_text(template: str, facts: dict[str, str]) -> None:
    text = expand(template, facts)
    assert len(text) <= LONGEST_TEXT + 1
    if "{" not in template and "}" not in template:
        assert text == "\n".join(line.strip() for line in template.split("\n")).strip()[:LONGEST_TEXT]


def test_what_stands_side_by_side_where_nothing_is_known_is_drawn_all_the_same() -> None:
    by = watermark(text="ש{exif.artist}\u0301")  # a Hebrew letter with an accent, which no font has
    assert rendered(saved(flat(), "PNG"), by).size == (320, 240)


@pytest.mark.parametrize(("text", "waits"), [("{n} of {total}", True), ("total {n}", False)])
def test_a_recipe_tells_whether_it_waits_for_the_seal(text: str, *, waits: bool) -> None:
    spelt = text.replace("{", "\\u007b")
    recipe = parse_recipe(f'{{"operations": [{{"operation": "watermark", "text": "{spelt}"}}]}}').to_json()
    assert waits_for_total(recipe) is waits
