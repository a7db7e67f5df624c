"""An `ObjectStore` that forgets when the test ends."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from ebbmark.errors import Missing, Unavailable
from ebbmark.store import STREAM_CHUNK, ObjectStore


class _Object(Struct, frozen=True):
    data: bytes
    metadata: Mapping[str, str]


class MemoryStore(ObjectStore):
    """Objects in a dictionary."""

    def __init__(self) -> None:
        """Begin empty."""
        self.down = False
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
        self._objects[key] = _Object(content, {})

    async def put_new(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Mapping[str, str]:
        self._answer()
        return self._objects.setdefault(key, _Object(bytes(data), dict(metadata))).metadata

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

    async def delete_prefix(self, prefix: str) -> int:
        doomed = await self.keys(prefix)
        for key in doomed:
            del self._objects[key]
        return len(doomed)
