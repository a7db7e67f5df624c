"""An `ObjectStore` that forgets when the test ends."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from ebbmark.errors import Missing, Unavailable
from ebbmark.store import DELETE_AT_ONCE, STREAM_CHUNK, Deleted, ObjectStore, Stored, Unfinished


class _Object(Struct, frozen=True):
    data: bytes
    metadata: Mapping[str, str]
    modified: datetime


class MemoryStore(ObjectStore):
    """Objects in a dictionary; `now` is its clock."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Begin empty."""
        self.down = False
        self.uploads: list[Unfinished] = []
        self._now = now
        self._objects: dict[str, _Object] = {}

    def _answer(self) -> None:
        if self.down:
            raise Unavailable("store-unavailable", "The object store does not answer.")

    def _found(self, key: str) -> _Object:
        self._answer()
        if key not in self._objects:
            raise Missing("object-missing", "The object is not in the store.")
        return self._objects[key]

    def _find(self, key: str) -> bytes:
        return self._found(key).data

    async def prepare(self) -> None:
        self._answer()

    async def ready(self) -> None:
        self._answer()

    async def put(self, key: str, data: bytes | Path) -> None:
        self._answer()
        content = data.read_bytes() if isinstance(data, Path) else bytes(data)  # noqa: ASYNC240 - small, in tests
        self._objects[key] = _Object(content, {}, self._now())

    async def put_new(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Mapping[str, str]:
        self._answer()
        new = _Object(bytes(data), dict(metadata), self._now())
        return self._objects.setdefault(key, new).metadata

    async def described(self, key: str) -> Mapping[str, str]:
        return self._found(key).metadata

    async def get(self, key: str) -> bytes:
        return self._find(key)

    async def stream(self, key: str, start: int, length: int) -> AsyncIterator[bytes]:
        for at in range(start, start + length, STREAM_CHUNK):
            yield self._find(key)[at : min(at + STREAM_CHUNK, start + length)]

    async def keys(self, prefix: str) -> Sequence[str]:
        self._answer()
        return sorted(key for key in self._objects if key.startswith(prefix))

    async def listing(self, prefix: str) -> AsyncIterator[Sequence[Stored]]:
        keys = await self.keys(prefix)
        for at in range(0, len(keys), DELETE_AT_ONCE):
            self._answer()
            yield [
                Stored(key, len(each.data), each.modified)
                for key in keys[at : at + DELETE_AT_ONCE]
                if (each := self._objects.get(key)) is not None
            ]

    async def delete(self, keys: Sequence[str]) -> None:
        self._answer()
        for key in keys:
            self._objects.pop(key, None)

    async def delete_prefix(self, prefix: str) -> Deleted:
        doomed = [each async for page in self.listing(prefix) for each in page]
        await self.delete([each.key for each in doomed])
        self.uploads = [each for each in self.uploads if not each.key.startswith(prefix)]
        return Deleted(len(doomed), sum(each.size for each in doomed))

    async def unfinished(self, prefix: str) -> Sequence[Unfinished]:
        self._answer()
        return [each for each in self.uploads if each.key.startswith(prefix)]

    async def abort(self, upload: Unfinished) -> None:
        self._answer()
        self.uploads = [each for each in self.uploads if each != upload]
