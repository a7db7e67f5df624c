"""Kafka's jars, by Maven coordinates and SHA-256, fetched once into the user's Maven repository."""

import fcntl
import hashlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

from devstack.halt import Halt
from devstack.process import DevstackError, Process, run, say

_AT_ONCE = 12
_ATTEMPTS = 3
_FETCHED_WITHIN = 600.0


def locked() -> dict[str, str]:
    """Return the SHA-256 of each jar by its coordinates."""
    lines = files("devstack").joinpath("kafka-jars.lock").read_text("utf-8").splitlines()
    pairs = [line.split(" sha256:") for line in lines if line and not line.startswith("#")]
    return {coordinates: digest for coordinates, digest in pairs}  # noqa: C416 - says what the pair is


def repository() -> Path:
    """Return the Maven repository of this user, where every Maven-like tool keeps its jars."""
    return Path(os.environ.get("M2_REPO") or Path.home() / ".m2" / "repository")


def path_of(coordinates: str) -> Path:
    """Return where a jar is kept."""
    group, artifact, version = coordinates.split(":")
    return repository().joinpath(*group.split("."), artifact, version, f"{artifact}-{version}.jar")


def is_sound(path: Path, digest: str) -> bool:
    """Return whether this is the jar that was locked."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except FileNotFoundError:
        return False


def class_path(log: Path, halt: Halt) -> str:
    """Return Kafka's class path, every jar of it verified; what is missing is fetched.

    Raises:
        DevstackError: a jar cannot be had, or is not the one that was locked.
        Halted: `halt` was set meanwhile.
    """
    wanted = locked()
    if missing := [name for name, digest in wanted.items() if not is_sound(path_of(name), digest)]:
        say(f"Fetching Kafka, once: {len(missing)} jars …")
        # A process of its own can be ended in the middle of a download.
        fetcher = Process("kafka-jars", [sys.executable, "-m", "devstack.jars"], log=log)
        try:
            run(fetcher, within=_FETCHED_WITHIN, halt=halt)
        except DevstackError as exc:
            last = fetcher.tail(1) or str(exc)
            message = f"Kafka's jars cannot be fetched: {last}"
            raise DevstackError(message) from exc
    return ":".join(str(path_of(name)) for name in wanted)


def fetch() -> None:
    """Fetch what is missing or damaged.

    Raises:
        DevstackError: a jar cannot be had, or is not the one that was locked.
    """
    from jgo.maven import MavenContext  # noqa: PLC0415 - a quarter of a second, needed once

    repository().mkdir(parents=True, exist_ok=True)
    context = MavenContext(repo_cache=repository())

    def fetch_one(entry: tuple[str, str]) -> None:
        coordinates, digest = entry
        path = path_of(coordinates)
        failure: Exception = DevstackError(f"{coordinates} is not the jar that was locked")
        for attempt in range(_ATTEMPTS):
            if is_sound(path, digest):
                return
            path.unlink(missing_ok=True)  # a download that was interrupted
            time.sleep(attempt)
            group, artifact, version = coordinates.split(":")
            try:
                context.project(group, artifact).at_version(version).artifact().resolve()
            except Exception as exc:  # noqa: BLE001 - whatever the network does, it may do better next time
                failure = DevstackError(f"{coordinates}: {exc}")
        if not is_sound(path, digest):
            raise failure

    with (repository() / ".ebbmark.lock").open("a") as lock, ThreadPoolExecutor(_AT_ONCE) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        list(pool.map(fetch_one, locked().items()))


if __name__ == "__main__":
    try:
        fetch()
    except DevstackError as exc:
        sys.exit(str(exc))
