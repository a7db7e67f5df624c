"""Text is shaped, ordered and aligned as its scripts want it, and alike on every host."""

import pytest
from PIL import Image, ImageChops, ImageStat

from ebbmark.imaging.bidi import FSI, PDI
from ebbmark.imaging.typesetting import LINE_HEIGHT, Align, typeset

EM = 96


def ink(text: str, align: Align = "left") -> Image.Image:
    return typeset(text, EM, align)


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and not ImageChops.difference(one, other).getbbox()


def alike(one: Image.Image, other: Image.Image) -> bool:
    """Whether two inks are one but for where they fall between the pixels."""
    if abs(one.width - other.width) > 1 or abs(one.height - other.height) > 1:
        return False
    difference = ImageChops.difference(one, other.resize(one.size))
    return ImageStat.Stat(difference).mean[0] < 12


def beside(*texts: str) -> int:
    """How wide texts are beside each other, when each is set alone."""
    return sum(ink(text).width for text in texts)


def test_the_ink_is_cut_to_what_is_drawn() -> None:
    for text in ("Ag", "شكرا", "日本", "a\nb"):
        assert ink(text).getbbox() == (0, 0, *ink(text).size)


def test_an_em_is_as_high_as_it_says() -> None:
    assert 0.68 < ink("H").height / EM < 0.75
    assert 0.85 < ink("国").height / EM < 1.0


@pytest.mark.parametrize("text", ["Hamburg 12", "शक्ति", "السلام", "日本"])
def test_a_text_twice_as_large_is_the_same_text(text: str) -> None:
    small, large = ink(text), typeset(text, 2 * EM, "left")
    assert abs(large.width - 2 * small.width) <= 3
    assert abs(large.height - 2 * small.height) <= 3


@pytest.mark.parametrize("text", ["© Ann Example 2026", "שלום Студия 写真 שלום"])
def test_a_line_of_any_width_is_whole(text: str) -> None:
    small, wide = typeset(text, 200, "left"), typeset(text, 2000, "left")
    assert wide.width > 4096
    assert abs(wide.width / 10 - small.width) <= 2
    shrunk = wide.resize(small.size, Image.Resampling.BOX)
    difference = ImageChops.difference(shrunk, small)
    assert ImageStat.Stat(difference).mean[0] < 4


def test_letters_are_kerned() -> None:
    assert ink("AVAV").width < 2 * ink("A").width + 2 * ink("V").width


def test_arabic_letters_join() -> None:
    joined, apart = ink("ببب"), ink("ب\u200cب\u200cب")
    assert joined.width < 0.8 * apart.width
    columns = [joined.crop((x, 0, x + 1, joined.height)).getbbox() for x in range(joined.width)]
    assert all(columns)


def test_devanagari_letters_form_ligatures_and_vowels_stand_before_their_consonant() -> None:
    assert ink("क्ष").width < beside("क", "ष")
    # The sign of the short i is written after its consonant and stands to its left.
    with_vowel, alone = ink("कि"), ink("क")
    right = with_vowel.crop((with_vowel.width - alone.width + 4, 40, with_vowel.width, with_vowel.height))
    left = with_vowel.crop((0, 40, 12, with_vowel.height))
    assert left.getbbox()
    assert right.getbbox()
    assert with_vowel.width > alone.width


def test_the_first_hebrew_letter_stands_at_the_right() -> None:
    word, first, last = ink("אב"), ink("א"), ink("ב")
    assert alike(word.crop((word.width - first.width, 0, *word.size)), first)
    assert alike(word.crop((0, 0, last.width, word.height)), last)


def test_brackets_are_mirrored_where_the_text_runs_to_the_left() -> None:
    whole, bracket = ink("(א"), ink(")")
    assert alike(whole.crop((whole.width - bracket.width, 0, *whole.size)), bracket)
    assert not alike(ink("("), bracket)


@pytest.mark.parametrize("other", ["か", "ㄅ"])
def test_chinese_characters_have_the_forms_of_the_language_around_them(other: str) -> None:
    size = ink("骨").size
    simplified, there = (ink(text).crop((0, 0, *size)) for text in ("骨 中", f"骨 {other}"))
    assert not alike(simplified, there)


def test_several_fonts_share_one_line() -> None:
    mixed = ink("Ab日本שלום")
    assert mixed.height < 1.3 * EM
    assert mixed.width > 0.9 * beside("Ab", "日本", "שלום")


def test_isolating_signs_are_not_drawn() -> None:
    assert same(ink(f"a{FSI}b{PDI}c"), ink("abc"))


def test_lines_stand_a_line_height_apart() -> None:
    assert abs(ink("H\nH").height - ink("H").height - LINE_HEIGHT * EM) <= 1


@pytest.mark.parametrize("align", ["left", "center", "right"])
def test_lines_are_aligned(align: Align) -> None:
    whole = ink("iii\nWWWWWW", align)
    upper = whole.crop((0, 0, whole.width, ink("iii").height)).getbbox()
    assert upper
    free = whole.width - ink("iii").width
    assert upper[0] == {"left": 0, "center": free // 2, "right": free}[align]


def test_lines_that_reach_into_each_other_keep_all_their_ink() -> None:
    stacked = ink("ggg\nÅÅÅ")
    assert sum(stacked.histogram()[128:]) >= 0.98 * sum(
        sum(ink(line).histogram()[128:]) for line in ("ggg", "ÅÅÅ")
    )


@pytest.mark.parametrize("text", ["", " ", "\n", "\u200d"])
def test_a_text_without_ink_is_one_empty_pixel(text: str) -> None:
    assert ink(text).size == (1, 1)
    assert not ink(text).getbbox()


def test_the_language_of_the_host_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ink("骨 Şi 12")
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    assert same(ink("骨 Şi 12"), before)
