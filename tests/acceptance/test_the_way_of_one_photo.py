"""From the upload to the archive, on the whole system."""

import hashlib
import json
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops

from devstack import exporters
from tests.people import Person, eventually, opened, photo
from tests.system import System

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


def test_two_photos_sent_with_curl_come_back_upright_resized_and_marked(ann: Person) -> None:
    sideways = photo(900, 1200, orientation=6)
    answer = ann.post(
        [("a.jpg", sideways), ("b.png", photo(1600, 1000, form="PNG"))],
        operations="resize,watermark",
        text="© Студия 2026",
        width="800",
    )
    assert answer.status_code == 202
    job = answer.headers["location"]
    assert answer.json()["status_url"] == job
    public_id = answer.json()["job_id"]
    status = eventually(
        lambda: ann.http.get(f"/status/{public_id}").json(), lambda seen: seen["state"] == "complete"
    )
    assert (status["total"], status["done"], status["failed"]) == (2, 2, 0)
    files = ann.archive(job)
    assert set(files) == {"a.jpg", "b.png", "manifest.json"}
    upright, png = opened(files["a.jpg"]), opened(files["b.png"])
    assert upright.size == (800, 600)
    assert png.size == (800, 500)
    assert png.format == "PNG"
    unmarked = ann.archive(
        _complete(ann, [("b.png", photo(1600, 1000, form="PNG"))], operations="resize", width="800")
    )
    assert _difference(png, opened(unmarked["b.png"])) > 0


def test_odd_names_survive_and_stay_apart(ann: Person) -> None:
    small = photo(64, 48)
    names = [
        "ФОТО.JPG",
        "🏔 peak.jpg",
        "я" * 125 + ".jpg",
        "same.jpg",
        "SAME.jpg",
        "../../etc/passwd.jpg",
        "CON.jpg",
    ]
    job = _complete(ann, [(name, small) for name in names])
    files = set(ann.archive(job)) - {"manifest.json"}
    assert {"ФОТО.JPG", "🏔 peak.jpg", "same.jpg", "SAME (2).jpg", "passwd.jpg", "_CON.jpg"} <= files
    assert len(files) == len(names)
    assert max(len(name.encode()) for name in files) <= 255
    first = ann.http.get(f"{job}/photos/0")
    assert first.headers["content-disposition"].endswith("filename*=UTF-8''%D0%A4%D0%9E%D0%A2%D0%9E.JPG")


def test_the_manifest_tells_what_became_of_every_photo(ann: Person) -> None:
    good = photo(64, 48)
    job = _complete(ann, [("good.jpg", good), ("bad.jpg", b"not a photo")])
    manifest = json.loads(ann.archive(job)["manifest.json"])
    assert (manifest["done"], manifest["failed"]) == (1, 1)
    done, failed = manifest["photos"]
    assert done["file"] == "good.jpg"
    assert done["original_sha256"] == hashlib.sha256(good).hexdigest()
    assert (failed["file"], failed["code"]) == (None, "unsupported-format")


def test_a_result_is_served_whole_or_in_part_and_its_thumbnail_beside_it(ann: Person) -> None:
    job = _complete(ann, [("a.jpg", photo(1200, 800))])
    (shown,) = ann.status(job)["photos"]
    whole = ann.http.get(shown["url"])
    assert whole.headers["content-type"] == "image/jpeg"
    assert len(whole.content) == shown["bytes"]
    part = ann.http.get(shown["url"], headers={"range": "bytes=100-299"})
    assert part.status_code == 206
    assert part.content == whole.content[100:300]
    assert part.headers["content-range"] == f"bytes 100-299/{shown['bytes']}"
    outside = ann.http.get(shown["url"], headers={"range": "bytes=99999999-"})
    assert (outside.status_code, outside.json()["code"]) == (416, "range-not-satisfiable")
    again = ann.http.get(shown["url"], headers={"if-none-match": whole.headers["etag"]})
    assert again.status_code == 304
    thumbnail = opened(ann.http.get(shown["thumbnail_url"]).content)
    assert 160 <= max(thumbnail.size) <= 320


