"""Photo bytes live under the keys spelled here, in one bucket, behind `ObjectStore`."""

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import boto3
import botocore.config
import botocore.exceptions
import msgspec
import obstore
import obstore.exceptions
from msgspec import Struct
from obstore.store import S3Store as ObstoreS3

from ebbmark.errors import Missing, Unavailable
from ebbmark.settings import Store as StoreSettings
from observability import metrics

P = ParamSpec("P")
T = TypeVar("T")

DELETE_AT_ONCE = 1000
_DELETE_TRIES = 3
STREAM_CHUNK = 256 * 1024
_HTTP_HEADERS = {
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
}


def job_prefix(job: UUID) -> str:
    """Everything a job owns begins with this; deleting the job is deleting this prefix."""
    return f"jobs/{job}/"


def original_key(job: UUID, n: int, sha256: bytes) -> str:
    """Two uploads for the same place never share a key unless they are the same bytes."""
    return f"jobs/{job}/originals/{n}-{sha256[:8].hex()}"


def logo_key(job: UUID, sha256: bytes) -> str:
    """The image that the job's watermark may carry."""
    return f"jobs/{job}/logo-{sha256[:8].hex()}"


def result_key(job: UUID, epoch: int, n: int) -> str:
    """The result followed at once by its thumbnail; written once, so its ETag never changes."""
    return f"jobs/{job}/results/{epoch}/{n}"


def job_of(key: str) -> UUID | None:
    """Return the job that owns the key; None for a key that nobody here could have made."""
    folder, _, rest = key.partition("/")
    name, slash, own = rest.partition("/")
    try:
        job = UUID(name)
    except ValueError:
        return None
    return job if folder == "jobs" and slash and own and str(job) == name else None


class Stored(Struct, frozen=True):
    """An object as a listing shows it; `modified` is the store's clock."""

    key: str
    size: int
    modified: datetime


class Unfinished(Struct, frozen=True):
    """An upload in parts that was begun and neither finished nor aborted."""

    key: str
    upload: str
    started: datetime


class Deleted(Struct, frozen=True):
    """How much was deleted."""

    objects: int = 0
    bytes: int = 0


class Described(Struct, frozen=True, kw_only=True):
    """What a result says of itself, in the metadata of its object."""

    width: int
    height: int
    size: int
    thumbnail_size: int
    media_type: str
    removed: str = ""
    """What its original told and it does not, in words with commas between; nothing is not written."""

    def metadata(self) -> dict[str, str]:
        """Return it as the object carries it."""
        told = ((name, str(getattr(self, field))) for field, name in _DESCRIBED.items())
        return {name: value for name, value in told if value}

    @classmethod
    def read(cls, metadata: Mapping[str, str]) -> "Described":
        """Return what the object carries."""
        return msgspec.convert(
            {field: metadata[name] for field, name in _DESCRIBED.items() if name in metadata},
            cls,
            strict=False,
        )


_DESCRIBED = {
    "width": "ebb-width",
    "height": "ebb-height",
    "size": "ebb-size",
    "thumbnail_size": "ebb-thumbnail",
    "media_type": "ebb-type",
    "removed": "ebb-removed",
}


