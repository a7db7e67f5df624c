"""Formats, privacy and names, from the upload to the archive, on the whole system."""

import io
import json
from collections.abc import Iterator

import pytest
from PIL import ExifTags, Image

from tests.people import Person, opened, photo, saved_as
from tests.system import System

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


def moving_gif() -> bytes:
    """Two seconds that repeat for ever."""
    frames = [Image.new("RGB", (160, 120), colour) for colour in ("#802020", "#208020", "#202080", "#808020")]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=500, loop=0)
    return out.getvalue()


def telling(form: str = "JPEG") -> bytes:
    """A photo that tells where and with what it was taken, and whose it is."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Ricoh"
    exif[ExifTags.Base.Copyright] = "Ann"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.BodySerialNumber] = "SN-42"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return saved_as(opened(photo()), form, exif=exif)


def test_every_format_comes_back_as_what_is_written_for_it_under_the_name_asked_for(ann: Person) -> None:
    uploads = [(f"my.{form.lower()}", photo(form=form)) for form in ("AVIF", "TIFF", "BMP", "WEBP")]
    uploads.append(("moving.jpg", moving_gif()))  # which its name does not make a JPEG
    job = ann.send(uploads, operations="watermark", text="© me", name="{stem}-{width}.{ext}")
    status = ann.wait_until_complete(job)
    assert (status["done"], status["failed"]) == (5, 0)
    files = ann.archive(job)
    assert set(files) == {
        "my-640.avif",
        "my-640.png",
        "my-640 (2).png",
        "my-640.webp",
        "moving-160.gif",
        "manifest.json",
    }
    assert getattr(opened(files["moving-160.gif"]), "n_frames", 1) == 4
    assert opened(files["my-640.avif"]).format == "AVIF"
    first = ann.http.get(f"{job}/photos/0")
    assert first.headers["content-type"] == "image/avif"
    assert first.headers["content-disposition"].endswith("filename*=UTF-8''my-640.avif")
    gif = ann.http.get(f"{job}/photos/4/thumbnail")
    assert opened(gif.content).format == "JPEG"


def test_what_was_removed_is_told_by_status_page_and_manifest_and_is_gone(ann: Person) -> None:
    job = ann.send([("a.jpg", telling()), ("b.png", photo(form="PNG"))])
    told, silent = ann.wait_until_complete(job)["photos"]
    assert told["removed"] == ["location", "serial numbers", "dates and camera settings"]
    assert silent["removed"] == []
    page = ann.http.get(job, headers={"accept": "text/html"})
    assert "Removed: location, serial numbers, dates and camera settings" in page.text
    files = ann.archive(job)
    assert [each["removed"] for each in json.loads(files["manifest.json"])["photos"]] == [told["removed"], []]
    kept = opened(files["a.jpg"]).getexif()
    assert dict(kept) == {ExifTags.Base.Copyright: "Ann"}
    assert b"SN-42" not in files["a.jpg"]


@pytest.mark.parametrize(
    ("privacy", "removed"),
    [
        ("keep", []),
        ("strip", ["location", "serial numbers", "dates and camera settings", "artist and copyright"]),
    ],
)
def test_the_privacy_asked_for_is_the_privacy_given(ann: Person, privacy: str, removed: list[str]) -> None:
    job = ann.send([("a.webp", telling("WEBP"))], operations="grayscale,metadata", privacy=privacy)
    (shown,) = ann.wait_until_complete(job)["photos"]
    assert shown["removed"] == removed
    assert (b"SN-42" in ann.archive(job)["a.webp"]) == (privacy == "keep")


def test_an_animation_that_is_to_become_a_jpeg_fails_with_what_to_do_and_is_retried(ann: Person) -> None:
    job = ann.send(
        [("a.gif", moving_gif())], operations="convert,watermark", text="© me", format="jpeg", name="{n:3}"
    )
    (failed,) = ann.wait_until_complete(job)["photos"]
    assert (failed["code"], failed["retryable"]) == ("animated", True)
    answer = ann.http.post(f"{job}/retry", json={"operations": "convert", "format": "webp"})
    assert answer.status_code == 202, answer.text
    assert ann.wait_until_complete(job)["done"] == 1
    files = ann.archive(job)
    assert set(files) == {"001.webp", "manifest.json"}
    assert getattr(opened(files["001.webp"]), "n_frames", 1) == 4


def test_a_name_that_is_none_is_refused(ann: Person) -> None:
    answer = ann.post([("a.jpg", photo(64, 48))], operations="grayscale", name="../{stem}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-name")
