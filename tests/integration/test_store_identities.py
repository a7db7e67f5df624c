"""The keys that Compose gives to each service open what it needs in the bucket, and no more."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from devstack import ports, seaweedfs
from ebbmark.errors import Unavailable
from ebbmark.settings import Store
from ebbmark.store import S3Store, Unfinished, job_prefix, logo_key, original_key, result_key
from tests.unit.test_compose import started_seaweedfs

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

JOB = UUID(int=7)
HASH = b"a" * 32
CALLS: dict[str, Callable[[S3Store], Awaitable[object]]] = {
    "prepare": lambda store: store.prepare(),
    "ready": lambda store: store.ready(),
    "read an original": lambda store: store.get(original_key(JOB, 0, HASH)),
    "read a result": lambda store: store.get(result_key(JOB, 0, 0)),
    "read a logo": lambda store: store.get(logo_key(JOB, HASH)),
    "write an original": lambda store: store.put(original_key(JOB, 1, HASH), b"x"),
    "write a result": lambda store: store.put_new(result_key(JOB, 0, 1), b"x", {"ebb-n": "1"}),
    "meet a result": lambda store: store.put_new(result_key(JOB, 0, 0), b"x", {}),
    "list": lambda store: store.keys(job_prefix(JOB)),
    "list uploads": lambda store: store.unfinished(""),
    "abort an upload": lambda store: store.abort(Unfinished("jobs/x", "u", datetime(2026, 1, 1, tzinfo=UTC))),
    "delete": lambda store: store.delete([original_key(JOB, 2, HASH)]),
    "delete a job": lambda store: store.delete_prefix(job_prefix(UUID(int=8))),
}
NEEDS = {
    "ingest": set(CALLS) - {"prepare", "abort an upload"},
    "worker": {"read an original", "read a logo", "read a result", "write a result", "meet a result"},
    "janitor": {"list", "list uploads", "abort an upload", "delete", "delete a job"},
}
FORBIDDEN = {"worker": {"write an original", "list", "delete", "delete a job"}}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, S3Store]]:
    """A server with the identities of Compose, and each of them."""
    folder = tmp_path_factory.mktemp("identities")
    config, _ = started_seaweedfs(folder)
    chosen = ports.choose(list(seaweedfs.PORTS), {})
    server = seaweedfs.prepare(folder / "data", folder / "log", chosen, threading.Event())
    (folder / "data" / "s3.json").write_text(json.dumps(config))
    server.start()
    try:
        until = time.monotonic() + 60
        while not seaweedfs.ready(chosen):
            assert time.monotonic() < until, server.tail()
            time.sleep(0.1)
        yield {
            each["name"]: S3Store(
                Store(
                    endpoint=f"http://127.0.0.1:{chosen['seaweedfs-s3']}",
                    bucket="ebbmark",
                    access_key=each["credentials"][0]["accessKey"],
                    secret_key=each["credentials"][0]["secretKey"],
                )
            )
            for each in config["identities"]
        }
    finally:
        server.stop()
        seaweedfs.tidy(chosen)


@pytest.fixture(scope="module", autouse=True)
def filled(stores: dict[str, S3Store]) -> None:
    """What the owner has prepared, and one job in it."""

    async def fill() -> None:
        await stores["ebbmark"].prepare()
        for key in (original_key(JOB, 0, HASH), logo_key(JOB, HASH)):
            await stores["ebbmark"].put(key, b"x")
        await stores["ebbmark"].put_new(result_key(JOB, 0, 0), b"x", {})

    asyncio.run(fill())


@pytest.mark.parametrize("service", NEEDS)
async def test_a_service_can_do_its_part(stores: dict[str, S3Store], service: str) -> None:
    assert NEEDS[service] <= set(CALLS)
    for name, call in CALLS.items():
        if name in NEEDS[service]:
            await call(stores[service])


@pytest.mark.parametrize("call", sorted(FORBIDDEN["worker"]))
async def test_a_worker_cannot_touch_originals_nor_look_for_other_jobs(
    stores: dict[str, S3Store], call: str
) -> None:
    with pytest.raises(Unavailable):
        await CALLS[call](stores["worker"])
    assert await stores["ebbmark"].get(original_key(JOB, 0, HASH)) == b"x"
