"""A system to measure: the one that runs, or one of our own for as long as it takes."""

import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from loadtest.options import URL
from loadtest.record import say


class NobodyError(Exception):
    """There is no system to measure; the text says why."""


@contextmanager
def reached(url: str) -> Generator[str]:
    """Yield the address of a system that is ready: at `url`, or of one that is started when that is nobody's.

    Raises:
        NobodyError: another address was named and nobody answers there, or none could be started.
    """
    if ready(url):
        yield url
        return
    if url != URL:
        raise NobodyError(f"Nobody is ready at {url}.")
    say(f"Nobody is ready at {url}: starting a system of its own, which goes when this ends …")
    with tempfile.TemporaryDirectory(prefix="ebbmark-load-system-") as folder, _started(Path(folder)) as own:
        yield own


@contextmanager
def _started(folder: Path) -> Generator[str]:
    port = free_port()
    command = [sys.executable, "-m", "devstack", "up", "--data", str(folder / "data"), "--port", str(port)]
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the generator: photos are under way
        )
        try:
            url = f"http://127.0.0.1:{port}"
            while not ready(url):
                if process.poll() is not None:
                    raise NobodyError((folder / "up.log").read_text("utf-8", "replace")[-2000:])
                time.sleep(0.1)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(90)


def ready(url: str) -> bool:
    """Return whether a system answers there that is ready for photos."""
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    return False


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
