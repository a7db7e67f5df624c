"""What can be done to a running system, each for as long as its body lasts, and undone after it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import boto3
import httpx

from devstack.supervisor import Stack
from ebbmark.eventlog import KafkaLog
from ebbmark.events import RenderPhoto
from ebbmark.settings import Settings
from ebbmark.topics import BULK
from tests.chaos.proxy import CLEAR, Proxy, Weather
from tests.people import Person, eventually, photo
from tests.system import System

SMALL = photo(64, 48)


@contextmanager
def frozen(running: System, *names: str) -> Iterator[None]:
    """Processes of ours stand still."""
    for name in names:
        running.processes[name].pause()
    try:
        yield
    finally:
        for name in names:
            running.processes[name].resume()


@contextmanager
def killed(running: System, name: str) -> Iterator[None]:
    """One of our processes is gone."""
    running.processes[name].kill()
    try:
        yield
    finally:
        running.processes[name].start()


@contextmanager
def frozen_server(stack: Stack, name: str) -> Iterator[None]:
    """A server stands still."""
    stack.server(name).pause()
    try:
        yield
    finally:
        stack.server(name).resume()


@contextmanager
def orders_without_a_ledger(stack: Stack, running: System) -> Iterator[None]:
    """Orders of a job that nobody knows wait for the database to say so."""
    with frozen_server(stack, "postgres"):
        asyncio.run(_publish(running.settings, 4))
        yield


@contextmanager
def under(proxy: Proxy, weather: Weather) -> Iterator[None]:
    """The traffic of a server has this weather."""
    proxy.set(weather)
    try:
        yield
    finally:
        proxy.set(CLEAR)


@contextmanager
def no_room(running: System) -> Iterator[None]:
    """Ingest wants more room for its spool than any disk has."""
    ingest = running.processes["ingest"]
    ingest.kill()
    ingest.command[:0] = ["/usr/bin/env", f"EBBMARK_HTTP_SPOOL_FREE={2**62}"]
    ingest.start()
    running.wait_until_ready()
    try:
        yield
    finally:
        ingest.kill()
        del ingest.command[:2]
        ingest.start()
        running.wait_until_ready()


@contextmanager
def stray_object(settings: Settings) -> Iterator[None]:
    """Something lies in the bucket that nobody of ours put there."""
    store = settings.store
    s3 = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name=store.region,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
    )
    s3.put_object(Bucket=store.bucket, Key="stray", Body=b"of somebody else")
    try:
        yield
    finally:
        s3.delete_object(Bucket=store.bucket, Key="stray")


@contextmanager
def dead_letters(running: System, ann: Person, token: str) -> Iterator[Callable[[], None]]:
    """Photos kill the children that render them, until an operator resolves what came of it."""
    jobs: list[str] = []

    def send() -> None:
        jobs.append(ann.send([("a.jpg", SMALL)], operations="crash"))

    operator = {"authorization": f"Bearer {token}"}
    try:
        yield send
    finally:
        for job in jobs:
            ann.wait_until_complete(job, within=120)

        def still_open() -> int:
            found = httpx.get(f"{running.base_url}/dlq", params={"state": "open"}, headers=operator).json()
            for letter in found["letters"]:
                url = f"{running.base_url}/dlq/{letter['id']}/resolve"
                httpx.post(url, headers=operator).raise_for_status()
            return httpx.get(f"{running.base_url}/dlq/stats").json()["open"]

        eventually(still_open, lambda count: count == 0)


async def _publish(settings: Settings, count: int) -> None:
    """Order photos of a job that nobody knows."""
    async with KafkaLog(settings.kafka, source="tower") as log:
        await log.publish(BULK, [RenderPhoto(job=uuid4(), n=n, epoch=1) for n in range(count)])
