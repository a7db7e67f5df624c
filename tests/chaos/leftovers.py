"""Bytes in the store that belong to no file, made and deleted at once."""

import httpx

from devstack import seaweedfs
from devstack.halt import Halt
from devstack.process import run
from devstack.supervisor import Stack

_WITHIN = 60.0


def make(stack: Stack, content: bytes, *, collection: str) -> None:
    """Write the bytes into a volume, as a `PUT` does that dies before its file is entered."""
    place = _master(stack, "dir/assign", collection=collection).json()
    # Under a name that tells it not to compress.
    file = {"file": ("a.jpg", content, "image/jpeg")}
    httpx.post(f"http://{place['url']}/{place['fid']}", files=file).raise_for_status()


def delete(stack: Stack, *, older: str = "0s") -> None:
    """Do what the store does every hour, with this for what is old enough."""
    data, log = stack.data / "seaweedfs", stack.data / "logs" / "seaweedfs-search.log"
    run(seaweedfs.search(data, log, stack.ports, older=older), within=_WITHIN, halt=Halt())


def compact(stack: Stack) -> None:
    """Do what the store does every ten minutes, for the least of what is deleted."""
    _master(stack, "vol/vacuum", garbageThreshold=seaweedfs.GARBAGE)


def _master(stack: Stack, path: str, **query: str) -> httpx.Response:
    port = stack.ports["seaweedfs-master"]
    return httpx.get(
        f"http://127.0.0.1:{port}/{path}", params=query, timeout=_WITHIN, follow_redirects=True
    ).raise_for_status()
