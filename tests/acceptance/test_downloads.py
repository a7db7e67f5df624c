"""Downloads by clients that are slow, or come at a bad moment, on the whole system."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import psutil
import pytest
from PIL import Image

from tests.people import Person, eventually, saved_as
from tests.system import System

pytestmark = pytest.mark.servers

READERS = 8


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


def noise(width: int, height: int) -> bytes:
    """A photo that no format makes much smaller."""
    return saved_as(Image.frombytes("RGB", (width, height), os.urandom(width * height * 3)), "JPEG")


def asking(base_url: str, path: str) -> socket.socket:
    """Ask, and take nothing of the answer."""
    address = httpx.URL(base_url)
    connection = socket.create_connection((address.host, address.port or 80))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.host}\r\n\r\n".encode())
    return connection


def test_readers_that_take_their_time_cost_hardly_any_memory(ann: Person, running_system: System) -> None:
    job = ann.send([("noise.jpg", noise(2400, 2000))], operations="convert", format="png")
    assert ann.wait_until_complete(job)["photos"][0]["bytes"] > 12 * 1024**2
    ingest = psutil.Process(running_system.processes["ingest"].pid)
    idle = ingest.memory_info().rss
    with ExitStack() as stack:
        for _ in range(READERS):
            stack.enter_context(asking(running_system.base_url, f"{job}/archive"))
        eventually(
            lambda: ann.http.get("/metrics").text,
            lambda text: f"ebbmark_downloads_open {READERS:.1f}" in text,
        )
        assert len(ann.archive(job)) == 2  # by then each of them has what it will have
        assert ingest.memory_info().rss - idle < 8 * READERS * 1024**2
    eventually(lambda: ann.http.get("/metrics").text, lambda text: "ebbmark_downloads_open 0.0" in text)