def test_a_status_that_did_not_change_is_a_304(ann: Person) -> None:
    job = _complete(ann, [("a.jpg", photo(64, 48))])
    first = ann.http.get(job)
    again = ann.http.get(job, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_photos_sent_one_by_one_are_rendered_before_the_last_is_sent(ann: Person) -> None:
    job = ann.open(operations="grayscale")
    assert ann.put(job, 0, ("first.jpg", photo(320, 240))).status_code == 201
    status = eventually(lambda: ann.status(job), lambda seen: seen["done"] == 1)
    assert (status["state"], status["total"]) == ("open", None)
    repeated = ann.put(job, 0, ("first.jpg", photo(320, 240)))
    assert repeated.status_code == 201
    assert ann.put(job, 0, ("other.jpg", photo(320, 240, seed=5))).json()["code"] == "photo-exists"
    assert ann.seal(job, 2).json()["code"] == "wrong-total"
    assert ann.put(job, 1, ("second.webp", photo(320, 240, form="WEBP"))).status_code == 201
    assert ann.seal(job, 2).status_code == 202
    assert ann.seal(job, 2).status_code == 202
    assert ann.put(job, 2, ("late.jpg", photo())).json()["code"] == "job-sealed"
    status = ann.wait_until_complete(job)
    assert (status["done"], status["failed"]) == (2, 0)


def test_watchers_see_snapshots_that_never_go_back_and_then_the_end(ann: Person) -> None:
    job = ann.open(operations="grayscale")
    seen: list[dict[str, Any]] = []
    ended: list[str] = []

    def watch() -> None:
        with ann.http.stream("GET", f"{job}/events", timeout=30) as stream:
            event = ""
            for line in stream.iter_lines():
                if line.startswith("event:"):
                    event = line[6:].strip()
                elif line.startswith("data:") and event == "snapshot":
                    seen.append(json.loads(line[5:]))
                elif line.startswith("data:") and event == "end":
                    ended.append(line[5:].strip())

    watching = threading.Thread(target=watch)
    watching.start()
    for n in range(6):
        assert ann.put(job, n, (f"{n}.jpg", photo(320, 240, seed=n))).status_code == 201
    assert ann.seal(job, 6).status_code == 202
    watching.join(30)
    assert ended == ["complete"]
    versions = [snapshot["version"] for snapshot in seen]
    assert versions == sorted(versions)
    shown = [[snapshot["version"], *(photo["state"] for photo in snapshot["photos"])] for snapshot in seen]
    assert all(one != next_ for one, next_ in pairwise(shown))
    assert (seen[-1]["state"], seen[-1]["done"]) == ("complete", 6)


def test_the_same_idempotency_key_leads_to_the_same_job_and_another_body_is_refused(ann: Person) -> None:
    key = {"idempotency-key": hashlib.sha256(ann.http.base_url.host.encode()).hexdigest()}
    uploads = [("a.jpg", photo(64, 48))]
    fields = {"operations": "watermark", "text": "once"}
    first = ann.post(uploads, headers=key, **fields)
    second = ann.post(uploads, headers=key, **fields)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["job_id"] == second.json()["job_id"]
    other = ann.post([("a.jpg", photo(64, 48, seed=3))], headers=key, **fields)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert ann.wait_until_complete(first.json()["status_url"])["total"] == 1
    short = ann.post(uploads, headers={"idempotency-key": "short"}, **fields)
    assert (short.status_code, short.json()["code"]) == (422, "invalid-idempotency-key")


def test_a_logo_is_put_on_every_photo(ann: Person) -> None:
    parts: list[tuple[str, Any]] = [
        ("files", ("a.png", photo(800, 600, form="PNG"))),
        ("logo", ("logo.png", photo(100, 60, form="PNG", seed=9))),
        ("operations", (None, b"watermark")),
        ("opacity", (None, b"1")),
        ("size", (None, b"0.2")),
    ]
    answer = ann.http.post("/jobs", files=parts)
    assert answer.status_code == 202, answer.text
    job = answer.json()["status_url"]
    assert ann.wait_until_complete(job)["done"] == 1
    plain = opened(photo(800, 600, form="PNG")).convert("RGB")
    assert _difference(opened(ann.archive(job)["a.png"]).convert("RGB"), plain) > 50


def test_an_owner_deletes_everything_at_once(ann: Person) -> None:
    job = _complete(ann, [("a.jpg", photo(64, 48))])
    assert ann.http.delete(job).status_code == 204
    assert ann.http.get(job).status_code in {404, 410}
    assert ann.http.get(f"{job}/archive").status_code in {404, 410}
    eventually(lambda: ann.http.get(job).status_code, lambda status: status == 404)


def test_the_interface_describes_itself(ann: Person) -> None:
    described = ann.http.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    assert {"/jobs", "/upload", "/jobs/{public_id}", "/status/{public_id}"} <= set(described["paths"])
    assert ann.http.get("/docs").status_code == 200
    assert {each["name"] for each in ann.http.get("/operations").json()} >= {
        "watermark",
        "resize",
        "convert",
        "grayscale",
        "blur",
    }


def test_every_process_shows_its_metrics(ann: Person, running_system: System) -> None:
    _complete(ann, [("a.jpg", photo(64, 48))])
    assert (
        'ebbmark_http_requests_total{method="POST",route="/upload",status="202"}'
        in ann.http.get("/metrics").text
    )
    known = json.loads((running_system.stack.data / "prometheus" / "targets.json").read_text())
    addresses = {group["labels"]["process"]: group["targets"][0] for group in known}
    assert set(addresses) - set(exporters.TARGETS.values()) == {"ingest", "worker-1", "worker-2", "janitor"}
    shown = {name: httpx.get(f"http://{address}/metrics").text for name, address in addresses.items()}
    assert "ebbmark_photos_rendered_total" in shown["worker-1"]
    assert "ebbmark_janitor_leader 1.0" in shown["janitor"]


def _complete(ann: Person, uploads: list[tuple[str, bytes]], **fields: str) -> str:
    job = ann.send(uploads, **fields)
    ann.wait_until_complete(job)
    return job


def _difference(one: Image.Image, other: Image.Image) -> int:
    return max(
        high for _, high in ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getextrema()
    )
