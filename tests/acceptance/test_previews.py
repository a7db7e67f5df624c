"""Previews of the running system: what they show, what stops them, and what they do to nobody."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import httpx
import msgspec
import psutil
import pytest

from devstack.process import tree
from ebbmark.settings import Settings
from tests.people import Person, eventually, opened, photo
from tests.system import System
from tests.zoo import makers

pytestmark = pytest.mark.servers

MEGA = 1024**2
BOMBS = {
    "a png of 900 MP": (lambda: makers.rows_png(30_000, 30_000, depth=1, colour=0), "too-many-pixels"),
    "a png that says 200 MB": (
        lambda: makers.with_chunks(photo(form="PNG"), makers.inflating(b"iTXt", b"a\0\1\0\0\0", 200)),
        "corrupt",
    ),
    "an animation": (lambda: makers.apng(10_000), "too-many-frames"),
    "a damaged photo": (lambda: photo()[:3000], "corrupt"),
    "a text": (lambda: b"This is only text." * 50, "unsupported-format"),
}


@pytest.fixture(scope="module")
def system_settings(room: Settings) -> Settings:
    """Few at once, and clients that are told apart by what a proxy says."""
    return msgspec.structs.replace(
        room,
        worker=msgspec.structs.replace(room.worker, children=1),
        preview=msgspec.structs.replace(room.preview, per_minute=30, at_once=3, per_client=2),
        log=msgspec.structs.replace(room.log, format="console"),
    )


@pytest.fixture
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


def preview(person: Person, *uploads: tuple[str, bytes], of: str, **fields: str) -> httpx.Response:
    """Ask as one client of many."""
    said = fields or {"operations": "watermark", "text": "© Студия 2026"}
    return person.post(uploads, path="/preview", headers={"x-forwarded-for": of}, **said)


def test_a_preview_is_the_result_of_the_job_and_leaves_nothing(ann: Person, running_system: System) -> None:
    sent = [("a.jpg", photo(1000, 750, orientation=6))]
    fields = {"operations": "watermark,resize", "text": "© me", "width": "600"}
    shown = preview(ann, *sent, of="198.51.100.1", **fields)
    assert (shown.status_code, shown.headers["cache-control"]) == (200, "no-store")
    store = running_system.settings.store
    client = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name=store.region,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
    )
    assert client.list_objects_v2(Bucket=store.bucket)["KeyCount"] == 0
    job = ann.send(sent, **fields)
    ann.wait_until_complete(job)
    assert ann.http.get(f"{job}/photos/0").content == shown.content
    assert opened(shown.content).size == (600, 800)


@pytest.mark.parametrize("name", BOMBS)
def test_what_fails_in_a_job_fails_here_with_the_same_code_and_at_no_cost(
    ann: Person, running_system: System, name: str
) -> None:
    make, code = BOMBS[name]
    content = make()
    ingest = psutil.Process(running_system.processes["ingest"].pid)
    assert preview(ann, of="198.51.100.2").status_code == 200
    before = ingest.memory_info().rss
    told = preview(ann, ("a.jpg", content), of="198.51.100.2")
    assert (told.status_code >= 400, told.json()["code"]) == (True, code)
    assert told.json()["detail"].endswith(".")
    assert ingest.memory_info().rss - before < 24 * MEGA + 3 * len(content)
    if code != "unsupported-format":
        status = ann.wait_until_complete(ann.send([("a.jpg", content)]))
        assert status["photos"][0]["code"] == code
    assert preview(ann, of="198.51.100.2").status_code == 200


def test_who_asks_too_often_is_told_when_to_ask_again_and_others_are_not(ann: Person) -> None:
    fields = {"operations": "resize", "width": "16"}
    statuses = [preview(ann, of="198.51.100.3", **fields).status_code for _ in range(40)]
    assert statuses[0] == 200
    refused = preview(ann, of="198.51.100.3", **fields)
    assert (refused.status_code, refused.json()["code"]) == (429, "too-many-previews")
    assert int(refused.headers["retry-after"]) >= 1
    assert preview(ann, of="198.51.100.4", **fields).status_code == 200


def test_many_at_once_are_refused_and_meanwhile_photos_are_taken_in(
    ann: Person, running_system: System
) -> None:
    large = ("a.jpg", photo(6000, 4000))
    heavy = {"operations": "blur,resize", "radius": "0.2", "width": "900"}
    go = threading.Barrier(8)

    def crowd(n: int) -> tuple[int, str]:
        with Person(running_system.base_url) as one:
            go.wait()
            told = preview(one, large, of=f"198.51.100.{10 + n}", **heavy)
            return told.status_code, told.headers.get("retry-after", "")

    with ThreadPoolExecutor(8) as people:
        asked = [people.submit(crowd, n) for n in range(8)]
        assert ann.http.get("/healthz").status_code == 200
        status = ann.wait_until_complete(ann.send([("b.jpg", photo(64, 48))]))
        told = [each.result() for each in asked]
    assert status["done"] == 1
    assert {200, 503} == {code for code, _ in told}
    assert all(after == "5" for code, after in told if code == 503)


def test_a_child_that_is_killed_is_replaced_and_none_outlives_ingest(
    ann: Person, running_system: System
) -> None:
    ingest = running_system.processes["ingest"]
    assert preview(ann, of="198.51.100.5").status_code == 200
    children = [each for each in tree(ingest.pid or 0) if each.pid != ingest.pid]
    assert children
    for each in children:
        if "forkserver" in " ".join(each.cmdline()):
            for child in each.children():
                child.kill()
    answers = eventually(lambda: preview(ann, of="198.51.100.5").status_code, lambda status: status == 200)
    assert answers == 200
    children = [each for each in tree(ingest.pid or 0) if each.pid != ingest.pid]
    ingest.kill()
    eventually(lambda: [each for each in children if each.is_running()], lambda left: left == [])
    ingest.start()
    running_system.wait_until_ready()
    assert preview(ann, of="198.51.100.5").status_code == 200
