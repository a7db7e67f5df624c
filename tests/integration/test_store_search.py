"""What belongs to no file is found in the store's volumes, and is gone after the next compaction."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from devstack import seaweedfs
from devstack.process import DevstackError
from devstack.supervisor import Stack
from tests.chaos import leftovers
from tests.conftest import missing

pytestmark = pytest.mark.servers

LEFT, KEPT = b"left-by-a-put", b"entered-as-a-file"
BUCKET = "searched"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A store of its own."""
    try:
        with Stack(tmp_path_factory.mktemp("search"), services=["seaweedfs"]) as stack:
            yield stack
    except DevstackError as exc:
        missing(f"The store does not run here: {exc}")


@pytest.fixture(scope="module")
def s3(stack: Stack) -> Any:  # noqa: ANN401 - boto3 has no types
    """A bucket with one file."""
    at = stack.endpoints
    s3 = boto3.client(  # pyright: ignore[reportUnknownMemberType]
        "s3",
        endpoint_url=at.s3,
        region_name="us-east-1",
        aws_access_key_id=at.s3_access_key,
        aws_secret_access_key=at.s3_secret_key,
    )
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="a.jpg", Body=photo(KEPT), ContentType="image/jpeg")
    return s3


def photo(mark: bytes) -> bytes:
    return b"\xff\xd8" + mark + bytes(range(256)) * 80


def on_disk(stack: Stack, mark: bytes) -> bool:
    volumes: list[Path] = list((stack.data / "seaweedfs" / "volumes").glob("*.dat"))
    return any(mark in path.read_bytes() for path in volumes)


def test_bytes_of_files_go_whose_deletion_was_cut_off(stack: Stack, s3: Any) -> None:  # noqa: ANN401
    """They are answered as deleted while their bytes are yet to go, which the server's memory alone knows."""
    names = [f"{n}.jpg" for n in range(100)]
    for name in names:
        s3.put_object(Bucket=BUCKET, Key=name, Body=photo(LEFT), ContentType="image/jpeg")
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": name} for name in names]})
    stack.server("seaweedfs").kill()
    stack.server("seaweedfs").start()
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["a.jpg"]

    leftovers.delete(stack)
    leftovers.compact(stack)
    assert not on_disk(stack, LEFT)
    assert s3.get_object(Bucket=BUCKET, Key="a.jpg")["Body"].read() == photo(KEPT)


@pytest.mark.parametrize("collection", [BUCKET, ""], ids=["beside a file", "alone"])
def test_bytes_of_a_put_that_was_cut_off_go_once_they_are_old_enough(
    stack: Stack,
    s3: Any,  # noqa: ANN401 - boto3 has no types
    collection: str,
) -> None:
    leftovers.make(stack, photo(LEFT), collection=collection)
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["a.jpg"]

    leftovers.delete(stack, older="1h")
    leftovers.compact(stack)
    assert on_disk(stack, LEFT), "it may still be entered"

    leftovers.delete(stack)
    leftovers.compact(stack)
    assert not on_disk(stack, LEFT)
    assert on_disk(stack, KEPT)
    assert s3.get_object(Bucket=BUCKET, Key="a.jpg")["Body"].read() == photo(KEPT)


def test_a_search_that_fails_says_so(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shell ends well all the same."""
    monkeypatch.setattr(seaweedfs, "SEARCH", seaweedfs.SEARCH.replace("unlock\n", "").replace("lock\n", ""))
    with pytest.raises(DevstackError, match="seaweedfs-search"):
        leftovers.delete(stack)
