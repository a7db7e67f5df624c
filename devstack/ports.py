"""Ports on 127.0.0.1: found free, remembered with the data, never taken from somebody."""

import random
import socket
import urllib.request
from collections.abc import Iterable, Mapping
from http.client import HTTPException
from pathlib import Path

HOST = "127.0.0.1"
_LOWEST = 20_000


def serves(port: int, path: str) -> bool:
    """Return whether what listens there answers 200 under this path, within a second."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=1) as answer:
            return answer.status == 200
    except (OSError, HTTPException):
        return False


def is_free(port: int) -> bool:
    """Return whether nobody listens there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose(names: Iterable[str], remembered: Mapping[str, int]) -> dict[str, int]:
    """Return a free port for each name, no two the same: the remembered one if it is free, or a new one.

    None is one that is remembered for another name, who may not have come back to it yet.
    """
    names = list(names)
    others = {port for name, port in remembered.items() if name not in names}
    chosen: dict[str, int] = {}
    for name in names:
        port = remembered.get(name, 0)
        while not port or port in others or port in chosen.values() or not is_free(port):
            port = random.randrange(_LOWEST, _first_of_clients())  # noqa: S311 - no secret
        chosen[name] = port
    return chosen


def _first_of_clients() -> int:
    """Return where the ports begin that the kernel gives to clients.

    A server that is to come back on its port must not have one of those: while it is down, somebody's
    connection would get it, even one that is being made to this very server.
    """
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    except OSError:
        first = 0
    return first if first > _LOWEST + 1000 else 32_768
