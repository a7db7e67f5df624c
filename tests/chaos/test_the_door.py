"""Ingest killed between two steps of an upload: what got no 202 may be finished, and never stays."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest

from ebbmark.topics import UPLOADS
from tests.chaos import messages
from tests.chaos.arena import Arena
from tests.chaos.invariants import Onlooker
from tests.chaos.proxy import Weather
from tests.people import photo

pytestmark = [pytest.mark.servers, pytest.mark.chaos, pytest.mark.timeout(240)]

FORM = {"operations": "watermark", "text": "© killed"}
GONE_WITHIN = 150.0
"""Seconds: the time to upload or to fetch, the grace and the second listing, as short as they are here."""


def killed_when(
    arena: Arena, reached: Callable[[], bool], send: Callable[[], Any], then: Callable[[], None]
) -> list[Any]:
    """Send, kill ingest as soon as the upload got so far, and start it anew; return what was answered."""
    answers: list[Any] = []

    def sending() -> None:
        with suppress(httpx.TransportError):
            answers.append(send())

    sender = threading.Thread(target=sending)
    sender.start()
    assert arena.until(reached, within=20), "the upload did not get so far"
    arena.down.add("ingest")
    arena.process("ingest").kill()
    then()
    sender.join(30)
    arena.process("ingest").start()
    arena.down.discard("ingest")
    assert arena.until(lambda: arena.answers("ingest"), within=60)
    return answers


def form(arena: Arena) -> httpx.Request:
    parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in FORM.items()]
    parts += [("files", (f"{n}.jpg", photo(640, 480, seed=n))) for n in range(2)]
    return httpx.Request("POST", f"{arena.system.base_url}/upload", files=parts)


def keys(onlooker: Onlooker) -> set[str]:
    found = onlooker.s3.list_objects_v2(Bucket="chaos")
    return {each["Key"] for each in found.get("Contents", [])}


def test_killed_when_bytes_are_stored_and_the_ledger_does_not_know(chaos: Arena, onlooker: Onlooker) -> None:
    before, new = keys(onlooker), set[str]()
    whole, killed = form(chaos), threading.Event()
    content = whole.read()

    def stored() -> bool:
        new.update(keys(onlooker) - before)
        return bool(new)

    def send() -> httpx.Response:
        def body() -> Iterator[bytes]:
            yield content[:-1000]  # the first photo, and most of the second
            killed.wait(30)
            yield content[-1000:]

        return httpx.post(whole.url, content=body(), headers=whole.headers, timeout=60)

    assert killed_when(chaos, stored, send, killed.set) == []
    assert chaos.probe() is not None
    assert chaos.until(lambda: not new & keys(onlooker), within=GONE_WITHIN)


@pytest.mark.parametrize("ordered", [False, True])
def test_killed_when_the_ledger_knows_a_form_that_is_not_accepted(
    chaos: Arena, onlooker: Onlooker, *, ordered: bool
) -> None:
    every = "select distinct job from photos"
    before, new = set(chaos.ledger(every)), set[Any]()

    def entered() -> bool:
        new.update(set(chaos.ledger(every)) - before)
        return bool(new)

    whole = form(chaos)
    content = whole.read()

    def send() -> httpx.Response:
        return httpx.post(whole.url, content=content, headers=whole.headers, timeout=60)

    kafka = chaos.system.stack.server("kafka")

    def order_taken() -> bool:
        if not entered():
            return False
        chaos.weather("postgres", Weather(holed=True))
        kafka.resume()
        orders = messages.read(chaos.direct.kafka, UPLOADS, last=100)
        return any(str(job).encode() in order.value for (job,) in new for order in orders)

    def heal() -> None:
        kafka.resume()
        if ordered:  # what ingest had said to the ledger is lost with it
            chaos.weather("postgres", Weather(refused=True))
        chaos.weather("postgres")

    kafka.pause()
    try:
        answers = killed_when(chaos, order_taken if ordered else entered, send, heal)
    finally:
        heal()
    assert answers == []
    ((job,),) = new
    assert chaos.probe() is not None
    states = (
        "select state, total, done, failed, unaccepted_until is not null, expires_at - completed_at"
        " from jobs where id = %s"
    )
    assert chaos.until(lambda: chaos.ledger(states, job)[0][2] == 2, within=60)
    assert chaos.until(lambda: chaos.ledger(states, job)[0][0] in {"expiring", "expired"}, within=60)
    *counts, unaccepted, lived = chaos.ledger(states, job)[0][1:]
    assert counts == [2, 2, 0], "the ledger knew of it, so it was rendered"
    assert unaccepted
    assert lived < chaos.direct.job.ttl - timedelta(seconds=2), "nobody was answered, so it has no hour"
    assert chaos.until(lambda: not any(str(job) in key for key in keys(onlooker)), within=GONE_WITHIN)
