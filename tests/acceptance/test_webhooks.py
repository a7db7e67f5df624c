"""A receiver of webhooks learns how its jobs ended, however badly it or another behaves."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from ebbmark.ledger.postgres import conninfo
from ebbmark.settings import Settings, Webhook
from tests.people import Person, eventually, photo
from tests.receivers import Received, Receiver, certificate, silence, status, without_end
from tests.system import System

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

FILE_NAME = "very-personal-name.jpg"


@pytest.fixture(scope="module")
def receivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiver, Receiver, Path]]:
    """One without TLS and one with it, and what trusts that."""
    tls, trusted = certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")
    with ExitStack() as running:
        plain = running.enter_context(Receiver())
        secure = running.enter_context(Receiver(tls=tls))
        yield plain, secure, trusted


@pytest.fixture(scope="module")
def system_settings(room: Settings, receivers: tuple[Receiver, Receiver, Path]) -> Settings:
    """Receivers on this machine are allowed on two ports, and retries come within seconds."""
    plain, secure, trusted = receivers
    webhook = {
        "allow_http": True,
        "networks": "127.0.0.1/32",
        "ports": f"{plain.port},{secure.port}",
        "authorities": trusted.read_text(),
        "timeout": "PT2S",
        "first_wait": "PT0.5S",
        "longest_wait": "PT1S",
    }
    return msgspec.structs.replace(
        room,
        webhook=msgspec.convert(webhook, Webhook, strict=False),
        worker=msgspec.structs.replace(room.worker, children=1),
        log=msgspec.structs.replace(room.log, level="debug", format="console"),
    )


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


@pytest.fixture
def receiver(receivers: tuple[Receiver, Receiver, Path]) -> Receiver:
    return receivers[0]


def send(ann: Person, url: str, **fields: str) -> dict[str, Any]:
    """Send a job of one photo in one form; return the answer."""
    answer = ann.post([(FILE_NAME, photo(64, 48))], operations="grayscale", webhook=url, **fields)
    assert answer.status_code == 202, answer.text
    return answer.json()


def messages(receiver: Receiver, path: str, count: int = 1) -> list[Received]:
    """Wait until so many came to this path."""
    return eventually(lambda: receiver.at(path), lambda seen: len(seen) >= count)


def log(ann: Person, job: str) -> list[dict[str, Any]]:
    answer = ann.http.get(f"{job}/deliveries")
    assert answer.status_code == 200, answer.text
    return answer.json()["deliveries"]


def delivered(ann: Person, job: str) -> dict[str, Any]:
    """Wait until the job's one event is delivered; return what became of it."""
    (row,) = eventually(
        lambda: log(ann, job), lambda rows: len(rows) == 1 and rows[0]["delivered_at"] is not None
    )
    return row


def test_a_completion_is_told_once_signed_with_the_secret_of_the_answer(
    ann: Person, receiver: Receiver
) -> None:
    accepted = send(ann, receiver.url("/ok?key=of-the-receiver"), webhook_reference="order 17 ü")
    (seen,) = messages(receiver, "/ok?key=of-the-receiver")
    told = seen.verified(accepted["webhook_secret"])
    assert told["type"] == "job.completed"
    data = told["data"]
    assert (data["job"], data["reference"]) == (accepted["webhook_job"], "order 17 ü")
    assert (data["state"], data["total"], data["done"], data["failed"]) == ("complete", 1, 1, 0)
    assert "very-personal-name" not in seen.body.decode()
    assert accepted["job_id"] not in seen.body.decode()
    row = delivered(ann, accepted["status_url"])
    assert (row["type"], row["attempts"], row["status"], row["outcome"]) == (
        "job.completed",
        1,
        200,
        "delivered",
    )
    assert row["event"] == seen.headers["webhook-id"]


