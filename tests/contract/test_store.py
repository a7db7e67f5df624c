"""What every object store guarantees, in memory and on SeaweedFS."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from ebbmark.errors import Missing, Unavailable
from ebbmark.settings import Store
from ebbmark.store import ObjectStore, S3Store, job_prefix, logo_key, original_key, result_key
from ebbmark.testing import MemoryStore
from tests.contract.conftest import BOTH
from tests.system import free_port


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest) -> ObjectStore:
    return MemoryStore() if request.param == "memory" else S3Store(request.getfixturevalue("store_settings"))


@pytest.fixture
def prefix() -> str:
    return job_prefix(uuid4())


async def test_what_was_put_is_got(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    await store.put(f"{prefix}a", b"first")
    await store.put(f"{prefix}a", b"second")
    file = tmp_path / "file"
    file.write_bytes(b"x" * 3_000_000)
    await store.put(f"{prefix}b", file)
    assert await store.get(f"{prefix}a") == b"second"
    assert await store.get(f"{prefix}b") == b"x" * 3_000_000


async def test_the_first_writer_of_a_new_object_wins_and_is_described_to_the_others(
    store: ObjectStore, prefix: str
) -> None:
    first = {"ebb-size": "5", "ebb-type": "image/png"}
    assert await store.put_new(f"{prefix}r", b"first", first) == first
    answers = await asyncio.gather(
        *(store.put_new(f"{prefix}r", b"other", {"ebb-size": "6", "ebb-type": "no"}) for _ in range(8))
    )
    for answer in answers:
        assert {name: answer[name] for name in first} == first
    assert await store.get(f"{prefix}r") == b"first"


async def test_of_writers_at_the_same_moment_one_wins(store: ObjectStore, prefix: str) -> None:
    answers = await asyncio.gather(
        *(store.put_new(f"{prefix}r", str(n).encode(), {"ebb-n": str(n)}) for n in range(8))
    )
    winners = {answer["ebb-n"] for answer in answers}
    assert winners == {(await store.get(f"{prefix}r")).decode()}


async def test_what_is_not_there_is_missing(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(Missing):
        await store.get(f"{prefix}nothing")
    with pytest.raises(Missing):
        await anext(aiter(store.stream(f"{prefix}nothing", 0, 10)))


@pytest.mark.parametrize(
    ("start", "length"), [(0, 10), (5, 3_000_000), (2_999_999, 1), (1_048_576, 1_048_576)]
)
async def test_any_part_can_be_streamed(store: ObjectStore, prefix: str, start: int, length: int) -> None:
    content = bytes(range(256)) * 12_000
    await store.put(f"{prefix}a", content)
    parts = [part async for part in store.stream(f"{prefix}a", start, length)]
    assert b"".join(parts) == content[start : start + length]
    assert max(map(len, parts)) <= 262_144


async def test_deleting_a_prefix_leaves_nothing_of_it_and_everything_else(
    store: ObjectStore, prefix: str
) -> None:
    other = job_prefix(uuid4())
    await store.put(f"{other}a", b"stays")
    await asyncio.gather(*(store.put(f"{prefix}{n}", b"goes") for n in range(1005)))
    assert len(await store.keys(prefix)) == 1005
    assert await store.delete_prefix(prefix) == 1005
    assert list(await store.keys(prefix)) == []
    assert await store.delete_prefix(prefix) == 0
    assert list(await store.keys(other)) == [f"{other}a"]


async def test_preparing_twice_is_harmless(store: ObjectStore) -> None:
    await store.prepare()
    await store.prepare()
    await store.ready()


async def test_a_store_that_does_not_answer_is_unavailable(store: ObjectStore, prefix: str) -> None:
    if isinstance(store, MemoryStore):
        store.down = True
    else:
        store = S3Store(
            Store(
                endpoint=f"http://127.0.0.1:{free_port()}",
                access_key="a",
                secret_key="b",  # noqa: S106 - of nobody
                timeout=timedelta(seconds=2),
            )
        )
    with pytest.raises(Unavailable):
        await store.get(f"{prefix}a")
    with pytest.raises(Unavailable):
        await store.put(f"{prefix}a", b"x")
    with pytest.raises(Unavailable):
        await store.put_new(f"{prefix}a", b"x", {})
    with pytest.raises(Unavailable):
        await store.delete_prefix(prefix)
    with pytest.raises(Unavailable):
        await store.ready()


@pytest.mark.servers
async def test_the_bucket_has_a_lifecycle_as_a_backstop(store_settings: Store) -> None:
    import boto3  # noqa: PLC0415 - only this test looks at the bucket itself

    s3 = boto3.client(
        "s3",
        endpoint_url=store_settings.endpoint,
        region_name=store_settings.region,
        aws_access_key_id=store_settings.access_key,
        aws_secret_access_key=store_settings.secret_key,
    )
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=store_settings.bucket)["Rules"]
    assert (rule["Status"], rule["Expiration"]["Days"]) == ("Enabled", 1)


def test_keys_hold_ids_and_digests_only() -> None:
    job = uuid4()
    keys = [original_key(job, 3, b"\xab" * 32), logo_key(job, b"\xcd" * 32), result_key(job, 1, 3)]
    assert keys == [
        f"jobs/{job}/originals/3-abababababababab",
        f"jobs/{job}/logo-cdcdcdcdcdcdcdcd",
        f"jobs/{job}/results/1/3",
    ]
    assert all(key.startswith(job_prefix(job)) for key in keys)
    assert msgspec.json.encode(keys).isascii()
