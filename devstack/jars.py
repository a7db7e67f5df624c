"""Kafka's jars, by Maven coordinates and SHA-256, fetched once into the user's Maven repository."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

from jgo.maven import MavenContext

from devstack.process import DevstackError

_AT_ONCE = 6


def locked() -> dict[str, str]:
    """Return the SHA-256 of each jar by its coordinates."""
    lines = files("devstack").joinpath("kafka-jars.lock").read_text("utf-8").splitlines()
    pairs = [line.split(" sha256:") for line in lines if line and not line.startswith("#")]
    return {coordinates: digest for coordinates, digest in pairs}  # noqa: C416 - says what the pair is


def class_path() -> str:
    """Return Kafka's class path, every jar of it verified.

    Raises:
        DevstackError: a jar cannot be had, or is not the one that was locked.
    """
    context = MavenContext()

    def fetch(entry: tuple[str, str]) -> Path:
        coordinates, digest = entry
        group, artifact, version = coordinates.split(":")
        jar = context.project(group, artifact).at_version(version).artifact()
        for attempt in (1, 2):
            try:
                path = Path(jar.resolve())
            except Exception as exc:
                message = f"The jar {coordinates} cannot be fetched: {exc}"
                raise DevstackError(message) from exc
            if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
                return path
            if attempt == 1:
                path.unlink()  # an interrupted download of another program
        message = f"The jar {coordinates} is not the one that was locked."
        raise DevstackError(message)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return ":".join(str(path) for path in pool.map(fetch, locked().items()))
