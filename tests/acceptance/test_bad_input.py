"""Whatever is wrong gets a clear answer with a stable code, and harms nothing else."""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from devstack.process import Process, tree
from tests.people import Person, eventually, photo
from tests.system import System

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


def huge_png(width: int, height: int) -> bytes:
    """A small file that says it is large: 1 bit a pixel, all zero, compressed row by row."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_of_fifty_the_one_that_is_corrupt_fails_and_no_other(ann: Person) -> None:
    photos = [(f"{n}.jpg", photo(160, 120, seed=n)) for n in range(50)]
    photos[31] = ("31.jpg", photo(640, 480)[:3000])
    status = ann.wait_until_complete(ann.send(photos))
    assert (status["done"], status["failed"]) == (49, 1)
    failed = status["photos"][31]
    assert (failed["state"], failed["code"]) == ("failed", "corrupt")
    assert failed["detail"].endswith(".")
    assert failed["fix"]


def test_bad_photos_fail_alone_with_a_code_and_a_sentence(ann: Person) -> None:
    good = photo()
    job = ann.send(
        [
            ("good.jpg", good),
            ("empty.jpg", b""),
            ("text.jpg", b"This is only text." * 50),
            ("truncated.jpg", good[: len(good) // 2]),
            ("huge.png", huge_png(30_000, 30_000)),
            ("large.jpg", good + bytes(26 * 1024**2 - len(good))),
            ("also-good.webp", photo(form="WEBP")),
        ]
    )
    status = ann.wait_until_complete(job)
    assert [(each["state"], each["code"]) for each in status["photos"]] == [
        ("done", None),
        ("failed", "empty-file"),
        ("failed", "unsupported-format"),
        ("failed", "corrupt"),
        ("failed", "too-many-pixels"),
        ("failed", "file-too-large"),
        ("done", None),
    ]
    assert (status["done"], status["failed"]) == (2, 5)
    sentences = [each["detail"] for each in status["photos"] if each["state"] == "failed"]
    assert all(sentence.endswith(".") and len(sentence) > 15 for sentence in sentences)
    assert set(ann.archive(job)) == {"good.jpg", "also-good.webp", "manifest.json"}


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "empty-file"),
        (b"only text", 415, "unsupported-format"),
        (b"\xff\xd8\xff" + bytes(26 * 1024**2), 413, "file-too-large"),
    ],
)
def test_a_form_or_a_photo_that_holds_nothing_good_is_refused(
    ann: Person, content: bytes, status: int, code: str
) -> None:
    whole = ann.post([("a.jpg", content)], operations="grayscale")
    assert (whole.status_code, whole.json()["code"]) == (status, code)
    assert whole.headers["content-type"] == "application/problem+json"
    job = ann.open()
    single = ann.put(job, 0, ("a.jpg", content))
    assert (single.status_code, single.json()["code"]) == (status, code)
    assert ann.seal(job, 1).status_code == 202
    told = ann.wait_until_complete(job)
    assert (told["failed"], told["photos"][0]["code"]) == (1, code)


def test_a_job_in_which_every_photo_is_damaged_completes_and_says_why(ann: Person) -> None:
    job = ann.send([("a.jpg", photo()[:3000]), ("b.jpg", photo(seed=2)[:3000])])
    status = ann.wait_until_complete(job)
    assert (status["done"], status["failed"]) == (0, 2)
    assert set(ann.archive(job)) == {"manifest.json"}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"operations": "burnish"}, "unknown-operation"),
        ({"operations": "resize", "width": "wide"}, "invalid-parameter"),
        ({"operations": "resize", "width": "-5"}, "invalid-parameter"),
        ({"operations": "grayscale", "width": "5"}, "invalid-parameter"),
        ({"operations": "watermark", "text": "བ"}, "missing-glyph"),
        ({"recipe": "{"}, "invalid-recipe"),
        ({"recipe": '{"operations": [{"operation": "burnish"}]}'}, "unknown-operation"),
    ],
)
def test_a_wrong_recipe_is_refused_with_what_is_wrong(ann: Person, fields: dict[str, str], code: str) -> None:
    answer = ann.post([("a.jpg", photo(64, 48))], **fields)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text


def test_more_files_than_a_job_may_hold_are_refused(ann: Person) -> None:
    answer = ann.post([(f"{n}.jpg", photo(16, 16)) for n in range(501)], operations="grayscale")
    assert (answer.status_code, answer.json()["code"]) == (413, "too-many-files")
    job = ann.open()
    assert ann.put(job, 500, ("a.jpg", photo(16, 16))).json()["code"] == "too-many-files"


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-da", 400, "malformed-form"),
        ("multipart/form-data; boundary=x", b"no boundary at all", 400, "malformed-form"),
        ("multipart/form-data", b"--x--", 415, "not-multipart"),
        ("application/json", b"{}", 415, "not-multipart"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\n' + b"a" * 100_000 + b"\r\n--x--\r\n",
            413,
            "field-too-large",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="other"; filename="a.jpg"\r\n\r\nabc\r\n--x--\r\n',
            422,
            "unknown-field",
        ),
    ],
)
def test_a_broken_form_is_a_clear_problem(
    ann: Person, kind: str, body: bytes, status: int, code: str
) -> None:
    answer = ann.http.post("/upload", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_unknown_jobs_photos_and_routes_are_404(ann: Person) -> None:
    for path in (
        "/jobs/AAAAAAAAAAAAAAAAAAAAAA",
        "/status/x",
        "/jobs/x/archive",
        "/jobs/x/events",
        "/jobs/x/photos/0",
    ):
        answer = ann.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown-job"), path
    job = ann.send([("a.jpg", photo(64, 48))])
    ann.wait_until_complete(job)
    assert ann.http.get(f"{job}/photos/7").json()["code"] == "unknown-photo"
    assert ann.http.get("/nowhere").json()["code"] == "not-found"


def test_the_archive_is_not_there_before_the_job_is_complete(ann: Person) -> None:
    job = ann.open()
    answer = ann.http.get(f"{job}/archive")
    assert (answer.status_code, answer.json()["code"]) == (409, "job-not-complete")


def test_a_write_that_another_sites_page_causes_is_refused_before_its_body_is_read(ann: Person) -> None:
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://elsewhere.example"}):
        answer = ann.post([("a.jpg", photo(64, 48))], headers=headers, operations="grayscale")
        assert (answer.status_code, answer.json()["code"]) == (403, "cross-site")
    own = str(ann.http.base_url).rstrip("/")
    allowed = ann.post([("a.jpg", photo(64, 48))], headers={"origin": own}, operations="grayscale")
    assert allowed.status_code == 202


def test_a_person_in_a_browser_sees_a_page_instead_of_a_problem(ann: Person) -> None:
    browser = {"accept": "text/html,application/xhtml+xml"}
    refused = ann.post([("a.jpg", b"")], headers=browser, operations="grayscale")
    assert refused.status_code == 422
    assert "The file is empty." in refused.text
    assert "text/html" in ann.http.get("/jobs/unknown", headers=browser).headers["content-type"]
    accepted = ann.post([("a.jpg", photo(64, 48))], headers=browser, operations="grayscale")
    assert accepted.status_code == 303


def test_an_upload_that_breaks_off_leaves_nothing_behind(ann: Person, running_system: System) -> None:
    spool = running_system.settings.http.spool
    before = set(Path(spool).iterdir()) if spool else set()

    def half() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        yield photo(1600, 1200)
        raise ConnectionResetError

    with pytest.raises((httpx.HTTPError, ConnectionResetError)):
        ann.http.post(
            "/upload",
            content=half(),
            headers={"content-type": "multipart/form-data; boundary=x", "content-length": "99999999"},
        )
    eventually(lambda: ann.http.get("/metrics").text, lambda text: "ebbmark_uploads_open 0.0" in text)
    assert (set(Path(spool).iterdir()) if spool else set()) == before


def memory(process: Process) -> int:
    """Return the bytes that a process and its children hold now."""
    assert process.pid is not None
    return sum(each.memory_info().rss for each in tree(process.pid))


def test_the_memory_of_ingest_stays_within_bounds_whatever_is_sent(
    ann: Person, running_system: System
) -> None:
    ingest = running_system.processes["ingest"]
    idle = memory(ingest)
    for _ in range(3):
        ann.post([("large.jpg", b"\xff\xd8\xff" + os.urandom(24 * 1024**2))] * 4, operations="grayscale")
        ann.post([("over.jpg", b"\xff\xd8\xff" + bytes(40 * 1024**2))], operations="grayscale")
        ann.post([], text="x" * 50_000_000, operations="watermark")
    assert memory(ingest) - idle < 300 * 1024**2


def test_the_memory_of_the_workers_stays_within_bounds_whatever_is_sent(
    ann: Person, running_system: System
) -> None:
    workers = [running_system.processes[name] for name in ("worker-1", "worker-2")]
    noise = io.BytesIO()
    Image.frombytes("RGB", (1600, 1200), os.urandom(1600 * 1200 * 3)).save(noise, "JPEG", quality=98)
    large = noise.getvalue()
    good = [(f"{n}.jpg", large) for n in range(30)]
    bad = [("half.jpg", large[: len(large) // 2]), ("cut.png", huge_png(7_700, 7_700)[:-2000])]
    idle = sum(map(memory, workers))
    grown: list[int] = []
    for _ in range(2):
        for _ in range(3):
            assert ann.wait_until_complete(ann.send(bad))["failed"] == len(bad)
        assert ann.wait_until_complete(ann.send(good))["done"] == len(good)
        grown.append(sum(psutil.Process(worker.pid).memory_info().rss for worker in workers))
    assert sum(map(memory, workers)) - idle < 400 * 1024**2
    # Nothing of what went through is held: once they have grown, the workers themselves grow no further.
    assert grown[1] - grown[0] < 64 * 1024**2 < len(good) * len(large)
