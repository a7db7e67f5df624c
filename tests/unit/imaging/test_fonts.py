"""A character nobody can draw is refused before anything is drawn."""

import pytest

from ebbmark.errors import Rejected
from ebbmark.imaging import fonts


@pytest.mark.parametrize(
    "text",
    [
        "© Studio 2026",
        "Студия",
        "Φωτογραφία",
        "Nguyễn Văn Ảnh",
        "ãñ€ ĀŽß",
        "№ 5 — “quoted” … ½",
        "Ґанок Їжак",
    ],
)
def test_latin_cyrillic_greek_and_vietnamese_are_drawn(text: str) -> None:
    assert fonts.check_text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("日本", "'日'"), ("photo 📷", "'📷'"), ("שלום", "'ש'"), ("हिन्दी", "'ह'"), ("a\x07b", "U+0007")],
)
def test_a_character_without_a_glyph_is_named(text: str, shown: str) -> None:
    with pytest.raises(Rejected) as refused:
        fonts.check_text(text)
    assert refused.value.code == "missing-glyph"
    assert refused.value.detail == f"The font has no character for {shown}."


def test_letters_are_composed_and_line_ends_and_edges_made_plain() -> None:
    assert fonts.check_text("  e\u0301te\u0301\r\nsecond\tline \n") == "été\nsecond  line"


def test_every_character_the_face_claims_has_a_glyph_of_its_own() -> None:
    face = fonts.face_for("A")
    font = face.at(32)
    absent = font.getmask("\U0010ffff")
    for letter in "AzЖяΩω€ßữ©№":
        assert bytes(font.getmask(letter)) != bytes(absent)


def test_what_cannot_be_asked_about_becomes_legible() -> None:
    assert fonts.legible("旅行 IMG_1.jpg") == "__ IMG_1.jpg"
