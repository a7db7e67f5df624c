"""Clients who hold on to what they can get take nothing from the others."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Self

import httpx
import msgspec
import psutil
import pytest

from ebbmark.settings import Settings
from tests.people import Person, eventually, photo
from tests.system import System

pytestmark = pytest.mark.servers

HEADER_TIMEOUT = 3
LARGE = 20 * 1024**2


@pytest.fixture(scope="module")
def system_settings(room: Settings) -> Settings:
    """Small limits, and no proxy that is believed: here all clients have the loopback address."""
    return msgspec.structs.replace(
        room,
        worker=msgspec.structs.replace(room.worker, children=1),
        http=msgspec.structs.replace(
            room.http,
            forwarded_allow_ips="192.0.2.99",
            connections=60,
            connections_per_client=40,
            header_timeout=timedelta(seconds=HEADER_TIMEOUT),
            chunk_timeout=timedelta(seconds=60),
            uploads=40,
            uploads_per_client=30,
            watchers_per_client=3,
            jobs_per_minute=80,
        ),
    )


@pytest.fixture
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


@pytest.fixture(autouse=True)
def calm(running_system: System) -> None:
    """The crowd of the test before is gone."""
    eventually(
        lambda: httpx.get(f"{running_system.base_url}/operations").status_code, lambda code: code == 200
    )


class Crowd:
    """Many sockets of one client."""

    def __init__(self, system: System) -> None:
        self._port = int(system.base_url.rpartition(":")[2])
        self._stack = ExitStack()
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def come(self, count: int, first_words: bytes = b"", *, address: str = "127.0.0.1") -> None:
        """Connect, say something, and stay."""
        for _ in range(count):
            one = self._stack.enter_context(_connected(self._port, address))
            if first_words:
                one.sendall(first_words)
            self.sockets.append(one)


def _connected(port: int, address: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(address, 0))


UPLOAD = (
    b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=x\r\n"
    b"content-length: 29999999\r\n\r\n"
)


def test_connections_that_ask_nothing_are_closed_and_health_is_told_meanwhile(
    ann: Person, running_system: System
) -> None:
    with Crowd(running_system) as crowd:
        crowd.come(45)
        crowd.come(5, b"GET / HTTP/1.1\r\nhost:")
        for path in ("/healthz", "/readyz", "/metrics"):
            assert ann.http.get(path).status_code == 200
        refused = ann.http.get("/operations")
        assert (refused.status_code, refused.json()["code"]) == (429, "too-many-connections")
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-content-type-options"] == "nosniff"
        assert [one.recv(1) for one in crowd.sockets] == [b""] * 50
    assert ann.http.get("/operations").status_code == 200


def test_those_who_ask_nothing_make_room_for_those_who_ask(ann: Person, running_system: System) -> None:
    with Crowd(running_system) as crowd:
        crowd.come(40, address="127.0.0.2")
        crowd.come(39, address="127.0.0.3")
        assert ann.http.get("/operations").status_code == 200


def test_beyond_all_limits_requests_are_refused_with_a_code(ann: Person, running_system: System) -> None:
    with Crowd(running_system) as crowd:
        crowd.come(30, UPLOAD, address="127.0.0.2")
        crowd.come(30, UPLOAD, address="127.0.0.3")
        refused = ann.http.get("/operations")
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert ann.http.get("/healthz").status_code == 200


def test_a_second_request_must_come_in_time_too(running_system: System) -> None:
    with Crowd(running_system) as crowd:
        crowd.come(1, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        (one,) = crowd.sockets
        answer = b""
        while not answer.endswith(b'{"status":"ok"}'):
            answer += one.recv(65536)
            assert answer
        one.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert one.recv(65536) == b""


def test_a_spoofed_address_has_no_effect(running_system: System) -> None:
    with Crowd(running_system) as crowd:
        crowd.come(45)
        for n in range(3):
            answer = httpx.get(
                f"{running_system.base_url}/operations", headers={"x-forwarded-for": f"198.51.100.{n}"}
            )
            assert answer.status_code == 429


def test_one_client_has_its_share_of_event_streams(ann: Person) -> None:
    job = ann.open()
    with ExitStack() as stack:
        codes = [stack.enter_context(ann.http.stream("GET", f"{job}/events")).status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]
    eventually(lambda: _watch(ann, job), lambda status: status == 200)


def _watch(ann: Person, job: str) -> int:
    with ann.http.stream("GET", f"{job}/events") as stream:
        return stream.status_code


def test_uploads_that_hang_leave_places_for_others_and_memory_within_bounds(
    ann: Person, running_system: System
) -> None:
    ingest = psutil.Process(running_system.processes["ingest"].pid)
    idle = ingest.memory_info().rss
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    held = UPLOAD + part + photo() + bytes(LARGE)
    with Crowd(running_system) as crowd:
        crowd.come(29, held)
        assert ann.wait_until_complete(ann.send([("a.jpg", photo(64, 48))]))["done"] == 1
        crowd.come(1, UPLOAD + part)
        eventually(lambda: ann.http.get("/metrics").text, lambda text: "ebbmark_uploads_open 30.0" in text)
        refused = ann.post([("a.jpg", photo(64, 48))], operations="grayscale")
        assert (refused.status_code, refused.json()["code"]) == (429, "too-many-uploads")
        # Twice the bound has come in, so it can only be kept where it is not memory.
        eventually(lambda: _spooled(ingest), lambda size: size >= 29 * LARGE)
        assert ingest.memory_info().rss - idle < 300 * 1024**2
    eventually(lambda: ann.http.get("/metrics").text, lambda text: "ebbmark_uploads_open 0.0" in text)
    assert ann.send([("a.jpg", photo(64, 48))])
    assert _spooled(ingest) < LARGE


def _spooled(process: psutil.Process) -> int:
    """Return the bytes in files without a name that the process holds."""
    size = 0
    for held in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if held.readlink().name.endswith(" (deleted)"):
                size += held.stat().st_size
    return size


def test_a_client_that_opens_job_after_job_is_told_to_wait_whatever_address_it_claims(ann: Person) -> None:
    answers = [
        ann.post([], path="/jobs", operations="grayscale", headers={"x-forwarded-for": f"198.51.100.{n}"})
        for n in range(90)
    ]
    assert {answer.status_code for answer in answers} == {202, 429}
    assert answers[-1].json()["code"] == "too-many-jobs"
    assert int(answers[-1].headers["retry-after"]) >= 1
