"""Letters stand in the order that Unicode's bidirectional algorithm gives them."""

import pytest

from ebbmark.imaging.bidi import FSI, PDI, base_level, levels, visual_order

# Hebrew as capitals and Arabic as digits in circles would hide the rules; these are the letters themselves.
A, B = "א", "ב"
X, Y = "ش", "م"


def shown(text: str, base: int | None = None) -> str:
    """The characters from left to right, brackets as they are written."""
    found = levels(text, base_level(text) if base is None else base)
    return "".join(text[place] for place in visual_order(found))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", "abc"),
        (f"{A}{B}", f"{B}{A}"),
        (f"ab {A}{B} cd", f"ab {B}{A} cd"),
        (f"{A}{B} cd", f"cd {B}{A}"),
        (f"{A} 12", f"12 {A}"),
        (f"{A} 1,234.5", f"1,234.5 {A}"),
        (f"{A} $5%", f"$5% {A}"),
        (f"ab {A} 12", f"ab 12 {A}"),
        (f"{X}{Y} 12", f"12 {Y}{X}"),
        (f"{A} (cd) {B}", f"{B} )cd( {A}"),
        (f"ab ({A}) cd", f"ab ({A}) cd"),
        (f"ab ({A} cd", f"ab ({A} cd"),
        (f"{A}!", f"!{A}"),
        (f"ab{A}!", f"ab{A}!"),
        (f"{A}  ", f"  {A}"),
        ("12", "12"),
        ("", ""),
    ],
)
def test_letters_stand_as_they_are_read(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_the_first_letter_with_a_direction_decides_on_the_line() -> None:
    assert [base_level(text) for text in ("12 a" + A, f"12 {A}a", "12 !", "", X)] == [0, 1, 0, 0, 1]


def test_marks_on_a_letter_go_with_it() -> None:
    assert levels(f"a{A}\u05c1b", 0) == [0, 1, 1, 0]


def test_isolated_words_turn_nothing_around_them() -> None:
    name = f"{FSI}{A}{B}{PDI}"
    assert shown(f"ab {A}{B} 12").endswith(f"12 {B}{A}")
    assert shown(f"ab {name} 12").translate({ord(FSI): None, ord(PDI): None}) == f"ab {B}{A} 12"


def test_isolated_words_are_ordered_by_themselves() -> None:
    latin = f"{A} {FSI}ab 12{PDI} {B}"
    assert shown(latin).translate({ord(FSI): None, ord(PDI): None}) == f"{B} ab 12 {A}"
    assert base_level(f"{FSI}{A}{PDI} ab") == 0


@pytest.mark.parametrize("text", [FSI, PDI, f"a{PDI}{FSI}b", f"{FSI}{FSI}{A}", f"{A}{FSI}"])
def test_signs_without_their_pair_do_no_harm(text: str) -> None:
    assert sorted(visual_order(levels(text, 0))) == list(range(len(text)))
