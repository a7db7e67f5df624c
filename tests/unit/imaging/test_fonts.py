"""A character nobody can draw is refused before anything is drawn."""

import pytest

from ebbmark.errors import Rejected
from ebbmark.imaging import fonts
from ebbmark.imaging.bidi import FSI, PDI


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
        "日本語 カメラ ひらがな",
        "中文 繁體",
        "한국어",
        "שלום",
        "السلام عليكم",
        "हिन्दी",
        "ภาษาไทย",
        "தமிழ்",
        "می\u200cخواهم",
        "photo 📷",
    ],
)
def test_texts_of_most_scripts_can_be_drawn(text: str) -> None:
    assert fonts.check_text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("བོད", "'བ'"), ("x 𓀀", "'𓀀'"), ("a\x07b", "U+0007"), ("a\u0f7c", "'\u0f7c'")],
)
def test_a_character_without_a_glyph_is_named(text: str, shown: str) -> None:
    with pytest.raises(Rejected) as refused:
        fonts.check_text(text)
    assert refused.value.code == "missing-glyph"
    assert refused.value.detail == f"No font has a character for {shown}."


def test_letters_are_composed_and_line_ends_and_edges_made_plain() -> None:
    assert fonts.check_text("  e\u0301te\u0301\r\nsecond\tline \n") == "été\nsecond  line"


def test_signs_that_turn_the_direction_of_writing_are_left_out() -> None:
    assert fonts.check_text("\u202eabc\u202c \u2066d\u2069\u200f\u061c") == "abc d"


def test_a_line_is_split_where_its_font_or_its_script_changes() -> None:
    parts = list(fonts.parts("Ab 1 日本 שלום!"))
    assert [part.text for part in parts] == ["Ab 1 ", "日本", " ", "שלום", "!"]
    assert [part.script for part in parts] == ["Latn", "Hani", "Hani", "Hebr", "Hebr"]
    assert len({part.face for part in parts}) == 3


def test_a_letter_and_its_marks_are_of_one_font() -> None:
    (part,) = fonts.parts("ш\u0301")
    assert part.text == "ш\u0301"
    with_hebrew = [part.text for part in fonts.parts("ש\u05c1a")]
    assert with_hebrew == ["ש\u05c1", "a"]


def test_noto_sans_is_asked_first_and_italics_never() -> None:
    names = [face.path.name for face in fonts.faces()]
    assert names[0] == "NotoSans[wdth,wght].ttf"
    assert not any("Italic" in name for name in names)
    assert names[-1].startswith("NotoSansCJK")


@pytest.mark.parametrize("text", ["ש\u200dЖ", "字\u05c1", "a\u0f7c"])
def test_letters_that_are_joined_and_have_no_font_together_are_one_sign(text: str) -> None:
    with pytest.raises(Rejected):
        fonts.check_text(text)
    assert fonts.legible(f"x{text}y") == "x_y"
    assert fonts.drawn(f"x{text}y") == "x_y"


def test_what_is_isolated_is_joined_to_nothing_around_it() -> None:
    shown = f"字\u200d{FSI}\u05c1ש\u200d{PDI}Ж"
    assert fonts.drawn(shown) == shown
    assert "".join(part.text for part in fonts.parts(shown)) == "字\u200d\u05c1ש\u200dЖ"


def test_what_cannot_be_asked_about_becomes_legible() -> None:
    assert fonts.legible("旅行 བོད.jpg") == "旅行 __.jpg"
    assert fonts.legible("a\r\n\tb\x00c\u2028d\u200be") == "a   b c d e"
    assert fonts.legible("evil\u202egpj.exe\u2067") == "evilgpj.exe"
