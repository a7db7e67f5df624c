"""What every object store guarantees, in memory and on SeaweedFS."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import boto3
import msgspec
import pytest

from ebbmark.errors import Missing, Unavailable
from ebbmark.settings import Store
from ebbmark.store import (
    STREAM_CHUNK,
    Deleted,
    ObjectStore,
    S3Store,
    Stored,
    Unfinished,
    job_of,
    job_prefix,
    logo_key,
    original_key,
    result_key,
)
from ebbmark.testing import MemoryStore
from tests.contract.conftest import BOTH
from tests.system import free_port


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest) -> ObjectStore:
    """A store that may hold what earlier tests put there: use keys of your own."""
    return MemoryStore() if request.param == "memory" else S3Store(request.getfixturevalue("store_settings"))


@pytest.fixture
def job() -> UUID:
    return uuid4()


@pytest.fixture
def key(job: UUID) -> str:
    return original_key(job, 0, b"\x01" * 32)


async def read(store: ObjectStore, key: str, start: int, length: int) -> bytes:
    return b"".join([chunk async for chunk in store.stream(key, start, length)])


async def test_preparing_twice_is_harmless(store: ObjectStore) -> None:
    await store.prepare()
    await store.prepare()
    await store.ready()


@pytest.mark.parametrize("data", [b"", b"photo", bytes(range(256)) * 5000], ids=["nothing", "little", "much"])
async def test_what_was_put_is_got(store: ObjectStore, key: str, data: bytes) -> None:
    await store.put(key, data)
    assert await store.get(key) == data


async def test_a_file_is_put_as_its_content(store: ObjectStore, key: str, tmp_path: Path) -> None:
    spooled = tmp_path / "spooled"
    spooled.write_bytes(b"from a file" * 300_000)
    await store.put(key, spooled)
    assert await store.get(key) == spooled.read_bytes()


async def test_putting_again_replaces(store: ObjectStore, key: str) -> None:
    await store.put(key, b"one")
    await store.put(key, b"another")
    assert await store.get(key) == b"another"


async def test_what_is_not_there_is_missing(store: ObjectStore, key: str) -> None:
    with pytest.raises(Missing):
        await store.get(key)
    with pytest.raises(Missing):
        await anext(aiter(store.stream(key, 0, 10)))
    with pytest.raises(Missing):
        await store.described(key)


async def test_the_first_writer_of_a_new_object_wins_and_is_described_to_the_others(
    store: ObjectStore, key: str
) -> None:
    first = {"ebb-size": "5", "ebb-type": "image/png"}
    assert await store.put_new(key, b"first", first) == first
    assert await store.put_new(key, b"second", {"ebb-size": "6"}) == first
    assert await store.described(key) == first
    assert await store.get(key) == b"first"


async def test_of_writers_at_the_same_moment_one_wins(store: ObjectStore, key: str) -> None:
    answers = await asyncio.gather(
        *(store.put_new(key, str(n).encode(), {"ebb-n": str(n)}) for n in range(8))
    )
    winners = {answer["ebb-n"] for answer in answers}
    assert winners == {(await store.get(key)).decode()}


async def test_an_object_that_was_put_is_not_overwritten_by_a_new_one(store: ObjectStore, key: str) -> None:
    await store.put(key, b"put before")
    assert await store.put_new(key, b"new", {"ebb-n": "1"}) == {}
    assert await store.get(key) == b"put before"


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (0, 1),
        (3, 0),
        (0, 5 * STREAM_CHUNK + 77),
        (10, 2 * STREAM_CHUNK),
        (STREAM_CHUNK - 1, 2),
        (4 * STREAM_CHUNK, STREAM_CHUNK),
        (5 * STREAM_CHUNK + 76, 1),
    ],
)
async def test_any_part_can_be_streamed(store: ObjectStore, key: str, start: int, length: int) -> None:
    data = (b"0123456789abcde" * STREAM_CHUNK)[: 5 * STREAM_CHUNK + 77]
    await store.put(key, data)
    assert await read(store, key, start, length) == data[start : start + length]


async def test_a_stream_comes_in_small_chunks(store: ObjectStore, key: str) -> None:
    await store.put(key, bytes(3 * STREAM_CHUNK))
    sizes = [len(chunk) async for chunk in store.stream(key, 0, 3 * STREAM_CHUNK)]
    assert max(sizes) <= STREAM_CHUNK


async def test_a_stream_of_what_is_deleted_meanwhile_breaks_off(store: ObjectStore, job: UUID) -> None:
    key = result_key(job, 0, 0)
    await store.put(key, bytes(10 * STREAM_CHUNK))
    stream = aiter(store.stream(key, 0, 10 * STREAM_CHUNK))
    await anext(stream)
    await store.delete_prefix(job_prefix(job))
    with pytest.raises(Missing):
        async for _ in stream:
            pass


async def test_the_keys_of_a_job_are_listed_and_no_others(store: ObjectStore, job: UUID) -> None:
    ours = [original_key(job, 0, b"a" * 32), result_key(job, 0, 0), logo_key(job, b"b" * 32)]
    for key in [*ours, original_key(uuid4(), 0, b"a" * 32)]:
        await store.put(key, b"x")
    assert sorted(await store.keys(job_prefix(job))) == sorted(ours)
    assert list(await store.keys(job_prefix(uuid4()))) == []


async def test_a_listing_tells_sizes_and_times_in_the_order_of_the_keys(
    store: ObjectStore, job: UUID
) -> None:
    sizes = {result_key(job, 0, n): n * 1000 for n in (10, 2, 0)} | {original_key(job, 2, b"a" * 32): 7}
    begun = datetime.now(UTC)
    for key, size in sizes.items():
        await store.put(key, bytes(size))
    await store.put(original_key(uuid4(), 0, b"a" * 32), b"of another")
    listed = [each async for page in store.listing(job_prefix(job)) for each in page]
    assert [(each.key, each.size) for each in listed] == sorted(sizes.items())
    assert all(abs(each.modified - begun) < timedelta(minutes=1) for each in listed)
    assert [page async for page in store.listing(job_prefix(uuid4()))] == []


async def test_a_long_listing_comes_in_pages(store: ObjectStore, job: UUID) -> None:
    keys = [result_key(job, 0, n) for n in range(1003)]
    for at in range(0, len(keys), 100):
        await asyncio.gather(*(store.put(key, b"x") for key in keys[at : at + 100]))
    pages = [page async for page in store.listing(job_prefix(job))]
    assert [each.key for page in pages for each in page] == sorted(keys)
    assert max(map(len, pages)) <= 1000


async def test_deleting_keys_deletes_those_alone_and_may_be_repeated(store: ObjectStore, job: UUID) -> None:
    kept, *goes = [result_key(job, 0, n) for n in range(3)]
    for key in (kept, *goes):
        await store.put(key, b"x")
    for _ in range(2):
        await store.delete([*goes, result_key(job, 7, 7)])
    await store.delete([])
    assert await store.keys(job_prefix(job)) == [kept]


async def test_deleting_a_prefix_leaves_nothing_of_it_and_everything_else(
    store: ObjectStore, job: UUID
) -> None:
    """More than a thousand: what one listing and one deletion hold at most."""
    other = original_key(uuid4(), 0, b"a" * 32)
    await store.put(other, b"stays")
    for hundred in range(0, 1005, 100):
        some = range(hundred, min(hundred + 100, 1005))
        await asyncio.gather(*(store.put(result_key(job, 0, n), b"goes") for n in some))
    assert len(await store.keys(job_prefix(job))) == 1005
    assert await store.delete_prefix(job_prefix(job)) == Deleted(1005, 1005 * len(b"goes"))
    assert list(await store.keys(job_prefix(job))) == []
    assert await store.delete_prefix(job_prefix(job)) == Deleted(0, 0)
    assert await store.get(other) == b"stays"


async def test_a_deleted_key_is_free_for_a_new_object(store: ObjectStore, job: UUID, key: str) -> None:
    await store.put_new(key, b"x", {})
    await store.delete_prefix(job_prefix(job))
    assert await store.put_new(key, b"y", {"ebb-n": "2"}) == {"ebb-n": "2"}


def test_keys_hold_ids_and_digests_only() -> None:
    job = uuid4()
    keys = [original_key(job, 3, b"\xab" * 32), logo_key(job, b"\xcd" * 32), result_key(job, 1, 3)]
    assert keys == [
        f"jobs/{job}/originals/3-abababababababab",
        f"jobs/{job}/logo-cdcdcdcdcdcdcdcd",
        f"jobs/{job}/results/1/3",
    ]
    assert all(key.startswith(job_prefix(job)) for key in keys)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "photo.jpg",
        "jobs/",
        "jobs/photo.jpg",
        f"jobs/{UUID(int=7)}",
        f"jobs/{UUID(int=7)}/",
        f"jobs/{UUID(int=0xAB)}/x".upper().replace("JOBS", "jobs"),
        f"jobs/{UUID(int=7).hex}/x",
        f"other/{UUID(int=7)}/x",
    ],
)
def test_a_key_that_nobody_here_makes_belongs_to_no_job(key: str) -> None:
    assert job_of(key) is None


def test_every_key_says_whose_it_is(job: UUID) -> None:
    keys = [original_key(job, 3, b"a" * 32), logo_key(job, b"b" * 32), result_key(job, 1, 3)]
    assert [job_of(key) for key in keys] == [job] * 3


# The bucket itself


@pytest.fixture
def bucket(store_settings: Store) -> Any:  # noqa: ANN401 - boto3 has no types
    return boto3.resource(
        "s3",
        endpoint_url=store_settings.endpoint,
        region_name=store_settings.region,
        aws_access_key_id=store_settings.access_key,
        aws_secret_access_key=store_settings.secret_key,
    ).Bucket(store_settings.bucket)


@pytest.mark.servers
async def test_uploads_that_never_ended_are_deleted_too(
    store_settings: Store,
    bucket: Any,  # noqa: ANN401 - as above
    job: UUID,
    key: str,
) -> None:
    upload = bucket.Object(key).initiate_multipart_upload()
    upload.Part(1).upload(Body=b"x" * 1000)
    assert len(list(bucket.multipart_uploads.filter(Prefix=job_prefix(job)))) == 1
    await S3Store(store_settings).delete_prefix(job_prefix(job))
    assert list(bucket.multipart_uploads.filter(Prefix=job_prefix(job))) == []


@pytest.mark.servers
async def test_uploads_that_never_ended_are_listed_and_can_be_aborted_one_by_one(
    store_settings: Store,
    bucket: Any,  # noqa: ANN401 - as above
    job: UUID,
) -> None:
    store, keys = S3Store(store_settings), [result_key(job, 0, n) for n in range(2)]
    for key in keys:
        bucket.Object(key).initiate_multipart_upload().Part(1).upload(Body=b"x" * 1000)
    first, second = await store.unfinished(job_prefix(job))
    assert {first.key, second.key} == set(keys)
    assert abs(first.started - datetime.now(UTC)) < timedelta(minutes=1)
    for _ in range(2):
        await store.abort(first)
    assert await store.unfinished(job_prefix(job)) == [second]


async def test_in_memory_uploads_that_never_ended_go_the_same_way(job: UUID) -> None:
    store = MemoryStore()
    store.uploads = [
        Unfinished(result_key(each, 0, 0), str(n), datetime.now(UTC))
        for n, each in enumerate([job, job, uuid4()])
    ]
    first, second, other = store.uploads
    assert await store.unfinished(job_prefix(job)) == [first, second]
    for _ in range(2):
        await store.abort(first)
    await store.delete_prefix(job_prefix(job))
    assert await store.unfinished("") == [other]


@pytest.mark.servers
def test_the_bucket_has_a_lifecycle_as_a_backstop(bucket: Any) -> None:  # noqa: ANN401 - as above
    (rule,) = bucket.LifecycleConfiguration().rules
    assert (rule["Status"], rule["Expiration"]["Days"]) == ("Enabled", 1)


# Trouble

CALLS: dict[str, Callable[[ObjectStore], Awaitable[object]]] = {
    "prepare": lambda store: store.prepare(),
    "ready": lambda store: store.ready(),
    "put": lambda store: store.put("k", b"x"),
    "put_new": lambda store: store.put_new("k", b"x", {}),
    "get": lambda store: store.get("k"),
    "stream": lambda store: read(store, "k", 0, 1),
    "described": lambda store: store.described("k"),
    "keys": lambda store: store.keys("k"),
    "listing": lambda store: pages(store, "k"),
    "delete": lambda store: store.delete(["k"]),
    "delete_prefix": lambda store: store.delete_prefix("k"),
    "unfinished": lambda store: store.unfinished("k"),
    "abort": lambda store: store.abort(Unfinished("k", "u", datetime.now(UTC))),
}


async def pages(store: ObjectStore, prefix: str) -> list[Sequence[Stored]]:
    return [page async for page in store.listing(prefix)]


def test_no_call_is_forgotten_here() -> None:
    assert set(CALLS) == ObjectStore.__abstractmethods__


async def assert_unavailable(store: ObjectStore, call: str) -> None:
    """A store in trouble may not say that the object is missing: it does not know."""
    with pytest.raises(Unavailable) as caught:
        await CALLS[call](store)
    assert not isinstance(caught.value, Missing)


def store_at(port: int) -> S3Store:
    soon = timedelta(seconds=1)
    return S3Store(Store(endpoint=f"http://127.0.0.1:{port}", access_key="a", secret_key="b", timeout=soon))  # noqa: S106 - of nobody


@pytest.mark.parametrize("call", CALLS)
async def test_a_store_that_is_down_is_unavailable(call: str) -> None:
    store = MemoryStore()
    store.down = True
    await assert_unavailable(store, call)


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_is_gone_is_unavailable(call: str) -> None:
    await assert_unavailable(store_at(free_port()), call)


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_takes_the_question_and_never_answers_is_unavailable(call: str) -> None:
    asked = asyncio.Event()
    over = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await over.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        await assert_unavailable(store_at(server.sockets[0].getsockname()[1]), call)
        over.set()
    assert asked.is_set()


@pytest.mark.servers
@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_refuses_our_keys_is_unavailable(store_settings: Store, call: str) -> None:
    stranger = msgspec.structs.replace(store_settings, secret_key="wrong")  # noqa: S106
    await assert_unavailable(S3Store(stranger), call)


@pytest.mark.servers
async def test_a_bucket_that_is_gone_is_unavailable(store_settings: Store) -> None:
    nowhere = S3Store(msgspec.structs.replace(store_settings, bucket="no-such-bucket"))
    with pytest.raises(Unavailable):
        await nowhere.ready()
    with pytest.raises(Unavailable):
        await nowhere.delete_prefix("k")