class ObjectStore(ABC):
    """Bytes by key. Every method raises `Unavailable` when the store does not answer in time."""

    @abstractmethod
    async def prepare(self) -> None:
        """Create the bucket and its one-day lifecycle rule; may be called twice."""

    @abstractmethod
    async def ready(self) -> None:
        """Return when the bucket answers."""

    @abstractmethod
    async def put(self, key: str, data: bytes | Path) -> None:
        """Write the object, replacing one of the same key."""

    @abstractmethod
    async def put_new(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Mapping[str, str]:
        """Write the object unless the key is taken; return the metadata of the object that is there.

        Names of metadata are lower case. The first writer wins, for good.
        """

    @abstractmethod
    async def described(self, key: str) -> Mapping[str, str]:
        """Return the metadata of the object, as `put_new` does. Raises `Missing`."""

    @abstractmethod
    async def get(self, key: str) -> bytes:
        """Return the whole object. Raises `Missing`."""

    @abstractmethod
    def stream(self, key: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start`, in chunks. Raises `Missing` before the first."""

    @abstractmethod
    async def keys(self, prefix: str) -> Sequence[str]:
        """Return every key under the prefix."""

    @abstractmethod
    def listing(self, prefix: str) -> AsyncIterator[Sequence[Stored]]:
        """Yield what is under the prefix, in order of the keys, in pages of at most a thousand."""

    @abstractmethod
    async def delete(self, keys: Sequence[str]) -> None:
        """Delete these objects, those that are not there included.

        Raises `Unavailable` when some are refused, again and again; the others are deleted all the same.
        """

    @abstractmethod
    async def delete_prefix(self, prefix: str) -> Deleted:
        """Delete every object under the prefix and abort its unfinished uploads.

        Returns how much was deleted. Raises `Unavailable` when anything could not be, so a normal
        return means that one listing, taken afterwards, was empty.
        """

    @abstractmethod
    async def unfinished(self, prefix: str) -> Sequence[Unfinished]:
        """Return the unfinished uploads under the prefix."""

    @abstractmethod
    async def abort(self, upload: Unfinished) -> None:
        """End the upload and delete its parts; one that has ended already is left alone."""


def _translated(call: Callable[P, Awaitable[T]]) -> "Callable[P, CoroutineType[Any, Any, T]]":
    @functools.wraps(call)
    async def translate(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with metrics.STORE_SECONDS.labels(call.__name__.strip("_")).time():
                return await call(*args, **kwargs)
        except FileNotFoundError as exc:
            raise Missing("object-missing", "The object is not in the store.") from exc
        except (
            obstore.exceptions.BaseError,
            botocore.exceptions.BotoCoreError,
            botocore.exceptions.ClientError,
        ) as exc:
            metrics.STORE_FAULTS.inc()
            raise Unavailable("store-unavailable", "The object store does not answer.") from exc

    return translate


class S3Store(ObjectStore):
    """Any S3: obstore for the bytes (a fifth of boto3's CPU), boto3 for the bucket and bulk deletion."""

    def __init__(self, settings: StoreSettings) -> None:
        """Connect lazily; nothing is sent until the first call."""
        seconds = settings.timeout.total_seconds()
        self._bucket = settings.bucket
        self._data = ObstoreS3(
            settings.bucket,
            endpoint=settings.endpoint,
            region=settings.region,
            access_key_id=settings.access_key,
            secret_access_key=settings.secret_key,
            virtual_hosted_style_request=False,
            client_options={
                "allow_http": True,
                "timeout": settings.timeout,
                "connect_timeout": min(settings.timeout, settings.timeout / 3),
            },
            retry_config={"max_retries": 2, "retry_timeout": settings.timeout},
        )
        self._control: Any = boto3.client(  # pyright: ignore[reportUnknownMemberType] - boto3 has no types
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region,
            aws_access_key_id=settings.access_key,
            aws_secret_access_key=settings.secret_key,
            config=botocore.config.Config(
                s3={"addressing_style": "path"},
                connect_timeout=seconds / 3,
                read_timeout=seconds,
                retries={"max_attempts": 2},
            ),
        )

    @_translated
    async def prepare(self) -> None:
        await asyncio.to_thread(self._create_bucket)

    def _create_bucket(self) -> None:
        try:
            self._control.head_bucket(Bucket=self._bucket)
        except botocore.exceptions.ClientError:
            with suppress(  # another process was quicker
                self._control.exceptions.BucketAlreadyOwnedByYou,
                self._control.exceptions.BucketAlreadyExists,
            ):
                self._control.create_bucket(Bucket=self._bucket)
        self._control.put_bucket_lifecycle_configuration(
            Bucket=self._bucket,
            LifecycleConfiguration={
                "Rules": [
                    {
                        "ID": "nothing-outlives-a-day",
                        "Status": "Enabled",
                        "Filter": {"Prefix": "jobs/"},
                        "Expiration": {"Days": 1},
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                    }
                ]
            },
        )

    @_translated
    async def ready(self) -> None:
        await asyncio.to_thread(self._control.head_bucket, Bucket=self._bucket)

    @_translated
    async def put(self, key: str, data: bytes | Path) -> None:
        await obstore.put_async(self._data, key, data, use_multipart=False)

    @_translated
    async def put_new(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Mapping[str, str]:
        try:
            await obstore.put_async(
                self._data, key, data, mode="create", attributes=dict(metadata), use_multipart=False
            )
        except obstore.exceptions.AlreadyExistsError:
            return await self._described(key)
        return metadata

    @_translated
    async def described(self, key: str) -> Mapping[str, str]:
        return await self._described(key)

    async def _described(self, key: str) -> Mapping[str, str]:
        found = await obstore.get_async(self._data, key)
        kept = {str(name).lower(): str(value) for name, value in found.attributes.items()}
        return {name: value for name, value in kept.items() if name not in _HTTP_HEADERS}

    @_translated
    async def get(self, key: str) -> bytes:
        result = await obstore.get_async(self._data, key)
        return bytes(await result.bytes_async())

    async def stream(self, key: str, start: int, length: int) -> AsyncIterator[bytes]:
        for offset in range(start, start + length, 4 * STREAM_CHUNK):
            window = await self._window(key, offset, min(4 * STREAM_CHUNK, start + length - offset))
            for at in range(0, len(window), STREAM_CHUNK):
                yield window[at : at + STREAM_CHUNK]

    @_translated
    async def _window(self, key: str, start: int, length: int) -> bytes:
        return bytes(await obstore.get_range_async(self._data, key, start=start, length=length))

    @_translated
    async def keys(self, prefix: str) -> Sequence[str]:
        return await asyncio.to_thread(self._list, prefix)

    def _list(self, prefix: str) -> list[str]:
        pages = self._control.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    async def listing(self, prefix: str) -> AsyncIterator[Sequence[Stored]]:
        token: str | None = None
        while True:
            page, token = await self._page(prefix, token)
            if page:
                yield page
            if token is None:
                return

    @_translated
    async def _page(self, prefix: str, token: str | None) -> tuple[list[Stored], str | None]:
        more = {"ContinuationToken": token} if token else {}
        answer = await asyncio.to_thread(
            self._control.list_objects_v2, Bucket=self._bucket, Prefix=prefix, **more
        )
        found = [
            Stored(each["Key"], each["Size"], each["LastModified"]) for each in answer.get("Contents", ())
        ]
        return found, answer.get("NextContinuationToken") if answer["IsTruncated"] else None

    @_translated
    async def delete(self, keys: Sequence[str]) -> None:
        await asyncio.to_thread(self._delete, keys)

    def _delete(self, keys: Sequence[str]) -> None:
        left = list(keys)
        for _ in range(_DELETE_TRIES):
            left = [
                key
                for at in range(0, len(left), DELETE_AT_ONCE)
                for key in self._refused(left[at : at + DELETE_AT_ONCE])
            ]
            if not left:
                return
        raise Unavailable("store-unavailable", "The object store refused to delete some objects.")

    def _refused(self, keys: Sequence[str]) -> list[str]:
        answer = self._control.delete_objects(
            Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )
        return [error["Key"] for error in answer.get("Errors", ())]  # a 200 can hold failures

    @_translated
    async def delete_prefix(self, prefix: str) -> Deleted:
        for upload in await self.unfinished(prefix):
            await self.abort(upload)
        objects = size = 0
        async for page in self.listing(prefix):
            await self.delete([each.key for each in page])
            objects += len(page)
            size += sum(each.size for each in page)
        if objects and await self.keys(prefix):
            raise Unavailable("store-unavailable", "Objects were written while the prefix was deleted.")
        return Deleted(objects, size)

    @_translated
    async def unfinished(self, prefix: str) -> Sequence[Unfinished]:
        return await asyncio.to_thread(self._unfinished, prefix)

    def _unfinished(self, prefix: str) -> list[Unfinished]:
        pages = self._control.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        return [
            Unfinished(each["Key"], each["UploadId"], each["Initiated"])
            for page in pages
            for each in page.get("Uploads", ())
        ]

    @_translated
    async def abort(self, upload: Unfinished) -> None:
        with suppress(self._control.exceptions.NoSuchUpload):
            await asyncio.to_thread(
                self._control.abort_multipart_upload,
                Bucket=self._bucket,
                Key=upload.key,
                UploadId=upload.upload,
            )
