"""An hour after completion everything is gone; here the hour has seconds."""

from collections.abc import Iterator

import boto3
import msgspec
import psycopg
import pytest

from ebbmark.ledger.postgres import conninfo
from ebbmark.settings import Job, Settings
from tests.people import Person, eventually, photo
from tests.system import System

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def system_settings(room: Settings) -> Settings:
    """Twenty seconds to live would be a long test; five are an hour all the same."""
    job = {"ttl": "PT5S", "grace": "PT2S", "quiet": "PT3S", "upload_deadline": "PT8S"}
    return msgspec.structs.replace(
        room,
        job=msgspec.convert(job, Job, strict=False),
        worker=msgspec.structs.replace(room.worker, children=1),
        log=msgspec.structs.replace(room.log, format="console"),
    )


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


def keys(settings: Settings) -> list[str]:
    store = settings.store
    s3 = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name=store.region,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
    )
    return [each["Key"] for each in s3.list_objects_v2(Bucket=store.bucket).get("Contents", [])]


def test_links_die_first_then_the_bytes_and_what_remains_is_ids_counts_and_times(
    ann: Person, running_system: System
) -> None:
    settings = running_system.settings
    job = ann.send(
        [("personal name.jpg", photo()), ("bad.jpg", b"text")], operations="watermark", text="personal mark"
    )
    status = ann.wait_until_complete(job)
    photos = status["photos"]
    # Links die by themselves, the bytes by the janitor: frozen, it waits for this test, however slow that is.
    running_system.processes["janitor"].pause()
    try:
        gone = eventually(lambda: ann.http.get(job), lambda answer: answer.status_code != 200)
        assert (gone.status_code, gone.json()["code"]) == (410, "job-expired")
        for path in (f"{job}/archive", photos[0]["url"], photos[0]["thumbnail_url"], f"{job}/events"):
            assert ann.http.get(path).status_code == 410, path
        assert len(keys(settings)) == 2
    finally:
        running_system.processes["janitor"].resume()
    eventually(lambda: ann.http.get(job).status_code, lambda seen: seen == 404)
    assert keys(settings) == []
    assert ann.http.get(f"{job}/archive").json()["code"] == "unknown-job"
    with psycopg.connect(conninfo(settings.ledger)) as connection:
        row = connection.execute(
            "select token_hash, recipe, logo_sha256, idempotency_hash, sealed_token, fingerprint,"
            " done, failed, total"
            " from jobs where state = 'expired' order by created_at limit 1"
        ).fetchone()
        assert row == (None, None, None, None, None, None, 1, 1, 2)
        dump = connection.execute(
            "select string_agg(photos::text, ' ') || (select string_agg(jobs::text, ' ') from jobs)"
            " from photos"
        ).fetchone()
        assert dump is not None
        assert "personal" not in dump[0]
        eventually(
            lambda: connection.execute("select count(*) from jobs where verified_at is null").fetchone(),
            lambda seen: seen == (0,),
        )
        connection.rollback()


def test_an_upload_that_is_never_sealed_is_abandoned_and_deleted(ann: Person, running_system: System) -> None:
    job = ann.open(operations="grayscale")
    assert ann.put(job, 0, ("a.jpg", photo(64, 48))).status_code == 201
    eventually(lambda: ann.status(job)["done"], lambda done: done == 1)
    eventually(lambda: ann.http.get(job).status_code, lambda seen: seen == 404)
    assert keys(running_system.settings) == []
    assert ann.seal(job, 1).status_code == 404


def test_nothing_personal_stands_in_the_logs(ann: Person, running_system: System) -> None:
    secret_name, secret_text = "very-personal-name", "very personal text"
    job = ann.send(
        [(f"{secret_name}.jpg", photo(64, 48)), ("b.jpg", photo()[:2000])],
        operations="watermark",
        text=secret_text,
    )
    ann.wait_until_complete(job)
    with psycopg.connect(conninfo(running_system.settings.ledger)) as connection:
        row = connection.execute("select id from jobs order by created_at desc limit 1").fetchone()
    assert row is not None
    eventually(lambda: ann.http.get(job).status_code, lambda status: status == 404)
    token = job.rsplit("/", 1)[1]
    logs = running_system.stack.data / "logs"
    # What may stand there does, so this is where they write, and they have written of this job.
    eventually((logs / "janitor.log").read_text, lambda text: str(row[0]) in text)
    texts = {log.stem: log.read_text("utf-8", "replace") for log in logs.glob("*.log")}
    assert texts.keys() >= {*running_system.stack.servers, *running_system.processes}
    for name, text in texts.items():
        for secret in (secret_name, secret_text, token):
            assert secret not in text, (name, secret)
