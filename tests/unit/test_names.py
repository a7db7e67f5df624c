"""Names that people gave their files."""

import time
import unicodedata
from datetime import date
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.names import Named, content_disposition, expand, result_names, safe_name


@pytest.mark.parametrize(
    ("given_name", "safe"),
    [
        ("IMG_0001.JPG", "IMG_0001.JPG"),
        ("Студия 2026.jpg", "Студия 2026.jpg"),
        ("🏔️ peak.png", "🏔️ peak.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\fakepath\\me.jpg", "me.jpg"),
        ("a\r\nSet-Cookie: x.jpg", "aSet-Cookie_ x.jpg"),
        ("evil\u202egpj.exe", "evilgpj.exe"),
        ("<img src=x onerror=alert(1)>.jpg", "_img src=x onerror=alert(1)_.jpg"),
        ("CON.jpg", "_CON.jpg"),
        (".htaccess", "htaccess"),
        ("nul\0l.jpg", "null.jpg"),
        ("two\u2028li\u2029nes\x85.jpg", "twolines.jpg"),
        ("", "photo"),
        ("...", "photo"),
        ("dir/", "photo"),
    ],
)
def test_a_name_stays_readable_and_becomes_harmless(given_name: str, safe: str) -> None:
    assert safe_name(given_name) == safe


@given(st.text(max_size=400))
def test_no_name_is_dangerous_whatever_was_given(given_name: str) -> None:
    name = safe_name(given_name)
    assert 1 <= len(name.encode()) <= 255
    assert not set(name) & set('/\\:*?"<>|')
    assert not any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in name)
    assert not name.startswith(".")
    assert safe_name(name) == name


def test_a_name_of_255_bytes_keeps_its_extension() -> None:
    name = safe_name("я" * 126 + ".jpg")
    assert name.endswith("я.jpg")
    assert len(name.encode()) <= 255


def test_results_with_equal_names_are_told_apart_without_regard_to_case() -> None:
    names = result_names(
        [(0, "a.jpg", "image/jpeg"), (1, "A.JPG", "image/jpeg"), (2, "a (2).jpg", "image/jpeg")]
    )
    assert names == {0: "a.jpg", 1: "A (2).JPG", 2: "a (2) (2).jpg"}


STEMS = st.sampled_from(["a", "A", "a (2)", "a (3)", "a (2) (2)", "ß", "SS", "b"])
ENDINGS = st.sampled_from([".jpg", ".JPG", ".jpeg", ".png", ""])


@given(st.lists(st.tuples(STEMS, ENDINGS, st.sampled_from(["image/jpeg", "image/png"])), max_size=30))
def test_each_name_has_the_least_number_that_is_free(photos: list[tuple[str, str, str]]) -> None:
    taken: set[str] = set()
    given_names = [(n, stem + ending, kind) for n, (stem, ending, kind) in enumerate(photos)]
    for n, name in result_names(given_names).items():
        (alone,) = result_names([given_names[n]]).values()
        stem, dot, ending = alone.rpartition(".")
        free = (alone if count == 1 else f"{stem} ({count}){dot}{ending}" for count in range(1, 40))
        assert name == next(each for each in free if each.casefold() not in taken)
        taken.add(name.casefold())


def test_thousands_of_results_that_are_called_alike_are_told_apart_at_once() -> None:
    began = time.process_time()
    names = result_names((n, "proof.jpg", "image/jpeg") for n in range(5000))
    assert time.process_time() - began < 0.5
    assert (names[0], names[1], names[4999]) == ("proof.jpg", "proof (2).jpg", "proof (5000).jpg")


def test_the_extension_says_what_the_result_is() -> None:
    names = result_names(
        [
            (0, "a.JPEG", "image/jpeg"),
            (1, "b.png", "image/webp"),
            (2, "v1.2", "image/jpeg"),
            (3, "c", "image/png"),
        ]
    )
    assert names == {0: "a.JPEG", 1: "b.webp", 2: "v1.2.jpg", 3: "c.png"}


def test_five_hundred_equal_long_names_stay_within_what_a_file_system_takes() -> None:
    long = safe_name("ж" * 200 + ".jpg")
    names = result_names((n, long, "image/webp") for n in range(500))
    assert len(set(names.values())) == 500
    assert max(len(name.encode()) for name in names.values()) <= 255


@given(st.text(max_size=80))
def test_a_header_is_one_line_of_ascii_and_holds_the_whole_name(given_name: str) -> None:
    name = safe_name(given_name)
    header = content_disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert unquote(header.partition("filename*=UTF-8''")[2]) == name


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("фото 📷.JPG", "photo-7.JPG"),
        ("写真.a.jpg", "a.jpg"),
        ("фото", "photo-7"),
        ("Zürich.png", "Zurich.png"),
        ("(📷).jpg", "photo-7.jpg"),
    ],
)
def test_programs_that_read_ascii_only_get_a_name_too_and_never_a_hidden_one(name: str, plain: str) -> None:
    assert f'filename="{plain}";' in content_disposition(name, "photo-7")


# Templates


def named(**changes: object) -> Named:
    told: dict[str, Any] = {
        "n": 6,
        "name": "IMG_1.v2.jpg",
        "width": 1600,
        "height": 1200,
        "media_type": "image/webp",
        "sent_on": date(2026, 11, 24),
    }
    return Named(**(told | changes))


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{stem}-{width}.{ext}", "IMG_1.v2-1600.webp"),
        ("{stem}-{width}x{height}", "IMG_1.v2-1600x1200"),
        ("{n}", "7"),
        ("{n:4}-{date}", "0007-2026-11-24"),
        ("{{stem}} {stem", "{stem} {stem"),
        ("{Stem} {total} {}", "{Stem} {total} {}"),
        ("plain", "plain"),
        ("...", "photo"),
        ("CON", "_CON"),
    ],
)
def test_a_template_is_filled_and_what_it_does_not_know_stays(template: str, name: str) -> None:
    assert expand(template, named()) == name


def test_what_a_sign_stands_for_is_no_template() -> None:
    assert expand("{stem}", named(name="{n}{width}.jpg")) == "{n}{width}"


@given(st.text(max_size=120), st.text(max_size=200))
def test_no_template_makes_a_dangerous_name(template: str, given_name: str) -> None:
    name = expand(template, named(name=safe_name(given_name)))
    assert 1 <= len(name.encode()) <= 255
    assert safe_name(name) == name


def test_results_that_a_template_calls_alike_are_told_apart_and_end_as_they_are() -> None:
    called = [(n, expand("same.{ext}", named(n=n, media_type=kind)), kind) for n, kind in enumerate(KINDS)]
    assert result_names(called) == {
        0: "same.jpg",
        1: "same (2).jpg",
        2: "same.png",
        3: "same.avif",
        4: "same.gif",
    }
    wrong = [(0, expand("{stem}.png", named(media_type="image/jpeg")), "image/jpeg")]
    assert result_names(wrong) == {0: "IMG_1.v2.jpg"}


KINDS = ("image/jpeg", "image/jpeg", "image/png", "image/avif", "image/gif")