def test_a_job_that_is_filled_photo_by_photo_tells_it_too(
    ann: Person, receivers: tuple[Receiver, Receiver, Path]
) -> None:
    secure, secret = receivers[1], "whsec_" + "c2VjcmV0IG9mIHRoZSBzZW5kZXIncyBvd24="
    opened = ann.post(
        [], path="/jobs", operations="grayscale", webhook=secure.url("/filled"), webhook_secret=secret
    ).json()
    assert "webhook_secret" not in opened
    job = opened["status_url"]
    assert ann.put(job, 0, ("a.jpg", photo(64, 48))).status_code == 201
    sealed = ann.seal(job, 1).json()
    assert "webhook_secret" not in sealed
    (seen,) = messages(secure, "/filled")
    assert seen.verified(secret)["data"]["job"] == opened["webhook_job"]
    delivered(ann, job)


def test_a_receiver_that_fails_twice_is_told_a_third_time(ann: Person, receiver: Receiver) -> None:
    receiver.scripts["/flaky"] = [status(500), status(500), status(200)]
    accepted = send(ann, receiver.url("/flaky"))
    row = delivered(ann, accepted["status_url"])
    assert (row["attempts"], row["status"]) == (3, 200)
    seen = receiver.at("/flaky")
    assert len(seen) == 3
    assert len({(each.headers["webhook-id"], each.body) for each in seen}) == 1
    for each in seen:
        each.verified(accepted["webhook_secret"])


def test_a_redirect_to_the_inside_is_never_followed(ann: Person, receiver: Receiver) -> None:
    receiver.scripts["/redirect"] = [status(302, location=receiver.url("/inside")), status(200)]
    accepted = send(ann, receiver.url("/redirect"))
    assert delivered(ann, accepted["status_url"])["attempts"] == 2
    assert receiver.at("/inside") == []


def test_broken_receivers_delay_neither_their_jobs_nor_the_messages_of_others(
    ann: Person, receiver: Receiver
) -> None:
    receiver.scripts["/silent"] = [silence]
    receiver.scripts["/endless"] = [without_end]
    broken = [send(ann, receiver.url(path))["status_url"] for path in ("/silent", "/silent", "/endless")]
    for job in broken:
        assert ann.wait_until_complete(job)["done"] == 1
    assert delivered(ann, broken[2])["outcome"] == "delivered"
    assert delivered(ann, send(ann, receiver.url("/fine"))["status_url"])["attempts"] == 1
    (row,) = eventually(lambda: log(ann, broken[0]), lambda rows: bool(rows and rows[0]["outcome"]))
    assert (row["outcome"], row["status"], row["delivered_at"]) == ("timeout", None, None)
    for job in broken:
        assert ann.http.delete(job).status_code == 204


def test_what_was_delivered_is_told_again_when_its_owner_says_so(ann: Person, receiver: Receiver) -> None:
    accepted = send(ann, receiver.url("/again"))
    row = delivered(ann, accepted["status_url"])
    answer = ann.http.post(row["replay_url"])
    assert answer.status_code == 202
    assert (answer.json()["event"], answer.json()["delivered_at"]) == (row["event"], None)
    first, second = messages(receiver, "/again", 2)
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert delivered(ann, accepted["status_url"])["attempts"] == 2


def test_only_the_owner_replays_and_only_what_happened(ann: Person, receiver: Receiver) -> None:
    row = delivered(ann, send(ann, receiver.url("/mine"))["status_url"])
    other = send(ann, receiver.url("/other"))["status_url"]
    for path, code in (
        (f"{other}/deliveries/{row['event']}/replay", "unknown-event"),
        (f"{other}/deliveries/%00/replay", "unknown-event"),
        (f"{other}/deliveries/%ED%A0%80/replay", "unknown-event"),
        (f"/jobs/{'A' * 22}/deliveries/{row['event']}/replay", "unknown-job"),
    ):
        answer = ann.http.post(path)
        assert (answer.status_code, answer.json()["code"]) == (404, code)
    foreign = ann.http.post(row["replay_url"], headers={"origin": "https://elsewhere.example"})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "cross-site")
    assert ann.http.get(f"/jobs/{'A' * 22}/deliveries").json()["code"] == "unknown-job"


def test_a_job_without_a_webhook_has_an_empty_log_and_no_secret(ann: Person) -> None:
    answer = ann.post([("a.jpg", photo(64, 48))], operations="grayscale").json()
    assert not {"webhook_secret", "webhook_job"} & answer.keys()
    ann.wait_until_complete(answer["status_url"])
    assert log(ann, answer["status_url"]) == []


