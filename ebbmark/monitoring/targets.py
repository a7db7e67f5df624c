"""Whom the monitor asks: addresses that were given, or the file that tells Prometheus the same."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

WRONG, UNAVAILABLE = 2, 3
_OURS = {"ingest", "worker", "janitor"}


class MonitorError(Exception):
    """What the operator must read, with the exit code."""

    def __init__(self, exit_code: int, sentence: str) -> None:
        """Keep both."""
        super().__init__(sentence)
        self.exit_code = exit_code


class _Group(Struct):
    targets: list[str]
    labels: dict[str, str] = {}


def from_file(path: Path) -> Mapping[str, str]:
    """Return the URL of each process's metrics by its name, from a file for Prometheus's `file_sd_configs`.

    What it names besides, by its label `job`, is left out: exporters are none of our processes.

    Raises:
        MonitorError: there is none, or it is no such file.
    """
    try:
        groups = msgspec.json.decode(path.read_bytes(), type=list[_Group])
    except FileNotFoundError as exc:
        raise MonitorError(
            WRONG, f"{path} is not there: is `make up` running? Or name the processes: http://HOST:PORT"
        ) from exc
    except (OSError, msgspec.DecodeError) as exc:
        raise MonitorError(WRONG, f"{path} cannot be read: {exc}") from exc
    return {
        group.labels.get("process", address): f"http://{address}/metrics"
        for group in groups
        if group.labels.get("job", "worker") in _OURS
        for address in group.targets
    }


def from_addresses(addresses: Sequence[str]) -> Mapping[str, str]:
    """Return the URL of each process's metrics by where it is; a name of several hosts stands for them all.

    Raises:
        MonitorError: one of them is no address.
    """
    found: dict[str, str] = {}
    for given in addresses:
        url = urlsplit(given if "://" in given else f"http://{given}")
        try:
            host, port = url.hostname, url.port or (443 if url.scheme == "https" else 80)
        except ValueError as exc:
            raise MonitorError(WRONG, f"this is not an address: {given}") from exc
        if url.scheme not in {"http", "https"} or not host:
            raise MonitorError(WRONG, f"this is not an address: {given}")
        path = url.path.rstrip("/") or "/metrics"
        hosts = [host] if url.scheme == "https" else _hosts(host, port)  # a certificate is of the name
        for each in hosts:
            spelt = f"[{each}]" if ":" in each else each
            name = f"{host}:{port}" if len(hosts) == 1 else f"{host} {each}"
            found[name] = f"{url.scheme}://{spelt}:{port}{path}"
    return found


def _hosts(host: str, port: int) -> Sequence[str]:
    """Return every address of a name: in Compose the replicas of a worker share one.

    A name that nobody knows just now stands for itself, and does not answer.
    """
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return [host]
    several = sorted({str(where[0]) for family, *_, where in answers if family == socket.AF_INET})
    return several if len(several) > 1 else [host]
