"""The published corpus is what its manifest says, and a result is right or wrong for a reason."""

import io
import json

import pytest
from PIL import Image, ImageDraw

from loadtest.expected import Verifier, fault, sha256
from loadtest.published import ENTRIES, MANIFEST, MIXES, Entry, described, encoders, file

SMALL = next(each for each in ENTRIES if each.name == "small-upright-1.jpg")
SCREEN = Entry(name="screen.png", size=(300, 400), seed=1, drawn=True)


def test_the_corpus_is_made_again_as_the_manifest_says() -> None:
    manifest = json.loads(MANIFEST.read_text("utf-8"))
    assert [each.name for each in ENTRIES] == list(manifest["files"])
    same = {name: version == manifest["encoders"].get(name) for name, version in encoders().items()}
    for entry in ENTRIES:
        made, said = described(entry), manifest["files"][entry.name]
        # Bytes are those of an encoder; pixels are the same with any.
        encoder = {"JPEG": "libjpeg_turbo", "PNG": "zlib", "WEBP": "webp"}[entry.form]
        if not (same[encoder] and same["pillow"]):
            made = made | {name: said[name] for name in ("bytes", "sha256")}
        assert made == said, entry.name


def test_phones_send_jpegs_mostly_and_some_png_and_webp_of_all_sizes() -> None:
    forms = [each.form for each in MIXES["phone"]]
    assert {form: forms.count(form) for form in ("JPEG", "PNG", "WEBP")} == {"JPEG": 18, "PNG": 3, "WEBP": 2}
    megapixels = [each.size[0] * each.size[1] / 1e6 for each in MIXES["phone"]]
    assert min(megapixels) < 0.5
    assert max(megapixels) > 12
    assert all(each.size == (640, 480) for each in MIXES["0.3MP"])


def marked(
    entry: Entry, original: bytes, *, form: str | None = None, size: tuple[int, int] | None = None
) -> bytes:
    """Return what a right result looks like: turned upright, with a mark in a corner."""
    with Image.open(io.BytesIO(original)) as image:
        frame = image.convert("RGB")
    if frame.size != entry.shown:
        frame = frame.transpose(Image.Transpose.ROTATE_270)
    ImageDraw.Draw(frame).text((10, 10), "© Studio", fill="white")
    result = io.BytesIO()
    frame.resize(size or frame.size).save(result, form or entry.form, quality=90)
    return result.getvalue()


@pytest.mark.parametrize("entry", [SMALL, SCREEN], ids=lambda each: each.name)
def test_a_marked_photo_is_right(entry: Entry) -> None:
    original = file(entry.frame(), entry)
    assert fault(entry, original, marked(entry, original)) is None


def test_a_wrong_result_is_wrong_for_a_reason() -> None:
    original = file(SMALL.frame(), SMALL)
    other = Entry(name="other.jpg", size=SMALL.size, seed=9, orientation=SMALL.orientation)
    right = marked(SMALL, original)
    with Image.open(io.BytesIO(original)) as image:
        turned = io.BytesIO()
        image.save(turned, "JPEG")
    assert fault(SMALL, original, right[:2000]) == "unreadable"
    assert fault(SMALL, original, b"") == "unreadable"
    assert fault(SMALL, original, marked(SMALL, original, form="PNG")) == "format"
    assert fault(SMALL, original, marked(SMALL, original, size=(100, 100))) == "size"
    assert fault(SMALL, original, turned.getvalue()) == "size"  # not turned upright
    assert fault(SMALL, original, original) == "bytes"  # there is no mark
    assert fault(SMALL, original, marked(other, file(other.frame(), other))) == "bytes"  # somebody else's


def test_once_a_result_is_right_its_equals_are_and_nothing_else() -> None:
    original = file(SMALL.frame(), SMALL)
    right, verifier = marked(SMALL, original), Verifier()
    assert verifier.learn(SMALL, original, right) is None
    assert verifier.check(SMALL, sha256(original), original, right) is None
    spoilt = right[:-40] + bytes([right[-40] ^ 1]) + right[-39:]
    assert verifier.check(SMALL, sha256(original), original, spoilt) in {"bytes", "unreadable"}


def test_a_wrong_result_is_not_learnt() -> None:
    original, verifier = file(SMALL.frame(), SMALL), Verifier()
    assert verifier.learn(SMALL, original, original) == "bytes"
    assert verifier.check(SMALL, sha256(original), original, original) == "bytes"