def test_a_repeated_request_learns_the_same_secret_and_another_one_is_refused(
    ann: Person, receiver: Receiver
) -> None:
    key = {"idempotency-key": secrets.token_hex(16)}
    form = {"operations": "grayscale", "webhook": receiver.url("/repeated")}
    upload = [("a.jpg", photo(64, 48))]
    first = ann.post(upload, headers=key, **form).json()
    delivered(ann, first["status_url"])
    again = ann.post(upload, headers=key, **form)
    assert again.status_code == 202
    for name in ("job_id", "webhook_job", "webhook_secret"):
        assert again.json()[name] == first[name]
    other = ann.post(upload, headers=key, **(form | {"webhook": receiver.url("/elsewhere")}))
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert len(receiver.at("/repeated")) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"webhook": "https://169.254.169.254/latest/meta-data"},
        {"webhook": "http://127.0.0.2/"},
        {"webhook": "file:///etc/passwd"},
        {"webhook": "https://user@example.org/"},
        {"webhook_secret": "whsec_c2VjcmV0IG9mIHRoZSBzZW5kZXIncyBvd24="},
    ],
)
def test_a_webhook_that_must_not_be_is_refused_at_the_door(ann: Person, fields: dict[str, str]) -> None:
    for uploads in ([("a.jpg", photo(64, 48))], []):
        answer = ann.post(uploads, path="/jobs", operations="grayscale", **fields)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-webhook")


def test_the_end_is_told_and_then_address_secret_and_reference_are_forgotten(
    ann: Person, receiver: Receiver, running_system: System
) -> None:
    receiver.scripts["/end"] = [status(200), status(500), status(200)]
    accepted = send(ann, receiver.url("/end"), webhook_reference="very personal words")
    messages(receiver, "/end")
    delivered(ann, accepted["status_url"])
    with psycopg.connect(conninfo(running_system.settings.ledger), autocommit=True) as connection:

        def kept() -> tuple[Any, ...] | None:
            return connection.execute(
                "select url, reference from webhooks where job = %s", [accepted["webhook_job"]]
            ).fetchone()

        assert kept() == (receiver.url("/end"), "very personal words")
        assert ann.http.delete(accepted["status_url"]).status_code == 204
        seen = messages(receiver, "/end", 3)
        assert [each.verified(accepted["webhook_secret"])["type"] for each in seen] == [
            "job.completed",
            "job.expired",
            "job.expired",
        ]
        eventually(kept, lambda row: row is None)
        dump = connection.execute("select string_agg(deliveries::text, ' ') from deliveries").fetchone()
        assert dump is not None
        for word in ("very personal words", "/end", "127.0.0.1"):
            assert word not in dump[0]
    gone = ann.http.get(f"{accepted['status_url']}/deliveries")
    assert gone.status_code in {404, 410}


def test_nothing_of_a_webhook_stands_in_the_logs(
    ann: Person, receiver: Receiver, running_system: System
) -> None:
    receiver.scripts["/a-secret-path"] = [status(500), status(200)]
    accepted = send(ann, receiver.url("/a-secret-path"), webhook_reference="very personal words")
    delivered(ann, accepted["status_url"])
    (signature,) = {each.headers["webhook-signature"] for each in receiver.at("/a-secret-path")[:1]}
    written = 0
    for path in (running_system.stack.data / "logs").glob("*.log"):
        text = path.read_text("utf-8", "replace")
        written += text.count("receiver told")
        for secret in ("a-secret-path", "very personal words", accepted["webhook_secret"][6:], signature):
            assert secret not in text, path.name
    assert written > 0


def test_a_notifier_that_is_killed_with_messages_in_hand_leaves_none_untold(
    ann: Person, receiver: Receiver, running_system: System
) -> None:
    receiver.scripts["/killed"] = [silence, silence, silence, silence, status(200)]
    jobs = [send(ann, receiver.url("/killed"))["status_url"] for _ in range(3)]
    messages(receiver, "/killed", 2)
    workers = [each for name, each in running_system.processes.items() if name.startswith("worker")]
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.start()
    for job in jobs:
        delivered(ann, job)
    assert len({each.headers["webhook-id"] for each in receiver.at("/killed")}) == 3
